"""Text files of field-indexed rows.

>>> from fwfm_gpu.io import read_libffm
>>> rows, y = read_libffm("train.ffm.gz")  # doctest: +SKIP
"""

from __future__ import annotations

from fwfm_gpu.io.columns import Columns
from fwfm_gpu.io.libffm import iterate_libffm, read_libffm, scan_libffm, write_libffm
from fwfm_gpu.io.libsvm import iterate_libsvm, read_libsvm, write_libsvm

__all__ = [
    "Columns",
    "iterate_libffm",
    "iterate_libsvm",
    "read_libffm",
    "read_libsvm",
    "scan_libffm",
    "write_libffm",
    "write_libsvm",
]
