"""FieldEncoder: raw tables to a FieldMatrix, one field per column, with names for every feature."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from fwfm_gpu.columns import Column
from fwfm_gpu.date_columns import parse_times
from fwfm_gpu.date_field import DateField
from fwfm_gpu.encoder_options import NEW_OPTIONS, OPTIONS, EncoderOptions
from fwfm_gpu.encoding_report import EncodingReport, FieldReport, report_field
from fwfm_gpu.errors import FwfmError, InputError, MissingStateError, ModelFileError
from fwfm_gpu.field_choice import Field, fit_fields, restore_field
from fwfm_gpu.field_growth import grow_field, grow_fields
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.fitted_columns import name_columns, not_seen, prepared
from fwfm_gpu.fitted_fields import Fitted
from fwfm_gpu.io.tables import Table, open_table
from fwfm_gpu.list_columns import ListColumn
from fwfm_gpu.matrix_reader import check_range, first_true, integers
from fwfm_gpu.parameters import Array

__all__ = ["EncodingReport", "FieldEncoder", "FieldReport"]

FORMATS = (1, 2, 3)  # of the document that describe() gives; 2 knows more kinds of fields, 3 features that came later


class FieldEncoder(EncoderOptions):
    """Columns of a table to fields, and what they hold to features.

    Every column of the table that is fitted becomes a field, in the table's order. Names decide where they are given;
    left to itself a column of floats is numeric, one of integers numeric above 50 distinct values, one of lists
    multi-valued, and anything else categorical: strings, booleans, other integers, and whatever a frame itself calls
    categorical. pandas makes floats of integers with gaps, and floats are numeric: name such columns in ``categorical``
    where they hold categories. Dates are refused unless ``dates`` says which parts of them are wanted.

    A category has a feature, in sorted order; a category in fewer than ``min_count`` rows shares the field's rare
    feature. A numeric column is cut into bins, standardised to one real-valued feature, or both in one field. Missing
    values (None, NaN, pandas' NA; not the empty string) have a feature of their own. Rare and missing features exist
    only where fit saw such rows: what was never trained contributes nothing. The order of rows never matters.

    Of a multi-valued column each member is a category. A row has a feature of the field for each of its members, once,
    however often they are listed; members that share a feature (rare, unknown, one bucket) give it once. Members that
    are missing are left out, and a row without members is missing.

    A hashed column needs no vocabulary: a value's bucket is its feature (`fwfm_gpu.hash_field` says which). Nothing is
    unknown and nothing rare, and values that share a bucket cannot be told apart: `report` counts them. Strings,
    integers and booleans are hashed by their text, so that 1 and ``"1"`` are one value. To fit takes the memory of the
    column and its distinct values; of them only counts are kept.

    A feature is named by its column and what it holds there, ``education=Masters``. Where two columns would give one
    name, both names quote their column: ``'a'=x=y`` and ``'a=x'=y``. Names of bins show as few digits as tell the
    ends of the column's bins apart, and at least three; the ends themselves are exact. Rows of more than 2**18 features
    carry no names where a column is hashed; `name_features` gives them.

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
    hashed : mapping of str to int, or sequence of str, optional
        The number of buckets of each column, or the columns that have ``n_buckets`` each. A column of lists too.
    n_buckets : int
    hash_seed : int
        Of the hash, up to 2**64 - 1. Another one makes other values share a bucket.
    multi : mapping of str to str or None, or sequence of str, optional
        Multi-valued columns: the separator of each, None for lists, as in ``{"genres": "|", "tags": None}``. Strings
        are cut at the separator and nothing else is done to them, empty parts are left out. Lists, tuples, sets and
        arrays need no name, unless they hold floats.
    multi_value : {"one", "mean"}, or mapping of str to such
        The value of each feature of a multi-valued column: 1, or 1 / count, the count being that of the row's features
        in this field; by column, where it is a mapping (``"one"`` for what is not in it).
    dates : mapping of str to str or sequence of str, optional
        The parts of each column of dates or times, as in ``{"time": ("hour", "weekday")}``: each is a field of its own,
        ``time.hour``. The hour (0 to 23), weekday (Monday is 0), day, month and is_weekend are categories, the year is
        numeric. Times are read as they stand, in the zone of their column or value, and never converted; the hour of a
        date is 0.

    Raises
    ------
    OptionError
        If an option is not allowed, or a column is named in two that do not go together.
    """

    _fitted: Fitted | None = None
    _unseen: tuple[float, ...] | None = None  # share of rows, per field, in the last transform

    def __repr__(self) -> str:
        state = "not fitted" if self._fitted is None else f"{len(self._fitted.fields)} fields"
        more = "".join(f", {name}={value!r}" for name, value in self.changed().items() if name in NEW_OPTIONS)
        return (
            f"FieldEncoder(bins={self.bins}, min_count={self.min_count}, unknown={self.unknown!r}, "
            f"numeric_as={self.numeric_as!r}{more}): {state}"
        )

    def fit(self, table: Any, y: Any = None) -> FieldEncoder:
        """Learn categories, bins and scales.

        Parameters
        ----------
        table : pandas, polars, pyarrow or cuDF table, or dict of (rows,) arrays or lists
            Features alone, without the label. It is left as it is. Integers of a column that is named in numeric are
            rounded to float64.
        y : optional
            Not looked at: scikit-learn's pipelines pass it.

        Returns
        -------
        FieldEncoder
            This one.

        Raises
        ------
        InputTypeError
            If it is no table, a name is no str, or a column holds dates that no option asks for, mixtures, or anything
            else not understood.
        InputError
            If it is empty, names are doubled, a named column is not there, or a column is all missing or not finite;
            if a column that is not named holds more than 50 distinct integers, some beyond 2**53; or a hashed one
            floats that are not whole.
        MissingExtraError
            If it is a frame, and narwhals or pyarrow is not installed.
        """
        opened = open_table(table)
        if not opened.names or not opened.n_rows:
            raise InputError(
                "a table must have at least one row and one column to be fitted: got "
                f"{opened.n_rows} rows, {len(opened.names)} columns."
            )
        for option, names in self.named.items():
            for name in names:
                if name not in opened.names:
                    raise InputError(
                        f"{option} names column {name!r}, which is not there. {name_columns(opened.names)}"
                    )
        fields = (field for name in opened.names for field in fit_fields(opened.read(name), self))
        self._fitted = Fitted.of(fields, opened.n_rows)
        self._unseen = None
        return self

    def partial_fit(self, table: Any, y: Any = None) -> FieldEncoder:
        """Learn categories that were not there, without changing what is known.

        A category that is new, or was rare, and is in at least ``min_count`` of these rows gets a feature, behind all
        others; other new ones are rare. Bins, scales and buckets stay. `FwFM.grow` makes room for the new features in a
        model. An encoder that is not fitted is fitted.

        Parameters
        ----------
        table, y : as for `fit`
            The columns of fit; others are ignored.

        Returns
        -------
        FieldEncoder
            This one. What it encoded before keeps the encoder of then.

        Raises
        ------
        InputTypeError, InputError, MissingExtraError
            As `transform` does, but for values that were not seen; or if a new feature would have the name of another.
            The encoder is then as it was.
        """
        if self._fitted is None:
            return self.fit(table)
        opened = self._open(table)
        columns = self._columns(opened)
        grown = (
            grow_field(field, prepared(column, field, self._fitted.n_rows), self.min_count) for field, column in columns
        )
        self._fitted = grow_fields(self._fitted, list(grown), opened.n_rows)
        self._unseen = None
        return self

    def transform(self, table: Any) -> FieldMatrix:
        """Encode rows.

        Parameters
        ----------
        table : pandas, polars, pyarrow or cuDF table, or dict of (rows,) arrays or lists
            The columns of fit, in any order; others are ignored. It may have no rows. A column may hold integers
            where it held floats in fit, and the other way round; and ISO 8601 strings where it held dates or times.

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
        opened = self._open(table)
        draft = fitted.blank(opened.n_rows)
        unseen: list[float] = []
        for field, column in self._columns(opened):
            own = prepared(column, field, fitted.n_rows)
            encoded = field.encode(own, self.unknown)
            if encoded.unseen is not None and self.unknown == "error":
                raise not_seen(own, field, first_true(encoded.unseen))
            draft.add(encoded, field.n_features)
            unseen.append(0.0 if encoded.unseen is None else float(np.mean(encoded.unseen)))
        self._unseen = tuple(unseen)
        return replace(fitted.finish(draft), encoder=copy.copy(self))  # a later fit does not reach it

    def fit_transform(self, table: Any, y: Any = None) -> FieldMatrix:
        """`fit`, then `transform` of the same table.

        Parameters
        ----------
        table, y : as for `fit`

        Returns
        -------
        FieldMatrix
        """
        return self.fit(table).transform(table)

    def get_feature_names_out(self) -> Array:
        """The name of every feature: ``education=Masters``, ``age in [25, 28)``, ``age missing``.

        Returns
        -------
        (n,) object
        """
        fitted = self._known()
        names = fitted.empty.feature_names or fitted.names()
        return np.array([*names, None], dtype=object)[:-1]

    def name_features(self, features: Any) -> list[str]:
        """The names of some features, also where there are so many that rows carry none.

        Parameters
        ----------
        features : (m,) integers

        Returns
        -------
        list of str

        Raises
        ------
        InputTypeError, InputError
            If they are no integers, or one of them is no feature.
        """
        fitted = self._known()
        numbers = integers("features", features)
        if numbers.ndim != 1:
            raise InputError(f"features must be 1-D: got shape {numbers.shape}.")
        check_range(numbers, fitted.empty.n_features, lambda i: f"features[{i}]")
        if (names := fitted.empty.feature_names) is not None:
            return [names[i] for i in numbers.tolist()]
        inner, first = fitted.inner_numbers(numbers.astype(np.int64)), fitted.firsts
        owners = np.searchsorted(first, inner, side="right") - 1
        return [
            fitted.fields[f].name_feature(i - int(first[f]))
            for f, i in zip(owners.tolist(), inner.tolist(), strict=True)
        ]

    @property
    def field_names(self) -> tuple[str, ...]:
        """The fields' names: those of their columns, and ``time.hour`` of a part of a date."""
        return tuple(field.name for field in self.fields)

    @property
    def column_names(self) -> tuple[str, ...]:
        """The columns that are read, in the order of their fields."""
        return tuple(dict.fromkeys(field.column for field in self.fields))

    @property
    def feature_order(self) -> Array | None:
        """The number of each feature, (n,) int64, field by field; None where none came later and they just ascend."""
        return self._known().order

    @property
    def n_features(self) -> int:
        """Of all fields."""
        return self._known().empty.n_features

    @property
    def fields(self) -> tuple[Field, ...]:
        """What fit learned of each column, in their order."""
        return self._known().fields

    def report(self) -> EncodingReport:
        """What fit saw in each column, and the unknown rate of the last transform.

        Returns
        -------
        list of FieldReport
            str() of it is a table.
        """
        fitted = self._known()
        rates = self._unseen or (None,) * len(fitted.fields)
        return EncodingReport(
            report_field(field, self.unknown, rate, fitted.n_rows)
            for field, rate in zip(fitted.fields, rates, strict=True)
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
        old = not any(name in NEW_OPTIONS for name in self.changed()) and all(
            field.format == 1 for field in self.fields
        )
        if fitted.order is not None:
            arrays["order"] = fitted.order
            old = False
        document = {
            "format": 3
            if fitted.order is not None
            else 1
            if old
            else 2,  # what former versions understand, they can read
            "options": {name: getattr(self, name) for name in OPTIONS if not (old and name in NEW_OPTIONS)},
            "n_rows": fitted.n_rows,
            "fields": [field.document() for field in fitted.fields],
        }
        return arrays, document

    @classmethod
    def restore(cls, arrays: dict[str, Array], document: dict[str, Any]) -> FieldEncoder:
        """The encoder that `describe` described: it transforms alike.

        Parameters
        ----------
        arrays, document
            What `describe` gave.

        Returns
        -------
        FieldEncoder

        Raises
        ------
        ModelFileError
            If they describe no encoder, or one of a later format.
        """
        try:
            if document["format"] not in FORMATS:
                raise ValueError(f"format {document['format']!r}, where {FORMATS} are understood")
            encoder = cls(**document["options"])
            fields: list[Field] = []
            for i, part in enumerate(document["fields"]):
                own = {name.partition(".")[2]: array for name, array in arrays.items() if name.startswith(f"{i}.")}
                fields.append(restore_field(own, part))
            order = arrays["order"] if document["format"] == 3 else None
            encoder._fitted = Fitted.of(fields, int(document["n_rows"]), order)
        except (AttributeError, KeyError, TypeError, ValueError, FwfmError) as error:
            raise ModelFileError(
                f"an encoder must be described by what describe() gave: found {type(error).__name__} "
                f"{str(error).rstrip('.')}. "
                "Fetch the file again, or save the model again."
            ) from error
        return encoder

    def _open(self, table: Any) -> Table:
        """A table that has every column."""
        opened = open_table(table)
        lost = [name for name in self.column_names if name not in opened.names]
        if lost:
            raise InputError(
                f"a table must have every column that was fitted: {', '.join(map(repr, lost))} not there. "
                f"{name_columns(opened.names)}"
            )
        return opened

    def _columns(self, opened: Table) -> Iterator[tuple[Field, Column | ListColumn]]:
        """Each field with its column, which parts of a date read once."""
        column = None
        for field in self._known().fields:
            if column is None or column.name != field.column:
                column = opened.read(field.column)
                if isinstance(field, DateField) and isinstance(column, Column) and column.kind == "strings":
                    column = parse_times(column)
            yield field, column

    def _known(self) -> Fitted:
        if self._fitted is None:
            raise MissingStateError("the encoder is not fitted: call fit or fit_transform first.")
        return self._fitted
