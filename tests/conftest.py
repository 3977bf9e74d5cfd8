"""What every test shares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy

import fwfm_gpu
from fwfm_gpu.backends import get_backend
from fwfm_gpu.version import __version__

DEVICES = ["numpy"]


def pytest_report_header() -> str:
    """Which package the tests run against, and on what."""
    folder = Path(fwfm_gpu.__file__).parent
    return f"fwfm_gpu: {__version__} from {folder}, on numpy {np.__version__}, scipy {scipy.__version__}"


@pytest.fixture(params=DEVICES)
def backend(request):
    """Each engine in turn."""
    return get_backend(request.param)
