"""The same sums with atomics: near what the ordered engine gives, equal where no order matters; and their figures."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from cuda_host.device import HostDevice
from cuda_host.loader import HostLoader, compiler
from gpu_package import CASES, H200, Case, gpu

from fwfm_gpu import FieldMatrix
from fwfm_gpu.backends import get_backend, kernels
from fwfm_gpu.backends.cuda_memory import Budget
from fwfm_gpu.cuda_sources import Source, Variant, source_folder
from fwfm_gpu.errors import FwfmError, InputError
from fwfm_gpu.optimizers import RULES
from fwfm_gpu.parameters import Parameters
from fwfm_gpu.recipe import Penalties, Recipe

SIZES = (50, 20, 7, 3, 2)

# What the host's shim holds back from the engine's kernels: threads are never interrupted, so plain statements do.
FLOAT_ATOMICS = """
inline float atomicAdd(float* place, float add) { return fwfm_host::exchange(place, *place + add); }
inline double atomicAdd(double* place, double add) { return fwfm_host::exchange(place, *place + add); }
inline int atomicExch(int* place, int value) { return fwfm_host::exchange(place, value); }
"""


def make_host(seed: int = 0, budget: Budget | None = None):
    """Atomics without a GPU: they come in the order of the scheduler."""
    if compiler() is None:
        pytest.skip("g++ is not there: kernels cannot be compiled for the host")
    loader = HostLoader(seed)

    def load(source: Source, variant: Variant):
        return loader.load(replace(source, text=FLOAT_ATOMICS + source.text), variant)

    return gpu.atomics.AtomicBackend(HostDevice(loader), budget, load)


def make_gpu(seed: int):
    """Atomics on a GPU: they come as they come."""
    return gpu.atomics.AtomicBackend(get_backend("cuda").device)


ENGINES = pytest.mark.parametrize(
    "make", [make_host, pytest.param(make_gpu, marks=pytest.mark.gpu)], ids=["host", "gpu"]
)


def make_problem(k: int, rows: int, exact: bool = False):
    """Rows, targets and parameters; ``exact``: so coarse that float32 holds every sum of one batch exactly."""
    generator = np.random.default_rng(k)
    ids = np.stack([np.minimum(generator.geometric(0.4, rows) - 1, size - 1) for size in SIZES], axis=1)
    matrix = FieldMatrix.from_ids(ids.astype(np.int32), SIZES)
    n, F = matrix.n_features, len(SIZES)
    draw = (lambda *of: generator.integers(-2, 3, of) / 2) if exact else (lambda *of: generator.normal(0, 0.3, of))
    y = generator.integers(0, 2, rows).astype(np.float64)
    shapes = (1,), (1, n), (1, n, k), (1, F, F)
    return matrix, y, Parameters(*(draw(*shape).astype(np.float32) for shape in shapes))


def train(backend, problem, recipe: Recipe, passes: int = 1):
    """Parameters, state and the last pass's loss."""
    matrix, y, parameters = problem
    data, model = backend.load_data(matrix, y), backend.load_model(parameters, None, recipe)
    for _ in range(passes):
        run = backend.begin(model, data, np.random.default_rng(1).permutation(len(y)))
        backend.advance(run, len(y))
        collected = backend.collect(run)
        assert collected.first_bad is None
    return *backend.fetch_model(model), collected


def arrays_of(parameters: Parameters, state) -> list[np.ndarray]:
    """Everything that training changes."""
    arrays = [*parameters.arrays().values()]
    for moment in state.moments.values():
        arrays += moment.arrays().values()
    if state.counts is not None:
        arrays += [state.counts.bias, state.counts.feature, state.counts.slot]
    return arrays


@ENGINES
@pytest.mark.parametrize("rule", ["adagrad", "adam"])
@pytest.mark.parametrize("k", [4, 10, 16, 3])
@pytest.mark.parametrize("seed", [0, 1])
def test_two_batches_are_near_the_ordered_engines(make, rule, k, seed):
    problem = make_problem(k, rows=150)
    recipe = Recipe("logistic", RULES[rule](0.01), 90, Penalties())
    got, want = train(make(seed), problem, recipe), train(get_backend("numpy"), problem, recipe)
    for ours, reference in zip(arrays_of(*got[:2]), arrays_of(*want[:2]), strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-6)  # atomics promise no order
    assert got[2].loss == pytest.approx(want[2].loss, rel=1e-5)
    assert got[2].batches == want[2].batches == 2


@ENGINES
@pytest.mark.parametrize("rule", ["adagrad", "adam"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sums_that_are_exact_in_any_order_give_the_same_bits(make, rule, seed):
    problem = make_problem(4, rows=150, exact=True)
    recipe = Recipe("squared", RULES[rule](0.01), 150, Penalties(0.0, 0.25, 0.0, 0.5))
    got, want = train(make(seed), problem, recipe), train(get_backend("numpy"), problem, recipe)
    for ours, reference in zip(arrays_of(*got[:2]), arrays_of(*want[:2]), strict=True):
        np.testing.assert_array_equal(ours, reference)


@ENGINES
@pytest.mark.parametrize("rule", ["adagrad", "adam"])
def test_batches_of_one_row_have_no_order_and_leave_nothing_behind(make, rule):
    problem = make_problem(10, rows=30)
    recipe = Recipe("logistic", RULES[rule](0.01), 1, Penalties())
    got, want = train(make(1), problem, recipe, passes=2), train(get_backend("numpy"), problem, recipe, passes=2)
    for ours, reference in zip(arrays_of(*got[:2]), arrays_of(*want[:2]), strict=True):
        np.testing.assert_array_equal(ours, reference)


def test_a_batch_may_go_in_several_groups():
    problem = make_problem(4, rows=200)
    recipe = Recipe("logistic", RULES["adagrad"](0.01), 200, Penalties())
    pairs = len(SIZES) * (len(SIZES) - 1) // 2
    got = train(make_host(1, Budget(pairs=64 * pairs * 4)), problem, recipe)
    want = train(get_backend("numpy"), problem, recipe)
    np.testing.assert_allclose(got[0].R, want[0].R, rtol=1e-4)


def test_a_batch_that_is_not_finite_ends_the_run():
    matrix, y, parameters = make_problem(4, rows=60)
    V = np.full_like(parameters.V, 1e30)
    backend = make_host()
    recipe = Recipe("logistic", RULES["adagrad"](0.01), 20, Penalties())
    data, model = backend.load_data(matrix, y), backend.load_model(replace(parameters, V=V), None, recipe)
    run = backend.begin(model, data, np.arange(60))
    backend.advance(run, 3)
    assert backend.collect(run).first_bad == 0


def test_rows_of_another_kind_are_refused():
    _, _, parameters = make_problem(4, rows=2)
    rows = np.array([0, 2, 3]), np.array([0, 50, 1]), np.ones(3, np.float32)
    matrix = FieldMatrix.from_csr(*rows, (2, sum(SIZES)), np.repeat(np.arange(5), SIZES))
    backend = make_host()
    recipe = Recipe("logistic", RULES["adagrad"](0.01), 2, Penalties())
    data, model = backend.load_data(matrix, np.zeros(2)), backend.load_model(parameters, None, recipe)
    with pytest.raises(InputError, match="got other rows, 1 and float32"):
        backend.begin(model, data, np.arange(2))


@pytest.mark.parametrize("architecture", [75, 80, 90])
@pytest.mark.parametrize(("k", "vector"), [(4, ".v4"), (10, ".v2"), (16, ".v4"), (-1, "")])
def test_nvrtc_compiles_them_and_hopper_adds_neighbours_at_once(architecture, k, vector):
    try:
        kernels.import_nvrtc()
    except FwfmError as error:
        pytest.skip(f"no compiler: {error}")
    source, variant = gpu.atomics.read_atomics(), Variant(k=k)
    assert {name.partition("_")[0] for name in source.kernels} == {"add", "update", "close"}
    ptx = kernels.compile_source(source, variant, f"compute_{architecture}", output="ptx").decode()
    assert "fma." not in ptx and ".ftz" not in ptx
    lines = [line for line in ptx.split("\n") if "red." in line or "atom." in line]
    assert any("add.f32" in line or ".f32 " in line for line in lines)
    assert any(f"{vector}.f32" in line for line in lines) if architecture >= 90 else not any(".v" in x for x in lines)


def test_the_engine_has_no_such_source():
    assert gpu.atomics.SOURCE.name not in {path.name for path in source_folder().iterdir()}


# ---- the check


def test_our_cases_are_followed_by_the_same_with_atomics():
    cases = gpu.cases.beside_atomics(gpu.cases.check_cases(["criteo", "frappe"], [65536, 16384, 4096]))
    assert len(cases) == len(set(cases)) == 12 + 8 + 32
    for case, after in zip(cases, [*cases[1:], None], strict=True):
        follows = after is not None and after.engine == "atomics"
        assert follows == (case.engine == "ours" and case.batch in (65536, 4096))
        assert not follows or replace(after, engine="ours") == case


def test_a_worker_measures_them(monkeypatch):
    seen = []
    monkeypatch.setattr(gpu.atomics, "measure", lambda case, effort: seen.append(case) or {"train_rows_per_s": 1})
    case = Case("atomics", "tiny", 64, "adam")
    assert gpu.worker.answer(gpu.worker.request("atomics", gpu.cases.Effort(), case)) == {"train_rows_per_s": 1}
    assert seen == [case]


def test_a_case_is_measured(monkeypatch):
    backend = make_host()
    monkeypatch.setattr(gpu.atomics, "get_backend", lambda device: SimpleNamespace(device=None))
    monkeypatch.setattr(gpu.atomics, "AtomicBackend", lambda device: backend)
    figures = gpu.atomics.measure(Case("atomics", "tiny", 32, "adam"), gpu.cases.Effort("numpy", 64, 0.0, 1))
    assert figures.pop("train_rows_per_s") > 0
    assert figures == {"kernels_us": None, "kernels_reason": "no GPU was asked for"}


def test_without_a_gpu_they_are_not_run_and_the_report_says_why(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu.check, "check_cases", lambda *asked: [Case("ours", "tiny", 4096, "adagrad")])
    options = ["--device=numpy", "--no-tests", "--rows=200", "--seconds=0", "--repeats=1", "--out", str(tmp_path)]
    assert gpu.check.main(options) == 0
    ours, beside = json.loads((tmp_path / "gpu-numpy.json").read_text())["cases"]
    assert ours["train_rows_per_s"] > 0
    assert beside == vars(Case("atomics", "tiny", 4096, "adagrad")) | {"error": "not run: atomics need a GPU"}
    printed = capsys.readouterr().out
    assert "- atomics tiny 4,096 adagrad: not run: atomics need a GPU" in printed
    assert "ordered sums against atomics" not in printed


def make_report(*rates: int | None, ours: int | None = 100_000_000) -> dict:
    """A report of one of our cases, and of as many with atomics as there are rates; None is a failure."""

    def record(engine: str, rate: int | None) -> dict:
        case = vars(replace(CASES[0], engine=engine))
        if rate is None:
            return case | {"error": "not run: time"}
        shares = dict.fromkeys(("train_share", "score_share", "memory_bytes"))
        return case | {"train_rows_per_s": rate, "score_rows_per_s": rate, "kernels_us": {"rows": {"a": 1.0}}} | shares

    cases = [record("ours", ours), *(record("atomics", rate) for rate in rates)]
    return {"measured": "2026-01-02", "card": H200, "versions": {}, "tests": None, "cases": cases} | {
        "torch": {"version": None, "reason": "none"}
    }


@pytest.mark.parametrize(("rate", "words"), [(107_000_000, "7% slower"), (90_000_000, "10% faster")])
def test_the_page_says_what_the_order_costs(rate, words):
    text = gpu.table.report_text(make_report(rate))
    assert f"\n- criteo 65,536 adagrad: ordered sums against atomics: {words}\n" in text
    assert text.count("| criteo |") == 2  # rates and stages of ours: atomics stand in neither table


@pytest.mark.parametrize("report", [make_report(), make_report(None), make_report(5, ours=None)])
def test_the_page_says_nothing_where_either_has_no_figure(report):
    assert "ordered sums against atomics" not in gpu.table.report_text(report)


def test_a_line_without_scoring():
    assert gpu.check.in_words({"train_rows_per_s": 1234}) == "training 1,234 rows/s"
