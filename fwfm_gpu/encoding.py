"""FieldEncoder: raw tables to a FieldMatrix, one field per column, with names for every feature."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fwfm_gpu.category_field import NOTHING, CategoryField, fit_categories, present_values
from fwfm_gpu.columns import Column
from fwfm_gpu.encoding_report import EncodingReport, FieldReport, report_field
from fwfm_gpu.errors import FwfmError, InputError, InputTypeError, MissingStateError, ModelFileError, OptionError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.io.tables import open_table
from fwfm_gpu.matrix_reader import first_true, starts
from fwfm_gpu.number_field import NumberField, check_exact, fit_numbers
from fwfm_gpu.parameters import Array

__all__ = ["EncodingReport", "FieldEncoder", "FieldReport"]

Field = CategoryField | NumberField

FORMAT = 1  # of the document that describe() gives
MOST_INTEGER_CATEGORIES = 50  # distinct values; beyond them a column of integers is numeric
NO_CHANCE = 1e-6  # a table of rows that miss a value is refused where it is less likely than this
UNKNOWN = ("learned", "ignore", "error")
NUMERIC_AS = ("bins", "value", "both")


@dataclass(frozen=True, eq=False)
class Fitted:
    """What fit learned; never changed."""

    fields: tuple[Field, ...]
    n_rows: int
    empty: FieldMatrix  # no rows, all fields and names

    @classmethod
    def of(cls, fields: Iterable[Field], n_rows: int) -> Fitted:
        fields = tuple(fields)
        empty = FieldMatrix.from_ids(
            np.zeros((0, len(fields)), np.int64),
            [field.n_features for field in fields],
            field_names=[field.name for field in fields],
            feature_names=_distinct_names(fields),
        )
        return cls(fields, n_rows, empty)


class FieldEncoder:
    """Columns of a table to fields, and what they hold to features.

    Every column of the table that is fitted becomes a field, in the table's order. Names decide where they are given;
    left to itself a column of floats is numeric, one of integers numeric above 50 distinct values, and anything else
    categorical: strings, booleans, other integers, and whatever a frame itself calls categorical. pandas makes floats
    of integers with gaps, and floats are numeric: name such columns in ``categorical`` where they hold categories.

    A category has a feature, in sorted order; a category in fewer than ``min_count`` rows shares the field's rare
    feature. A numeric column is cut into bins, standardised to one real-valued feature, or both in one field. Missing
    values (None, NaN, pandas' NA; not the empty string) have a feature of their own. Rare and missing features exist
    only where fit saw such rows: what was never trained contributes nothing. The order of rows never matters.

    A feature is named by its column and what it holds there, ``education=Masters``. Where two columns would give one
    name, both names quote their column: ``'a'=x=y`` and ``'a=x'=y``. Names of bins show as few digits as tell the
    ends of the column's bins apart, and at least three; the ends themselves are exact.

    Parameters
    ----------
    categorical, numeric : sequences of str, optional
        Columns to take as such, whatever they hold; the others are taken by what they hold.
    bins : int
        Numeric columns are cut into at most so many ranges of about equal counts, on average of ``min_count`` rows or
        more. A value that holds more than one bin's share of its column has a bin of its own beside them, and the
        ranges are cut over the rest; so again with the values that hold such a share of the rest, until there is none.
        A skewed column of many such values may so have clearly more than ``bins`` features: Adult's capital_gain has 88
        with 32 bins. Numbers beyond what fit saw fall into the outermost bins.
    min_count : int
    unknown : {"learned", "ignore", "error"}
        Values that fit did not see: the rare feature, no feature in that field, or an error. A missing value where fit
        saw none has no feature, or is an error.
    numeric_as : {"bins", "value", "both"}
        A standardised value that is exactly 0 is dropped, like every zero: it contributes nothing.

    Raises
    ------
    OptionError
        If an option is not allowed, or a column is named twice.
    """

    def __init__(
        self,
        categorical: Iterable[str] | None = None,
        numeric: Iterable[str] | None = None,
        *,
        bins: int = 32,
        min_count: int = 5,
        unknown: str = "learned",
        numeric_as: str = "bins",
    ) -> None:
        self.categorical = _listed("categorical", categorical)
        self.numeric = _listed("numeric", numeric)
        both = [name for name in self.categorical or () if name in (self.numeric or ())]
        if both:
            raise OptionError(f"column {both[0]!r} is named in both categorical and numeric: name it in one of them.")
        self.bins = _whole("bins", bins, 2)
        self.min_count = _whole("min_count", min_count, 1)
        self.unknown = _one_of("unknown", unknown, UNKNOWN)
        self.numeric_as = _one_of("numeric_as", numeric_as, NUMERIC_AS)
        self._fitted: Fitted | None = None
        self._unseen: tuple[float, ...] | None = None  # share of rows, per field, in the last transform

    def __repr__(self) -> str:
        state = "not fitted" if self._fitted is None else f"{len(self._fitted.fields)} fields"
        return (
            f"FieldEncoder(bins={self.bins}, min_count={self.min_count}, unknown={self.unknown!r}, "
            f"numeric_as={self.numeric_as!r}): {state}"
        )

    def fit(self, table: Any) -> FieldEncoder:
        """Learn categories, bins and scales.

        Parameters
        ----------
        table : pandas, polars or pyarrow table, or dict of (rows,) arrays
            Features alone, without the label. It is left as it is. Integers of a column that is named in numeric are
            rounded to float64.

        Raises
        ------
        InputTypeError
            If it is no table, a name is no str, or a column holds dates, mixtures or anything else not understood.
        InputError
            If it is empty, names are doubled, a named column is not there, or a column is all missing or not finite;
            or if a column that is not named holds more than 50 distinct integers, some beyond 2**53.
        MissingExtraError
            If it is a frame, and narwhals or pyarrow is not installed.
        """
        opened = open_table(table)
        if not opened.names or not opened.n_rows:
            raise InputError(
                "a table must have at least one row and one column to be fitted: got "
                f"{opened.n_rows} rows, {len(opened.names)} columns."
            )
        for option in ("categorical", "numeric"):
            for name in getattr(self, option) or ():
                if name not in opened.names:
                    raise InputError(f"{option} names column {name!r}, which is not there. {_there(opened.names)}")
        self._fitted = Fitted.of((self._fit_field(opened.read(name)) for name in opened.names), opened.n_rows)
        self._unseen = None
        return self

    def transform(self, table: Any) -> FieldMatrix:
        """Encode rows.

        Parameters
        ----------
        table : pandas, polars or pyarrow table, or dict of (rows,) arrays
            The columns of fit, in any order; others are ignored. It may have no rows. A column may hold integers
            where it held floats in fit, and the other way round.

        Returns
        -------
        FieldMatrix
            With names, and with this encoder. In chunks of a table the same rows come out as of the whole.

        Raises
        ------
        MissingStateError
            If the encoder was not fitted.
        InputTypeError
            If it is no table, or a column holds another kind of values than in fit.
        InputError
            If a column is not there or not finite; if a value was not seen in fit and unknown is ``"error"``; or if a
            column of two rows or more is all missing, although fit saw so few missing values that this is no chance:
            their share to the power of the rows is below one in a million.
        MissingExtraError
            If it is a frame, and narwhals or pyarrow is not installed.
        """
        fitted = self._known()
        opened = open_table(table)
        lost = [field.name for field in fitted.fields if field.name not in opened.names]
        if lost:
            raise InputError(
                f"a table must have every column that was fitted: {', '.join(map(repr, lost))} not there. "
                f"{_there(opened.names)}"
            )
        draft = Draft.blank(fitted, opened.n_rows)
        unseen = []
        for field in fitted.fields:
            column = opened.read(field.name)
            _check_column(column, field, fitted.n_rows)
            encoded = field.encode(column, self.unknown)
            if encoded.unseen is not None and self.unknown == "error":
                raise _not_seen(column, first_true(encoded.unseen))
            draft.add(encoded.features, encoded.values, field.n_features)
            unseen.append(0.0 if encoded.unseen is None else float(np.mean(encoded.unseen)))
        self._unseen = tuple(unseen)
        return replace(draft.finish(fitted.empty), encoder=copy.copy(self))  # a later fit does not reach it

    def fit_transform(self, table: Any) -> FieldMatrix:
        """`fit`, then `transform` of the same table."""
        return self.fit(table).transform(table)

    def get_feature_names_out(self) -> Array:
        """The name of every feature, (n,) object: ``education=Masters``, ``age in [25, 28)``, ``age missing``."""
        return np.array([*self._names(), None], dtype=object)[:-1]

    @property
    def field_names(self) -> tuple[str, ...]:
        """The columns, in the order of their fields."""
        return tuple(field.name for field in self.fields)

    @property
    def fields(self) -> tuple[Field, ...]:
        """What fit learned of each column, in their order."""
        return self._known().fields

    def report(self) -> EncodingReport:
        """What fit saw in each column, and the unknown rate of the last transform; str() of it is a table."""
        fitted = self._known()
        rates = self._unseen or (None,) * len(fitted.fields)
        return EncodingReport(
            report_field(field, self.unknown, rate) for field, rate in zip(fitted.fields, rates, strict=True)
        )

    def describe(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """All that `restore` needs.

        Returns
        -------
        arrays : dict of 1-D arrays
            float64, int64, bool; vocabularies of strings are object arrays of str.
        document : dict
            Plain JSON.
        """
        fitted = self._known()
        arrays = {
            f"{i}.{name}": array for i, field in enumerate(fitted.fields) for name, array in field.arrays().items()
        }
        options = ("categorical", "numeric", "bins", "min_count", "unknown", "numeric_as")
        document = {
            "format": FORMAT,
            "options": {name: getattr(self, name) for name in options},
            "n_rows": fitted.n_rows,
            "fields": [field.document() for field in fitted.fields],
        }
        return arrays, document

    @classmethod
    def restore(cls, arrays: dict[str, Array], document: dict[str, Any]) -> FieldEncoder:
        """The encoder that `describe` described: it transforms alike.

        Raises
        ------
        ModelFileError
            If they describe no encoder, or one of a later format.
        """
        try:
            if document["format"] != FORMAT:
                raise ValueError(f"format {document['format']!r}, where {FORMAT} is understood")
            encoder = cls(**document["options"])
            fields: list[Field] = []
            for i, part in enumerate(document["fields"]):
                kind: type[Field] = {"categorical": CategoryField, "numeric": NumberField}[part["kind"]]
                own = {name.partition(".")[2]: array for name, array in arrays.items() if name.startswith(f"{i}.")}
                fields.append(kind.restore(own, part))
            encoder._fitted = Fitted.of(fields, int(document["n_rows"]))
        except (AttributeError, KeyError, TypeError, ValueError, FwfmError) as error:
            raise ModelFileError(
                f"an encoder must be described by what describe() gave: found {type(error).__name__} "
                f"{str(error).rstrip('.')}. "
                "Fetch the file again, or save the model again."
            ) from error
        return encoder

    def _known(self) -> Fitted:
        if self._fitted is None:
            raise MissingStateError("the encoder is not fitted: call fit or fit_transform first.")
        return self._fitted

    def _names(self) -> tuple[str, ...]:
        return self._known().empty.feature_names or ()

    def _fit_field(self, column: Column) -> Field:
        if column.missing.all():
            raise InputError(f"column {column.name!r} must hold at least one value: all are missing. Drop the column.")
        if column.name in (self.numeric or ()) and column.family != "numbers":
            raise InputTypeError(
                f"column {column.name!r} is named in numeric, and holds {column.kind}. Convert it to numbers, or name "
                "it in categorical."
            )
        present = present_values(column)
        if self._is_numeric(column, len(present[0])):
            if column.name not in (self.numeric or ()):
                check_exact(column, present[0])
            return fit_numbers(column, present, self.numeric_as, self.bins, self.min_count)
        return fit_categories(column, present, self.min_count)

    def _is_numeric(self, column: Column, distinct: int) -> bool:
        if column.name in (self.categorical or ()) or column.family != "numbers":
            return False
        if column.name in (self.numeric or ()):
            return True
        return not column.labelled and (column.kind == "floats" or distinct > MOST_INTEGER_CATEGORIES)


@dataclass(eq=False)
class Draft:
    """Rows in the making: each slot holds at most one feature per row, and slots ascend."""

    indices: Array  # (rows, slots) int32 or int64, NOTHING where there is no feature
    values: Array | None  # (rows, slots) float64; None when all are 1
    slot: int = 0
    offset: int = 0

    @classmethod
    def blank(cls, fitted: Fitted, n_rows: int) -> Draft:
        shape = (n_rows, sum(field.n_slots for field in fitted.fields))
        weighted = any(isinstance(field, NumberField) and field.scale is not None for field in fitted.fields)
        return cls(np.empty(shape, fitted.empty.indices.dtype), np.ones(shape) if weighted else None)

    def add(self, features: list[Array], values: list[Array | None], n_features: int) -> None:
        """One field: its slots, side by side."""
        for numbers, weights in zip(features, values, strict=True):
            own = self.indices[:, self.slot]
            np.add(numbers, own.dtype.type(self.offset), out=own)
            own[numbers == NOTHING] = NOTHING
            if weights is not None and self.values is not None:
                self.values[:, self.slot] = weights
            self.slot += 1
        self.offset += n_features

    def finish(self, empty: FieldMatrix) -> FieldMatrix:
        """Canonical rows (numerics 1): nothing where there is nothing, and no zeros."""
        kept = self.indices != NOTHING
        if self.values is not None:
            kept &= self.values != 0
        if kept.all():
            rows, slots = kept.shape
            indptr, indices = np.arange(rows + 1, dtype=np.int64) * slots, self.indices.reshape(-1)
        else:
            indptr, indices = starts(np.count_nonzero(kept, axis=1)), self.indices[kept]
        values = np.broadcast_to(np.float32(1), indices.shape) if self.values is None else self.values[kept]
        return replace(empty, indptr=indptr, indices=indices, values=values)


def _check_column(column: Column, field: Field, fitted_rows: int) -> None:
    """Refuse a column that is no more what fit saw."""
    rows, lost = len(column.values), bool(column.missing.all())  # of no rows, all are missing
    if not lost and column.family != field.family:
        row = first_true(~column.missing)
        raise InputTypeError(
            f"column {column.name!r} held {field.family} when the encoder was fitted: got {column.kind}, such as "
            f"{column.value(row)} at row {row}. Convert it to what it was."
        )
    share = (field.missing + 1) / (fitted_rows + 2)  # as if one more had been missing, and one present
    if lost and rows >= 2 and share**rows < NO_CHANCE:
        raise InputError(
            f"column {column.name!r} must hold values: all {rows} rows miss it, where {field.missing} of "
            f"{fitted_rows} did in fit. Look at where the column comes from, or fit on rows like these."
        )


def _distinct_names(fields: tuple[Field, ...]) -> list[str]:
    """The names of all features. Those that two fields share quote their column, which ends in one place alone."""
    owners = [field.name for field in fields for _ in range(field.n_features)]
    plain = [name for field in fields for name in field.feature_names()]
    names = plain.copy()
    while len(set(names)) < len(names):  # a quoted name may be another's plain one
        count = Counter(names)
        names = [
            repr(owner) + own[len(owner) :] if count[name] > 1 else name
            for owner, own, name in zip(owners, plain, names, strict=True)
        ]
    return names


def _not_seen(column: Column, row: int) -> InputError:
    return InputError(
        f"column {column.name!r} must hold values that fit saw, as unknown is 'error': got {column.value(row)} at row "
        f"{row}. Fit on rows that hold it, or choose unknown='learned' or 'ignore'."
    )


def _there(names: tuple[str, ...]) -> str:
    if not names:
        return "There are none."
    shown = ", ".join(map(repr, names[:20]))
    return f"There are: {shown}{', ...' if len(names) > 20 else ''}."


def _listed(option: str, names: Iterable[str] | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    several = np.iterable(names) and not isinstance(names, str)
    listed = tuple(names) if several else ()
    if not several or not all(isinstance(name, str) for name in listed):
        raise OptionError(f"{option} must be a list of column names, got {names!r}.")
    return listed


def _whole(option: str, number: Any, least: int) -> int:
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < least:
        raise OptionError(f"{option} must be an integer of at least {least}, got {number!r}.")
    return int(number)


def _one_of(option: str, value: Any, allowed: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise OptionError(f"{option} must be one of {', '.join(map(repr, allowed))}, got {value!r}.")
    return str(value)
