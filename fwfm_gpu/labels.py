"""Labels: y as the user gave it to float64 targets, and back; the weight of each row.

A label is an integer, a floating-point number, a boolean or a string. The class number of a label is its place in
sorted order. Two labels are the same when Python's ``==`` says so: 1, 1.0 and True are one label, "1" is another.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from fwfm_gpu.errors import InputError, InputTypeError, OptionError
from fwfm_gpu.losses import LOSSES
from fwfm_gpu.parameters import Array

__all__ = ["Labels", "choose_loss", "decode", "encode_targets", "row_weights"]

MOST_LABELS = 50  # loss="auto" takes more distinct integers or strings than this for numbers or identifiers
SHOWN_LABELS = 10  # in a message

KINDS: dict[str, tuple[type, ...]] = {  # in this order: a bool is an int
    "string": (str,),
    "boolean": (bool, np.bool_),
    "number": (int, float, np.integer, np.floating),
}
MISSING = {"NoneType", "NAType", "NaTType"}  # pandas' by name: it is not imported


@dataclass(frozen=True, eq=False)
class Labels:
    """The distinct labels in ascending order: entry c is the label of class number c. Regression has no Labels.

    Parameters
    ----------
    classes : (C,) boolean, integer, floating-point or <U
        In the dtype of y, native byte order; int64 or float64 for numbers that came in a list or an object array.
    """

    classes: Array

    def __post_init__(self) -> None:
        self.classes.setflags(write=False)

    def numbers(self) -> dict[Any, int]:
        """The class number of each label."""
        return {label: number for number, label in enumerate(self.classes.tolist())}

    def __str__(self) -> str:
        """The first few labels, for a message."""
        shown = ", ".join(map(repr, self.classes[:SHOWN_LABELS].tolist()))
        return shown if len(self.classes) <= SHOWN_LABELS else f"{shown}, ... ({len(self.classes)} labels)"


def choose_loss(y: object, loss: str) -> str:
    """The loss by name; ``"auto"`` looks at the labels.

    Two distinct labels of any kind: logistic (0.0 and 1.0 too). More than two floating-point values: squared. 3 to 50
    integers or strings: softmax. More than 50: the user has to say.

    Parameters
    ----------
    y : (rows,) array-like of integers, floats, booleans or strings
    loss : str
        ``"auto"``, ``"logistic"``, ``"squared"`` or ``"softmax"``.

    Raises
    ------
    OptionError
        An unknown loss, or ``"auto"`` with more than 50 labels.
    InputError, InputTypeError
        y cannot be read (see `encode_targets`), or holds one label only.
    """
    if loss != "auto":
        if not isinstance(loss, str) or loss not in LOSSES:
            raise OptionError(f"loss must be one of {', '.join(map(repr, ('auto', *LOSSES)))}: got {loss!r}.")
        return loss
    labels = Labels(find_distinct(read_column(y, "y", "label")))
    refuse_one_label(labels)
    count = len(labels.classes)
    if count == 2:
        return "logistic"
    if labels.classes.dtype.kind == "f":
        return "squared"
    if count <= MOST_LABELS:
        return "softmax"
    raise OptionError(
        f"loss='auto' takes up to {MOST_LABELS} distinct labels: y holds {count}. "
        "Pass loss='softmax' if they are classes, loss='squared' if they are numbers."
    )


def encode_targets(y: object, loss: str, labels: Labels | None = None) -> tuple[Array, Labels | None]:
    """y as the targets of a loss.

    Parameters
    ----------
    y : (rows,) or (rows, 1) array-like of integers, floats, booleans or strings
        Object arrays and lists of one kind too. Not changed, and not kept.
    loss : str
        ``"logistic"``, ``"squared"`` or ``"softmax"``.
    labels : Labels, or None
        The labels of a model that goes on or is evaluated; None learns them from y.

    Returns
    -------
    targets : (rows,) float64
        Class numbers; for the squared loss the values.
    labels : Labels, or None
        None for the squared loss.

    Raises
    ------
    InputError
        Another shape, no rows, a missing or infinite entry, an integer beyond 64 bits, one label only, a number of
        labels that does not fit the loss, or a label that ``labels`` does not hold.
    InputTypeError
        Entries of two kinds or of another kind; strings for the squared loss.
    """
    column = read_column(y, "y", "label")
    if loss == "squared":
        return as_float64(column, "y", "loss='squared' needs numbers. Pass loss='auto' or 'softmax' for labels."), None
    distinct = find_distinct(column)
    if labels is None:
        labels = Labels(distinct)
        refuse_count(labels, loss)
    numbers = labels.numbers()
    number_of = np.array([numbers.get(label, -1.0) for label in distinct.tolist()], np.float64)
    targets = number_of[np.searchsorted(distinct, column)]
    if np.any(targets < 0):
        row = int(np.argmax(targets < 0))
        raise InputError(
            f"y holds a label that the model does not know: expected one of {labels}, got {column[row].item()!r} at "
            f"row {row}. Drop such rows, or train a new model."
        )
    return targets, labels


def decode(labels: Labels, class_numbers: Array) -> Array:
    """The labels of class numbers.

    Parameters
    ----------
    labels : Labels
    class_numbers : (rows,) integer, or float64 of whole numbers

    Returns
    -------
    (rows,) of the dtype of ``labels.classes``
    """
    return labels.classes[class_numbers.astype(np.intp)]


def row_weights(targets: Array, labels: Labels | None, sample_weight: object, class_weight: object) -> Array | None:
    """The weight of each row: its sample weight times the weight of its class (numerics 4).

    Parameters
    ----------
    targets : (rows,) float64
        From `encode_targets`.
    labels : Labels, or None for the squared loss
    sample_weight : (rows,) array-like of numbers, or None
        Finite, not negative.
    class_weight : mapping, "balanced", or None
        Label to weight, 1 for labels left out; ``"balanced"`` is rows / (C * rows of the class).

    Returns
    -------
    (rows,) float64, or None
        None when neither is given.

    Raises
    ------
    InputError
        Wrong length, a weight that is missing, negative or not finite, all weights 0, or an unknown label.
    InputTypeError
        A weight that is no number.
    OptionError
        A class_weight of another kind, or one for the squared loss.
    """
    if sample_weight is None and class_weight is None:
        return None
    weight = np.ones(len(targets)) if sample_weight is None else read_sample_weight(sample_weight, len(targets))
    if class_weight is not None:
        if labels is None:
            raise OptionError(
                f"class_weight needs classes, and loss='squared' has none: got {class_weight!r}. Drop it."
            )
        with np.errstate(over="ignore"):  # refused just below
            weight = weight * class_weights(targets, labels, class_weight)[targets.astype(np.intp)]
        refuse_infinite(weight, "sample_weight times class_weight")
    if not np.any(weight):
        raise InputError(f"the weights of all {len(weight)} rows are zero. Give at least one row a weight above 0.")
    return weight


def read_sample_weight(sample_weight: object, rows: int) -> Array:
    """sample_weight, checked, (rows,) float64."""
    column = read_column(sample_weight, "sample_weight", "weight")
    if len(column) != rows:
        raise InputError(f"sample_weight must hold one weight per row: expected {rows}, got {len(column)}.")
    weight = as_float64(column, "sample_weight", "weights are numbers.")
    if np.any(weight < 0):
        row = int(np.argmax(weight < 0))
        raise InputError(
            f"sample_weight must not be negative: got {weight[row]} at row {row}. Use 0 to leave a row out."
        )
    return weight


def class_weights(targets: Array, labels: Labels, class_weight: object) -> Array:
    """The weight of each class, (C,) float64."""
    C = len(labels.classes)
    if isinstance(class_weight, str) and class_weight == "balanced":
        counts = np.bincount(targets.astype(np.intp), minlength=C)
        return len(targets) / (C * np.maximum(counts, 1))  # a class without rows weighs no row
    if not isinstance(class_weight, Mapping):
        raise OptionError(f"class_weight must be None, 'balanced' or a dict of label: weight, got {class_weight!r}.")
    weights = np.ones(C)
    numbers = labels.numbers()
    for label, weight in class_weight.items():
        if label not in numbers:
            raise InputError(f"class_weight names a label that y does not hold: expected {labels}, got {label!r}.")
        if not isinstance(weight, int | float | np.integer | np.floating):
            raise InputTypeError(f"class_weight[{label!r}] must be a number, got {weight!r}.")
        if not 0 <= weight <= sys.float_info.max:
            raise InputError(f"class_weight[{label!r}] must be finite and not negative, got {weight}.")
        weights[numbers[label]] = weight
    return weights


def read_column(values: object, name: str, entry: str) -> Array:
    """One entry per row, all of one kind, as a 1-D array.

    Returns
    -------
    (rows,) boolean, integer, floating-point or <U
        No row is missing or infinite. It may share memory with ``values``.
    """
    try:
        # Without an array's own dtype NumPy would turn [1, "a"] into two strings.
        column = np.asarray(values) if hasattr(values, "__array__") else np.asarray(values, dtype=object)
    except (TypeError, ValueError) as error:
        raise InputTypeError(f"{name} must be an array of one {entry} per row: {error}") from error
    if column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]
    if column.ndim != 1:
        raise InputError(
            f"{name} must hold one {entry} per row: expected the shape (rows,) or (rows, 1), got {column.shape} from "
            f"{type(values).__name__}."
        )
    if len(column) == 0:
        raise InputError(f"{name} must hold at least one row, got 0.")
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):  # column holds what is under the mask
        refuse_missing("a masked one", int(np.argmax(np.ma.getmaskarray(values))), name, entry)
    if column.dtype.kind in "OT":  # objects, or NumPy's strings of variable width
        column = unbox(column.astype(object).tolist(), name, entry)
    if column.dtype.kind not in "biufU":
        raise InputTypeError(f"{name} must hold numbers, booleans or strings, got {column.dtype}. Convert it first.")
    return refuse_not_finite(column, name, entry) if column.dtype.kind == "f" else native(column)


def find_distinct(column: Array) -> Array:
    """The distinct entries, ascending. Asked for counts, NumPy sorts numbers, which is faster than to hash them."""
    return np.unique(column) if column.dtype.kind == "U" else np.unique(column, return_counts=True)[0]


def native(column: Array) -> Array:
    """The same numbers in the byte order of this machine."""
    return column.astype(column.dtype.newbyteorder("="), copy=False)


def refuse_not_finite(column: Array, name: str, entry: str) -> Array:
    """Floats, at most 64 bits wide, each of them finite."""
    if column.dtype.itemsize > 8:
        with np.errstate(over="ignore"):  # refused just below
            column = column.astype(np.float64)
    missing = np.isnan(column)
    if np.any(missing):
        refuse_missing(np.nan, int(np.argmax(missing)), name, entry)
    refuse_infinite(column, name)
    return native(column)


def refuse_infinite(column: Array, name: str) -> None:
    """The first infinite row, named."""
    if np.any(np.isinf(column)):
        row = int(np.argmax(np.isinf(column)))
        raise InputError(f"{name} must be finite and fit float64: got {column[row]} at row {row}. Drop or rescale it.")


def refuse_missing(value: object, row: int, name: str, entry: str) -> NoReturn:
    """A row without an entry."""
    raise InputError(
        f"missing {entry} in {name}: expected one in every row, got {value} at row {row}. Drop or fill it."
    )


def unbox(values: list[Any], name: str, entry: str) -> Array:
    """Python objects of one kind as an array: <U, bool, int64 or float64."""
    for row, value in enumerate(values):
        if type(value).__name__ in MISSING or (isinstance(value, float | np.floating) and value != value):
            refuse_missing(value, row, name, entry)
    kinds = {one: kind_of(one) for one in set(map(type, values))}
    first = kinds[type(values[0])]
    for row, value in enumerate(values):
        kind = kinds[type(value)]
        if kind is None or kind != first:
            raise InputTypeError(
                f"{name} must hold numbers, booleans or strings, all of the kind of row 0, {values[0]!r}: got "
                f"{value!r} of type {type(value).__name__} at row {row}. Convert it first."
            )
    if first == "string":
        refuse_strings(values, name, entry)
    if first != "number":
        return np.array(values, dtype=str if first == "string" else bool)
    dtype = np.int64 if all(issubclass(one, int | np.integer) for one in kinds) else np.float64
    try:
        return np.array(values, dtype=dtype)
    except OverflowError:
        row = next(row for row, value in enumerate(values) if not fits(value, dtype))
        raise InputError(
            f"{name} must fit {dtype.__name__}: got an integer beyond it at row {row}. "
            "Pass numbers as float64, identifiers as strings."
        ) from None


def refuse_strings(values: list[str], name: str, entry: str) -> None:
    """Strings that an array or a file cannot give back as they came."""
    for row, value in enumerate(values):
        if value.endswith("\0") or (not value.isascii() and not is_unicode(value)):
            raise InputError(
                f"{name} must hold {entry}s that are valid Unicode and do not end in NUL: got {value!r} at row {row}. "
                "Correct it."
            )


def is_unicode(value: str) -> bool:
    """Whether a file can hold it: no lone surrogate."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def kind_of(one: type) -> str | None:
    """The kind that a type belongs to."""
    return next((kind for kind, types in KINDS.items() if issubclass(one, types)), None)


def fits(value: Any, dtype: type) -> bool:
    """Whether NumPy can hold the value."""
    try:
        np.array(value, dtype=dtype)
    except OverflowError:
        return False
    return True


def as_float64(column: Array, name: str, need: str) -> Array:
    """An own float64 copy of numbers or booleans."""
    if column.dtype.kind == "U":
        raise InputTypeError(f"{name} holds strings, got {column[0].item()!r} at row 0: {need}")
    return column.astype(np.float64)


def refuse_one_label(labels: Labels) -> None:
    """Nothing to tell apart."""
    if len(labels.classes) == 1:
        raise InputError(
            f"y must hold at least two labels: every row holds {labels}. Add rows of another label, or pass "
            "loss='squared' to fit numbers."
        )


def refuse_count(labels: Labels, loss: str) -> None:
    """One label only, or more than two for the logistic loss."""
    refuse_one_label(labels)
    if loss == "logistic" and len(labels.classes) != 2:
        raise InputError(
            f"loss='logistic' needs exactly two labels: y holds {len(labels.classes)}, {labels}. "
            "Pass loss='softmax' for several classes, loss='squared' for numbers."
        )
