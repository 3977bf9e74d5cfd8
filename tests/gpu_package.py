"""The package ``gpu`` of ``asv_bench``, under that name wherever the tests run, and a few cases of it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

BENCH = Path(__file__).parents[1] / "asv_bench"


def import_package(name: str) -> SimpleNamespace:
    """The modules of a package of ``asv_bench``; the tests of one that is not here are skipped."""
    folder = BENCH / name
    if not folder.is_dir():
        pytest.skip(f"asv_bench/{name} is not here: it is part of a checkout", allow_module_level=True)
    if name not in sys.modules:
        init = folder / "__init__.py"
        spec = importlib.util.spec_from_file_location(name, init, submodule_search_locations=[str(folder)])
        sys.modules[name] = package = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(package)
    names = [path.stem for path in folder.glob("*.py") if path.stem != "__init__"]
    return SimpleNamespace(**{module: importlib.import_module(f"{name}.{module}") for module in names})


gpu = import_package("gpu")
Case, Effort, Rates, Shape = gpu.cases.Case, gpu.cases.Effort, gpu.cases.Rates, gpu.cases.Shape
TINY = Effort("numpy", rows=300, seconds=0.0, repeats=1)
OURS = Case("ours", "tiny", 64, "adagrad")
TORCH = Case("torch", "tiny", 64, "adagrad", "gemm", "eager")
CASES = [Case("ours", "criteo", 65536, "adagrad"), *gpu.cases.torch_cases("criteo", 65536, "adagrad")[:4]]
PAGE = f"# Figures\n\n{gpu.table.BEGIN}\nold\n{gpu.table.END}\n\n## More\n"

H200 = {"name": "NVIDIA H200", "operations_per_s": 33.5e12, "copy_bytes_per_s": 4.3e12}
H200 |= {"compute_capability": "9.0", "driver": "580.1", "multiprocessors": 132, "clock_mhz": 1980, "memory_bytes": 1}
