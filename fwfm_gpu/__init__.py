"""fwfm_gpu: Field-weighted Factorization Machines, with the same bits on every engine.

>>> import fwfm_gpu
>>> model = fwfm_gpu.train([[0, 1], [1, 0]], ["no", "yes"])  # doctest: +SKIP
"""

from __future__ import annotations

from fwfm_gpu import errors
from fwfm_gpu.callbacks import Callback, Status
from fwfm_gpu.errors import FwfmError, FwfmWarning
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.model import FwFM
from fwfm_gpu.model_document import load
from fwfm_gpu.training import train
from fwfm_gpu.version import __version__

__all__ = [
    "Callback",
    "FieldMatrix",
    "FwFM",
    "FwfmError",
    "FwfmWarning",
    "Status",
    "__version__",
    "errors",
    "load",
    "train",
]
