"""Launches: a kernel gets the bytes that its source declares, or nothing is launched."""

from __future__ import annotations

import ctypes
import gc
import math
import re
import shutil
import subprocess
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from fwfm_gpu.backends.kernel_arguments import Program, convert
from fwfm_gpu.cuda_sources import Source, Variant
from fwfm_gpu.errors import DeviceError

TOY = Source(
    "toy.cu",
    """\
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

struct Pointers {
    real* theta;
};

struct Local {
    real x;
    __device__ real twice() const { return x + x; }
};

extern "C" __global__ void step(Outer outer, real* __restrict__ theta, const index_t* feature, int n, real rate) {}

extern "C" __global__ void __launch_bounds__(64)
finish(const Inner* all, Pointers pointers, long long rows, double eps)
{
}
""",
)

FLOAT32 = Variant()
VARIANTS = [Variant(real, index) for real in ("float32", "float64") for index in ("int32", "int64")]


class HostKernel:
    """A raw kernel that keeps what it was called with."""

    def __init__(self):
        self.calls = []

    def __call__(self, grid, block, args, *, shared_mem):
        self.calls.append((grid, block, args, shared_mem))


class DeviceKernel(HostKernel):
    """The same, as CuPy would have made it."""

    max_dynamic_shared_size_bytes = 48 << 10


DeviceKernel.__module__ = "cupy._core.raw"


class DeviceArray:
    """As much of a CuPy array as a launch looks at."""

    def __init__(self, dtype, address: int = 0x7F0000001000, contiguous: bool = True):
        self.dtype = np.dtype(dtype)
        self.shape = (3,)
        self.data = SimpleNamespace(ptr=address)
        self.flags = SimpleNamespace(c_contiguous=contiguous)


DeviceArray.__module__ = "cupy"


def make_program(variant: Variant = FLOAT32, kernel: type = HostKernel) -> Program:
    return Program(TOY, variant, {name: kernel() for name in TOY.kernels})


def make_members(program: Program) -> dict[str, object]:
    variant = program.variant
    inner = program.struct("Inner", count=7, loss=np.zeros(7))
    feature = np.zeros(3, variant.index)
    return {"rate": 0.5, "inner": inner, "feature": feature, "rows": 2**40, "last": -1}


def make_args(program: Program) -> tuple[object, ...]:
    variant = program.variant
    outer = program.struct("Outer", **make_members(program))
    return outer, np.zeros(4, variant.real), np.zeros(3, variant.index), 5, 0.25


# Structs


def c_struct(variant: Variant) -> type[ctypes.Structure]:
    """The struct once more, by ctypes."""
    real = {"float32": ctypes.c_float, "float64": ctypes.c_double}[variant.real]

    class Inner(ctypes.Structure):
        _fields_ = (("count", ctypes.c_int), ("loss", ctypes.c_void_p))

    class Outer(ctypes.Structure):
        _fields_ = (
            ("rate", real),
            ("inner", Inner),
            ("feature", ctypes.c_void_p),
            ("rows", ctypes.c_longlong),
            ("last", ctypes.c_int),
        )

    return Outer


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_struct_has_the_bytes_of_c(variant):
    program = make_program(variant)
    members = make_members(program)
    packed = program.struct("Outer", **members)
    loss, feature = members["inner"].kept[1], members["feature"]
    expected = c_struct(variant)(0.5, (7, loss.ctypes.data), feature.ctypes.data, 2**40, -1)
    assert packed.block.shape == (1,)
    assert packed.block.tobytes() == bytes(expected)
    assert not packed.block.flags.writeable


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to ask for its layout")
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_the_layout_is_the_compilers(variant, tmp_path):
    layout = TOY.layout("Outer", variant)
    places = ["sizeof(Outer)", "sizeof(Inner)", *(f"offsetof(Outer, {name})" for name in layout.names)]
    structs = TOY.text.partition("struct Local")[0]
    names = "typedef long long long_long; typedef FWFM_REAL real; typedef FWFM_INDEX index_t;"
    prints = "".join(f'printf("%zu ", {place});' for place in places)
    program = f"#include <cstddef>\n#include <cstdio>\n{names}\n{structs}int main() {{ {prints} }}\n"
    subprocess.run(
        ["g++", "-x", "c++", "-", "-o", tmp_path / "a", *variant.defines], input=program.encode(), check=True
    )
    printed = subprocess.run([tmp_path / "a"], capture_output=True, check=True).stdout
    sizes = [layout.itemsize, TOY.layout("Inner", variant).itemsize]
    assert [int(word) for word in printed.split()] == sizes + [layout.fields[name][1] for name in layout.names]


def test_a_null_pointer_and_a_device_address():
    program = make_program(kernel=DeviceKernel)
    inner = program.struct("Inner", count=0, loss=None)
    assert inner.block["loss"] == 0
    assert program.struct("Inner", count=0, loss=DeviceArray("float64")).block["loss"] == 0x7F0000001000


def test_a_struct_with_functions_is_no_argument():
    assert list(TOY.structs) == ["Inner", "Outer", "Pointers"]


@pytest.mark.parametrize("text", ["int rows, columns;", "int sizes[3];", "real rate = 0;", "double** table;"])
def test_a_declaration_that_is_not_understood_is_an_error(text):
    with pytest.raises(DeviceError, match=re.escape(text.rstrip(";"))):
        Source("odd.cu", f"struct Odd {{\n    {text}\n}};\n").structs  # noqa: B018


# Launches


def test_a_launch_passes_exactly_what_the_source_declares():
    program = make_program(Variant("float32", "int64"))
    args = make_args(program)
    program.launch("step", (3,), (32, 2), args, shared=64)
    ((grid, block, values, shared),) = program.raw["step"].calls
    assert (grid, block, shared) == ((3, 1, 1), (32, 2, 1), 64)
    assert values[0] is args[0].block
    assert values[1] is args[1]
    assert values[2] is args[2]
    assert [(type(value), value) for value in values[3:]] == [(np.int32, 5), (np.float32, 0.25)]
    assert not program.raw["finish"].calls


def test_pointers_to_structs_and_wide_numbers():
    program = make_program()
    args = np.zeros(2, TOY.layout("Inner", program.variant)), program.struct("Pointers", theta=None), 3, 1
    program.launch("finish", (1,), (1,), args)
    ((_, _, values, _),) = program.raw["finish"].calls
    assert [type(value) for value in values] == [np.ndarray, np.ndarray, np.int64, np.float64]


def test_a_bound_launch_checks_once_and_launches_at_each_call(monkeypatch):
    program = make_program()
    launch = program.bind("step", (1,), (64,), make_args(program))
    calls = program.raw["step"].calls
    assert calls == []
    monkeypatch.setattr(Program, "check", None)
    launch()
    launch()
    assert len(calls) == 2
    assert all(got is again for got, again in zip(*calls, strict=True))


def test_a_bound_launch_keeps_its_arrays_alive():
    program = make_program()
    loss, theta = np.zeros(7), np.zeros(4, np.float32)
    inner = program.struct("Inner", count=7, loss=loss)
    outer = program.struct("Outer", rate=1.0, inner=inner, feature=None, rows=1, last=0)
    launch = program.bind("step", (1,), (1,), (outer, theta, None, 1, 0.5))
    seen = [weakref.ref(loss), weakref.ref(theta)]
    del loss, theta, inner, outer
    gc.collect()
    assert [array() is None for array in seen] == [False, False]
    del launch
    gc.collect()
    assert [array() is None for array in seen] == [True, True]


def test_much_shared_memory_is_asked_for_and_never_taken_back():
    program = make_program(kernel=DeviceKernel)
    inner = program.struct("Inner", count=0, loss=None)
    outer = program.struct("Outer", rate=1.0, inner=inner, feature=None, rows=1, last=0)
    args = (outer, DeviceArray("float32"), None, 1, 0.5)
    granted = []
    for shared in (0, 48 << 10, 100 << 10, 64 << 10):
        program.launch("step", (1,), (1,), args, shared)
        granted.append(program.raw["step"].max_dynamic_shared_size_bytes >> 10)
    assert granted == [48, 48, 100, 100]
    assert program.raw["finish"].max_dynamic_shared_size_bytes == 48 << 10


def test_a_null_pointer_has_a_place_on_the_device():
    program = make_program(kernel=DeviceKernel)
    inner = program.struct("Inner", count=0, loss=None)
    outer = program.struct("Outer", rate=1.0, inner=inner, feature=None, rows=1, last=0)
    program.launch("step", (1,), (1,), (outer, DeviceArray("float32"), None, 1, 0.5))
    null = program.raw["step"].calls[0][2][2]
    assert type(null) is np.uint64  # CuPy takes its 8 bytes; for None it would have none to point to
    assert null == 0


def test_the_limits_of_a_launch_are_inside():
    program = make_program()
    args = make_args(program)
    for grid, block in [((2**31 - 1, 65535, 65535), (1024,)), ((1,), (4, 4, 64)), ((np.int64(3),), (1, 1024))]:
        program.bind("step", grid, block, args)


# What is refused

ARGS = [
    (0, None, "struct Outer for float32, int32", "None"),
    (0, {"rate": 1}, "struct Outer", "dict"),
    (0, np.zeros(1, TOY.layout("Outer", FLOAT32)), "struct Outer", "numpy array"),
    (0, make_program().struct("Inner", count=0, loss=None), "struct Outer", "struct Inner"),
    (0, make_args(make_program(Variant("float64")))[0], "struct Outer for float32", "struct Outer for float64"),
    (0, make_args(make_program(Variant(index="int64")))[0], "struct Outer for float32, int32", "float32, int64"),
    (1, np.zeros(4), "C-contiguous NumPy array of float32", "array of float64"),
    (1, np.zeros(4, ">f4"), "array of float32", "array of >f4"),
    (1, np.zeros(8, np.float32)[::2], "C-contiguous", "not C-contiguous"),
    (1, DeviceArray("float32"), "NumPy array", "a cupy array"),
    (1, np.float32(1), "array of float32", "np.float32(1.0)"),
    (1, 0x7F0000001000, "array of float32", "(int)"),
    (1, [1.0], "array of float32", "(list)"),
    (2, np.zeros(3, np.int64), "array of int32", "array of int64"),
    (3, None, "a number that int32", "None"),
    (3, 2**31, "a number that int32 holds exactly", "2147483648"),
    (3, -(2**31) - 1, "a number that int32", "-2147483649"),
    (3, 5.0, "a number that int32", "5.0"),
    (3, np.zeros(1, np.int32), "a number that int32", "numpy array of int32"),
    (3, "5", "a number that int32", "(str)"),
    (4, 0.1, "a number that float32 holds exactly", "0.1"),
    (4, np.float64(0.1), "a number that float32", "np.float64(0.1)"),
    (4, 1e300, "a number that float32", "1e+300"),
    (4, 2**24 + 1, "a number that float32", "16777217"),
    (4, 10**400, "a number that float32", "1000"),
    (4, 1j, "a number that float32", "1j"),
]


def named(error: BaseException, *parts: str) -> None:
    for part in parts:
        assert part in str(error)


@pytest.mark.parametrize("place, value, expected, got", ARGS)
def test_a_wrong_argument_is_refused_by_name(place, value, expected, got):
    program = make_program()
    args = list(make_args(program))
    args[place] = value
    parameter = ["outer", "theta", "feature", "n", "rate"][place]
    with pytest.raises(TypeError) as caught:
        program.launch("step", (1,), (1,), tuple(args))
    named(caught.value, f"toy.cu, kernel step, {parameter}: expected ", expected, "; got ", got)
    assert not program.raw["step"].calls


@pytest.mark.parametrize(
    "array, got",
    [
        (np.zeros(1, np.float32), "a numpy array of float32"),  # CuPy would pass its one element by value
        (DeviceArray("float64"), "a cupy array of float64"),
        (DeviceArray("float32", contiguous=False), "not C-contiguous"),
        (np.float32(1), "np.float32(1.0)"),
    ],
)
def test_a_device_kernel_takes_arrays_of_the_device_alone(array, got):
    program = make_program(kernel=DeviceKernel)
    with pytest.raises(TypeError) as caught:
        program.struct("Pointers", theta=array)
    named(caught.value, "toy.cu, struct Pointers, theta: expected a C-contiguous CuPy array of float32, or None", got)


@pytest.mark.parametrize(
    "change, parts",
    [
        ({"last": 2**31}, ["last: expected a number that int32", "2147483648"]),
        ({"rows": 2**63}, ["rows: expected a number that int64", "9223372036854775808"]),
        ({"rate": 0.1}, ["rate: expected a number that float32", "0.1"]),
        ({"inner": None}, ["inner: expected struct Inner"]),
        ({"feature": np.zeros(2, np.int64)}, ["feature: expected", "array of int32", "array of int64"]),
        ({"more": 1}, ["names: expected rate, inner, feature, rows, last; got", "more"]),
    ],
)
def test_a_wrong_member_is_refused_by_name(change, parts):
    program = make_program()
    with pytest.raises(TypeError) as caught:
        program.struct("Outer", **make_members(program) | change)
    named(caught.value, "toy.cu, struct Outer, ", *parts)


def test_a_missing_member_is_refused():
    program = make_program()
    with pytest.raises(TypeError, match="struct Inner, names: expected count, loss; got count"):
        program.struct("Inner", count=1)


def test_unknown_names_are_refused():
    program = make_program()
    with pytest.raises(TypeError, match="a struct: expected one of Inner, Outer, Pointers; got 'Local'"):
        program.struct("Local", x=1.0)
    with pytest.raises(TypeError, match="a kernel: expected one of step, finish; got 'stop'"):
        program.launch("stop", (1,), (1,), ())
    with pytest.raises(TypeError, match=r"toy\.cu, names: expected step, finish; got step"):
        Program(TOY, Variant(), {"step": HostKernel(), "other": HostKernel()})


@pytest.mark.parametrize("count", [0, 4, 6])
def test_a_wrong_number_of_arguments_is_refused(count):
    program = make_program()
    args = (*make_args(program), None)[:count]
    message = rf"kernel step, args: expected 5 \(outer, theta, feature, n, rate\); got {count}"
    with pytest.raises(TypeError, match=message):
        program.launch("step", (1,), (1,), args)


@pytest.mark.parametrize(
    "grid, block, shared, what",
    [
        ((0,), (1,), 0, "grid"),
        ((2**31,), (1,), 0, "grid"),
        ((1, 65536), (1,), 0, "grid"),
        ((1, 1, 65536), (1,), 0, "grid"),
        ((1, 1, 1, 1), (1,), 0, "grid"),
        ((), (1,), 0, "grid"),
        (1, (1,), 0, "grid"),
        ((1.0,), (1,), 0, "grid"),
        ((1,), (1025,), 0, "block"),
        ((1,), (0,), 0, "block"),
        ((1,), (1, 1, 65), 0, "block"),
        ((1,), (33, 32), 0, "block"),
        ((1,), 32, 0, "block"),
        ((1,), (1,), -1, "shared"),
        ((1,), (1,), 1.0, "shared"),
    ],
)
def test_a_wrong_shape_is_refused(grid, block, shared, what):
    program = make_program()
    with pytest.raises(TypeError, match=f"toy.cu, kernel step, {what}: expected"):
        program.launch("step", grid, block, make_args(program), shared)
    assert not program.raw["step"].calls


# Numbers


@pytest.mark.parametrize("number", [np.float32(0.1), np.float16(0.1), np.int8(-3), True, math.inf, 5e-324])
def test_numbers_of_other_types_are_taken_when_they_are_the_same(number):
    got = convert(number, np.dtype("float64"))
    assert type(got) is np.float64
    assert float(got) == float(number)


def test_a_packed_struct_fits_another_program_of_the_same_types():
    sharing = Source("other.cu", TOY.text + 'extern "C" __global__ void other(Inner inner) {}\n')
    inner = make_program(Variant(k=4)).struct("Inner", count=1, loss=None)
    raw = {name: HostKernel() for name in sharing.kernels}
    Program(sharing, Variant(k=8), raw).launch("other", (1,), (1,), (inner,))
    assert raw["other"].calls[0][2] == (inner.block,)
    grown = Source("grown.cu", sharing.text.replace("int count;", "long long count;\n    int more;"))
    with pytest.raises(TypeError, match="kernel other, inner: expected struct Inner"):
        Program(grown, Variant(k=8), raw).launch("other", (1,), (1,), (inner,))


def test_a_struct_of_the_same_layout_is_another_struct():
    twin = Source(
        "twin.cu", TOY.text + 'struct Twin {\n    real* V;\n};\nextern "C" __global__ void use(Twin twin) {}\n'
    )
    program = Program(twin, FLOAT32, {name: HostKernel() for name in twin.kernels})
    with pytest.raises(TypeError, match="twin: expected struct Twin for float32, int32; got struct Pointers"):
        program.launch("use", (1,), (1,), (program.struct("Pointers", theta=None),))
