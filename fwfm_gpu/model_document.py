"""A model as named arrays and a plain document, and back: what stands inside a model file."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from types import NoneType
from typing import Any

import numpy as np

from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.errors import FwfmError, ModelFileError
from fwfm_gpu.history import EpochRecord, Position
from fwfm_gpu.labels import Labels
from fwfm_gpu.losses import LOSSES
from fwfm_gpu.model import BestEpoch, Columns, FwFM, Trained
from fwfm_gpu.model_file import pack_strings, read_file, unpack_strings
from fwfm_gpu.optimizers import RULES
from fwfm_gpu.options import Options
from fwfm_gpu.parameters import Array, Counts, OptimizerState, Parameters
from fwfm_gpu.version import __version__

__all__ = ["comparable_options", "describe", "describe_columns", "load", "plain", "plain_loss", "restore"]

Arrays = dict[str, Array]
Document = dict[str, Any]

NAMES = ("field_names", "feature_names")
FREE = ("device", "n_threads", "device_memory", "epochs")  # options that change no bit of an epoch
NUMBER = (int, float)
LOSS = (*NUMBER, str)  # "inf", "-inf" or "nan", which JSON has no numbers for
KINDS: dict[str, tuple[type, ...]] = {
    "package_version": (str,),
    "numpy_version": (str,),
    "loss": (str,),
    "options": (dict,),
    "n_fields": (int,),
    "labels": (str, NoneType),
    "optimizer_state": (bool,),
    "generator_state": (dict,),
    "position": (dict,),
    "history": (list,),
    "seconds": NUMBER,
    "data_fingerprint": (str, NoneType),
}
POSITION_KINDS: dict[str, tuple[type, ...]] = {"epochs": (int,), "batches": (int,), "loss": LOSS}
RECORD_KINDS: dict[str, tuple[type, ...]] = {
    "epoch": (int,),
    "loss": (*LOSS, NoneType),
    "metrics": (dict,),
    "seconds": NUMBER,
    "rows_per_second": NUMBER,
    "learning_rate": (*NUMBER, NoneType),
}


def load(path: str | os.PathLike[str], *, device: str = "auto") -> FwFM:
    """Read a model file.

    The arrays are mapped from the file, not copied; every byte is checked against the file's SHA-256 first.

    Parameters
    ----------
    path : str or path-like
    device : str
        Where the model scores and trains from now on, as in ``train``: where it was trained does not matter.

    Returns
    -------
    FwFM

    Raises
    ------
    ModelFileError
        Not an intact model file of a known version.
    FileNotFoundError
    """
    arrays, document = read_file(path)
    try:
        model = restore(arrays, document)
    except ModelFileError as error:
        raise ModelFileError(f"{os.fsdecode(path)!r}: {error}") from error.__cause__
    model.device = device
    return model


def describe_columns(model: FwFM) -> tuple[Arrays, Document]:
    """What a file holds of a model that training does not change, its options aside; large where names are many."""
    arrays, document = {"fields": model.columns.fields}, {}
    for name in NAMES:
        if (strings := getattr(model.columns, name)) is not None:
            put_strings(arrays, name, strings)
    if model.columns.encoder is not None:
        encoder_arrays, encoder = model.columns.encoder.describe()
        put_encoder(arrays, encoder_arrays)
        document["encoder"] = plain(encoder)
    if model.labels is not None:
        put_labels(arrays, model.labels.classes)
    return arrays, document


def describe(
    model: FwFM, optimizer_state: bool = True, columns: tuple[Arrays, Document] | None = None
) -> tuple[Arrays, Document]:
    """What a file holds of a model; ``columns`` is what `describe_columns` gave before."""
    trained, state = model.trained, model.trained.optimizer_state if optimizer_state else None
    column_arrays, column_document = describe_columns(model) if columns is None else columns
    arrays = {**model.parameters.arrays(), **column_arrays}
    if model.options.negative_sampling_rate is not None:
        arrays["trained.w0"] = trained.parameters.w0
    if state is not None:
        put_state(arrays, state)
    document = {
        "package_version": __version__,
        "numpy_version": trained.numpy_version,
        "loss": model.loss,
        "options": plain_options(model.options),
        "n_fields": model.columns.n_fields,
        "labels": None if model.labels is None else model.labels.classes.dtype.str,
        "optimizer_state": state is not None,
        "generator_state": plain(trained.generator_state),
        "position": with_any_loss(asdict(trained.position)),
        "history": [plain_record(record) for record in trained.history],
        "seconds": trained.seconds,
        "data_fingerprint": trained.data_fingerprint,
        **column_document,
    }
    if optimizer_state and trained.best is not None:
        put_best(arrays, document, trained.best)
    return arrays, document


def restore(arrays: Arrays, document: Document) -> FwFM:
    """The model of a file whose layout and checksum are in order."""
    try:
        check_kinds(document, KINDS)
        np.random.default_rng().bit_generator.state = document["generator_state"]
        options = restored_options(document["options"])
        loss = document["loss"]
        sampled = options.negative_sampling_rate is not None
        trained_w0 = arrays["trained.w0" if sampled else "w0"]
        parameters = Parameters(trained_w0, arrays["w"], arrays["V"], arrays["R"])
        names = {name: get_strings(arrays, name) for name in NAMES}
        encoder = get_encoder(arrays, document)
        columns = Columns(arrays["fields"], document["n_fields"], **names, encoder=encoder, normalize=options.normalize)
        labels = None if document["labels"] is None else Labels(get_labels(arrays, document["labels"]))
        trained = Trained(
            parameters=parameters,
            optimizer_state=get_state(arrays, options) if document["optimizer_state"] else None,
            generator_state=document["generator_state"],
            history=tuple(restored_record(record) for record in document["history"]),
            position=restored_position(document["position"]),
            seconds=document["seconds"],
            data_fingerprint=document["data_fingerprint"],
            numpy_version=document["numpy_version"],
            best=get_best(arrays, document, options),
        )
        model = FwFM(options, loss, labels, columns, trained)
        check_shapes(model)
        if not np.array_equal(model.parameters.w0, arrays["w0"], equal_nan=True):
            raise ValueError(f"w0 should be that of trained.w0, {model.parameters.w0}, is {arrays['w0']}")
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, FwfmError) as error:
        raise ModelFileError(
            f"a model file must describe one whole model; this one does not: {type(error).__name__}: {error}. "
            "Fetch the file again, or train and save the model again."
        ) from error
    return model


def check_kinds(document: Document, kinds: dict[str, tuple[type, ...]]) -> None:
    """Every entry is there, of its kind, and no number that counts or measures is negative."""
    for name, allowed in kinds.items():
        value = document[name]
        if type(value) not in allowed:
            raise TypeError(f"{name} should be {' or '.join(kind.__name__ for kind in allowed)}, is {value!r}")
        if name != "loss" and isinstance(value, int | float) and value < 0:
            raise ValueError(f"{name} should not be negative, is {value!r}")


def check_shapes(model: FwFM) -> None:
    """Every array has the shape and dtype that the others call for."""
    p, T = model.parameters, np.dtype(model.options.dtype)
    labels = 0 if model.labels is None else len(model.labels.classes)
    C = labels if model.loss == "softmax" else 1
    n, k, F = len(model.columns.fields), model.options.n_factors, model.columns.n_fields
    wanted = {"w0": (C,), "w": (C, n), "V": (C, n, k), "R": (C, F, F)}
    sets = [p, *(model.optimizer_state.moments.values() if model.optimizer_state else ())]
    if (best := model.trained.best) is not None and best.optimizer_state is not None:
        sets += [best.parameters, *best.optimizer_state.moments.values()]
    for arrays in sets:
        for name, array in arrays.arrays().items():
            if array.shape != wanted[name] or array.dtype != T:
                raise ValueError(f"{name} should be {T} {wanted[name]}, is {array.dtype} {array.shape}")
    fields = model.columns.fields
    if fields.dtype != np.int32 or fields.shape != (n,) or (n and not 0 <= fields.min() <= fields.max() < F):
        raise ValueError(f"fields should be int32 numbers below {F}")
    if (
        model.loss not in LOSSES
        or (model.loss == "squared") != (labels == 0)
        or (labels != 2 and model.loss == "logistic")
    ):
        raise ValueError(f"loss {model.loss!r} does not go with {labels} labels")
    encoder = model.columns.encoder
    if encoder is not None and (encoder.field_names != model.columns.field_names or encoder.n_features != n):
        raise ValueError(f"the encoder should make the model's {n} features of fields {model.columns.field_names}")
    for name, length in (("field_names", F), ("feature_names", n)):
        if (names := getattr(model.columns, name)) is not None and len(names) != length:
            raise ValueError(f"{name} should hold {length} names, holds {len(names)}")


def plain_options(options: Options) -> Document:
    """Options as JSON: a class_weight mapping as pairs; a metric or schedule that is a function becomes None."""
    document = options.plain()
    if isinstance(options.class_weight, Mapping):
        document["class_weight"] = [[plain(label), float(weight)] for label, weight in options.class_weight.items()]
    metrics = options.eval_metric
    listed = metrics if isinstance(metrics, list | tuple) else [metrics]
    kept = all(isinstance(metric, str) for metric in listed)
    document["eval_metric"] = (metrics if isinstance(metrics, str) else list(listed)) if kept else None
    document["schedule"] = None if callable(options.schedule) else options.schedule
    return document


def comparable_options(options: Options) -> Document:
    """The options that say what training computes, in one form: not where it runs, and not how far it goes."""
    document = plain_options(options)
    if isinstance(weights := document["class_weight"], list):
        document["class_weight"] = sorted(weights, key=repr)
    return {name: value for name, value in document.items() if name not in FREE}


def restored_options(document: Document) -> Options:
    """The options of a file, but for the number of threads: that was of the machine that trained."""
    class_weight = document["class_weight"]
    if isinstance(class_weight, list):
        class_weight = dict(class_weight)
        if not all(type(weight) in NUMBER for weight in class_weight.values()):
            raise TypeError(f"class weights should be numbers, are {class_weight!r}")
    elif class_weight not in (None, "balanced"):
        raise TypeError(f"class_weight should be pairs of label and weight, is {class_weight!r}")
    return replace(Options(**{**document, "class_weight": class_weight}), n_threads=None)


def plain(value: Any) -> Any:
    """Plain JSON values; a float that is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def plain_record(record: EpochRecord) -> Document:
    """A record as JSON."""
    return with_any_loss({**plain(asdict(record)), "loss": record.loss})


def with_any_loss(document: Document) -> Document:
    """A loss may have overflowed."""
    return {**document, "loss": plain_loss(document["loss"])}


def plain_loss(value: float) -> float | str:
    """A loss as JSON can hold it: one that is not finite by its name."""
    return value if math.isfinite(value) else str(float(value))


def restored_loss(value: Any) -> float:
    """What `plain_loss` made of it."""
    if type(value) in NUMBER or value in ("inf", "-inf", "nan"):
        return float(value)
    raise TypeError(f"loss should be a number, is {value!r}")


def restored_position(document: Document) -> Position:
    """Where training stood."""
    check_kinds(document, POSITION_KINDS)
    return Position(**{**document, "loss": restored_loss(document["loss"])})


def restored_record(document: Document) -> EpochRecord:
    """A record, to the last digit."""
    document = {"learning_rate": None, **document}  # files of before it was kept
    check_kinds(document, RECORD_KINDS)
    if not all(type(value) in NUMBER for value in document["metrics"].values()):
        raise TypeError(f"metrics should be numbers, are {document['metrics']!r}")
    loss = math.nan if document["loss"] is None else restored_loss(document["loss"])  # None: as files once said it
    return EpochRecord(**{**document, "loss": loss})


def put_best(arrays: Arrays, document: Document, best: BestEpoch) -> None:
    """The epoch that patience would come back to, its arrays under ``best.``."""
    kept = dict(best.parameters.arrays())
    if best.optimizer_state is not None:
        put_state(kept, best.optimizer_state)
    arrays |= {f"best.{name}": array for name, array in kept.items()}
    document["best"] = {"epoch": best.epoch, "generator_state": plain(best.generator_state)}


def get_best(arrays: Arrays, document: Document, options: Options) -> BestEpoch | None:
    """The epoch that patience would come back to; most files have none."""
    if "best" not in document:
        return None
    check_kinds(document["best"], {"epoch": (int,), "generator_state": (dict,)})
    if not 0 < document["best"]["epoch"] <= len(document["history"]):
        raise ValueError(f"best epoch should be one of {len(document['history'])}, is {document['best']['epoch']}")
    kept = {name.removeprefix("best."): array for name, array in arrays.items() if name.startswith("best.")}
    parameters = Parameters(kept["w0"], kept["w"], kept["V"], kept["R"])
    return BestEpoch(parameters=parameters, optimizer_state=get_state(kept, options), **document["best"])


def put_strings(arrays: Arrays, name: str, strings: tuple[str, ...]) -> None:
    """UTF-8 bytes and offsets under two names."""
    arrays[f"{name}.utf8"], arrays[f"{name}.offsets"] = pack_strings(strings)


def get_strings(arrays: Arrays, name: str) -> tuple[str, ...] | None:
    """The strings under a name, None when there are none."""
    if f"{name}.utf8" not in arrays:
        return None
    return tuple(unpack_strings(arrays[f"{name}.utf8"], arrays[f"{name}.offsets"]))


def put_encoder(arrays: Arrays, described: Arrays) -> None:
    """The encoder's arrays under ``encoder.``, its vocabularies as strings."""
    for name, array in described.items():
        if array.dtype.kind in "OU":
            put_strings(arrays, f"encoder.{name}", tuple(array.tolist()))
        else:
            arrays[f"encoder.{name}"] = array


def get_encoder(arrays: Arrays, document: Document) -> FieldEncoder | None:
    """The encoder that made the rows of a table; many files have none."""
    if "encoder" not in document:
        return None
    described = {}
    for stored in arrays:
        name = stored.removeprefix("encoder.").removesuffix(".offsets")
        if stored.startswith("encoder.") and not stored.endswith(".utf8"):
            strings = get_strings(arrays, f"encoder.{name}")
            described[name] = arrays[stored] if strings is None else np.array([*strings, None], object)[:-1]
    return FieldEncoder.restore(described, document["encoder"])


def put_labels(arrays: Arrays, classes: Array) -> None:
    """Labels in a type that the file knows, wide enough for any of their kind."""
    if classes.dtype.kind == "U":
        put_strings(arrays, "labels", tuple(classes.tolist()))
    elif classes.dtype.kind == "u":
        arrays["labels"] = classes.astype(np.uint64).view(np.int64)
    else:
        arrays["labels"] = classes.astype({"b": np.bool_, "i": np.int64}.get(classes.dtype.kind, np.float64))


def get_labels(arrays: Arrays, dtype: str) -> Array:
    """Labels in the dtype that they came in: ascending, each exactly what was stored."""
    strings = get_strings(arrays, "labels")
    stored = arrays["labels"] if strings is None else np.array(strings, str)
    if np.dtype(dtype).kind == "u":
        stored = stored.view(np.uint64)
    with np.errstate(all="ignore"):  # what does not fit is not equal
        classes = stored.astype(dtype)
    if classes.dtype.kind not in "biufU" or not np.array_equal(np.unique(classes), stored):
        raise ValueError(f"labels should be of dtype {dtype} and ascend, are {stored.dtype} {stored[:10].tolist()}")
    return classes


def put_state(arrays: Arrays, state: OptimizerState) -> None:
    """Optimizer state under ``state.<name>.<group>`` and ``count.<kind>``."""
    for name, moment in state.moments.items():
        for group, array in moment.arrays().items():
            arrays[f"state.{name}.{group}"] = array
    if state.counts is not None:
        counts = state.counts
        arrays |= {"count.bias": counts.bias, "count.feature": counts.feature, "count.slot": counts.slot}


def get_state(arrays: Arrays, options: Options) -> OptimizerState:
    """The state that the rule of the options calls for."""
    rule = RULES[options.optimizer]
    moments = {
        name: Parameters(*(arrays[f"state.{name}.{group}"] for group in ("w0", "w", "V", "R"))) for name in rule.moments
    }
    counts = None
    if rule.counts:
        counts = Counts(arrays["count.bias"], arrays["count.feature"], arrays["count.slot"])
        shapes = ((), arrays["w"].shape[1:], arrays["R"].shape[1:])
        for array, shape in zip((counts.bias, counts.feature, counts.slot), shapes, strict=True):
            if array.dtype != np.int64 or array.shape != shape or np.any(array < 0):
                raise ValueError(f"counts should be int64 {shape} and not negative, are {array.dtype} {array.shape}")
    return OptimizerState(rule.name, moments, counts)
