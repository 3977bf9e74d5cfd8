"""Where training starts: parameters and the optimizer's state before the first batch."""

from __future__ import annotations

import numpy as np

from fwfm_gpu.errors import OptionError
from fwfm_gpu.parameters import OptimizerState, Parameters
from fwfm_gpu.problem import Settled
from fwfm_gpu.recipe import Recipe

__all__ = ["start_parameters", "start_state"]


def start_parameters(settled: Settled, generator: np.random.Generator) -> Parameters:
    """w0 = 0, w = 0, R = 1 and normal factors, drawn in float64 (numerics 8)."""
    options, columns, n_classes = settled.options, settled.columns, settled.n_classes
    n, F = len(columns.fields), columns.n_fields
    with np.errstate(over="ignore"):
        V = generator.normal(0, options.init_scale, (n_classes, n, options.n_factors)).astype(options.dtype)
    if not np.all(np.isfinite(V)):
        raise OptionError(f"init_scale must keep the factors finite in {options.dtype}; got {options.init_scale}.")
    w0, w = np.zeros(n_classes, options.dtype), np.zeros((n_classes, n), options.dtype)
    return Parameters(w0, w, V, np.ones((n_classes, F, F), options.dtype))


def start_state(recipe: Recipe, parameters: Parameters) -> OptimizerState:
    """The state before the first batch; FTRL's warm start divides by the learning rate and may overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        state = recipe.start_state(parameters)
    if not all(np.all(np.isfinite(array)) for moment in state.moments.values() for array in moment.arrays().values()):
        raise OptionError(
            f"ftrl_beta / learning_rate must keep FTRL's warm start finite in {parameters.dtype}; got {recipe.rule}."
        )
    return state
