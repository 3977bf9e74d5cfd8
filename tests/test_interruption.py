"""Ctrl-C: the first stops between batches, the second raises, and the handler comes back. SIGTERM too, if asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
from small_models import CtrlC

import fwfm_gpu
from fwfm_gpu import Callback, epochs
from fwfm_gpu.errors import DivergenceError, FwfmWarning, InterruptedTrainingWarning
from fwfm_gpu.interruption import Interruption, terminable

X = np.random.default_rng(0).integers(0, 2, (44, 5)).astype(float)
y = np.random.default_rng(1).integers(0, 2, 44)
OPTIONS = {"n_factors": 3, "batch_size": 8, "epochs": 3, "validation_fraction": 0.2, "progress": False}


class CtrlCAtOnce(Callback):
    def on_begin(self, status):
        signal.raise_signal(signal.SIGINT)


def bits(model):
    """All that further training depends on, to be compared by ==."""
    arrays = [*model.parameters.arrays().values(), *model.optimizer_state.as_list()]
    return [array.tobytes() for array in arrays], model.trained.generator_state, model.trained.position


def interrupted(*callbacks, **options):
    with pytest.warns(InterruptedTrainingWarning):
        return fwfm_gpu.train(X, y, **{**OPTIONS, **options}, callbacks=callbacks or [CtrlC()])


@pytest.fixture(autouse=True)
def one_batch_at_a_time(monkeypatch):
    monkeypatch.setattr(epochs, "PROMPT", 0.0)


@pytest.fixture(autouse=True)
def own_handler():
    """A handler to be found again after every test."""

    def handler(number, frame):
        raise AssertionError("Ctrl-C reached the former handler")

    former = signal.signal(signal.SIGINT, handler)
    yield handler
    found = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, former)
    assert found is handler


def test_the_model_of_the_last_batch_comes_back():
    model = interrupted()
    position = model.trained.position
    assert (position.epochs, position.batches, len(model.history)) == (1, 3, 1)
    assert model.predict(X).shape == (44,)


def test_the_warning_says_where_and_points_at_the_caller():
    with pytest.warns(InterruptedTrainingWarning, match="in epoch 2 after 3 of 5 batches.*continue_training") as caught:
        fwfm_gpu.train(X, y, **OPTIONS, callbacks=[CtrlC()])
    assert caught[0].filename == __file__


def test_going_on_is_warned_of_in_the_same_way():
    model = fwfm_gpu.train(X, y, **OPTIONS)
    with pytest.warns(InterruptedTrainingWarning, match="in epoch 5 after 1 of 5") as caught:
        model.continue_training(X, y, epochs=3, callbacks=[CtrlC(5, 1)], progress=False)
    assert caught[0].filename == __file__
    assert len(model.history) == 4


@pytest.mark.parametrize("rule", ["sgd", "adagrad", "adam", "ftrl"])
def test_interrupted_saved_loaded_and_continued_equals_never_stopped(rule, tmp_path):
    never_stopped = fwfm_gpu.train(X, y, **OPTIONS, optimizer=rule)
    stopped = interrupted(optimizer=rule)
    stopped.save(tmp_path / "model.fwfm")
    for model in (fwfm_gpu.load(tmp_path / "model.fwfm"), stopped):
        model.continue_training(X, y, epochs=2, progress=False)
        assert bits(model) == bits(never_stopped)
        assert model.history[1].metrics == never_stopped.history[1].metrics
        assert model.history[1].loss == never_stopped.history[1].loss


@pytest.mark.skipif(os.name != "posix", reason="os.kill sends no SIGINT there")
def test_a_signal_from_outside_stops_too():
    def send(status):
        os.kill(os.getpid(), signal.SIGINT)

    assert len(interrupted(send).history) == 1


def test_before_the_first_batch_nothing_is_trained():
    model = interrupted(CtrlCAtOnce())
    assert bits(model) == bits(fwfm_gpu.train(X, y, **{**OPTIONS, "epochs": 0}))


def test_the_best_epoch_is_not_restored():
    model = interrupted(CtrlC(3, 2), patience=5)
    assert (model.trained.position.epochs, model.trained.position.batches) == (2, 2)


def test_an_epoch_interrupted_on_other_data_is_left_out():
    model = interrupted()
    with pytest.warns(FwfmWarning, match="epoch 2 was interrupted on other data: its rest is left out") as caught:
        model.continue_training(X[:40], y[:40], epochs=1, progress=False)
    assert caught[0].filename == __file__
    assert [record.epoch for record in model.history] == [1, 2]
    assert model.trained.position.batches == 0


def test_a_pass_leaves_the_interrupted_epoch_behind():
    model = interrupted()
    with pytest.warns(FwfmWarning, match="epoch 2 was interrupted, and a pass begins elsewhere"):
        model.partial_fit(X, y)
    position = model.trained.position
    assert (position.epochs, position.batches, position.loss) == (1, 0, 0.0)


# the handler


def test_the_second_one_raises():
    with pytest.raises(KeyboardInterrupt):
        fwfm_gpu.train(X, y, **OPTIONS, callbacks=[CtrlC(times=2)])


def test_the_second_one_leaves_the_model_that_goes_on():
    model = fwfm_gpu.train(X, y, **OPTIONS)
    before = model.trained
    with pytest.raises(KeyboardInterrupt):
        model.continue_training(X, y, epochs=3, callbacks=[CtrlC(5, 1, times=2)], progress=False)
    assert model.trained is before


def test_the_handler_comes_back(own_handler):
    during = []
    fwfm_gpu.train(X, y, **OPTIONS, callbacks=[lambda status: during.append(signal.getsignal(signal.SIGINT))])
    assert own_handler not in during
    assert signal.getsignal(signal.SIGINT) is own_handler


def fail(status):
    raise LookupError("on purpose")


@pytest.mark.parametrize(
    "options, error",
    [({"callbacks": [fail]}, LookupError), ({"learning_rate": 1e38, "optimizer": "sgd"}, DivergenceError)],
    ids=["callback", "divergence"],
)
def test_the_handler_comes_back_after_an_error(options, error, own_handler):
    with pytest.raises(error):
        fwfm_gpu.train(X, y, **{**OPTIONS, **options})
    assert signal.getsignal(signal.SIGINT) is own_handler


def test_the_handler_comes_back_when_the_warning_is_an_error(own_handler):
    with warnings.catch_warnings():
        warnings.simplefilter("error", InterruptedTrainingWarning)
        with pytest.raises(InterruptedTrainingWarning):
            fwfm_gpu.train(X, y, **OPTIONS, callbacks=[CtrlC()])
    assert signal.getsignal(signal.SIGINT) is own_handler


def in_thread(function):
    """What a function gives in a thread that is not the main one."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


def test_elsewhere_than_in_the_main_thread_nothing_is_installed(own_handler):
    during = []

    def run():
        return fwfm_gpu.train(X, y, **OPTIONS, callbacks=[lambda s: during.append(signal.getsignal(signal.SIGINT))])

    model = in_thread(run)
    assert during == [own_handler] * 3
    assert bits(model) == bits(fwfm_gpu.train(X, y, **OPTIONS))


def test_one_inside_another(own_handler):
    with Interruption() as outer:
        with Interruption() as inner:
            signal.raise_signal(signal.SIGINT)
        assert (inner.requested, outer.requested) == (True, False)
        signal.raise_signal(signal.SIGINT)
        assert outer.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is own_handler


def test_a_handler_that_python_does_not_know_becomes_the_default(monkeypatch):
    installed = []
    with monkeypatch.context() as patch:
        patch.setattr(signal, "signal", lambda number, handler: installed.append(handler))  # gives None, as then
        with Interruption() as interruption:
            pass
    assert installed == [interruption.remember, signal.SIG_DFL]


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals are ignored so on POSIX systems")
def test_an_ignored_signal_stays_ignored():
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, former)
    assert not interruption.requested


def test_ctrl_c_during_the_evaluation_starts_no_other_epoch():
    class CtrlCAfter(Callback):
        def on_epoch(self, status):
            signal.raise_signal(signal.SIGINT)

    for batch_size in (8, 64):
        model = interrupted(CtrlCAfter(), batch_size=batch_size)
        assert (model.trained.position.epochs, model.trained.position.batches) == (1, 0)


def test_ctrl_c_after_the_last_epoch_stops_nothing():
    class CtrlCAtTheEnd(Callback):
        def on_epoch(self, status):
            if status.epoch == status.epochs:
                signal.raise_signal(signal.SIGINT)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fwfm_gpu.train(X, y, **OPTIONS, patience=5, callbacks=[CtrlCAtTheEnd()])
    assert bits(model) == bits(fwfm_gpu.train(X, y, **OPTIONS, patience=5))


# SIGTERM


@pytest.fixture
def usual_sigterm():
    """The default action before and after every test."""
    former = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    found = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, former)
    assert found is signal.SIG_DFL


class Terminate(Callback):
    """Raise SIGTERM at one place."""

    def on_batches(self, status):
        if (status.epoch, status.batch) == (2, 3):
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.usefixtures("usual_sigterm")
def test_sigterm_stops_training_as_ctrl_c_does():
    with terminable(), pytest.warns(InterruptedTrainingWarning, match="SIGTERM: training stopped in epoch 2 after 3"):
        model = fwfm_gpu.train(X, y, **OPTIONS, callbacks=[Terminate()])
    assert bits(model) == bits(interrupted())


@pytest.mark.usefixtures("usual_sigterm")
def test_sigterm_stops_training_where_ctrl_c_is_ignored():
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with terminable(), pytest.warns(InterruptedTrainingWarning, match="SIGTERM"):
            fwfm_gpu.train(X, y, **OPTIONS, callbacks=[Terminate()])
    finally:
        signal.signal(signal.SIGINT, former)


@pytest.mark.usefixtures("usual_sigterm")
def test_sigterm_outside_of_training_is_a_keyboard_interrupt():
    with terminable():
        fwfm_gpu.train(X, y, **OPTIONS)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        with Interruption() as interruption:
            signal.raise_signal(signal.SIGTERM)
            assert interruption.requested
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)


@pytest.mark.usefixtures("usual_sigterm")
def test_training_alone_leaves_sigterm_as_it_is():
    during = []
    look = [lambda status: during.append(signal.getsignal(signal.SIGTERM))]
    fwfm_gpu.train(X, y, **OPTIONS, callbacks=look)
    assert set(during) == {signal.SIG_DFL}


def test_a_program_that_handles_sigterm_keeps_doing_so():
    seen = []
    former = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with terminable():
            fwfm_gpu.train(X, y, **OPTIONS, callbacks=[Terminate()])
    finally:
        signal.signal(signal.SIGTERM, former)
    assert seen == [signal.SIGTERM]


@pytest.mark.usefixtures("usual_sigterm")
def test_in_another_thread_sigterm_is_left_alone():
    def look():
        with terminable():
            return signal.getsignal(signal.SIGTERM)

    assert in_thread(look) is signal.SIG_DFL


PROGRAM = """
import sys, warnings
import numpy as np
import fwfm_gpu
from fwfm_gpu.interruption import terminable

X = np.random.default_rng(0).integers(0, 2, (64, 5)).astype(float)
with terminable(), warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    tell = lambda status: print("training", flush=True)
    model = fwfm_gpu.train(X, X[:, 0] > 0, epochs=10**7, batch_size=8, progress=False, device="numpy", callbacks=[tell])
    model.save(sys.argv[1])
print(caught[0].message)
"""


@pytest.mark.skipif(os.name != "posix", reason="there SIGTERM ends a process at once")
def test_a_process_that_is_terminated_saves_what_it_has(path):
    command = [sys.executable, "-c", PROGRAM, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "training\n"
        process.terminate()
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert output.splitlines()[-1].startswith("SIGTERM: training stopped in epoch ")
    assert len(fwfm_gpu.load(path).history) >= 1
