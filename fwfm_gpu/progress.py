"""Progress of training: one bar on a terminal, plain log lines otherwise."""

from __future__ import annotations

import importlib.util
import logging
import sys
from typing import Any

from fwfm_gpu.callbacks import Callback, Status
from fwfm_gpu.errors import MissingExtraError, OptionError
from fwfm_gpu.history import EpochRecord

__all__ = ["make_progress"]

logger = logging.getLogger("fwfm_gpu")


def make_progress(progress: bool | str) -> list[Callback]:
    """The callback that shows progress: a list of one, or of none.

    Parameters
    ----------
    progress : bool or "auto"
        True: a tqdm bar. False: nothing. ``"auto"``: a bar when standard error is a terminal and tqdm is installed,
        else one line per epoch through the logger ``fwfm_gpu`` at level INFO.

    Raises
    ------
    MissingExtraError
        A bar is asked for and tqdm is not installed.
    """
    if progress is False:
        return []
    installed = importlib.util.find_spec("tqdm") is not None
    if progress is True:
        if not installed:
            raise MissingExtraError("progress=True needs tqdm: pip install 'fwfm-gpu[progress]', or pass \"auto\".")
        return [Bar()]
    if progress != "auto":
        raise OptionError(f'progress must be True, False or "auto"; got {progress!r}.')
    return [Bar() if installed and sys.stderr is not None and sys.stderr.isatty() else LogLines()]


def describe(record: EpochRecord) -> str:
    """``loss 0.4312  auc 0.7811``."""
    return "  ".join(f"{name} {value:.4f}" for name, value in {"loss": record.loss, **record.metrics}.items())


class LogLines(Callback):
    """One line per epoch."""

    def on_epoch(self, status: Status) -> None:
        record = status.history[-1]
        logger.info(
            "epoch %d/%d  %s  %.1f s  %s rows/s",
            record.epoch,
            status.epochs,
            describe(record),
            record.seconds,
            f"{record.rows_per_second:,.0f}",
        )


class Bar(Callback):
    """One tqdm bar over all batches."""

    def __init__(self) -> None:
        self.bar: Any = None

    def on_begin(self, status: Status) -> None:
        from tqdm import tqdm

        self.first = (status.epoch - 1) * status.batches
        self.bar = tqdm(total=status.epochs * status.batches - self.first, unit="batch", dynamic_ncols=True)
        self.on_batches(status)

    def on_batches(self, status: Status) -> None:
        self.bar.n = (status.epoch - 1) * status.batches + status.batch - self.first
        self.bar.set_description(f"epoch {status.epoch}/{status.epochs}", refresh=False)
        self.bar.refresh()

    def on_epoch(self, status: Status) -> None:
        self.bar.set_postfix_str(describe(status.history[-1]))

    def on_end(self, status: Status) -> None:
        if self.bar is not None:
            self.bar.close()
