"""The compiled engine as a whole, run by Python and with any number of lanes: the same bits."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from engine_data import Spec, assert_same_bits, bits, drive, expected, make_problem, rows_of, start_of

from fwfm_gpu import FieldMatrix
from fwfm_gpu.backends import get_backend
from fwfm_gpu.optimizers import AdaGrad
from fwfm_gpu.parameters import Parameters
from fwfm_gpu.recipe import Penalties, Recipe

pytest.importorskip("numba", reason="numba is not installed: there is no compiled engine")

from machine_cases import in_python

from fwfm_gpu.backends import compiled, compiled_backend, compiled_step
from fwfm_gpu.backends.compiled_structures import Packed

SMALL = Spec(k=3, rows=20, batch_size=13, weighted=True)
WHOLE = [
    *(
        SMALL.but(rule=rule, pattern=pattern)
        for rule in ("sgd", "adagrad", "adam", "ftrl")
        for pattern in ("alike", "ragged")
    ),
    *(
        SMALL.but(pattern=pattern, loss="softmax", n_classes=3, dtype="float64")
        for pattern in ("alike", "ragged-repeated")
    ),
    SMALL.but(loss="squared", label_smoothing=0.0, pattern="alike-repeated"),
    SMALL.but(k=0),
    *(SMALL.but(k=k, pattern="alike") for k in (8, 13)),
]


def set_lanes(monkeypatch, count: int) -> None:
    """The engine works on so many lanes, whatever the processor has."""
    for module in (compiled, compiled_backend, compiled_step):
        monkeypatch.setattr(module, "widest_lanes", lambda: count)
    monkeypatch.setattr(compiled_step, "FEW_PRODUCTS", 0)  # nor are small batches left to one thread


def run_in_python(function, **bound):
    """Instead of machine code: takes named tuples as they are."""
    plain = in_python(function, **bound)
    return lambda *arguments: plain(*(a.value if isinstance(a, Packed) else a for a in arguments))


@pytest.fixture(params=[8, 16])
def engine_in_python(request, monkeypatch):
    """The compiled engine, not compiled."""
    set_lanes(monkeypatch, request.param)
    for module in (compiled_backend, compiled_step):
        monkeypatch.setattr(module, "machine", partial(run_in_python, LANES=request.param))
    with np.errstate(all="ignore"):
        yield get_backend("cpu", n_threads=2)


@pytest.mark.parametrize("spec", WHOLE, ids=str)
def test_python_alone_gives_the_same_bits(engine_in_python, spec):
    assert_same_bits(drive(engine_in_python, make_problem(spec)), expected(spec))


@pytest.mark.parametrize("spec", WHOLE, ids=str)
def test_python_alone_gives_the_same_scores(engine_in_python, spec):
    rows, start = rows_of(make_problem(spec)), start_of(make_problem(spec))
    got, want = (e.score(e.load_model(start), e.load_data(rows)) for e in (engine_in_python, get_backend("numpy")))
    np.testing.assert_array_equal(bits(got), bits(want))


@pytest.fixture(params=[8, 16])
def lane_count(request, monkeypatch):
    """Machine code for as many lanes, also on a processor that has others."""
    set_lanes(monkeypatch, request.param)
    compiled.machine.cache_clear()
    yield request.param
    compiled.machine.cache_clear()


@pytest.mark.parametrize(
    "spec", [SMALL.but(k=13, rows=200, pattern=pattern) for pattern in ("alike", "ragged-repeated")], ids=str
)
def test_any_number_of_lanes(lane_count, spec):
    assert_same_bits(drive(get_backend("cpu", n_threads=2), make_problem(spec)), expected(spec))


@pytest.mark.parametrize("k", [0, 1, 3])
@pytest.mark.parametrize("alike", [True, False])
def test_tables_have_room_for_wide_rows(engine_in_python, k, alike):
    """Uncompiled, what is outside of a table is an error; compiled, it is somebody else's memory."""
    generator = np.random.default_rng(0)
    rows = FieldMatrix.from_ids(generator.integers(5, size=(9, 12)), [5] * 12)
    if not alike:
        rows = FieldMatrix.from_matrix(rows.to_csr(), generator.permutation(rows.fields))
    rows, y, order = rows.rounded("float32"), np.arange(9.0) % 2, np.arange(9)
    w0, w, R = (np.ones(shape, np.float32) for shape in ((1,), (1, 60), (1, 12, 12)))
    start = Parameters(w0, w, generator.normal(size=(1, 60, k)).astype(np.float32), R)
    recipe = Recipe("logistic", AdaGrad(0.1), 9, Penalties())
    models = []
    for engine in (engine_in_python, get_backend("numpy")):
        model, data = engine.load_model(start, None, recipe), engine.load_data(rows, y)
        run = engine.begin(model, data, order)
        engine.advance(run, 1)
        assert engine.collect(run).batches == 1
        models.append([*engine.fetch_model(model)[0].arrays().values(), engine.score(model, data)])
    for got, want in zip(*models, strict=True):
        np.testing.assert_array_equal(bits(got), bits(want))
