"""Names of fields, features and labels, or their numbers."""

from __future__ import annotations

import numpy as np
import pytest
from handmade_models import handmade

from fwfm_gpu import FieldEncoder, FieldMatrix
from fwfm_gpu.errors import InputError, OptionError
from fwfm_gpu.model_names import Names


def names(C=1, labels=None, **known):
    return Names.of(handmade(FieldMatrix.from_ids(np.zeros((1, 2), int), [1, 1], **known), C, labels=labels))


def test_known_names():
    known = names(field_names=["age", "job"], feature_names=["old", "cook"])
    assert (known.field(1), known.feature(0)) == ("job", "old")
    assert (known.find_field("job"), known.find_field(0), known.find_field(np.int32(1))) == (1, 0, 1)


def test_numbers_where_there_are_no_names():
    assert (names().field(1), names().feature(0)) == ("field 1", "feature 0")
    with pytest.raises(InputError, match="no field has a name"):
        names().find_field("age")


def test_names_that_are_too_many_to_keep_are_made_one_by_one():
    rows = FieldEncoder(hashed={"user": 2**18}, min_count=1).fit_transform({"user": ["a"], "city": ["Oslo"]})
    known = Names.of(handmade(rows))
    assert rows.feature_names is None
    assert (known.feature(7), known.feature(2**18), known.field(1)) == ("user#7", "city=Oslo", "city")
    assert known.feature_names and len(known.feature_names) == 2**18 + 1


@pytest.mark.parametrize("field", ["Age", 2, -1, True, 1.0, None])
def test_a_field_that_is_not_there(field):
    with pytest.raises(InputError, match=r"number them from 0 to 1: got .*There are: 'age', 'job'"):
        names(field_names=["age", "job"]).find_field(field)


def test_labels_are_found_as_they_came():
    assert names(3, labels=[10, 20, 30]).find_label(20) == 1
    with pytest.raises(OptionError, match=r"got 25\. There are: 10, 20, 30"):
        names(3, labels=[10, 20, 30]).find_label(25)
    with pytest.raises(OptionError, match="for softmax alone"):
        names().find_label(1)
