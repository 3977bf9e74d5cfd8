"""A test that is marked gpu: skipped with its reason where none answers, failed where one is required."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FOLDER = TESTS.parent / "docs" / "benchmarks"


RULE = """
import pytest
@pytest.mark.gpu
def test_passes(): pass
@pytest.mark.gpu
def test_skips(): pytest.skip("of its own")
@pytest.mark.gpu
@pytest.mark.skipif(True, reason="by a mark")
def test_skips_by_mark(): pass
@pytest.mark.gpu(may_skip=True)
def test_may_skip(): pytest.skip("allowed")
@pytest.mark.gpu
@pytest.mark.xfail(reason="known", strict=True)
def test_known_to_fail(): assert False
def test_of_no_gpu(): pytest.skip("anywhere")
"""
FAKE_GPU = """
from fwfm_gpu import backends
def get_backend(device):
    if {missing}: raise backends.DeviceError("no GPU answers here")
backends.get_backend = get_backend
"""


@pytest.mark.parametrize(
    ("missing", "required", "outcomes"),
    [
        (True, "", {"skipped": 6}),
        (True, "0", {"skipped": 6}),
        (True, "1", {"error": 5, "skipped": 1}),
        (False, "", {"passed": 1, "skipped": 4, "xfailed": 1}),
        (False, "1", {"passed": 1, "failed": 1, "error": 1, "skipped": 2, "xfailed": 1}),
    ],
)
def test_a_gpu_test_is_skipped_with_its_reason_or_fails_where_a_gpu_is_required(tmp_path, missing, required, outcomes):
    shutil.copy(TESTS / "conftest.py", tmp_path)
    (tmp_path / "test_rule.py").write_text(RULE)
    (tmp_path / "fake_gpu.py").write_text(FAKE_GPU.format(missing=missing))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu: a GPU\n")
    paths = os.pathsep.join([str(tmp_path), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, "FWFM_REQUIRE_GPU": required}
    command = [sys.executable, "-m", "pytest", "-p", "fake_gpu", "-p", "no:cacheprovider", "-rsfE", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    counts = {word.rstrip("s") if word == "errors" else word: int(n) for n, word in summary(done.stdout)}
    assert counts == {word: number for word, number in outcomes.items() if number}, done.stdout
    assert (done.returncode != 0) == bool({"failed", "error"} & counts.keys())
    if missing:
        assert "no GPU answers here" in done.stdout
    if required == "1" and not missing:
        assert "FWFM_REQUIRE_GPU is set, and this was skipped. Skipped: of its own" in done.stdout


def summary(output: str) -> list[tuple[str, str]]:
    """Pairs of number and word of pytest's last line."""
    last = output.strip().splitlines()[-1].strip("= ").partition(" in ")[0]
    return [tuple(part.split()) for part in last.split(", ")]
