"""CUDA C as text: joined so that every line knows its file, read for what launches must know, equal to its twins."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cuda_host.loader import HostLoader, compiler
from engine_data import bits

from fwfm_gpu import numerics
from fwfm_gpu.cuda_sources import COMPILED_K, NUMBERS, Source, Variant, read_source, source_folder
from fwfm_gpu.errors import DeviceError
from fwfm_gpu.losses import LOSSES
from fwfm_gpu.optimizers import RULES

needs_compiler = pytest.mark.skipif(compiler() is None, reason="g++ is missing: no kernel can be compiled for the host")

NAMES = sorted(path.name for path in source_folder().glob("*.cu"))
HEADERS = sorted(path.name for path in source_folder().glob("*.cuh"))


# ---- joined

FILES = {
    "types.cuh": "typedef FWFM_REAL real;\n",
    "left.cuh": '// left\n#include "types.cuh"\nreal left();\n',
    "right.cuh": '#include "types.cuh"\n#include "left.cuh"\nreal right();',
    "top.cu": '// top\n#include "left.cuh"\n#include "right.cuh"\n\nint last;\n',
}


@pytest.fixture
def folder(tmp_path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


def lines_by_place(text: str) -> Iterator[tuple[str, int, str]]:
    """File, number and text of each line, as a compiler counts them."""
    file, number = "", 0
    for line in text.splitlines():
        if place := re.fullmatch(r'#line (\d+) "([\w.]+)"', line):
            file, number = place[2], int(place[1])
        else:
            yield file, number, line
            number += 1


def without_includes(text: str) -> dict[int, str]:
    """The lines of a file by number, but for those that are replaced by another file."""
    numbered = dict(enumerate(text.splitlines(), 1))
    return {number: line for number, line in numbered.items() if not line.startswith("#include")}


def find_included(name: str, folder: Path) -> set[str]:
    """The files that a file takes, itself among them."""
    text = (folder / name).read_text("utf-8")
    found = re.findall(r'^#include "([\w.]+)"$', text, re.MULTILINE)
    return {name}.union(*(find_included(other, folder) for other in found))


def expect_joined_once(source: Source, folder: Path) -> None:
    """Every line of every file is there once, under its own file and number."""
    places = list(lines_by_place(source.text))
    want = {
        (file, number): line
        for file in find_included(source.name, folder)
        for number, line in without_includes((folder / file).read_text("utf-8")).items()
    }
    assert {(file, number): line for file, number, line in places} == want
    assert len(places) == len(want)


def test_each_file_is_joined_once_and_keeps_its_lines(folder):
    source = read_source("top.cu", folder)
    expect_joined_once(source, folder)
    assert [line for _, _, line in lines_by_place(source.text)] == [
        *("// top", "// left", "typedef FWFM_REAL real;", "real left();", "real right();", "", "int last;")
    ]


@pytest.mark.parametrize("name", NAMES)
def test_the_sources_are_joined_once_and_keep_their_lines(name):
    expect_joined_once(read_source(name), source_folder())


def test_every_header_belongs_to_a_source():
    assert set(HEADERS) <= set().union(*(find_included(name, source_folder()) for name in NAMES))


@pytest.mark.parametrize("name", [*NAMES, *HEADERS])
def test_what_is_included_is_ours(name):
    """The runtime compiler has no headers of its own to include (cuda/README.md)."""
    included = re.findall(r"^\s*#\s*include\b(.*)$", (source_folder() / name).read_text("utf-8"), re.MULTILINE)
    assert all(re.fullmatch(r' "[\w.]+"', part) and part.strip(' "') in HEADERS for part in included)


def test_a_file_is_read_once(folder):
    assert read_source("top.cu", folder) is read_source("top.cu", folder)
    assert read_source("top.cu", folder) != read_source("left.cuh", folder)


# ---- read

TOY = Source(
    "toy.cu",
    """\
constexpr int WIDE = 64;  // constexpr int OTHER = 3;
constexpr long long FAR = 9;
constexpr double HALF = 0.5;
    constexpr int INSIDE = 7;

struct Inner {  // struct Hidden { int a; };
    int count;  // (1,); int trap;
    const double* loss;
};

struct Outer {
    real rate;
    Inner inner;
    const index_t* feature;
    long long
        rows;
};

struct Walker {
    long long p;
    __device__ void step() { p += 1; }
};

extern "C" __global__ void __launch_bounds__(128, RESIDENT)
first(const Outer outer, real* __restrict__ theta,
      const int* item, const long long rows)  // , int trap)
{
}

extern "C" __global__ void second(long long* values, double eps) {}

// extern "C" __global__ void gone(int n)
__global__ void hidden(int n) {}
""",
)


def test_structs_are_read():
    assert TOY.structs == {
        "Inner": [("count", "int", False), ("loss", "double", True)],
        "Outer": [
            ("rate", "real", False),
            ("inner", "Inner", False),
            ("feature", "index_t", True),
            ("rows", "long long", False),
        ],
    }


def test_kernels_are_read():
    assert TOY.kernels == {
        "first": [
            ("outer", "Outer", False),
            ("theta", "real", True),
            ("item", "int", True),
            ("rows", "long long", False),
        ],
        "second": [("values", "long long", True), ("eps", "double", False)],
    }


def test_a_template_is_no_argument():
    text = "template <typename Number>\nstruct Pair {\n    Number first;\n};\n\nstruct Plain {\n    int first;\n};\n"
    assert Source("toy.cu", text).structs == {"Plain": [("first", "int", False)]}


def test_whole_numbers_are_read():
    assert TOY.constants == {"WIDE": 64}


@pytest.mark.parametrize(
    ("real", "index", "offsets", "size"),
    [("float32", "int32", (0, 8, 24, 32), 40), ("float64", "int64", (0, 8, 24, 32), 40)],
)
def test_a_layout_is_that_of_c(real, index, offsets, size):
    layout = TOY.layout("Outer", Variant(real, index))
    assert tuple(layout.fields[name][1] for name in layout.names) == offsets
    assert layout.itemsize == size
    assert (layout["rate"], layout["rows"], layout["feature"]) == (np.dtype(real), np.int64, np.uint64)


@pytest.mark.parametrize(
    "declaration",
    [
        "int a, b",
        "int count[4]",
        "real** table",
        "const real& theta",
        "int count = 3",
        "count",
        "const real* const theta",
    ],
)
def test_a_declaration_that_is_not_understood_is_refused(declaration):
    source = Source("bad.cu", f"struct Bad {{\n    int first;\n    {declaration};\n}};\n")
    with pytest.raises(DeviceError, match=re.escape(f"declares {declaration!r}: expected one type and one name")):
        _ = source.structs


@pytest.mark.parametrize("parameter", ["int count[4]", "real** table", "const Outer& outer", "..."])
def test_a_parameter_that_is_not_understood_is_refused(parameter):
    source = Source("bad.cu", f'extern "C" __global__ void bad(int n, {parameter})\n{{\n}}\n')
    with pytest.raises(DeviceError, match=re.escape(f"declares {parameter!r}")):
        _ = source.kernels


@pytest.mark.parametrize("name", NAMES)
def test_every_kernel_of_the_sources_is_read(name):
    """By another pattern: what follows each ``extern "C"``, up to the body."""
    source = read_source(name)
    heads = re.findall(r'^extern "C"([^{]*)\{', re.sub(r"//[^\n]*", "", source.text), re.MULTILINE)
    want = {}
    for head in heads:
        kernel, parameters = re.search(r"(\w+)\s*\(([^()]*)\)\s*$", head).groups()
        want[kernel] = [part.replace("*", " ").split()[-1] for part in parameters.split(",")]
    assert {kernel: [parameter for parameter, _, _ in found] for kernel, found in source.kernels.items()} == want
    assert source.kernels


@pytest.mark.parametrize("name", NAMES)
def test_every_type_of_a_kernel_is_known(name):
    source = read_source(name)
    known = {*NUMBERS, "real", "index_t", *source.structs}
    for parameters in source.kernels.values():
        assert {c_type for _, c_type, _ in parameters} <= known


# ---- variants


@pytest.mark.parametrize(
    ("variant", "defines"),
    [
        (Variant(), ("-DFWFM_REAL=float", "-DFWFM_INDEX=int", "-DFWFM_K=-1")),
        (Variant("float64", "int64", 16), ("-DFWFM_REAL=double", "-DFWFM_INDEX=long_long", "-DFWFM_K=16")),
    ],
)
def test_a_variant_is_three_macros(variant, defines):
    assert variant.defines == defines


def test_macros_are_ours_by_name():
    """A macro named K or T would break a compiler's own headers."""
    for name in (*NAMES, *HEADERS):
        text = (source_folder() / name).read_text("utf-8")
        assert all(macro.startswith("FWFM_") for macro in re.findall(r"^\s*#\s*define\s+(\w+)", text, re.MULTILINE))


def test_numbers_of_factors_that_are_compiled_are_ascending():
    assert list(COMPILED_K) == sorted(set(COMPILED_K))


# ---- equal in both languages


def read_enum(source: Source, first: str) -> dict[str, int]:
    """The enum that begins with a name."""
    (body,) = re.findall(rf"^enum \{{ ({first} = [^}}]*) \}};", source.text, re.MULTILINE)
    return {name: int(number) for name, number in (entry.split(" = ") for entry in body.split(", "))}


def test_losses_are_numbered_alike():
    want = {name.upper(): number for number, name in enumerate(LOSSES)}
    assert read_enum(read_source("rows.cu"), "LOGISTIC") == want


def test_rules_are_numbered_alike():
    want = {name.upper(): number for number, name in enumerate(RULES)}
    assert read_enum(read_source("coordinates.cu"), "SGD") == want


@pytest.mark.parametrize("name", NAMES)
def test_a_row_block_is_as_long(name):
    assert read_source(name).constants["ROW_BLOCK"] == numerics.ROW_BLOCK


PROBE = """\
#include "numerics.cuh"

extern "C" __global__ void list_constants(double* taylor, double* others)
{
    for (int j = 0; j < 14; ++j) taylor[j] = TAYLOR[j];
    others[0] = LOG2_E;
    others[1] = LN2_HIGH;
    others[2] = LN2_LOW;
    others[3] = EXP_LIMIT;
}

extern "C" __global__ void evaluate(const double* x, double* power, double* sigmoid, const int count)
{
    for (int i = 0; i < count; ++i) {
        power[i] = exp64(x[i]);
        sigmoid[i] = sigmoid64(x[i]);
    }
}
"""


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    """Kernels over ``numerics.cuh``, on the host."""
    folder = tmp_path_factory.mktemp("probe")
    shutil.copy(source_folder() / "numerics.cuh", folder)
    (folder / "probe.cu").write_text(PROBE, "utf-8")
    return HostLoader(folder=folder)("probe.cu", Variant())


@needs_compiler
def test_the_constants_of_exp_have_the_same_bits(probe):
    taylor, others = np.full(14, np.nan), np.full(4, np.nan)
    probe["list_constants"]((1,), (1,), (taylor, others))
    want = numerics.LOG2_E, numerics.LN2_HIGH, numerics.LN2_LOW, numerics.EXP_LIMIT
    np.testing.assert_array_equal(bits(taylor), bits(np.array(numerics.TAYLOR)))
    np.testing.assert_array_equal(bits(others), bits(np.array(want)))


@needs_compiler
def test_exp_and_sigmoid_have_the_same_bits(probe):
    generator = np.random.default_rng(0)
    edges = [0.0, -0.0, 700, -700, 5e-324, -5e-324, 1e-300, 0.5 * np.log(2), -0.5 * np.log(2)]
    x = np.concatenate((edges, generator.uniform(-700, 700, 5000), generator.normal(size=5000)))
    power, sigmoid = np.empty_like(x), np.empty_like(x)
    probe["evaluate"]((1,), (1,), (x, power, sigmoid, np.int32(len(x))))
    np.testing.assert_array_equal(bits(power), bits(numerics.exp64(x)))
    np.testing.assert_array_equal(bits(sigmoid), bits(numerics.sigmoid64(x)))
