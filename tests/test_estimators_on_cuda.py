"""The estimators on rows and targets that lie on a GPU; the CUDA engine's kernels are compiled for the host."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from cuda_host.device import host_backend
from cuda_host.fakes import CudaArray
from cuda_host.loader import compiler
from small_models import bits

pytest.importorskip("sklearn", minversion="1.7", reason="the estimators need scikit-learn 1.7 or later")

from fwfm_gpu import FwFMClassifier

random = np.random.default_rng(0)
X = random.normal(size=(40, 3)).astype(np.float32)
y = np.where(X[:, 0] > 0, 1, 0)


@pytest.fixture
def on_device(monkeypatch):
    """Makes classifiers that train there."""
    if compiler() is None:
        pytest.skip("g++ is missing: the CUDA engine's kernels cannot be compiled for the host")
    engine = host_backend(seed=17)
    for module in ("training", "continuation", "model", "estimators_base"):
        monkeypatch.setattr(import_module(f"fwfm_gpu.{module}"), "get_backend", lambda *given: engine)
    return lambda: FwFMClassifier(device="cuda", epochs=2, batch_size=8)


def test_rows_and_targets_on_a_device_train_as_those_on_the_host(on_device):
    there, here = on_device(), on_device()
    for method in ("fit", "partial_fit"):
        getattr(there, method)(CudaArray(X.copy()), CudaArray(y.copy()))
        getattr(here, method)(X, y)
        assert bits(there.model_) == bits(here.model_)
    assert there.n_features_in_ == 3
    np.testing.assert_array_equal(there.predict(CudaArray(X.copy())), here.predict(X))
    assert there.score(X, y) == here.score(X, y)
