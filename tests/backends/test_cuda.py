"""The host side of the CUDA engine: cuts, sizes, plans, 64-bit offsets, counts, and what a bad batch leaves."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from cuda_host.device import host_backend
from cuda_host.loader import compiler
from engine_data import (
    DTYPES,
    PATTERNS,
    SPOILS,
    Spec,
    assert_same_bits,
    drive,
    expected,
    fetch,
    load,
    make_problem,
    spoil_row,
    start_of,
)

from fwfm_gpu.backends import cuda, cuda_coordinates, cuda_memory, cuda_plan, cuda_rows, get_backend
from fwfm_gpu.backends.cuda_coordinates import cut_batch
from fwfm_gpu.backends.cuda_device import Kernels
from fwfm_gpu.backends.cuda_memory import (
    Bounds,
    Budget,
    Shape,
    Sizes,
    batch_items,
    largest_batch,
    longest_row,
    make_sizes,
    row_bytes,
    work_bytes,
)
from fwfm_gpu.backends.cuda_plan import Plan, Planner, allocate_plan, allocate_scratch
from fwfm_gpu.backends.cuda_resident import Model, pack_rows
from fwfm_gpu.backends.cuda_step import Cursor, Run
from fwfm_gpu.errors import DeviceMemoryError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.numerics import ROW_BLOCK
from fwfm_gpu.parameters import Counts, Parameters
from fwfm_gpu.verify import train_epoch, vector_recipe

needs_compiler = pytest.mark.skipif(
    compiler() is None, reason="g++ is missing: kernels cannot be compiled for the host"
)

# ---- sizes


def random_bounds(generator: np.random.Generator) -> tuple[Shape, Budget, Bounds]:
    """A model's shape, tight or ample bounds on tables, and batches; some without any slots."""
    longest, rows = int(generator.integers(0, 40)), int(generator.integers(1, 700))
    alike = bool(generator.integers(2))
    n_fields = int(generator.integers(max(1, longest), 50)) if alike else int(generator.integers(1, 50))
    k, C = int(generator.integers(0, 5)), int(generator.integers(1, 4))
    shape = Shape(1000, n_fields, k, C, str(generator.choice(DTYPES)), "int32", k > 0 and bool(generator.integers(4)))
    budget = Budget(*(int(2.0 ** generator.uniform(0, 24)) for _ in range(2)))
    return shape, budget, Bounds(rows, int(rows * longest * generator.uniform(0.3, 1)), longest, alike)


@pytest.mark.parametrize("seed", range(200))
def test_tables_of_slots_stay_within_their_budget(seed):
    shape, budget, bounds = random_bounds(np.random.default_rng(seed))
    sizes = make_sizes(shape, budget, bounds)
    pairs = bounds.longest * (bounds.longest - 1) // 2
    assert (sizes.rows, sizes.items) == (bounds.rows, bounds.items)
    if not shape.sums_slots or pairs == 0:
        assert (sizes.pairs, sizes.blocks, sizes.columns, sizes.pattern) == (0, 0, 0, False)
        return
    entry = shape.itemsize * shape.n_classes
    assert pairs <= sizes.pairs <= bounds.rows * pairs
    assert sizes.pairs * entry <= budget.pairs or sizes.pairs == pairs  # or one row, at the least
    assert sizes.columns == (pairs if sizes.pattern else shape.n_fields**2)
    assert sizes.blocks * sizes.columns * entry <= budget.slots or sizes.blocks == 1  # or one row block
    assert 1 <= sizes.blocks <= -(-bounds.rows // ROW_BLOCK)
    block_fits = min(bounds.rows, ROW_BLOCK) * pairs * entry <= budget.pairs
    assert sizes.pattern == (bounds.alike and block_fits)
    if sizes.pattern:  # a group is one chunk
        assert sizes.pairs == min(bounds.rows, sizes.blocks * ROW_BLOCK) * pairs


@pytest.mark.parametrize("seed", range(200))
def test_the_largest_batch_fits_and_the_next_does_not(seed):
    generator = np.random.default_rng(seed)
    shape, budget, bounds = random_bounds(generator)
    free = int(work_bytes(shape, make_sizes(shape, budget, bounds)) * generator.uniform(0, 1.2))

    def needed(rows: int) -> int:
        part = replace(bounds, rows=rows, items=-(-bounds.items * rows // bounds.rows))
        return work_bytes(shape, make_sizes(shape, budget, part))

    most = largest_batch(shape, budget, bounds, free)
    assert most == 0 or needed(most) <= free
    assert most == bounds.rows or needed(most + 1) > free


@pytest.mark.parametrize("real, index, k", [*product(DTYPES, ("int32", "int64"), (0, 3, 16, 256))])
def test_the_longest_row_is_the_longest_that_fits(real, index, k):
    shape = Shape(100, 5, k, 1, real, index)
    for longest, shared in product((0, 5, 64, 1000), (0, 200, 5000, 48 * 1024, 227 * 1024)):
        fit = [z for z in range(1, min(longest, 64) + 1) if row_bytes(z, shape) <= shared]
        assert longest_row(shape, longest, shared) == max(fit, default=0)


@pytest.mark.parametrize("seed", range(50))
def test_batch_items_are_those_of_the_fullest_batch(seed):
    generator = np.random.default_rng(seed)
    rows = int(generator.integers(0, 40))
    lengths = generator.integers(generator.integers(1, 5), size=rows)
    order = generator.permutation(rows)[: generator.integers(rows + 1)] if seed % 3 else None
    visited = lengths if order is None else lengths[order]
    for size in (1, 2, 7, 64):
        batches = [visited[lo : lo + size] for lo in range(0, len(visited), size)]
        if len(visited):
            assert batch_items(lengths, order, size) == max(int(batch.sum()) for batch in batches)


@pytest.mark.parametrize("seed", range(200))
def test_groups_and_chunks_cover_the_batch_within_their_tables(seed):
    generator = np.random.default_rng(seed)
    lengths = generator.integers(generator.integers(1, 30), size=generator.integers(1, 400))
    pairs = lengths * (lengths - 1) // 2
    sizes = Sizes(len(lengths), int(lengths.sum()), int(2.0 ** generator.uniform(0, 14)), seed % 5 + 1, 9, seed % 2 > 0)
    groups = cut_batch(lengths, sizes)
    ends = [group.hi for group in groups]
    assert [group.lo for group in groups] == [0, *ends[:-1]]
    assert ends[-1] == len(lengths)
    for group in groups:
        assert group.lo % ROW_BLOCK == 0
        assert group.hi - group.lo == min(sizes.blocks * ROW_BLOCK, len(lengths) - group.lo)
        assert [lo for lo, _ in group.chunks] == [group.lo, *(hi for _, hi in group.chunks[:-1])]
        assert group.chunks[-1][1] == group.hi
        for lo, hi in group.chunks if not sizes.pattern else ():
            assert pairs[lo:hi].sum() <= sizes.pairs or hi == lo + 1  # a row may be larger than the table
            assert hi == group.hi or pairs[lo : hi + 1].sum() > sizes.pairs  # and no chunk is shorter than need be
        assert len(group.chunks) == 1 or not sizes.pattern


def test_a_batch_without_slots_is_one_chunk():
    assert cut_batch(np.full(300, 9), Sizes(300, 2700, 0, 0, 0, False)) == [cuda_coordinates.Group(0, 300, ((0, 300),))]


BOUNDS = {
    "MOST_STAGED": (0, 3),  # nearly every row is a long one
    "MOST_BLOCKS": (1, 2),
    "HOT": (1, 9),
}


@needs_compiler
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name, bound", [(name, bound) for name, bounds in BOUNDS.items() for bound in bounds])
def test_small_bounds_change_no_bit(monkeypatch, name, bound, pattern):
    homes = [home for home in (cuda_coordinates, cuda_memory, cuda_plan, cuda_rows) if hasattr(home, name)]
    assert homes
    for home in homes:
        monkeypatch.setattr(home, name, bound)
    spec = Spec(pattern=pattern, rows=200, batch_size=150, rule="ftrl", seed=2)
    assert_same_bits(drive(host_backend(seed=bound + 1), make_problem(spec)), expected(spec))


@needs_compiler
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("budget", [Budget(1, 1), Budget(1, 1 << 28), Budget(400, 300), Budget(1 << 15, 100)], ids=str)
def test_small_tables_change_no_bit(budget, pattern, classes):
    loss = "softmax" if classes > 1 else "logistic"
    spec = Spec(pattern=pattern, rows=200, batch_size=150, loss=loss, n_classes=classes, rule="adam", seed=3)
    assert_same_bits(drive(host_backend(4, budget), make_problem(spec)), expected(spec))


@needs_compiler
@pytest.mark.parametrize("most", [1, 50])
def test_scores_are_the_same_in_several_launches(monkeypatch, most):
    problem, backend = make_problem(Spec()), host_backend()
    data, model = load(backend, problem)
    want = backend.score(model, data)
    monkeypatch.setattr(cuda_rows, "MOST_GRID", most)
    assert_same_bits({"s_bc": backend.score(model, data)}, {"s_bc": want})


@needs_compiler
def test_more_items_than_a_sort_can_count_are_refused(monkeypatch):
    problem, backend = make_problem(Spec()), host_backend()
    data, model = load(backend, problem)
    for home in (cuda, cuda_memory):
        monkeypatch.setattr(home, "MOST_ITEMS", 40)
    with pytest.raises(DeviceMemoryError) as caught:
        backend.begin(model, data, problem["orders"][0])
    assert 0 < caught.value.largest_batch < 70
    monkeypatch.undo()
    backend.begin(model, data, problem["orders"][0])


# ---- the plan


def arrays_of(plan: Plan, kernels: Kernels) -> dict:
    """The arrays of ``Plan`` of arguments.cuh by name."""
    names = [name for name, _, _ in kernels.plan.source.structs["Plan"]]
    return dict(zip(names, plan.packed.kept, strict=True))


def check_plan(got: dict, indices: list[np.ndarray]) -> None:
    """A plan is what NumPy's own sort makes of the columns of each row of a batch."""
    lengths = np.array([len(row) for row in indices], np.int64)
    feature = np.concatenate([*indices, np.zeros(0, got["feature"].dtype)])
    item = np.argsort(feature, kind="stable")
    touched, first, counts = np.unique(feature[item], return_index=True, return_counts=True)
    want = {
        "starts": np.concatenate(([0], np.cumsum(lengths))),
        "item_row": np.repeat(np.arange(len(indices)), lengths),
        "feature": feature[item],
        "item": item,
        "segment_start": np.append(first, len(feature)) if len(feature) else first,
        "segment_feature": touched,
    }
    if got["pair_starts"] is not None:
        want["pair_starts"] = np.concatenate(([0], np.cumsum(lengths * (lengths - 1) // 2)))
    for name, array in want.items():
        np.testing.assert_array_equal(got[name][: len(array)], array, err_msg=name)
    for name in ("starts", "pair_starts"):  # rows that are not there have no items
        if got[name] is not None:
            assert np.all(got[name][len(lengths) :] == got[name][len(lengths)])
    hot = np.flatnonzero(counts > cuda_plan.HOT)
    assert got["sizes"].tolist() == [len(touched), len(hot)]
    np.testing.assert_array_equal(np.sort(got["hot"][: len(hot)]), hot)


def random_rows(kind: str, n_rows: int, generator: np.random.Generator) -> list[np.ndarray]:
    """Columns of each row, ascending."""
    n, longest = {"few": (25, 10), "many": (5000, 12), "one": (1, 1), "hot": (40, 6), "alike": (300, 8)}.get(
        kind, (9, 0)
    )
    lengths = np.full(n_rows, 8) if kind == "alike" else generator.integers(longest + 1, size=n_rows)
    rows = [np.sort(generator.choice(n, length, replace=False)) for length in lengths]
    for row in rows if kind == "hot" else ():
        row[:1] = 0
    return rows


def matrix_of(rows: list[np.ndarray], n_features: int) -> FieldMatrix:
    """Rows of ones; column i is of field i modulo 3."""
    indptr = np.concatenate(([0], np.cumsum([len(row) for row in rows]))).astype(np.int64)
    fields = (np.arange(n_features) % 3).astype(np.int32)
    return FieldMatrix(indptr, np.concatenate(rows).astype(np.int32), np.ones(indptr[-1], np.float32), fields, 3)


@needs_compiler
@pytest.mark.parametrize("threads", [1, 32, 96])
@pytest.mark.parametrize("kind", ["few", "many", "one", "hot", "alike", "empty"])
def test_the_plan_of_every_batch_is_numpys(kind, threads):
    generator = np.random.default_rng(threads)
    rows, n = random_rows(kind, 1900, generator), 5000
    rows[800:900] = [row[:0] for row in rows[:100]] if kind != "alike" else rows[800:900]
    problem = make_problem(Spec(k=2))
    recipe = replace(vector_recipe(problem["config"]), batch_size=900)
    backend = host_backend(seed=threads, most_threads=threads)
    data = backend.load_data(matrix_of(rows, n), np.zeros(len(rows)))
    zeros = [np.zeros(shape, np.float32) for shape in ((1,), (1, n), (1, n, 2), (1, 3, 3))]
    order = generator.permutation(len(rows))
    run = backend.begin(backend.load_model(Parameters(*zeros), None, recipe), data, order)
    for turn, lo in zip((0, 1, 0, 1), (0, 900, 1800, 2700), strict=True):
        plan = arrays_of(run.stages.plans[turn], run.stages.planner.kernels)
        check_plan(plan, [rows[b] for b in order[lo : lo + 900]])
        backend.advance(run, 1)


@needs_compiler
@pytest.mark.parametrize(
    "index, n_features", [("int32", 1), ("int32", 33), ("int32", 2**31 - 1), ("int64", 2**31 + 5), ("int64", 2**45)]
)
def test_keys_of_any_size_are_sorted(index, n_features):
    generator, backend = np.random.default_rng(n_features), host_backend(seed=5)
    last = np.array([n_features - 1, n_features // 2, 0])
    rows = [np.unique(generator.choice(last - last.min() // 2, 2)) for _ in range(600)]
    rows += [np.unique(generator.integers(n_features, size=3)) for _ in range(100)]
    data = backend.load_data(matrix_of([row[:0] for row in rows], 1))
    lengths = np.array([len(row) for row in rows], np.int64)
    data = replace(
        data,
        indptr=np.concatenate(([0], np.cumsum(lengths))),
        indices=np.concatenate(rows).astype(index),
        lengths=lengths,
    )
    device, kernels = backend.device, Kernels(backend.device, "float32", index, 0)
    run = Run(None, data, None, np.arange(len(rows)), len(rows), Cursor.at_start(device))
    packed = pack_rows(kernels.plan, data), run.pack_batch(kernels)
    sizes = Sizes(len(rows), int(lengths.sum()), 0, 0, 0, False)
    fields = np.broadcast_to(np.int32(0), n_features)  # the planner asks only how many there are
    scratch = allocate_scratch(device, kernels, sizes, index)
    planner = Planner(device, kernels, sizes, data.alike, len(fields), *packed, scratch)
    plan = allocate_plan(device, kernels, sizes, index)
    for launch in planner.launches(plan, 0):
        launch()
    check_plan(arrays_of(plan, kernels), [row.astype(index) for row in rows])


# ---- offsets beyond 2**31


def reserve(shape: int | tuple[int, ...], dtype: str) -> np.ndarray:
    """Zeros that take memory only where they are touched."""
    try:
        return np.zeros(shape, dtype)
    except MemoryError as error:
        pytest.skip(f"this machine does not lend so much address space: {error}")


@needs_compiler
@pytest.mark.parametrize("pattern", ["alike", "ragged-repeated"])
def test_nonzeros_may_lie_beyond_2_to_the_31(pattern):
    spec = Spec(pattern=pattern, rule="adam", rows=100, batch_size=70)
    problem, backend = make_problem(spec), host_backend(seed=6)
    data, model = load(backend, problem)
    offset, far = 2**31 + 5, {}
    for name in ("indices", "values", "field_order"):
        if (array := getattr(data, name)) is not None:
            far[name] = reserve(offset + len(array), array.dtype)
            far[name][offset:] = array
    data = replace(data, indptr=data.indptr + offset, **far)
    seen = [train_epoch(backend, model, data, order, 70) for order in problem["orders"]]
    assert_same_bits({"scores_seen": np.array(seen), **fetch(backend, model)}, expected(spec))


@needs_compiler
@pytest.mark.parametrize("n, k, classes", [(2**27 + 11, 16, 1), (2**27 + 11, 17, 1), (2**25 + 11, 16, 5)])
def test_factors_may_lie_beyond_2_to_the_31(n, k, classes):
    assert classes * n * k > 2**31
    loss = "softmax" if classes > 1 else "logistic"
    spec = Spec(rule="sgd", k=k, loss=loss, n_classes=classes, pattern="ragged-repeated", rows=100)
    problem, backend = make_problem(spec), host_backend(seed=7)
    data, model = load(backend, problem)
    places = np.linspace(0, n - 1, data.fields.size).astype(np.int32)  # where the few features lie among n
    fields, w, V = (
        reserve(shape, dtype) for shape, dtype in (((n,), "i4"), ((classes, n), "f4"), ((classes, n, k), "f4"))
    )
    p = model.parameters
    fields[places], w[:, places], V[:, places] = data.fields, p.w, p.V
    data = replace(data, indices=places[data.indices], fields=fields)
    model = Model(Parameters(p.w0, w, V, p.R), model.state, model.recipe)
    seen = [train_epoch(backend, model, data, order, 70) for order in problem["orders"]]
    got = {"scores_seen": np.array(seen), "end_w0": p.w0, "end_w": w[:, places], "end_V": V[:, places], "end_R": p.R}
    assert_same_bits(got, expected(spec))


# ---- Adam's counts


@needs_compiler
@pytest.mark.parametrize("learns_R", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_counts_beyond_the_tables_take_their_last_entries(dtype, learns_R):
    spec = Spec(rule="adam", dtype=dtype, pattern="ragged-repeated", field_weights="learn" if learns_R else "ones")
    problem, generator, answers = make_problem(spec), np.random.default_rng(8), []
    recipe, start = vector_recipe(problem["config"]), start_of(problem)
    n, F = start.n_features, start.n_fields
    counts = Counts(
        np.array(10**12),
        generator.choice([0, 1, 30, 5000, 40_000, 10**12], n),
        generator.choice([0, 2, 300, 37_412, 37_413, 2**40], (F, F)),
    )
    for backend in (get_backend("numpy"), host_backend(seed=8)):
        data, _ = load(backend, problem)
        model = backend.load_model(start, replace(recipe.start_state(start), counts=counts), recipe)
        seen = [train_epoch(backend, model, data, order, 70) for order in problem["orders"]]
        answers.append({"scores_seen": np.array(seen), **fetch(backend, model)})
    assert_same_bits(answers[1], answers[0])
    assert answers[1]["state_w0_t"] == 10**12 + 4


# ---- a batch that goes wrong


@needs_compiler
@pytest.mark.parametrize("pattern", ["alike", "alike-repeated"])
@pytest.mark.parametrize("kind", SPOILS)
def test_after_a_bad_batch_nothing_happens_any_more(kind, pattern):
    problem = make_problem(Spec(rule="adam", pattern=pattern, loss="squared", rows=300, batch_size=70))
    spoil_row(problem, 100, kind)  # of batch 1, from 0
    backend, order = host_backend(seed=9), np.arange(300)
    data, model = load(backend, problem)
    whole, first = backend.begin(model, data, order), backend.copy_model(model)
    for _ in range(2):
        backend.advance(whole, 5)
        done = backend.collect(whole)
        assert (done.batches, done.first_bad) == (1, 1)
    start = backend.begin(first, data, order[:70])
    backend.advance(start, 1)
    assert backend.collect(start) == replace(done, first_bad=None)
    assert_same_bits(fetch(backend, model), fetch(backend, first))
    for trained in (model, first):  # the next run begins afresh
        run = backend.begin(trained, data, order[140:])
        backend.advance(run, 3)
        assert (backend.collect(run).batches, backend.collect(run).first_bad) == (3, None)
    assert_same_bits(fetch(backend, model), fetch(backend, first))
