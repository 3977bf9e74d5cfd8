"""Rows that do not fit on the device: they pass through it, window by window.

A window is some whole batches in the order of the run, gathered on the host. Cursor and loss are those of the whole
run, so that the bits are those of resident rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from fwfm_gpu.backends.cuda_device import Device
from fwfm_gpu.backends.cuda_resident import Data
from fwfm_gpu.backends.cuda_step import Cursor, Run
from fwfm_gpu.backends.patterns import look_at_fields, order_fields
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.parameters import Array

__all__ = ["Streamed", "StreamedRun", "Window", "Windows", "rows_bytes"]


@dataclass(frozen=True)
class Streamed:
    """Rows on the host, and what is known of all of them."""

    rows: FieldMatrix
    y: Array | None
    weight: Array | None
    lengths: Array
    fields: Any  # (n,) int32 on the device
    pattern: Array | None  # as in `Data`
    shares_fields: bool

    @classmethod
    def of(cls, device: Device, rows: FieldMatrix, y: Array | None, weight: Array | None) -> Streamed:
        """Rows looked at once, on the host."""
        lengths = np.diff(rows.indptr)
        pattern, shares = look_at_fields(np, rows.indices, rows.fields, lengths)
        return cls(rows, y, weight, lengths, device.to_device(rows.fields), pattern, shares)

    @property
    def n_rows(self) -> int:
        return len(self.lengths)


def rows_bytes(rows: FieldMatrix, targets: bool = True) -> int:
    """What rows take on the device, with targets and weights."""
    values = 0 if rows.all_ones else rows.values.itemsize
    return rows.nnz * (rows.indices.itemsize + values) + rows.n_rows * (24 if targets else 8) + 4 * rows.n_features


@dataclass(frozen=True)
class Window:
    """Rows [lo, hi) of an order, on the device or on their way."""

    lo: int
    hi: int
    data: Data


@dataclass(frozen=True)
class Gathered:
    """Rows [lo, hi) of an order, on the host."""

    lo: int
    hi: int
    arrays: dict[str, Array]
    lengths: Array
    real: str


@dataclass
class Windows:
    """The windows of one order, in turn.

    While the device works on a window, the one after the next is gathered by a thread of its own, and the next is being
    copied: two are on the device.
    """

    device: Device
    streamed: Streamed
    order: Array
    rows: int  # of a window: whole batches

    def __iter__(self) -> Iterator[Window]:
        """Each window when its turn comes."""
        with ThreadPoolExecutor(1) as gatherer:
            try:
                coming = [gatherer.submit(self.gather, 0)] if len(self.order) else []
                windows = deque(self.send(part.result()) for part in coming)
                coming = [gatherer.submit(self.gather, windows[0].hi)] if windows else []
                while windows:
                    self.device.await_copies()
                    if windows[0].hi < len(self.order):
                        gathered = coming.pop().result()
                        coming.append(gatherer.submit(self.gather, gathered.hi))
                        windows.append(self.send(gathered))
                    yield windows.popleft()
            finally:  # left early: memory that a copy is still writing must not serve anything else before
                with self.device.current():
                    self.device.await_copies()

    def gather(self, lo: int) -> Gathered:
        """Some rows of the order, on the host; none past its end."""
        chosen, streamed = self.order[lo : lo + self.rows], self.streamed
        rows = streamed.rows.take(chosen)
        arrays = {"indptr": rows.indptr, "indices": rows.indices}
        if not rows.all_ones:
            arrays["values"] = rows.values
        if streamed.y is not None:
            arrays["y"] = np.asarray(streamed.y, np.float64)[chosen]
        if streamed.weight is not None:
            arrays["weight"] = np.asarray(streamed.weight, np.float64)[chosen]
        lengths = streamed.lengths[chosen]
        if streamed.shares_fields:
            arrays["field_order"] = order_fields(np, rows.indices, rows.fields, lengths)
        return Gathered(lo, lo + len(chosen), arrays, lengths, str(rows.values.dtype))

    def send(self, gathered: Gathered) -> Window:
        """Rows on their way to the device."""
        arrays = gathered.arrays
        sent = dict(zip(arrays, self.device.copy_beside(list(arrays.values())), strict=True))
        data = Data(
            indptr=sent["indptr"],
            indices=sent["indices"],
            fields=self.streamed.fields,
            pattern=self.streamed.pattern,
            lengths=gathered.lengths,
            real=gathered.real,
            **{name: sent.get(name) for name in ("values", "field_order", "y", "weight")},
        )
        return Window(gathered.lo, gathered.hi, data)


@dataclass
class StreamedRun:
    """One pass over rows that stream: a run per window, under one cursor."""

    cursor: Cursor
    windows: Iterator[Window]
    make_run: Callable[[Window], Run]
    current: Run | None = None

    def advance(self) -> bool:
        """Queue the next batch. False when there is none."""
        while self.current is None or not self.current.advance():
            self.current = None  # its rows make room for those of the window after the next
            window = next(self.windows, None)
            if window is None:
                return False
            self.current = self.make_run(window)
        return True
