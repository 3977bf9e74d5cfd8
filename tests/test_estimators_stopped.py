"""Ctrl-C in fit: what was learned stays, and KeyboardInterrupt goes on to whoever called."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest
from small_models import CtrlC, bits, make_rows

pytest.importorskip("sklearn", minversion="1.7", reason="the estimators need scikit-learn 1.7 or later")

from sklearn.model_selection import GridSearchCV

import fwfm_gpu
from fwfm_gpu import Callback, FwFMClassifier, FwFMRegressor, epochs

SMALL = {"n_factors": 3, "batch_size": 8, "epochs": 4, "device": "numpy"}
X, y = make_rows()
A = X.to_csr()


@pytest.fixture(autouse=True)
def one_batch_at_a_time(monkeypatch):
    monkeypatch.setattr(epochs, "PROMPT", 0.0)


def stopped(estimator, rows=A, targets=y):
    """Fitted until Ctrl-C, which warns of nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(KeyboardInterrupt, match=r"Ctrl-C: training stopped after .* finished epochs"):
            estimator.fit(rows, targets)
    return estimator


@pytest.mark.parametrize("kind", [FwFMClassifier, FwFMRegressor])
def test_the_partial_model_is_kept(kind):
    targets = y if kind is FwFMClassifier else make_rows(loss="squared")[1]
    estimator = stopped(kind(**SMALL, callbacks=[CtrlC()]), targets=targets)
    with pytest.warns(fwfm_gpu.errors.InterruptedTrainingWarning):
        model = fwfm_gpu.train(A, targets, callbacks=[CtrlC()], progress=False, **SMALL)
    assert bits(estimator.model_) == bits(model)
    assert model.trained.position.batches == 3
    assert estimator.n_iter_ == len(estimator.history_) == 1
    np.testing.assert_array_equal(estimator.predict(A), model.predict(A))


def test_a_warm_start_goes_on_where_it_stopped():
    estimator = stopped(FwFMClassifier(**SMALL, callbacks=[CtrlC()], warm_start=True))
    estimator.set_params(callbacks=(), epochs=3).fit(A, y)
    assert estimator.n_iter_ == 4
    assert bits(estimator.model_) == bits(FwFMClassifier(**SMALL).fit(A, y).model_)


def test_a_warm_start_that_is_stopped_keeps_its_part_too():
    estimator = FwFMClassifier(**SMALL, warm_start=True).fit(A, y)
    stopped(estimator.set_params(callbacks=[CtrlC(epoch=6)]))
    assert estimator.n_iter_ == 5
    assert estimator.model_.trained.position.batches == 3


def test_ctrl_c_in_the_last_batch_is_raised_as_well():
    estimator = stopped(FwFMClassifier(**SMALL, callbacks=[CtrlC(4, 6)]))
    assert estimator.n_iter_ == 4
    assert bits(estimator.model_) == bits(FwFMClassifier(**SMALL).fit(A, y).model_)


def test_the_second_ctrl_c_does_not_wait():
    estimator = FwFMClassifier(**SMALL, callbacks=[CtrlC(times=2)])
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(A, y)
    assert not hasattr(estimator, "model_")


def test_the_handler_comes_back():
    before = signal.getsignal(signal.SIGINT)
    stopped(FwFMClassifier(**SMALL, callbacks=[CtrlC()]))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_grid_search_stops():
    begun = []

    class Count(Callback):
        def on_begin(self, status):
            begun.append(status)

        def on_epoch(self, status):
            signal.raise_signal(signal.SIGINT)

        def __deepcopy__(self, memo):
            return self

    with pytest.raises(KeyboardInterrupt):
        GridSearchCV(FwFMClassifier(**SMALL, callbacks=[Count()]), {"n_factors": [0, 1, 2]}, cv=3).fit(A, y)
    assert len(begun) == 1


PROGRAM = """
import os, signal, sys
import numpy as np
from sklearn.model_selection import cross_val_score
from fwfm_gpu import Callback, FwFMClassifier

class Interrupt(Callback):
    def on_epoch(self, status):
        os.kill(os.getpid(), signal.SIGINT)

if __name__ == "__main__":
    X = np.random.default_rng(0).normal(size=(60, 3))
    classifier = FwFMClassifier(device="numpy", epochs=100_000, callbacks=[Interrupt()])
    try:
        cross_val_score(classifier, X, X[:, 0] > 0, cv=4, n_jobs=2)
    except KeyboardInterrupt as error:
        print("stopped:", error)
"""


@pytest.mark.skipif(os.name != "posix", reason="os.kill sends no SIGINT there")
def test_ctrl_c_in_a_worker_of_joblib_stops_them_all():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.startswith("stopped:"), done.stderr
