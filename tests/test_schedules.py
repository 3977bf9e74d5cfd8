"""Schedules: each factor is the float64 nearest to its formula, and each epoch is trained at its own rate."""

from __future__ import annotations

import decimal
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import reference
from small_models import RULES, bits, make_rows
from small_models import train as train_small

import fwfm_gpu
from fwfm_gpu.errors import OptionError
from fwfm_gpu.model import FwFM
from fwfm_gpu.options import Options
from fwfm_gpu.schedules import SCHEDULES, Plan


def train(X, y, **options):
    """On NumPy: engines are compared in tests/backends."""
    return train_small(X, y, **{"device": "numpy", **options})


# ---- factors


@pytest.mark.parametrize("floor", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("P", [1, 2, 3, 7, 1000])
def test_linear_is_the_nearest_to_the_exact_fraction(P, floor):
    low = Fraction(floor)
    for p in range(P):
        exact = low + (1 - low) * Fraction(P - p, P)
        assert Plan("linear", P, floor=floor).factor(p) == exact.numerator / exact.denominator


@pytest.mark.parametrize("decay", [0.9, 0.5, 1.0, 1e-3])
def test_powers_are_the_nearest_to_the_exact_ones(decay):
    for p in (0, 1, 2, 3, 17, 100):
        assert Plan("exponential", 5, decay=decay).factor(p) == reference.power(decay, p)
        assert Plan("step", 5, decay=decay, every=3).factor(p) == reference.power(decay, p // 3)


@pytest.mark.parametrize("P", [1, 2, 3, 4, 5, 12, 365, 1000])
def test_cosine_is_the_nearest_to_the_exact_one(P):
    one = np.longdouble(1)
    pi = np.longdouble("3.14159265358979323846264338327950288")
    for p in range(P):
        factor = Plan("cosine", P).factor(p)
        exact = (one + np.cos(pi * np.longdouble(p) / np.longdouble(P))) / 2
        if np.finfo(np.longdouble).nmant > 60 and 2 * p <= P:  # beyond, the sum cancels digits of the longer type too
            assert abs(np.longdouble(factor) - exact) <= np.longdouble(0.501) * np.longdouble(math.ulp(factor))
        assert factor == pytest.approx(float(exact), rel=1e-12)
    assert all(Plan("cosine", 12).factor(p) == wanted for p, wanted in ((0, 1), (4, 0.75), (6, 0.5), (8, 0.25)))


def test_a_factor_does_not_fall_below_the_floor():
    assert [Plan("exponential", 9, floor=0.3, decay=0.5).factor(p) for p in range(4)] == [1, 0.5, 0.3, 0.3]
    assert [Plan("step", 9, floor=0.3, decay=0.5, every=2).factor(p) for p in range(5)] == [1, 1, 0.5, 0.5, 0.3]
    assert min(Plan("cosine", 50, floor=0.3).factor(p) for p in range(90)) > 0.3


def test_the_rate_rises_in_equal_steps_and_then_the_schedule_begins():
    assert [Plan("constant", 5, warmup=3).factor(p) for p in range(5)] == [0.25, 0.5, 0.75, 1, 1]
    assert [Plan("linear", 6, warmup=2).factor(p) for p in range(6)] == [1 / 3, 2 / 3, 1, 0.75, 0.5, 0.25]
    assert [Plan("linear", 2, warmup=5).factor(p) for p in (4, 5, 6)] == [5 / 6, 1, 1]


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_epochs_beyond_the_plan_keep_its_last_rate(schedule):
    plan = Plan(schedule, 4, warmup=1)
    assert plan.factor(3) == plan.factor(4) == plan.factor(99) > 0
    assert Plan(schedule, 0).factor(0) == 1


def test_a_function_is_asked_with_epochs_from_the_end_of_the_warm_up():
    asked = []
    plan = Plan(lambda *given: asked.append(given) or 0.5, 5, warmup=2)
    assert [plan.factor(p) for p in (1, 2, 6)] == [2 / 3, 0.5, 0.5]
    assert asked == [(0, 3), (4, 3)]


def test_the_callers_decimals_have_no_say():
    want = [Plan(schedule, 9).factor(5) for schedule in SCHEDULES]
    with decimal.localcontext(decimal.Context(prec=3, rounding=decimal.ROUND_UP, traps=[decimal.Inexact])):
        assert [Plan(schedule, 9).factor(5) for schedule in SCHEDULES] == want


# ---- options


def test_rates_are_products_in_float64():
    options = Options(learning_rate=0.3, schedule="linear", epochs=10)
    assert options.rates(0, 3) == {0: 0.3, 1: 0.3 * 0.9, 2: 0.3 * 0.8}
    assert Options(learning_rate=0.3).rates(5, 7) == {5: 0.3, 6: 0.3}
    assert Options(learning_rate=1, schedule=lambda e, E: np.float32(e + 1)).rates(1, 2) == {1: 2.0}


@pytest.mark.parametrize(
    "given, words",
    [
        ({"schedule": "Cosine"}, "schedule must be one of 'constant', 'linear', 'cosine', 'exponential', 'step'; got"),
        ({"schedule": 1}, "schedule must be one of"),
        ({"warmup_epochs": -1}, "warmup_epochs must be a whole number, 0 or above"),
        ({"warmup_epochs": 0.5}, "warmup_epochs must be a whole number"),
        ({"schedule_every": 0}, "schedule_every must be a whole number, 1 or above"),
        ({"schedule_floor": 1.5}, "schedule_floor must be a finite number from 0 to 1; got 1.5"),
        ({"schedule_floor": None}, "schedule_floor must be a number"),
        ({"schedule_decay": 0}, "schedule_decay must be a finite number above 0, 1 at most"),
        ({"schedule_decay": math.nan}, "schedule_decay must be"),
    ],
)
def test_a_wrong_schedule_is_refused(given, words):
    with pytest.raises(OptionError, match=words):
        Options(**given)


@pytest.mark.parametrize("factor", [0, -1, math.inf, math.nan, 1e-46, 10**400, None, "1", True])
def test_a_rate_that_no_step_can_be_made_at_is_refused_before_training(factor):
    X, y = make_rows()
    with pytest.raises(OptionError, match="for epoch 2"):
        train(X, y, schedule=lambda epoch, epochs: factor if epoch else 1.0, callbacks=[lambda status: 1 / 0])


def test_a_rate_that_vanishes_is_refused():
    with pytest.raises(OptionError, match=r"float32 number above 0; got .* for epoch 1001.*Raise schedule_floor"):
        Options(schedule="exponential").rates(1000, 1001)
    assert Options(schedule="exponential", dtype="float64").rates(1000, 1001)[1000] > 0


def test_none_is_no_schedule():
    with pytest.raises(OptionError, match=r"schedule must be one of .* or a callable; got None"):
        train(*make_rows(), schedule=None)


# ---- training


def by_epoch(X, y, rates, **options):
    """Training epoch by epoch, each as if its rate were that of the whole training."""
    model = train(X, y, epochs=0, **options)
    for rate in rates:
        at_rate = replace(model.options, learning_rate=rate)
        model = FwFM(at_rate, model.loss, model.labels, model.columns, model.trained)
        model.continue_training(X, y, epochs=1, progress=False)
    return model


@pytest.mark.parametrize("rule", RULES)
def test_each_epoch_is_trained_at_its_own_rate(rule):
    X, y = make_rows()
    options = {"optimizer": rule, "learning_rate": 0.2}
    model = train(X, y, epochs=4, schedule="cosine", warmup_epochs=1, **options)
    rates = [0.2 * Plan("cosine", 4, 1).factor(p) for p in range(4)]
    assert len(set(rates)) == 4
    assert bits(model) == bits(by_epoch(X, y, rates, **options))
    assert [record.learning_rate for record in model.history] == rates
    assert bits(model) != bits(train(X, y, epochs=4, **options))


def test_a_constant_schedule_changes_no_bit():
    X, y = make_rows()
    model = train(X, y, epochs=3)
    assert bits(model) == bits(train(X, y, epochs=3, schedule=lambda epoch, epochs: 1))
    assert [record.learning_rate for record in model.history] == [0.1] * 3


@pytest.mark.parametrize("options", [{"schedule": "exponential"}, {"schedule": "step", "schedule_every": 3}, {}])
def test_schedules_that_know_no_end_go_on_as_if_there_were_no_pause(options, path):
    X, y = make_rows()
    whole = train(X, y, epochs=8, warmup_epochs=2, **options)
    train(X, y, epochs=3, warmup_epochs=2, **options).save(path)
    parts = fwfm_gpu.load(path, device="numpy").continue_training(X, y, epochs=5, progress=False)
    assert bits(parts) == bits(whole)
    assert [a.learning_rate for a in parts.history] == [a.learning_rate for a in whole.history]


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_training_that_was_stopped_keeps_to_its_plan(schedule, path):
    X, y = make_rows()
    whole = train(X, y, epochs=6, schedule=schedule)
    stop = lambda status: status.epoch == 3  # noqa: E731
    stopped = train(X, y, epochs=6, schedule=schedule, callbacks=[stop])
    assert stopped.trained.position.epochs < 6
    stopped.save(path)
    done = stopped.trained.position.epochs
    parts = fwfm_gpu.load(path, device="numpy").continue_training(X, y, epochs=6 - done, progress=False)
    assert bits(parts) == bits(whole)
    parts.continue_training(X, y, epochs=2, progress=False)
    assert [record.learning_rate for record in parts.history][5:] == [whole.history[-1].learning_rate] * 3


def test_a_function_has_to_be_passed_again(path):
    X, y = make_rows()
    schedule = lambda epoch, epochs: 1 / (1 + epoch)  # noqa: E731
    whole = train(X, y, epochs=4, schedule=schedule)
    train(X, y, epochs=2, schedule=schedule).save(path)
    model = fwfm_gpu.load(path, device="numpy")
    with pytest.raises(OptionError, match="schedule was a function, which a model file cannot keep"):
        model.continue_training(X, y, epochs=2, progress=False)
    assert bits(model.continue_training(X, y, epochs=2, schedule=schedule, progress=False)) == bits(whole)


def test_a_pass_has_the_rate_that_was_asked_for():
    X, y = make_rows()
    model = train(X, y, epochs=0, schedule="step", warmup_epochs=3).partial_fit(X, y)
    assert bits(model)[0] == bits(train(X, y, epochs=0).partial_fit(X, y))[0]


def test_the_engine_keeps_the_recipe_of_a_model(backend):
    X, y = make_rows()
    recipe = Options(batch_size=8).recipe("logistic")
    start = train(X, y, epochs=0).parameters
    data = backend.load_data(X.rounded("float32"), (y == "odd").astype(float))
    models = [backend.load_model(start, None, recipe) for _ in range(2)]
    for model, rates in zip(models, ((0.3, None), (0.3, 0.1)), strict=True):
        for rate in rates:
            run = backend.begin(model, data, np.arange(44), learning_rate=rate)
            backend.advance(run, 6)
            assert backend.collect(run).batches == 6
    one, other = (backend.fetch_model(model)[0] for model in models)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one.arrays().values(), other.arrays().values(), strict=True))
