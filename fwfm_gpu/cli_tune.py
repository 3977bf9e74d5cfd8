"""``fwfm-gpu tune``: a search over options, and the command that trains with the best of them."""

from __future__ import annotations

import json
import shlex
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from fwfm_gpu.cli_data import (
    add_data,
    add_encoding,
    add_parsing,
    add_roles,
    learn_encoder,
    read_examples,
    read_like,
    rows_of,
)
from fwfm_gpu.cli_flags import Several, given_flags, one_or_more_words, path_argument, whole
from fwfm_gpu.cli_output import DONE, Remarks, add_json, file_size, log_lines, print_json, print_lines, say
from fwfm_gpu.cli_train import add_options, check_target, option_flags
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.interruption import raise_again
from fwfm_gpu.options import Options

__all__ = ["EXAMPLE", "add_tune"]

EXAMPLE = """\
examples:
  fwfm-gpu tune clicks.csv --label clicked --seconds 600 --out model.fwfm --test later.csv
  fwfm-gpu tune clicks.parquet --label clicked --trials 50 --metric auc --optimizer adam
  fwfm-gpu tune clicks.ffm --trials 20 --space '{"n_factors": [4, 8], "l2_factors": ["log", 1e-6, 1e-2]}'

Options that are given are fixed; the others of the space (optimizer, learning rate, penalties, factors) are searched
over. The value of the best trial was chosen for being the best, so it flatters: --test measures the model on rows that
the search never saw.
"""


def add_tune(parser: ArgumentParser) -> None:
    """The options of ``fwfm-gpu tune``."""
    add_data(parser)
    path_argument(parser, "--out", metavar="MODEL", help="where the best model is written, trained on all rows of DATA")
    add_json(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="no line per trial")
    search = parser.add_argument_group("search")
    search.add_argument("--trials", type=whole, metavar="N", help="how many (default: 20, or as many as fit --seconds)")
    search.add_argument("--seconds", type=float, metavar="X", help="time budget of the search")
    search.add_argument(
        "--metric",
        action=Several,
        type=one_or_more_words,
        default="auto",
        help="what to search for, one or several with commas: the first (default: auto)",
    )
    search.add_argument(
        "--space",
        type=read_space,
        metavar="JSON",
        help='what to search over: lists are choices, ["range", LOW, HIGH] and ["log", LOW, HIGH] are ranges',
    )
    path_argument(search, "--valid", metavar="FILE", help="rows to measure trials on (default: a fifth of DATA)")
    path_argument(search, "--test", metavar="FILE", help="rows to measure the best model on at the end")
    columns = add_roles(parser)
    add_encoding(parser, columns)
    add_parsing(parser)
    add_options(parser, without=("eval_metric",))
    parser.set_defaults(run=run_tune)


def read_space(text: str) -> dict[str, Any]:
    """A space as JSON."""
    try:
        read = json.loads(text)
    except json.JSONDecodeError as error:
        raise ArgumentTypeError(f'expected JSON, as {{"n_factors": [4, 8]}}: {error}') from error
    if not isinstance(read, dict):
        raise ArgumentTypeError(f"expected a JSON object, got {text!r}")
    return {name: as_range(kind) for name, kind in read.items()}


def as_range(kind: Any) -> Any:
    """``["log", 1, 2]`` as a range; other lists are choices."""
    match kind:
        case ["range", low, high]:
            return (low, high)
        case ["log", low, high]:
            return (low, high, "log")
        case dict():
            return {name: as_range(one) for name, one in kind.items()}
    return kind


def run_tune(parsed: Namespace) -> int:
    """A line per trial, a table, and what to do with it."""
    from fwfm_gpu.tuning import tune  # not for every command

    if parsed.out:
        check_target(parsed.out, parsed.data, parsed.valid, parsed.test)
    options = given_flags(parsed, option_flags())
    fraction = {"validation_fraction": options.pop("validation_fraction")} if "validation_fraction" in options else {}
    with Remarks() as remarks, nullcontext() if parsed.quiet else log_lines(sys.stderr):
        rows, passed = read_all(parsed)
        tuned = tune(
            rows,
            trials=parsed.trials,
            seconds=parsed.seconds,
            metric=parsed.metric,
            space=parsed.space,
            **fraction,
            **options,
            **passed,
        )
        if parsed.out:
            tuned.model.save(parsed.out)
    best = {name: value for name, value in tuned.options.items() if value != getattr(Options(), name)}
    if parsed.json:
        told = {"data": parsed.data, "rows": rows_of(rows), "metric": tuned.metric, "value": tuned.value}
        told |= {"test": tuned.test, "options": tuned.options, "trials": [asdict(trial) for trial in tuned.trials]}
        print_json(
            told | {"seconds": round(tuned.seconds, 3), "model": parsed.out, "interrupted": remarks.ended is not None}
        )
    else:
        say(str(tuned))
        say()
        lines = {"best": f"{tuned.metric} {tuned.value:.5f} on the rows held out, which flatters it"}
        if tuned.test is not None:
            lines["test"] = ", ".join(f"{name} {value:.5f}" for name, value in tuned.test.items())
        if parsed.out:
            lines["model"] = f"{parsed.out} ({file_size(parsed.out)})"
        lines["options"] = as_flags(best)
        print_lines(lines)
    return DONE if remarks.ended is None else remarks.ended


def read_all(parsed: Namespace) -> tuple[FieldMatrix, dict[str, Any]]:
    """The rows, encoded once, and what goes with them."""
    examples = read_examples(parsed, parsed.data)
    raise_again()
    rows = examples.X
    if not isinstance(rows, FieldMatrix):
        rows = learn_encoder(parsed, rows).transform(rows)
    passed: dict[str, Any] = {"y": examples.y, "sample_weight": examples.weight}
    if not parsed.valid:  # groups matter where rows are held out
        passed["group"] = examples.group
    for name, path in (("eval_set", parsed.valid), ("test_set", parsed.test)):
        if path:
            other = read_like(parsed, path, rows)
            passed[name] = (other.X, other.y, other.weight, other.group)
    return rows, passed


def as_flags(options: dict[str, Any]) -> str:
    """Options as train takes them from a shell."""
    words = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        elif isinstance(value, dict):
            words += [flag, ",".join(f"{label}={weight}" for label, weight in value.items())]
        else:
            words += [flag, ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)]
    return shlex.join(words)
