"""Check an engine against conformance vectors, bit for bit.

Each vector is an ``.npz`` of start parameters, data and row orders, and of the scores, parameters and state that two
epochs must give. The very engine object that training drives is driven through it, by the same verbs.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fwfm_gpu.backends import Backend
from fwfm_gpu.errors import InputError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.optimizers import FTRL, RULES, Adam, Rule
from fwfm_gpu.parameters import Array, OptimizerState, Parameters
from fwfm_gpu.recipe import Penalties, Recipe

__all__ = ["PACKAGED_VECTORS", "Difference", "find_vectors", "verify_vector"]

PACKAGED_VECTORS = Path(__file__).parent / "vectors"
GROUPS = ("w0", "w", "V", "R")
NEEDED = {"config", "indptr", "indices", "data", "fields", "y", "orders", "scores_seen"} | {
    f"{when}_{group}" for when in ("start", "end") for group in GROUPS
}


@dataclass(frozen=True)
class Difference:
    """The first coordinate of an array that is not equal."""

    array: str
    index: tuple[int, ...]
    expected: Any
    got: Any

    def __str__(self) -> str:
        place = ", ".join(map(str, self.index))
        return (
            f"{self.array}[{place}]: expected {self.expected!r} ({hexadecimal(self.expected)}), "
            f"got {self.got!r} ({hexadecimal(self.got)})"
        )


def hexadecimal(value: Any) -> str:
    """The bits of a number, most significant byte first."""
    return "0x" + np.asarray(value).astype(np.asarray(value).dtype.newbyteorder(">")).tobytes().hex()


def find_vectors(folder: Path | str | None = None) -> list[Path]:
    """The vectors of a folder, sorted; without one, the few that the package carries.

    Raises
    ------
    InputError
        The folder holds none.
    """
    folder = PACKAGED_VECTORS if folder is None else Path(folder)
    found = sorted(folder.glob("*.npz"))
    if not found:
        raise InputError(f"{folder} must hold conformance vectors (*.npz); found none. Name another folder.")
    return found


def verify_vector(backend: Backend, path: Path) -> Difference | None:
    """Drive an engine through one vector. Returns the first difference, or None when every bit is equal."""
    vector = read_vector(path)
    config = json.loads(str(vector["config"]))
    T = np.dtype(config["dtype"])
    rows = FieldMatrix(
        vector["indptr"].astype(np.int64),
        vector["indices"].astype(np.int32),
        vector["data"].astype(T),
        vector["fields"].astype(np.int32),
        config["n_fields"],
    )
    data = backend.load_data(rows, vector["y"], vector.get("sample_weight"))
    start = Parameters(*(vector[f"start_{group}"] for group in GROUPS))
    model = backend.load_model(start, None, vector_recipe(config))
    for epoch, order in enumerate(vector["orders"]):
        scores = train_epoch(backend, model, data, order, config["batch_size"])
        if difference := first_difference(f"scores_seen[{epoch}]", vector["scores_seen"][epoch], scores):
            return difference
    return compare(vector, *backend.fetch_model(model))


def read_vector(path: Path) -> dict[str, Array]:
    """The arrays of a vector.

    Raises
    ------
    InputError
        It is none: unreadable, or arrays are missing.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            vector = {name: archive[name] for name in archive.files}
    except (AttributeError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} must be a conformance vector, an .npz file: {error}. Fetch it again.") from error
    missing = sorted(NEEDED - vector.keys())
    if missing:
        raise InputError(f"{path} must be a conformance vector: it lacks {', '.join(missing)}. Name another folder.")
    return vector


def vector_recipe(config: dict[str, Any]) -> Recipe:
    """The recipe that a vector was made with."""
    return Recipe(
        loss=config["loss"],
        rule=vector_rule(config),
        batch_size=config["batch_size"],
        penalties=Penalties(*(config[name] for name in ("l1_linear", "l2_linear", "l1_factors", "l2_factors"))),
        label_smoothing=config["label_smoothing"],
        learns_R=config["field_weights"] == "learn",
    )


def vector_rule(config: dict[str, Any]) -> Rule:
    """The update rule that a vector was made with."""
    rate, clip = config["learning_rate"], config.get("gradient_clip")
    if config["optimizer"] == "adam":
        return Adam(rate, config["beta_1"], config["beta_2"], config["epsilon"], gradient_clip=clip)
    if config["optimizer"] == "ftrl":
        return FTRL(rate, config["ftrl_beta"], config["ftrl_start"], gradient_clip=clip)
    return RULES[config["optimizer"]](rate, gradient_clip=clip)


def train_epoch(backend: Backend, model: Any, data: Any, order: Array, batch_size: int) -> Array:
    """One epoch, batch by batch. Returns the score of each visited row before its batch, (rows, C)."""
    return advance_all(backend, backend.begin(model, data, order), model, data, (order, batch_size))


def advance_all(backend: Backend, run: Any, model: Any, data: Any, visits: tuple[Array, int]) -> Array:
    """`train_epoch` of a run that has begun, of an order and a batch size."""
    scores, (order, batch_size) = [], visits
    for lo in range(0, len(order), batch_size):
        scores.append(backend.score(model, data)[order[lo : lo + batch_size]])
        backend.advance(run, 1)
        backend.collect(run)
    return np.concatenate(scores)


def compare(vector: dict[str, Array], parameters: Parameters, state: OptimizerState | None) -> Difference | None:
    """The first difference in parameters, then in state; of R, in the upper triangle."""
    assert state is not None
    for name, expected, got in compared_arrays(vector, parameters, state):
        if name.startswith(("end_R", "state_R")):
            expected, got = np.triu(expected), np.triu(got)
        if difference := first_difference(name, expected, got):
            return difference
    return None


def compared_arrays(
    vector: dict[str, Array], parameters: Parameters, state: OptimizerState
) -> Iterator[tuple[str, Array, Array]]:
    """Name, expected and got of each array of the vector's end."""
    per_coordinate = iter(state.as_list())
    for group in GROUPS:
        yield f"end_{group}", vector[f"end_{group}"], getattr(parameters, group)
    for group in GROUPS:
        for name in (*state.moments, *(["t"] if state.counts is not None else [])):
            yield f"state_{group}_{name}", vector[f"state_{group}_{name}"], next(per_coordinate)


def first_difference(name: str, expected: Array, got: Array) -> Difference | None:
    """The first entry whose bits differ; a wrong dtype or shape differs at no index. NaN equals NaN (numerics 2)."""
    if expected.dtype != got.dtype or expected.shape != got.shape:
        described = (f"{array.dtype} {array.shape}" for array in (expected, got))
        return Difference(name, (), *map(np.str_, described))
    bits = f"u{expected.dtype.itemsize}"
    same = np.ascontiguousarray(expected).view(bits) == np.ascontiguousarray(got).view(bits)
    if expected.dtype.kind == "f":
        same |= np.isnan(expected) & np.isnan(got)
    if np.all(same):
        return None
    index = tuple(int(i) for i in np.argwhere(~same)[0])
    return Difference(name, index, expected[index], got[index])
