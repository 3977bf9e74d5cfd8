"""How the cost of training grows with the work: rows, nonzeros of a row, factors, threads.

    python docs/benchmarks/scaling.py [--quick] [--axes rows z k threads] [--device cpu] [--image FILE]

One process times whole passes over rows that are loaded, case after case, in rounds, so that what disturbs the machine
disturbs them all; medians count. An axis changes one number of the base case: 65,536 rows of 40 fields with one
nonzero each, of 1,000 features a field, k = 16, float32, AdaGrad, batch 8,192, one thread.

An exponent is the slope of log time against log size, by least squares: 1 is linear, 2 quadratic, -1 perfect scaling.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "asv_bench"))

from benchmarks.cases import Case as Shape
from benchmarks.cases import draw
from benchmarks.resident import Resident, seconds

from fwfm_gpu.backends import get_backend
from fwfm_gpu.backends.threads import count_cores

BATCH, FEATURES = 8192, 1000  # rows of a batch, features of a field
ROUNDS = 5
IMAGE = Path(__file__).resolve().parents[1] / "images" / "scaling.png"
INK, LINE, GUIDE = "#24292f", "#0969da", "#8c959f"


@dataclass(frozen=True)
class Case:
    """The size of the work."""

    rows: int = 65536
    z: int = 40
    k: int = 16
    threads: int = 1


@dataclass(frozen=True)
class Axis:
    """One number of the base case, in several sizes, and the exponent that is promised."""

    name: str  # of a Case
    title: str
    sizes: tuple[int, ...]
    promised: float

    def cases(self, base: Case) -> list[Case]:
        return [replace(base, **{self.name: size}) for size in self.sizes]


Seconds = Mapping[Case, float]


def list_axes(cores: int, quick: bool) -> tuple[Axis, ...]:
    """Rows grow by 4, all else by 2; threads as far as there are cores."""
    threads = tuple(2**i for i in range(max(cores, 1).bit_length()))
    rows = (256, 1024) if quick else (16384, 65536, 262144)
    return (
        Axis("rows", "rows", rows, 1.0),
        Axis("z", "nonzeros of a row", (5, 10) if quick else (10, 20, 40, 80), 2.0),
        Axis("k", "factors", (4, 8) if quick else (8, 16, 32, 64), 1.0),
        Axis("threads", "threads", threads, -1.0),
    )


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The slope of log time against log size, by least squares; NaN of a single size."""
    if len(sizes) < 2:
        return math.nan
    x, y = np.log(sizes), np.log(seconds)
    return float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())


def load(case: Case, device: str) -> Callable[[], float]:
    """Everything resident and warm; each call is one pass over all rows, in seconds."""
    shape = Shape((FEATURES,) * case.z, case.k, BATCH)
    resident = Resident.load(get_backend(device, n_threads=case.threads), shape, draw(shape, case.rows))

    def pass_once() -> float:
        run = resident.begin()
        return seconds(lambda: resident.advance(run, resident.batches))

    pass_once()
    return pass_once


def measure(cases: Sequence[Case], rounds: int, load_case: Callable[[Case], Callable[[], float]]) -> dict[Case, float]:
    """Median seconds of a pass, cases in turns."""
    passes = {case: load_case(case) for case in cases}
    taken: dict[Case, list[float]] = {case: [] for case in cases}
    for _ in range(rounds):
        for case, pass_once in passes.items():
            taken[case].append(pass_once())
    return {case: statistics.median(seconds) for case, seconds in taken.items()}


def table(axes: Sequence[Axis], base: Case, seconds: Seconds) -> str:
    """Markdown: a line for each size; the exponent of an axis stands at its last one."""
    lines = ["| axis | size | ms a pass | rows/s | times the size before | exponent | promised |", "|" + "---|" * 7]
    for axis in axes:
        taken = [seconds[case] for case in axis.cases(base)]
        for i, (case, size, now) in enumerate(zip(axis.cases(base), axis.sizes, taken, strict=True)):
            growth = f"{now / taken[i - 1]:.2f}" if i else ""
            last = i > 0 and i == len(taken) - 1
            found = (f"{exponent(axis.sizes, taken):.2f}", promise(axis)) if last else ("", "")
            cells = (axis.title, f"{size:,}", f"{1000 * now:,.1f}", f"{case.rows / now:,.0f}", growth, *found)
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def promise(axis: Axis) -> str:
    """What the exponent may be at most; threads only approach theirs."""
    return f"{'towards' if axis.promised < 0 else 'at most'} {axis.promised:g}"


def plot(axes: Sequence[Axis], base: Case, seconds: Seconds, image: Path) -> None:
    """A panel for each axis: time against size, both by logarithm, and a line of the promised slope."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    mpl.rcParams["font.size"] = 9
    figure = Figure(figsize=(2.5 * len(axes), 2.7), dpi=100, layout="constrained")
    panels = figure.subplots(1, len(axes), sharey=True, squeeze=False)[0]
    for panel, axis in zip(panels, axes, strict=True):
        taken = [1000 * seconds[case] for case in axis.cases(base)]
        guide = [taken[0] * (size / axis.sizes[0]) ** axis.promised for size in axis.sizes]
        panel.loglog(axis.sizes, guide, color=GUIDE, linewidth=1, linestyle=(0, (4, 3)), label="as promised")
        panel.loglog(axis.sizes, taken, color=LINE, linewidth=1.8, marker="o", markersize=4.5, label="measured")
        found = exponent(axis.sizes, taken)
        panel.set_title(axis.title if math.isnan(found) else f"{axis.title}: exponent {found:.2f}", color=INK, size=9)
        panel.set_xticks(axis.sizes, [short(size) for size in axis.sizes])
        panel.xaxis.set_minor_locator(NullLocator())
        panel.grid(axis="y", color="#eaeef2")
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(colors=INK, which="both")
    panels[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panels[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.15g}"))
    panels[0].yaxis.set_minor_locator(NullLocator())
    panels[0].set_ylabel("ms a pass", color=INK)
    panels[0].legend(frameon=False, labelcolor=INK, fontsize=8)
    figure.savefig(image)


def short(size: int) -> str:
    """16384 as 16k."""
    return f"{size // 1024}k" if size >= 1024 else str(size)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    names = [axis.name for axis in list_axes(1, False)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: to see that everything runs")
    parser.add_argument("--axes", nargs="+", choices=names, default=names, help="only these")
    parser.add_argument("--rounds", type=int, help=f"passes of each case (default: {ROUNDS}, with --quick 1)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--image", type=Path, default=IMAGE, help="where the plot goes")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the plot."""
    options = parse(arguments)
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    axes = [axis for axis in list_axes(count_cores(), options.quick) if axis.name in options.axes]
    base = Case(rows=1024, z=10, k=8) if options.quick else Case()
    cases = dict.fromkeys(case for axis in axes for case in axis.cases(base))
    seconds = measure(list(cases), rounds, lambda case: load(case, options.device))
    print(f"engine {get_backend(options.device).name}, base {base}, medians of {rounds} passes\n")
    print(table(axes, base, seconds))
    plot(axes, base, seconds, options.image)


if __name__ == "__main__":
    main()
