"""The package as it is shipped: the wheel, the CUDA C sources, and what importing it brings in."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

import fwfm_gpu
from fwfm_gpu import cuda_sources
from fwfm_gpu.errors import DeviceError
from fwfm_gpu.version import __version__

CHECKOUT = Path(__file__).parents[1]
OPTIONAL = [
    *("cupy", "numba", "sklearn", "pyarrow", "narwhals", "pandas", "polars", "matplotlib"),
    *("tqdm", "optuna", "torch", "safetensors", "hypothesis"),
]
EXTRAS = {"cuda12", "cuda13", "cpu", "sklearn", "data", "plots", "progress", "tune", "logs", "completion", "docs"}
EXTRAS |= {"bench", "all", "dev"}


def run_python(program: str, cwd: Path, path: Path) -> str:
    """What a program prints in a fresh interpreter that starts in ``cwd`` and searches ``path`` first."""
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": str(path)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the checkout."""
    for tool in ("build", "hatchling"):
        pytest.importorskip(tool, reason=f"{tool} is not installed: no wheel can be built to look into")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-P", "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(CHECKOUT)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture
def names(wheel):
    """Every file of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture
def metadata(wheel):
    """The wheel's METADATA and WHEEL, as one mapping."""
    with zipfile.ZipFile(wheel) as archive:
        info = f"fwfm_gpu-{__version__}.dist-info"
        texts = [archive.read(f"{info}/{name}").decode() for name in ("METADATA", "WHEEL")]
    headers = [HeaderParser().parsestr(text) for text in texts]
    return {key: [value for header in headers for value in header.get_all(key, [])] for key in set().union(*headers)}


def test_the_wheel_ships_the_cuda_sources(names):
    sources = {path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "cuda").rglob("*") if path.is_file()}
    assert "cuda/README.md" in sources
    assert {name for name in names if name.startswith("fwfm_gpu/cuda/")} == {f"fwfm_gpu/{name}" for name in sources}


def test_the_wheel_holds_the_package_and_nothing_else(names):
    assert {name.split("/")[0] for name in names} == {"fwfm_gpu", f"fwfm_gpu-{__version__}.dist-info"}
    modules = {path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "fwfm_gpu").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules


def test_the_wheel_says_that_it_is_typed(names):
    assert "fwfm_gpu/py.typed" in names


def test_the_wheel_is_pure_python(wheel, metadata):
    assert wheel.name == f"fwfm_gpu-{__version__}-py3-none-any.whl"
    assert metadata["Root-Is-Purelib"] == ["true"]
    assert metadata["Tag"] == ["py3-none-any"]


def test_the_metadata(metadata):
    assert metadata["Name"] == ["fwfm-gpu"]
    assert metadata["Version"] == [__version__]
    assert metadata["License-Expression"] == ["BSD-3-Clause"]
    assert metadata["Requires-Python"] == [">=3.11"]
    assert set(metadata["Provides-Extra"]) == EXTRAS
    core = {requirement for requirement in metadata["Requires-Dist"] if "extra ==" not in requirement}
    assert core == {"numpy>=2.0", "scipy>=1.14"}


def test_an_unzipped_wheel_finds_its_own_cuda_sources(wheel, tmp_path):
    unzipped, elsewhere = tmp_path / "unzipped", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (unzipped / "cuda").mkdir(parents=True)  # a neighbour of the same name, as NVIDIA's packages have
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unzipped)
    program = "from fwfm_gpu.cuda_sources import source_folder; print(source_folder())"
    assert Path(run_python(program, elsewhere, unzipped)) == unzipped / "fwfm_gpu" / "cuda"


def test_the_checkout_finds_its_own_cuda_sources(tmp_path):
    program = "from fwfm_gpu.cuda_sources import source_folder; print(source_folder())"
    assert Path(run_python(program, tmp_path, CHECKOUT)) == CHECKOUT / "cuda"


def test_the_checkout_goes_before_a_stale_copy(tmp_path, monkeypatch):
    for folder in ("cuda", "fwfm_gpu/cuda"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(cuda_sources, "__file__", str(tmp_path / "fwfm_gpu" / "cuda_sources.py"))
    assert cuda_sources.source_folder() == tmp_path / "fwfm_gpu" / "cuda"  # no checkout: a neighbour named cuda
    (tmp_path / "pyproject.toml").touch()
    assert cuda_sources.source_folder() == tmp_path / "cuda"


def test_missing_cuda_sources_are_a_device_error(tmp_path, monkeypatch):
    monkeypatch.setattr(cuda_sources, "__file__", str(tmp_path / "fwfm_gpu" / "cuda_sources.py"))
    with pytest.raises(DeviceError, match=r"CUDA C sources are missing.*Reinstall fwfm-gpu"):
        cuda_sources.source_folder()


def test_cuda_stays_a_namespace():
    assert not list((CHECKOUT / "cuda").rglob("__init__.py"))


def test_importing_the_package_imports_no_optional_package(tmp_path):
    program = "import fwfm_gpu, sys; [getattr(fwfm_gpu, name) for name in fwfm_gpu.__all__]; print(*sys.modules)"
    modules = run_python(program, tmp_path, Path(fwfm_gpu.__file__).parents[1]).split()
    loaded = {name.split(".")[0] for name in modules}
    assert "fwfm_gpu.training" in modules  # public names come when first used: here all were
    assert loaded.isdisjoint(OPTIONAL)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'fwfm_gpu' has no attribute 'trian'"):
        fwfm_gpu.trian  # noqa: B018
