"""What the library says of its options, in the words of the command line: ``--n-factors`` for ``n_factors``."""

from __future__ import annotations

import re
from dataclasses import fields

from fwfm_gpu.encoder_options import OPTIONS as ENCODING
from fwfm_gpu.options import Options

__all__ = ["in_flags"]

READING = ("checkpoint", "checkpoint_every", "resume", "fit_rows", "shared_ids", "zero_based", "delimiter")
SEARCH = ("trials", "seconds", "space")
NAME = "|".join(sorted({entry.name for entry in fields(Options)} | {*ENCODING, *READING, *SEARCH}, reverse=True))
COMPOUND = "|".join(name for name in NAME.split("|") if "_" in name)  # no words of any other meaning
ENCODER_NAME = "|".join(ENCODING)
EXAMPLES = (  # values that a shell writes in another way
    (r"FieldEncoder\(dates=\{(['\"])(.*?)\1: \('hour', 'weekday'\)\}\)", r"--dates \2=hour,\2=weekday"),
    (r"\bmulti=\{(['\"])(.*?)\1: '\|'\}", r"--multi '\2=|'"),
    (r"\{'time': \('hour', 'weekday'\)\}", "time=hour,time=weekday"),
    (r"\beval_set=\(X, y\)", "--valid FILE"),
    (r", a callable giving \(name, value, higher_is_better\), or a list of those", ", or several with commas"),
    (r"\bcontinue_training\b(?!\()", "--continue MODEL"),
    (r"\btrain\(\.\.\., resume=\.\.\.\)", "--resume DIR"),
)
MENTIONS = (
    (rf"\b(?P<name>{NAME})=(?P<value>[\w.+-]+)(?= needs )", r"{flag} {value}"),
    (rf"\b(?P<name>{NAME})=(['\"])(?P<value>[\w:.]+)\2", r"{flag} {value}"),
    (rf"\b(?P<name>{NAME})\[(?P<value>'[^']*'|\"[^\"]*\")\]", r"{flag} of {value}"),
    (rf"(?<!space of )\b(?P<name>{NAME})(?= must | names column )", r"{flag}"),
    (rf"(?<!space of )(?<![\w/.'\"-])(?P<name>{COMPOUND})(?![\w/'\"-]|\.\w)", r"{flag}"),
    (rf"(?P<before>named in|in both|out of|it in|column in) (?P<name>{ENCODER_NAME})\b", "{before} {flag}"),
    (rf"(?P<before>in both --[\w-]+ and) (?P<name>{ENCODER_NAME})\b", "{before} {flag}"),
    (r"\b(?P<name>unknown)(?= is 'error')", r"{flag}"),
)


def in_flags(message: str) -> str:
    """A message of the library with options as they are typed in a shell."""
    for pattern, flag in EXAMPLES:
        message = re.sub(pattern, flag, message)
    for pattern, form in MENTIONS:
        message = re.sub(pattern, lambda found, form=form: spelled(found, form), message)  # type: ignore[misc]
    return message


def spelled(found: re.Match[str], form: str) -> str:
    """One mention."""
    parts = found.groupdict()
    return form.format(**parts, flag=f"--{parts['name'].replace('_', '-')}")
