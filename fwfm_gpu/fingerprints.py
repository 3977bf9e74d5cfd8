"""One hash for all that training reached: two models are the same to the bit when theirs are equal."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from fwfm_gpu.model import FwFM
from fwfm_gpu.model_document import comparable_options, plain, plain_loss
from fwfm_gpu.parameters import Array, OptimizerState, Parameters

__all__ = ["fingerprint_model"]


def fingerprint_model(model: FwFM, history: bool = False) -> str:
    """`FwFM.fingerprint`."""
    trained, best, learns_R = model.trained, model.trained.best, model.options.field_weights == "learn"
    document = {
        "options": comparable_options(model.options),
        "loss": model.loss,
        "classes": None if model.classes is None else [model.classes.dtype.str, model.classes.tolist()],
        "n_fields": model.columns.n_fields,
        "generator": plain(trained.generator_state),
        "position": [trained.position.epochs, trained.position.batches],
        "best": None if best is None else [best.epoch, plain(best.generator_state)],
    }
    if history:
        document["reported"] = [
            plain_loss(trained.position.loss),
            [[r.epoch, plain_loss(r.loss), r.metrics, r.learning_rate] for r in trained.history],
        ]
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    feed(digest, "fields", model.columns.fields)
    feed_arrays(digest, trained.parameters, trained.optimizer_state, learns_R)
    if best is not None:
        feed_arrays(digest, best.parameters, best.optimizer_state, learns_R)
    return digest.hexdigest()


def feed_arrays(digest: Any, parameters: Parameters, state: OptimizerState | None, learns_R: bool) -> None:
    """Parameters and state, of R what the contract promises."""
    sets = {"": parameters} if state is None else {"": parameters, **state.moments}
    for moment, arrays in sets.items():
        for group, array in arrays.arrays().items():
            if group != "R":
                feed(digest, f"{moment}.{group}", array)
            elif learns_R or moment == "":
                feed(digest, f"{moment}.R", np.triu(array))
    if state is not None and state.counts is not None:
        feed(digest, "bias", state.counts.bias)
        feed(digest, "feature", state.counts.feature)
        if learns_R:
            feed(digest, "slot", np.triu(state.counts.slot))


def feed(digest: Any, name: str, array: Array) -> None:
    """An array with its name, type and shape, little-endian."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    digest.update(f"{name} {little.dtype.str} {little.shape} ".encode())
    digest.update(little.reshape(-1).view(np.uint8).data)
