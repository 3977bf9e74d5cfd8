"""Checkpoints: where training stands, as model files in a directory that is whole at every instant.

A checkpoint is a model file, named ``checkpoint-<number>.fwfm``, with one more entry in its document: what a training
must agree in to go on from there. It is written beside, made durable, and renamed (`atomic_file`); only then are older
ones removed, and the one before stays. So however a process ends, the newest finished checkpoint is there, and one
more in case a disk damages it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import reprlib
import secrets
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fwfm_gpu.errors import CheckpointError, FwfmWarning, InputError, ModelFileError, OptionError
from fwfm_gpu.labels import Labels
from fwfm_gpu.model import FwFM
from fwfm_gpu.model_document import comparable_options, describe, describe_columns, restore
from fwfm_gpu.model_file import read_file, write_file
from fwfm_gpu.options import check_integer
from fwfm_gpu.problem import Settled

__all__ = ["Checkpointing", "Checkpoints", "Found", "Terms", "find_checkpoint"]

FINISHED = re.compile(r"checkpoint-(\d{8,})\.fwfm")
TORN = re.compile(r"checkpoint-\d{8,}\.fwfm\.[0-9a-f]{16}\.tmp")  # of a process that was killed while it wrote


@dataclass(frozen=True)
class Checkpointing:
    """What ``train`` was asked for: where checkpoints are written, how often, and where training goes on from.

    Raises
    ------
    OptionError
        Not a path, not a number of batches, or a number without a directory.
    """

    checkpoint: str | os.PathLike[str] | None = None
    every: int | None = None  # batches; None: after each epoch
    resume: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        for name in ("checkpoint", "resume"):
            if not isinstance(path := getattr(self, name), str | os.PathLike | None):
                raise OptionError(f"{name} must be the path of a directory; got {path!r}.")
        if self.every is None:
            return
        check_integer("checkpoint_every", self.every, 1)
        if self.checkpoint is None:
            raise OptionError(f"checkpoint_every={self.every} needs a place to write to: pass checkpoint=directory.")

    def open_directory(self) -> None:
        """Make the directory and see that files can be written there, before work starts.

        Raises
        ------
        CheckpointError
            They cannot, or checkpoints are there which training does not go on from.
        """
        if self.checkpoint is None:
            return
        directory = os.fspath(self.checkpoint)
        with refused(directory, "no checkpoint can be written to {}", "Name a directory that can be written."):
            os.makedirs(directory, exist_ok=True)
            probe = os.path.join(directory, f"{name_of(0)}.{secrets.token_hex(8)}.tmp")
            os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            os.unlink(probe)
            there = finished(directory)
        goes_on = self.resume is not None and os.path.realpath(self.resume) == os.path.realpath(directory)
        if there and not goes_on:
            raise CheckpointError(
                f"{directory!r} holds checkpoints of another training, {there[max(there)]} among them. To go on from "
                "them pass resume= with the same directory; to start afresh name another one, or delete them."
            )

    def open(self, make_terms: Callable[[], Terms]) -> tuple[Found | None, Checkpoints | None]:
        """The checkpoint to go on from, if there is one, and what writes further ones, if they were asked for."""
        if self.checkpoint is None and self.resume is None:
            return None, None  # terms take a pass over the rows
        terms, found, checkpoints = make_terms(), None, None
        if self.resume is not None and (found := find_checkpoint(os.fspath(self.resume), terms)) is not None:
            check_epochs(found, terms.settled.options.epochs)
        if self.checkpoint is not None:
            directory = os.fspath(self.checkpoint)
            goes_on = found is not None and os.path.realpath(found.directory) == os.path.realpath(directory)
            checkpoints = Checkpoints(directory, self.every, terms, [found.number] if goes_on and found else [])
        return found, checkpoints


@dataclass(frozen=True, eq=False)
class Found:
    """A checkpoint to go on from."""

    directory: str
    number: int
    model: FwFM


def check_epochs(found: Found, epochs: int) -> None:
    """Refuse fewer epochs than are done: training cannot go back."""
    position = found.model.trained.position
    begun = position.epochs + (position.batches > 0)
    if epochs < begun:
        raise OptionError(
            f"epochs must be at least the {begun} that the checkpoint in {found.directory!r} has finished or begun; "
            f"got {epochs}. Pass more, or load the checkpoint: it is a model file."
        )


@dataclass(frozen=True, eq=False)
class Terms:
    """What a training is of: one goes on from a checkpoint of equal terms."""

    settled: Settled
    data: str | None  # fingerprint
    evaluation: list[list[str]]  # name and fingerprint of each set that eval_set gave

    def plain(self) -> dict[str, Any]:
        """What the document of a model file does not hold already."""
        return {"evaluation": self.evaluation}

    def check(self, path: str, model: FwFM, written: Mapping[str, Any]) -> None:
        """Refuse a checkpoint of other options or data.

        Raises
        ------
        OptionError, InputError
            The message names what differs.
        """
        settled = self.settled
        then, now = comparable_options(model.options), comparable_options(settled.options)
        if now["schedule"] in PLANNED:
            then["epochs"], now["epochs"] = model.options.epochs, settled.options.epochs
        differing = [name for name in now if now[name] != then.get(name)]
        if differing:
            said = "; ".join(f"{name} was {shown(name, then)} and is {shown(name, now)}" for name in differing)
            raise OptionError(f"{path!r} is of a training with other options: {said}. {OTHERWISE}")
        for what, was, is_ in (
            ("loss", model.loss, settled.loss),
            ("labels", listed(model.labels), listed(settled.labels)),
            ("columns", len(model.columns.fields), len(settled.columns.fields)),
            ("fields of columns", model.columns.fields.tobytes(), settled.columns.fields.tobytes()),
            ("field_names", model.columns.field_names, settled.columns.field_names),
            ("feature_names", model.columns.feature_names, settled.columns.feature_names),
            ("rows, targets or weights", model.trained.data_fingerprint, self.data),
            ("rows of eval_set", written["evaluation"], self.evaluation),
        ):
            if was != is_:
                said = "" if isinstance(was, bytes) else f": {reprlib.repr(was)} then, {reprlib.repr(is_)} now"
                raise InputError(f"{path!r} is of a training with other {what}{said}. {OTHERWISE}")


def shown(name: str, options: Mapping[str, Any]) -> str:
    """An option for a message; a file keeps no function."""
    value = options.get(name)
    return "a function" if value is None and name in ("schedule", "eval_metric") else repr(value)


def listed(labels: Labels | None) -> list[Any] | None:
    """The labels, if there are any."""
    return None if labels is None else labels.classes.tolist()


PLANNED = ("linear", "cosine", None)  # schedules, or a function, whose rates depend on how many epochs are planned
OTHERWISE = "Pass the same data and options to go on from there; to start afresh, name another directory."


@dataclass
class Checkpoints:
    """Writes checkpoints of one training."""

    directory: str
    every: int | None
    terms: Terms
    kept: list[int] = field(default_factory=list)  # numbers of those known to be whole, oldest first
    columns: tuple[dict[str, Any], dict[str, Any]] | None = None  # described once: they never change

    def at_once(self, batches: int, done: int) -> int:
        """How many batches may be queued of those that the loop would: none beyond the next checkpoint."""
        return batches if self.every is None else min(batches, self.every - done % self.every)

    def due(self, done: int, at_end_of_epoch: bool) -> bool:
        """Whether one is to be written after so many batches, counted over the whole training."""
        return at_end_of_epoch if self.every is None else done % self.every == 0

    def write(self, model: FwFM) -> None:
        """One more checkpoint; of those before, the newest stays.

        Raises
        ------
        CheckpointError
            The system refused. Former checkpoints are as they were.
        """
        if self.columns is None:
            self.columns = describe_columns(model)
        arrays, document = describe(model, columns=self.columns)
        document["checkpoint"] = self.terms.plain()
        with refused(self.directory, "the checkpoint could not be written to {}", RESCUE):
            number = max(finished(self.directory), default=0) + 1
            write_file(os.path.join(self.directory, name_of(number)), arrays, document)
            self.kept = [*self.kept, number][-2:]
            self.clear()

    def clear(self) -> None:
        """Remove older checkpoints, damaged ones, and what a killed process left half written."""
        keep = {name_of(number) for number in self.kept}
        for name in os.listdir(self.directory):
            if name not in keep and (FINISHED.fullmatch(name) or TORN.fullmatch(name)):
                with contextlib.suppress(OSError):  # it may be open elsewhere: next time then
                    os.unlink(os.path.join(self.directory, name))


RESCUE = (
    "Former checkpoints are as they were. The model of the last finished batch is in the error's .model: save it "
    "elsewhere, and continue_training goes on from it."
)


@contextmanager
def refused(directory: str, what: str, advice: str) -> Iterator[None]:
    """What the system refuses, in this package's words."""
    try:
        yield
    except CheckpointError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EEXIST) and not os.path.isdir(directory):
            reason = "it is not a directory" if os.path.exists(directory) else "the directory is gone"
        raise CheckpointError(f"{what.format(repr(directory))}: {reason}. {advice}", errno=error.errno) from error


def name_of(number: int) -> str:
    """The file name of a checkpoint."""
    return f"checkpoint-{number:08d}.fwfm"


def finished(directory: str) -> dict[int, str]:
    """The finished checkpoints of a directory: number to name."""
    matches = map(FINISHED.fullmatch, os.listdir(directory))
    return {int(match[1]): match[0] for match in matches if match}


def find_checkpoint(directory: str, terms: Terms) -> Found | None:
    """The newest checkpoint that is whole; None when there is none yet.

    Raises
    ------
    OptionError, InputError
        It is of other options or data.
    CheckpointError
        None of those that are there can be read.
    """
    if not os.path.lexists(directory):
        return None
    with refused(directory, "no checkpoint can be read from {}", "Name the directory that checkpoint= named."):
        there = finished(directory)
    faults: list[str] = []
    for number in sorted(there, reverse=True):
        path = os.path.join(directory, there[number])
        try:
            with refused(path, "{} cannot be read", "Make it readable, or delete it to go on from the one before."):
                arrays, document = read_file(path)
            model, written = restore(arrays, document), document.get("checkpoint")
            if not isinstance(written, dict) or set(written) != set(terms.plain()):
                raise ModelFileError("it is a model file, but not a checkpoint.")
        except ModelFileError as error:
            faults.append(f"{path!r} is damaged: {error}")
            continue
        terms.check(path, model, written)
        if faults:
            warnings.warn(f"{faults[0]} Training goes on from the one before, {path!r}.", FwfmWarning, stacklevel=6)
        return Found(directory, number, model)
    if faults:
        raise CheckpointError(f"no checkpoint can be read: {' '.join(faults)} To start afresh, delete them.")
    return None
