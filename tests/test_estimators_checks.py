"""scikit-learn's own checks of an estimator, every one of them, on every engine."""

from __future__ import annotations

import pytest

pytest.importorskip("sklearn", minversion="1.7", reason="the estimators need scikit-learn 1.7 or later")

from sklearn.utils.estimator_checks import parametrize_with_checks

from fwfm_gpu import FwFMClassifier, FwFMRegressor

UNEQUAL = "the mean gradient is over rows, not over weights (numerics 5); scikit-learn's SGD models are excused too"
EPOCHS = 100  # the checks give 1000 to every estimator that iterates, where it calls them max_iter


def expected_failures(estimator):
    """By name, with the reason."""
    return {f"check_sample_weight_equivalence_on_{kind}_data": UNEQUAL for kind in ("dense", "sparse")}


def every_check(device):
    """Of both estimators."""
    estimators = [FwFMClassifier(epochs=EPOCHS, device=device), FwFMRegressor(epochs=EPOCHS, device=device)]
    return parametrize_with_checks(estimators, expected_failed_checks=expected_failures)


@every_check("numpy")
def test_with_numpy(estimator, check):
    check(estimator)


@every_check("cpu")
def test_compiled(estimator, check):
    pytest.importorskip("numba", reason="numba is missing: the compiled engine cannot be built")
    check(estimator)


@pytest.mark.gpu
@every_check("cuda")
def test_on_a_gpu(estimator, check):
    check(estimator)
