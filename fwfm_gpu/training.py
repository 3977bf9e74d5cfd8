"""The functional door: train, train on, pass once."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from os import PathLike
from typing import Any

import numpy as np

from fwfm_gpu.backends import Backend, fetch_array, get_backend
from fwfm_gpu.callbacks import Callbacks
from fwfm_gpu.checkpoints import Checkpointing, Terms
from fwfm_gpu.counts import expand, named_columns
from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.epochs import Loop, Setting
from fwfm_gpu.errors import InputError, OptionError, StreamWarning
from fwfm_gpu.evaluation import EvalSets, fetch_sets, make_evaluations
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.given import CallbackLike, Given
from fwfm_gpu.io.tables import is_table
from fwfm_gpu.labels import Labels, choose_loss, encode_targets
from fwfm_gpu.model import Columns, FwFM, Trained
from fwfm_gpu.options import Metrics, Options, Schedule
from fwfm_gpu.passes import MemoryPasses, Passes
from fwfm_gpu.problem import (
    Problem,
    Settled,
    fingerprint,
    hold_out,
    make_problem,
    training_part,
)
from fwfm_gpu.progress import make_progress
from fwfm_gpu.row_norms import normalize_rows
from fwfm_gpu.schedules import SCHEDULES
from fwfm_gpu.starts import start_parameters, start_state
from fwfm_gpu.stream_sources import Roles, is_source
from fwfm_gpu.stream_training import (
    FIT_ROWS,
    Reading,
    read_table,
    refuse_beside_counts,
    refuse_roles,
    refuse_table,
    start_stream,
)

__all__ = [
    "CallbackLike",
    "Given",
    "check_given",
    "fetch_targets",
    "make_untrained",
    "run_loop",
    "start",
    "train",
    "warn_of_streams",
]


def train(
    X: Any,
    y: Any = None,
    *,
    fields: Any = None,
    label: str | None = None,
    weight: str | None = None,
    columns: Iterable[str] | None = None,
    encoder: FieldEncoder | None = None,
    fit_rows: int = FIT_ROWS,
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
    counts: tuple[Any, Any] | None = None,
    sample_weight: Any = None,
    class_weight: str | Mapping[Any, float] | None = None,
    eval_set: EvalSets | None = None,
    eval_metric: Metrics = "auto",
    patience: int | None = None,
    min_delta: float = 0.0,
    validation_fraction: float | None = None,
    validation: str = "random",
    group: Any = None,
    shuffle: bool = True,
    shuffle_rows: int = 1 << 20,
    dtype: str = "float32",
    seed: int = 0,
    callbacks: Iterable[CallbackLike] = (),
    progress: bool | str = "auto",
    checkpoint: str | PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    resume: str | PathLike[str] | None = None,
) -> FwFM:
    """Train a Field-weighted Factorization Machine (Pan et al., WWW 2018).

    The same data, options and seed give the same model to the bit, on every device (the numerics contract).

    Parameters
    ----------
    X : FieldMatrix, SciPy sparse matrix or dense array, (rows, n)
        Left as it is; a canonical copy is trained on. Of cupyx, CuPy, PyTorch or whoever offers DLPack or
        ``__cuda_array_interface__``, on a GPU: canonical CSR rows of T are then trained on where they lie, without a
        copy; see `FieldMatrix.from_matrix`. Or a table that holds its own label. Or, to read rows while they are
        trained on, in bounded memory: a path of Parquet, CSV, libffm or libsvm, or of what `convert` wrote; a directory
        or a list of such paths; or an iterable of batches that starts anew whenever it is iterated over, or a function
        that gives one. A batch is a table, ``(X, y)``, ``(X, y, weight)`` or ``(X, y, weight, group)``.
    y : (rows,) array-like, on the host or on a GPU, as sample_weight
        Labels (strings, booleans, integers) or, for squared loss, numbers. None where ``X`` holds them.
    fields : (n,) integers, optional
        The field of each column; without it every column is its own. A FieldMatrix carries them.
    label, weight : str, optional
        The columns of a table, or of a source of tables, that hold y and sample_weight.
    columns : sequence of str, optional
        Those that are features; without it, all others.
    encoder : FieldEncoder, optional
        For tables. One that is fitted is used; else a copy is fitted, on a source to every s-th row, s the smallest
        power of two that leaves at most ``fit_rows`` rows.
    fit_rows : int
        Rows of a source that an encoder is fitted on, at most.
    device : {"auto", "cpu", "numpy", "cuda", "cuda:N"}
        Where to train. A named device that is missing is an error, never a silent fallback.
    n_threads : int, optional
        Threads of the compiled engine on the processor; without it ``FWFM_NUM_THREADS``, or one per core. Never changes
        a bit, and does not travel in a model's file.
    device_memory : int, optional
        Bytes of a GPU's memory that may be used; rows that do not fit are streamed. Never changes a bit.
    loss : {"auto", "logistic", "squared", "softmax"}
        ``"auto"``: two labels logistic, 3 to 50 labels softmax, floating-point values squared. Steps start from scores
        near 0, so standardise y for squared loss: subtract its mean, divide by its standard deviation.
    normalize : {None, "l2"}
        ``"l2"`` divides each row by its length, in training and in whatever scores afterwards (numerics 1).
    n_factors : int
        k, the length of each feature's vector; 0 is the linear model.
    epochs, batch_size : int
        Passes over the rows, and rows per update.
    optimizer : {"adagrad", "sgd", "adam", "ftrl"}
        The update rule (numerics 7). A coordinate takes a step in the batches that touch it, in no other.
    learning_rate : float
        Of the first epoch after the warm-up; the schedule says what becomes of it.
    schedule : {"constant", "linear", "cosine", "exponential", "step"}
        A factor of the rate for each epoch (numerics 7). Linear and cosine fall over the planned epochs. Or a function
        ``f(epoch, epochs) -> factor``, both counted from the end of the warm-up, epoch from 0; a file cannot keep it.
    warmup_epochs : int
        Epochs at first in which the rate rises in equal steps.
    schedule_floor : float
        The factor never falls below it.
    schedule_decay : float
        What exponential multiplies the factor by after each epoch, and step after every ``schedule_every``.
    schedule_every : int
        Epochs of a step.
    beta_1, beta_2 : float
        Adam's decay of the mean gradient, and of its square.
    epsilon : float
        What Adam adds to the root that it divides by.
    ftrl_beta : float
        FTRL's: the larger, the smaller the first steps of a coordinate.
    ftrl_start : {"warm", "zero"}
        ``"warm"`` starts FTRL at the initial parameters, so that it learns interactions (numerics 7).
    l1_linear, l1_factors : float
        L1 penalty of w; of V and R: small coordinates become exactly 0. FTRL alone.
    l2_linear, l2_factors : float
        L2 penalty of w; of V and R. Only on coordinates that a batch touches.
    init_scale : float
        Standard deviation of the initial factors.
    field_weights : {"learn", "ones"}
        ``"ones"`` holds R at 1: the plain factorization machine.
    label_smoothing : float
        How far each target is drawn to the mean of all labels: 0 not at all (numerics 4). Not for squared loss.
    gradient_clip : float, optional
        Each coordinate's mean gradient is held between -gradient_clip and gradient_clip (numerics 7).
    negative_sampling_rate : float, optional
        The rows hold all positives and this share of the negatives, see `downsample`; the model's bias is corrected, so
        that its probabilities are those of all rows (numerics 3). An ``eval_set`` is taken to be whole. Logistic alone.
    counts : (clicks, impressions), each (rows,) array-like, or two names of columns, optional
        In place of y and sample_weight: each row stands for so many clicks, and for impressions without one. Names are
        for a table or a source of tables; both columns then are no features.
    sample_weight : (rows,) array-like, optional
        What each row counts, 0 or more; 1 without it. The mean of a batch divides by rows, not by weights (numerics 6).
    class_weight : mapping of label to weight, or "balanced", optional
        What the rows of a label count, times sample_weight; 1 for labels left out. ``"balanced"``: each label as much
        as any other. Shapes training, not evaluation.
    eval_set : (X, y), (X, y, sample_weight) or (X, y, sample_weight, group), a list or a dict of those, optional
        Scored after each epoch; sample_weight and group may be None. The series of several sets are named
        ``"eval_0/auc"``, or after the keys of the dict, ``"valid/auc"``. The first metric on the first set steers.
    eval_metric : str, callable, or a list of them
        ``"auto"``, ``"logloss"``, ``"ne"``, ``"auc"``, ``"rmse"``, ``"mae"``, ``"r2"``, ``"accuracy"``, ``"ece"``; over
        groups ``"gauc"``, ``"precision@10"``, ``"recall@10"``, ``"ndcg@10"`` with any number; or
        ``f(y_true, prediction) -> (name, value, higher_is_better)``. The first one steers.
    patience : int, optional
        Stop after so many epochs without a gain above ``min_delta``; the best epoch is restored.
    min_delta : float
        A gain must be larger than this for ``patience``.
    validation_fraction : float, optional
        Hold out this part of the rows instead of an ``eval_set``.
    validation : {"random", "tail"}
        Which rows are held out: click data is split by time, so its last rows.
    group : (rows,) array-like of integers or strings, or str, optional
        The user, query or page view of each row, for metrics of ranked lists on the rows that are held out; the name
        of a column where X is a table or a source, which then is no feature. Nothing is held out of a source.
    shuffle : bool
        A new row order for each epoch.
    shuffle_rows : int
        Rows of a source that are shuffled together, rounded up to whole batches: they, and as many again, are what is
        held in memory. Where all rows fit, the bits are those of training in memory.
    dtype : {"float32", "float64"}
        T, the type of parameters and scores.
    seed : int
        Of the generator that draws the rows held out, the first factors and the row orders (numerics 8).
    callbacks : iterable of Callback or functions of a Status
        Called during training; one that returns True stops it.
    progress : bool or "auto"
        True: a bar (tqdm). ``"auto"``: a bar on a terminal, else log lines.
    checkpoint : str or path-like, optional
        A directory, made if missing, to which it is written where training stands: in one step, durably, and the
        checkpoint before stays. Also when training ends, or stops by Ctrl-C. Each is a model file.
    checkpoint_every : int, optional
        After so many batches, and each multiple of that, counted over the whole training. Without it, after each
        epoch.
    resume : str or path-like, optional
        A directory of checkpoints; training goes on from the newest as if it had never stopped, to the same bits, and
        starts afresh where there is none yet. Data and options must be those of the checkpoint, but for device,
        n_threads, device_memory and epochs. ``checkpoint`` may name the same directory.

    Returns
    -------
    FwFM

    Raises
    ------
    InputError, InputTypeError
        Data that cannot be used; the message names the first place.
    OptionError
        An option outside what is allowed; the message lists what is.
    DeviceError
        The named device is not there.
    DivergenceError
        A score or a parameter became infinite or NaN; carries the model of the last finite epoch.
    CheckpointError
        A checkpoint cannot be written or read; carries the model that was reached.
    """
    passed = locals()
    options = Options(**{name: passed[name] for name in Options.__dataclass_fields__})
    check_given(options)
    checkpointing = Checkpointing(checkpoint, checkpoint_every, resume)
    checkpointing.open_directory()
    given = Given(sample_weight, eval_set, callbacks, progress, group=group, checkpointing=checkpointing)
    roles = Roles(label, weight, given.group_column, columns, named_columns(counts))
    reading = Reading.of(roles, encoder, fit_rows, fields)
    if counts is not None:
        refuse_beside_counts(options.loss, passed)
    if counts is not None and roles.counts is None:
        refuse_table(X)
        X, y, weights = expand(FieldMatrix.from_matrix(X, fields), counts)
        return start(X, y, None, options, replace(given, sample_weight=weights))
    if is_source(X, y):
        return start_stream(X, options, given, reading)
    if y is None and is_table(X):
        X, y, own_weight, own_group = read_table(X, reading)
        given = given.with_columns(own_weight, own_group, options)
    else:
        refuse_roles(X, reading.roles, encoder)
    return start(X, y, fields, options, given)


def check_given(options: Options) -> None:
    """None stands for a function that a file could not keep, which a caller cannot mean."""
    if options.eval_metric is None:
        raise OptionError('eval_metric must be "auto", the name of a metric, a callable or a list of those; got None.')
    if options.schedule is None:
        raise OptionError(f"schedule must be one of {', '.join(map(repr, SCHEDULES))}, or a callable; got None.")


def start(X: Any, y: Any, fields: Any, options: Options, given: Given) -> FwFM:
    """A new model, trained."""
    if y is None:
        raise InputError(f"y must hold one label per row of X, {type(X).__name__}: got None. Pass train(X, y).")
    refuse_table(X)
    given_rows = FieldMatrix.from_matrix(X, fields)
    columns = Columns.of(given_rows, options.normalize)
    rows = normalize_rows(given_rows.rounded(options.dtype), options.normalize)
    backend = get_backend(options.device, options.device_memory, options.n_threads)
    y, given = fetch_targets(backend, y, given)
    loss = choose_loss(y, options.loss)
    targets, labels = encode_targets(y, loss)
    settled = Settled(options, loss, labels, columns)
    problem = make_problem(settled, rows, targets, given.sample_weight)
    generator = np.random.default_rng(options.seed)
    trained_on, held = hold_out(options, rows.n_rows, generator)
    session = (backend, settled, training_part(problem, trained_on), held)
    parameters = start_parameters(settled, generator)
    state = start_state(options.recipe(loss), parameters)
    drawn, print_of_data = dict(generator.bit_generator.state), fingerprint(problem, backend)
    start_point = Trained(parameters, state, drawn, data_fingerprint=print_of_data)
    return run_loop(session, start_point, options.epochs, given)


def make_untrained(rows: FieldMatrix, options: Options, loss: str, labels: Labels | None) -> FwFM:
    """A model that has seen no row yet, as ``train`` makes it before its first batch."""
    settled = Settled(options, loss, labels, Columns.of(rows, options.normalize))
    generator = np.random.default_rng(options.seed)
    parameters = start_parameters(settled, generator)
    state = start_state(options.recipe(loss), parameters)
    trained = Trained(parameters, state, dict(generator.bit_generator.state))
    return FwFM(options, loss, labels, settled.columns, trained)


def fetch_targets(backend: Backend, y: Any, given: Given) -> tuple[Any, Given]:
    """Targets and weights on the host, wherever they lie: what steers is computed there (numerics 4)."""
    given = replace(
        given,
        sample_weight=fetch_array(backend, "sample_weight", given.sample_weight),
        group=fetch_array(backend, "group", given.group),
    )
    return fetch_array(backend, "y", y), given


def run_loop(
    session: tuple[Backend, Settled, Problem, Any],
    start_point: Trained,
    epochs: int,
    given: Given,
    passes: Passes | None = None,
) -> FwFM:
    """Everything is checked: train, on the rows of the problem or on passes over a source."""
    backend, settled, problem, held = session
    options, sets = settled.options, fetch_sets(backend, given.eval_set)

    def make_model(trained: Trained) -> FwFM:
        return FwFM(options, settled.loss, settled.labels, settled.columns, trained)

    evaluations = make_evaluations(settled, sets, problem, held, (given.sample_weight, given.group))

    def make_terms() -> Terms:
        given_sets = () if given.eval_set is None else evaluations  # those held out follow from the rest
        evaluated = [[evaluation.name, fingerprint(evaluation, backend)] for evaluation in given_sets]
        return Terms(settled, start_point.data_fingerprint, evaluated)

    found, checkpoints = given.checkpointing.open(make_terms)
    if found is not None:
        warn_of_streams(found.model.trained, options)
        start_point, epochs = found.model.trained, options.epochs - found.model.trained.position.epochs
    setting = Setting(
        backend=backend,
        recipe=options.recipe(settled.loss),
        evaluations=evaluations,
        callbacks=Callbacks(given.callbacks, first=make_progress(given.progress)),
        shuffle=options.shuffle,
        patience=options.patience,
        min_delta=options.min_delta,
        make_model=make_model,
        checkpoints=checkpoints,
        resumes=found is not None,
        interruption=given.interruption,
        rates=options.rates(start_point.position.epochs, start_point.position.epochs + epochs),
    )
    if passes is None:
        passes = MemoryPasses(backend, problem, options.batch_size)
    return make_model(Loop(setting, passes, start_point).run(epochs))


def warn_of_streams(trained: Trained, options: Options) -> None:
    """Orders are drawn anew, and another NumPy may draw others."""
    holds_out = options.validation_fraction is not None and options.validation == "random"
    if trained.numpy_version != np.__version__ and (options.shuffle or holds_out):
        warnings.warn(
            f"the model was trained with NumPy {trained.numpy_version}, and this is {np.__version__}: NumPy does not "
            "promise the same row orders across versions (numerics 8).",
            StreamWarning,
            stacklevel=5,
        )
