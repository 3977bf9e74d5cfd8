"""A recipe: penalties by group, and the state before the first batch."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import reference
from engine_data import DTYPES, RULES, Spec, bits, config_of, make_problem, start_of

from fwfm_gpu.losses import LOSSES
from fwfm_gpu.optimizers import SGD
from fwfm_gpu.recipe import Penalties, Recipe
from fwfm_gpu.verify import vector_recipe


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("group", "l1", "l2"), [("w0", 0, 0), ("w", 0.1, 0.2), ("V", 0.3, 0.4), ("R", 0.3, 0.4)])
def test_penalties_go_by_group_and_are_rounded_to_t(group, l1, l2, dtype):
    T = np.dtype(dtype).type
    penalty = Penalties(l1_linear=0.1, l2_linear=0.2, l1_factors=0.3, l2_factors=0.4).of(group, dtype)
    assert penalty == (T(l1), T(l2))
    assert [type(number) for number in penalty] == [T, T]


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_is_found_by_name(name):
    assert Recipe(name, SGD(0.1), 1, Penalties()).loss_function is LOSSES[name]


def test_a_recipe_is_frozen():
    recipe = Recipe("squared", SGD(0.1), 1, Penalties())
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.batch_size = 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("field_weights", ["learn", "ones"])
def test_state_starts_as_the_reference_says(rule, dtype, field_weights):
    spec = Spec(rule=rule, dtype=dtype, field_weights=field_weights, rows=3)
    problem = make_problem(spec)
    state = vector_recipe(config_of(spec)).start_state(start_of(problem))
    want = reference.Model(problem).arrays()
    assert state.rule == rule
    for name, moment in state.moments.items():
        for group, array in moment.arrays().items():
            np.testing.assert_array_equal(bits(array), bits(want[f"state_{group}_{name}"]))
    assert (state.counts is not None) == (rule == "adam")


def test_a_held_r_has_no_state():
    problem = make_problem(Spec(rule="ftrl", field_weights="ones", rows=3))
    state = vector_recipe(problem["config"]).start_state(start_of(problem))
    assert np.count_nonzero(state["z"].V)
    assert not bits(state["z"].R).any()
    assert not bits(state["n"].R).any()


def test_starting_leaves_the_parameters_alone():
    parameters = start_of(make_problem(Spec(rule="ftrl", rows=3)))
    before = parameters.copy()
    state = vector_recipe(config_of(Spec(rule="ftrl"))).start_state(parameters)
    for group, array in before.arrays().items():
        np.testing.assert_array_equal(getattr(parameters, group), array)
        for moment in state.moments.values():
            assert not np.shares_memory(getattr(moment, group), getattr(parameters, group))
