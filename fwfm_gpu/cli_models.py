"""``fwfm-gpu inspect``: what a model's file holds."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from dataclasses import asdict, fields
from typing import Any

from fwfm_gpu.cli_flags import path_argument, whole
from fwfm_gpu.cli_output import DONE, add_json, file_size, print_json, print_lines, say
from fwfm_gpu.model import FwFM
from fwfm_gpu.model_document import load
from fwfm_gpu.model_file import DIGITS
from fwfm_gpu.options import Options

__all__ = ["EXAMPLE", "add_inspect"]

EXAMPLE = """\
examples:
  fwfm-gpu inspect model.fwfm
  fwfm-gpu inspect model.fwfm --json | jq '.history[-1].metrics'

The file's checksum is verified first, so exit code 0 also says that the file is whole.
"""
SHOWN_EPOCHS = 10


def add_inspect(parser: ArgumentParser) -> None:
    """The options of ``fwfm-gpu inspect``."""
    path_argument(parser, "model", metavar="MODEL", help="a file that train wrote")
    parser.add_argument(
        "--top", type=whole, default=10, metavar="N", help="how many of the strongest feature pairs (default: 10)"
    )
    add_json(parser)
    parser.set_defaults(run=run_inspect)


def run_inspect(parsed: Namespace) -> int:
    """Sizes, options, columns, history, and what pairs of features add to a score."""
    model = load(parsed.model, device="numpy")
    found = gathered(model, parsed.model)
    pairs = model.top_interactions(parsed.top) if parsed.top else ()
    if parsed.json:
        print_json(found | {"top_interactions": [asdict(pair) for pair in pairs]})
        return DONE
    show(model, found)
    if pairs:
        say(f"\n{pairs}")
    return DONE


def gathered(model: FwFM, path: str) -> dict[str, Any]:
    """All of it, as plain values."""
    with open(path, "rb") as file:
        checksum = file.read(DIGITS.stop)[DIGITS].decode()
    p, encoder = model.parameters, model.columns.encoder
    return {
        "model": path,
        "bytes": os.path.getsize(path),
        "sha256": checksum,
        "loss": model.loss,
        "labels": None if model.classes is None else model.classes.tolist(),
        "features": int(p.n_features),
        "fields": int(p.n_fields),
        "factors": int(p.n_factors),
        "dtype": str(p.dtype),
        "trains_on": model.optimizer_state is not None,
        "field_names": None if model.columns.field_names is None else list(model.columns.field_names),
        "encoder": None if encoder is None else [asdict(report) for report in encoder.report()],
        "options": model.options.plain(),
        "epochs": len(model.history),
        "best_epoch": model.best_epoch,
        "seconds": model.trained.seconds,
        "data_fingerprint": model.trained.data_fingerprint,
        "history": [asdict(record) for record in model.history],
    }


def show(model: FwFM, found: dict[str, Any]) -> None:
    """The same in words."""
    labels = "" if model.labels is None else f", labels {model.labels}"
    print_lines(
        {
            "file": f"{found['model']} ({file_size(found['model'])}, whole)",
            "sha256": found["sha256"],
            "loss": f"{model.loss}{labels}",
            "size": f"{found['features']:,} features in {found['fields']} fields, {found['factors']} factors, "
            f"{found['dtype']}",
            "trains on": "yes" if found["trains_on"] else "no: saved without its optimizer state",
            "options": changed(model.options),
        }
    )
    if model.columns.encoder is not None:
        say()
        say(str(model.columns.encoder.report()))
    if model.history:
        say()
        for line in epoch_lines(found["history"], found["best_epoch"]):
            say(line)


def changed(options: Options) -> str:
    """Those that are not the defaults."""
    usual = Options()
    given = [f"{entry.name}={getattr(options, entry.name)!r}" for entry in fields(Options)]
    default = [f"{entry.name}={getattr(usual, entry.name)!r}" for entry in fields(Options)]
    return ", ".join(one for one, other in zip(given, default, strict=True) if one != other) or "the defaults"


def epoch_lines(history: list[dict[str, Any]], best: int) -> list[str]:
    """A table of the last epochs, the one that the parameters are from marked."""
    names = list(dict.fromkeys(name for record in history for name in record["metrics"]))
    lines = ["  ".join(["epoch", *(f"{name:>10}" for name in ["loss", *names, "seconds"])])]
    if len(history) > SHOWN_EPOCHS:
        lines.append("  ...")
    kept = history[-SHOWN_EPOCHS:]
    if best and best <= len(history) - SHOWN_EPOCHS:
        kept = [history[best - 1], *kept]
    for record in kept:
        values = [record["loss"], *(record["metrics"].get(name) for name in names)]
        cells = [" " * 10 if value is None else f"{value:>10.5f}" for value in values] + [f"{record['seconds']:>10.2f}"]
        lines.append(
            "  ".join([f"{record['epoch']:>5}", *cells]) + ("  <- the model" if record["epoch"] == best else "")
        )
    return lines
