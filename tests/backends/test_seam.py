"""The verbs of the seam: who owns which array, what growing keeps, what a batch that goes wrong leaves."""

from __future__ import annotations

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from engine_data import (
    PATTERNS,
    RULES,
    SPOILS,
    Spec,
    assert_same_bits,
    bits,
    drive,
    expected,
    fetch,
    load,
    make_problem,
    rows_of,
    spoil_row,
    start_of,
)

from fwfm_gpu.backends import get_backend, get_host_backend
from fwfm_gpu.errors import DeviceError, FwfmWarning, MissingExtraError, OptionError
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.losses import LOSSES
from fwfm_gpu.model_columns import Columns
from fwfm_gpu.parameters import Parameters
from fwfm_gpu.scorer import make_engine
from fwfm_gpu.verify import vector_recipe

SPEC = Spec(rule="adam", pattern="ragged-repeated", weighted=True, batch_size=30)


def train_all(backend, model, data, order) -> None:
    backend.advance(backend.begin(model, data, order), len(order))


# ---- which engine


@pytest.mark.parametrize("device", ["auto", "cpu", "numpy"])
def test_without_a_gpu_every_device_is_the_processor(device):
    compiled = device != "numpy" and find_spec("numba")
    backend = get_backend(device)
    assert type(backend).__name__ == ("CompiledBackend" if compiled else "NumPyBackend")
    assert backend.name == ("cpu" if compiled else "numpy")


REFUSAL = "Numba needs NumPy 2.1 or less. Got NumPy 2.9."
REASON = re.escape(
    'the compiled engine of device="cpu" needs numba, which is installed and cannot be imported: '
    f"{REFUSAL} Install versions that fit each other: pip install --upgrade 'fwfm-gpu[cpu]'. Or pass device="
)


@pytest.fixture
def refusing_numba(monkeypatch, tmp_path):
    """It is found, and raises when it is imported."""
    for name in list(sys.modules):
        if name.split(".")[0] == "numba" or name.startswith("fwfm_gpu.backends.compiled"):
            monkeypatch.delitem(sys.modules, name)
    (tmp_path / "numba.py").write_text(f"raise ImportError({REFUSAL!r})")
    monkeypatch.syspath_prepend(tmp_path)


def test_a_numba_that_cannot_be_imported_is_an_error_by_name(refusing_numba):
    with pytest.raises(MissingExtraError, match=f"^{REASON}") as caught:
        get_backend("cpu")
    assert isinstance(caught.value.__cause__, ImportError)
    assert get_backend("numpy").name == "numpy"


def get_scorer():
    problem = make_problem(SPEC)
    return make_engine(start_of(problem), Columns.of(rows_of(problem)), "cuda")


@pytest.mark.parametrize("get", [get_backend, get_host_backend, get_scorer])
def test_without_a_name_it_is_a_warning(refusing_numba, get):
    with pytest.warns(FwfmWarning, match=f'^device="auto" takes the NumPy engine, which is slower: {REASON}'):
        assert get().name == "numpy"


def test_a_wrong_number_of_threads_is_an_error(monkeypatch):
    pytest.importorskip("numba", reason="numba is not installed: there is no compiled engine")
    monkeypatch.setenv("FWFM_NUM_THREADS", "many")
    with pytest.raises(OptionError, match="FWFM_NUM_THREADS must be a positive integer; got 'many'"):
        get_backend("cpu")


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:12"])
def test_a_missing_gpu_is_an_error(device):
    kind = DeviceError if find_spec("cupy") else MissingExtraError
    with pytest.raises(kind, match=f"device='{device}' cannot be used: .*CUDA device"):
        get_backend(device)


@pytest.mark.parametrize("device", ["", "gpu", "CUDA", "cuda:", "cuda:x", "cuda:1 ", None, 0])
def test_an_unknown_device_is_an_error(device):
    with pytest.raises(OptionError, match="device must be"):
        get_backend(device)


# ---- runs


@pytest.mark.parametrize("pieces", [[1] * 5, [2, 3], [5], [100], [0, 4, 0, 1], [3, 100, 7]])
def test_pieces_equal_the_whole(backend, pieces):
    problem = make_problem(SPEC)
    data, model = load(backend, problem)
    for order in problem["orders"]:
        run = backend.begin(model, data, order)
        for batches in pieces:
            backend.advance(run, batches)
        assert (backend.collect(run).batches, backend.collect(run).first_bad) == (5, None)
    want = expected(SPEC)
    assert_same_bits(fetch(backend, model), {name: want[name] for name in want if name != "scores_seen"})


def test_a_run_that_starts_with_a_loss_sums_to_the_same_digits(backend):
    problem, sums = make_problem(SPEC), []
    order = problem["orders"][0]
    for cut in (0, 30, 90):
        data, model = load(backend, problem)
        loss = 0.0
        for part in (order[:cut], order[cut:]):
            backend.advance(run := backend.begin(model, data, part, loss), 5)
            loss = backend.collect(run).loss
        sums.append(loss)
    assert sums == [sums[0]] * 3 != [0.0] * 3


def test_collect_counts_batches_and_sums_the_loss(backend):
    spec = SPEC.but(label_smoothing=0.1)
    problem, want = make_problem(spec), expected(spec)
    data, model = load(backend, problem)
    run = backend.begin(model, data, order := problem["orders"][0])
    assert backend.collect(run).batches == 0
    loss = 0.0
    for batch in range(5):
        rows = slice(30 * batch, 30 * (batch + 1))
        s_bc = want["scores_seen"][0, rows].astype(float)
        visited = order[rows]
        loss += LOSSES["logistic"].total(s_bc, problem["y"][visited], 0.1, problem["sample_weight"][visited])
        backend.advance(run, 1)
        collected = backend.collect(run)
        assert collected.batches == batch + 1
        assert collected.loss == pytest.approx(loss, rel=1e-12)


def test_rows_may_be_left_out_or_come_again(backend):
    problem = make_problem(SPEC)
    data, model = load(backend, problem)
    order = np.array([5, 3, 5, 5, 99, 3])
    train_all(backend, model, data, order)
    chosen = rows_of(problem).take(order)
    problem |= {"indptr": chosen.indptr, "indices": chosen.indices, "data": chosen.values}
    problem |= {"y": problem["y"][order], "sample_weight": problem["sample_weight"][order]}
    data, other = load(backend, problem)
    train_all(backend, other, data, np.arange(6))
    assert_same_bits(fetch(backend, model), fetch(backend, other))


def test_an_empty_order_does_nothing(backend):
    problem = make_problem(SPEC)
    data, model = load(backend, problem)
    before = fetch(backend, model)
    train_all(backend, model, data, np.array([], np.int64))
    assert_same_bits(fetch(backend, model), before)


# ---- scores


@pytest.mark.parametrize("n_classes", [1, 3])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_row_scores_the_same_alone_and_in_company(backend, pattern, n_classes):
    spec = Spec(pattern=pattern, loss="softmax" if n_classes > 1 else "logistic", n_classes=n_classes)
    problem = make_problem(spec)
    rows, model = rows_of(problem), backend.load_model(start_of(problem))
    together = backend.score(model, backend.load_data(rows))
    assert (together.shape, together.dtype) == ((spec.rows, n_classes), np.dtype(spec.dtype))
    for b in range(spec.rows):
        alone = backend.score(model, backend.load_data(rows.take([b])))
        np.testing.assert_array_equal(bits(alone[0]), bits(together[b]))


def test_no_rows_have_no_scores(backend):
    problem = make_problem(SPEC)
    rows = rows_of(problem).take([])
    assert backend.score(backend.load_model(start_of(problem)), backend.load_data(rows)).shape == (0, 1)


def test_four_threads_score_as_one(backend):
    problem = make_problem(SPEC.but(rows=2000))
    model, rows = backend.load_model(start_of(problem)), rows_of(problem)
    parts = [rows.take(np.arange(b, 2000, 16)) for b in range(16)]
    serial = [backend.score(model, backend.load_data(part)) for part in parts]
    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(lambda part: backend.score(model, backend.load_data(part)), parts * 4))
    for got, want in zip(parallel, serial * 4, strict=True):
        np.testing.assert_array_equal(bits(got), bits(want))


# ---- who owns which array


def frozen_bytes(parameters: Parameters) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in parameters.arrays().items()}


def test_training_leaves_the_callers_arrays(backend):
    problem = make_problem(SPEC)
    start, rows = start_of(problem), rows_of(problem)
    recipe = vector_recipe(problem["config"])
    state, order = recipe.start_state(start), problem["orders"][0]
    given = [*start.arrays().values(), *state.as_list(), problem["y"], problem["sample_weight"], order]
    given += [rows.indptr, rows.indices, rows.values, rows.fields]
    before = [array.tobytes() for array in given]
    data = backend.load_data(rows, problem["y"], problem["sample_weight"])
    train_all(backend, backend.load_model(start, state, recipe), data, order)
    assert [array.tobytes() for array in given] == before


def test_read_only_arrays_are_trained_on(backend):
    problem = make_problem(SPEC)
    for array in problem.values():
        if isinstance(array, np.ndarray):
            array.setflags(write=False)
    assert_same_bits(drive(backend, problem), expected(SPEC))


def test_changing_what_was_loaded_changes_no_training(backend):
    problem = make_problem(SPEC)
    data, model = load(backend, problem)
    for array in start_of(problem).arrays().values():
        array[:] = 7
    for order in problem["orders"]:
        train_all(backend, model, data, order)
    np.testing.assert_array_equal(fetch(backend, model)["end_V"], expected(SPEC)["end_V"])


def test_a_state_given_back_goes_on_where_it_was(backend):
    problem = make_problem(SPEC)
    data, model = load(backend, problem)
    train_all(backend, model, data, problem["orders"][0])
    again = backend.load_model(*backend.fetch_model(model), vector_recipe(problem["config"]))
    train_all(backend, again, data, problem["orders"][1])
    want = expected(SPEC)
    assert_same_bits(fetch(backend, again), {name: want[name] for name in want if name != "scores_seen"})


def test_what_is_fetched_is_a_copy(backend):
    problem = make_problem(SPEC)
    data, model = load(backend, problem)
    before = fetch(backend, model)
    parameters, state = backend.fetch_model(model)
    train_all(backend, model, data, problem["orders"][0])
    assert_same_bits({f"end_{name}": array for name, array in parameters.arrays().items()}, only(before, "end"))
    trained = fetch(backend, model)
    for arrays in (parameters, *state.moments.values()):
        for array in arrays.arrays().values():
            array[:] = 7
    state.counts.feature[:] = 7
    assert_same_bits(fetch(backend, model), trained)


def only(answer: dict, start: str) -> dict:
    return {name: array for name, array in answer.items() if name.startswith(start)}


@pytest.mark.parametrize("trained", ["copy", "original"])
def test_a_copy_and_its_original_train_apart(backend, trained):
    problem = make_problem(SPEC)
    data, original = load(backend, problem)
    train_all(backend, original, data, problem["orders"][0])
    models = {"original": original, "copy": backend.copy_model(original)}
    before = fetch(backend, original)
    moved = models.pop(trained)
    train_all(backend, moved, data, problem["orders"][1])
    (still,) = models.values()
    assert_same_bits(fetch(backend, still), before)
    want = expected(SPEC)
    assert_same_bits(fetch(backend, moved), {name: want[name] for name in want if name != "scores_seen"})


def test_a_model_that_only_scores_has_no_state(backend):
    problem = make_problem(SPEC)
    model = backend.load_model(start_of(problem))
    for one in (model, backend.copy_model(model)):
        parameters, state = backend.fetch_model(one)
        assert state is None
        assert frozen_bytes(parameters) == frozen_bytes(start_of(problem))


# ---- growing


def wider(rows: FieldMatrix, fields: np.ndarray) -> FieldMatrix:
    """The same rows, among more features."""
    n_fields = max(rows.n_fields, int(fields.max()) + 1)
    return replace(rows, fields=np.concatenate((rows.fields, fields)), n_fields=n_fields)


NEW_FIELDS = {"old fields": [0, 4, 2], "a new field": [5, 1], "two new fields": [6, 5], "a gap": [8]}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("new", NEW_FIELDS.values(), ids=NEW_FIELDS)
def test_a_grown_model_goes_on_with_old_data_as_before(backend, new, rule):
    spec = SPEC.but(rule=rule, loss="softmax", n_classes=3)
    problem, new = make_problem(spec), np.array(new, np.int32)
    data, model = load(backend, problem)
    train_all(backend, model, data, problem["orders"][0])
    V = np.random.default_rng(1).normal(size=(3, len(new), spec.k)).astype(spec.dtype)
    grown, untouched = backend.grow_model(model, new, V), fetch(backend, model)
    at_first = fetch(backend, grown)
    data_too = backend.load_data(wider(rows_of(problem), new), problem["y"], problem["sample_weight"])
    train_all(backend, grown, data_too, problem["orders"][1])
    assert_same_bits(fetch(backend, model), untouched)
    end, want = fetch(backend, grown), expected(spec)
    for name, array in want.items():
        if name != "scores_seen":
            corner = tuple(slice(size) for size in array.shape)
            np.testing.assert_array_equal(bits(end[name][corner]), bits(array), name)
            beyond = np.ones(end[name].shape, bool)
            beyond[corner] = False
            np.testing.assert_array_equal(end[name][beyond], at_first[name][beyond], name)


@pytest.mark.parametrize("rule", RULES)
def test_new_features_start_afresh(backend, rule):
    problem = make_problem(SPEC.but(rule=rule))
    data, model = load(backend, problem)
    train_all(backend, model, data, problem["orders"][0])
    V = np.random.default_rng(1).normal(size=(1, 2, 3)).astype("float32")
    parameters, state = backend.fetch_model(backend.grow_model(model, np.array([5, 1]), V))
    fresh = vector_recipe(problem["config"]).start_state(parameters)
    assert not parameters.w[:, -2:].any()
    np.testing.assert_array_equal(parameters.V[:, -2:], V)
    np.testing.assert_array_equal(parameters.R[:, 5], 1)
    np.testing.assert_array_equal(parameters.R[:, :, 5], 1)
    for name, moment in state.moments.items():
        np.testing.assert_array_equal(bits(moment.w[:, -2:]), bits(fresh[name].w[:, -2:]))
        np.testing.assert_array_equal(bits(moment.V[:, -2:]), bits(fresh[name].V[:, -2:]))
        np.testing.assert_array_equal(bits(moment.R[:, :, 5]), bits(fresh[name].R[:, :, 5]))
    if state.counts is not None:
        assert not state.counts.feature[-2:].any()
        assert not state.counts.slot[:, 5].any()


def test_a_grown_model_without_a_recipe_scores_old_rows_as_before(backend):
    problem = make_problem(SPEC)
    model, rows, new = backend.load_model(start_of(problem)), rows_of(problem), np.array([7, 0], np.int32)
    grown = backend.grow_model(model, new, np.ones((1, 2, 3), np.float32))
    got = backend.score(grown, backend.load_data(wider(rows, new)))
    np.testing.assert_array_equal(bits(got), bits(backend.score(model, backend.load_data(rows))))
    assert backend.fetch_model(grown)[1] is None


# ---- batches that go wrong


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("pattern", ["alike", "alike-repeated"])
@pytest.mark.parametrize(("kind", "loss"), [*((kind, "squared") for kind in SPOILS), ("infinite", "logistic")])
def test_a_batch_that_is_not_finite_leaves_everything_as_it_was(backend, kind, loss, pattern, rule):
    check_that_nothing_changes(backend, kind, SPEC.but(rule=rule, loss=loss, pattern=pattern))


@pytest.mark.parametrize("rule", ["sgd", "ftrl"])
def test_clipping_hides_no_gradient_that_is_infinite(backend, rule):
    check_that_nothing_changes(backend, "parameter", SPEC.but(rule=rule, loss="squared", gradient_clip=0.01))


def check_that_nothing_changes(backend, kind: str, spec: Spec) -> None:
    problem = make_problem(spec)
    spoil_row(problem, 75, kind)  # of batch 2, from 0
    data, model = load(backend, problem)
    good = backend.copy_model(model)
    train_all(backend, good, data, np.arange(60))
    run = backend.begin(model, data, np.arange(130))
    backend.advance(run, 5)
    collected = backend.collect(run)
    assert (collected.batches, collected.first_bad) == (2, 2)
    assert_same_bits(fetch(backend, model), fetch(backend, good))
    backend.advance(run, 5)
    assert backend.collect(run) == collected
    assert_same_bits(fetch(backend, model), fetch(backend, good))


@pytest.mark.parametrize("kind", SPOILS)
def test_a_spoiled_row_is_what_its_kind_says(backend, kind):
    problem = make_problem(SPEC.but(rule="sgd", loss="squared", pattern="alike"))
    spoil_row(problem, 75, kind)
    data, model = load(backend, problem)
    s = backend.score(model, data)[75, 0]
    assert {"infinite": np.isinf, "NaN": np.isnan, "parameter": np.isfinite}[kind](s)
