"""Threads: each task once, errors, forks, many callers at once; and how many of them there are."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

import fwfm_gpu
from fwfm_gpu.backends import get_backend, threads
from fwfm_gpu.backends.threads import Pool, choose_threads, each
from fwfm_gpu.errors import OptionError

PATIENCE = 20  # seconds after which a test gives up: nothing here takes so long unless it hangs

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


class Calls:
    """Work that remembers who called it with what, and that no worker did two things at once."""

    def __init__(self) -> None:
        self.tasks: list[int] = []
        self.workers: set[int] = set()
        self.busy: set[int] = set()
        self.clashes = 0

    def __call__(self, worker: int, task: int) -> None:
        self.clashes += worker in self.busy
        self.busy.add(worker)
        time.sleep(0)  # others may go on
        self.tasks.append(task)
        self.workers.add(worker)
        self.busy.remove(worker)


def meet(count: int):
    """Work that goes on only when so many calls are under way."""
    barrier = threading.Barrier(count, timeout=PATIENCE)
    return lambda worker, task: barrier.wait() and None


@pytest.fixture
def small_pool(monkeypatch):
    """A pool of two threads."""
    monkeypatch.setattr(threads, "MOST", 2)
    monkeypatch.setattr(threads, "pool", Pool())


# ---- tasks


@pytest.mark.parametrize("tasks", [0, 1, 2, 50])
@pytest.mark.parametrize("n_threads", [1, 2, 3, 7, 100])
def test_each_task_is_done_once(n_threads, tasks):
    calls = Calls()
    each(n_threads, tasks, calls)
    assert sorted(calls.tasks) == list(range(tasks))
    assert calls.workers <= set(range(min(n_threads, tasks)))
    assert calls.clashes == 0


def test_one_thread_goes_in_order():
    calls = Calls()
    each(1, 20, calls)
    assert calls.tasks == list(range(20))


@pytest.mark.parametrize("n_threads", [2, 3, 7])
def test_threads_work_side_by_side(n_threads):
    each(n_threads, n_threads, meet(n_threads))


def test_the_caller_works_too():
    callers = set()
    each(1, 3, lambda worker, task: callers.add(threading.get_ident()))
    assert callers == {threading.get_ident()}


# ---- errors


def test_an_error_leaves_out_what_has_not_begun():
    done = []

    def work(worker, task):
        if task == 2:
            raise ValueError("task 2")
        done.append(task)

    with pytest.raises(ValueError, match="task 2"):
        each(1, 10, work)
    assert done == [0, 1]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_is_raised_when_all_calls_have_ended(error, failing):
    together, ended = meet(3), []

    def work(worker, task):
        together(worker, task)
        if task == failing:
            raise error
        time.sleep(0.05)
        ended.append(task)

    with pytest.raises(error):
        each(3, 3, work)
    assert sorted(ended) == sorted({0, 1, 2} - {failing})
    each(3, 3, meet(3))  # and the pool is as it was


def test_the_first_error_is_the_one():
    together, first = meet(3), threading.Event()

    def work(worker, task):
        together(worker, task)
        if task != 1:
            first.wait(PATIENCE)
            time.sleep(0.02)
            raise ValueError
        first.set()
        raise KeyError

    with pytest.raises(KeyError):
        each(3, 3, work)


@pytest.fixture
def ctrl_c():
    """A function that sends this process Ctrl-C, which raises KeyboardInterrupt, also where tests run under nohup."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    signal.signal(signal.SIGINT, former)


def test_ctrl_c_while_the_caller_works(ctrl_c):
    together, ended = meet(2), []

    def work(worker, task):
        together(worker, task)
        if threading.current_thread() is threading.main_thread():
            ctrl_c()
            time.sleep(PATIENCE)
        time.sleep(0.05)
        ended.append(task)

    with pytest.raises(KeyboardInterrupt):
        each(2, 2, work)
    assert len(ended) == 1


def test_ctrl_c_while_the_caller_waits(ctrl_c):
    together, ended = meet(2), []

    def work(worker, task):
        together(worker, task)
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.05)  # the caller has nothing left to do
            ctrl_c()
            time.sleep(0.05)
            ended.append(task)

    with pytest.raises(KeyboardInterrupt):
        each(2, 2, work)
    assert len(ended) == 1


def test_without_threads_the_caller_does_all(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "pool", Pool())
    monkeypatch.setattr(threading.Thread, "start", refuse)
    calls = Calls()
    each(4, 20, calls)
    assert calls.tasks == list(range(20))


# ---- many callers


def test_many_callers_at_once():
    def call(_):
        calls = Calls()
        for _ in range(20):
            each(5, 13, calls)
        return calls

    with ThreadPoolExecutor(12) as callers:
        for calls in callers.map(call, range(24)):
            assert sorted(calls.tasks) == sorted(20 * [*range(13)])
            assert calls.clashes == 0


@pytest.mark.parametrize("pool", ["small", "large"])
def test_work_within_work(pool, request):
    if pool == "small":
        request.getfixturevalue("small_pool")
    inner = [[Calls() for _ in range(4)] for _ in range(5)]

    def outer_work(worker, task):
        each(4, 4, lambda _, part: each(3, 6, inner[task][part]))

    each(5, 5, outer_work)
    for calls in (calls for row in inner for calls in row):
        assert sorted(calls.tasks) == list(range(6))


def test_a_busy_pool_holds_nobody_up(small_pool):
    begun, over = meet(4), threading.Event()

    def hold(worker, task):
        begun(worker, task)
        assert over.wait(PATIENCE)

    with ThreadPoolExecutor(1) as other:
        held = other.submit(each, 3, 3, hold)  # its own thread and both of the pool
        begun(0, 0)
        calls = Calls()
        each(3, 30, calls)
        assert not held.done()
        over.set()
        held.result(PATIENCE)
    assert calls.tasks == list(range(30))
    assert calls.workers == {0}


def test_more_threads_than_the_pool_has(small_pool):
    calls = Calls()
    each(50, 200, calls)
    assert sorted(calls.tasks) == list(range(200))
    assert len(calls.workers) <= 3


# ---- processes


def run_in_fork(work) -> int:
    """The exit status of a child of ``fork`` that does some work: 0 when all went well."""
    if (child := os.fork()) == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("the child hangs")


@needs_fork
def test_a_fork_has_threads_of_its_own():
    each(4, 4, meet(4))
    assert run_in_fork(lambda: each(4, 4, meet(4))) == 0
    each(4, 4, meet(4))


@needs_fork
def test_a_fork_of_a_fork():
    each(4, 4, meet(4))

    def have_a_child():
        each(3, 3, meet(3))
        assert run_in_fork(lambda: each(4, 4, meet(4))) == 0

    assert run_in_fork(have_a_child) == 0


@needs_fork
def test_a_fork_while_the_pool_is_in_use():
    each(4, 4, meet(4))
    begun, over = meet(4), threading.Event()

    def hold(worker, task):
        begun(worker, task)
        over.wait(PATIENCE)

    with ThreadPoolExecutor(1) as other:
        held = other.submit(each, 3, 3, hold)
        begun(0, 0)
        with threads.pool.lock:  # as if another thread were just handing work out
            status = run_in_fork(lambda: each(4, 4, meet(4)))
        over.set()
        held.result(PATIENCE)
    assert status == 0


@needs_fork
def test_an_error_in_a_fork_is_seen():
    assert run_in_fork(lambda: each(2, 2, lambda worker, task: 1 // 0)) == 1


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_processes(method):
    each(4, 4, meet(4))
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as process:
        done = process.submit(each, 3, 5, max)
        failed = process.submit(each, 3, 5, divmod)  # by task 0
        assert done.result(PATIENCE) is None
        with pytest.raises(ZeroDivisionError):
            failed.result(PATIENCE)


# ---- how many


@pytest.fixture
def cores(monkeypatch):
    """Three cores, of which the process may use two where the system can tell."""
    monkeypatch.delenv("FWFM_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 2}, raising=False)


def test_one_thread_per_core_that_is_ours(cores, monkeypatch):
    assert choose_threads(None) == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert choose_threads(None) == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert choose_threads(None) == 1


@pytest.mark.parametrize("text, want", [("5", 5), (" 7 ", 7), ("1", 1), ("", 2), (" ", 2)])
def test_the_variable_says_how_many(cores, monkeypatch, text, want):
    monkeypatch.setenv("FWFM_NUM_THREADS", text)
    assert choose_threads(None) == want
    assert choose_threads(4) == 4


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "two", "1e3", "0x2", "+3"])
def test_a_wrong_variable_is_refused(monkeypatch, text):
    monkeypatch.setenv("FWFM_NUM_THREADS", text)
    with pytest.raises(OptionError, match="FWFM_NUM_THREADS must be a positive integer; got"):
        choose_threads(None)
    assert choose_threads(3) == 3


# ---- from the doors to the engine

X = np.arange(12).reshape(6, 2) % 5
Y = np.arange(6) % 2


@pytest.fixture
def asked(monkeypatch):
    """How many threads every engine is asked to use; each is the NumPy engine, whatever is installed."""
    asked = []

    def get(device, device_memory, n_threads):
        asked.append((device, n_threads))
        return get_backend("numpy")

    for door in ("training", "continuation", "model"):
        monkeypatch.setattr(f"fwfm_gpu.{door}.get_backend", get)
    return asked


def use(model) -> None:
    """All that makes an engine."""
    model.predict(X)
    model.partial_fit(X, Y)
    model.continue_training(X, Y, epochs=1, progress=False)
    model.decision_function(X)


@pytest.mark.parametrize("n_threads", [None, 1, 3])
def test_every_engine_is_told(asked, n_threads):
    use(fwfm_gpu.train(X, Y, device="cpu", n_threads=n_threads, epochs=1, n_factors=2, progress=False))
    assert asked == 5 * [("cpu", n_threads)]


def test_a_file_does_not_say_how_many(asked, tmp_path):
    model = fwfm_gpu.train(X, Y, n_threads=3, epochs=1, n_factors=2, progress=False)
    model.save(tmp_path / "model.fwfm")
    loaded = fwfm_gpu.load(tmp_path / "model.fwfm", device="cpu")
    assert loaded.options == replace(model.options, n_threads=None)
    asked.clear()
    use(loaded)
    assert asked == 4 * [("cpu", None)]
