"""The kernels themselves, on this processor, give every conformance vector: in any order of threads and blocks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from cuda_host import verify
from cuda_host.device import host_backend
from cuda_host.loader import compiler
from engine_data import VECTORS, read_vector

from fwfm_gpu import cli
from fwfm_gpu.verify import verify_vector

pytestmark = pytest.mark.skipif(compiler() is None, reason="kernels run on the CPU through g++, and there is none")

VECTOR = {path.stem: path for path in VECTORS}
ROOT = Path(__file__).parents[2]


def differences(backend, paths) -> dict[str, str]:
    """What is not equal, by vector."""
    found = {path.stem: verify_vector(backend, path) for path in paths}
    return {name: str(difference) for name, difference in found.items() if difference is not None}


def test_the_vectors_are_of_both_dtypes():
    assert {read_vector(path)["config"]["dtype"] for path in VECTORS} == {"float32", "float64"}


@pytest.mark.parametrize("seed", range(21))  # 0 is launch order
def test_every_vector_is_equal_in_this_order(seed):
    assert differences(host_backend(seed), VECTORS) == {}


SHAPED = (
    "alike-softmax-adam-float64",
    "logistic-adam-float32",  # row blocks
    "logistic-ftrl-float64",
    "odd-hot-feature",
    "odd-k-65",
    "odd-rows-of-64-and-65",
    "odd-wide-rows",
    "softmax-sgd-float32",
)


@pytest.mark.parametrize(("threads", "blocks"), [*product((1, 32, 96, 256, 1024), (1, 3, 7))])
def test_the_shape_of_a_launch_changes_no_bit(threads, blocks):
    backend = host_backend(threads + blocks, most_threads=threads, most_blocks=blocks)
    assert differences(backend, [VECTOR[name] for name in SHAPED]) == {}


# ---- the command line


@pytest.fixture
def folder(tmp_path):
    """Two small vectors."""
    for name in ("odd-k-0", "squared-adagrad-float32"):
        shutil.copy(VECTOR[name], tmp_path)
    return tmp_path


def spoil(path: Path) -> None:
    """Change the last bit of one number that a vector expects."""
    vector = read_vector(path)
    vector["end_w"].view("u4")[0, 3] ^= 1
    np.savez(path, **{**vector, "config": np.array(json.dumps(vector["config"]))})


@pytest.mark.parametrize("seed", ["0", "5"])
def test_it_prints_what_fwfm_gpu_verify_prints(capsys, folder, seed):
    for spoiled, status in ((False, 0), (True, 1)):
        if spoiled:
            spoil(folder / "odd-k-0.npz")
        assert verify.main([str(folder), "--seed", seed]) == status
        engine, *got = capsys.readouterr().out.splitlines()
        assert cli.main(["verify", "--device", "numpy", "--vectors", str(folder)]) == status
        other_engine, *want = capsys.readouterr().out.splitlines()
        assert got == want
        assert engine == f"engine: CudaBackend (fwfm_gpu.backends.cuda), kernels on the host, seed {seed}"
        assert other_engine.startswith("engine: NumPyBackend")
        assert ("DIFFERS  end_w[0, 3]: " in got[0]) is spoiled


def test_the_seed_is_the_runners(monkeypatch, folder):
    seeds = []
    monkeypatch.setattr(verify, "host_backend", lambda seed: seeds.append(seed) or host_backend(seed))
    assert [verify.main([str(folder), *rest]) for rest in ([], ["--seed", "0"], ["--seed", "9"])] == [0, 0, 0]
    assert seeds == [0, 0, 9]


@pytest.mark.parametrize("arguments", [[], ["--seed", "1"], [".", "--seed", "-1"], [".", "--seed", "x"], [".", "more"]])
def test_a_wrong_command_line_exits_with_2(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        verify.main(arguments)
    assert stopped.value.code == 2
    assert "usage: python -m tests.cuda_host.verify" in capsys.readouterr().err


def test_what_cannot_be_carried_out_exits_with_2(monkeypatch, capsys, folder):
    assert verify.main([str(folder / "nowhere")]) == 2
    assert "nowhere must hold conformance vectors (*.npz); found none." in capsys.readouterr().err
    monkeypatch.setattr(verify, "compiler", lambda: None)
    assert verify.main([str(folder)]) == 2
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err == "python -m tests.cuda_host.verify: the kernels are compiled by g++; " + (
        "found none on the PATH. Install it.\n"
    )


def test_it_runs_as_a_module(folder):
    """From the checkout's root, against the package that is tested here."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    environment["PYTHONPATH"] = os.pathsep.join([*(path for path in sys.path if path), str(ROOT)])
    command = [sys.executable, "-P", "-m", "tests.cuda_host.verify", str(folder), "--seed", "2"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "2 of 2 vectors equal, bit for bit"
