"""Flags from signatures: every option of train is one, with its own default, choices and words."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import fields

import pytest

from fwfm_gpu.cli_flags import add_flags, flags_of, given_flags
from fwfm_gpu.cli_train import option_flags
from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.options import CHOICES, Options
from fwfm_gpu.training import train


def example(
    data: object,
    *,
    rate: float = 0.5,
    rows: int | None = None,
    clip: float | str | None = None,
    shuffle: bool = True,
    kind: str = "a",
    where: str = "here",
    names: Iterable[str] | None = None,
    weights: str | Mapping[object, float] | None = None,
    hook: object = None,
) -> None:
    """An example.

    Parameters
    ----------
    data : object
    rate : float
        How *fast*: ``rate``. 50% of what is there.
    rows, clip : int
    kind : {"a", "b"}
        Which one.
    where : {"here", "row:N"}

    Raises
    ------
    ValueError
        Never.
    """


def parse(flags, *arguments):
    parser = argparse.ArgumentParser()
    add_flags(parser, flags.values())
    parser.format_help()
    return given_flags(parser.parse_args(arguments), flags)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], {}),
        (["--rate", "1e-3"], {"rate": 0.001}),
        (["--rows", "1e3"], {"rows": 1000}),
        (["--rows", "1_000"], {"rows": 1000}),
        (["--clip", "2"], {"clip": 2.0}),
        (["--clip", "auto"], {"clip": "auto"}),
        (["--no-shuffle"], {"shuffle": False}),
        (["--shuffle"], {"shuffle": True}),
        (["--kind", "b", "--where", "row:7"], {"kind": "b", "where": "row:7"}),
        (["--names", "a, b"], {"names": ["a", "b"]}),
        (["--weights", "balanced"], {"weights": "balanced"}),
        (["--weights", "no=1,yes=2.5"], {"weights": {"no": 1, "yes": 2.5}}),
        (["--weights", "0=1,1=5"], {"weights": {0: 1, 1: 5}}),
        (["--names", "a", "--names", "b,a"], {"names": ["a", "b"]}),
        (["--rows", "1", "--rows", "2"], {"rows": 2}),
        (["--weights", "no=1", "--weights", "yes=2"], {"weights": {"no": 1, "yes": 2}}),
    ],
)
def test_values(arguments, wanted):
    found = parse(flags_of(example), *arguments)
    assert found == wanted
    assert [type(value) for value in found.values()] == [type(value) for value in wanted.values()]


def encoder_given(text: str) -> dict:
    return parse(flags_of(FieldEncoder), *text.split(" "))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("--dates t=hour --dates t=weekday --dates u=day", {"dates": {"t": ["hour", "weekday"], "u": "day"}}),
        ("--dates t=hour,weekday,u=day,month", {"dates": {"t": ["hour", "weekday"], "u": ["day", "month"]}}),
        ("--categorical a --categorical b", {"categorical": ["a", "b"]}),
        ("--numeric a,b --numeric c", {"numeric": ["a", "b", "c"]}),
        ("--hashed a --hashed b", {"hashed": ["a", "b"]}),
        ("--hashed a=8 --hashed b=16", {"hashed": {"a": 8, "b": 16}}),
        ("--multi city=,", {"multi": {"city": ","}}),
        ("--multi city=", {"multi": {"city": ","}}),
        ("--multi city=,,tags=|", {"multi": {"city": ",", "tags": "|"}}),
        ("--multi city=,tags=;", {"multi": {"city": ",", "tags": ";"}}),
        ("--multi tags=|,city", {"multi": {"tags": "|", "city": None}}),
        ("--multi tags=| --multi city=;", {"multi": {"tags": "|", "city": ";"}}),
        ("--multi tags,city", {"multi": ["tags", "city"]}),
    ],
)
def test_lists_of_the_encoder_add_up(text, wanted):
    assert encoder_given(text) == wanted
    FieldEncoder(**wanted)


@pytest.mark.parametrize(
    ("text", "said"), [("--dates t", "as t=hour,weekday"), ("--hashed a --hashed b=8", "together")]
)
def test_lists_that_say_no_column_are_refused(text, said, capsys):
    with pytest.raises(SystemExit):
        encoder_given(text)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--rows", "1.5"], ["--rate", "fast"], ["--kind", "c"], ["--weights", "a=1,b"]])
def test_bad_values_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(flags_of(example), *arguments)
    assert stopped.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_words_and_what_no_text_can_say():
    flags = flags_of(example)
    assert "hook" not in flags and "data" not in flags
    assert flags["rate"].words == "How *fast*: rate. 50% of what is there"
    assert flags["kind"].choices == ("a", "b") and flags["where"].choices is None
    assert flags["names"].words == "names"
    parser = argparse.ArgumentParser()
    add_flags(parser, flags.values())
    assert "50% of what is there (default: 0.5)" in " ".join(parser.format_help().split())


def test_every_option_of_train_is_a_flag():
    flags, defaults = option_flags(), inspect.signature(train).parameters
    assert set(flags) == {entry.name for entry in fields(Options)}
    for name, flag in flags.items():
        assert flag.words.strip()
        assert flag.default == defaults[name].default
        assert name not in CHOICES or flag.read is None or set(flag.choices) == {*CHOICES[name]} - {None}


def test_the_options_that_text_gives_are_those_of_python():
    arguments = (
        "--n-factors 4 --l2-linear 1e-3 --no-shuffle --eval-metric auc,ece --class-weight no=1,yes=2 --patience 3"
    )
    given = parse(option_flags(), *arguments.split())
    assert Options(**given) == Options(
        n_factors=4,
        l2_linear=1e-3,
        shuffle=False,
        eval_metric=["auc", "ece"],
        class_weight={"no": 1, "yes": 2},
        patience=3,
    )


def test_every_plain_option_of_the_encoder_is_a_flag():
    flags = flags_of(FieldEncoder)
    assert {"categorical", "numeric", "bins", "min_count", "unknown", "numeric_as"} <= set(flags)
    encoder = FieldEncoder(**parse(flags, "--categorical", "a,b", "--bins", "8", "--unknown", "ignore"))
    assert (encoder.categorical, encoder.bins, encoder.unknown) == (("a", "b"), 8, "ignore")


def test_the_encoder_s_options_by_column_are_pairs_or_words():
    flags = flags_of(FieldEncoder)
    arguments = "--hashed a,b --n-buckets 64 --multi c=|,d=; --multi-value c=mean --dates t=hour,t=weekday,u=month"
    given = parse(flags, *arguments.split(), "--hash-seed", "7")
    encoder, want = (
        FieldEncoder(**given),
        FieldEncoder(
            hashed=["a", "b"],
            n_buckets=64,
            hash_seed=7,
            multi={"c": "|", "d": ";"},
            multi_value={"c": "mean"},
            dates={"t": ["hour", "weekday"], "u": "month"},
        ),
    )
    assert repr(encoder) == repr(want)
    assert FieldEncoder(**parse(flags, "--hashed", "a=64", "--multi-value", "mean")).changed() == {
        "hashed": {"a": 64},
        "multi_value": "mean",
    }
