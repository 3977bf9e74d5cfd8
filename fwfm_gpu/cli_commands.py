"""All commands of the command line and how they are called; each has a module of its own."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fwfm_gpu import cli_checks, cli_encode, cli_models, cli_predict, cli_train, cli_tune
from fwfm_gpu.cli_output import EXIT_CODES, REFUSED
from fwfm_gpu.errors import MissingExtraError
from fwfm_gpu.version import __version__

__all__ = ["COMMANDS", "make_parser"]

SHELLS = ("bash", "zsh", "tcsh")


@dataclass(frozen=True)
class Command:
    """One command: its options, how it is called, a line on it, and what its own help says around the options."""

    add: Callable[[argparse.ArgumentParser], None]
    usage: str
    help: str
    description: str
    epilog: str = ""


COMMANDS = {
    "train": Command(
        cli_train.add_train,
        "DATA --label COLUMN --out MODEL",
        "train a model on a file",
        "Train a Field-weighted Factorization Machine on a file and write it to another. Columns of a table are "
        "encoded by what they hold: numbers into bins, words into categories.",
        cli_train.EXAMPLE,
    ),
    "predict": Command(
        cli_predict.add_predict,
        "MODEL DATA",
        "predict the rows of a file",
        "Predict the rows of a file with a model.",
        cli_predict.PREDICT_EXAMPLE,
    ),
    "evaluate": Command(
        cli_predict.add_evaluate,
        "MODEL DATA --label COLUMN",
        "measure a model on a file",
        "Measure a model on a file that holds the truth.",
        cli_predict.EVALUATE_EXAMPLE,
    ),
    "encode": Command(
        cli_encode.add_encode,
        "DATA... --label COLUMN --out FILE",
        "encode columns of files as rows of text",
        "Learn how to encode the columns of a file, write its rows as libffm or libsvm text, report on the columns.",
        cli_encode.ENCODE_EXAMPLE,
    ),
    "convert": Command(
        cli_encode.add_convert,
        "DATA --label COLUMN --out FILE",
        "convert a file to rows that need not fit in memory",
        "Convert a file to encoded rows on disk, which train maps into memory and starts on at once.",
        cli_encode.CONVERT_EXAMPLE,
    ),
    "tune": Command(
        cli_tune.add_tune,
        "DATA --label COLUMN",
        "search for good options",
        "Search for the options that train the best model, within a number of trials or a time budget. Trials train "
        "on the same rows, encoded once, and stop early; those that fall behind are ended.",
        cli_tune.EXAMPLE,
    ),
    "inspect": Command(
        cli_models.add_inspect,
        "MODEL",
        "show what a model's file holds",
        "Show what a model's file holds: loss, sizes, options, columns, history.",
        cli_models.EXAMPLE,
    ),
    "verify": Command(
        cli_checks.add_verify,
        "",
        "check an engine against conformance vectors, bit for bit",
        "Drive an engine through conformance vectors and compare every bit. Exit 1 when one differs.",
    ),
    "warmup": Command(
        cli_checks.add_warmup,
        "",
        'compile ahead what device="cpu" would compile when first called',
        "Compile the kernels of the compiled engine, or read them where they are kept, for all combinations of the "
        "options. Several values go with commas, or with the option repeated.",
    ),
    "info": Command(
        cli_checks.add_info,
        "",
        "versions, engines, devices, and what is missing for what",
        "Say which engines answer, which devices there are, and what is installed.",
    ),
    "demo": Command(
        cli_checks.add_demo,
        "",
        "train on the Adult data that comes along, and write a report",
        "Train a linear model, a factorization machine and an FwFM on UCI Adult, from raw columns; print a table of "
        "test figures; write a report.",
    ),
}


def make_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        prog="fwfm-gpu",
        description="Field-weighted Factorization Machines.",
        epilog=f"fwfm-gpu COMMAND --help tells more, with examples.\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # a new option must not change what an old script says
    )
    parser.add_argument("--version", action="version", version=f"fwfm-gpu {__version__}")
    add_completion(parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        command.add(
            commands.add_parser(
                name,
                usage=" ".join(["fwfm-gpu", name, *command.usage.split(), "[options]"]),
                help=command.help,
                description=textwrap.fill(command.description, 79),
                epilog=command.epilog,
                formatter_class=argparse.RawDescriptionHelpFormatter,
                allow_abbrev=False,
            )
        )
    return parser


def add_completion(parser: argparse.ArgumentParser) -> None:
    """``--print-completion SHELL``: a script for the shell to read."""
    words = "print a script that completes commands and options, and exit"
    try:
        import shtab
    except ImportError:
        parser.add_argument("--print-completion", choices=SHELLS, action=NoCompletion, help=words)
    else:
        shtab.add_argument_to(parser, "--print-completion", help=words)


class NoCompletion(argparse.Action):
    """Says what is missing."""

    def __call__(self, parser: argparse.ArgumentParser, *rest: Any) -> None:
        error = MissingExtraError("--print-completion needs shtab: pip install 'fwfm-gpu[completion]'.")
        parser.exit(REFUSED, f"fwfm-gpu: {error}\n")
