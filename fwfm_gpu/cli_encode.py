"""``fwfm-gpu encode`` and ``fwfm-gpu convert``: tables to rows, as text for other tools or as a file that is mapped."""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fwfm_gpu.cli_data import (
    add_data,
    add_encoding,
    add_parsing,
    add_roles,
    learn_encoder,
    open_stream,
    read_examples,
    rows_of,
)
from fwfm_gpu.cli_encoder import fitted_encoder
from fwfm_gpu.cli_flags import FILE, flags_of, path_argument
from fwfm_gpu.cli_output import DONE, Remarks, add_json, file_size, print_json, print_lines, say
from fwfm_gpu.cli_train import check_target
from fwfm_gpu.encoded_file_writing import convert
from fwfm_gpu.errors import InputError, OptionError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.interruption import raise_again
from fwfm_gpu.io import write_libffm, write_libsvm
from fwfm_gpu.labels import Labels, choose_loss, encode_targets
from fwfm_gpu.parameters import Array

__all__ = ["CONVERT_EXAMPLE", "ENCODE_EXAMPLE", "add_convert", "add_encode"]

ENCODE_EXAMPLE = """\
examples:
  fwfm-gpu encode clicks.csv --label clicked --out clicks.ffm.gz
  fwfm-gpu encode train.csv test.csv --label clicked --out encoded/
  fwfm-gpu encode test.csv --label clicked --like model.fwfm --out test.svm

Of several files the first one is learned from, and all are encoded alike. Two labels become 0 and 1, several their
places in sorted order. What is printed says how each column was taken, and how many values were not known.
"""
CONVERT_EXAMPLE = """\
examples:
  fwfm-gpu convert clicks.csv --label clicked --out clicks.rows
  fwfm-gpu convert later.csv --label clicked --like clicks.rows --out later.rows
  fwfm-gpu train clicks.rows --valid later.rows --out model.fwfm

The file is mapped, not read: training starts at once, whatever its size, and memory does not grow with it. CSV, Parquet
and Arrow files are encoded on the way, and the encoder is kept in the file and in the models trained on it.
"""
SHOWN_LABELS = 10


def add_encode(parser: ArgumentParser) -> None:
    """The options of ``fwfm-gpu encode``."""
    parser.add_argument("data", nargs="+", metavar="DATA", help="CSV, Parquet or Arrow").complete = FILE  # type: ignore[attr-defined]
    path_argument(
        parser, "--out", required=True, metavar="FILE", help=".ffm or .svm, .gz to pack it; a folder for several files"
    )
    add_like(parser)
    add_json(parser)
    columns = add_roles(parser)
    add_encoding(parser, columns)
    add_parsing(parser)
    parser.set_defaults(run=run_encode)


def add_convert(parser: ArgumentParser) -> None:
    """The options of ``fwfm-gpu convert``."""
    add_data(parser, "CSV, Parquet, Arrow, libffm or libsvm")
    path_argument(parser, "--out", required=True, metavar="FILE", help="where the rows are written")
    add_like(parser)
    add_json(parser)
    columns = add_roles(parser)
    add_encoding(parser, columns, flags_of(convert, ("fit_rows",)))
    add_parsing(parser)
    parser.set_defaults(run=run_convert)


def add_like(parser: ArgumentParser) -> None:
    """What to encode like."""
    words = "encode as this model or converted file was, instead of learning anew"
    path_argument(parser, "--like", metavar="FILE", help=words)


def run_encode(parsed: Namespace) -> int:
    """A report, and a file of rows for each file."""
    targets = target_files(parsed)
    encoder = None if parsed.like is None else fitted_encoder(parsed.like)
    told: list[dict[str, Any]] = []
    known: tuple[str, Labels | None] | None = None
    with Remarks():
        for path, target in zip(parsed.data, targets, strict=True):
            examples = read_examples(parsed, path, encoder)
            raise_again()
            if isinstance(examples.X, FieldMatrix):
                raise InputError(f"{path}: these are rows already; encode takes CSV, Parquet and Arrow.")
            encoder = encoder or learn_encoder(parsed, examples.X)
            rows = encoder.transform(examples.X)
            y, known = numbers_of(examples.y, known)
            write = write_libsvm if ".svm" in target or ".libsvm" in target else write_libffm
            write(target, rows, y)
            report = [asdict(field) for field in encoder.report()]
            told.append(
                {"data": path, "out": target, "rows": rows_of(rows), "features": rows.n_features, "report": report}
            )
            if not parsed.json:
                say(str(encoder.report()) + "\n")
                lines = {"rows": f"{rows_of(rows):,} of {rows.n_fields} fields, {rows.n_features:,} features"}
                print_lines(lines | {"out": f"{target} ({file_size(target)})"})
    labels = None if known is None or known[1] is None else known[1].classes.tolist()
    if parsed.json:
        print_json({"files": told, "labels": labels})
    elif labels is not None:
        print_lines({"labels": ", ".join(f"{label} is {number}" for number, label in enumerate(labels[:SHOWN_LABELS]))})
    return DONE


def target_files(parsed: Namespace) -> list[str]:
    """Where each file goes."""
    if len(parsed.data) == 1 and not os.path.isdir(parsed.out) and not parsed.out.endswith("/"):
        check_target(parsed.out, *parsed.data, parsed.like)
        return [parsed.out]
    os.makedirs(parsed.out, exist_ok=True)
    targets = [os.path.join(parsed.out, f"{Path(path).name.split('.')[0]}.ffm") for path in parsed.data]
    if len(set(targets)) < len(targets):
        raise OptionError(f"files of one name cannot go to one folder: {', '.join(parsed.data)}.")
    for target in targets:
        check_target(target, *parsed.data, parsed.like)
    return targets


def numbers_of(y: Any, known: tuple[str, Labels | None] | None) -> tuple[Array, tuple[str, Labels | None]]:
    """Labels as numbers, by the labels of the first file."""
    loss, labels = (choose_loss(y, "auto"), None) if known is None else known
    numbers, labels = encode_targets(y, loss, labels)
    return numbers, (loss, labels)


def run_convert(parsed: Namespace) -> int:
    """One file to another that is mapped."""
    check_target(parsed.out, parsed.data, parsed.like)
    began = time.perf_counter()
    with Remarks():
        source, told = open_stream(parsed, parsed.data)
        done = convert(source, parsed.out, **told)
    seconds = time.perf_counter() - began
    if parsed.json:
        print_json({"data": parsed.data, **asdict(done), "seconds": round(seconds, 3)})
    else:
        rows = f"{done.rows:,} of {done.fields} fields, {done.features:,} features, {done.values:,} values"
        print_lines({"rows": rows, "out": f"{parsed.out} ({file_size(parsed.out)}) in {seconds:.1f} s"})
    return DONE
