"""Losses: the gradient is the derivative of the value, and the contract's to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from engine_data import bits

from fwfm_gpu.losses import LOSSES

CASES = [
    *(("logistic", 1, eps) for eps in (0.0, 0.1, 0.9)),
    ("squared", 1, 0.0),
    *(("softmax", C, eps) for C in (2, 3, 5) for eps in (0.0, 0.1)),
]


def scores_and_targets(name: str, n_classes: int, scale: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(n_classes)
    s_bc = generator.normal(0, scale, (300, n_classes))
    if name == "squared":
        return s_bc, generator.normal(size=300)
    return s_bc, generator.integers(max(2, n_classes), size=300).astype(float)


@pytest.mark.parametrize(("name", "n_classes", "eps"), CASES)
def test_gradient_is_the_derivative_of_the_value(name, n_classes, eps):
    loss, h = LOSSES[name], 1e-5
    s_bc, y_b = scores_and_targets(name, n_classes)
    gradient_bc = loss.gradient(s_bc, y_b, eps)
    for c in range(n_classes):
        step = h * (np.arange(n_classes) == c)
        numeric_b = (loss.value(s_bc + step, y_b, eps) - loss.value(s_bc - step, y_b, eps)) / (2 * h)
        np.testing.assert_allclose(gradient_bc[:, c], numeric_b, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e300])
@pytest.mark.parametrize(("name", "n_classes", "eps"), CASES)
def test_gradient_equals_the_reference_bit_for_bit(name, n_classes, eps, scale):
    s_bc, y_b = scores_and_targets(name, n_classes, scale)
    rows = zip(s_bc.tolist(), y_b.tolist(), strict=True)
    want = np.array([reference.loss_gradient(name, s, y, eps) for s, y in rows])
    np.testing.assert_array_equal(bits(LOSSES[name].gradient(s_bc, y_b, eps)), bits(want))


@pytest.mark.parametrize(("name", "n_classes", "eps"), [case for case in CASES if case[0] != "squared"])
def test_gradient_of_a_classifier_is_bounded_by_one(name, n_classes, eps):
    s_bc, y_b = scores_and_targets(name, n_classes, 1e300)
    assert np.max(np.abs(LOSSES[name].gradient(s_bc, y_b, eps))) <= 1


@pytest.mark.parametrize(("n_classes", "eps"), [(2, 0.0), (3, 0.1), (5, 0.3)])
def test_gradients_of_softmax_add_up_to_nothing(n_classes, eps):
    s_bc, y_b = scores_and_targets("softmax", n_classes)
    np.testing.assert_allclose(LOSSES["softmax"].gradient(s_bc, y_b, eps).sum(axis=1), 0, atol=1e-15)


@pytest.mark.parametrize(("name", "eps", "s"), [("logistic", 0.2, np.log(9)), ("softmax", 0.1, np.log(9))])
def test_label_smoothing_moves_the_best_score_to_the_smoothed_target(name, eps, s):
    s_bc = np.array([[s]]) if name == "logistic" else np.array([[0.0, s]])
    np.testing.assert_allclose(LOSSES[name].gradient(s_bc, np.array([1.0]), eps), 0, atol=1e-15)


def test_two_classes_of_softmax_are_logistic():
    s_bc, y_b = scores_and_targets("softmax", 2)
    one = s_bc[:, 1:] - s_bc[:, :1]
    np.testing.assert_allclose(
        LOSSES["softmax"].gradient(s_bc, y_b, 0)[:, 1:], LOSSES["logistic"].gradient(one, y_b, 0), atol=1e-15
    )
    np.testing.assert_allclose(LOSSES["softmax"].value(s_bc, y_b, 0), LOSSES["logistic"].value(one, y_b, 0))


@pytest.mark.parametrize(("name", "n_classes", "eps"), CASES)
def test_total_is_the_sum_of_weighted_values(name, n_classes, eps):
    s_bc, y_b = scores_and_targets(name, n_classes)
    weight_b = np.random.default_rng(0).random(len(y_b))
    value_b = LOSSES[name].value(s_bc, y_b, eps)
    assert LOSSES[name].total(s_bc, y_b, eps, None) == pytest.approx(value_b.sum())
    assert LOSSES[name].total(s_bc, y_b, eps, weight_b) == pytest.approx(weight_b @ value_b)


@pytest.mark.parametrize(("name", "n_classes", "eps"), CASES)
def test_values_stay_finite_at_huge_scores(name, n_classes, eps):
    s_bc, y_b = scores_and_targets(name, n_classes, 1e150)
    assert np.all(np.isfinite(LOSSES[name].value(s_bc, y_b, eps)))


def test_only_squared_loss_has_no_labels():
    assert [name for name, loss in LOSSES.items() if not loss.classifies] == ["squared"]
    assert all(loss.name == name for name, loss in LOSSES.items())
