"""Options: what is allowed, what is refused and how."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest

from fwfm_gpu.errors import OptionError
from fwfm_gpu.optimizers import FTRL, SGD, AdaGrad, Adam
from fwfm_gpu.options import NOT_ROUNDED, Options
from fwfm_gpu.recipe import Penalties

ONE_OF = {
    "loss": "'auto', 'logistic', 'squared', 'softmax'",
    "optimizer": "'sgd', 'adagrad', 'adam', 'ftrl'",
    "ftrl_start": "'warm', 'zero'",
    "field_weights": "'learn', 'ones'",
    "validation": "'random', 'tail'",
    "dtype": "'float32', 'float64'",
    "shuffle": "True, False",
}
LEAST = {"n_factors": 0, "epochs": 0, "batch_size": 1, "seed": 0, "n_threads": 1, "device_memory": 1, "patience": 1}
ABOVE_0 = ("learning_rate", "epsilon")
FROM_0 = ("ftrl_beta", "l1_linear", "l2_linear", "l1_factors", "l2_factors", "init_scale", "min_delta")
BELOW_1 = ("beta_1", "beta_2", "label_smoothing")
MAY_BE_LEFT_OUT = ("validation_fraction", "gradient_clip")
NUMBERS = (*ABOVE_0, *FROM_0, *BELOW_1, *MAY_BE_LEFT_OUT)


def options(**given):
    """L1 needs its rule."""
    return Options(**({"optimizer": "ftrl"} | given if {"l1_linear", "l1_factors"} & set(given) else given))


def refused(**given):
    with pytest.raises(OptionError) as caught:
        options(**given)
    return str(caught.value)


@pytest.mark.parametrize("name", ONE_OF)
@pytest.mark.parametrize("value", ["nothing", "", "Auto", None, 1, ["sgd"], np.float32])
def test_a_choice_lists_what_is_allowed(name, value):
    assert refused(**{name: value}).startswith(f"{name} must be one of {ONE_OF[name]}; got {options_repr(value)}")


def options_repr(value):
    return repr(tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize("name", ONE_OF)
def test_every_choice_that_is_listed_is_taken(name):
    for shown in ONE_OF[name].split(", "):
        value = {"True": True, "False": False}.get(shown, shown.strip("'"))
        assert getattr(Options(**{name: value}), name) is value or getattr(Options(**{name: value}), name) == value


@pytest.mark.parametrize("name", LEAST)
@pytest.mark.parametrize("value", [-1, -(10**30), 1.0, 0.5, math.nan, True, False, np.True_, "1", [1], np.array(3)])
def test_a_whole_number_is_one(name, value):
    message = refused(**{name: value})
    assert message.startswith(f"{name} must be a whole number, {LEAST[name]} or above; got ")


@pytest.mark.parametrize("name", [name for name in LEAST if LEAST[name] == 1])
def test_zero_is_too_few(name):
    assert "1 or above; got 0" in refused(**{name: 0})


@pytest.mark.parametrize("name", LEAST)
@pytest.mark.parametrize("value", [1, 2, 65536, np.int8(3), np.uint64(2**16)])
def test_whole_numbers_are_taken(name, value):
    taken = getattr(Options(**{name: value}), name)
    assert taken == value
    assert type(taken) is int


@pytest.mark.parametrize("name", [name for name in LEAST if name not in ("n_threads", "device_memory", "patience")])
def test_none_is_no_number_of_them(name):
    assert "must be a whole number" in refused(**{name: None})


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [True, False, np.True_, "0.1", [0.1], 0.1j, np.array(0.1)])
def test_a_number_is_one(name, value):
    assert refused(**{name: value}).startswith(f"{name} must be a number ")


@pytest.mark.parametrize("name", [name for name in NUMBERS if name not in MAY_BE_LEFT_OUT])
def test_none_is_no_number(name):
    assert refused(**{name: None}).startswith(f"{name} must be a number ")


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.5, -1, 10**400, -(10**400), np.float32(np.nan)])
def test_numbers_are_finite_and_not_negative(name, value):
    kind = "" if name in NOT_ROUNDED else "float32 "
    assert refused(**{name: value}).startswith(f"{name} must be a finite {kind}number ")


@pytest.mark.parametrize("name", [*ABOVE_0, "gradient_clip"])
@pytest.mark.parametrize("value", [0, -0.0, 1e-46])
def test_what_rounds_to_zero_is_not_above_it(name, value):
    assert "above 0; got" in refused(**{name: value})


@pytest.mark.parametrize(
    "name", [*ABOVE_0, "gradient_clip", "ftrl_beta", "l1_linear", "l2_linear", "l1_factors", "l2_factors"]
)
def test_what_rounds_to_infinity_is_refused(name):
    assert "must be a finite float32 number" in refused(**{name: 3.5e38})
    assert "must be a finite float32 number" in refused(**{name: 10**39})
    assert getattr(options(**{name: 3.4e38}), name) == 3.4e38


@pytest.mark.parametrize("value", [1e-46, 3.5e38])
def test_float64_reaches_further(value):
    assert Options(learning_rate=value, dtype="float64").learning_rate == value


@pytest.mark.parametrize("name", ["init_scale", "min_delta"])
def test_what_is_used_in_float64_is_not_rounded(name):
    assert getattr(Options(**{name: 1e300}), name) == 1e300


@pytest.mark.parametrize("name", FROM_0)
def test_zero_is_allowed(name):
    assert getattr(options(**{name: 0}), name) == 0


@pytest.mark.parametrize("name", BELOW_1)
def test_below_one(name):
    assert "from 0 to below 1; got 1.0" in refused(**{name: 1.0})
    for value in (0, 0.0, 0.5, np.nextafter(1, 0)):
        assert getattr(Options(**{name: value}), name) == value


@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0])
def test_a_fraction_is_between_0_and_1(value):
    assert "between 0 and 1, both excluded; got" in refused(validation_fraction=value)
    assert Options(validation_fraction=0.5).validation_fraction == 0.5


@pytest.mark.parametrize("rule", ["sgd", "adagrad", "adam"])
@pytest.mark.parametrize("name", ["l1_linear", "l1_factors"])
def test_l1_is_for_ftrl_alone(rule, name):
    with pytest.raises(OptionError, match=rf"must be 0 with optimizer='{rule}': L1 is for \"ftrl\" alone.*0\.5"):
        Options(optimizer=rule, **{name: 0.5})
    assert getattr(Options(optimizer="ftrl", **{name: 0.5}), name) == 0.5


def test_label_smoothing_needs_labels():
    with pytest.raises(OptionError, match=r'label_smoothing must be 0 with loss="squared".*got 0\.1'):
        Options(label_smoothing=0.1).recipe("squared")
    assert Options(label_smoothing=0.1).recipe("softmax").label_smoothing == 0.1


@pytest.mark.parametrize(
    "name, value, type_",
    [
        ("learning_rate", np.float32(0.1), float),
        ("learning_rate", np.float64(0.1), float),
        ("learning_rate", np.longdouble(0.1), float),
        ("learning_rate", np.int16(1), int),
        ("validation_fraction", np.float16(0.25), float),
        ("shuffle", np.False_, bool),
        ("optimizer", np.str_("adam"), str),
        ("dtype", np.str_("float64"), str),
    ],
)
def test_numpy_scalars_become_plain(name, value, type_):
    taken = getattr(Options(**{name: value}), name)
    assert type(taken) is type_
    assert taken == value


def test_containers_are_copies():
    class_weight, eval_metric = {1: 2.0}, ["auc", "logloss"]
    made = Options(class_weight=class_weight, eval_metric=eval_metric)
    class_weight[1] = 3.0
    eval_metric.append("ece")
    assert made.class_weight == {1: 2.0}
    assert made.eval_metric == ("auc", "logloss")


def test_options_are_frozen_and_checked_again_when_replaced():
    with pytest.raises(FrozenInstanceError):
        Options().epochs = 3
    assert replace(Options(), epochs=3) == Options(epochs=3)
    with pytest.raises(OptionError):
        replace(Options(), epochs=-1)


def test_plain_is_every_option():
    assert Options().plain() == {entry.name: entry.default for entry in fields(Options)}


@pytest.mark.parametrize("rule", ["sgd", "adagrad", "adam", "ftrl"])
def test_every_rule_is_given_the_bound_of_its_gradients(rule):
    assert Options(optimizer=rule, gradient_clip=2).recipe("squared").rule.gradient_clip == 2.0
    assert Options(optimizer=rule).recipe("squared").rule.gradient_clip is None


@pytest.mark.parametrize(
    "rule, expected",
    [
        ("sgd", SGD(0.3)),
        ("adagrad", AdaGrad(0.3)),
        ("adam", Adam(0.3, 0.8, 0.99, 1e-6)),
        ("ftrl", FTRL(0.3, 0.5, "zero")),
    ],
)
def test_the_recipe(rule, expected):
    l1 = {"l1_linear": 1, "l1_factors": 3} if rule == "ftrl" else {}
    made = Options(
        optimizer=rule,
        learning_rate=0.3,
        beta_1=0.8,
        beta_2=0.99,
        epsilon=1e-6,
        ftrl_beta=0.5,
        ftrl_start="zero",
        l2_linear=2,
        l2_factors=4,
        batch_size=7,
        field_weights="ones",
        **l1,
    ).recipe("logistic")
    assert made.rule == expected
    assert made.penalties == Penalties(l1.get("l1_linear", 0), 2, l1.get("l1_factors", 0), 4)
    assert (made.loss, made.batch_size, made.learns_R, made.label_smoothing) == ("logistic", 7, False, 0.0)
    assert Options().recipe("softmax").learns_R
