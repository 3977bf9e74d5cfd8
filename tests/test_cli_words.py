"""Messages of the library in the words of the command line."""

from __future__ import annotations

import pytest

from fwfm_gpu import FieldEncoder, train
from fwfm_gpu.cli_words import in_flags
from fwfm_gpu.errors import FwfmError

MIXED = {"c": ["x", "y"], "n": [0.5, 1.5], "t": ["2024-01-05", "2024-01-06"]}


def encode(**options):
    return lambda: FieldEncoder(**options).fit(MIXED)


def fit(**options):
    return lambda: train([[1, 0], [0, 1]], [0, 1], **{"device": "numpy", "epochs": 1, "progress": False, **options})


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (encode(numeric=["c"]), "column 'c' is named in --numeric, and holds strings. Convert it to numbers, or name"),
        (encode(numeric=["c"]), "or name it in --categorical."),
        (encode(numeric=["q"]), "--numeric names column 'q', which is not there"),
        (encode(dates={"c": "hour"}), "named in --dates, and holds strings. Convert it to dates or times, or leave it"),
        (encode(dates={"c": "hour"}), "leave it out of --dates."),
        (encode(dates={"c": "noon"}), "a part of --dates of 'c' must be one of 'hour'"),
        (encode(dates=["c"]), "--dates must name the parts of each column, as time=hour,time=weekday: got"),
        (encode(multi={"n": None}), "as in --multi 'n=|'."),
        (encode(hashed={"c": 0}), "--hashed of 'c' must be an integer from 1"),
        (encode(categorical=["c"], hashed={"c": 9}), "is named in both --categorical and --hashed: name it in one"),
        (encode(min_count=0), "--min-count must be an integer"),
        (
            lambda: FieldEncoder(unknown="error", min_count=1).fit({"c": ["x"]}).transform({"c": ["z"]}),
            "as --unknown is 'error': got 'z' at row 0. Fit on rows that hold it, or choose --unknown learned or",
        ),
        (fit(n_factors=-1), "--n-factors must be a whole number"),
        (fit(l1_linear=1.0), "--l1-linear and --l1-factors must be 0 with --optimizer adagrad"),
        (fit(patience=2), "--patience 2 needs something to evaluate on: pass --valid FILE or --validation-fraction."),
        (fit(eval_metric="foo", validation_fraction=0.5), "(any k for 10), or several with commas."),
        (fit(learning_rate=-1), "--learning-rate must be a finite float32 number"),
    ],
)
def test_the_library_speaks_of_flags(call, said):
    with pytest.raises(FwfmError) as error:
        call()
    assert said in in_flags(str(error.value))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("; continue_training goes on there.", "; --continue MODEL goes on there."),
        ("; train(..., resume=...) goes on there.", "; --resume DIR goes on there."),
    ],
)
def test_going_on_is_an_option(text, said):
    assert in_flags(text) == said


def test_times_are_named_as_a_shell_does():
    import datetime

    with pytest.raises(FwfmError) as error:
        FieldEncoder(categorical=["t"]).fit({"t": [datetime.datetime(2024, 1, 1)]})
    assert "as in --dates t=hour,t=weekday, or leave the column out" in in_flags(str(error.value))


@pytest.mark.parametrize(
    "text", ["column 'bins' holds loss=3", "a seed in numeric terms", "a/batch_size.csv: gone", "'n_factors' is none"]
)
def test_other_words_stay(text):
    assert in_flags(text) == text
