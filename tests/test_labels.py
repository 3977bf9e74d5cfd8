"""y to targets and back, and the choice of the loss."""

from __future__ import annotations

import math
from array import array

import numpy as np
import pytest

from fwfm_gpu.errors import InputError, InputTypeError, OptionError
from fwfm_gpu.labels import Labels, choose_loss, decode, encode_targets

STRINGS = ["no", "yes", "maybe", "no", "yes"]


class NAType:
    """Like pandas.NA: it compares to itself as itself."""

    def __eq__(self, other):
        return self

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")

    __hash__ = None


class Series:
    """Like a data frame's column: only __array__ tells what it is."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=dtype)


# the loss


@pytest.mark.parametrize(
    ("y", "want"),
    [
        ([0, 1, 1, 0], "logistic"),
        ([-1, 7, 7], "logistic"),
        ([True, False], "logistic"),
        (["no", "yes", "no"], "logistic"),
        ([0.0, 1.0, 1.0], "logistic"),
        (np.array([0, 1], np.float32), "logistic"),
        ([0, 1, 2], "softmax"),
        (STRINGS, "softmax"),
        (list(range(50)), "softmax"),
        ([f"c{i}" for i in range(50)], "softmax"),
        ([0.0, 1.0, 2.0], "squared"),
        ([0, 1, 2.5], "squared"),
        (np.linspace(0, 1, 500), "squared"),
    ],
)
def test_auto_looks_at_the_labels(y, want):
    assert choose_loss(y, "auto") == want


@pytest.mark.parametrize("y", [list(range(51)), [f"c{i}" for i in range(51)]])
def test_auto_asks_when_there_are_many_labels(y):
    with pytest.raises(OptionError, match=r"up to 50 distinct labels: y holds 51.*loss='softmax'.*loss='squared'"):
        choose_loss(y, "auto")


@pytest.mark.parametrize(("y", "label"), [([3, 3], "3"), ([1.0, 1.0], "1.0"), (["a"], "'a'"), ([True], "True")])
@pytest.mark.parametrize("loss", ["auto", "logistic", "softmax"])
def test_one_label_is_named(y, label, loss):
    with pytest.raises(InputError, match=f"at least two labels: every row holds {label}"):
        choose_loss(y, loss) if loss == "auto" else encode_targets(y, loss)


@pytest.mark.parametrize("loss", ["logistic", "squared", "softmax"])
def test_a_named_loss_stays(loss):
    assert choose_loss([1.5, 2.5, 3.5], loss) == loss


@pytest.mark.parametrize("loss", ["hinge", "", None, ["logistic"]])
def test_an_unknown_loss_lists_those_there_are(loss):
    with pytest.raises(OptionError, match="one of 'auto', 'logistic', 'squared', 'softmax': got"):
        choose_loss([0, 1], loss)


# there and back


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (STRINGS, np.array(["maybe", "no", "yes"])),
        (np.array(STRINGS), np.array(["maybe", "no", "yes"])),
        (np.array(STRINGS, dtype=object), np.array(["maybe", "no", "yes"])),
        (np.array(STRINGS, dtype=np.dtypes.StringDType()), np.array(["maybe", "no", "yes"])),
        (Series(STRINGS), np.array(["maybe", "no", "yes"])),
        (Series(np.array(STRINGS, dtype=object)), np.array(["maybe", "no", "yes"])),
        ([10, -3, 10], np.array([-3, 10])),
        ((10, -3, 10), np.array([-3, 10])),
        (np.array([10, -3, 10], dtype=object), np.array([-3, 10])),
        (array("i", [10, -3, 10]), np.array([-3, 10])),
        (range(3), np.array([0, 1, 2])),
        (np.array([2, 1], np.int8), np.array([1, 2], np.int8)),
        (np.array([2, 2**64 - 1], np.uint64), np.array([2, 2**64 - 1], np.uint64)),
        (np.array([2, 1], ">i4"), np.array([1, 2], np.int32)),
        (np.array([2, 1], ">f8"), np.array([1.0, 2.0])),
        (np.array([0.5, 0.25, 0.5], np.float32), np.array([0.25, 0.5], np.float32)),
        (np.array([2, 1], np.longdouble), np.array([1.0, 2.0])),
        ([True, False], np.array([False, True])),
        ([np.True_, False], np.array([False, True])),
        ([1, 2.5, np.float32(0.5), np.int8(7)], np.array([0.5, 1.0, 2.5, 7.0])),
        ([[3], [1], [2]], np.array([1, 2, 3])),
        (np.array([[3], [1]]), np.array([1, 3])),
        (np.arange(10)[::-3], np.array([0, 3, 6, 9])),
        (np.ma.masked_array([5, 4], mask=[False, False]), np.array([4, 5])),
    ],
)
def test_labels_come_back_as_they_came(y, classes):
    targets, labels = encode_targets(y, "softmax")
    assert targets.dtype == np.float64
    assert targets.shape == (len(y.values) if isinstance(y, Series) else len(y),)
    np.testing.assert_array_equal(labels.classes, classes, strict=True)
    back = decode(labels, targets)
    assert back.dtype == labels.classes.dtype
    given = np.asarray(y) if hasattr(y, "__array__") else np.array(list(y))
    assert back.tolist() == given.ravel().tolist()


def test_class_numbers_are_places_in_sorted_order():
    targets, labels = encode_targets(STRINGS, "softmax")
    np.testing.assert_array_equal(targets, [1.0, 2.0, 0.0, 1.0, 2.0])
    assert decode(labels, np.array([2, 0])).tolist() == ["yes", "maybe"]
    assert labels.numbers() == {"maybe": 0, "no": 1, "yes": 2}


@pytest.mark.parametrize("y", [[1, 2.5, -3], [True, False], np.array([1, 2], np.uint8), [[0.5], [1.5]], [7, 7]])
def test_squared_takes_numbers_as_they_are(y):
    targets, labels = encode_targets(y, "squared")
    assert labels is None
    np.testing.assert_array_equal(targets, np.asarray(y, np.float64).ravel(), strict=True)


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_the_caller_keeps_its_array(loss):
    y = np.array([0.0, 1.0, 1.0])
    y.setflags(write=False)
    targets, _ = encode_targets(y, loss)
    targets[:] = 5
    np.testing.assert_array_equal(y, [0.0, 1.0, 1.0])


def test_classes_cannot_be_written():
    _, labels = encode_targets([0, 1], "logistic")
    with pytest.raises(ValueError, match="read-only"):
        labels.classes[0] = 9


def test_a_message_shows_the_first_labels():
    assert str(Labels(np.arange(3))) == "0, 1, 2"
    assert str(Labels(np.arange(11))) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... (11 labels)"


# labels of a model that goes on


def test_known_labels_keep_their_numbers():
    _, labels = encode_targets(STRINGS, "softmax")
    targets, same = encode_targets(["yes", "yes"], "softmax", labels)
    assert same is labels
    np.testing.assert_array_equal(targets, [2.0, 2.0])


@pytest.mark.parametrize("y", [[1.0, 0.0], [True, False], np.array([1, 0], np.uint8), np.array([1, 0], object)])
def test_equal_numbers_are_one_label(y):
    _, labels = encode_targets([0, 1], "logistic")
    np.testing.assert_array_equal(encode_targets(y, "logistic", labels)[0], [1.0, 0.0])


def test_large_integers_are_told_apart():
    _, labels = encode_targets([2**53, 2**53 + 1], "logistic")
    np.testing.assert_array_equal(encode_targets([2**53 + 1, 2**53], "logistic", labels)[0], [1.0, 0.0])
    with pytest.raises(InputError, match="at row 0"):
        encode_targets(np.array([2.0**53 + 2]), "logistic", labels)


@pytest.mark.parametrize(
    ("y", "place"), [([0, 1, 5, 7], "got 5 at row 2"), (["0"], "got '0' at row 0"), ([1, 0.5], "got 0.5 at row 1")]
)
def test_an_unknown_label_is_named(y, place):
    _, labels = encode_targets([0, 1], "logistic")
    with pytest.raises(InputError, match=f"expected one of 0, 1, {place}. Drop such rows"):
        encode_targets(y, "logistic", labels)


# refused y


@pytest.mark.parametrize(
    ("y", "place"),
    [
        ([0.0, math.nan, math.nan], "got nan at row 1"),
        (np.array([0, 1, math.nan], np.float32), "got nan at row 2"),
        (["a", None], "got None at row 1"),
        (["a", "b", math.nan], "got nan at row 2"),
        ([1, 2, np.float32(math.nan)], "got nan at row 2"),
        ([None, None], "got None at row 0"),
        ([True, NAType()], "at row 1"),
        (np.array([np.nan, "a"], dtype=np.dtypes.StringDType(na_object=np.nan)), "got nan at row 0"),
        (np.ma.masked_array([1, 2, 3], mask=[False, True, False]), "got a masked one at row 1"),
    ],
)
@pytest.mark.parametrize("loss", ["auto", "logistic", "squared", "softmax"])
def test_a_missing_label_is_named(y, place, loss):
    with pytest.raises(InputError, match="missing label in y") as caught:
        choose_loss(y, loss) if loss == "auto" else encode_targets(y, loss)
    assert place in str(caught.value)


@pytest.mark.parametrize("y", [[0.0, 1.0, math.inf], np.array([0, 1, -math.inf], np.float32), [1, 2.5, math.inf]])
@pytest.mark.parametrize("loss", ["squared", "softmax"])
def test_an_infinite_label_is_named(y, loss):
    with pytest.raises(InputError, match=r"y must be finite and fit float64: got -?inf at row 2"):
        encode_targets(y, loss)


@pytest.mark.parametrize(
    ("y", "dtype", "row"),
    [
        ([1, 2**63], "int64", 1),
        ([0, -(2**63) - 1], "int64", 1),
        ([0.5, 1.5, 10**400], "float64", 2),
        ([10**5000], "int64", 0),
    ],
)
@pytest.mark.parametrize("loss", ["squared", "softmax"])
def test_an_integer_that_does_not_fit_is_named(y, dtype, row, loss):
    with pytest.raises(InputError, match=f"y must fit {dtype}: got an integer beyond it at row {row}"):
        encode_targets(y, loss)


@pytest.mark.skipif(np.finfo(np.longdouble).max <= np.finfo(np.float64).max, reason="long double is float64 here")
def test_a_long_double_that_overflows_is_named():
    with pytest.raises(InputError, match="got inf at row 1"):
        encode_targets(np.array([1, np.finfo(np.longdouble).max]), "squared")


@pytest.mark.parametrize(
    ("y", "found"),
    [
        ([1, "a"], "got 'a' of type str at row 1"),
        (["a", "b", 3], "got 3 of type int at row 2"),
        ([True, False, 1], "got 1 of type int at row 2"),
        ([0, True], "got True of type bool at row 1"),
        ([1, 2 + 1j], "of type complex at row 1"),
        ([b"a", b"b"], "of type bytes at row 0"),
        ([{}, {}], "of type dict at row 0"),
        ([[1], [2, 3]], "of type list at row 0"),
    ],
)
def test_labels_of_two_kinds_or_of_another_are_refused(y, found):
    with pytest.raises(InputTypeError, match="numbers, booleans or strings, all of the kind of row 0") as caught:
        encode_targets(y, "softmax")
    assert found in str(caught.value)


@pytest.mark.parametrize("y", [np.array([b"a", b"b"]), np.array([1, 2j]), np.array(["2020", "2021"], "M8[Y]")])
def test_arrays_of_another_kind_are_refused(y):
    with pytest.raises(InputTypeError, match="numbers, booleans or strings, got"):
        encode_targets(y, "softmax")


@pytest.mark.parametrize(
    ("y", "shape"),
    [
        (np.zeros((3, 2)), "(3, 2)"),
        (np.zeros((1, 3)), "(1, 3)"),
        (np.zeros((2, 1, 1)), "(2, 1, 1)"),
        (3, "()"),
        ("ab", "()"),
    ],
)
def test_another_shape_is_refused(y, shape):
    with pytest.raises(InputError, match=r"expected the shape \(rows,\) or \(rows, 1\)") as caught:
        encode_targets(y, "softmax")
    assert f"got {shape} from {type(y).__name__}" in str(caught.value)


def test_no_rows_are_refused():
    with pytest.raises(InputError, match="at least one row"):
        encode_targets([], "softmax")


def test_what_numpy_cannot_read_is_refused():
    class OnAnotherDevice:
        def __array__(self, dtype=None, copy=None):
            raise TypeError("implicit conversion is not allowed")

    with pytest.raises(InputTypeError, match="one label per row: implicit conversion is not allowed"):
        encode_targets(OnAnotherDevice(), "softmax")


def test_logistic_takes_two_labels_only():
    with pytest.raises(InputError, match=r"exactly two labels: y holds 3, 'maybe', 'no', 'yes'. Pass loss='softmax'"):
        encode_targets(STRINGS, "logistic")


def test_squared_takes_no_strings():
    with pytest.raises(InputTypeError, match="y holds strings, got 'no' at row 0: loss='squared' needs numbers"):
        encode_targets(STRINGS, "squared")
