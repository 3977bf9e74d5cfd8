"""What the GPU check measures and with what: cases, floors, rows, clock, kernel times, PyTorch's forms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from gpu_package import Case, Effort, Rates, Shape, gpu

from fwfm_gpu import FieldMatrix
from fwfm_gpu.backends import get_backend
from fwfm_gpu.parameters import Parameters

TESTS = Path(__file__).parent
FOLDER = TESTS.parent / "docs" / "benchmarks"


# ---- cases and floors


def test_cases_are_ours_at_every_batch_and_torch_at_the_largest():
    cases = gpu.cases.check_cases(["criteo", "frappe"], [4096, 65536, 16384])
    assert len(cases) == len(set(cases)) == 12 + 32
    ours = {(case.shape, case.batch, case.optimizer) for case in cases if case.engine == "ours"}
    assert len(ours) == 12
    beside = [case for case in cases if case.engine == "torch"]
    assert {case.batch for case in beside} == {65536}
    assert {(case.form, case.mode) for case in beside} == {
        (form, mode) for form in ("gemm", "bmm") for mode in ("eager", "graph", "compile", "compile_graph")
    }


def test_what_matters_most_comes_first():
    cases = gpu.cases.check_cases(["criteo", "frappe"], [65536, 16384, 4096])
    assert cases[:2] == [Case("ours", "criteo", 65536, "adagrad"), Case("ours", "frappe", 65536, "adagrad")]
    assert {(case.engine, case.shape, case.optimizer) for case in cases[2:10]} == {("torch", "criteo", "adagrad")}
    assert cases[-1] == Case("torch", "frappe", 65536, "adam", "bmm", "eager")


def test_peers_are_every_form_and_no_form_in_a_mode_that_it_cannot_have():
    cases = gpu.cases.peer_cases("frappe", 4096)
    assert len(cases) == len(set(cases))
    eager = {(case.form, case.optimizer) for case in cases if case.mode == "eager"}
    assert len(eager) == 6 * 4
    others = {(case.form, case.mode) for case in cases if case.mode != "eager"}
    assert ("fuxi", "compile") in others and ("fuxi", "graph") not in others
    assert not {case for case in cases if case.mode != "eager" and "sparse" in case.optimizer}


@pytest.mark.parametrize(
    ("optimizer", "rates", "seconds"),
    [
        # z = 2, k = 2, one pair, B = 10, U = 2. plan: 160 bytes. rows: 200 operations, 320 bytes.
        # coordinates: 60 operations, 320 bytes and 48 for each touched feature and array (V and w with the state).
        ("adagrad", Rates(100, 100), 1.6 + 3.2 + 4.16),
        ("adagrad", Rates(50, 100), 1.6 + 4.0 + 4.16),
        ("adagrad", Rates(5, 100), 1.6 + 40.0 + 12.0),
        ("adam", Rates(100, 100), 1.6 + 3.2 + 4.64),
    ],
)
def test_the_training_floor_by_hand(optimizer, rates, seconds):
    case = Case("ours", "tiny", 10, optimizer)
    assert gpu.cases.train_floor(case, rates, Shape((1, 1), 2)) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(("rates", "seconds"), [(Rates(100, 1000), 1.2), (Rates(1000, 100), 1.2), (Rates(10, 10), 12)])
def test_the_scoring_floor_by_hand(rates, seconds):
    case = Case("ours", "tiny", 10, "adagrad")  # 10 (1 * 8 + 4) operations, 10 * 4 * 3 bytes
    assert gpu.cases.score_floor(case, rates, Shape((1, 1), 2)) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(("name", "microseconds"), [("criteo", 215), ("frappe", 24)])
def test_the_floor_on_an_h200_is_near_the_designs(name, microseconds):
    case, rates = Case("ours", name, 65536, "adagrad"), Rates(33.5e12, 4.3e12)
    floor = gpu.cases.train_floor(case, rates, replace(gpu.cases.SHAPES[name], k=16))
    assert floor * 1e6 == pytest.approx(microseconds, rel=0.05)


def test_touched_features():
    assert gpu.cases.touched(gpu.cases.SHAPES["criteo"], 1) == pytest.approx(39)
    assert gpu.cases.touched(Shape((3, 4), 2), 10**6) == pytest.approx(7)


# ---- rows


def test_rows_are_drawn_alike_each_time_and_stay_inside_their_fields():
    ids, y = gpu.rows.draw("tiny", 5000)
    gpu.rows.draw.cache_clear()
    again, y_again = gpu.rows.draw("tiny", 5000)
    np.testing.assert_array_equal(ids, again)
    np.testing.assert_array_equal(y, y_again)
    assert (ids.shape, ids.dtype) == ((5000, 5), np.int32)
    assert (ids.min(axis=0) == 0).all() and (ids.max(axis=0) < gpu.cases.SHAPES["tiny"].sizes).all()
    assert 0.2 < y.mean() < 0.3


def test_ids_follow_zipfs_law_and_are_spread():
    ids = gpu.rows.draw_field(1000, 100_000, np.random.default_rng(3))
    counts = np.bincount(ids, minlength=1000)
    share = np.sort(counts)[::-1] / len(ids)
    np.testing.assert_allclose(share[:3], gpu.cases.zipf(1000)[:3], rtol=0.05)
    assert np.argmax(counts) != 0


# ---- time


class Clock:
    """Time that passes only by work."""

    def __init__(self, *costs: float) -> None:
        self.now, self.costs, self.calls = 0.0, list(costs), []

    def perf_counter(self) -> float:
        return self.now

    def work(self, times: int) -> None:
        self.calls.append(times)
        self.now += times * (self.costs.pop(0) if self.costs else 0.125)


def test_the_rate_is_a_median_of_repeats_that_last(monkeypatch):
    clock = Clock(9.0, 0.125, 0.125, 0.125, 0.125, 5.0, 0.25)  # warm; 1, 2, 4 times; three repeats
    monkeypatch.setattr(gpu.timing, "time", clock)
    rate = gpu.timing.median_rate(clock.work, 50, Effort(seconds=0.5, repeats=3))
    assert clock.calls == [3, 1, 2, 4, 4, 4, 4]
    assert rate == 50 / 0.25


# ---- kernel times


def test_kernels_are_grouped_by_the_file_that_they_are_in(monkeypatch):
    spent = {"sort": 40.0, "row_gradient": 300.0, "memset": 8.0}
    monkeypatch.setattr(gpu.ours, "profile", lambda resident: spent)
    monkeypatch.setattr(gpu.ours, "kernel_stages", lambda: {"sort": "plan", "row_gradient": "rows"})
    found = gpu.ours.kernel_times(SimpleNamespace(batches=4), "cuda")
    assert found["kernels_us"] == {"rows": {"row_gradient": 75.0}, "plan": {"sort": 10.0}, "other": {"memset": 2.0}}


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        (lambda resident: {}, "PyTorch's profiler saw no kernel"),
        (lambda resident: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_kernel_times_that_cannot_be_had_have_a_reason(monkeypatch, profile, reason):
    monkeypatch.setattr(gpu.ours, "profile", profile)
    assert gpu.ours.kernel_times(SimpleNamespace(batches=4), "cuda") == {"kernels_us": None, "kernels_reason": reason}


def test_every_kernel_has_a_stage():
    stages = gpu.ours.kernel_stages()
    assert set(stages.values()) >= {"plan", "rows", "coordinates"}


# ---- PyTorch


def test_every_form_computes_the_model_that_ours_computes():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: its forms cannot be compared with ours")
    shape, (ids, _) = gpu.cases.SHAPES["tiny"], gpu.rows.draw("tiny", 40)
    sizes, n, F = shape.sizes, sum(shape.sizes), len(shape.sizes)
    rows, generator = FieldMatrix.from_ids(ids, sizes), np.random.default_rng(0)
    w0, w, V, R = (generator.normal(size=of).astype(np.float32) for of in ((1,), (1, n), (1, n, shape.k), (1, F, F)))
    backend = get_backend("numpy")
    want = backend.score(backend.load_model(Parameters(w0, w, V, R)), backend.load_data(rows))[:, 0]
    for form in gpu.cases.FORMS:
        net = gpu.torch_forms.make_net(sizes, shape.k, form, False, "cpu")
        local = form in gpu.torch_forms.TAKES_LOCAL_IDS
        given = torch.from_numpy(ids.astype(np.int64) if local else rows.indices.reshape(-1, F).astype(np.int64))
        with torch.no_grad():
            for parameter, value in ((net.w0, w0), (net.w.weight, w[0, :, None]), (net.V.weight, V[0])):
                parameter.copy_(torch.from_numpy(value))
            net.R.copy_(torch.from_numpy(R[0][np.triu_indices(F, 1)]))
            got = net(given).numpy()
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4, err_msg=form)  # PyTorch promises no order of sums
