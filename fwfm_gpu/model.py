"""A trained model: what ``train`` and ``load`` return."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from fwfm_gpu import explanations, field_strengths, interactions
from fwfm_gpu.backends import Backend, get_backend, send_array
from fwfm_gpu.downsampling import correct_bias
from fwfm_gpu.errors import InputTypeError, OptionError
from fwfm_gpu.history import EpochRecord, Position
from fwfm_gpu.labels import Labels, decode
from fwfm_gpu.model_columns import Columns
from fwfm_gpu.numerics import sigmoid64, softmax64
from fwfm_gpu.options import Metrics, Options, Schedule
from fwfm_gpu.parameters import Array, OptimizerState, Parameters

if TYPE_CHECKING:
    from fwfm_gpu.evaluation import EvalSets
    from fwfm_gpu.scorer import Scorer
    from fwfm_gpu.training import CallbackLike

__all__ = ["BestEpoch", "Columns", "FwFM", "Trained", "check_model"]


@dataclass(frozen=True)
class BestEpoch:
    """An earlier epoch that patience would come back to, kept while training pauses elsewhere."""

    epoch: int
    parameters: Parameters
    optimizer_state: OptimizerState | None
    generator_state: dict[str, Any]


@dataclass(frozen=True)
class Trained:
    """Everything that training changes, replaced as one, so that a reader never sees half of a change."""

    parameters: Parameters
    optimizer_state: OptimizerState | None
    generator_state: dict[str, Any]
    history: tuple[EpochRecord, ...] = ()
    position: Position = field(default_factory=Position)
    seconds: float = 0.0
    data_fingerprint: str | None = None
    numpy_version: str = np.__version__
    best: BestEpoch | None = None

    def __post_init__(self) -> None:
        for array in self.parameters.arrays().values():
            array.setflags(write=False)  # engines may share them; continue_training makes new ones


class FwFM:
    """A Field-weighted Factorization Machine.

    Made by ``fwfm_gpu.train`` and ``fwfm_gpu.load``. Prediction may be called from several threads at once, also while
    another continues training: each call sees the parameters from before or from after. While one calls `grow`, which
    changes the columns too, no other may predict.

    Attributes
    ----------
    parameters : Parameters
        w0 (C,), w (C, n), V (C, n, k), R (C, F, F), read-only; C is 1 but for softmax.
    optimizer_state : OptimizerState or None
        What the update rule remembers; ``.as_list()`` gives the order of the published specification.
    history : tuple of EpochRecord
        Per epoch: training loss, evaluation metrics, seconds, rows per second.
    best_epoch : int
        The epoch that the parameters are from.
    classes : array or None
        The labels in ascending order; None for squared loss.
    loss : str
        ``"logistic"``, ``"squared"`` or ``"softmax"``.
    options : Options
        What ``train`` was asked for.
    device : str
        Where the model scores and trains on; may be set at any time.
    columns : Columns
        Fields and names of the features.
    """

    def __init__(self, options: Options, loss: str, labels: Labels | None, columns: Columns, trained: Trained) -> None:
        self.options = options
        self.device = options.device
        self.loss = loss
        self.labels = labels
        self.columns = columns
        self.trained = trained
        self._scorer: tuple[Trained, str, Backend, Any] | None = None
        self._lock = threading.Lock()

    parameters = property(lambda self: correct_bias(self.trained.parameters, self.options.negative_sampling_rate))
    optimizer_state = property(lambda self: self.trained.optimizer_state)
    history = property(lambda self: self.trained.history)
    best_epoch = property(lambda self: self.trained.position.epochs)
    classes = property(lambda self: None if self.labels is None else self.labels.classes)

    def __repr__(self) -> str:
        p = self.parameters
        labels = "" if self.labels is None else f"{len(self.labels.classes)} labels, "
        return (
            f"FwFM({self.loss}, {p.n_features} features, {p.n_fields} fields, {p.n_factors} factors, {labels}{p.dtype})"
        )

    def decision_function(self, X: Any) -> Any:
        """Raw scores (numerics 3).

        Parameters
        ----------
        X : FieldMatrix, SciPy sparse matrix or dense array, (rows, n)
            Or a table (frame or dict of arrays), when the model was trained on the rows of an encoder. Where X lies on
            a GPU, numbers come back there, in an array of its library.

        Returns
        -------
        (rows,) or, for softmax, (rows, C), of the dtype of the parameters

        Raises
        ------
        InputError
            Other columns than in training, or values that are not finite.
        """
        s, send = self._score(X)
        return send(s)

    def predict_proba(self, X: Any) -> Any:
        """Probability of each class, in the order of ``classes``.

        Parameters
        ----------
        X
            As for `decision_function`.

        Returns
        -------
        (rows, C) float64, C = 2 for the logistic loss
            Each row sums to 1.

        Raises
        ------
        OptionError
            The model is a regression.
        """
        if self.loss == "squared":
            raise OptionError('predict_proba needs classes, and this model has loss="squared". Call predict.')
        s, send = self._score(X)
        s = s.astype(np.float64)
        with np.errstate(all="ignore"):
            if self.loss == "softmax":
                return send(softmax64(s))
            p = sigmoid64(s)
            return send(np.stack((1 - p, p), axis=1))

    def predict(self, X: Any) -> Any:
        """The most probable label as it came in y; for squared loss the score.

        Parameters
        ----------
        X
            As for `decision_function`.

        Returns
        -------
        (rows,)
            Of two labels the second needs a score above 0; of several equal scores the first wins. Labels that are
            strings stay on the host.
        """
        s, send = self._score(X)
        if self.labels is None:
            return send(s)
        return send(decode(self.labels, np.argmax(s, axis=1) if self.loss == "softmax" else s > 0))

    def scorer(self, device: str | None = None) -> Scorer:
        """What scores one row at a time, in microseconds and with the same bits: for online use.

        Parameters
        ----------
        device : str, optional
            In place of the model's: ``"numpy"``, or ``"cpu"`` for machine code where numba is installed. One row is
            scored on the host, wherever the model is.

        Returns
        -------
        Scorer
            A snapshot of the parameters, shared: training the model on does not change it. Machine code is compiled
            now, not with the first row.

        Raises
        ------
        MissingExtraError
            ``"cpu"``, and numba is installed and cannot be imported.
        OptionError
            The device is not known.
        """
        from fwfm_gpu.scorer import Scorer

        return Scorer(self.parameters, self.columns, self.loss, self.device if device is None else device)

    def save(self, path: str | PathLike[str], *, optimizer_state: bool = True) -> None:
        """Write the model to one file, in one step: a former file stays whole until the new one is.

        Parameters
        ----------
        path : str or path-like
        optimizer_state : bool
            False leaves out what only further training needs: a smaller file that predicts just the same.
        """
        from fwfm_gpu.model_document import describe
        from fwfm_gpu.model_file import write_file

        write_file(path, *describe(self, optimizer_state))

    def fingerprint(self, *, history: bool = False) -> str:
        """SHA-256 in hex of what training has reached: equal for equal bits, on every engine and machine.

        It covers parameters, optimizer state, the generator's state, epochs and batches done, the best epoch that is
        kept, fields, classes, loss, and the options but for device, n_threads, device_memory and epochs. It leaves out
        names and the encoder, times, versions, and what numerics 11 leaves out: R below its diagonal, and what a rule
        keeps for an R that is held.

        Parameters
        ----------
        history : bool
            Cover losses and metrics too, which two engines may report with other last digits: for two runs on one
            engine and machine.

        Returns
        -------
        str
            64 hexadecimal digits.
        """
        from fwfm_gpu.fingerprints import fingerprint_model

        return fingerprint_model(self, history)

    def continue_training(
        self,
        X: Any,
        y: Any = None,
        *,
        epochs: int,
        label: str | None = None,
        weight: str | None = None,
        columns: Iterable[str] | None = None,
        sample_weight: Any = None,
        eval_set: EvalSets | None = None,
        eval_metric: Metrics | None = None,
        group: Any = None,
        schedule: Schedule | None = None,
        counts: tuple[Any, Any] | None = None,
        callbacks: Iterable[CallbackLike] = (),
        progress: bool | str = "auto",
    ) -> FwFM:
        """Train on, as if training had never stopped: with the same data, the same bits.

        An epoch that was interrupted is finished first and counts as one. The options are those of ``train``; rows held
        out then are held out again. No checkpoints are written: for those, pass more epochs and ``resume=`` to
        ``train``.

        Parameters
        ----------
        X, y, label, weight, columns, sample_weight, counts, eval_set, group, callbacks, progress
            As in ``fwfm_gpu.train``: X may be a source here too.
        epochs : int
            How many more.
        eval_metric : optional
            Replaces that of ``train``: a file cannot hold one that is a function.
        schedule : optional
            Likewise. More epochs than ``train`` had planned change no plan: see numerics 7.

        Returns
        -------
        FwFM
            This model, changed.

        Raises
        ------
        MissingStateError
            The model was saved without its optimizer state.
        """
        from fwfm_gpu.continuation import resume
        from fwfm_gpu.training import Given

        given = Given(
            sample_weight, eval_set, callbacks, progress, eval_metric, group, counts=counts, schedule=schedule
        )
        return resume(self, X, y, epochs, given, (label, weight, columns))

    def partial_fit(
        self,
        X: Any,
        y: Any = None,
        *,
        label: str | None = None,
        weight: str | None = None,
        columns: Iterable[str] | None = None,
        sample_weight: Any = None,
        counts: tuple[Any, Any] | None = None,
    ) -> FwFM:
        """One pass over the rows in the order given, all of them for training; nothing is drawn (numerics 8).

        Chunks whose lengths are multiples of the batch size give the same bits as one call on all rows. After an error
        the model is as it was.

        Parameters
        ----------
        X, y, label, weight, columns, sample_weight, counts
            As for ``fwfm_gpu.train``, but that X lies in memory.

        Returns
        -------
        FwFM
            This model, changed.

        Raises
        ------
        MissingStateError
            The model was saved without its optimizer state.
        """
        from fwfm_gpu.continuation import pass_once
        from fwfm_gpu.training import Given

        return pass_once(self, X, y, Given(sample_weight, counts=counts), (label, weight, columns))

    top_interactions = interactions.top_interactions
    field_strengths = field_strengths.field_strengths
    explain = explanations.explain
    explain_chunks = explanations.explain_chunks

    def grow(self, fields: Any, *, feature_names: Any = None, field_names: Any = None) -> FwFM:
        """Make room for features that were not there: new columns behind the old ones (numerics 8).

        What was learned stays, with what the optimizer remembers. New features have w = 0, factors drawn from a seed of
        their own, and R = 1 with fields that are new, so nothing that is scored changes until they are trained.

        Parameters
        ----------
        fields : FieldMatrix, or (m,) integers
            Rows whose first columns are the model's, as an encoder makes them after ``encoder.partial_fit``; the
            model takes their names and encoder. Or the field of each new feature.
        feature_names, field_names : sequences of str, optional
            Of what is new, with bare fields and a model that has names.

        Returns
        -------
        FwFM
            This model, changed.

        Raises
        ------
        InputError, InputTypeError
            Rows that do not begin with the model's columns, or names that are missing.
        """
        from fwfm_gpu.growth import grow

        return grow(self, fields, feature_names, field_names)

    def _score(self, X: Any) -> tuple[Array, Callable[[Array], Any]]:
        """Raw scores on the host, and what brings numbers to where X lies."""
        rows = self.columns.read(X, str(self.parameters.dtype))
        backend, resident = self._resident()
        s_bc = backend.score(resident, backend.load_data(rows))
        return s_bc if self.loss == "softmax" else s_bc[:, 0], lambda array: send_array(backend, array, rows)

    def _resident(self) -> tuple[Backend, Any]:
        """The engine and the parameters on its device, loaded once per change."""
        with self._lock:
            trained, device = self.trained, self.device
            if self._scorer is None or self._scorer[0] is not trained or self._scorer[1] != device:
                backend = get_backend(device, self.options.device_memory, self.options.n_threads)
                corrected = correct_bias(trained.parameters, self.options.negative_sampling_rate)
                self._scorer = (trained, device, backend, backend.load_model(corrected))
            return self._scorer[2], self._scorer[3]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_scorer": None, "_lock": None}  # a lock and a device do not travel

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
        self.trained.__post_init__()  # copied arrays are writable


def check_model(model: object) -> None:
    """Refuse what is no model; an estimator has one.

    Raises
    ------
    InputTypeError
        It is none.
    """
    if not isinstance(model, FwFM):
        advice = " Pass its .model_." if hasattr(model, "model_") else ""
        raise InputTypeError(f"model must be a FwFM, as train and load return it: got {type(model).__name__}.{advice}")
