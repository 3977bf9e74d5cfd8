"""``fwfm-gpu train``: a file in, a model out."""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentParser, Namespace
from contextlib import nullcontext
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from fwfm_gpu.backends import get_backend
from fwfm_gpu.cli_data import (
    TABLES,
    Examples,
    add_data,
    add_encoding,
    add_parsing,
    add_roles,
    form_of,
    learn_encoder,
    open_stream,
    read_examples,
    read_like,
    rows_of,
)
from fwfm_gpu.cli_flags import Flag, add_flags, flags_of, given_flags, path_argument
from fwfm_gpu.cli_output import DONE, Remarks, add_json, file_size, log_lines, print_json, print_lines, say
from fwfm_gpu.cli_remarks import remark_columns
from fwfm_gpu.encoded_file import open_encoded
from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.errors import OptionError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.interruption import raise_again
from fwfm_gpu.model import FwFM
from fwfm_gpu.model_document import load
from fwfm_gpu.model_file import DIGITS, OPENING, ROWS
from fwfm_gpu.options import Options
from fwfm_gpu.training import train

__all__ = ["EXAMPLE", "add_options", "add_train", "check_target", "option_flags", "run_train"]

EXAMPLE = """\
examples:
  fwfm-gpu train clicks.csv --label clicked --out model.fwfm
  fwfm-gpu train clicks.parquet --label clicked --drop user_id --out model.fwfm \\
      --validation-fraction 0.1 --patience 3 --eval-metric auc,logloss --epochs 100
  fwfm-gpu train day1.ffm.gz --valid day2.ffm.gz --patience 2 --out model.fwfm

The same data, options and seed give the same model to the bit, on every device.
"""
FIT_ROWS = ("fit_rows",)
CHECKPOINTS = ("checkpoint", "checkpoint_every", "resume")
ENGINES = {
    "numpy": "NumPy",
    "cpu": "compiled for the processor; the first run on a machine takes up to a minute to compile",
    "cuda": "CUDA",
}
GROUPS = {  # what is in none of them comes under "more options"
    "model": ("loss", "n_factors", "field_weights", "init_scale", "normalize", "dtype", "seed"),
    "training": (
        *("epochs", "batch_size", "shuffle", "optimizer", "learning_rate", "schedule", "warmup_epochs"),
        *("schedule_floor", "schedule_decay", "schedule_every", "shuffle_rows"),
        *("gradient_clip", "beta_1", "beta_2", "epsilon", "ftrl_beta", "ftrl_start"),
    ),
    "penalties and weights": (
        *("l2_linear", "l2_factors", "l1_linear", "l1_factors", "label_smoothing", "class_weight"),
        "negative_sampling_rate",
    ),
    "held-out rows": ("validation_fraction", "validation", "patience", "min_delta", "eval_metric"),
    "machine": ("device", "n_threads", "device_memory"),
}


def option_flags() -> dict[str, Flag]:
    """A flag for each option of ``train`` that a command line can hold."""
    return flags_of(train, [entry.name for entry in fields(Options)])


def checkpoint_flags() -> dict[str, Flag]:
    """Those on where training stands, which are no part of a model's options."""
    return flags_of(train, CHECKPOINTS)


def add_options(parser: ArgumentParser, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The options of ``train`` in groups; returns the groups."""
    flags = {name: flag for name, flag in option_flags().items() if name not in without}
    listed = {name for names in GROUPS.values() for name in names}
    titles = {**GROUPS, "more options": tuple(name for name in flags if name not in listed)}
    groups = {}
    for title, names in titles.items():
        there = [flags[name] for name in names if name in flags]
        if there:
            groups[title] = parser.add_argument_group(title)
            add_flags(groups[title], there)
    return groups


def add_train(parser: ArgumentParser) -> None:
    """The options of ``fwfm-gpu train``."""
    add_data(parser)
    path_argument(parser, "--out", metavar="MODEL", required=True, help="where the model is written")
    add_json(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    parser.add_argument(
        "--stream", action="store_true", help="read rows while they are trained on, for files larger than memory"
    )
    columns = add_roles(parser)
    add_encoding(parser, columns, flags_of(train, FIT_ROWS))
    add_parsing(parser)
    held = add_options(parser)["held-out rows"]
    path_argument(
        held,
        "--valid",
        action="append",
        metavar="FILE",
        help="evaluate on this file after each epoch; repeated, on several, of which the first one steers",
    )
    going_on = parser.add_argument_group("going on")
    add_flags(going_on, checkpoint_flags().values())
    path_argument(
        going_on,
        "--continue",
        dest="former",
        metavar="MODEL",
        help="train a saved model on, with its own options, for --epochs more (default: 1)",
    )
    parser.set_defaults(run=run_train)


def run_train(parsed: Namespace) -> int:
    """Read, train, save; a summary."""
    check_target(parsed.out, parsed.data, *(parsed.valid or ()), parsed.fields)
    refuse_model(parsed.data)
    began = time.perf_counter()
    with Remarks() as remarks, nullcontext() if parsed.quiet else log_lines(sys.stderr):
        if parsed.stream or form_of(parsed.data, parsed.format) == "encoded":
            model = train_stream(parsed)
        else:
            model = train_rows(parsed)
        model.save(parsed.out)
    seconds = round(time.perf_counter() - began, 3)
    summary = summarise(model, parsed) | {"seconds": seconds, "interrupted": remarks.ended is not None}
    print_json(summary) if parsed.json else print_lines(described(model, summary))
    return DONE if remarks.ended is None else remarks.ended


def train_rows(parsed: Namespace) -> FwFM:
    """A model of rows in memory."""
    options, passed = given_flags(parsed, option_flags()), passed_along(parsed)
    if given_flags(parsed, FIT_ROWS):
        raise OptionError("--fit-rows is for streams: rows in memory are all learned from. Leave it out, or --stream.")
    former = None if parsed.former is None else load(parsed.former)
    encoder = None if former is None else former.columns.encoder
    examples = read_examples(parsed, parsed.data, encoder)
    raise_again()
    if examples.weight is not None:
        passed["sample_weight"] = examples.weight
    if examples.group is not None and "validation_fraction" in options:
        passed["group"] = examples.group
    rows = examples.X
    if not isinstance(rows, FieldMatrix) and (former is None or encoder is not None):
        rows = (encoder or remarked_on(parsed, rows)).transform(rows)
    if parsed.valid:
        passed["eval_set"] = several(parsed, [read_like(parsed, path, rows) for path in parsed.valid])
    if not parsed.quiet:
        say(f"  {rows_of(rows):,} rows of {rows.n_fields} fields, {rows.n_features:,} features", to=sys.stderr)
        tell_engine(options)
    if former is None:
        return train(rows, examples.y, **options, **passed)
    return go_on(former, rows, examples.y, options, passed)


def remarked_on(parsed: Namespace, table: Any) -> FieldEncoder:
    """An encoder that is learned from a table, with remarks on how it took the columns."""
    encoder = learn_encoder(parsed, table)
    if not parsed.quiet:
        remark_columns(table, encoder)
    return encoder


def train_stream(parsed: Namespace) -> FwFM:
    """A model of rows that are read while they are trained on."""
    options, passed = given_flags(parsed, option_flags()), passed_along(parsed)
    if parsed.former is not None:
        raise OptionError("--continue is for rows in memory: with a stream, use --checkpoint and --resume.")
    if "validation_fraction" in options:
        raise OptionError(
            f"{parsed.data}: --validation-fraction holds out rows in memory, and a stream or a converted file stays on "
            "disk. Put the rows to hold out into a file of their own: --valid FILE."
        )
    source, told = open_stream(parsed, parsed.data)
    if parsed.valid and form_of(parsed.data, parsed.format) == "encoded":
        columns = open_encoded(parsed.data).survey.columns
        passed["eval_set"] = several(parsed, [read_like(parsed, path, columns) for path in parsed.valid])
    elif parsed.valid:
        rows = [path for path in parsed.valid if form_of(path, parsed.format) not in TABLES]
        if rows:
            raise OptionError(f"--valid {rows[0]}: a stream is evaluated on CSV, Parquet or Arrow; use evaluate after.")
        passed["eval_set"] = several(parsed, [read_examples(parsed, path) for path in parsed.valid])
    if not parsed.quiet:
        tell_engine(options)
    return train(source, **told, **options, **passed)


def passed_along(parsed: Namespace) -> dict[str, Any]:
    """What train takes that is no option of the model."""
    return {"progress": False if parsed.quiet else "auto", **given_flags(parsed, CHECKPOINTS)}


def tell_engine(options: dict[str, Any]) -> None:
    """Where it trains: the first run of the compiled engine takes its time."""
    say(f"  engine: {ENGINES[get_backend(options.get('device', 'auto')).name]}", to=sys.stderr)


def several(parsed: Namespace, read: list[Examples]) -> Any:
    """The rows to evaluate on; of several files by their names."""
    sets = [(one.X, one.y, one.weight, one.group) for one in read]
    names = [Path(path).name for path in parsed.valid]
    return sets[0] if len(sets) == 1 else dict(zip(names, sets, strict=True))


def go_on(model: FwFM, rows: FieldMatrix, y: Any, options: dict[str, Any], passed: dict[str, Any]) -> FwFM:
    """A saved model trained on; its options stay, but for how long and where."""
    refused = [f"--{name.replace('_', '-')}" for name in options if name not in ("epochs", "device", "eval_metric")]
    if refused:
        raise OptionError(f"--continue keeps the options of the model: leave out {', '.join(refused)}.")
    model.device = options.get("device", "auto")
    metric = {"eval_metric": options["eval_metric"]} if "eval_metric" in options else {}
    return model.continue_training(rows, y, epochs=options.get("epochs", 1), **metric, **passed)


def refuse_model(path: str) -> None:
    """A model in the place of rows."""
    if not os.path.isfile(path):
        return
    with open(path, "rb") as file:
        start = file.read(DIGITS.stop + len(ROWS))
    if start[8 : DIGITS.start] == OPENING and not start.endswith(ROWS):
        raise OptionError(
            f"{path}: that is a model; did you mean --continue {path}, with the rows to train it on as DATA?"
        )


def check_target(path: str, *read: str | None) -> None:
    """Before a long training: the folder is there, no folder stands in the way, and what is read is not lost."""
    folder = Path(path).resolve().parent
    if not folder.is_dir():
        raise OptionError(f"--out {path}: there is no folder {folder}. Make it first.")
    if os.path.isdir(path):
        raise OptionError(f"--out {path}: that is a folder; name a file in it.")
    if not os.access(folder, os.W_OK):
        raise OptionError(f"--out {path}: the folder {folder} may not be written.")
    for file in read:
        if file and os.path.exists(file) and os.path.exists(path) and os.path.samefile(file, path):
            raise OptionError(f"--out {path}: that is the file that is read. Name another one.")


def summarise(model: FwFM, parsed: Namespace) -> dict[str, Any]:
    """What was done, as plain values."""
    whole = [record.seconds * record.rows_per_second for record in model.history]
    position = model.trained.position
    best = model.history[position.epochs - 1] if 0 < position.epochs <= len(model.history) else None
    return {
        "data": parsed.data,
        "rows": round(max(whole, default=0)),
        "fields": int(model.parameters.n_fields),
        "features": int(model.parameters.n_features),
        "loss": model.loss,
        "labels": None if model.classes is None else model.classes.tolist(),
        "epochs": len(model.history),
        "best_epoch": model.best_epoch,
        "batches_beyond": position.batches,
        "training_loss": None if best is None else best.loss,
        "metrics": {} if best is None else dict(best.metrics),
        "history": [asdict(record) for record in model.history],
        "training_seconds": round(model.trained.seconds, 3),
        "model": parsed.out,
        "bytes": os.path.getsize(parsed.out),
    }


def described(model: FwFM, summary: dict[str, Any]) -> dict[str, str]:
    """The same in words."""
    history, best = model.history, summary["best_epoch"]
    speed = f", the last at {history[-1].rows_per_second:,.0f} rows/s" if history else ""
    labels = "" if model.labels is None else f", labels {model.labels}"
    epochs = f"{len(history)} epoch{'' if len(history) == 1 else 's'}"
    if summary["batches_beyond"]:
        epochs += f" and {summary['batches_beyond']} batches"
    elif best != len(history):
        epochs += f", back to epoch {best}"
    rows = f"{summary['rows']:,} rows, " if summary["rows"] else ""  # unknown before the first epoch is over
    lines = {
        "data": f"{rows}{summary['fields']} fields, {summary['features']:,} features{labels}",
        "trained": f"{epochs} in {summary['training_seconds']:.1f} s{speed}",
    }
    if summary["training_loss"] is not None:
        lines["loss"] = f"{summary['training_loss']:.4f} ({model.loss}), on the rows trained on"
    if summary["metrics"]:
        lines["held out"] = ", ".join(f"{name} {value:.4f}" for name, value in summary["metrics"].items())
    lines["model"] = f"{summary['model']} ({file_size(summary['model'])})"
    return lines
