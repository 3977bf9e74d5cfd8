"""fwfm-gpu info works anywhere, without a GPU and without extras."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import numpy as np

from fwfm_gpu import info
from fwfm_gpu.cli import main
from fwfm_gpu.version import __version__


def test_versions_engines_and_extras_are_listed(capsys):
    assert main(["info"]) == 0
    printed = capsys.readouterr().out
    for part in (
        __version__,
        np.__version__,
        "NumPyBackend",
        "cuda     no: ",
        "caches",
        "fwfm-gpu[NAME]",
        "matplotlib",
    ):
        assert part in printed


def test_what_is_missing_is_named(monkeypatch):
    def nothing(distribution):
        raise PackageNotFoundError(distribution)

    monkeypatch.setattr(info.importlib.metadata, "version", nothing)
    lines = list(info.describe_installation())
    assert any("missing narwhals, pyarrow" in line and "polars" in line for line in lines)
