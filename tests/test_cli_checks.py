"""What commands about the package itself say as JSON; what they say in words, the tests of their modules look at."""

from __future__ import annotations

import json
import shutil

import fwfm_gpu
from fwfm_gpu.cli import main
from fwfm_gpu.verify import PACKAGED_VECTORS


def test_verify(capsys, tmp_path):
    smallest = min(PACKAGED_VECTORS.glob("*.npz"), key=lambda vector: vector.stat().st_size)
    shutil.copy(smallest, tmp_path)
    assert main(["verify", "--vectors", str(tmp_path), "--device", "numpy", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["engine"].startswith("NumPyBackend")
    assert (told["vectors"], told["failed"], told["differences"]) == (1, 0, {smallest.stem: None})


def test_info(capsys):
    assert main(["info", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["fwfm_gpu"].startswith(fwfm_gpu.__version__)
    assert set(told["engines"]) == {"numpy", "cpu", "cuda", "auto"}
    assert all(told.values())
