"""What training left its mark on: features and field pairs that some batch touched (numerics 6).

The rest is as it was drawn or set at the start, and says nothing about the data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fwfm_gpu.parameters import Array

if TYPE_CHECKING:
    from fwfm_gpu.model import FwFM

__all__ = ["trained_features", "trained_pairs"]


def trained_features(model: FwFM) -> Array:
    """The features whose factors are no longer the random start, (n,) bool.

    Their linear weight is not 0, or the optimizer's state remembers them. With FTRL and ``l1_linear`` in a model that
    was saved without its state, a weight of 0 proves nothing: then all count.
    """
    parameters, options = model.parameters, model.options
    marked: Array = np.any(parameters.w != 0, axis=0)
    state = model.optimizer_state
    if state is None:
        return np.ones_like(marked) if options.l1_linear else marked
    for moment in state.moments.values():
        marked |= np.any(moment.w != 0, axis=0)
    if state.counts is not None:
        marked |= state.counts.feature > 0
    return marked


def trained_pairs(model: FwFM) -> Array:
    """The field pairs that training met in a row, (F, F) bool, symmetric.

    Their R is not 1, or the optimizer's state remembers it. Where R was held at 1 no pair leaves a mark: all pairs of
    two different fields count, and none within one field.
    """
    parameters = model.parameters
    F = parameters.n_fields
    if model.options.field_weights == "ones":
        different: Array = ~np.eye(F, dtype=bool)
        return different
    marked = np.any(parameters.R != 1, axis=0)
    state = model.optimizer_state
    if state is not None:
        for name in ("acc", "n"):  # sums of squared gradients: of AdaGrad, of FTRL
            if name in state.moments:
                marked |= np.any(state[name].R != 0, axis=0)
        if state.counts is not None:
            marked |= state.counts.slot > 0
    upper = np.triu(marked)
    symmetric: Array = upper | upper.T
    return symmetric
