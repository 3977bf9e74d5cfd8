"""What the tests of text files share."""

from __future__ import annotations

import io

import pytest

from fwfm_gpu.io import source


@pytest.fixture
def text():
    """Text as an open binary file."""
    return lambda content: io.BytesIO(content if isinstance(content, bytes) else content.encode("utf-8"))


@pytest.fixture
def block_bytes(monkeypatch):
    """Sets how much of a file is read at once."""
    return lambda size: monkeypatch.setattr(source, "BLOCK_BYTES", size)
