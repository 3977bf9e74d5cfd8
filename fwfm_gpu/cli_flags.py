"""Flags from signatures: what a function takes becomes options of a command, with the words of its docstring.

An option that is added to ``train`` or ``FieldEncoder`` is a flag without further work, when its type is plain: a
number, a word, a choice, yes or no, a list of words, or pairs of word and value.
"""

from __future__ import annotations

import argparse
import inspect
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

__all__ = [
    "Flag",
    "Several",
    "add_flags",
    "flags_of",
    "given_flags",
    "list_of_words",
    "one_or_more_words",
    "path_argument",
    "whole",
]

FILE = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}  # what shtab completes a path with
SHOWN = 200  # characters of a help text, beyond its first sentence

# In the words of the command line, where the docstring has none or speaks of Python.
WORDS = {
    "epochs": "passes over the rows",
    "batch_size": "rows per update",
    "optimizer": "the update rule",
    "learning_rate": "size of a step",
    "beta_1": "Adam's decay of the mean",
    "beta_2": "Adam's decay of the square",
    "epsilon": "Adam's",
    "ftrl_beta": "FTRL's",
    "l1_linear": "L1 penalty of the linear weights; FTRL alone",
    "l1_factors": "L1 penalty of factors and field weights; FTRL alone",
    "l2_linear": "L2 penalty of the linear weights",
    "l2_factors": "L2 penalty of factors and field weights",
    "label_smoothing": "how far labels are drawn to the mean",
    "class_weight": 'weight of each label, as in no=1,yes=5, or "balanced"',
    "eval_metric": "what is measured on the held-out rows, one or several with commas; the first one steers",
    "min_delta": "a gain must be larger",
    "validation_fraction": "hold out this part of the rows",
    "validation": "which rows are held out: click data is split by time, so its last ones",
    "seed": "of the first factors, the rows held out and their order",
    "categorical": "columns to take as categories, whatever they hold",
    "numeric": "columns to take as numbers",
    "min_count": "a category in fewer rows shares a feature with its like",
    "unknown": "values that training did not see: as the rare ones, no feature, or an error",
    "numeric_as": "numbers as bins, as one standardised value, or both",
    "fit_rows": "rows of a stream, at most, that columns are learned from: every second, fourth, ... where it has more",
    "bins": "ranges that a numeric column is cut into",
    "hashed": "columns to hash, without a vocabulary: user,item, or user=65536 with their numbers of buckets",
    "n_buckets": "of each hashed column that is given without a number",
    "hash_seed": "another one makes other values share a bucket",
    "multi": "columns of several values: the separator of each, as in 'tags=|' or, a comma, tags=,",
    "multi_value": "what each of several values counts: one, or mean, 1 / their number; by column, or one word for all",
    "dates": "parts of dates and times that become fields, as in time=hour,weekday: hour, weekday, is_weekend, "
    "day, month, year",
}
METAVARS = {"device": "DEVICE", "class_weight": "LABEL=WEIGHT,...", "categorical": "COLUMNS", "numeric": "COLUMNS"}
METAVARS |= {"hashed": "COLUMN=N,...", "multi": "COLUMN=SEPARATOR,...", "multi_value": "WORD|COLUMN=WORD,..."}
METAVARS |= {"dates": "COLUMN=PART,..."}
METAVARS |= {"checkpoint": "DIR", "resume": "DIR", "eval_metric": "NAMES"}


@dataclass(frozen=True)
class Flag:
    """One option of a function.

    Attributes
    ----------
    name : str
        As the function calls it; ``--n-factors`` for ``n_factors``.
    read : function of the text, or None
        None: a switch, ``--shuffle`` and ``--no-shuffle``.
    default : object
        The function's own; a flag that is not given is not passed.
    words : str
    choices : tuple of str, optional
    metavar : str
    """

    name: str
    read: Callable[[str], Any] | None
    default: Any
    words: str
    choices: tuple[str, ...] | None
    metavar: str


def flags_of(function: Callable[..., Any], names: Iterable[str] | None = None) -> dict[str, Flag]:
    """The options of a function that a command line can hold, in the function's order.

    Parameters
    ----------
    function : with annotations, and a NumPy-style docstring (a class: that of its ``__init__``)
    names : iterable of str, optional
        Only these.
    """
    called = inspect.getattr_static(function, "__init__") if isinstance(function, type) else function
    hints, told = get_type_hints(called), parameters_told(inspect.getdoc(function) or "")
    wanted = None if names is None else set(names)
    flags = {}
    for name, parameter in inspect.signature(called).parameters.items():
        if parameter.default is parameter.empty or (wanted is not None and name not in wanted):
            continue
        kind, text = told.get(name, ("", ""))
        read = BY_NAME.get(name) or reader(hints.get(name, str))
        if read is None and hints.get(name) is not bool:
            continue
        choices = choices_told(kind) if read is word else None
        words = WORDS.get(name) or shortened(text) or name.replace("_", " ")
        metavar = METAVARS.get(name) or next((shown for kind, shown in SHOWN_AS if read is kind), "WORD")
        flags[name] = Flag(name, read, parameter.default, words, choices, metavar)
    return flags


def add_flags(parser: Any, flags: Iterable[Flag]) -> None:
    """The flags as arguments of a parser or group; one that is not given has no value."""
    for flag in flags:
        shown = "" if flag.default is None else f" (default: {plain(flag.default)})"
        keywords: dict[str, Any] = {"help": (flag.words + shown).replace("%", "%%"), "default": argparse.SUPPRESS}
        if flag.read is None:
            keywords["action"] = argparse.BooleanOptionalAction
        elif flag.choices:
            keywords["choices"] = flag.choices
        else:
            keywords |= {"type": flag.read, "metavar": flag.metavar, "action": Several}
        action = parser.add_argument(f"--{flag.name.replace('_', '-')}", dest=flag.name, **keywords)
        if flag.metavar == "DIR":
            action.complete = FILE


class Several(argparse.Action):
    """A list or pairs that are given more than once are one; of anything else the last one holds."""

    def __call__(
        self, parser: argparse.ArgumentParser, parsed: argparse.Namespace, value: Any, name: Any = None
    ) -> None:
        former = getattr(parsed, self.dest, self.default)
        if former is not self.default and self.type in LISTS:
            if isinstance(former, dict) != isinstance(value, dict):
                raise argparse.ArgumentError(self, f"names alone and NAME=VALUE do not go together: {former}, {value}")
            value = both(former, value)
        setattr(parsed, self.dest, value)


def both(former: Any, value: Any) -> Any:
    """Two lists as one, without repetitions; of two dicts each value."""
    if isinstance(former, dict):
        shared = {name: both(former[name], value[name]) for name in former if name in value}
        return former | value | shared
    lists = [part if isinstance(part, list) else [part] for part in (former, value)]
    together = list(dict.fromkeys(lists[0] + lists[1]))
    return former if together == lists[0] else together


def given_flags(parsed: argparse.Namespace, flags: Iterable[str]) -> dict[str, Any]:
    """What was given of these, by name."""
    return {name: getattr(parsed, name) for name in flags if hasattr(parsed, name)}


def path_argument(parser: Any, *names: str, **keywords: Any) -> None:
    """An argument that is a file or a folder, which shells complete."""
    parser.add_argument(*names, **keywords).complete = FILE


def reader(hint: Any) -> Callable[[str], Any] | None:
    """What reads a value of such a type; None for a switch, and for what no text can say."""
    kinds = set(get_args(hint)) if get_origin(hint) in (Union, types.UnionType) else {hint}
    kinds -= {type(None)}
    origins = {get_origin(kind) or kind for kind in kinds}
    if kinds == {int}:
        return whole
    if kinds and kinds <= {int, float}:
        return number
    if Mapping in origins or dict in origins:
        return pairs_or_words if origins & {Sequence, Iterable} else pairs
    if origins & {Sequence, Iterable, list, tuple}:
        return one_or_more_words if str in kinds else list_of_words
    if str in kinds:
        return number_or_word if kinds & {int, float} else word
    return None


def word(text: str) -> str:
    """Text as it is."""
    return text


def whole(text: str) -> int:
    """A whole number; 65_536 and 1e6 are understood."""
    try:
        return int(text)
    except ValueError:
        value = float(text)
        if not value.is_integer():
            raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from None
        return int(value)


def number(text: str) -> float:
    """A number."""
    return float(text)


def number_or_word(text: str) -> float | str:
    """A number where it is one."""
    try:
        return float(text)
    except ValueError:
        return text


def list_of_words(text: str) -> list[str]:
    """What stands between commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def one_or_more_words(text: str) -> str | list[str]:
    """One word, or those between commas."""
    words = list_of_words(text)
    return words[0] if len(words) == 1 else words


def pairs_or_words(text: str) -> Any:
    """``a=1,b=2`` as a dict, ``a,b`` as a list."""
    return pairs(text) if "=" in text else list_of_words(text)


def pairs(text: str) -> Any:
    """``a=1,b=2`` as a dict, with a list of what one name is given more than once; a word without = as it is."""
    if "=" not in text:
        return text
    read: dict[Any, list[Any]] = {}
    for part in list_of_words(text):
        name, equals, value = part.rpartition("=")
        if not equals:
            raise argparse.ArgumentTypeError(f"expected NAME=VALUE between commas, got {part!r}")
        read.setdefault(literal(name), []).append(literal(value))
    return {name: values if len(values) > 1 else values[0] for name, values in read.items()}


def separators(text: str) -> Any:
    """``a=|,b=;`` as a dict, ``a,b`` as a list; what stands before the next column is the separator, be it a comma."""
    if "=" not in text:
        return list_of_words(text)
    read: dict[str, str | None] = {}
    for part in re.split(r",(?=[^,=]+=)", text):
        name, equals, rest = part.partition("=")
        if not equals:
            read |= dict.fromkeys(list_of_words(part))
            continue
        separator = "," if rest.startswith(",") or not rest else rest.partition(",")[0]
        read[name.strip()] = separator
        read |= dict.fromkeys(list_of_words(rest[len(separator) :]))
    return read


def parts_of_dates(text: str) -> dict[str, str | list[str]]:
    """``a=hour,weekday,b=month`` as a dict: what has no = belongs to the column before."""
    read: dict[str, list[str]] = {}
    name = ""
    for word in list_of_words(text):
        column, equals, part = word.rpartition("=")
        if not equals and not read:
            raise argparse.ArgumentTypeError(f"expected COLUMN=PART, as {word}=hour,weekday, got {text!r}")
        name = column if equals else name
        read.setdefault(name, []).append(part)
    return {name: parts if len(parts) > 1 else parts[0] for name, parts in read.items()}


def literal(text: str) -> Any:
    """A whole number, a number, or the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def plain(value: Any) -> str:
    """A default as it would be typed."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


BY_NAME: dict[str, Callable[[str], Any]] = {"multi": separators, "dates": parts_of_dates}
LISTS = (list_of_words, one_or_more_words, pairs, pairs_or_words, separators, parts_of_dates)
SHOWN_AS: tuple[tuple[Callable[[str], Any], str], ...] = ((whole, "N"), (number, "X"), (list_of_words, "NAMES"))


def parameters_told(doc: str) -> dict[str, tuple[str, str]]:
    """The type and the text of each parameter in a NumPy-style docstring."""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)", doc, re.MULTILINE | re.DOTALL)
    told: dict[str, tuple[str, str]] = {}
    if section is None:
        return told
    for entry in re.split(r"^(?=\S)", section[1], flags=re.MULTILINE):
        head, _, body = entry.partition("\n")
        names, _, kind = head.partition(" : ")
        text = " ".join(body.split())
        told |= {name.strip(): (kind.strip(), text) for name in names.split(",") if name.strip()}
    return told


def choices_told(kind: str) -> tuple[str, ...] | None:
    """The words of ``{"a", "b"}``, where they are all there is: not where one stands for many, as "cuda:N"."""
    found = re.match(r"\{(.*)\}", kind)
    words = tuple(re.findall(r"""["']([^"']+)["']""", found[1])) if found else ()
    return words if words and not any(re.search(r":[A-Z]", name) for name in words) else None


def shortened(text: str) -> str:
    """The first sentences of a text, without marks."""
    text = re.sub(r"`+", "", text)
    sentences = re.split(r"(?<=[.;]) (?=[A-Z\"])", text)
    kept = sentences[0]
    for sentence in sentences[1:]:
        if len(kept) + len(sentence) > SHOWN:
            break
        kept += f" {sentence}"
    return kept.rstrip(".")
