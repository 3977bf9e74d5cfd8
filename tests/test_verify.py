"""verify sees one wrong bit, whichever stage it comes from, and the command line says where."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from engine_data import VECTORS, Spec, expected, make_problem, read_vector

from fwfm_gpu import cli, losses
from fwfm_gpu.backends import get_backend, numpy_backend, numpy_coordinates, numpy_gradients, numpy_rows
from fwfm_gpu.backends.numpy_coordinates import BatchSums, SlotSums, Step
from fwfm_gpu.errors import InputError
from fwfm_gpu.optimizers import FTRL, SGD, AdaGrad, Adam
from fwfm_gpu.recipe import Recipe
from fwfm_gpu.verify import PACKAGED_VECTORS, find_vectors, first_difference, verify_vector

VECTOR = {path.stem: path for path in VECTORS}


@pytest.fixture(scope="module")
def alike(tmp_path_factory):
    """A vector whose rows all have the same fields, which no conformance vector is like."""
    spec = Spec(pattern="alike", dtype="float64")
    return write_vector(tmp_path_factory.mktemp("made") / "alike.npz", {**make_problem(spec), **expected(spec)})


def write_vector(path, vector):
    np.savez(path, **{**vector, "config": np.array(json.dumps(vector["config"]))})
    return path


# ---- a change of one bit in each stage


@dataclass(frozen=True)
class Fault:
    """A function of the engine, what becomes of each of its results, and a vector that shows it."""

    home: Any
    name: str
    spoil: Callable[[Any, tuple], Any]  # (result, arguments) -> result
    vector: str = "squared-adagrad-float32"  # batches of one row: no long sum rounds a bit away again


def flipped(pick: Callable[[Any, tuple], np.ndarray]) -> Callable[[Any, tuple], Any]:
    """Move the largest entry of an array of the result by one bit."""

    def spoil(result, arguments):
        array = pick(result, arguments)
        if array.size:
            at = np.unravel_index(np.argmax(np.abs(array)), array.shape)
            array[at] = np.nextafter(array[at], np.inf)
        return result

    return spoil


def swapped(pick: Callable[[Any, tuple], np.ndarray]) -> Callable[[Any, tuple], Any]:
    """Swap the first and the last entry of an array of integers."""

    def spoil(result, arguments):
        array = pick(result, arguments)
        if len(array):
            array[[0, -1]] = array[[-1, 0]]
        return result

    return spoil


def backwards(cut_rows, arguments):
    return [rows[::-1] for rows in cut_rows]


def one_more(features, arguments):
    data = arguments[0]
    return np.union1d(features, np.setdiff1d(np.arange(len(data.fields)), features)[:1])


def one_count_more(done, arguments):
    arguments[0].state.counts.slot[0, 0] ^= 1
    return done


LOGISTIC, ADAM, FTRL_64 = "logistic-adam-float64", "softmax-adam-float64", "logistic-ftrl-float64"
MANY_ROWS = "logistic-adagrad-float32"

FAULTS = {
    "plan: order of rows": Fault(numpy_backend, "cut_batch", backwards, MANY_ROWS),
    "plan: features of items": Fault(numpy_backend, "make_group", swapped(lambda group, _: group.feature)),
    "plan: segments of items": Fault(numpy_backend, "plan_segments", swapped(lambda plan, _: plan.segment)),
    "plan: features of segments": Fault(numpy_backend, "plan_segments", swapped(lambda plan, _: plan.segment_feature)),
    "plan: touched features": Fault(numpy_backend, "touched_features", one_more),
    "rows: values": Fault(numpy_gradients, "make_chunk", flipped(lambda chunk, _: chunk.x_zl)),
    "rows: slots": Fault(numpy_gradients, "make_chunk", swapped(lambda chunk, _: chunk.slots_pl)),
    "rows: score, alone": Fault(numpy_rows, "score_chunk", flipped(lambda scored, _: scored.s_l)),
    "rows: score, in a step": Fault(numpy_gradients, "score_chunk", flipped(lambda scored, _: scored.s_l)),
    "rows: d, in a step": Fault(numpy_gradients, "score_chunk", flipped(lambda scored, _: scored.d_pl)),
    "rows: pair_dots": Fault(numpy_rows, "pair_dots", flipped(lambda d_pl, _: d_pl)),
    "rows: factors": Fault(numpy_rows, "gather_factors", flipped(lambda V_kzl, _: V_kzl)),
    "rows: ordered sum": Fault(numpy_rows, "add_in_order", flipped(lambda s_l, _: s_l)),
    "rows: loss gradient": Fault(numpy_gradients, "loss_gradients", flipped(lambda g_cl, _: g_cl)),
    "rows: bias gradient": Fault(numpy_gradients, "loss_gradients", flipped(lambda _, args: args[0].out.g_cb)),
    "rows: sigmoid": Fault(losses, "sigmoid64", flipped(lambda p, _: p), LOGISTIC),
    "rows: softmax": Fault(losses, "softmax64", flipped(lambda p, _: p), ADAM),
    "rows: c * d": Fault(numpy_gradients, "pair_gradients", flipped(lambda cd_q, _: cd_q[0])),
    "rows: q": Fault(numpy_gradients, "pair_gradients", flipped(lambda cd_q, _: cd_q[1])),
    "rows: item gradients": Fault(numpy_gradients, "item_gradients", flipped(lambda items, _: items)),
    "coordinates: bias sum": Fault(BatchSums, "add_bias", flipped(lambda _, args: args[0].bias_c)),
    "coordinates: feature sums": Fault(BatchSums, "add_items", flipped(lambda _, args: args[0].total_cjn)),
    "coordinates: slot sums": Fault(SlotSums, "add_rows", flipped(lambda _, args: args[0].block_cs)),
    "coordinates: slot sums, rows alike": Fault(SlotSums, "add_pattern", flipped(lambda _, a: a[0].total_cs), "alike"),
    "coordinates: close_block": Fault(SlotSums, "close_block", flipped(lambda _, args: args[0].total_cs)),
    "coordinates: theta": Fault(numpy_coordinates, "make_step", flipped(lambda step, _: step.theta)),
    "coordinates: state": Fault(numpy_coordinates, "make_step", flipped(lambda step, _: step.moments[0])),
    "coordinates: correction 1": Fault(numpy_coordinates, "count_corrections", flipped(lambda c, _: c.first), ADAM),
    "coordinates: correction 2": Fault(numpy_coordinates, "count_corrections", flipped(lambda c, _: c.second), ADAM),
    "coordinates: counts": Fault(numpy_backend, "apply", one_count_more, ADAM),
    "coordinates: write": Fault(Step, "write", flipped(lambda _, args: args[1].w)),
    "start": Fault(Recipe, "start_state", flipped(lambda state, _: state["z"].V), FTRL_64),
    **{
        f"coordinates: {rule.name} step": Fault(rule, "step", flipped(lambda new, _: new[0]), vector)
        for rule, vector in [(SGD, "squared-sgd-float64"), (AdaGrad, MANY_ROWS), (Adam, ADAM), (FTRL, FTRL_64)]
    },
    **{
        f"coordinates: {rule.name} {name}": Fault(rule, "step", flipped(lambda new, _, i=i: new[1][i]), vector)
        for rule, vector in [(AdaGrad, MANY_ROWS), (Adam, ADAM), (FTRL, FTRL_64)]
        for i, name in enumerate(rule.moments)
    },
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_one_wrong_bit_is_seen(monkeypatch, alike, fault):
    function = getattr(fault.home, fault.name)
    path = {**VECTOR, "alike": alike}[fault.vector]
    monkeypatch.setattr(fault.home, fault.name, lambda *args: fault.spoil(function(*args), args))
    assert verify_vector(get_backend("numpy"), path) is not None


def test_a_vector_made_by_the_reference_is_equal(backend, alike):
    assert verify_vector(backend, alike) is None


@pytest.mark.parametrize("name", ["end_w0", "end_w", "end_V", "end_R", "state_w_m", "state_V_v", "state_R_t"])
def test_one_wrong_bit_in_a_vector_is_placed(tmp_path, name):
    vector = read_vector(VECTOR[ADAM])
    index = (2, 1, 2, 0)[: vector[name].ndim]
    right = vector[name][index].copy()
    vector[name].view("u8")[index] ^= 1
    difference = verify_vector(get_backend("numpy"), write_vector(tmp_path / "wrong.npz", vector))
    assert (difference.array, difference.index) == (name, index)
    assert (difference.got, difference.expected) == (right, vector[name][index])


def test_a_wrong_score_is_placed(tmp_path):
    vector = read_vector(VECTOR[ADAM])
    vector["scores_seen"].view("u8")[1, 30, 2] ^= 1
    difference = verify_vector(get_backend("numpy"), write_vector(tmp_path / "wrong.npz", vector))
    assert (difference.array, difference.index) == ("scores_seen[1]", (30, 2))


@pytest.mark.parametrize("name", ["end_R", "state_R_v"])
def test_below_the_diagonal_of_r_anything_may_stand(tmp_path, name):
    vector = read_vector(VECTOR[ADAM])
    vector[name][2, 4, 1] += 1
    assert verify_vector(get_backend("numpy"), write_vector(tmp_path / "lower.npz", vector)) is None


# ---- differences


def test_zero_is_not_minus_zero():
    difference = first_difference("w", np.array([1.0, 0.0]), np.array([1.0, -0.0]))
    assert difference.index == (1,)
    assert str(difference) == (
        "w[1]: expected np.float64(0.0) (0x0000000000000000), got np.float64(-0.0) (0x8000000000000000)"
    )


def test_nan_is_nan_and_equals_nothing_else():
    quiet, other = np.array([np.nan]), np.array([0x7FF8000000000001]).view(float)
    assert first_difference("w", quiet, other) is None
    assert first_difference("w", quiet, np.array([1.0])).got == 1.0


@pytest.mark.parametrize("got", [np.zeros(2, np.float32), np.zeros(3), np.zeros((2, 1))])
def test_another_dtype_or_shape_is_a_difference(got):
    difference = first_difference("w", np.zeros(2), got)
    assert difference.index == ()
    assert (difference.expected, difference.got) == ("float64 (2,)", f"{got.dtype} {got.shape}")


# ---- the command line


@pytest.fixture
def folder(tmp_path):
    """Two small vectors."""
    folder = tmp_path / "vectors"
    folder.mkdir()
    for name in ("odd-k-0", "squared-adagrad-float32"):
        shutil.copy(VECTOR[name], folder)
    return folder


def test_the_packaged_vectors_are_equal(capsys):
    assert cli.main(["verify"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [path.stem for path in sorted(PACKAGED_VECTORS.glob("*.npz"))]
    engine = type(get_backend("auto"))
    assert lines[0] == f"engine: {engine.__name__} ({engine.__module__})"
    assert [line.split() for line in lines[1:-1]] == [[name, "equal"] for name in names]
    assert lines[-1] == f"{len(names)} of {len(names)} vectors equal, bit for bit"


def test_packaged_vectors_are_copies():
    packaged = find_vectors()
    assert packaged
    for path in packaged:
        assert path.read_bytes() == VECTOR[path.stem].read_bytes()


def test_a_difference_is_one_line_with_both_values_in_hex(monkeypatch, capsys, folder):
    step = AdaGrad.step
    monkeypatch.setattr(AdaGrad, "step", lambda *args: flipped(lambda new, _: new[1][0])(step(*args), args))
    assert cli.main(["verify", "--vectors", str(folder), "--device", "numpy"]) == 1
    _, equal, differs, total = capsys.readouterr().out.splitlines()
    assert equal.split() == ["odd-k-0", "equal"]
    found = verify_vector(get_backend("numpy"), VECTOR["squared-adagrad-float32"])
    assert differs.split(maxsplit=2) == ["squared-adagrad-float32", "DIFFERS", str(found)]
    assert all(f"0x{value.view('u4'):08x}" in differs for value in (found.expected, found.got))
    assert total == "1 of 2 vectors equal, bit for bit"


def test_a_folder_without_vectors_is_refused(capsys, tmp_path):
    assert cli.main(["verify", "--vectors", str(tmp_path / "nowhere")]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith(f"fwfm-gpu: {tmp_path / 'nowhere'} must hold conformance vectors (*.npz); found none.")
    with pytest.raises(InputError, match="must hold conformance vectors"):
        find_vectors(tmp_path)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda", "--device cuda cannot be used: "),
        ("cuda:1", "--device cuda:1 cannot be used: "),
        ("gpu", 'device must be "auto", "cpu", "numpy", "cuda" or "cuda:N"; got \'gpu\'.'),
        ("cuda:", "got 'cuda:'."),
    ],
)
def test_a_device_that_is_not_there_is_refused(capsys, device, message):
    assert cli.main(["verify", "--device", device]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert message in err


@pytest.mark.parametrize("arguments", [[], ["verify", "--vector"], ["prove"], ["verify", "--vectors"]])
def test_a_wrong_command_line_exits_with_2(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert "usage: fwfm-gpu" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"junk", None])
def test_a_file_that_is_no_vector_is_refused(tmp_path, capsys, content):
    path = tmp_path / "odd.npz"
    if content is None:
        np.savez(path, config="{}")
    else:
        path.write_bytes(content)
    assert cli.main(["verify", "--vectors", str(tmp_path)]) == 2
    assert "must be a conformance vector" in capsys.readouterr().err
