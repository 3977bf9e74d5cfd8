"""Bytes of model files, right and forged."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fwfm_gpu.errors import ModelFileError
from fwfm_gpu.model_file import read_file, write_file

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions, links and devices")
DIGITS = slice(35, 99)  # where the checksum stands, for all versions to come


def seal(content: bytes) -> bytes:
    """The bytes with a right checksum, computed here and not by the code under test."""
    digits = hashlib.sha256(content[: DIGITS.start] + content[DIGITS.stop :]).hexdigest().encode()
    return content[: DIGITS.start] + digits + content[DIGITS.stop :]


def forge(header: dict[str, Any] | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A file with a right checksum around any header."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return seal((len(text) if length is None else length).to_bytes(8, "little") + text + data)


def forged_header(document: Any = '{"format_version":1}', **entries: Any) -> dict[str, Any]:
    return {"__metadata__": {"sha256": "0" * 64, "fwfm_gpu": document}, **entries}


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def write_small(path: Path) -> bytes:
    """A small file with two arrays. Returns its bytes."""
    write_file(path, {"w": np.array([1.0, -2.0], np.float32), "t": np.array(3)}, {"loss": "squared"})
    return path.read_bytes()


def refused(path: Path, content: bytes) -> str:
    """The message with which these bytes are refused."""
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        read_file(path)
    assert str(path) in str(caught.value)
    return str(caught.value)
