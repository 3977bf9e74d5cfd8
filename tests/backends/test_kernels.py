"""Kernels: compiled under our options, kept whole or not at all, launched with the arguments of their source."""

from __future__ import annotations

import os
import re
import stat
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fwfm_gpu.backends import kernels
from fwfm_gpu.cuda_sources import Source, Variant, read_source
from fwfm_gpu.errors import DeviceError, FwfmError, MissingExtraError

TYPES = """\
typedef long long long_long;
typedef FWFM_REAL real;
typedef FWFM_INDEX index_t;

struct Inner {
    int count;           // padded before what follows
    const double* loss;  // (count,); a comment with int trap;
};

struct Outer {
    real rate;
    Inner inner;
    const index_t* feature;
    long long rows;
    int last;
};
"""

TOY = """\
#include "types.cuh"

extern "C" __global__ void step(Outer outer, real* __restrict__ theta, const index_t* feature, int n, real rate)
{
    theta[0] = theta[1] * theta[2] + outer.rate;
    theta[3] = theta[4] / rate;
    theta[5] = sqrt(theta[6]);
}

extern "C" __global__ void __launch_bounds__(64)
finish(const long long* rows, double eps)
{
}
"""

VARIANTS = [Variant(real, index) for real in ("float32", "float64") for index in ("int32", "int64")]


@pytest.fixture
def nvrtc():
    """NVRTC; needs neither a GPU nor a driver."""
    try:
        return kernels.import_nvrtc()
    except FwfmError as error:
        pytest.skip(f"no compiler: {error}")


@pytest.fixture
def toy(tmp_path) -> Source:
    return write_toy(tmp_path)


def write_toy(folder: Path, **files: str) -> Source:
    for name, text in {"types.cuh": TYPES, "toy.cu": TOY, **files}.items():
        (folder / name).write_text(text, "utf-8")
    read_source.cache_clear()
    return read_source("toy.cu", folder)


# Compiling


def opcodes(ptx: bytes) -> set[str]:
    return set(re.findall(r"^\s+(?:@!?%\w+\s+)?([a-z][\w.]*)\s", ptx.decode(), re.MULTILINE))


ROUNDED = {f"{operation}.rn.f32" for operation in ("mul", "add", "div", "sqrt")}


def test_the_options_reach_the_compiler(nvrtc, toy):
    got = opcodes(kernels.compile_source(toy, Variant(), "sm_90", output="ptx"))
    assert got >= ROUNDED
    assert not [code for code in got if re.search(r"fma|ftz|approx|full", code)]
    doubles = opcodes(kernels.compile_source(toy, Variant("float64"), "sm_90", output="ptx"))
    assert doubles >= {code.replace("f32", "f64") for code in ROUNDED}


@pytest.mark.parametrize(
    "flag, lost, gained",
    [
        ("--fmad=true", "mul.rn.f32", "fma.rn.f32"),
        ("--ftz=true", "add.rn.f32", "add.rn.ftz.f32"),
        ("--prec-div=false", "div.rn.f32", "div.full.f32"),
        ("--prec-sqrt=false", "sqrt.rn.f32", "sqrt.approx.f32"),
    ],
)
def test_each_option_matters(monkeypatch, nvrtc, toy, flag, lost, gained):
    name = flag.partition("=")[0]
    options = [(flag, why) if own.startswith(name) else (own, why) for own, why in kernels.OPTIONS]
    assert len([option for option, _ in options if option == flag]) == 1
    monkeypatch.setattr(kernels, "OPTIONS", tuple(options))
    got = opcodes(kernels.compile_source(toy, Variant(), "compute_90", output="ptx"))
    assert gained in got
    assert lost not in got


def test_a_cubin_is_whole(nvrtc, toy):
    binary = kernels.compile_source(toy, Variant(), "sm_80")
    programs, sections = struct.unpack_from("<QQ", binary, 32)
    program_size, program_count, section_size, section_count = struct.unpack_from("<4H", binary, 54)
    assert programs + program_size * program_count <= len(binary)
    assert sections + section_size * section_count <= len(binary)


def test_a_cubin_is_for_its_architecture(nvrtc, toy):
    assert kernels.compile_source(toy, Variant(), "sm_80").startswith(b"\x7fELF")
    assert b".target sm_80" in kernels.compile_source(toy, Variant(), "compute_80", output="ptx")


@pytest.mark.parametrize(
    "file, text, place",
    [
        ("types.cuh", TYPES + "\nint broken = nothing;\n", "types.cuh(18): error"),
        ("toy.cu", TOY + "int broken = nothing;\n", "toy.cu(14): error"),
    ],
)
def test_a_compile_error_names_our_file_and_line(nvrtc, tmp_path, file, text, place):
    with pytest.raises(DeviceError, match=re.escape(place)) as caught:
        kernels.compile_source(write_toy(tmp_path, **{file: text}), Variant(), "sm_90")
    assert f"NVRTC {nvrtc.getVersion()[0]}." in str(caught.value)
    assert "--fmad=false" in str(caught.value)


def test_without_cupy_the_error_names_the_extra(monkeypatch):
    kernels.import_nvrtc.cache_clear()
    monkeypatch.setitem(sys.modules, "cupy.cuda", None)
    with pytest.raises(MissingExtraError, match=r"fwfm-gpu\[cuda12\]"):
        kernels.import_nvrtc()


def test_without_nvrtc_the_error_names_the_extra(monkeypatch, nvrtc):
    def fail():
        raise RuntimeError("no libnvrtc.so")

    kernels.import_nvrtc.cache_clear()
    monkeypatch.setattr(nvrtc, "getVersion", fail)
    with pytest.raises(DeviceError, match=r"no libnvrtc\.so.*fwfm-gpu\[cuda12\]"):
        kernels.import_nvrtc()


@pytest.mark.parametrize(
    "capability, supported, expected",
    [
        (90, (75, 90, 100), "sm_90"),
        (121, (75, 90, 120), "compute_120"),  # newer than all
        (88, (75, 86, 90), "compute_86"),  # between two
    ],
)
def test_the_architecture_fits_the_device(capability, supported, expected):
    assert kernels.fit_architecture(capability, supported) == expected


def test_a_device_older_than_the_compiler_is_refused():
    with pytest.raises(DeviceError, match=r"7\.0: the installed NVRTC compiles for 7\.5"):
        kernels.fit_architecture(70, (90, 75))


def test_the_architecture_is_asked_of_the_device(monkeypatch, nvrtc):
    monkeypatch.setattr("cupy.cuda.Device", lambda number: SimpleNamespace(compute_capability=["75", "90"][number]))
    assert [kernels.architecture(number) for number in (0, 1)] == ["sm_75", "sm_90"]


# Keeping


FLOAT32 = Variant()


class Cache:
    """The real cache in front of a compiler that only counts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.compiled = 0
        self.version = (12, 9)

    def compile_source(self, source, variant, architecture, *, output):
        self.compiled += 1
        return f"{source.text} {variant} {architecture} {output} {self.version}".encode()

    def fetch(self, text: str = "text", variant: Variant = FLOAT32, architecture: str = "sm_90") -> bytes:
        return kernels.fetch_binary(Source("toy.cu", text), variant, architecture)

    @property
    def files(self) -> list[Path]:
        return sorted(self.folder.iterdir())


@pytest.fixture
def cached(monkeypatch, tmp_path) -> Cache:
    cache = Cache(tmp_path / "a" / "cache")
    monkeypatch.setenv("FWFM_GPU_CACHE", str(cache.folder))
    monkeypatch.setattr(kernels, "compile_source", cache.compile_source)
    monkeypatch.setattr(kernels, "import_nvrtc", lambda: SimpleNamespace(getVersion=lambda: cache.version))
    kernels.warn_once.cache_clear()
    return cache


def test_a_source_is_compiled_once(cached):
    assert cached.fetch() == cached.fetch() == b"text Variant(real='float32', index='int32', k=-1) sm_90 cubin (12, 9)"
    assert cached.compiled == 1
    assert stat.S_IMODE(cached.folder.stat().st_mode) == 0o700
    assert [re.fullmatch("[0-9a-f]{64}", path.name) is not None for path in cached.files] == [True]


def test_ptx_is_for_devices_that_the_compiler_does_not_know(cached):
    assert b" compute_120 ptx " in cached.fetch(architecture="compute_120")


@pytest.mark.parametrize(
    "change",
    [
        {"text": "other"},
        {"variant": Variant("float64")},
        {"variant": Variant(index="int64")},
        {"variant": Variant(k=16)},
        {"architecture": "sm_80"},
        {"architecture": "compute_90"},
    ],
)
def test_whatever_changes_the_binary_changes_its_name(cached, change):
    assert cached.fetch() != cached.fetch(**change)
    assert (cached.compiled, len(cached.files)) == (2, 2)


def test_another_compiler_or_option_compiles_again(monkeypatch, cached):
    cached.fetch()
    cached.version = (13, 0)
    cached.fetch()
    monkeypatch.setattr(kernels, "OPTIONS", kernels.OPTIONS[1:])
    cached.fetch()
    assert (cached.compiled, len(cached.files)) == (3, 3)


def test_a_changed_include_compiles_again(cached, tmp_path):
    before = write_toy(tmp_path)
    after = write_toy(tmp_path, **{"types.cuh": TYPES + "// more\n"})
    for source in (before, after, before):
        kernels.fetch_binary(source, Variant(), "sm_90")
    assert cached.compiled == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: content[:40] + bytes([content[40] ^ 1]) + content[41:],
        lambda content: bytes(32) + content[32:],
        lambda content: content[:32],
    ],
    ids=["empty", "cut", "longer", "a bit", "the digest", "no binary"],
)
def test_a_damaged_file_is_compiled_again(cached, damage):
    whole = cached.fetch()
    (path,) = cached.files
    path.write_bytes(damage(path.read_bytes()))
    assert cached.fetch() == whole
    assert cached.fetch() == whole
    assert (cached.compiled, cached.files) == (2, [path])


def expect_uncached(cached: Cache, caplog, reason: str) -> None:
    """Everything works, nothing is kept, and the log says why, once."""
    assert cached.fetch() == cached.fetch()
    assert cached.compiled == 2
    assert [record.name for record in caplog.records] == ["fwfm_gpu"]
    assert re.search(rf"not kept: .*{reason}.*FWFM_GPU_CACHE", caplog.text)


def test_no_folder_is_no_error(monkeypatch, cached, caplog, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FWFM_GPU_CACHE", str(tmp_path / "file" / "below"))
    expect_uncached(cached, caplog, "no folder that can be used")


def test_no_home_is_no_error(monkeypatch, cached, caplog, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FWFM_GPU_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    expect_uncached(cached, caplog, "there is no home folder")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_no_error(monkeypatch, cached, caplog):
    def fail(path, write):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kernels, "replace_file", fail)
    expect_uncached(cached, caplog, "No space left")


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_folder_that_others_may_write_to_is_not_trusted(cached, caplog, mode):
    cached.fetch()
    cached.compiled = 0
    cached.folder.chmod(mode)
    expect_uncached(cached, caplog, "writable by you alone")


def test_a_folder_of_another_user_is_not_trusted(monkeypatch, cached, caplog):
    cached.fetch()
    cached.compiled = 0
    other = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: other)
    expect_uncached(cached, caplog, "must belong to you")


@pytest.mark.parametrize(
    "own, shared, expected",
    [
        ("/own", "/shared", "/own"),
        ("", "/shared", "/shared/fwfm_gpu"),
        (None, "relative", "/home/me/.cache/fwfm_gpu"),
        (None, None, "/home/me/.cache/fwfm_gpu"),
    ],
)
def test_where_the_cache_is(monkeypatch, own, shared, expected):
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in (("FWFM_GPU_CACHE", own), ("XDG_CACHE_HOME", shared)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert kernels.cache_folder() == Path(expected)


# Loading


def test_kernels_are_loaded_once_per_device(monkeypatch, cached, toy):
    cupy = pytest.importorskip("cupy", reason="loading is CuPy's part")
    loaded = []

    class RawModule:
        def __init__(self, path):
            loaded.append((path, Path(path).read_bytes()))

        def get_function(self, name):
            assert Path(loaded[-1][0]).is_file()
            return f"{name} of {len(loaded)}"

    device = 0
    monkeypatch.setattr(cupy, "RawModule", RawModule)
    monkeypatch.setattr(cupy.cuda.runtime, "getDevice", lambda: device)
    monkeypatch.setattr(kernels, "architecture", lambda number: ["sm_90", "compute_120"][number])
    monkeypatch.setattr(kernels, "read_source", lambda name: toy)
    kernels.load_on.cache_clear()
    try:
        first = kernels.load("toy.cu", Variant())
        assert first == {"step": "step of 1", "finish": "finish of 1"}
        assert kernels.load("toy.cu", Variant()) is first
        assert kernels.load("toy.cu", Variant(k=4))["step"] == "step of 2"
        device = 1
        assert kernels.load("toy.cu", Variant())["step"] == "step of 3"
    finally:
        kernels.load_on.cache_clear()
    assert [binary for _, binary in loaded] == [
        cached.fetch(toy.text, variant, target)
        for variant, target in [(Variant(), "sm_90"), (Variant(k=4), "sm_90"), (Variant(), "compute_120")]
    ]
    assert not any(Path(path).exists() for path, _ in loaded)
