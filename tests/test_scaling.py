"""How cost grows with the work: exponents, cases, rounds, table, plot, and a small run."""

from __future__ import annotations

import importlib
import math
import sys
from functools import partial
from itertools import count
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "benchmarks"
if not (FOLDER / "scaling.py").exists() or not (ROOT / "asv_bench").is_dir():
    pytest.skip("docs/benchmarks/scaling.py or asv_bench is not here: part of a checkout", allow_module_level=True)


def import_module(name: str) -> ModuleType:
    """A module of the folder; ``sys.path`` stays what it was."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(FOLDER), str(ROOT / "asv_bench"), *sys.path])
        return importlib.import_module(name)


scaling, epoch = import_module("scaling"), import_module("epoch")
Axis, Case, Part = scaling.Axis, scaling.Case, epoch.Part
Z = Axis("z", "nonzeros of a row", (2, 4, 8), 2.0)
THREADS = Axis("threads", "threads", (1, 2), -1.0)
BASE = Case(rows=100, z=4, k=1, threads=1)
SECONDS = {case: case.z**2 / case.threads for case in (*Z.cases(BASE), *THREADS.cases(BASE))}


@pytest.mark.parametrize("power", [-1.0, 0.0, 1.0, 2.0])
def test_the_exponent_of_a_power_is_that_power(power):
    sizes = (10, 20, 40, 80)
    assert scaling.exponent(sizes, [3.5 * size**power for size in sizes]) == pytest.approx(power)  # log rounds


def test_the_exponent_is_that_of_the_least_squares_line():
    assert scaling.exponent((1, 2, 4), (1, 2, 2)) == pytest.approx(0.5)
    assert math.isnan(scaling.exponent((1,), (1,)))


def test_an_axis_changes_one_number():
    assert Z.cases(BASE) == [Case(100, 2, 1, 1), Case(100, 4, 1, 1), Case(100, 8, 1, 1)]


@pytest.mark.parametrize("cores, threads", [(1, (1,)), (2, (1, 2)), (3, (1, 2)), (8, (1, 2, 4, 8))])
def test_threads_double_as_far_as_there_are_cores(cores, threads):
    assert scaling.list_axes(cores, False)[-1].sizes == threads


def test_rows_grow_by_four_all_else_by_two():
    rows, z, k, _ = scaling.list_axes(2, False)
    assert [b // a for a, b in zip(rows.sizes, rows.sizes[1:], strict=False)] == [4, 4]
    for axis in (z, k):
        assert all(b == 2 * a for a, b in zip(axis.sizes, axis.sizes[1:], strict=False)), axis
    assert [axis.promised for axis in (rows, z, k)] == [1, 2, 1]


def test_medians_count_and_cases_take_turns():
    seen = []
    times = {2: iter([9.0, 1.0, 2.0]), 4: iter([5.0, 7.0, 6.0])}

    def load(case):
        return lambda: seen.append(case.z) or next(times[case.z])

    cases = Z.cases(BASE)[:2]
    assert scaling.measure(cases, 3, load) == {cases[0]: 2.0, cases[1]: 6.0}
    assert seen == [2, 4, 2, 4, 2, 4]


def test_the_table_shows_growth_and_exponents():
    assert scaling.table([Z, THREADS], BASE, SECONDS).split("\n")[2:] == [
        "| nonzeros of a row | 2 | 4,000.0 | 25 |  |  |  |",
        "| nonzeros of a row | 4 | 16,000.0 | 6 | 4.00 |  |  |",
        "| nonzeros of a row | 8 | 64,000.0 | 2 | 4.00 | 2.00 | at most 2 |",
        "| threads | 1 | 16,000.0 | 6 |  |  |  |",
        "| threads | 2 | 8,000.0 | 12 | 0.50 | -1.00 | towards -1 |",
    ]


def test_one_size_has_no_exponent():
    alone = Axis("threads", "threads", (1,), -1.0)
    assert scaling.table([alone], BASE, SECONDS).split("\n")[2] == "| threads | 1 | 16,000.0 | 6 |  |  |  |"


def test_the_plot_is_a_small_picture(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    scaling.plot([Z, THREADS], BASE, SECONDS, tmp_path / "plot.png")
    drawn = (tmp_path / "plot.png").read_bytes()
    assert drawn.startswith(b"\x89PNG")
    assert len(drawn) < 60_000


def test_a_small_run(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    image = tmp_path / "plot.png"
    scaling.main(["--quick", "--axes", "rows", "k", "--device", "numpy", "--image", str(image)])
    printed = capsys.readouterr().out
    assert printed.startswith("engine numpy, ") and "| factors | 8 | " in printed and "threads |" not in printed
    assert image.stat().st_size > 1000


# where an epoch spends its time


class Work:
    """Something that calls something, by a clock that each tick moves on."""

    def __init__(self) -> None:
        self.time = 0.0

    def outer(self) -> str:
        self.time += 1
        self.inner()
        self.time += 2
        return "done"

    def inner(self) -> None:
        self.time += 10


PARTS = (Part("out", True, ((Work, "outer"),)), Part("in", True, ((Work, "inner"),), is_step=True))
PARTS += (Part(epoch.REST, False, ()),)


def test_inner_parts_are_no_time_of_outer_ones():
    work, before = Work(), vars(Work).copy()
    clock = epoch.Clock(now=lambda: work.time)
    assert epoch.time_parts(PARTS, lambda: (work.outer(), work.outer()), clock) == {"out": 6, "in": 20, epoch.REST: 0}
    assert vars(Work) == before


def test_a_part_ends_when_it_raises():
    clock = epoch.Clock()
    with pytest.raises(ZeroDivisionError):
        epoch.time_parts(PARTS, lambda: 1 / 0, clock)
    assert clock.open == []


def test_what_is_no_step_is_a_share_of_an_epoch():
    lines = epoch.table(PARTS, {"out": 1.0, "in": 4.0, epoch.REST: 0.5}).split("\n")
    assert lines[2:] == [
        "| out | each epoch | 1,000.0 | 20.0 |",
        "| in | each epoch | 4,000.0 | 80.0 |",
        "| everything else | once a call | 500.0 | 10.0 |",
        "| **outside the steps** | each epoch | 1,000.0 | 20.0 |",
        "| **outside the steps** | once a call | 500.0 | 10.0 |",
    ]


def test_the_parts_of_a_small_call_are_all_met(capsys, monkeypatch):
    monkeypatch.setattr(epoch, "Clock", partial(epoch.Clock, now=count(0.0, 1.0).__next__))  # each look takes a second
    epoch.main(["--quick", "--rows", "300", "--device", "numpy"])
    lines = [line.split(" | ") for line in capsys.readouterr().out.split("\n") if line.startswith("| ")][1:]
    met = {cells[0][2:]: float(cells[2].replace(",", "")) for cells in lines}
    assert set(met) == {part.name for part in epoch.list_parts(object)} | {"**outside the steps**"}
    never = {name for name in met if met[name] == 0.0}
    assert never <= {"callbacks", "begin", epoch.REST}, never
