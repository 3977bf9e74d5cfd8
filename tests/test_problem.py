"""A training problem: which rows train, which are held out, and what they weigh."""

from __future__ import annotations

import numpy as np
import pytest

from fwfm_gpu import FieldMatrix
from fwfm_gpu.errors import InputError
from fwfm_gpu.labels import Labels
from fwfm_gpu.model import Columns
from fwfm_gpu.options import Options
from fwfm_gpu.problem import Settled, fingerprint, hold_out, make_problem, training_part

ROWS = FieldMatrix.from_matrix(np.random.default_rng(0).normal(size=(20, 3))).rounded("float32")
Y = np.arange(20) % 2 * 1.0


def settled(loss="logistic", **options):
    labels = {"logistic": Labels(np.array(["a", "b"])), "softmax": Labels(np.arange(4)), "squared": None}[loss]
    return Settled(Options(**options), loss, labels, Columns.of(ROWS))


@pytest.mark.parametrize("loss, C", [("logistic", 1), ("squared", 1), ("softmax", 4)])
def test_scores_per_row(loss, C):
    assert settled(loss).n_classes == C


# rows to train on


def test_all_rows_are_visited_in_order():
    problem = make_problem(settled(), ROWS, Y, None)
    assert problem.visited.tolist() == list(range(20))
    assert problem.weight is None


def test_weights_multiply():
    sample_weight = np.linspace(1, 2, 20)
    problem = make_problem(settled(class_weight={"b": 3.0}), ROWS, Y, sample_weight)
    np.testing.assert_array_equal(problem.weight, sample_weight * np.where(Y == 1, 3.0, 1.0))


@pytest.mark.parametrize("rows", [0, 19, 21])
def test_rows_and_targets_go_together(rows):
    with pytest.raises(InputError, match=f"X and y must have the same number of rows.*got 20 rows and {rows} targets"):
        make_problem(settled(), ROWS, np.zeros(rows), None)


def test_targets_and_weights_fit_the_dtype():
    y = np.where(np.arange(20) == 7, 1e39, 0.0)
    with pytest.raises(InputError, match=r"y must be finite in float32: got 1e\+39 at row 7"):
        make_problem(settled("squared"), ROWS, y, None)
    with pytest.raises(InputError, match=r"class_weight must be finite in float32: got 1e\+39 at row 1\."):
        make_problem(settled(class_weight={"b": 1e39}), ROWS, Y, None)
    assert make_problem(settled("squared", dtype="float64"), ROWS, y, None).y[7] == 1e39


@pytest.mark.parametrize("weight", [np.arange(20) < 4, np.full(20, 1e308)], ids=["all zero", "infinite sum"])
def test_the_rows_to_train_on_weigh_something_finite(weight):
    problem = make_problem(settled(dtype="float64"), ROWS, Y, weight)
    with pytest.raises(InputError, match="weights of the 16 rows to train on must sum to a finite number above 0: got"):
        training_part(problem, np.arange(4, 20))


def test_the_part_to_train_on():
    problem = training_part(make_problem(settled(), ROWS, Y, np.arange(20.0)), np.array([3, 1]))
    assert problem.visited.tolist() == [3, 1]
    assert len(problem.y) == 20


# rows held out (numerics 8)


@pytest.mark.parametrize(
    "rows, fraction, held",
    [(20, 0.25, 5), (20, 0.01, 1), (10, 0.25, 2), (14, 0.25, 4), (10, 0.9, 9), (2, 0.5, 1), (3, 0.5, 2)],
)
@pytest.mark.parametrize("validation", ["random", "tail"])
def test_how_many_are_held_out(rows, fraction, held, validation):
    options = Options(validation_fraction=fraction, validation=validation)
    trained, validated = hold_out(options, rows, np.random.default_rng(0))
    assert len(validated) == held
    assert sorted([*trained.tolist(), *validated.tolist()]) == list(range(rows))


def test_at_random_is_one_permutation():
    trained, validated = hold_out(Options(validation_fraction=0.25), 20, np.random.default_rng(3))
    drawn = np.random.default_rng(3).permutation(20)
    np.testing.assert_array_equal(validated, drawn[:5])
    np.testing.assert_array_equal(trained, drawn[5:])


def test_the_tail_is_the_last_rows_and_draws_nothing():
    generator = np.random.default_rng(3)
    trained, validated = hold_out(Options(validation_fraction=0.25, validation="tail"), 20, generator)
    assert (trained.tolist(), validated.tolist()) == (list(range(15)), list(range(15, 20)))
    assert generator.bit_generator.state == np.random.default_rng(3).bit_generator.state


def test_nothing_is_held_out_unless_asked_for():
    generator = np.random.default_rng(3)
    trained, validated = hold_out(Options(), 20, generator)
    assert (trained.tolist(), len(validated)) == (list(range(20)), 0)
    assert generator.bit_generator.state == np.random.default_rng(3).bit_generator.state


@pytest.mark.parametrize("rows, fraction", [(1, 0.1), (2, 0.9), (10, 0.99)])
def test_some_rows_must_be_left(rows, fraction):
    with pytest.raises(InputError, match=rf"validation_fraction={fraction} of {rows} rows leaves none to train on"):
        hold_out(Options(validation_fraction=fraction), rows, np.random.default_rng(0))


# the fingerprint


def test_a_fingerprint_knows_rows_targets_and_weights():
    about, weight = settled(), np.ones(20)
    other = FieldMatrix.from_matrix(np.random.default_rng(1).normal(size=(20, 3))).rounded("float32")
    problems = [(ROWS, Y, None), (other, Y, None), (ROWS, 1 - Y, None), (ROWS, Y, weight), (ROWS, Y, 2 * weight)]
    prints = [fingerprint(make_problem(about, *problem)) for problem in problems]
    assert len(set(prints)) == 5
    assert prints[0] == fingerprint(make_problem(about, ROWS, Y.copy(), None))
    assert all(len(text) == 64 and int(text, 16) for text in prints)


def test_a_fingerprint_does_not_depend_on_what_is_held_out():
    problem = make_problem(settled(), ROWS, Y, None)
    assert fingerprint(training_part(problem, np.arange(5))) == fingerprint(problem)
