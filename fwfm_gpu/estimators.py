"""The scikit-learn door: FwFMClassifier and FwFMRegressor, with the words of ``train``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any

import numpy as np

from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.errors import InputError, OptionError
from fwfm_gpu.estimators_base import Estimator
from fwfm_gpu.labels import Labels, find_distinct, read_column
from fwfm_gpu.model import FwFM
from fwfm_gpu.options import Metrics, Schedule
from fwfm_gpu.training import CallbackLike

# isort: split
# After estimators_base, which says what is missing.
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets

__all__ = ["FwFMClassifier", "FwFMRegressor"]

CLASSIFIER_LOSSES = ("auto", "logistic", "softmax")


class FwFMClassifier(ClassifierMixin, Estimator):
    """Field-weighted Factorization Machine for classes, as scikit-learn has its classifiers.

    The same data, options and seed give the same model to the bit as ``fwfm_gpu.train`` does, on every device.

    Parameters
    ----------
    loss : {"auto", "logistic", "softmax"}
        ``"auto"``: two classes logistic, more softmax.
    random_state : int, RandomState or None
        An int is the ``seed`` of ``train`` itself. Of a RandomState, or of NumPy's global one for None, each fit draws
        a seed.
    warm_start : bool
        True: fit trains the model that was learned for ``epochs`` more.
    encoder : FieldEncoder, optional
        Encodes frames, wholly numeric ones too. fit learns a copy of it from X; partial_fit takes one that was fitted
        as it is. None: ``FieldEncoder()``, for frames with a column that is not numeric.
    callbacks : sequence of Callback or functions of a Status
    progress : bool or "auto"
        Quiet by default, as scikit-learn is.
    checkpoint, checkpoint_every, resume
        As in ``fwfm_gpu.train``, for one fit: a search, whose fits would meet in one directory, is refused there.
    device, n_threads, device_memory, normalize, n_factors, epochs, batch_size, optimizer, learning_rate, schedule
        As in ``fwfm_gpu.train``.
    warmup_epochs, schedule_floor, schedule_decay, schedule_every, beta_1, beta_2, epsilon, ftrl_beta, ftrl_start
        As in ``fwfm_gpu.train``.
    l1_linear, l2_linear, l1_factors, l2_factors, init_scale, field_weights, label_smoothing, gradient_clip
        As in ``fwfm_gpu.train``.
    negative_sampling_rate, class_weight, eval_metric, patience, min_delta, validation_fraction, validation, shuffle
        As in ``fwfm_gpu.train``.
    dtype
        As in ``fwfm_gpu.train``.

    Attributes
    ----------
    classes_ : (C,)
        The classes in ascending order.
    model_ : FwFM
        What was learned, to be saved, explained and reported on.
    w0_, w_, V_, R_ : arrays of T, read-only
        Bias, (n,) linear weights, (n, k) factors and (F, F) field-pair weights, whose upper triangle counts; for the
        softmax loss with a class axis in front.
    field_ids_ : (n,) int32
        The field of each feature.
    n_iter_ : int
        Finished passes over the rows.
    history_ : tuple of EpochRecord
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : (columns,) object
        The columns' names, where X was a frame.

    Examples
    --------
    >>> from fwfm_gpu import FwFMClassifier
    >>> classifier = FwFMClassifier(epochs=3).fit([[0, 1], [1, 0], [1, 1]], ["no", "yes", "yes"])
    >>> classifier.predict([[1, 0]])
    array(['yes'], dtype='<U3')
    """

    loss: str

    def __init__(
        self,
        *,
        encoder: FieldEncoder | None = None,
        device: str = "auto",
        n_threads: int | None = None,
        device_memory: int | None = None,
        loss: str = "auto",
        normalize: str | None = None,
        n_factors: int = 8,
        epochs: int = 10,
        batch_size: int = 1024,
        optimizer: str = "adagrad",
        learning_rate: float = 0.1,
        schedule: Schedule = "constant",
        warmup_epochs: int = 0,
        schedule_floor: float = 0.0,
        schedule_decay: float = 0.9,
        schedule_every: int = 10,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        ftrl_beta: float = 1.0,
        ftrl_start: str = "warm",
        l1_linear: float = 0.0,
        l2_linear: float = 1e-5,
        l1_factors: float = 0.0,
        l2_factors: float = 1e-4,
        init_scale: float = 0.01,
        field_weights: str = "learn",
        label_smoothing: float = 0.0,
        gradient_clip: float | None = None,
        negative_sampling_rate: float | None = None,
        class_weight: str | Mapping[Any, float] | None = None,
        eval_metric: Metrics = "auto",
        patience: int | None = None,
        min_delta: float = 0.0,
        validation_fraction: float | None = None,
        validation: str = "random",
        shuffle: bool = True,
        dtype: str = "float32",
        random_state: Any = 0,
        warm_start: bool = False,
        callbacks: Iterable[CallbackLike] = (),
        progress: bool | str = False,
        checkpoint: str | PathLike[str] | None = None,
        checkpoint_every: int | None = None,
        resume: str | PathLike[str] | None = None,
    ) -> None:
        self._keep(locals())

    classes_ = property(lambda self: self.model_.classes)

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, fields: Any = None, sample_weight: Any = None
    ) -> FwFMClassifier:
        """One pass over the rows in the order given, all of them for training; nothing is drawn.

        Chunks whose lengths are multiples of the batch size give the same bits as one call on all rows.

        Parameters
        ----------
        X, y, fields, sample_weight
            As in fit. A frame of a first chunk that is not numeric teaches the encoder its categories, unless the
            encoder was fitted before.
        classes : (C,) array-like
            All classes there will be; for the first call.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As fit does; or classes are missing in the first call, or others in a later one.
        """
        if classes is None and not hasattr(self, "model_"):
            raise InputError(
                "classes must be passed on the first call to partial_fit: all that there will be, which the first rows "
                "need not hold. Pass classes=numpy.unique(all_y)."
            )
        fitted: FwFMClassifier = self._pass_once(X, y, fields, sample_weight, classes)
        return fitted

    def decision_function(self, X: Any) -> Any:
        """Raw scores.

        Parameters
        ----------
        X
            As in fit, without labels.

        Returns
        -------
        (rows,) for two classes, above 0 for the second; else (rows, C)
        """
        scores = self._score(X, "decision_function")
        if self.model_.loss == "softmax" and len(self.model_.classes) == 2:
            return scores[:, 1] - scores[:, 0]
        return scores

    def predict(self, X: Any) -> Any:
        """The most probable class of each row.

        Parameters
        ----------
        X
            As in fit, without labels.

        Returns
        -------
        (rows,)
        """
        return self._score(X, "predict")

    def predict_proba(self, X: Any) -> Any:
        """The probability of each class, in the order of ``classes_``.

        Parameters
        ----------
        X
            As in fit, without labels.

        Returns
        -------
        (rows, C) float64
        """
        return self._score(X, "predict_proba")

    def predict_log_proba(self, X: Any) -> Any:
        """The logarithm of `predict_proba`; -inf where that is 0.

        Parameters
        ----------
        X
            As in fit, without labels.

        Returns
        -------
        (rows, C) float64
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def _settle(self, y: Any, former: FwFM | None, classes: Any = None) -> tuple[str, Labels | None]:
        """The loss by the number of classes: of ``classes`` where they are given, else of y."""
        if self.loss not in CLASSIFIER_LOSSES:
            raise OptionError(f"loss must be one of {', '.join(map(repr, CLASSIFIER_LOSSES))}; got {self.loss!r}.")
        check_classification_targets(y)
        if classes is None and former is not None:
            return self._loss_of(former.labels), former.labels
        labels = Labels(find_distinct(read_column(*((y, "y") if classes is None else (classes, "classes")), "class")))
        if former is not None and not np.array_equal(labels.classes, former.classes):
            raise InputError(
                f"classes must stay those of the first call, {former.labels}: got {labels}. Leave them out."
            )
        if len(labels.classes) == 1:
            raise InputError(
                f"y must hold at least two classes, got one class alone: {labels}. Add rows of another class."
            )
        return self._loss_of(labels), labels

    def _loss_of(self, labels: Labels | None) -> str:
        """The loss for these classes."""
        if self.loss != "auto" or labels is None:
            return self.loss
        return "logistic" if len(labels.classes) == 2 else "softmax"


class FwFMRegressor(RegressorMixin, Estimator):
    """Field-weighted Factorization Machine for numbers, as scikit-learn has its regressors.

    Squared loss. The same data, options and seed give the same model to the bit as ``fwfm_gpu.train`` does, on every
    device. y is trained on as it is, in steps that start from predictions near 0: standardise it, or wrap the regressor
    in ``sklearn.compose.TransformedTargetRegressor(regressor, transformer=StandardScaler())``.

    Parameters
    ----------
    random_state, warm_start, encoder, callbacks, progress, checkpoint, checkpoint_every, resume
        As in `FwFMClassifier`.
    device, n_threads, device_memory, normalize, n_factors, epochs, batch_size, optimizer, learning_rate, schedule
        As in ``fwfm_gpu.train``.
    warmup_epochs, schedule_floor, schedule_decay, schedule_every, beta_1, beta_2, epsilon, ftrl_beta, ftrl_start
        As in ``fwfm_gpu.train``.
    l1_linear, l2_linear, l1_factors, l2_factors, init_scale, field_weights, gradient_clip, eval_metric, patience
        As in ``fwfm_gpu.train``.
    min_delta, validation_fraction, validation, shuffle, dtype
        As in ``fwfm_gpu.train``.

    Attributes
    ----------
    model_, w0_, w_, V_, R_, field_ids_, n_iter_, history_, n_features_in_, feature_names_in_
        As in `FwFMClassifier`, without a class axis.

    Examples
    --------
    >>> from fwfm_gpu import FwFMRegressor
    >>> regressor = FwFMRegressor(epochs=100).fit([[0, 1], [1, 0], [1, 1]], [-1.0, 0.0, 1.0])
    >>> regressor.predict([[1, 1]]).round(1)
    array([1.], dtype=float32)
    """

    def __init__(
        self,
        *,
        encoder: FieldEncoder | None = None,
        device: str = "auto",
        n_threads: int | None = None,
        device_memory: int | None = None,
        normalize: str | None = None,
        n_factors: int = 8,
        epochs: int = 10,
        batch_size: int = 1024,
        optimizer: str = "adagrad",
        learning_rate: float = 0.1,
        schedule: Schedule = "constant",
        warmup_epochs: int = 0,
        schedule_floor: float = 0.0,
        schedule_decay: float = 0.9,
        schedule_every: int = 10,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        ftrl_beta: float = 1.0,
        ftrl_start: str = "warm",
        l1_linear: float = 0.0,
        l2_linear: float = 1e-5,
        l1_factors: float = 0.0,
        l2_factors: float = 1e-4,
        init_scale: float = 0.01,
        field_weights: str = "learn",
        gradient_clip: float | None = None,
        eval_metric: Metrics = "auto",
        patience: int | None = None,
        min_delta: float = 0.0,
        validation_fraction: float | None = None,
        validation: str = "random",
        shuffle: bool = True,
        dtype: str = "float32",
        random_state: Any = 0,
        warm_start: bool = False,
        callbacks: Iterable[CallbackLike] = (),
        progress: bool | str = False,
        checkpoint: str | PathLike[str] | None = None,
        checkpoint_every: int | None = None,
        resume: str | PathLike[str] | None = None,
    ) -> None:
        self._keep(locals())

    def partial_fit(self, X: Any, y: Any, fields: Any = None, sample_weight: Any = None) -> FwFMRegressor:
        """One pass over the rows in the order given, all of them for training; nothing is drawn.

        Chunks whose lengths are multiples of the batch size give the same bits as one call on all rows.

        Parameters
        ----------
        X, y, fields, sample_weight
            As in fit. A frame of a first chunk that is not numeric teaches the encoder its categories, unless the
            encoder was fitted before.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            As fit does.
        """
        fitted: FwFMRegressor = self._pass_once(X, y, fields, sample_weight)
        return fitted

    def predict(self, X: Any) -> Any:
        """The number for each row.

        Parameters
        ----------
        X
            As in fit, without labels.

        Returns
        -------
        (rows,) of T
        """
        return self._score(X, "predict")

    def _settle(self, y: Any, former: FwFM | None, classes: Any = None) -> tuple[str, Labels | None]:
        return "squared", None
