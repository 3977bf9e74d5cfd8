"""fwfm_gpu: Field-weighted Factorization Machines, with the same bits on every engine.

>>> import fwfm_gpu
>>> model = fwfm_gpu.train([[0, 1], [1, 0]], ["no", "yes"])  # doctest: +SKIP

Public names are imported when first used, so that ``import fwfm_gpu`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fwfm_gpu.version import __version__

if TYPE_CHECKING:
    from fwfm_gpu import errors
    from fwfm_gpu.callbacks import Callback, EarlyStopping, Status
    from fwfm_gpu.device_memory import estimate_memory
    from fwfm_gpu.downsampling import downsample
    from fwfm_gpu.encoded_file_writing import convert
    from fwfm_gpu.encoding import FieldEncoder
    from fwfm_gpu.errors import FwfmError, FwfmWarning
    from fwfm_gpu.estimators import FwFMClassifier as FwFMClassifier
    from fwfm_gpu.estimators import FwFMRegressor as FwFMRegressor
    from fwfm_gpu.evaluation import evaluate
    from fwfm_gpu.field_matrix import FieldMatrix
    from fwfm_gpu.model import FwFM
    from fwfm_gpu.model_document import load
    from fwfm_gpu.report import report
    from fwfm_gpu.training import train
    from fwfm_gpu.training_logs import CSVLog, MLflowLog, TensorBoardLog
    from fwfm_gpu.tuning import tune
    from fwfm_gpu.tuning_callbacks import OptunaPruning

# Without the estimators, which need scikit-learn: a star import must not.
__all__ = [
    "CSVLog",
    "Callback",
    "EarlyStopping",
    "FieldEncoder",
    "FieldMatrix",
    "FwFM",
    "FwfmError",
    "FwfmWarning",
    "MLflowLog",
    "OptunaPruning",
    "Status",
    "TensorBoardLog",
    "__version__",
    "convert",
    "downsample",
    "errors",
    "estimate_memory",
    "evaluate",
    "load",
    "report",
    "train",
    "tune",
]

HOMES = {
    "CSVLog": "training_logs",
    "Callback": "callbacks",
    "EarlyStopping": "callbacks",
    "FieldEncoder": "encoding",
    "FieldMatrix": "field_matrix",
    "FwFM": "model",
    "FwFMClassifier": "estimators",
    "FwFMRegressor": "estimators",
    "FwfmError": "errors",
    "FwfmWarning": "errors",
    "downsample": "downsampling",
    "MLflowLog": "training_logs",
    "OptunaPruning": "tuning_callbacks",
    "Status": "callbacks",
    "TensorBoardLog": "training_logs",
    "convert": "encoded_file_writing",
    "estimate_memory": "device_memory",
    "evaluate": "evaluation",
    "load": "model_document",
    "report": "report",
    "train": "training",
    "tune": "tuning",
}


def __getattr__(name: str) -> Any:
    """A public name from its home, kept for the next time."""
    if name == "errors":
        return import_module("fwfm_gpu.errors")
    if name not in HOMES:
        raise AttributeError(f"module 'fwfm_gpu' has no attribute {name!r}")
    value = getattr(import_module(f"fwfm_gpu.{HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *HOMES})
