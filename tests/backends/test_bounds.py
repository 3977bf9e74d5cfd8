"""The bounds on memory of the NumPy engine cut the work into pieces, and change no bit."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from engine_data import (
    PATTERNS,
    SPOILS,
    Spec,
    assert_same_bits,
    drive,
    expected,
    fetch,
    load,
    make_problem,
    rows_of,
    spoil_row,
)

from fwfm_gpu.backends import (
    get_backend,
    numpy_backend,
    numpy_coordinates,
    numpy_gradients,
    numpy_plan,
    numpy_resident,
    numpy_rows,
    patterns,
)

MODULES = (numpy_backend, numpy_coordinates, numpy_gradients, numpy_plan, numpy_resident, numpy_rows, patterns)

SMALL = {
    "GROUP_BYTES": (1, 5000),  # a row block at a time; one or two
    "TABLE_ENTRIES": (1, 160, 1000),  # tiles of one row; lanes of pattern tiles too few; some
    "MOST_LANES": (1, 5, 70),
    "FEW_LANES": (0, 10**6),  # never accumulate; always
    "PADDING": (1, 10**6),  # rows up to twice as long share a chunk; only equal lengths do
    "STEP_ENTRIES": (1, 4),
    "LOOK_ROWS": (1, 3),
    "SCORED_ROWS": (1, 50),
}
ONE_BY_ONE = [{name: size} for name, sizes in SMALL.items() for size in sizes]
TOGETHER = [{name: sizes[-1] for name, sizes in SMALL.items()}, {name: sizes[0] for name, sizes in SMALL.items()}]

SPECS = [
    *(Spec(pattern=pattern, rows=200, batch_size=150, rule="adam", seed=5) for pattern in PATTERNS),
    Spec(pattern="alike", loss="softmax", n_classes=3, rows=200, batch_size=200, seed=6),
    Spec(pattern="ragged-repeated", loss="softmax", n_classes=3, rows=200, batch_size=200, seed=6),
    Spec(pattern="ragged", k=0, rows=200, batch_size=150, rule="ftrl", seed=7),
]


def shrink(monkeypatch, bounds: dict[str, int]) -> None:
    """Set each constant in every module that knows it."""
    for name, size in bounds.items():
        homes = [module for module in MODULES if hasattr(module, name)]
        assert homes, name
        for module in homes:
            monkeypatch.setattr(module, name, size)


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("bounds", [*ONE_BY_ONE, *TOGETHER], ids=lambda bounds: " ".join(map(str, bounds.items())))
def test_small_bounds_change_no_bit(monkeypatch, bounds, spec):
    shrink(monkeypatch, bounds)
    assert_same_bits(drive(get_backend("numpy"), make_problem(spec)), expected(spec))


@pytest.mark.parametrize("bounds", TOGETHER, ids=["small", "tiny"])
@pytest.mark.parametrize("pattern", ["alike", "alike-repeated"])
@pytest.mark.parametrize("kind", SPOILS)
def test_a_bad_row_late_in_the_batch_leaves_everything_as_it_was(monkeypatch, bounds, kind, pattern):
    shrink(monkeypatch, bounds)
    problem = make_problem(Spec(pattern=pattern, loss="squared", rule="adam", rows=200, batch_size=200))
    spoil_row(problem, 199, kind)
    backend = get_backend("numpy")
    data, model = load(backend, problem)
    before = fetch(backend, model)
    run = backend.begin(model, data, np.arange(200))
    backend.advance(run, 1)
    assert backend.collect(run).first_bad == 0
    assert_same_bits(fetch(backend, model), before)


def count_calls(monkeypatch, module, name: str) -> list:
    """Let each call of a function leave a mark."""
    calls, function = [], getattr(module, name)

    def counted(*arguments):
        calls.append(arguments)
        return function(*arguments)

    monkeypatch.setattr(module, name, counted)
    return calls


@pytest.mark.parametrize(
    ("bound", "size", "module", "function"),
    [
        ("GROUP_BYTES", 1, numpy_backend, "row_gradients"),
        ("TABLE_ENTRIES", 200, numpy_gradients, "chunk_gradients"),
        ("MOST_LANES", 5, numpy_gradients, "chunk_gradients"),
        ("STEP_ENTRIES", 4, numpy_coordinates, "make_step"),
        ("SCORED_ROWS", 50, numpy_backend, "score_rows"),
    ],
)
@pytest.mark.parametrize("pattern", ["alike", "ragged"])
def test_small_bounds_do_make_pieces(monkeypatch, pattern, bound, size, module, function):
    problem = make_problem(Spec(pattern=pattern, rows=200, batch_size=200))
    calls = count_calls(monkeypatch, module, function)
    drive(get_backend("numpy"), problem)
    whole = len(calls)
    shrink(monkeypatch, {bound: size})
    drive(get_backend("numpy"), problem)
    assert len(calls) - whole > whole


@pytest.mark.parametrize(("pattern", "fast"), [("alike", True), ("alike-repeated", False), ("ragged", False)])
def test_rows_that_are_all_alike_take_the_fast_path(monkeypatch, pattern, fast):
    calls = count_calls(monkeypatch, numpy_gradients, "pattern_tiles")
    drive(get_backend("numpy"), make_problem(Spec(pattern=pattern)))
    assert bool(calls) is fast


@pytest.mark.parametrize("look_rows", [1, 7, 1 << 16])
@pytest.mark.parametrize("pattern", ["alike-repeated", "ragged-repeated"])
def test_a_repeated_field_is_found_in_the_last_row(monkeypatch, pattern, look_rows):
    shrink(monkeypatch, {"LOOK_ROWS": look_rows})
    backend, rows = get_backend("numpy"), rows_of(make_problem(Spec(pattern=pattern, rows=60)))
    fields = [rows.fields[rows.indices[lo:hi]] for lo, hi in pairwise(rows.indptr)]
    shares = np.array([len(np.unique(row)) < len(row) for row in fields])
    without, last = np.flatnonzero(~shares), np.flatnonzero(shares)[:1]
    assert backend.load_data(rows.take(np.append(without, last))).shares_fields
    if len(without):
        assert not backend.load_data(rows.take(without)).shares_fields
