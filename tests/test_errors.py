"""Errors: one family, each also the builtin that a user would catch."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest

import fwfm_gpu
from fwfm_gpu import errors

BUILTIN = {
    "InputError": (ValueError,),
    "InputTypeError": (TypeError,),
    "OptionError": (ValueError,),
    "DeviceError": (RuntimeError,),
    "DeviceMemoryError": (errors.DeviceError, MemoryError),
    "MissingExtraError": (ImportError, RuntimeError),
    "MissingStateError": (RuntimeError,),
    "ModelFileError": (ValueError,),
    "EncodedFileError": (ValueError,),
    "DivergenceError": (RuntimeError,),
    "CheckpointError": (OSError,),
}
WARNINGS = ("InterruptedTrainingWarning", "StreamWarning")


@pytest.fixture
def model():
    return fwfm_gpu.train(np.eye(3), [0, 1, 0], epochs=1, progress=False)


@pytest.mark.parametrize("name", BUILTIN)
def test_an_error_is_also_a_builtin(name):
    for parent in (errors.FwfmError, *BUILTIN[name]):
        assert issubclass(getattr(errors, name), parent)


@pytest.mark.parametrize("name", WARNINGS)
def test_a_warning_is_a_user_warning(name):
    assert issubclass(getattr(errors, name), errors.FwfmWarning)
    assert issubclass(errors.FwfmWarning, UserWarning)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.FwfmWarning)  # one filter for all of them
        warnings.warn("silent", getattr(errors, name), stacklevel=1)


def test_every_class_is_listed():
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    defined = {value.__name__ for value in classes if value.__module__ == errors.__name__}
    assert defined == {"FwfmError", "FwfmWarning", *BUILTIN, *WARNINGS} == set(errors.__all__)


def test_the_base_classes_stand_in_the_package():
    assert fwfm_gpu.FwfmError is errors.FwfmError
    assert fwfm_gpu.FwfmWarning is errors.FwfmWarning


def test_divergence_carries_its_place_and_a_model(model):
    error = errors.DivergenceError("so it went", epoch=3, batch=7, model=model)
    assert (str(error), error.epoch, error.batch, error.model) == ("so it went", 3, 7, model)


@pytest.mark.parametrize("travel", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_divergence_travels_between_processes(model, travel):
    error = travel(errors.DivergenceError("so it went", epoch=3, batch=7, model=model))
    assert (str(error), error.epoch, error.batch) == ("so it went", 3, 7)
    np.testing.assert_array_equal(error.model.predict(np.eye(3)), model.predict(np.eye(3)))


@pytest.mark.parametrize("travel", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_a_checkpoint_error_travels_between_processes(model, travel):
    error = travel(errors.CheckpointError("no room", model=model, errno=28))
    assert (str(error), error.errno) == ("no room", 28)
    np.testing.assert_array_equal(error.model.predict(np.eye(3)), model.predict(np.eye(3)))
