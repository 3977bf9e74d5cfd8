"""Odd shapes under AddressSanitizer and UndefinedBehaviorSanitizer, and equal bit for bit to the NumPy engine.

Every value of every axis below meets every value of every other one in some case: a pairwise covering, not the cross
product. Loss, rule, dtype and what else there is take turns.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import combinations, product

import numpy as np
import pytest
from cuda_host.device import HostDevice
from cuda_host.loader import HostLoader, sanitizer_environment
from engine_data import DTYPES, LOSSES, RULES, Spec, assert_same_bits, config_of, drive

from fwfm_gpu.backends import cuda_rows, get_backend
from fwfm_gpu.backends.cuda import CudaBackend
from fwfm_gpu.backends.cuda_memory import Budget

AXES = {
    "z": (0, 1, 2, 63, 64, 65, 1000, 3000),  # nonzeros of the longest row
    "k": (0, 1, 3, 4, 7, 16, 17, 64, 65, 256),
    "F": (1, 2, 39, 300),
    "rows": ("one", "sharing a feature", "ragged", "alike"),
}
Case = dict[str, int | str]
Pair = frozenset[tuple[str, int | str]]


def affordable(case: Case) -> bool:
    """Millions of pairs go with few factors alone."""
    return not (case.get("z") == 3000 and int(case.get("k", 0)) > 4)


def pairs_of(case: Case) -> set[Pair]:
    """The values that meet in a case, two by two."""
    return {frozenset(pair) for pair in combinations(case.items(), 2)}


def all_pairs() -> list[Pair]:
    """Every two values of two axes, but for those that cost too much."""
    meetings = (
        {one: value, other: second}
        for one, other in combinations(AXES, 2)
        for value, second in product(AXES[one], AXES[other])
    )
    return [frozenset(meeting.items()) for meeting in meetings if affordable(meeting)]


def cover() -> Iterator[Case]:
    """Cases that cover all pairs.

    Greedy: a case begins with a pair that is left; on each other axis it takes the value that covers most of what is
    left, of several such the one that was taken least.
    """
    left, taken = dict.fromkeys(all_pairs()), Counter[tuple[str, int | str]]()  # both ordered
    while left:
        case: Case = dict(next(iter(left)))
        for axis in AXES:
            choices = [{**case, axis: value} for value in AXES[axis]] if axis not in case else [case]
            case = max(
                filter(affordable, choices),
                key=lambda choice: (len(pairs_of(choice) & left.keys()), -taken[axis, choice[axis]]),
            )
        taken.update(case.items())
        for pair in pairs_of(case):
            left.pop(pair, None)
        yield case


CASES = list(cover())


def test_the_cases_cover_every_pair():
    for (one, values), (other, seconds) in combinations(AXES.items(), 2):
        for value, second in product(values, seconds):
            met = any(case[one] == value and case[other] == second for case in CASES)
            assert met is affordable({one: value, other: second}), (one, value, other, second)
    assert len(CASES) < 120


# ---- one case

MOST_WORK = 60_000_000  # about: pairs times factors of a row
TURNS = list(product(LOSSES, RULES, DTYPES))


def make_rows(case: Case, n_rows: int, generator: np.random.Generator) -> list[np.ndarray]:
    """The columns of each row. Columns 2p and 2p + 1 are of one field."""
    z, columns = int(case["z"]), 2 * int(case["z"]) + 1
    if case["rows"] == "alike":
        return [np.arange(z) * 2 + generator.integers(2, size=z) for _ in range(n_rows)]
    lengths = np.full(n_rows, z) if case["rows"] != "ragged" else generator.integers(z + 1, size=n_rows)
    lengths[0] = z
    rows = [np.sort(generator.permutation(columns)[:length]) for length in lengths]
    if case["rows"] == "sharing a feature":
        for row in rows:
            row[:1] = 0
    return rows


def make_case(number: int) -> dict:
    """A conformance vector without its answers."""
    case, generator = CASES[number], np.random.default_rng(number)
    z, k, F = (int(case[axis]) for axis in ("z", "k", "F"))
    work = 1 + z * (z - 1) // 2 * (k + 8)
    n_rows = 1 if case["rows"] == "one" or work > MOST_WORK else max(2, min(600, MOST_WORK // 10 // work))
    loss, rule, dtype = TURNS[number % len(TURNS)]
    C = 3 if loss == "softmax" else 1
    held = "ones" if generator.integers(10) == 0 else "learn"
    batch_size = max(1, n_rows * 9 // 10)
    spec = Spec(loss=loss, rule=rule, dtype=dtype, k=k, n_classes=C, batch_size=batch_size, field_weights=held)
    features = make_rows(case, n_rows, generator)
    indptr = np.concatenate(([0], np.cumsum([len(row) for row in features])))
    n, T = 2 * z + 1, np.dtype(dtype)
    data = np.ones(indptr[-1]) if generator.integers(3) == 0 else generator.normal(size=indptr[-1])
    index = "int64" if generator.integers(5) == 0 and z <= 65 else "int32"
    scale = 0.5 / np.sqrt(1 + z)  # the scores stay small
    problem = {
        "config": {**config_of(spec), "n_features": n, "n_fields": F},
        "indptr": indptr,
        "indices": np.concatenate(features).astype(index),
        "data": np.where(data == 0, 1, data).astype(T),
        "fields": generator.permutation(F)[np.arange(n) // 2 % F].astype(np.int32),
        "y": generator.integers(max(2, C), size=n_rows).astype(float),
        "orders": generator.permutation(n_rows)[None],
        "start_w0": generator.normal(0, scale, C).astype(T),
        "start_w": generator.normal(0, scale, (C, n)).astype(T),
        "start_V": generator.normal(0, scale, (C, n, k)).astype(T),
        "start_R": generator.normal(1, 0.5, (C, F, F)).astype(T),
    }
    if generator.integers(2):
        problem["sample_weight"] = np.append(1, generator.choice([0, 0.3, 1, 2.5], n_rows - 1))
    return problem


BUDGETS = (Budget(), Budget(pairs=1, slots=1), Budget(pairs=1 << 14, slots=1 << 10))
PARTS = 6  # two at a time
tell = partial(print, flush=True)


def run_cases(part: int) -> None:
    """One part of the cases, on sanitised kernels and on NumPy."""
    loader = HostLoader(seed=1 + part, sanitize=True)
    for number in range(part, len(CASES), PARTS):
        problem, turn = make_case(number), np.random.default_rng(number)
        device = HostDevice(loader, most_threads=int(turn.choice([8, 32, 96])))
        backend = CudaBackend(device, BUDGETS[turn.integers(len(BUDGETS))])
        tell(number, CASES[number], problem["config"], device.most_threads, backend.budget)
        got = drive(backend, problem)
        assert_same_bits(got, drive(get_backend("numpy"), problem))
        assert not np.array_equal(got["end_w0"], problem["start_w0"])  # no batch was refused


def run_with_a_byte_less(number: int) -> None:
    """A case whose rows get less shared memory than `cuda_memory.row_bytes` counts."""
    row_bytes = cuda_rows.row_bytes
    cuda_rows.row_bytes = lambda z, shape: row_bytes(z, shape) - 1
    drive(CudaBackend(HostDevice(HostLoader(sanitize=True))), make_case(number))


def run_sanitised(function: str, number: int) -> tuple[int, str]:
    """A function of this module in a process of its own: its exit status, and what it wrote."""
    program = f"from cuda_host.test_sanitized import {function} as run; run({number})"
    environment = {**os.environ, **sanitizer_environment(), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, f"{done.stdout[-1000:]}{done.stderr}"


@pytest.fixture(scope="module")
def sanitizers():
    """They are there, or the reason why nothing is tested."""
    try:
        return sanitizer_environment()
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("sanitizers")
def test_odd_shapes_are_sound_and_equal():
    with ThreadPoolExecutor(2) as pool:
        for status, told in pool.map(partial(run_sanitised, "run_cases"), range(PARTS)):
            assert status == 0, told


def staged_cases() -> list[int]:
    """Cases of rows whose tables fill the shared memory that they ask for to the last byte."""
    problems = [make_case(number) if case["z"] == 64 else None for number, case in enumerate(CASES)]
    return [
        number
        for number, problem in enumerate(problems)
        if problem and problem["config"]["dtype"] == "float32" and problem["config"]["n_factors"] < 17
    ]


@pytest.mark.usefixtures("sanitizers")
@pytest.mark.parametrize("number", staged_cases())
def test_a_row_needs_every_byte_of_its_shared_memory(number):
    status, told = run_sanitised("run_with_a_byte_less", number)
    assert status != 0
    assert "heap-buffer-overflow" in told and "rows.cu:" in told, told
