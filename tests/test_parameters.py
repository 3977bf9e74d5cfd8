"""Parameters and state: shapes, copies, and the published order of the state."""

from __future__ import annotations

import numpy as np
import pytest

from fwfm_gpu.parameters import Counts, OptimizerState, Parameters

C, N, K, F = 2, 5, 3, 4
SHAPES = {"w0": (C,), "w": (C, N), "V": (C, N, K), "R": (C, F, F)}


def make_parameters(start: float = 0.0, dtype: str = "float32") -> Parameters:
    """All entries different."""
    return Parameters(*(np.arange(np.prod(shape)).reshape(shape).astype(dtype) + start for shape in SHAPES.values()))


def make_state(moments: tuple[str, ...], counts: bool) -> OptimizerState:
    counted = Counts(np.array(7), np.arange(N), np.arange(F * F).reshape(F, F)) if counts else None
    return OptimizerState("a rule", {name: make_parameters(100.0 * i) for i, name in enumerate(moments)}, counted)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sizes_are_read_off_the_arrays(dtype):
    parameters = make_parameters(dtype=dtype)
    assert (parameters.n_classes, parameters.n_features, parameters.n_factors, parameters.n_fields) == (C, N, K, F)
    assert parameters.dtype == dtype


def test_arrays_come_by_name_in_order():
    parameters = make_parameters()
    assert [*parameters.arrays()] == ["w0", "w", "V", "R"]
    assert all(array is getattr(parameters, name) for name, array in parameters.arrays().items())


def test_map_makes_new_parameters():
    doubled = make_parameters().map(lambda array: array * 2)
    for name, array in make_parameters().arrays().items():
        np.testing.assert_array_equal(getattr(doubled, name), array * 2)


def test_a_copy_is_writable_ordered_and_its_own():
    strided = make_parameters().map(np.asfortranarray)
    for array in strided.arrays().values():
        array.setflags(write=False)
    copy = strided.copy()
    for name, array in copy.arrays().items():
        np.testing.assert_array_equal(array, getattr(strided, name))
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert not np.shares_memory(array, getattr(strided, name))


def test_counts_start_at_zero():
    counts = Counts.zeros(make_parameters())
    arrays = (counts.bias, counts.feature, counts.slot)
    assert [array.shape for array in arrays] == [(), (N,), (F, F)]
    assert {array.dtype for array in arrays} == {np.dtype(np.int64)}
    assert not any(array.any() for array in arrays)


@pytest.mark.parametrize("counts", [True, False])
def test_a_copy_of_the_state_is_its_own(counts):
    state = make_state(("m", "v"), counts)
    copy = state.copy()
    before = [array.copy() for array in state.as_list()]
    for moment in copy.moments.values():
        for array in moment.arrays().values():
            array += 1
    if counts:
        for array in (copy.counts.bias, copy.counts.feature, copy.counts.slot):
            array += 1
    assert copy.rule == state.rule
    for now, then, changed in zip(state.as_list(), before, copy.as_list(), strict=True):
        np.testing.assert_array_equal(now, then)
        np.testing.assert_array_equal(changed, then + 1)


def test_moments_are_found_by_name():
    state = make_state(("z", "n"), counts=False)
    assert state["n"] is state.moments["n"]


@pytest.mark.parametrize(("moments", "counts"), [((), False), (("acc",), False), (("m", "v"), True)])
def test_state_is_read_by_group_as_well(moments, counts):
    state = make_state(moments, counts)
    by_group = [array for group in SHAPES for array in getattr(state, group).values()]
    for group in SHAPES:
        assert [*getattr(state, group)] == [*moments, *(["t"] if counts else [])]
        assert all(getattr(state, group)[name] is getattr(state[name], group) for name in moments)
    for array, listed in zip(by_group, state.as_list(), strict=True):
        np.testing.assert_array_equal(array, listed)


@pytest.mark.parametrize("moments", [(), ("acc",), ("z", "n")])
def test_the_list_goes_by_group_then_moment(moments):
    state = make_state(moments, counts=False)
    want = [getattr(state[name], group) for group in SHAPES for name in moments]
    assert len(state.as_list()) == 4 * len(moments)
    assert all(array is wanted for array, wanted in zip(state.as_list(), want, strict=True))


def test_the_list_of_adam_has_a_count_for_each_coordinate():
    state = make_state(("m", "v"), counts=True)
    listed = state.as_list()
    assert [array.shape for array in listed] == [shape for shape in SHAPES.values() for _ in "mvt"]
    assert all(array is getattr(state["m"], group) for array, group in zip(listed[::3], SHAPES, strict=True))
    assert all(array is getattr(state["v"], group) for array, group in zip(listed[1::3], SHAPES, strict=True))
    t_w0, t_w, t_V, t_R = listed[2::3]
    assert t_w0.tolist() == [7] * C
    for c in range(C):
        np.testing.assert_array_equal(t_w[c], np.arange(N))
        np.testing.assert_array_equal(t_V[c], np.repeat(np.arange(N)[:, None], K, axis=1))
        np.testing.assert_array_equal(t_R[c], np.arange(F * F).reshape(F, F))
    assert not any(array.flags.writeable for array in (t_w0, t_w, t_V, t_R))


def test_state_reads_by_group_as_well():
    like = Parameters(np.zeros(1), np.zeros((1, 2)), np.zeros((1, 2, 3)), np.zeros((1, 2, 2)))
    counts = Counts(np.array(4), np.array([1, 2]), np.array([[3, 5], [0, 6]]))
    state = OptimizerState("adam", {"m": like, "v": like.copy()}, counts)
    assert list(state.V) == ["m", "v", "t"]
    assert state.V["m"] is like.V
    assert state.w0["t"].tolist() == [4]
    assert state.R["t"].tolist() == [[[3, 5], [0, 6]]]
