"""``fwfm-gpu predict`` and ``fwfm-gpu evaluate``: a model and a file, some rows at a time."""

from __future__ import annotations

import csv
import json
import os
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwfm_gpu.atomic_file import replace_file
from fwfm_gpu.cli_data import add_data, add_parsing, add_roles, iterate_examples, rows_of
from fwfm_gpu.cli_flags import Several, list_of_words, path_argument
from fwfm_gpu.cli_output import DONE, FAILED, Remarks, add_json, print_json, print_lines, say
from fwfm_gpu.cli_train import check_target
from fwfm_gpu.errors import InputError, OptionError
from fwfm_gpu.evaluation import read_group
from fwfm_gpu.io.table_files import write_parquet
from fwfm_gpu.labels import encode_targets, row_weights
from fwfm_gpu.metrics import defined_metrics, evaluate, resolve_metrics
from fwfm_gpu.model import FwFM
from fwfm_gpu.model_document import load
from fwfm_gpu.numerics import sigmoid64, softmax64
from fwfm_gpu.parameters import Array

__all__ = ["EVALUATE_EXAMPLE", "PREDICT_EXAMPLE", "add_evaluate", "add_predict"]

PREDICT_EXAMPLE = """\
examples:
  fwfm-gpu predict model.fwfm new.csv --proba --keep id --out predictions.csv
  fwfm-gpu predict model.fwfm new.parquet --out predictions.parquet
  cut -d, -f1-9 new.csv | fwfm-gpu predict model.fwfm - | sort | uniq -c

The file is read in parts, so it may be larger than memory. It needs the columns that the model was trained on; others
are ignored. Without --out, or with --out -, predictions go to standard output.
"""
EVALUATE_EXAMPLE = """\
examples:
  fwfm-gpu evaluate model.fwfm test.csv --label clicked
  fwfm-gpu evaluate model.fwfm test.ffm --metric auc --json
  fwfm-gpu evaluate model.fwfm test.csv --label clicked --require 'auc>=0.78' --require 'logloss<0.4' || alarm
"""
SIGNS = {">=": np.greater_equal, "<=": np.less_equal, ">": np.greater, "<": np.less}
TEXT, LINES, PARQUET = (".csv",), (".jsonl", ".ndjson"), (".parquet", ".pq")  # endings of files of predictions
Columns = dict[str, Any]


def add_model(parser: ArgumentParser) -> None:
    """The model's file, and where it is to run."""
    path_argument(parser, "model", metavar="MODEL", help="a file that train wrote")
    parser.add_argument("--device", default="auto", help="auto, cpu, numpy, cuda or cuda:N (default: auto)")


def add_predict(parser: ArgumentParser) -> None:
    """The options of ``fwfm-gpu predict``."""
    add_model(parser)
    add_data(parser)
    path_argument(
        parser, "--out", default="-", metavar="FILE", help="CSV, or .parquet, .jsonl; - is standard output (default)"
    )
    parser.add_argument("--proba", action="store_true", help="the probability of each label, instead of the label")
    parser.add_argument("--scores", action="store_true", help="raw scores, instead of the label")
    parser.add_argument(
        "--keep", action=Several, type=list_of_words, metavar="COLUMNS", help="columns of DATA to copy to the output"
    )
    add_json(parser, "a JSON object per row; with --out FILE one on what was done")
    add_parsing(parser)
    parser.set_defaults(run=run_predict)


def add_evaluate(parser: ArgumentParser) -> None:
    """The options of ``fwfm-gpu evaluate``."""
    add_model(parser)
    add_data(parser)
    parser.add_argument(
        "--metric",
        action=Several,
        type=list_of_words,
        metavar="NAMES",
        help="which, as auc or ndcg@10 (default: all that fit)",
    )
    parser.add_argument(
        "--require", action="append", type=requirement, metavar="TEST", help="exit with 1 unless it holds: 'auc>=0.78'"
    )
    add_json(parser)
    add_roles(parser, "the column that holds the truth")
    add_parsing(parser)
    parser.set_defaults(run=run_evaluate)


def requirement(text: str) -> tuple[str, str, float]:
    """``auc>=0.78`` as name, sign and number."""
    for sign in SIGNS:
        name, found, value = text.partition(sign)
        if found:
            return name.strip(), sign, float(value)
    raise ArgumentTypeError(f"expected something like auc>=0.78, got {text!r}")


def run_predict(parsed: Namespace) -> int:
    """Predictions, row by row."""
    began, to_file = time.perf_counter(), parsed.out != "-"
    if to_file:
        check_target(parsed.out, parsed.model, parsed.data)
        check_ending(parsed.out)
    model = load(parsed.model, device=parsed.device)
    if parsed.proba and model.loss == "squared":
        raise OptionError('--proba needs labels, and this model has loss="squared". Leave it out.')
    counts = {"rows": 0, "unknown": 0}
    with Remarks():
        parts = predicted(model, parsed, counts)
        write_predictions(parsed, parts)
    remark_unknown(counts["unknown"])
    if to_file:
        done = {"model": parsed.model, "data": parsed.data, "out": parsed.out, "rows": counts["rows"]}
        done |= {"entries_left_out": counts["unknown"], "seconds": round(time.perf_counter() - began, 3)}
        if parsed.json:
            print_json(done)
        else:
            print_lines({"rows": f"{counts['rows']:,} in {done['seconds']:.1f} s", "out": parsed.out})
    return DONE


def check_ending(path: str) -> None:
    """The form of a file of predictions is told by its name."""
    ending = os.path.splitext(path)[1].lower()
    if ending and ending not in (*TEXT, *LINES, *PARQUET):
        raise OptionError(f"--out {path}: expected a name that ends in .csv, .parquet or .jsonl, got {ending}.")


def predicted(model: FwFM, parsed: Namespace, counts: dict[str, int]) -> Iterator[Columns]:
    """Columns of some rows at a time; what was read is counted."""
    for examples in iterate_examples(parsed, model, parsed.keep):
        counts["rows"] += rows_of(examples.X)
        counts["unknown"] += examples.unknown
        yield (examples.kept or {}) | prediction_columns(model, examples.X, parsed)
    if not counts["rows"]:
        kept: Columns = {name: [] for name in parsed.keep or ()}
        yield kept | prediction_columns(model, None, parsed)


def prediction_columns(model: FwFM, X: Any, parsed: Namespace) -> Columns:
    """What was asked for, by name of column; without rows where X is None."""
    if not (parsed.proba or parsed.scores):
        return {"prediction": [] if X is None else model.predict(X)}
    width = (len(model.classes),) if model.loss == "softmax" else ()
    scores = np.empty((0, *width)) if X is None else model.decision_function(X)
    columns: Columns = {}
    if parsed.proba:
        wide = scores.astype(np.float64)
        with np.errstate(all="ignore"):
            p = softmax64(wide) if model.loss == "softmax" else sigmoid64(wide)
        p = p if model.loss == "softmax" else np.stack((1 - p, p), axis=1)
        columns |= {f"probability_{label}": p[:, c] for c, label in enumerate(model.classes)}
    if parsed.scores and model.loss == "softmax":
        columns |= {f"score_{label}": scores[:, c] for c, label in enumerate(model.classes)}
    elif parsed.scores:
        columns["score"] = scores
    return columns


def write_predictions(parsed: Namespace, parts: Iterator[Columns]) -> None:
    """Rows to standard output, or to a file that is complete or was not touched."""
    if parsed.out == "-":
        write_text(sys.stdout, parts, lines_of_json if parsed.json else lines_of_csv)
        sys.stdout.flush()
        return
    if parsed.out.lower().endswith(PARQUET):
        replace_file(parsed.out, lambda file: write_parquet(file, parts))
        return
    lines = lines_of_json if parsed.out.lower().endswith(LINES) else lines_of_csv

    def write(file: Any) -> None:
        import io

        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        write_text(text, parts, lines)
        text.detach()

    replace_file(parsed.out, write)


def write_text(file: Any, parts: Iterator[Columns], write: Any) -> None:
    """Each part in its turn."""
    for i, columns in enumerate(parts):
        listed = {name: values.tolist() if hasattr(values, "tolist") else values for name, values in columns.items()}
        write(file, listed, first=i == 0)


def lines_of_csv(file: Any, columns: Columns, first: bool) -> None:
    """A head, then rows; numbers as Python writes them, which reads back exactly."""
    writer = csv.writer(file, lineterminator="\n")
    if first:
        writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))


def lines_of_json(file: Any, columns: Columns, first: bool) -> None:
    """One object per row."""
    for row in zip(*columns.values(), strict=True):
        file.write(json.dumps(dict(zip(columns, row, strict=True))) + "\n")


def remark_unknown(entries: int) -> None:
    """Features that the model has not seen contribute nothing; many of them are a sign of another numbering."""
    if entries:
        say(f"fwfm-gpu: {entries:,} entries are of features that the model does not know: left out", to=sys.stderr)


def run_evaluate(parsed: Namespace) -> int:
    """Metrics, and whether they are as required."""
    model = load(parsed.model, device=parsed.device)
    file = score_file(model, parsed)
    required = [name for name, _, _ in parsed.require or ()]
    if parsed.metric or required:
        names = list(dict.fromkeys([*(parsed.metric or ()), *required]))
        metrics = resolve_metrics(names, model.loss, file.group)
    else:
        metrics = defined_metrics(model.loss, file.y, file.weight, file.group)
    found = {score.name: score.value for score in evaluate(metrics, model.loss, file.s, file.y, file.weight)}
    remark_unknown(file.unknown)
    tests = [(f"{name}{sign}{value:g}", SIGNS[sign](found[name], value)) for name, sign, value in parsed.require or ()]
    failed = [test for test, holds in tests if not holds]
    if parsed.json:
        print_json(
            {"model": parsed.model, "data": parsed.data, "rows": len(file.y), "metrics": found, "failed": failed}
        )
    else:
        print_lines({"rows": f"{len(file.y):,}"} | {name: f"{value:.6f}" for name, value in found.items()})
    for test in failed:
        say(f"fwfm-gpu: not so: {test}", to=sys.stderr)
    return FAILED if failed else DONE


@dataclass(frozen=True)
class Scored:
    """A whole file as a model scored it."""

    s: Array  # (rows, C)
    y: Array  # (rows,) float64
    weight: Array | None
    group: Array | None  # numbers
    unknown: int  # entries left out


def score_file(model: FwFM, parsed: Namespace) -> Scored:
    """The file in parts: only scores, targets, weights and groups are kept."""
    parts: list[tuple[Array | None, ...]] = []
    unknown = 0
    with Remarks():
        for examples in iterate_examples(parsed, model):
            if examples.y is None:
                raise OptionError(f"{parsed.data}: which column holds the truth? Say --label COLUMN.")
            s = model.decision_function(examples.X)
            y, _ = encode_targets(examples.y, model.loss, model.labels)
            parts.append((s if model.loss == "softmax" else s[:, None], y, examples.weight, examples.group))
            unknown += examples.unknown
    if not parts:
        raise InputError(f"{parsed.data}: expected at least one row, got none.")
    columns: list[Any] = [None if part[0] is None else np.concatenate(part) for part in zip(*parts, strict=True)]
    s, truth, weight, group = columns
    weight = row_weights(truth, model.labels, weight, None)
    return Scored(s, truth, weight, read_group(group, len(truth)), unknown)
