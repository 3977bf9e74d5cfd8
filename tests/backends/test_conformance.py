"""Every engine gives the bits of the contract: those of the vectors, and those of the reference on random problems."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import reference
from engine_data import (
    DTYPES,
    LOSSES,
    PATTERNS,
    RULES,
    VALUES,
    VECTORS,
    Spec,
    assert_same_bits,
    drive,
    expected,
    make_problem,
    read_vector,
)

from fwfm_gpu.verify import verify_vector


def test_all_vectors_are_here():
    assert len(VECTORS) == 40


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_engine_equals_the_vector(backend, path):
    assert verify_vector(backend, path) is None


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_the_reference_equals_the_vector(path):
    vector = read_vector(path)
    got = reference.train(vector)
    want = {name: vector[name] for name in got}
    for arrays in (got, want):  # below the diagonal of R nothing is promised
        arrays.update({name: np.triu(array) for name, array in arrays.items() if "_R" in name})
    assert_same_bits(got, want)


def specs_of_all_kinds() -> list[Spec]:
    """Every pattern with every loss, rule and dtype; what else there is to vary takes turns."""
    specs = []
    for seed, (pattern, loss, rule, dtype) in enumerate(product(PATTERNS, LOSSES, RULES, DTYPES)):
        turn = np.random.default_rng(seed)
        specs.append(
            Spec(
                pattern=pattern,
                values=str(turn.choice(VALUES)),
                loss=loss,
                rule=rule,
                dtype=dtype,
                k=int(turn.choice([0, 1, 3])),
                n_classes=int(turn.choice([2, 3, 5])) if loss == "softmax" else 1,
                rows=int(turn.choice([66, 130])),
                batch_size=int(turn.choice([7, 63, 64, 65, 130, 1000])),
                weighted=bool(turn.integers(2)),
                label_smoothing=0.0 if loss == "squared" else float(turn.choice([0.0, 0.1])),
                field_weights=str(turn.choice(["learn", "learn", "ones"])),
                ftrl_start=str(turn.choice(["warm", "zero"])),
                seed=seed,
            )
        )
    return specs


@pytest.mark.parametrize("spec", specs_of_all_kinds(), ids=str)
def test_engine_equals_the_reference(backend, spec):
    assert_same_bits(drive(backend, make_problem(spec)), expected(spec))


CHANGES = [
    *({"k": k} for k in (0, 1, 3)),
    *({"loss": "softmax", "n_classes": C} for C in (2, 3, 5)),
    *({"batch_size": size} for size in (1, 63, 64, 65, 130, 1000)),
    *({"values": values} for values in VALUES),
    *({"values": values, "rule": "sgd", "dtype": "float64"} for values in VALUES),
    {"field_weights": "ones"},
    {"weighted": True},
    {"label_smoothing": 0.2},
    {"rows": 1},
    {"rows": 200, "batch_size": 200, "rule": "adam"},
]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: " ".join(map(str, change.values())))
def test_engine_equals_the_reference_with_one_thing_changed(backend, pattern, change):
    spec = Spec(pattern=pattern, **{"rule": "ftrl", **change})
    assert_same_bits(drive(backend, make_problem(spec)), expected(spec))


CLIPPED = [Spec(rule=rule, dtype=dtype, gradient_clip=0.01) for rule, dtype in zip(RULES, DTYPES * 2, strict=True)]
CLIPPED += [Spec(loss="softmax", n_classes=3, dtype="float64", gradient_clip=0.01)]


@pytest.mark.parametrize("spec", CLIPPED, ids=str)
def test_engine_equals_the_reference_with_clipped_gradients(backend, spec):
    want = expected(spec)
    assert not np.array_equal(want["end_w"], expected(spec.but(gradient_clip=None))["end_w"])  # some are clipped
    assert_same_bits(drive(backend, make_problem(spec)), want)


RATED = [Spec(rule=rule, dtype=dtype, rates=(0.07, 0.011)) for rule, dtype in zip(RULES, DTYPES * 2, strict=True)]


@pytest.mark.parametrize("spec", RATED, ids=str)
def test_engine_equals_the_reference_at_a_rate_for_each_epoch(backend, spec):
    assert_same_bits(drive(backend, make_problem(spec)), expected(spec))
