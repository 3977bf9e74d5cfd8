"""How fast a model goes to a file and comes back, and how large the file is. No engine has a part in it."""

from __future__ import annotations

import os
import tempfile

import fwfm_gpu

from .cases import CASES, draw, make_rows

ROWS = 64  # the size of a file does not depend on them


class ModelFile:
    """A model of the criteo case, fresh, so every array is there at its full size."""

    params = ([True, False],)
    param_names = ("optimizer_state",)

    def setup(self, optimizer_state: bool) -> None:
        case = CASES["criteo"]
        drawn = draw(case, ROWS)
        rows, y = make_rows(case, drawn), drawn["y"] == 1
        self.model = fwfm_gpu.train(rows, y, n_factors=case.n_factors, epochs=0, device="numpy", progress=False)
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "model.fwfm")
        self.model.save(self.path, optimizer_state=optimizer_state)

    def teardown(self, optimizer_state: bool) -> None:
        self.folder.cleanup()

    def time_save(self, optimizer_state: bool) -> None:
        """Checksum and fsync included."""
        self.model.save(self.path, optimizer_state=optimizer_state)

    def time_load(self, optimizer_state: bool) -> None:
        """Checksum included; the arrays are mapped."""
        fwfm_gpu.load(self.path)

    def track_bytes(self, optimizer_state: bool) -> int:
        return os.path.getsize(self.path)

    track_bytes.unit = "bytes"
