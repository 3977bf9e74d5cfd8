"""What every test shares."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import scipy
from cuda_host.device import host_backend
from cuda_host.loader import compiler

import fwfm_gpu
from fwfm_gpu.backends import get_backend
from fwfm_gpu.errors import FwfmError
from fwfm_gpu.version import __version__

DEVICES = ["numpy", "cpu", "host"]  # cpu: compiled; host: the CUDA engine, its kernels compiled for this processor


def pytest_report_header() -> str:
    """Which package the tests run against, and on what."""
    folder = Path(fwfm_gpu.__file__).parent
    return f"fwfm_gpu: {__version__} from {folder}, on numpy {np.__version__}, scipy {scipy.__version__}"


def make_backend(device: str):
    """The engine for a device, or on the host: its threads and blocks in a random order."""
    if device == "cpu":
        pytest.importorskip("numba", reason="numba is missing: the compiled engine cannot be built")
    if device != "host":
        return get_backend(device)
    if compiler() is None:
        pytest.skip("g++ is missing: the CUDA engine's kernels cannot be compiled for the host")
    return host_backend(seed=17)


@pytest.fixture(params=DEVICES)
def backend(request):
    """Each engine in turn."""
    return make_backend(request.param)


@pytest.fixture(params=DEVICES)
def device(request, monkeypatch):
    """Each engine in turn, under the name that train knows."""
    backend = make_backend(request.param)
    if request.param == "host":
        monkeypatch.setattr("fwfm_gpu.backends.make_cuda", lambda number, memory: backend)
        return "cuda"
    return request.param


@pytest.fixture
def path(tmp_path):
    """Where a model's file may be written."""
    return tmp_path / "model.fwfm"


@cache
def missing_gpu() -> str | None:
    """Why no GPU answers; None when one does."""
    try:
        get_backend("cuda")
    except FwfmError as error:
        return str(error)
    return None


def pytest_runtest_setup(item):
    """A test that is marked gpu needs one."""
    if item.get_closest_marker("gpu") and (reason := missing_gpu()):
        pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Under FWFM_REQUIRE_GPU=1 a test marked gpu fails where it would be skipped.

    ``@pytest.mark.gpu(may_skip=True)`` may be skipped all the same, but not for want of a GPU.
    """
    report = yield
    marker = item.get_closest_marker("gpu")
    required = marker is not None and os.environ.get("FWFM_REQUIRE_GPU", "0") not in ("", "0")
    skipped = report.skipped and not hasattr(report, "wasxfail")
    if required and skipped and (missing_gpu() or not marker.kwargs.get("may_skip")):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"FWFM_REQUIRE_GPU is set, and this was skipped. {reason}"
    return report
