"""The encoder that a command line asks for; dates and times that no option names are taken as their parts."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np

from fwfm_gpu.cli_flags import flags_of, given_flags
from fwfm_gpu.cli_output import say
from fwfm_gpu.encoded_file import open_encoded
from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.errors import EncodedFileError, InputError
from fwfm_gpu.io.table_times import find_times
from fwfm_gpu.model_document import load

__all__ = ["encoder_for", "fitted_encoder", "kinds_asked", "kinds_of", "make_encoder"]

EXACT = 2**53  # float64 holds all integers up to it


def make_encoder(parsed: Namespace) -> FieldEncoder:
    """An encoder with the options given."""
    return FieldEncoder(**given_flags(parsed, flags_of(FieldEncoder)))


def fitted_encoder(path: str) -> FieldEncoder:
    """The encoder of a model's file, or of a converted one."""
    try:
        encoder = open_encoded(path).survey.columns.encoder
    except EncodedFileError:
        encoder = load(path, device="numpy").columns.encoder
    if encoder is None:
        raise InputError(f"{path}: expected an encoder, and its rows had none. Name a model or rows of a table.")
    return encoder


def encoder_for(
    parsed: Namespace, columns: Collection[str], read: Callable[[Collection[str]], Iterable[Any]]
) -> FieldEncoder:
    """The same for some columns: of dates and times that no option names hour and weekday, as a remark says.

    Parameters
    ----------
    parsed : what `add_encoding` declared
    columns, read : as of `find_times`
    """
    asked = make_encoder(parsed)
    named = {name for names in asked.named.values() for name in names}
    found = find_times([name for name in columns if name not in named], read)
    if not found:
        return asked
    parts = {name: ("hour", "weekday") if timed else ("weekday",) for name, timed in found.items()}
    holds = f"{', '.join(map(repr, parts))} hold{'s' if len(parts) == 1 else ''}"
    flag = ",".join(f"{name}={part}" for name, chosen in parts.items() for part in chosen)
    say(
        f"fwfm-gpu: {holds} dates or times: taken as with --dates {flag}. Name other parts there, or leave "
        f"{'it' if len(parts) == 1 else 'them'} out with --drop {','.join(parts)}",
        to=sys.stderr,
    )
    options = given_flags(parsed, flags_of(FieldEncoder))
    return FieldEncoder(**options | {"dates": {**(asked.dates or {}), **parts}})


def kinds_asked(parsed: Namespace) -> dict[str, str]:
    """Which columns of text have to stay text: a hash of 007 is not that of 7, and 1|2 is cut."""
    options = make_encoder(parsed) if hasattr(parsed, "hashed") or hasattr(parsed, "multi") else FieldEncoder()
    return dict.fromkeys([*(options.hashed or ()), *(options.multi or ())], "strings")


def kinds_of(encoder: FieldEncoder | None) -> dict[str, str]:
    """How columns of text have to be read for an encoder, whatever they look like in this file."""
    kinds = {}
    for field in () if encoder is None else encoder.fields:
        family, vocabulary = getattr(field, "family", None), getattr(field, "vocabulary", None)
        if field.kind == "hashed" or getattr(field, "separator", None) is not None:
            family = "strings"
        if family == "numbers" and vocabulary is not None and vocabulary.dtype.kind == "i":
            family = "integers" if np.abs(vocabulary).max(initial=0) > EXACT else family
        if family in ("strings", "numbers", "integers", "booleans"):
            kinds[field.column] = family
    return kinds
