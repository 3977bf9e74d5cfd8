"""What the two scikit-learn estimators share: rows as scikit-learn's users pass them, training on, and Ctrl-C."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from numbers import Integral
from os import PathLike
from typing import Any

import numpy as np

from fwfm_gpu.backends import fetch_array, get_backend
from fwfm_gpu.checkpoints import Checkpointing
from fwfm_gpu.continuation import resume
from fwfm_gpu.device_arrays import find_source, on_device
from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.errors import InputError, InputTypeError, MissingExtraError, MissingStateError, OptionError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.interruption import Interruption
from fwfm_gpu.io.tables import is_numeric, is_table
from fwfm_gpu.labels import Labels
from fwfm_gpu.model import FwFM
from fwfm_gpu.options import Options
from fwfm_gpu.parameters import Array
from fwfm_gpu.training import Given, check_given, make_untrained, start

try:
    from sklearn.base import BaseEstimator
    from sklearn.utils import check_random_state, column_or_1d
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise MissingExtraError(
        "FwFMClassifier and FwFMRegressor need scikit-learn 1.7 or later: pip install 'fwfm-gpu[sklearn]', or call "
        "fwfm_gpu.train, which needs NumPy and SciPy alone."
    ) from error

__all__ = ["Estimator"]

# What a learned model cannot change when it is trained on: its arrays or its rows would be others.
FIXED = ("loss", "n_factors", "optimizer", "field_weights", "dtype", "normalize", "negative_sampling_rate")
MOST_SEEDS = np.iinfo(np.int32).max
SHOWN_NAMES = 10  # in a message


class Estimator(BaseEstimator):
    """Base of `FwFMClassifier` and `FwFMRegressor`.

    What was learned is read from ``model_``, the one thing that is kept, so that it cannot disagree with itself.
    """

    callbacks: Any
    checkpoint: str | PathLike[str] | None
    checkpoint_every: int | None
    encoder: FieldEncoder | None
    epochs: int
    model_: FwFM
    n_features_in_: int
    n_iter_: int
    progress: bool | str
    random_state: Any
    resume: str | PathLike[str] | None
    warm_start: bool

    w0_ = property(lambda self: self._without_class_axis(self.model_.parameters.w0))
    w_ = property(lambda self: self._without_class_axis(self.model_.parameters.w))
    V_ = property(lambda self: self._without_class_axis(self.model_.parameters.V))
    R_ = property(lambda self: self._without_class_axis(self.model_.parameters.R))
    field_ids_ = property(lambda self: self.model_.columns.fields)
    history_ = property(lambda self: self.model_.history)

    def _keep(self, passed: dict[str, Any]) -> None:
        """The keywords of __init__ as they came: scikit-learn checks nothing before fit."""
        for name, value in passed.items():
            if name != "self":
                setattr(self, name, value)

    def fit(
        self,
        X: Any,
        y: Any,
        fields: Any = None,
        sample_weight: Any = None,
        eval_set: Any = None,
        group: Any = None,
    ) -> Any:
        """Train.

        Parameters
        ----------
        X : (rows, n) array, sparse matrix, frame or FieldMatrix
            A frame with a column that is not numeric goes through ``encoder``, as does every frame where one is given;
            a wholly numeric frame trains as its ``to_numpy()``. Booleans count as numbers.
        y : (rows,) array-like
        fields : (n,) integers, optional
            The field of each column; without it every column is its own. Not for frames that are encoded.
        sample_weight : (rows,) array-like, optional
        eval_set : (X, y), (X, y, sample_weight) or (X, y, sample_weight, group), optional
            Scored after each epoch; or a list of such, or a dict of them by name.
        group : (rows,) array-like, optional
            The group of each row, for grouped metrics on the rows that ``validation_fraction`` holds out.

        Returns
        -------
        self
            Also after Ctrl-C, which is raised again once the model of the last finished batch is kept.

        Raises
        ------
        KeyboardInterrupt
            Training was stopped by Ctrl-C; the estimator predicts with what it had learned.
        ValueError, TypeError
            Data or options that cannot be used; what ``fwfm_gpu.train`` raises are both, too.
        """
        former = self.model_ if self.warm_start and hasattr(self, "model_") else None
        rows, y = self._read(X, y, fields, former)
        loss, _ = self._settle(y, former)
        options = self._options(loss, former)
        encoded = has_encoder(former) if former is not None else rows.encoder is not None
        interruption = Interruption()
        sets = map_sets(eval_set, lambda other: self._read_other(other, encoded))
        given = Given(sample_weight, sets, self.callbacks, self.progress, group=group, interruption=interruption)
        if former is None:
            given = replace(given, checkpointing=self._checkpointing())
            self.model_ = start(rows, y, None, options, given)
            self.n_iter_ = len(self.model_.history)
        else:
            self._refuse_checkpoints()
            self.model_ = resume(reopened(former, options), rows, y, self.epochs, given)
            kept = [record for record in former.history if record.epoch <= former.best_epoch]
            self.n_iter_ += len(self.model_.history) - len(kept)
        if interruption.requested:
            raise KeyboardInterrupt(
                f"{interruption.cause}: training stopped after {self.n_iter_} finished epochs; the estimator keeps the "
                "model as of the last finished batch."
            )
        return self

    def _pass_once(self, X: Any, y: Any, fields: Any, sample_weight: Any, classes: Any = None) -> Any:
        """``partial_fit``: the rows in the order given. After an error what was learned is as it was."""
        former = getattr(self, "model_", None)
        rows, y = self._read(X, y, fields, former, chunk=True)
        loss, labels = self._settle(y, former, classes)
        options = self._options(loss, former)
        model = make_untrained(rows, options, loss, labels) if former is None else reopened(former, options)
        model.partial_fit(rows, y, sample_weight=sample_weight)
        self.n_iter_ = 1 if former is None else self.n_iter_ + 1
        self.model_ = model
        return self

    def _settle(self, y: Any, former: FwFM | None, classes: Any = None) -> tuple[str, Labels | None]:
        """The loss, and the labels where they are known before y is read."""
        raise NotImplementedError

    def _options(self, loss: str, former: FwFM | None) -> Options:
        """The keywords of __init__ as those of ``train``."""
        passed = {**self.get_params(deep=False), "loss": loss}
        passed["seed"] = self._draw_seed() if former is None else former.options.seed
        options = Options(**{name: passed[name] for name in Options.__dataclass_fields__ if name in passed})
        check_given(options)
        for name in FIXED:
            new = getattr(options, name, None)
            old = new if former is None else getattr(former.options, name, None)
            if old != new:
                raise OptionError(
                    f"{name} must stay what the model was trained with, {old!r}, as training goes on from there: got "
                    f"{new!r}. Set it back, or fit a new estimator."
                )
        return options

    def _checkpointing(self) -> Checkpointing:
        """Where checkpoints go, and where training goes on from."""
        checkpointing = Checkpointing(self.checkpoint, self.checkpoint_every, self.resume)
        checkpointing.open_directory()
        return checkpointing

    def _refuse_checkpoints(self) -> None:
        """A warm start begins with a model that checkpoints know nothing of."""
        for name in ("checkpoint", "resume"):
            if getattr(self, name) is not None:
                raise OptionError(
                    f"{name} must be None where warm_start goes on with a model that was learned; got "
                    f"{getattr(self, name)!r}. Set one of the two back."
                )

    def _draw_seed(self) -> int:
        """An int is the seed itself; else one is drawn."""
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(MOST_SEEDS))

    def _read(self, X: Any, y: Any, fields: Any, former: FwFM | None, chunk: bool = False) -> tuple[Any, Any]:
        """Checked rows and targets to train on: at first a FieldMatrix, later anything that the model reads."""
        if not is_own(X) and not (has_encoder(former) if former is not None else self._encodes(X)):
            X, y = validate_data(
                self,
                X,
                y,
                reset=former is None,
                accept_sparse=True,
                y_numeric=self.__sklearn_tags__().regressor_tags is not None,
            )
            names = tuple(getattr(self, "feature_names_in_", ())) or None
            if former is not None and fields is None:
                return X, y
            return FieldMatrix.from_matrix(
                X, fields, field_names=names if fields is None else None, feature_names=names
            ), y
        if former is None:
            validate_data(self, X, y, skip_check_array=True)
        y = self._fetch("y", y) if on_device(y) else column_or_1d(y, warn=True)
        if is_own(X):
            return FieldMatrix.from_matrix(X, fields), y
        if fields is not None:
            raise InputError("fields are for plain columns, and the columns of a frame are fields already: drop them.")
        return (self._encode(X, chunk) if former is None else self._read_table(X)), y

    def _read_other(self, X: Any, encoded: bool) -> Any:
        """Rows that are not trained on, as what is trained on reads them: to be scored."""
        if is_own(X):
            return X
        return self._read_table(X) if encoded else validate_data(self, X, reset=False, accept_sparse=True)

    def _read_table(self, X: Any) -> Any:
        """A frame for a model that holds an encoder."""
        names = getattr(self, "feature_names_in_", None)  # none: the model was trained on a FieldMatrix
        if not is_table(X):
            raise InputTypeError(
                f"X must be a frame, as in fit, where its columns were encoded: got {type(X).__name__}. "
                + ("" if names is None else f"Name its columns: {', '.join(map(repr, names[:SHOWN_NAMES]))}.")
            )
        if names is not None and not isinstance(X, Mapping):
            validate_data(self, X, reset=False, skip_check_array=True)
        return X

    def _encodes(self, X: Any) -> bool:
        """Whether fit encodes these rows."""
        if isinstance(X, Mapping):
            raise InputTypeError(
                "X must be an array, a sparse matrix or a frame, whose rows scikit-learn can count: got a dict. Pass "
                "FieldEncoder().fit_transform(X), or a frame of it."
            )
        return is_table(X) and (self.encoder is not None or not is_numeric(X))

    def _encode(self, X: Any, chunk: bool) -> FieldMatrix:
        """A frame, by an encoder of its own; a chunk by one that was fitted before, where there is one."""
        encoder = FieldEncoder() if self.encoder is None else copy.deepcopy(self.encoder)
        return encoder.transform(X) if chunk and is_fitted(encoder) else encoder.fit_transform(X)

    def _score(self, X: Any, method: str) -> Any:
        """What the model says of these rows."""
        check_is_fitted(self)
        return getattr(self.model_, method)(self._read_other(X, has_encoder(self.model_)))

    def _fetch(self, what: str, array: Any) -> Any:
        """An array that lies on a GPU, on the host."""
        params = self.get_params(deep=False)
        return fetch_array(
            get_backend(*(params[name] for name in ("device", "device_memory", "n_threads"))), what, array
        )

    def _without_class_axis(self, array: Array) -> Any:
        """Softmax alone has several classes of parameters."""
        return array if self.model_.loss == "softmax" else array[0]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def is_own(X: Any) -> bool:
    """Rows that scikit-learn cannot check and this package can: a FieldMatrix, or what lies on a GPU."""
    return isinstance(X, FieldMatrix) or find_source(X) is not None


def has_encoder(model: FwFM) -> bool:
    """Whether it was trained on rows that were encoded."""
    return model.columns.encoder is not None


def is_fitted(encoder: FieldEncoder) -> bool:
    """Whether it has learned categories and bins."""
    try:
        return len(encoder.fields) > 0
    except MissingStateError:
        return False


def reopened(model: FwFM, options: Options) -> FwFM:
    """The same model with other options, to be changed in the place of the first."""
    return FwFM(options, model.loss, model.labels, model.columns, model.trained)


def map_sets(eval_set: Any, read: Callable[[Any], Any]) -> Any:
    """The evaluation sets, their rows read. What is no such set is left for ``train`` to refuse."""
    if isinstance(eval_set, Mapping):
        return {name: map_sets(one, read) for name, one in eval_set.items()}
    if not isinstance(eval_set, tuple | list) or len(eval_set) == 0:
        return eval_set
    if isinstance(eval_set, list) and all(isinstance(one, tuple) for one in eval_set):
        return [map_sets(one, read) for one in eval_set]
    return (read(eval_set[0]), *eval_set[1:]) if len(eval_set) > 1 else eval_set
