"""Negatives that were sampled: how to sample them, and what it does to the bias (numerics 3 and 8)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Context, Decimal, localcontext
from functools import lru_cache
from typing import Any

import numpy as np

from fwfm_gpu.errors import OptionError
from fwfm_gpu.labels import encode_targets
from fwfm_gpu.parameters import Array, Parameters

__all__ = ["correct_bias", "downsample", "log_of_rate"]


def downsample(y: Any, rate: float, seed: int = 0) -> Array:
    """Choose rows: all positives, and each negative with a probability.

    Train on them with ``negative_sampling_rate=rate``: the probabilities that the model gives are those of all rows.

    Parameters
    ----------
    y : (rows,) array-like
        Two distinct labels; the second in ascending order is the positive one, as for ``fwfm_gpu.train``.
    rate : float
        Above 0, 1 at most.
    seed : int

    Returns
    -------
    (m,) int64
        Row numbers, ascending: for ``FieldMatrix.take``, and as an index of y.

    Raises
    ------
    InputError, InputTypeError
        y cannot be read, or does not hold two distinct labels.
    OptionError
        A rate or a seed that is not allowed.

    Examples
    --------
    >>> import numpy as np, fwfm_gpu
    >>> clicked = np.arange(1000) % 50 == 0
    >>> kept = fwfm_gpu.downsample(clicked, 0.1)
    >>> int(clicked[kept].sum()), len(kept) < 200
    (20, True)
    """
    rate = checked_rate("rate", rate)
    if isinstance(seed, bool | np.bool_) or not isinstance(seed, int | np.integer) or seed < 0:
        raise OptionError(f"seed must be a whole number, 0 or above; got {seed!r}.")
    targets, _ = encode_targets(y, "logistic")
    drawn = np.random.default_rng(seed).random(len(targets))
    return np.flatnonzero((targets == 1) | (drawn < rate)).astype(np.int64, copy=False)


def checked_rate(name: str, rate: Any) -> float:
    """A share of rows, above 0 and 1 at most."""
    number = isinstance(rate, int | float | np.integer | np.floating) and not isinstance(rate, bool)
    if not number or not 0 < rate <= 1:
        raise OptionError(f"{name} must be a number above 0, 1 at most; got {rate!r}.")
    return float(rate)


@lru_cache(maxsize=64)
def log_of_rate(rate: float | None) -> float:
    """The float64 nearest to the natural logarithm of a rate; 0 of None."""
    if rate is None:
        return 0.0
    with localcontext(Context(prec=70, traps=[])):  # the caller's traps are not ours
        return float(Decimal(rate).ln())


def correct_bias(parameters: Parameters, rate: float | None) -> Parameters:
    """The parameters for all rows, of those that were learned on a sample of the negatives; w, V and R are shared."""
    shift = log_of_rate(rate)
    if shift == 0.0:
        return parameters
    w0 = (parameters.w0.astype(np.float64) + shift).astype(parameters.dtype)
    w0.setflags(write=False)
    return replace(parameters, w0=w0)
