"""A fault planted in the real kernels is caught: a barrier taken away, a sum in another order, a double for a T.

Each fault is compiled and run in a process of its own: one that lacks a barrier may write anywhere.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from cuda_host.device import HostDevice
from cuda_host.loader import HostLoader, compiler
from engine_data import VECTORS

from fwfm_gpu.backends.cuda import CudaBackend
from fwfm_gpu.cuda_sources import source_folder
from fwfm_gpu.verify import verify_vector

pytestmark = pytest.mark.skipif(compiler() is None, reason="kernels run on the CPU through g++, and there is none")

SEEDS = range(1, 21)  # of random orders: a barrier's absence shows in one of them
EQUAL, DIFFERS, REFUSED = 0, 10, 11  # how the process of a fault ends; one that crashes ends by a signal: caught, too

# What exercises every kernel of a file.
EXERCISES = {
    "plan.cu": ("softmax-adagrad-float64", "odd-hot-feature"),
    "long_rows.cuh": ("odd-rows-of-64-and-65", "odd-wide-rows", "softmax-sgd-float32"),
    "rows.cu": ("logistic-ftrl-float64", "softmax-sgd-float32", "odd-rows-of-64-and-65", "odd-wide-rows"),
    "slots.cuh": ("softmax-adagrad-float64", "odd-hot-feature", "logistic-ftrl-float64"),
    "coordinates.cu": ("softmax-adagrad-float64", "odd-hot-feature", "logistic-ftrl-float64"),
}


def run_vectors(folder: Path, seeds: range, names: list[str]) -> int:
    """Run vectors, all where none is named, on the kernels of a folder until one shows a fault."""
    vectors = [path for path in VECTORS if not names or path.stem in names]
    for seed in seeds:
        backend = CudaBackend(HostDevice(HostLoader(seed, folder=folder)))
        for path in vectors:
            try:
                difference = verify_vector(backend, path)
            except RuntimeError as error:
                tell(f"seed {seed}, {path.stem}: {error}")
                return REFUSED
            if difference is not None:
                tell(f"seed {seed}, {path.stem}: {difference}")
                return DIFFERS
    return EQUAL


def tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")


PROGRAM = """
import sys
from pathlib import Path
from cuda_host.test_planted_faults import run_vectors
folder, first, last, *names = sys.argv[1:]
sys.exit(run_vectors(Path(folder), range(int(first), int(last)), names))
"""


def run_apart(folder: Path, seeds: range, names) -> tuple[int, str]:
    """`run_vectors` in another process: its exit status and what it wrote."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", PROGRAM, str(folder), str(seeds.start), str(seeds.stop), *names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (EQUAL, DIFFERS, REFUSED) or done.returncode < 0, done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def sources(tmp_path):
    """A copy of the sources, to be spoiled."""
    return Path(shutil.copytree(source_folder(), tmp_path / "cuda"))


def test_nothing_is_found_where_nothing_is_planted(sources):
    names = sorted({name for exercise in EXERCISES.values() for name in exercise})
    assert run_apart(sources, range(3), names) == (EQUAL, "")


# ---- barriers

BARRIER = "__syncthreads();"
FUNCTION = re.compile(r"^(?=\w).*?\b(\w+)\(", re.MULTILINE)  # the last match before a place is the function around it


def find_barriers() -> dict[str, tuple[str, int]]:
    """File and place of every barrier, by file, function and number in it."""
    found: dict[str, tuple[str, int]] = {}
    for file in EXERCISES:
        text = (source_folder() / file).read_text("utf-8")
        for barrier in re.finditer(re.escape(BARRIER), text):
            function = FUNCTION.findall(text, 0, barrier.start())[-1]
            number = sum(name.startswith(f"{file} {function} ") for name in found)
            found[f"{file} {function} {number}"] = (file, barrier.start())
    return found


BARRIERS = find_barriers()


def test_only_these_files_hold_barriers():
    holding = {path.name for path in source_folder().glob("*.cu*") if "__syncthreads" in path.read_text("utf-8")}
    assert holding == set(EXERCISES)


@pytest.mark.parametrize("name", BARRIERS)
def test_a_barrier_taken_away_is_caught(sources, name):
    file, place = BARRIERS[name]
    text = (sources / file).read_text("utf-8")
    (sources / file).write_text(f"{text[:place]};{text[place + len(BARRIER) :]}", "utf-8")
    status, told = run_apart(sources, SEEDS, EXERCISES[file])
    assert status != EQUAL, told


# ---- sums in another order, and doubles


@dataclass(frozen=True)
class Fault:
    """A text of a file, and what is planted in its place."""

    file: str
    found: str
    planted: str


ROWS, COORDINATES = "rows.cu", "coordinates.cu"
LONG_ROWS, SLOTS = "long_rows.cuh", "slots.cuh"
OPTIMIZERS = "optimizers.cuh"
LAST_IN_TILE = "(blocks - first < blockDim.x ? blocks - first : blockDim.x) - 1"

FAULTS = {
    "exp64: the remainder at once": Fault(
        "numerics.cuh", "(x - n * LN2_HIGH) - n * LN2_LOW", "x - (n * LN2_HIGH + n * LN2_LOW)"
    ),
    "softmax_sums: classes downwards": Fault(
        "losses.cuh",
        "c = 0; c < n_classes; ++c) sums.total",
        "c = n_classes - 1; c >= 0; --c) sums.total",
    ),
    "scatter_digits: a run downwards": Fault(
        "plan.cu",
        "const long long place = first + i;\n        if (place >= items) return;",
        "const long long place = first + SORT_RUN - 1 - i;\n        if (place >= items) continue;",
    ),
    "put_pair: values first": Fault(ROWS, "((r * d) * table.x[a]) * table.x[b]", "(r * d) * (table.x[a] * table.x[b])"),
    "long_score: values first": Fault(LONG_ROWS, "((r * d) * a.x) * b.x", "(r * d) * (a.x * b.x)"),
    "advance_dots: factors downwards": Fault(
        ROWS, "i = 0; i < 4; ++i) {\n        d[0]", "i = 3; i >= 0; --i) {\n        d[0]"
    ),
    "add_in_order: two terms swapped": Fault(
        "rows.cuh",
        "s = s + four.x[0];\n        s = s + four.x[1];",
        "s = s + four.x[1];\n        s = s + four.x[0];",
    ),
    "put_q: values first": Fault(ROWS, "(g * table.x[a]) * table.x[b]", "g * (table.x[a] * table.x[b])"),
    "q_at: the later value first": Fault(LONG_ROWS, "((g * a.x) * b.x) *", "((g * b.x) * a.x) *"),
    "sum_factors: b downwards": Fault(ROWS, "b = 0; b < z; ++b", "b = z - 1; b >= 0; --b"),
    "sum_long_factors: a tile downwards": Fault(
        LONG_ROWS,
        "j = 0; owns && j < LONG_COLUMNS && lo + j < row.z; ++j)",
        "j = (row.z - lo < LONG_COLUMNS ? row.z - lo : LONG_COLUMNS) - 1; owns && j >= 0; --j)",
    ),
    "pattern_slot_sums: rows downwards": Fault(
        SLOTS, "pair_b[b * (long long)slots.columns]", "pair_b[(count - 1 - b) * (long long)slots.columns]"
    ),
    "sum_shared_slot: a run downwards": Fault(
        SLOTS, "rank = from; rank < to; ++rank", "rank = to - 1; rank >= from; --rank"
    ),
    "walked_slot_sums: rows downwards": Fault(
        SLOTS, "b = first < lo ? lo : first; b < last; ++b", "b = last - 1; b >= (first < lo ? lo : first); --b"
    ),
    "slot_totals: blocks downwards": Fault(
        SLOTS, "block_s[block * slots.columns]", "block_s[(blocks_of(last - group) - 1 - block) * slots.columns]"
    ),
    "slot_update: times the reciprocal": Fault(SLOTS, "*sum / (real)rows", "*sum * (real(1) / (real)rows)"),
    "sum_by_blocks: no blocks": Fault(COORDINATES, "if (block != open)", "if (false)"),
    "hot_feature_sums: blocks downwards": Fault(
        COORDINATES,
        "total.v + block_v[y * blockDim.x + threadIdx.x]",
        "total.v + block_v[(blockDim.y - 1 - y) * blockDim.x + threadIdx.x]",
    ),
    "hot_feature_sums: blocks of w downwards": Fault(
        COORDINATES, "total.w + block_w[y]", "total.w + block_w[blockDim.y - 1 - y]"
    ),
    "bias_block_sums: rows downwards": Fault(COORDINATES, "sum + g[b]", "sum + g[count - 1 - b]"),
    "sum_blocks: blocks downwards": Fault(COORDINATES, "sum + tile[i]", f"sum + tile[{LAST_IN_TILE} - i]"),
    "put_pair: a double": Fault(ROWS, "((r * d) * table.x[a]) *", "((1.0 * r * d) * table.x[a]) *"),
    "sum_factors: a double": Fault(ROWS, "gV[i] + four.x[i] * v", "gV[i] + 1.0 * four.x[i] * v"),
    "sgd: a double": Fault(OPTIMIZERS, "- h.learning_rate * g;", "- 1.0 * h.learning_rate * g;"),
    "adagrad: a double": Fault(OPTIMIZERS, "h.adagrad_epsilon", "1e-10"),
    "adam: a double": Fault(OPTIMIZERS, "h.beta_1 * at.first +", "1.0 * h.beta_1 * at.first +"),
    "ftrl: a double": Fault(OPTIMIZERS, "n + g * g;", "n + 1.0 * g * g;"),
}


def plant(path: Path, found: str, planted: str) -> None:
    """Change a text that stands in a file once."""
    text = path.read_text("utf-8")
    assert text.count(found) == 1, f"{path.name} holds {found!r} {text.count(found)} times"
    path.write_text(text.replace(found, planted), "utf-8")


@pytest.mark.parametrize("name", FAULTS)
def test_another_order_or_a_double_is_caught(sources, name):
    fault = FAULTS[name]
    plant(sources / fault.file, fault.found, fault.planted)
    status, told = run_apart(sources, range(1), ())
    assert status == DIFFERS, told
