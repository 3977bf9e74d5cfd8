"""One row at a time, compiled: its kernel as plain Python, its sorting, its tables."""

from __future__ import annotations

import numpy as np
import pytest

from fwfm_gpu.backends.numpy_scorer import NumPyScorer, make_canonical
from fwfm_gpu.errors import InputError
from fwfm_gpu.parameters import Parameters

pytest.importorskip("numba", reason="numba is missing: there is no compiled engine")

from fwfm_gpu.backends.compiled_scorer import SHORTEST, CompiledScorer, score_one

N, F, K = 90, 5, 3


def make_scorer(scorer=CompiledScorer, dtype="float32", n_classes=1):
    """Of a random model, also of one that cannot be written to."""
    generator = np.random.default_rng(0)
    shapes = (n_classes,), (n_classes, N), (n_classes, N, K), (n_classes, F, F)
    parameters = Parameters(*(generator.normal(size=shape).astype(dtype) for shape in shapes))
    fields = generator.integers(F, size=N).astype(np.int32)
    for array in (*parameters.arrays().values(), fields):
        array.setflags(write=False)
    return scorer(parameters, fields)


def draw_rows(rows: int):
    """Short rows of few features in any order, so that most come more than once; many values cancel or are 0."""
    generator = np.random.default_rng(1)
    for _ in range(rows):
        z = generator.integers(20)
        yield generator.integers(12, size=z), generator.choice([-1.5, 0.0, -0.0, 1.5, 0.1, 1e-46, 2.0**25], z)


@pytest.mark.parametrize("n_classes", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_kernel_as_plain_python(dtype, n_classes):
    scorer, plain = make_scorer(dtype=dtype, n_classes=n_classes), make_scorer(dtype=dtype, n_classes=n_classes)
    plain.kernel = score_one
    for row in draw_rows(30):
        with np.errstate(all="ignore"):
            assert plain.scores(*row) == scorer.scores(*row)
            assert plain.sigmoid(*row) == scorer.sigmoid(*row)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_are_made_canonical_as_numpy_makes_them(dtype):
    scorer, reference = make_scorer(dtype=dtype), make_scorer(NumPyScorer, dtype)
    for features, values in draw_rows(500):
        want, x = make_canonical(features, values, N, np.dtype(dtype))
        scorer.scores(features, values)
        room = scorer.desks[-1].arrays[6:]
        item, number = room[4], room[5]
        z = item[2, 0]
        np.testing.assert_array_equal(item[0, :z], want)
        np.testing.assert_array_equal(item[1, :z], scorer.fields[want])
        np.testing.assert_array_equal(number[0, :z], x, strict=True)
        assert scorer.scores(features, values) == reference.scores(features, values)


def test_a_desk_is_used_again_and_grows():
    scorer = make_scorer()
    (first,) = scorer.desks
    scorer.scores([1, 2], None)
    scorer.scores(np.arange(SHORTEST), None)
    assert scorer.desks == [first]
    for z in (SHORTEST + 1, N):
        scorer.scores(np.arange(z), None)
        assert len(scorer.desks) == 1 and scorer.desks[0].width >= z


def test_a_call_within_a_call_has_a_desk_of_its_own():
    """As a signal handler would call it."""
    scorer = make_scorer()
    want, other = scorer.scores([1, 2, 3], [1.0, 2.0, 3.0]), scorer.scores([4], [7.0])

    class Interrupting:
        def __float__(self):
            assert scorer.scores([4], [7.0]) == other
            return 3.0

    assert scorer.scores([1, 2, 3], [1.0, 2.0, Interrupting()]) == want


def test_an_error_leaves_no_trace():
    scorer = make_scorer()
    want = scorer.scores([1, 2, 3], None)
    for _ in range(3):
        with pytest.raises(InputError):
            scorer.scores([1, 2, N], None)
        assert scorer.scores([1, 2, 3], None) == want
    assert len(scorer.desks) == 1
