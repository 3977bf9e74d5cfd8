"""The four rules: each bit is the contract's, nothing is widened, and FTRL starts where it was put."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import reference
from engine_data import DTYPES, RULES, Spec, bits, config_of

from fwfm_gpu import optimizers
from fwfm_gpu.optimizers import FTRL, SGD, AdaGrad, Adam, Corrections, Penalty, clip

STEPS = 20
INSTANCES = [SGD(0.1), AdaGrad(0.1), Adam(0.05, 0.9, 0.99, 1e-8), FTRL(0.2, 1.0, "warm"), FTRL(0.2, 1.0, "zero")]


def name_of(rule) -> str:
    return f"{rule.name}-{rule.ftrl_start}" if rule.name == "ftrl" else rule.name


def config(rule, dtype: str) -> dict:
    """The reference's view of a rule."""
    return {**config_of(Spec(rule=rule.name, dtype=dtype)), **vars(rule)}


def penalty_of(config: dict, group: str) -> Penalty:
    T = np.dtype(config["dtype"]).type
    name = {"w": "linear", "V": "factors"}.get(group)
    return Penalty(T(config[f"l1_{name}"]), T(config[f"l2_{name}"])) if name else Penalty(T(0), T(0))


def corrections_of(rule, t: int, dtype: str, size: int) -> Corrections | None:
    if not rule.counts:
        return None
    first, second = (table[min(t, len(table) - 1)] for table in rule.correction_tables(t, dtype))
    return Corrections(np.full(size, first), np.full(size, second))


def start_values(dtype: str) -> np.ndarray:
    theta = np.random.default_rng(1).normal(size=60)
    theta[::6] = 0
    theta[1::6] = -0.0
    theta[2::6] *= 1e-30
    theta = theta.astype(dtype)
    theta[3] = np.finfo(dtype).smallest_subnormal
    return theta


@pytest.mark.parametrize("group", ["w0", "w", "V"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", INSTANCES, ids=name_of)
def test_steps_equal_the_scalar_formula_bit_for_bit(rule, dtype, group):
    settings, theta = config(rule, dtype), start_values(dtype)
    penalty, update = penalty_of(settings, group), reference.Update(settings)
    state = rule.start(theta, penalty)
    theta_1, state_1 = list(theta), [update.start(group, value) for value in theta]
    for t in range(1, STEPS + 1):
        mean = (np.random.default_rng(t).normal(size=len(theta)) * 10.0 ** -(t % 4)).astype(dtype)
        mean[::5] = 0
        theta, state = rule.step(theta, mean, state, penalty, corrections_of(rule, t, dtype, len(theta)))
        theta_1 = [update.step(group, *one, t) for one in zip(theta_1, mean, state_1, strict=True)]
        assert {array.dtype for array in (theta, *state)} == {np.dtype(dtype)}
        np.testing.assert_array_equal(bits(theta), bits(np.array(theta_1)))
        for name, array in zip(rule.moments, state, strict=True):
            np.testing.assert_array_equal(bits(array), bits(np.array([one[name] for one in state_1])), name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_mean_gradient_is_held_between_its_bounds(dtype):
    T = np.dtype(dtype).type
    mean = np.array([-3, -0.1, -0.0, 0, 0.05, 0.1, 0.2, np.inf, -np.inf, np.nan], T)
    with np.errstate(invalid="ignore"):
        got = clip(mean, T(0.1))
    assert got.dtype == mean.dtype
    want = np.array([T(-0.1), T(-0.1), -0.0, 0, T(0.05), T(0.1), T(0.1), np.inf, -np.inf, np.nan], T)
    np.testing.assert_array_equal(bits(got[:-1]), bits(want[:-1]))
    assert np.isnan(got[-1])


@pytest.mark.parametrize("rule", INSTANCES, ids=name_of)
def test_a_rule_clips_what_it_is_given_before_its_penalty(rule):
    theta = start_values("float32")
    state = rule.start(theta, penalty := penalty_of(config(rule, "float32"), "w"))
    corrections, mean = corrections_of(rule, 1, "float32", len(theta)), np.linspace(-1, 1, len(theta), dtype="float32")
    got = replace(rule, gradient_clip=0.25).step(theta, mean, state, penalty, corrections)
    want = rule.step(theta, np.clip(mean, np.float32(-0.25), np.float32(0.25)), state, penalty, corrections)
    np.testing.assert_array_equal(bits(got[0]), bits(want[0]))
    assert all(np.array_equal(bits(a), bits(b)) for a, b in zip(got[1], want[1], strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", INSTANCES, ids=name_of)
def test_a_step_changes_no_argument(rule, dtype):
    theta = start_values(dtype)
    state = rule.start(theta, penalty := penalty_of(config(rule, dtype), "w"))
    arrays = (theta, mean := np.ones_like(theta), *state)
    before = [array.tobytes() for array in arrays]
    rule.step(theta, mean, state, penalty, corrections_of(rule, 1, dtype, len(theta)))
    assert [array.tobytes() for array in arrays] == before


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", INSTANCES, ids=name_of)
def test_constants_are_scalars_of_t(rule, dtype):
    assert {type(constant) for constant in rule.constants(dtype)} == {np.dtype(dtype).type}


def test_one_minus_beta_is_rounded_once():
    constants = Adam(0.1, beta_2=0.999).constants("float32")
    assert constants.one_minus_beta_2 == np.float32(1 - 0.999) != 1 - np.float32(0.999)


@pytest.mark.parametrize("rule", INSTANCES[:3], ids=name_of)
def test_state_starts_at_zero(rule):
    theta = start_values("float32")
    state = rule.start(theta, Penalty(np.float32(0), np.float32(0)))
    assert len(state) == len(rule.moments)
    assert not any(bits(array).any() for array in state)


def test_rules_are_found_by_name():
    assert tuple(optimizers.RULES) == RULES
    assert all(rule.name == name for name, rule in optimizers.RULES.items())
    assert [rule.name for rule in optimizers.RULES.values() if rule.counts] == ["adam"]


# ---- Adam's tables


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("most", [1, 2, 3, 7, 8, 1000])
def test_correction_tables_reach_the_largest_count(most, dtype):
    for beta, table in zip((0.9, 0.999), Adam(0.1).correction_tables(most, dtype), strict=True):
        assert table.dtype == dtype
        assert len(table) > most or table[-1] == 1
        got = table[min(most, len(table) - 1)]
        assert got == np.dtype(dtype).type(reference.one_minus_power(beta, most))


# ---- FTRL


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("start", ["warm", "zero"])
def test_ftrl_keeps_zeros_without_a_gradient(dtype, start):
    T = np.dtype(dtype).type
    rule, penalty, zeros = FTRL(0.1, ftrl_start=start), Penalty(T(0.01), T(0.1)), np.array([0.0, -0.0], dtype)
    z, n = rule.start(zeros, penalty)
    assert not bits(z).any()
    theta, _ = rule.step(zeros, np.zeros_like(zeros), (z, n), penalty, None)
    assert not bits(theta).any()


def test_ftrl_from_zero_forgets_its_start():
    zero = np.float32(0)
    rule, theta = FTRL(0.1, ftrl_start="zero"), np.ones(3, np.float32)
    state = rule.start(theta, Penalty(zero, zero))
    theta, _ = rule.step(theta, np.zeros_like(theta), state, Penalty(zero, zero), None)
    assert not theta.any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rate", "beta", "l2"), [(0.1, 1.0, 0.0), (0.2, 0.5, 0.01), (0.03, 1.0, 1e-5)])
def test_a_warm_start_gives_theta_back_to_the_last_bit_but_one(dtype, rate, beta, l2):
    T = np.dtype(dtype).type
    rule, penalty = FTRL(rate, beta), Penalty(T(0), T(l2))
    theta = np.random.default_rng(0).normal(size=1000).astype(dtype)
    back, _ = rule.step(theta, np.zeros_like(theta), rule.start(theta, penalty), penalty, None)
    assert np.max(np.abs(bits(back).astype(np.int64) - bits(theta).astype(np.int64))) <= 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("l1", [0.02, 1.0])
def test_a_warm_start_with_l1_gives_theta_back_to_a_rounding_of_z(dtype, l1):
    T = np.dtype(dtype).type
    rule, penalty = FTRL(0.1), Penalty(T(l1), T(0.01))
    theta = np.random.default_rng(0).normal(size=1000).astype(dtype)
    z, n = rule.start(theta, penalty)
    back, _ = rule.step(theta, np.zeros_like(theta), (z, n), penalty, None)
    scale = 1.0 / 0.1 + 0.01
    assert np.all(np.abs(back - theta) <= np.spacing(np.abs(z)) / scale + 2 * np.spacing(np.abs(theta)))
