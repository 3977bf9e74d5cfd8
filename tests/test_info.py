"""fwfm-gpu info works anywhere, without a GPU and without extras, and says what is missing."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import nullcontext
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from fwfm_gpu import backends, info, warmup
from fwfm_gpu.backends import kernels
from fwfm_gpu.backends.threads import count_cores
from fwfm_gpu.cli import main
from fwfm_gpu.version import __version__

PROCESSOR = "CompiledBackend" if find_spec("numba") else "NumPyBackend"  # what device="cpu" is
needs_numba = pytest.mark.skipif(not find_spec("numba"), reason="numba is not installed: there is no compiled engine")


def sections(lines: list[str]) -> dict[str, list[str]]:
    """What is indented below each heading."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in lines:
        if line.startswith("  "):
            found[heading].append(line.strip())
        elif line:
            heading = line.split()[0]
            found[heading] = []
    return found


def told() -> dict[str, list[str]]:
    return sections(list(info.describe_installation()))


@pytest.fixture
def nothing_imported():
    """Whether the compiler answers is found out anew, before the test and after it."""
    kernels.import_nvrtc.cache_clear()
    yield
    kernels.import_nvrtc.cache_clear()


@pytest.fixture
def without_cupy(monkeypatch, nothing_imported):
    """Importing it fails, whether it is installed or not."""
    for name in ("cupy", "cupy.cuda", "cupyx"):
        monkeypatch.setitem(sys.modules, name, None)


def test_the_command_prints_it(capsys, without_cupy):
    assert main(["info"]) == 0
    assert capsys.readouterr().out.splitlines() == list(info.describe_installation())


def test_versions_and_places_are_listed(monkeypatch, without_cupy):
    monkeypatch.setenv("FWFM_GPU_CACHE", "/a/place/of/mine")
    printed = "\n".join(info.describe_installation())
    for part in (__version__, np.__version__, "fwfm-gpu[NAME]", "caches     /a/place/of/mine  ("):
        assert part in printed


def test_without_cupy_it_says_what_to_install(without_cupy):
    found = told()
    numpy, cpu, cuda, auto = found["engines"]
    assert [numpy.split(), cpu.split(), auto.split()] == [
        ["numpy", "NumPyBackend"],
        ["cpu", PROCESSOR],
        ["auto", PROCESSOR],
    ]
    assert re.match(r"cuda +no: device='cuda' cannot be used: a CUDA device needs CuPy.*fwfm-gpu\[cuda12\]", cuda)
    device, compiler = found["CUDA"]
    assert device.startswith("no: a CUDA device needs CuPy")
    assert compiler.startswith("compiler no: the CUDA engine needs CuPy")
    assert all("Install fwfm-gpu[cuda12] or fwfm-gpu[cuda13]" in line for line in (device, compiler))


@pytest.fixture
def without_numba(monkeypatch):
    """It is not found, whether it is installed or not."""
    monkeypatch.setitem(sys.modules, "numba", None)


def test_without_numba_it_says_what_to_install(without_cupy, without_numba):
    found = told()
    assert [line.split() for line in found["engines"][:2]] == [["numpy", "NumPyBackend"], ["cpu", "NumPyBackend"]]
    (line,) = found["compiled"]
    assert re.fullmatch(r"no: .* needs numba, which is not installed\. Install fwfm-gpu\[cpu\]: pip install .*", line)


@needs_numba
@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("3", "threads    3  (of FWFM_NUM_THREADS)"),
        ("", f"threads    {count_cores()}  (one per core; FWFM_NUM_THREADS names another number)"),
        ("many", "threads    no: FWFM_NUM_THREADS must be a positive integer; got 'many'."),
    ],
)
def test_the_number_of_threads_and_whose_it_is(value, line, monkeypatch, without_cupy):
    monkeypatch.setenv("FWFM_NUM_THREADS", value)
    assert told()["compiled"][1] == line


@needs_numba
def test_numba_lanes_and_the_folder_of_code(monkeypatch, without_cupy):
    numba, _, code = told()["compiled"]
    assert re.fullmatch(r"numba +\d+\.\d+\.\S+, (8|16) float32 side by side", numba)
    assert code == (
        f"code       {warmup.code_folder()}  (fwfm-gpu warmup compiles ahead; NUMBA_CACHE_DIR names another folder)"
    )
    monkeypatch.setattr(info, "code_folder", lambda: None)
    assert told()["compiled"][2].startswith("code       not kept: numba finds no folder")


def test_a_numba_that_cannot_be_imported_is_said(monkeypatch, without_cupy):
    def refuse(*_, **__):
        raise ImportError("Numba needs NumPy 2.1 or less. Got NumPy 2.9.")

    monkeypatch.setattr(info, "code_folder", refuse)
    monkeypatch.setattr(info, "get_backend", refuse)
    found = told()
    assert found["engines"][1].split(maxsplit=1) == ["cpu", "no: Numba needs NumPy 2.1 or less. Got NumPy 2.9."]
    assert found["compiled"] == ["no: Numba needs NumPy 2.1 or less. Got NumPy 2.9."]


def test_what_is_missing_is_named(monkeypatch, without_cupy):
    def nothing(distribution):
        raise PackageNotFoundError(distribution)

    monkeypatch.setattr(info.importlib.metadata, "version", nothing)
    listed = {line.split()[0]: line for line in told()["extras"]}
    assert listed.keys() == info.EXTRAS.keys()
    for extra, (distributions, purpose) in info.EXTRAS.items():
        assert re.fullmatch(rf"{extra} +missing {', '.join(distributions)} +{re.escape(purpose)}", listed[extra])


def test_what_is_half_there_is_told_apart(monkeypatch, without_cupy):
    def version(distribution):
        if distribution == "pyarrow":
            raise PackageNotFoundError(distribution)
        return "1.2.3"

    monkeypatch.setattr(info.importlib.metadata, "version", version)
    (line,) = [line for line in told()["extras"] if line.startswith("data")]
    assert re.match(r"data +narwhals 1\.2\.3; missing pyarrow +pandas", line)


# ---- a CuPy of two GPUs


def make_cupy(count: Callable[[], int]) -> ModuleType:
    """As much of CuPy as devices are described by; ``count`` gives their number."""
    names = [b"NVIDIA One", b"NVIDIA Two"]
    cupy = ModuleType("cupy")
    cupy.__version__ = "14.9.9"
    cupy.__spec__ = ModuleSpec("cupy", None)
    cupy.cuda = ModuleType("cupy.cuda")
    cupy.cuda.Device = lambda number: nullcontext()
    cupy.cuda.nvrtc = SimpleNamespace(getVersion=lambda: (12, 9), getSupportedArchs=lambda: (75, 90, 120))
    cupy.cuda.runtime = SimpleNamespace(
        getDeviceCount=count,
        driverGetVersion=lambda: 12080,
        runtimeGetVersion=lambda: 12090,
        getDeviceProperties=lambda number: {"name": names[number], "major": 9, "minor": 0},
        memGetInfo=lambda: (79_500_000_000, 80_000_000_000),
    )
    return cupy


@pytest.fixture
def install(monkeypatch, nothing_imported):
    """Put a CuPy in the place of whatever is there."""

    def put(count: Callable[[], int]) -> ModuleType:
        cupy = make_cupy(count)
        for name, module in (("cupy", cupy), ("cupy.cuda", cupy.cuda)):
            monkeypatch.setitem(sys.modules, name, module)
        return cupy

    return put


def test_each_gpu_has_a_line(install):
    install(lambda: 2)
    assert list(info.describe_cuda()) == [
        "CuPy 14.9.9, driver for CUDA 12.8, runtime 12.9",
        "cuda:0  NVIDIA One, compute capability 9.0, 79.5 of 80.0 GB free",
        "cuda:1  NVIDIA Two, compute capability 9.0, 79.5 of 80.0 GB free",
        "compiler NVRTC 12.9, for compute capability up to 12.0",
    ]


def test_a_gpu_that_answers_is_what_auto_takes(monkeypatch, install):
    class Answering:
        def __init__(self, number, device_memory):
            assert (number, device_memory) == (0, None)

    install(lambda: 1)
    monkeypatch.setattr(backends, "make_cuda", Answering)
    engines = [line.split() for line in told()["engines"]]
    assert engines == [["numpy", "NumPyBackend"], ["cpu", PROCESSOR], ["cuda", "Answering"], ["auto", "Answering"]]


def no_driver() -> int:
    raise RuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")


@pytest.mark.parametrize(
    ("count", "reason"),
    [
        (lambda: 0, "no CUDA device answers: the driver finds none. See nvidia-smi."),
        (no_driver, "no CUDA device answers: cudaErrorInsufficientDriver"),
    ],
    ids=["no device", "no driver"],
)
def test_without_a_gpu_the_compiler_is_there_all_the_same(install, count, reason):
    install(count)
    found = told()
    device, compiler = found["CUDA"]
    assert device.startswith(f"no: {reason}")
    assert compiler.startswith("compiler NVRTC 12.9")
    assert found["engines"][-1].split() == ["auto", PROCESSOR]


def test_without_the_compiler_that_is_said(install):
    def fail():
        raise RuntimeError("libnvrtc.so.12 is not there")

    install(lambda: 1).cuda.nvrtc.getVersion = fail
    *devices, compiler = info.describe_cuda()
    assert len(devices) == 2
    assert re.match(r"compiler no: .* did not find it: libnvrtc\.so\.12 is not there\. Install fwfm-gpu\[", compiler)
