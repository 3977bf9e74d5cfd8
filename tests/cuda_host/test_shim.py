"""The host runner of kernels, proven with toys: arguments, barriers, orders, shared memory, faults that it names."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from cuda_host.loader import HostLoader, compile_text, compiler, open_cache, sanitizer_environment

from fwfm_gpu.cuda_sources import Variant, read_source

pytestmark = pytest.mark.skipif(compiler() is None, reason="kernels run on the CPU through g++, and there is none")

SEEDS = range(20)
REALS = ("float32", "float64")

HERE = Path(__file__).parent


def line_of(text):
    """The line of the toys that holds a text."""
    lines = (HERE / "toys.cu").read_text("utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def load(seed=0, real="float32"):
    """The toys."""
    return HostLoader(seed, folder=HERE)("toys.cu", Variant(real))


def hold_outer(real, places, values):
    """An ``Outer`` over two arrays."""
    outer = np.zeros(1, read_source("toys.cu", HERE).layout("Outer", Variant(real)))
    outer["scale"], outer["offset"], outer["shift"], outer["values"] = 0.5, 1, 0.25, values.ctypes.data
    outer["inner"]["rows"], outer["inner"]["places"] = len(places), places.ctypes.data
    return outer


@pytest.mark.parametrize("real", REALS)
def test_arguments_of_every_kind_arrive(real):
    T = np.dtype(real).type
    places, values, out = np.arange(100, dtype="i4")[::-1].copy(), np.arange(101, dtype=T), np.zeros(100, T)
    outer = hold_outer(real, places, values)
    args = (outer, out, None, np.int32(99), np.int64(2**33), T(0.125), np.float64(3))
    load(real=real)["arguments"]((2,), (64,), args)
    wanted = (0.5 * values[1 + places].astype(float) + 0.25 + 2**33 + 0.125 + 3).astype(T)
    wanted[99] = 0  # n is 99
    np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_thread_of_every_block_runs_once_and_knows_its_place(seed):
    out = np.zeros((24, 4, 3, 5), "u4")
    load(seed)["places"]((2, 3, 4), (5, 3, 4), (out,))
    block, z, y, x = np.indices(out.shape)
    np.testing.assert_array_equal(out, block * 1000 + x + 10 * y + 100 * z + 1000000 * z)


@pytest.mark.parametrize("threads", [1, 32, 1024])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_barrier_orders_writes(seed, threads):
    out = np.zeros((3, threads), "i4")
    load(seed)["reverse"]((1,), (threads,), (out,), shared_mem=4 * threads)
    np.testing.assert_array_equal(out, [np.arange(threads)[::-1] + 10000 * turn for turn in range(3)])


def reduce_blocks(kernels, wait):
    values, sums = np.arange(5 * 64, dtype="i4"), np.zeros(5, "i4")
    kernels["reduce"]((5,), (64,), (values, sums, np.int32(wait)), shared_mem=4 * 64)
    return sums.tolist(), values.reshape(5, 64).sum(1).tolist()


def test_a_random_order_shows_that_barriers_are_missing():
    for seed in SEEDS:
        got, wanted = reduce_blocks(load(seed), wait=1)
        assert got == wanted
    wrong = [seed for seed in SEEDS if np.not_equal(*reduce_blocks(load(seed), wait=0)).any()]
    assert wrong and 0 not in wrong


def test_one_seed_is_one_order_and_every_launch_has_another():
    def arrive(seed):
        kernel, orders = load(seed)["arrive"], []
        for _ in range(2):
            orders.append(np.zeros(2 * 3 * 40, "i4"))
            kernel((3,), (40,), (np.zeros(1, "i4"), orders[-1]))
        return orders

    first, again, other = arrive(5), arrive(5), arrive(6)
    np.testing.assert_array_equal(first, again)
    assert (first[0] != first[1]).any() and (first[0] != other[0]).any()
    for order in first:
        halves = order.reshape(3, 2, 40)
        np.testing.assert_array_equal(np.sort(halves), np.broadcast_to(np.sort(halves[:, :1]), halves.shape))
        assert (halves[:, 0] != halves[:, 1]).any()  # the barrier draws anew
        assert sorted(halves[:, 0, 0] // 40) == [0, 1, 2]
    launched = np.arange(3 * 40).reshape(3, 1, 40).repeat(2, axis=1).ravel()
    for order in arrive(0):
        np.testing.assert_array_equal(order, launched)


def test_atomics_count():
    i, u, wide = np.zeros(1, "i4"), np.zeros(1, "u4"), np.zeros(1, "u8")
    top, bottom, low = np.zeros(1, "i4"), np.zeros(1, "i4"), np.zeros(1, "i8")
    load(1)["count"]((7,), (33,), (i, u, wide, top, bottom, low))
    assert [a.item() for a in (i, u, wide, top, bottom, low)] == [-231, 462, 231 << 40, 230, -230, -230 << 40]


@pytest.mark.parametrize("seed", [0, 1])
def test_every_block_begins_with_poisoned_shared_memory(seed):
    out = np.zeros((3, 100), "u1")
    load(seed)["copy_shared"]((3,), (32,), (out, np.int32(100)), shared_mem=100)
    assert (out == 0xFF).all()


def test_bits_and_roots():
    out = np.zeros(5, "i8")
    load()["bits"]((1,), (1,), (np.array([-4.4, 9]), np.array([2, np.inf], "f4"), out))
    assert out[:2].view("f8").tolist() == [2, 3]
    assert out[2] == np.sqrt(np.float32(2)).view("i4") and out[3:].tolist() == [1, 1]


def test_threads_that_do_not_meet_are_named_and_the_next_launch_is_well():
    kernels, out = load(), np.zeros(32, "i4")
    line = line_of("out[threadIdx.x] = 1") - 1
    with pytest.raises(RuntimeError, match=rf"part: block \(0, 0, 0\): 5 of 32 threads finished .* toys.cu:{line}$"):
        kernels["part"]((2,), (32,), (np.int32(5), out))
    assert not out.any()
    kernels["part"]((2,), (32,), (np.int32(0), out))
    assert out.all()
    with pytest.raises(RuntimeError, match=r"meet_apart: .* different barriers, those of toys.cu:\d+ and toys.cu:\d+$"):
        kernels["meet_apart"]((1,), (2,), ())


@pytest.mark.parametrize(
    "grid, block, shared, words",
    [
        ((1,), (1025,), 0, "expected a block of 1 to"),
        ((1,), (33, 32), 0, "expected at most 1024 threads a block, got 1056"),
        ((1,), (1, 1, 65), 0, "expected a block of 1 to"),
        ((1,), (0,), 0, "expected a block of 1 to"),
        ((0,), (1,), 0, "expected a grid of 1 to"),
        ((), (1,), 0, "expected a grid of 1 to"),
        ((1, 1, 1, 1), (1,), 0, "expected a grid of 1 to"),
        ((2**31,), (1,), 0, "expected a grid of 1 to"),
        ((1, 65536), (1,), 0, "expected a grid of 1 to"),
        ((1, 1, 65536), (1,), 0, "expected a grid of 1 to"),
        ((1,), (1,), 48 * 1024 + 1, "expected at most 49152 bytes of shared memory, got 49153"),
    ],
)
def test_a_shape_that_no_gpu_takes_is_refused(grid, block, shared, words):
    with pytest.raises(RuntimeError, match=f"toys.cu: places: {words}"):
        load()["places"](grid, block, (np.zeros(2000, "u4"),), shared_mem=shared)


def test_launch_bounds_are_kept():
    args = (hold_outer("float32", np.zeros(1, "i4"), np.zeros(2, "f4")), np.zeros(1, "f4"), None)
    args += (np.int32(1), np.int64(0), np.float32(0), np.float64(0))
    with pytest.raises(RuntimeError, match="arguments: its __launch_bounds__ allow 64 threads a block, got 65"):
        load()["arguments"]((1,), (65,), args)


def test_more_shared_memory_is_asked_for_first():
    kernel, out = load()["copy_shared"], np.zeros(50_000, "u1")
    kernel.max_dynamic_shared_size_bytes = 50_000
    kernel((1,), (32,), (out, np.int32(50_000)), shared_mem=50_000)
    assert (out == 0xFF).all()


def test_arguments_that_do_not_fit_are_refused():
    out = np.zeros(4, "f4")
    good = [hold_outer("float32", np.zeros(1, "i4"), np.zeros(2, "f4")), out, None]
    good += [np.int32(1), np.int64(0), np.float32(0), np.float64(0)]
    kernel = load()["arguments"]
    kernel((1,), (1,), tuple(good))
    bad = [
        (0, out, "outer: expected an array of shape .1,. that holds the struct .* got ndarray of float32"),
        (0, np.zeros(1, [("scale", "f4")]), "outer: expected an array"),
        (0, np.zeros(2, good[0].dtype), "outer: expected an array"),
        (1, np.float32(1), "out: expected an array or None for a pointer, got float32 of float32"),
        (1, good[0], "out: expected an array or None for a pointer"),
        (3, 1, "n: expected a NumPy scalar of int32, got int$"),
        (3, np.int64(1), "n: expected a NumPy scalar of int32, got int64 of int64"),
        (3, np.float32(1), "n: expected a NumPy scalar of int32"),
        (3, np.zeros(1, "i4"), "n: expected a NumPy scalar of int32"),
        (4, np.int32(1), "big: expected a NumPy scalar of int64"),
        (5, np.float64(1), "r: expected a NumPy scalar of float32"),
    ]
    for place, value, words in bad:
        args = [*good[:place], value, *good[place + 1 :]]
        with pytest.raises(RuntimeError, match=f"toys.cu: arguments: argument {words}"):
            kernel((1,), (1,), tuple(args))
    with pytest.raises(RuntimeError, match=r"expected 7 arguments \(outer, out, absent, n, big, r, d\), got 6"):
        kernel((1,), (1,), tuple(good[:-1]))


@pytest.mark.parametrize("real", REALS)
def test_a_compile_error_names_our_file_and_line(tmp_path, real):
    (tmp_path / "part.cuh").write_text("struct Pair {\n    int a;\n};\n", "utf-8")
    (tmp_path / "bad.cu").write_text(
        '#include "part.cuh"\n\nextern "C" __global__ void bad(int n)\n{\n    missing(n);\n}\n', "utf-8"
    )
    with pytest.raises(RuntimeError, match=r"bad\.cu:5:5: error: .*missing"):
        HostLoader(folder=tmp_path)("bad.cu", Variant(real))


def test_what_the_kernels_may_not_use_does_not_compile(tmp_path):
    for number, statement in enumerate(["__shared__ int a[4];", "__syncwarp();", "n = (int)min(1.0f, 2.0f);"]):
        text = f'extern "C" __global__ void bad(int n)\n{{\n    {statement}\n}}\n'
        (tmp_path / f"bad{number}.cu").write_text(text, "utf-8")
        with pytest.raises(RuntimeError, match=rf"bad{number}\.cu:3:\d+: error"):
            HostLoader(folder=tmp_path)(f"bad{number}.cu", Variant())


def test_a_layout_that_is_not_the_compilers_does_not_compile(tmp_path):
    text = "#pragma pack(1)\nstruct Pair {\n    int a;\n    double b;\n};\n"
    text += 'extern "C" __global__ void bad(const Pair pair) {}\n'
    (tmp_path / "bad.cu").write_text(text, "utf-8")
    with pytest.raises(RuntimeError, match=r"launchers:1:.* static assertion failed"):
        HostLoader(folder=tmp_path)("bad.cu", Variant())


def test_two_that_compile_one_text_leave_one_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with ThreadPoolExecutor(2) as pool:
        paths = set(pool.map(lambda _: compile_text("int one;", "one", ("-c",)), range(2)))
    assert [*open_cache().iterdir()] == [*paths]
    assert open_cache().stat().st_mode & 0o777 == 0o700
    assert compile_text("int two;", "one", ("-c",)) not in paths
    assert compile_text("int one;", "one", ("-c", "-g")) not in paths


def test_a_cache_that_others_may_write_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    open_cache().chmod(0o770)
    with pytest.raises(RuntimeError, match="mode 0700 and yours"):
        open_cache()


SANITISED = """\
import sys
from pathlib import Path
import numpy as np
from cuda_host.loader import HostLoader
from fwfm_gpu.cuda_sources import Variant

kernels = HostLoader(seed=3, sanitize=True, folder=Path(sys.argv[1]))("toys.cu", Variant())
"""


@pytest.fixture(scope="module")
def run_sanitised():
    """Runs a statement on sanitised kernels in another process: its exit status and what it wrote to stderr."""
    try:
        environment = sanitizer_environment()
    except RuntimeError as error:
        pytest.skip(str(error))
    environment["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), *sys.path])

    def run(statement):
        command = [sys.executable, "-c", SANITISED + statement, str(HERE)]
        done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
        return done.returncode, done.stderr

    return run


def test_a_sound_kernel_passes_the_sanitizers(run_sanitised):
    statement = """
for _ in range(2):
    values, sums = np.arange(4096, dtype="i4"), np.zeros(4, "i4")
    kernels["reduce"]((4,), (1024,), (values, sums, np.int32(1)), shared_mem=4096)
    assert (sums == values.reshape(4, -1).sum(1)).all()
kernels["read_global"]((1,), (1,), (np.zeros(10, "f4"), np.zeros(1, "f4"), np.int32(9)))
kernels["write_shared"]((2,), (32,), (np.int32(0),), shared_mem=32)
kernels["add_int"]((1,), (1,), (np.full(1, 2**31 - 2, "i4"), np.int32(1)))
try:
    kernels["part"]((2,), (32,), (np.int32(5), np.zeros(32, "i4")))
except RuntimeError as error:
    assert "5 of 32" in str(error)
kernels["part"]((2,), (32,), (np.int32(0), np.zeros(32, "i4")))
"""
    assert run_sanitised(statement) == (0, "")


@pytest.mark.parametrize(
    "statement, words, line",
    [
        (
            'kernels["read_global"]((1,), (1,), (np.zeros(10, "f4"), np.zeros(1, "f4"), np.int32(10)))',
            "heap-buffer-overflow",
            "void read_global",
        ),
        (
            'kernels["write_shared"]((2,), (32,), (np.int32(1),), shared_mem=32)',
            "heap-buffer-overflow",
            "buffer[i + threadIdx.x]",
        ),
        (
            'kernels["add_int"]((1,), (1,), (np.full(1, 2**31 - 1, "i4"), np.int32(1)))',
            "signed integer overflow",
            "void add_int",
        ),
    ],
)
def test_the_sanitizers_name_a_fault_and_its_line(run_sanitised, statement, words, line):
    status, message = run_sanitised(statement)
    assert status != 0
    assert words in message and f"toys.cu:{line_of(line)}" in message


def test_a_sanitised_build_needs_its_environment(monkeypatch):
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    with pytest.raises(RuntimeError, match="sanitizer_environment"):
        HostLoader(sanitize=True)
