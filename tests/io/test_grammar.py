from __future__ import annotations

import re

import pytest

from fwfm_gpu.errors import InputError
from fwfm_gpu.io import read_libffm, read_libsvm

NUMBERS = ["nan", "NaN", "inf", "-inf", "infinity", "1_0", "0x1p3", "0x10", "1e", "1e+", ".", "+", "-", "e5", "1.2.3"]
NUMBERS += [
    "--1",
    "1,5",
    "1d3",
    "\u0663",
    "\uff11",
    "1\u00b2",
    "1e999",
    "-1e999",
    "1\0",
    "True",
    "'1'",
    "1f",
    "--",
    "1-2",
]
IDS = ["-1", "+1", "-0", "1.0", "1e3", "", "1_0", "\u0663", "0x1", "a", "1\0"]


def shown(part):
    return re.escape(repr(part.encode())[2:-1])


@pytest.mark.parametrize("number", NUMBERS)
def test_a_label_that_is_no_number_is_refused(text, number):
    for read, entry in ((read_libffm, "0:1:1"), (read_libsvm, "1:1")):
        message = f"^<stream>, line 2, column 2: expected a finite decimal number as label, got '{shown(number)}'"
        with pytest.raises(InputError, match=message):
            read(text(f"1 {entry}\n {number} {entry}\n1 {entry}\n"))


@pytest.mark.parametrize("number", [*NUMBERS, ""])
def test_a_value_that_is_no_number_is_refused(text, number):
    for read, entry, column in ((read_libffm, "0:12:", 15), (read_libsvm, "12:", 11)):
        message = (
            f"^<stream>, line 2, column {column}: expected a finite decimal number as value, got '{shown(number)}'"
        )
        with pytest.raises(InputError, match=message):
            read(text(f"1\n1 {entry}1 {entry}{number}\n"))


@pytest.mark.parametrize("number", IDS)
def test_a_feature_that_is_not_digits_alone_is_refused(text, number):
    for read, form, column in ((read_libffm, "0:{}:1", 5), (read_libsvm, "{}:1", 3)):
        message = f"^<stream>, line 3, column {column}: expected digits alone as feature, got '{shown(number)}:1'"
        with pytest.raises(InputError, match=message):
            read(text("1\r\n1\n1 " + form.format(number)))


@pytest.mark.parametrize("number", IDS)
def test_a_field_that_is_not_digits_alone_is_refused(text, number):
    message = f"^<stream>, line 1, column 3: expected digits alone as field, got '{shown(number)}:7:1'"
    with pytest.raises(InputError, match=message):
        read_libffm(text(f"1 {number}:7:1"))


@pytest.mark.parametrize("entry", ["7", "7:1", "0:7:1:1", ":", ":::", "0:7:1:", "0: 7:1", "0:7 :1", "0:7:1,0:8:1:1"])
def test_an_entry_of_another_form_is_refused_in_libffm(text, entry):
    with pytest.raises(InputError, match=r"^<stream>, line 2, column 9: expected field:feature:value, got"):
        read_libffm(text(f"0\n1 0:1:1 {entry}\n"))


@pytest.mark.parametrize("entry", ["7", "7:1:1", "::", "7:1:", "7 :1", "7#:1"])
def test_an_entry_of_another_form_is_refused_in_libsvm(text, entry):
    with pytest.raises(InputError, match=r"^<stream>, line 2, column 7: expected feature:value, got"):
        read_libsvm(text(f"0\n1 1:1 {entry}\n"))


@pytest.mark.parametrize("line", [" 0:1:1", "0:1:1", "x 0:1:1", "\ufeff1 0:1:1"])
def test_an_empty_or_foreign_label_is_refused(text, line):
    with pytest.raises(InputError, match=r"^<stream>, line 1, column [12]: expected a finite decimal number as label"):
        read_libffm(text(line))


@pytest.mark.parametrize("byte", [b"\0", b"\v", b"\f", b"\r", b"#", b"\x80", b"\xa0", b"a", b"_", b",", b";", b"="])
def test_bytes_of_no_number_are_refused_wherever_they_stand(text, byte):
    line = b"1 0:12:1.5\n"
    for place in range(len(line) - 1):
        with pytest.raises(InputError, match=r"^<stream>, line 2, column "):
            read_libffm(text(b"1 0:12:1\n" + line[:place] + byte + line[place:]))


@pytest.mark.parametrize("blank", ["\n", " \n", "\t\n", "\r\n", "\n\n\n"])
def test_a_blank_line_before_a_row_is_refused(text, blank, block_bytes):
    for size in (1, 4, 1000):
        block_bytes(size)
        for read, entry in ((read_libffm, "0:1:1"), (read_libsvm, "1:1")):
            with pytest.raises(
                InputError, match=r"^<stream>, line 2, column 1: expected a row, because more rows follow"
            ):
                read(text(f"1 {entry}\n{blank}1 {entry}\n"))
            rows, _ = read(text(f"1 {entry}\n{blank}"))
            assert rows.n_rows == 1


def test_the_first_bad_line_is_named(text, block_bytes):
    for size in (1, 10, 1000):
        block_bytes(size)
        with pytest.raises(InputError, match="line 3, column 1: "):
            read_libffm(text("1\n2\nx\n4 y\n\n5\n"))
        with pytest.raises(InputError, match="line 2, column 1: expected a row"):
            read_libffm(text("1\n\n2\nx\n"))


def test_query_numbers_are_refused(text):
    with pytest.raises(InputError, match=r"line 1, column 3: .*got 'qid:3'. Query numbers are not supported"):
        read_libsvm(text("1 qid:3 1:1\n"))


def test_signs_tabs_spaces_and_line_ends_of_other_systems_are_read(text):
    rows, y = read_libffm(text(b"\t+1  0:1:+2 \t 0:2:-.5\t\r\n-1 \r\n-0 0:0:5.\r\n"))
    assert [str(label) for label in y.tolist()] == ["1.0", "-1.0", "-0.0"]
    assert rows.to_csr().toarray().tolist() == [[0, 2, -0.5], [0, 0, 0], [5, 0, 0]]


def test_a_carriage_return_may_stand_before_a_line_feed_alone(text):
    with pytest.raises(InputError, match=r"line 1, column 7: .*got '1\\r1'"):
        read_libffm(text("1 0:1:1\r1 0:1:1\r"))
