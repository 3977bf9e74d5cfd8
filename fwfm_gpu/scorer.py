"""One row at a time: a small object for online use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fwfm_gpu.backends import get_backend, get_host_backend
from fwfm_gpu.errors import InputError, InputTypeError, OptionError
from fwfm_gpu.numerics import softmax64
from fwfm_gpu.parameters import Array, Parameters
from fwfm_gpu.row_encoder import RowEncoder

if TYPE_CHECKING:
    from fwfm_gpu.model import Columns

__all__ = ["Scorer"]


class Scorer:
    """Scores one row at a time, with the bits that the model's own methods give. Made by ``FwFM.scorer``.

    It is a snapshot: it shares the parameters that the model had when it was made, and training the model on does not
    change them. Any number of threads may call it. It pickles, without what only training needs.

    A row is given as the numbers of its features and their values, 1 where there are none; features in any order, equal
    ones summed, as in a matrix. Or, when the model was trained on the rows of an encoder, as a dict of its columns.

    Attributes
    ----------
    device : str
        The engine: ``"cpu"``, compiled, or ``"numpy"``.

    Examples
    --------
    ::

        scorer = model.scorer()
        scorer.score([3, 17, 40], [1.0, 1.0, 0.5])
        scorer.predict_proba({"age": 39, "city": "Bern"})
    """

    def __init__(self, parameters: Parameters, columns: Columns, loss: str, device: str) -> None:
        self._encoder = None if columns.encoder is None else RowEncoder(columns.encoder)
        self._engine = make_engine(parameters, columns, device)
        self._loss, self._dtype = loss, parameters.dtype
        kept = None if self._encoder is None else self._encoder.encoder
        self._made_of = parameters, replace(columns, encoder=kept), loss, device

    @property
    def device(self) -> str:
        """The engine."""
        name: str = self._engine.name
        return name

    def __repr__(self) -> str:
        return f"Scorer({self._loss}, device={self.device!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._made_of  # tables and machine code do not travel

    def score(self, features: Any, values: Any = None) -> float | Array:
        """The raw score of a row (numerics 3).

        Parameters
        ----------
        features : (z,) integers, or mapping of a column's name to its value
            A list, a tuple or an array. Of a mapping, columns that the encoder does not know are ignored.
        values : (z,) real numbers, optional
            All 1 without it. Not with a mapping.

        Returns
        -------
        float, or for softmax (C,) of the dtype of the parameters
            The float is exactly the number of that dtype.

        Raises
        ------
        InputTypeError
            Features are no integers, values no numbers; or a mapping, and the model has no encoder.
        InputError
            A feature that the model does not have, a value that is not finite, or what the encoder refuses.
        """
        scores = self._engine.scores(*self._read(features, values))
        return scores[0] if self._loss != "softmax" else np.array(scores, self._dtype)

    def predict_proba(self, features: Any, values: Any = None) -> Array:
        """The probability of each class of a row, in the order of the model's ``classes``.

        Parameters and errors are those of `score`.

        Returns
        -------
        (C,) float64, C = 2 for the logistic loss

        Raises
        ------
        OptionError
            The model is a regression.
        """
        if self._loss == "squared":
            raise OptionError('predict_proba needs classes, and this model has loss="squared". Call score.')
        row = self._read(features, values)
        if self._loss == "softmax":
            with np.errstate(all="ignore"):
                probabilities: Array = softmax64(np.array([self._engine.scores(*row)]))[0]
            return probabilities
        p = self._engine.sigmoid(*row)
        return np.array((1 - p, p))

    def _read(self, features: Any, values: Any) -> tuple[Any, Any]:
        """Features and values, of which the first has a length."""
        if isinstance(features, Mapping):
            return self._encode(features, values)
        try:
            len(features)
        except TypeError:
            raise InputTypeError(
                "a row must be a list, tuple or array of feature numbers, or a dict of columns: got "
                f"{type(features).__name__}."
            ) from None
        return features, values

    def _encode(self, row: Mapping[str, Any], values: Any) -> tuple[Any, Any]:
        """A dict of columns through the encoder."""
        if self._encoder is None:
            raise InputTypeError(
                f"a row of named columns ({type(row).__name__}) needs an encoder, and the model was trained without "
                "one. Pass numbers of features."
            )
        if values is not None:
            raise InputError("values must be left out where a row is a dict of columns: it holds them.")
        return self._encoder.encode(row)


def make_engine(parameters: Parameters, columns: Columns, device: str) -> Any:
    """What scores one row for a device; a single row never goes to a GPU, whose bits would be the same.

    Raises
    ------
    MissingExtraError
        ``"cpu"``, and numba is installed and cannot be imported.
    OptionError
        The device is not known.
    """
    anywhere = isinstance(device, str) and re.fullmatch(r"auto|cuda(:\d+)?", device)
    backend = get_host_backend() if anywhere else get_backend(device)
    if backend.name == "numpy":
        from fwfm_gpu.backends.numpy_scorer import NumPyScorer

        return NumPyScorer(parameters, columns.fields, columns.normalize is not None)
    from fwfm_gpu.backends.compiled_scorer import CompiledScorer

    return CompiledScorer(parameters, columns.fields, columns.normalize is not None)
