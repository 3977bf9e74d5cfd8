"""The encoder that a command line asks for; dates and times that no option names are taken as their parts."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Collection, Iterable
from typing import Any

from fwfm_gpu.cli_flags import flags_of, given_flags
from fwfm_gpu.cli_output import say
from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.io.table_times import find_times

__all__ = ["encoder_for", "make_encoder"]


def make_encoder(parsed: Namespace) -> FieldEncoder:
    """An encoder with the options given."""
    return FieldEncoder(**given_flags(parsed, flags_of(FieldEncoder)))


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
