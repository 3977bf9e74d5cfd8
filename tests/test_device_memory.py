"""The memory that is foretold is the memory that is taken, to the byte where rows are alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cuda_host.device import host_backend
from cuda_host.loader import compiler
from engine_data import FIELD_SIZE, N_FIELDS, RULES, Spec, load, make_problem
from pages import fences, run_doctest

import fwfm_gpu
from fwfm_gpu import FieldMatrix, estimate_memory, train, training
from fwfm_gpu.backends import cuda, cuda_memory, cuda_plan, cuda_resident
from fwfm_gpu.backends.cuda_memory import Budget
from fwfm_gpu.backends.cuda_step import Run
from fwfm_gpu.backends.kernel_arguments import Packed
from fwfm_gpu.cuda_sources import read_source
from fwfm_gpu.device_memory import MemoryEstimate
from fwfm_gpu.errors import OptionError
from fwfm_gpu.optimizers import Adam

needs_compiler = pytest.mark.skipif(
    compiler() is None, reason="g++ is missing: kernels cannot be compiled for the host"
)

SPEC = Spec(pattern="alike", rows=700, batch_size=600, k=4)  # more items than HOT, and than a tile of the sort


def find_arrays(thing: object) -> Iterator[np.ndarray]:
    """An array itself; of a struct, those that it points to."""
    if isinstance(thing, np.ndarray):
        yield thing
    for member in thing.kept if isinstance(thing, Packed) else ():
        yield from find_arrays(member)


def bytes_of(*things: object) -> int:
    """Bytes of all arrays, each counted once."""
    arrays = {array.ctypes.data: array.nbytes for thing in things for array in find_arrays(thing) if array.nbytes}
    return sum(arrays.values())


def begin(problem: dict) -> Run:
    """A run on the host, with blocks as large as a GPU's sort has them."""
    backend = host_backend(most_threads=128)
    data, model = load(backend, problem)
    return backend.begin(model, data, problem["orders"][0])


def estimate(spec: Spec, problem: dict, **sizes: object) -> MemoryEstimate:
    """What is foretold of a problem."""
    sizes = {"all_ones": spec.values == "ones", "sample_weight": spec.weighted, **sizes}
    return estimate_memory(
        spec.rows,
        len(problem["indices"]),
        N_FIELDS * FIELD_SIZE,
        spec.k,
        n_fields=N_FIELDS,
        n_classes=spec.n_classes,
        batch_size=spec.batch_size,
        optimizer=spec.rule,
        field_weights=spec.field_weights,
        dtype=spec.dtype,
        **sizes,
    )


def working_bytes(run: Run) -> int:
    """Both plans, the sort's scratch, the arrays between kernels and the table of slots."""
    stages = run.stages
    scratch = vars(stages.room.scratch).values()
    return bytes_of(*(plan.packed for plan in stages.plans), *scratch, stages.work, stages.coordinates.slots)


# ---- what is taken


@needs_compiler
@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        *(SPEC.but(rule=rule, weighted=True) for rule in RULES),
        SPEC.but(dtype="float64", values="ones"),
        SPEC.but(loss="softmax", n_classes=3, batch_size=65),
        SPEC.but(k=0),
        SPEC.but(field_weights="ones"),
        SPEC.but(pattern="alike-repeated"),
        SPEC.but(rows=1, batch_size=1),
    ],
    ids=str,
)
def test_rows_that_are_alike_take_what_is_foretold(spec):
    problem, shares = make_problem(spec), spec.pattern == "alike-repeated"
    run = begin(problem)
    told, stages = estimate(spec, problem, shares_fields=shares), run.stages
    # An end of indptr; the pattern, which only the host's look at the rows needs.
    assert bytes_of(stages.coordinates.rows, run.order) == told.rows + 8
    assert bytes_of(stages.coordinates.model) == told.model
    assert working_bytes(run) == told.work


@needs_compiler
@pytest.mark.parametrize("pattern", ["ragged", "ragged-repeated"])
def test_ragged_rows_take_no_more(pattern):
    spec = SPEC.but(pattern=pattern, batch_size=700)
    problem = make_problem(spec)
    longest, run = int(np.diff(problem["indptr"]).max()), begin(problem)
    told = estimate(spec, problem, longest_row=longest, shares_fields=pattern == "ragged-repeated")
    assert bytes_of(run.stages.coordinates.rows, run.order) == told.rows + 8
    # The mean length is rounded up: less than one item too many for each row.
    item = (working_bytes(run) - 16 * spec.rows) // len(problem["indices"])
    assert 0 <= told.work - working_bytes(run) < item * spec.rows


@needs_compiler
def test_what_is_not_counted_is_small():
    """The cursor, the loss, and Adam's tables, which end where their entries are 1 (numerics 2)."""
    spec = SPEC.but(rule="adam")
    stages = begin(make_problem(spec)).stages
    tables = bytes_of(stages.recipe)
    assert bytes_of(stages.coordinates.batch) - spec.rows * 8 == 4 * 8
    assert 0 < tables <= sum(table.nbytes for table in Adam(0.1).correction_tables(1 << 20, "float32")) < 160_000


@needs_compiler
@pytest.mark.parametrize("early_stopping", [False, True])
def test_copies_of_the_model_are_as_many_as_foretold(monkeypatch, early_stopping):
    alive, most = [0], [0]

    class Counted(cuda_resident.Model):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)
            alive[0] += 1
            most[0] = max(most[0], alive[0])

        def __del__(self) -> None:
            alive[0] -= 1

    for module in (cuda, cuda_resident):
        monkeypatch.setattr(module, "Model", Counted)
    monkeypatch.setattr(training, "get_backend", lambda *_: host_backend())
    ids, y = np.arange(400).reshape(200, 2) % 4, np.arange(200) % 2
    held = {"validation_fraction": 0.2, "patience": 3} if early_stopping else {}
    train(FieldMatrix.from_ids(ids, [4, 4]), y, epochs=4, device="cuda", progress=False, **held)
    told = estimate_memory(200, 400, 8, n_fields=2, early_stopping=early_stopping)
    assert most[0] == 1 + told.snapshots // told.model


def test_sizes_of_the_plan_are_those_of_the_kernels():
    constants = read_source("plan.cu").constants
    assert 1 << constants["DIGIT_BITS"] == cuda_memory.DIGITS
    assert cuda_plan.SORT_THREADS * constants["SORT_RUN"] == cuda_memory.SORT_TILE
    assert cuda_plan.HOT == cuda_memory.HOT


# ---- what is told

SIZES = {"rows": 1000, "nnz": 10_000, "n_features": 500, "n_factors": 8}
MORE = {"n_fields": 10, "n_classes": 2, "batch_size": 100}


def test_the_parts_add_up():
    told = estimate_memory(**SIZES, **MORE)
    assert told.total == told.rows + told.model + told.snapshots + told.work
    assert str(told).splitlines()[-1].split() == ["total", f"{told.total / 1e6:,.1f}", "MB"]


@pytest.mark.parametrize("name", [name for name in (*SIZES, *MORE) if name != "rows"])
def test_twice_of_anything_takes_more(name):
    sizes = SIZES | MORE
    sizes["longest_row"] = 20  # slots of R then have columns of their own
    small, large = estimate_memory(**sizes), estimate_memory(**sizes | {name: 2 * sizes[name]})
    assert large.total > small.total
    assert all(getattr(large, part) >= getattr(small, part) for part in ("rows", "model", "snapshots", "work"))


@pytest.mark.parametrize(
    "more",
    [
        {"sample_weight": True},
        {"early_stopping": True},
        {"shares_fields": True},
        {"dtype": "float64"},
        {"optimizer": "adam"},
        {"longest_row": 100},
        {"rows": 2000, "nnz": 20_000},
    ],
    ids=lambda more: ", ".join(more),
)
def test_whatever_asks_for_more_takes_more(more):
    assert estimate_memory(**SIZES | MORE | more).total > estimate_memory(**SIZES, **MORE).total


@pytest.mark.parametrize(
    "less", [{"all_ones": True}, {"field_weights": "ones"}, {"optimizer": "sgd"}, {"n_factors": 0}]
)
def test_whatever_asks_for_less_takes_less(less):
    assert estimate_memory(**SIZES | MORE | less).total < estimate_memory(**SIZES, **MORE).total


def test_a_batch_is_no_larger_than_the_rows():
    sizes = SIZES | MORE
    assert estimate_memory(**sizes | {"batch_size": 10**9}) == estimate_memory(**sizes | {"batch_size": 1000})


@pytest.mark.parametrize(("n_fields", "longest"), [(39, None), (39, 200), (300, None), (300, 1000)])
def test_tables_of_pairs_stay_within_their_budget(n_fields, longest):
    """All that grows with a batch is then rows and items (numerics 6)."""
    budget, told = Budget(), []
    for field_weights in ("ones", "learn"):
        sizes = {"n_fields": n_fields, "longest_row": longest, "field_weights": field_weights, "batch_size": 1 << 20}
        told.append(estimate_memory(1 << 20, n_fields << 20, 1000, 16, **sizes).work)
    columns = 4 * (n_fields**2 + (longest or n_fields) ** 2)  # sums, and marks
    assert 0 < told[1] - told[0] <= budget.pairs + budget.slots + 16 * ((1 << 20) + 1) + columns


def test_more_features_than_int32_counts_have_wider_numbers():
    edge = 2**31 - 1
    narrow, wide = (estimate_memory(100, 1000, n, 0, n_fields=10, all_ones=True) for n in (edge, edge + 1))
    assert wide.rows - narrow.rows == 1000 * 4 + 4


def test_nothing_but_rows_is_there_where_no_row_holds_anything():
    told = estimate_memory(10, 0, 1, 0, n_fields=1)
    assert told.rows == 10 * 24 + 4
    assert told.work > 0


@pytest.mark.parametrize("name", ["rows", "n_features", "n_fields", "n_classes", "batch_size"])
@pytest.mark.parametrize("value", [0, -1, 2.0, True, "8", None])
def test_a_bad_size_is_refused(name, value):
    with pytest.raises(OptionError, match=f"^{name} must be a whole number, 1 or above; got "):
        estimate_memory(**SIZES | MORE | {name: value})


@pytest.mark.parametrize("name", ["nnz", "n_factors", "longest_row"])
@pytest.mark.parametrize("value", [-1, 2.0, True, "8"])
def test_a_bad_count_is_refused(name, value):
    with pytest.raises(OptionError, match=f"^{name} must be a whole number, 0 or above; got "):
        estimate_memory(**SIZES | MORE | {name: value})


@pytest.mark.parametrize(("name", "value"), [("dtype", "float16"), ("optimizer", "lion"), ("field_weights", "none")])
def test_an_unknown_name_is_refused(name, value):
    with pytest.raises(OptionError, match=f"dtype must be 'float32' .*got .*{value}"):
        estimate_memory(**SIZES | MORE | {name: value})


def test_numbers_of_numpy_do_not_overflow():
    sizes = SIZES | MORE | {"nnz": 2**30, "rows": 2**20}
    narrow = {name: np.int32(size) for name, size in sizes.items()}
    assert fwfm_gpu.estimate_memory(**narrow) == estimate_memory(**sizes)


def test_the_guide_prints_what_is_told():
    page = (Path(__file__).parents[1] / "docs/guide/training-on-a-gpu.md").read_text("utf-8")
    (examples,) = [fence for fence in fences(page) if ">>>" in fence.text]
    run_doctest(examples, "guide", {})
