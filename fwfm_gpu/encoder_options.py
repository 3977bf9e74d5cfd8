"""The options of an encoder, checked before any table is looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fwfm_gpu.date_columns import PARTS
from fwfm_gpu.errors import OptionError
from fwfm_gpu.hash_field import MOST_BUCKETS, MOST_SEED

__all__ = ["NAMED", "NEW_OPTIONS", "OPTIONS", "EncoderOptions"]

UNKNOWN = ("learned", "ignore", "error")
NUMERIC_AS = ("bins", "value", "both")
MULTI_VALUE = ("one", "mean")

NAMED = ("categorical", "numeric", "hashed", "multi", "dates")  # options that name columns
NEW_OPTIONS = ("hashed", "n_buckets", "hash_seed", "multi", "multi_value", "dates")  # since format 2 of a description
OPTIONS = ("categorical", "numeric", "bins", "min_count", "unknown", "numeric_as", *NEW_OPTIONS)


class EncoderOptions:
    """What a `FieldEncoder` was asked for; its parameters are described there."""

    def __init__(
        self,
        categorical: Iterable[str] | None = None,
        numeric: Iterable[str] | None = None,
        *,
        bins: int = 32,
        min_count: int = 5,
        unknown: str = "learned",
        numeric_as: str = "bins",
        hashed: Mapping[str, int] | Iterable[str] | None = None,
        n_buckets: int = 2**18,
        hash_seed: int = 0,
        multi: Mapping[str, str | None] | Iterable[str] | None = None,
        multi_value: str | Mapping[str, str] = "one",
        dates: Mapping[str, str | Iterable[str]] | None = None,
    ) -> None:
        self.categorical = read_names("categorical", categorical)
        self.numeric = read_names("numeric", numeric)
        self.bins = read_whole("bins", bins, 2)
        self.min_count = read_whole("min_count", min_count, 1)
        self.unknown = choose("unknown", unknown, UNKNOWN)
        self.numeric_as = choose("numeric_as", numeric_as, NUMERIC_AS)
        self.n_buckets = read_whole("n_buckets", n_buckets, 1, MOST_BUCKETS)
        self.hashed = read_buckets(hashed, self.n_buckets)
        self.hash_seed = read_whole("hash_seed", hash_seed, 0, MOST_SEED)
        self.multi = read_separators(multi)
        self.multi_value = read_multi_value(multi_value)
        self.dates = read_parts(dates)
        self._check_named_once()

    @property
    def named(self) -> dict[str, tuple[str, ...]]:
        """The columns that options name, by option."""
        return {option: tuple(getattr(self, option) or ()) for option in NAMED}

    def changed(self) -> dict[str, Any]:
        """The options that differ from the default."""
        usual = EncoderOptions()
        return {name: getattr(self, name) for name in OPTIONS if getattr(self, name) != getattr(usual, name)}

    def _check_named_once(self) -> None:
        owners: dict[str, str] = {}
        for option, names in self.named.items():
            for name in names:
                other = owners.setdefault(name, option)
                if other != option and (other, option) != ("hashed", "multi"):
                    raise OptionError(f"column {name!r} is named in both {other} and {option}: name it in one of them.")


def read_names(option: str, names: Any) -> tuple[str, ...] | None:
    """A list of column names."""
    if names is None:
        return None
    several = np.iterable(names) and not isinstance(names, str)
    listed = tuple(names) if several else ()
    if not several or not all(isinstance(name, str) for name in listed):
        raise OptionError(f"{option} must be a list of column names, got {names!r}.")
    return listed


def read_buckets(hashed: Any, n_buckets: int) -> dict[str, int] | None:
    """The number of buckets of each column."""
    if isinstance(hashed, Mapping):
        read_names("hashed", hashed)
        return {name: read_whole(f"hashed[{name!r}]", count, 1, MOST_BUCKETS) for name, count in hashed.items()}
    names = read_names("hashed", hashed)
    return None if names is None else dict.fromkeys(names, n_buckets)


def read_separators(multi: Any) -> dict[str, str | None] | None:
    """The separator of each column; None for lists."""
    if not isinstance(multi, Mapping):
        names = read_names("multi", multi)
        return None if names is None else dict.fromkeys(names)
    read_names("multi", multi)
    for name, separator in multi.items():
        if separator is not None and (not isinstance(separator, str) or not separator):
            raise OptionError(f"multi[{name!r}] must be a separator, or None for lists: got {separator!r}.")
    return dict(multi)


def read_multi_value(multi_value: Any) -> str | dict[str, str]:
    """One choice for all columns, or one by column."""
    if not isinstance(multi_value, Mapping):
        return choose("multi_value", multi_value, MULTI_VALUE)
    read_names("multi_value", multi_value)
    return {name: choose(f"multi_value[{name!r}]", value, MULTI_VALUE) for name, value in multi_value.items()}


def read_parts(dates: Any) -> dict[str, tuple[str, ...]] | None:
    """The parts of each column."""
    if dates is None:
        return None
    if not isinstance(dates, Mapping):
        raise OptionError(
            f"dates must name the parts of each column, as {{'time': ('hour', 'weekday')}}: got {dates!r}."
        )
    read_names("dates", dates)
    read: dict[str, tuple[str, ...]] = {}
    for name, parts in dates.items():
        listed = (parts,) if isinstance(parts, str) else tuple(parts) if np.iterable(parts) else ()
        if not listed or len(set(map(str, listed))) < len(listed):
            raise OptionError(
                f"dates[{name!r}] must list parts, each once, such as ('hour', 'weekday'): got {parts!r}."
            )
        read[name] = tuple(choose(f"a part of dates[{name!r}]", part, tuple(PARTS)) for part in listed)
    return read


def read_whole(option: str, number: Any, least: int, most: int | None = None) -> int:
    """An integer that is large enough, and not too large."""
    whole = isinstance(number, (int, np.integer)) and not isinstance(number, bool)
    if not whole or number < least or (most is not None and number > most):
        limit = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise OptionError(f"{option} must be an integer {limit}, got {number!r}.")
    return int(number)


def choose(option: str, value: Any, allowed: tuple[str, ...]) -> str:
    """One of the words that are allowed."""
    if not isinstance(value, str) or value not in allowed:
        raise OptionError(f"{option} must be one of {', '.join(map(repr, allowed))}, got {value!r}.")
    return str(value)
