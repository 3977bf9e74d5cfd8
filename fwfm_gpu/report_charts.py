"""Charts as SVG: matplotlib draws them, the page's style sheet colours them, in light and in dark.

A chart is drawn in stand-in colours, each of which becomes a CSS variable; its fonts are those of the page. Sizes are
pixels of a chart that is shown unscaled.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width
from xml.etree import ElementTree

import numpy as np

from fwfm_gpu.errors import MissingExtraError
from fwfm_gpu.parameters import Array
from fwfm_gpu.report_findings import Bins
from fwfm_gpu.report_html import MINUS, RAISED, Markup, number, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

__all__ = ["Shades", "calibration", "curves", "drawing", "drawn_with", "heat_map", "histograms", "require_matplotlib"]
__all__ += ["scatter"]

LEVELS = 10
VARIABLES = ["--ink", "--muted", "--line", "--first", "--second", *(f"--level-{level}" for level in range(LEVELS))]
STAND_INS = [f"0{i:x}0b0c" for i in range(len(VARIABLES))]
COLOURS = {stand_in: f"var({name})" for stand_in, name in zip(STAND_INS, VARIABLES, strict=True)}
INK, MUTED, LINE, FIRST, SECOND, *LEVEL = (f"#{stand_in}" for stand_in in STAND_INS)
LOOKS: tuple[dict[str, Any], ...] = ({"color": FIRST}, {"color": SECOND, "linestyle": (0, (5, 2))})
MOST_POINTS = 1000
WIDTH, HEIGHT = 400, 280
LETTER = 7.2  # pixels that a letter takes, rather too many
COARSE = (0.5, 0.1, 0.9, 0.01, 0.99, 1e-3, 0.999, 1e-4, 0.9999, 1e-5, 0.99999, 1e-6, 0.999999)  # ticks of log-odds
FINE = tuple(p / 20 for p in (10, 8, 12, 6, 14, 4, 16, 2, 18, 1, 19))
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fwfm_gpu",
    "text.parse_math": False,  # a field may be called $x$
    "text.color": INK,
    "font.size": 12.5,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": LINE,
    "xtick.color": LINE,
    "xtick.labelcolor": MUTED,
    "xtick.major.size": 4,
    "ytick.labelcolor": MUTED,
    "ytick.color": LINE,
    "ytick.major.size": 0,
    "lines.linewidth": 2,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.borderaxespad": 0,
    "legend.borderpad": 0.2,
    "legend.handlelength": 1.6,
}


def require_matplotlib() -> None:
    """Raise MissingExtraError where it is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("a report needs matplotlib: pip install 'fwfm-gpu[plots]'.") from error


def drawn_with() -> str:
    """matplotlib's version."""
    from matplotlib import __version__

    return __version__


@contextmanager
def drawing() -> Iterator[None]:
    """matplotlib in our style, whatever the user's is; glyphs are the browser's affair."""
    from matplotlib import style

    with style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        yield


class Canvas:
    """A figure measured in pixels from its top left."""

    def __init__(self, width: float = WIDTH, height: float = HEIGHT) -> None:
        from matplotlib.figure import Figure

        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / 72, height / 72))

    def axes(self, left: float, top: float, right: float, bottom: float, **options: Any) -> Axes:
        """Axes that leave these margins."""
        width, height = self.width - left - right, self.height - top - bottom
        place = (left / self.width, bottom / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(place, **options)

    def svg(self, name: str, label: str) -> Markup:
        """The figure for a page; ``name`` starts every id, ``label`` is what a screen reader says."""
        written = io.StringIO()
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        self.figure.savefig(written, format="svg", transparent=True, metadata=metadata)
        root = ElementTree.fromstring(written.getvalue().encode())
        tidy(root, name)
        least = f"min-width:{0.75 * self.width:.0f}px;" if self.width > WIDTH else ""  # a large one scrolls sideways
        root.attrib = {
            "class": "chart",
            "viewBox": f"0 0 {self.width:g} {self.height:g}",
            "style": f"{least}max-width:{1.2 * self.width:.0f}px",
            "role": "img",
            "aria-label": label,
        }
        return Markup(ElementTree.tostring(root, encoding="unicode"))


def tidy(root: ElementTree.Element, name: str) -> None:
    """Only what a page needs: no namespaces, metadata, rules for the whole page or unused ids."""
    links = {found for node in root.iter() for value in node.attrib.values() for found in re.findall(r"#(\w+)", value)}
    ids = {old: f"{name}-{i}" for i, old in enumerate(sorted(links - set(COLOURS)))}
    for node in list(root.iter()):
        node.tag = local(node.tag)
        for child in [child for child in node if local(child.tag) in ("metadata", "style")]:
            node.remove(child)
        own = ids.get(node.attrib.pop("id", ""))
        node.attrib = {local(key): shortened(value, ids) for key, value in node.attrib.items()}
        if own is not None:
            node.set("id", own)
        if node.get("transform", "").startswith("rotate(-0 "):
            del node.attrib["transform"]
        node.tail = None
        if node.tag != "text":
            node.text = None


def local(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition("}")[2]


def shortened(value: str, ids: Mapping[str, str]) -> str:
    """An attribute with variables for colours, new ids, two decimals, and the font of the page."""
    value = re.sub(r"#(\w+)", lambda found: COLOURS.get(found[1]) or "#" + ids.get(found[1], found[1]), value)
    value = re.sub(r" ?font-family: [^;]*;?", "", value)
    value = re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), value)
    return re.sub(r"\s+", " ", value).strip()


def keyed(axes: Axes) -> None:
    """A legend above the axes, in one line that ends within the canvas."""
    handles, names = axes.get_legend_handles_labels()
    room = int((WIDTH * (1 - axes.get_position().x0) - 46 * len(names)) / LETTER)  # letters
    if sum(map(breadth, names)) > room:
        names = [readable(name, room // len(names)) for name in names]
    axes.legend(handles, names, loc="lower left", bbox_to_anchor=(0, 1.03), ncols=len(names), columnspacing=1.6)


def label_ticks(*axes: Axes, x: int = 4, y: int = 4) -> None:
    """About so many ticks, 0 to leave them, fewer where numbers are long; the same room at the left of all axes."""
    left = axes[0].get_position().x0
    for one in axes:
        if y:
            longest = max(map(len, settle_ticks(one.yaxis, y, math.inf)), default=0)
            left = max(left, (LETTER * longest + (28 if one.get_ylabel() else 8)) / WIDTH)
    for one in axes:
        place = one.get_position()
        one.set_position((left, place.y0, place.x1 - left, place.height))
        if x:
            settle_ticks(one.xaxis, x, WIDTH * (place.x1 - left) / LETTER)


def settle_ticks(axis: Axis, most: int, room: float) -> list[str]:
    """Write ticks on an axis that has room for so many letters; their texts."""
    from matplotlib.ticker import MaxNLocator

    low, high = sorted(axis.get_view_interval())
    for steps in range(most, 0, -1):
        ticks = [float(tick) for tick in MaxNLocator(steps).tick_values(low, high) if low <= tick <= high]
        texts = compact(ticks)
        if (max(map(len, texts), default=0) + 2) * len(ticks) <= room:
            break
    axis.set_ticks(ticks, texts)
    return texts


def compact(ticks: Sequence[float]) -> list[str]:
    """Evenly spaced numbers in as few letters as tell them apart: 300,000 and 0.25 and 1.5 times a power of ten."""
    largest = max(map(abs, ticks), default=0.0)
    power = 0 if largest == 0 or 1e-3 <= largest < 1e6 else 3 * math.floor(math.log10(largest) / 3 + 1e-9)
    unit = 10.0**power
    step = min((b - a for a, b in pairwise(ticks)), default=largest) / unit
    decimals = next((d for d in range(9) if abs(round(step, d) - step) < 1e-3 * step), 9) if step else 0
    ending = f"·10{str(power).translate(RAISED)}" if power else ""
    texts = [f"{tick / unit:,.{decimals}f}" for tick in ticks]
    return [text.replace("-", MINUS) + ending if float(text.replace(",", "")) else "0" for text in texts]


def curves(name: str, label: str, series: Mapping[str, tuple[Sequence[int], Sequence[float]]], kept: int) -> Markup:
    """Values by epoch, (epochs, values) by name, and a mark at the epoch that was kept, 0 for none."""
    canvas = Canvas()
    axes = canvas.axes(58, 38, 14, 44)
    for (title, (epochs, values)), look in zip(series.items(), LOOKS, strict=False):
        axes.plot(epochs, values, label=readable(title), marker="o" if len(epochs) < 30 else "", markersize=4, **look)
    if kept:
        axes.axvline(kept, color=MUTED, linewidth=1, linestyle=(0, (2, 2)), zorder=0)
    axes.set_xlabel("epoch")
    label_ticks(axes, x=0, y=5)
    label_epochs(axes)
    keyed(axes)
    return canvas.svg(name, label)


def label_epochs(axes: Axes) -> None:
    """Ticks at whole epochs only, be there one."""
    from matplotlib.ticker import MaxNLocator

    low, high = axes.get_xlim()
    if high - low < 1:
        low, high = low - 0.5, high + 0.5
    ticks = {round(tick) for tick in MaxNLocator(8, integer=True).tick_values(low, high)}
    axes.set_xticks(sorted(tick for tick in ticks if low <= tick <= high))
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.set_xlim(low, high)


def calibration(name: str, label: str, bins: Bins, words: tuple[str, str]) -> Markup:
    """Share of hits by prediction with its 95 % interval (Wilson), and below it the rows of each step."""
    canvas = Canvas(height=380)
    upper, lower = canvas.axes(58, 14, 14, 130), canvas.axes(58, 268, 14, 46)
    low, high = wilson(bins.observed, bins.effective)
    ends = np.concatenate((bins.predicted, low, high))
    first, last = np.min(ends), np.max(ends)
    margin = max(0.03 * (last - first), 1e-6)
    limits = first - margin, last + margin
    upper.plot(limits, limits, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    upper.vlines(bins.predicted, low, high, color=FIRST, linewidth=1.5, alpha=0.55)
    upper.plot(bins.predicted, bins.observed, color=FIRST, marker="o", markersize=5.5, linewidth=1)
    upper.set(xlim=limits, ylim=limits, ylabel=words[1])
    step = np.ptp(bins.predicted) / max(1, len(bins.predicted) - 1)
    lower.bar(bins.predicted, bins.rows, 0.7 * step or 0.04 * (limits[1] - limits[0]), color=FIRST, alpha=0.7)
    lower.set(xlim=limits, xlabel=words[0], ylabel="rows")
    label_ticks(upper, lower)
    upper.tick_params(labelbottom=False, bottom=False)
    return canvas.svg(name, label)


def wilson(share: Array, n: Array) -> tuple[Array, Array]:
    """95 % interval of shares of n rows."""
    z2 = 1.96**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def histograms(name: str, label: str, groups: Sequence[tuple[str, Array, Array]], words: tuple[str, bool]) -> Markup:
    """The share of each group's rows by value. A group: its name, values and weights.

    words : the label of the values, and whether they are log-odds, to be labelled by their probabilities
    """
    canvas = Canvas(height=380)
    axes = canvas.axes(58, 38, 14 if words[1] else 30, 44)  # half a long number may stick out
    everything = np.concatenate([values for _, values, _ in groups])
    low, high = np.quantile(everything, (0.001, 0.999))
    edges = np.linspace(low, high, 41) if high > low else np.linspace(low - 0.5, high + 0.5, 42)
    for (title, values, weights), look in zip(groups, LOOKS, strict=False):
        counts, _ = np.histogram(np.clip(values, low, high), edges, weights=weights)
        parts = counts / max(np.sum(weights), 1e-300)
        axes.stairs(parts, edges, fill=True, color=look["color"], alpha=0.2)
        axes.stairs(parts, edges, linewidth=1.6, label=title, **look)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
    axes.set(xlabel=words[0], xlim=(edges[0], edges[-1]), ylabel="share of rows")
    axes.set_ylim(0)
    if not words[1] or not label_odds(axes, edges[0], edges[-1]):
        label_ticks(axes, y=0)
    if len(groups) > 1:
        keyed(axes)
    return canvas.svg(name, label)


def label_odds(axes: Axes, low: float, high: float) -> bool:
    """Ticks at round probabilities, none too near to another; whether enough of them are in sight."""
    for probabilities in (COARSE, FINE):
        ticks: dict[float, str] = {}
        for p in probabilities:  # from the middle outwards
            place = math.log(p / (1 - p))
            if low <= place <= high and all(abs(place - other) > 0.17 * (high - low) for other in ticks):
                ticks[place] = f"{100 * p:g}%"
        if len(ticks) >= 3:
            axes.set_xticks(list(ticks), list(ticks.values()))
            return True
    axes.set_xlabel("score (log-odds)")
    return False


def scatter(name: str, label: str, predicted: Array, true: Array, means: tuple[Array, Array]) -> Markup:
    """Truth by prediction: points, or the density of many rows; the diagonal; (predictions, truths) of the deciles."""
    canvas = Canvas(height=380)
    axes = canvas.axes(70, 38, 30, 44)
    low, high = np.quantile(np.concatenate((predicted, true)), (0.002, 0.998))
    margin = 0.03 * (high - low) or max(0.5, 0.01 * abs(low))
    limits = low - margin, high + margin
    if len(true) > MOST_POINTS:
        edges = np.linspace(*limits, 45)
        counts, _, _ = np.histogram2d(true, predicted, (edges, edges))
        with np.errstate(divide="ignore"):
            paint(axes, np.where(counts > 0, np.log(counts), np.nan), (edges, edges), 0, None)
    else:
        axes.plot(predicted, true, "o", color=FIRST, markersize=4, alpha=0.5, markeredgewidth=0, label="a row")
    axes.plot(limits, limits, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="perfect")
    axes.plot(*means, "o", color=SECOND, markersize=6, label="mean of a tenth")
    axes.set(xlim=limits, ylim=limits, xlabel="predicted", ylabel="true")
    label_ticks(axes)
    keyed(axes)
    return canvas.svg(name, label)


@dataclass(frozen=True)
class Shades:
    """What the weakest and the strongest shade stand for, and the words for it; None: the numbers themselves."""

    low: float
    high: float
    ends: tuple[str, str] | None = None

    @classmethod
    def of(cls, values: Array) -> Shades:
        """From the least to the largest value, NaN left out."""
        return cls(float(np.nanmin(values)), float(np.nanmax(values)))


def paint(axes: Axes, values: Array, edges: tuple[Array, Array], gap: float, shades: Shades | None) -> None:
    """Coloured cells, values[i, j] from the edges[0] of i and edges[1] of j, NaN left out."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    shades = shades or Shades.of(values)
    low, high = shades.low, shades.high
    scale = LEVELS / (high - low) if high > low else 0.0
    level = np.clip(np.where(np.isnan(values), -1, (values - low) * scale), -1, LEVELS - 1)
    down, across = edges
    for i, colour in enumerate(LEVEL):
        places = np.argwhere((level >= i) & (level < i + 1))
        if len(places) == 0:
            continue
        y, x = places.T
        corners = [(across[x + dx] - gap * dx, down[y + dy] - gap * dy) for dx, dy in ((0, 0), (1, 0), (1, 1), (0, 1))]
        points = np.stack([np.stack(corner, axis=-1) for corner in (*corners, corners[0])], axis=1).reshape(-1, 2)
        codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(places)
        seam = {"linewidth": 0} if gap else {"linewidth": 0.4, "edgecolor": colour}
        axes.add_patch(PathPatch(Path(points, codes), facecolor=colour, **seam))


def heat_map(
    name: str,
    label: str,
    values: Array,
    names: tuple[Sequence[str], Sequence[str]],
    shades: Shades | None = None,
) -> Markup:
    """Cells with names of rows and columns, the first row on top, and a key above: the least and the largest shade."""
    shades = shades or Shades.of(values)
    rows, columns = ([readable(text, 19) for text in side] for side in names)
    cell = max(12.5, min(44.0, 320 / len(columns)))
    letter = 12 if cell >= 15 else 10
    left = 14 + 0.6 * letter * max(map(breadth, rows))
    longest = max(map(breadth, columns))
    turned = 0 if longest <= 4 else 90
    below = 26 if turned == 0 else 14 + 0.6 * letter * longest
    width = max(300, left + cell * len(columns) + 10)
    canvas = Canvas(width, 44 + cell * len(rows) + below)
    axes = canvas.axes(left, 44, width - left - cell * len(columns), below)
    edges = np.arange(len(rows) + 1.0), np.arange(len(columns) + 1.0)
    paint(axes, values, edges, 1 / cell, shades)
    axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
    axes.set_xticks(edges[1][1:] - 0.5, columns, rotation=turned, fontsize=letter)
    axes.set_yticks(edges[0][1:] - 0.5, rows, fontsize=letter)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    draw_key(canvas, left, shades.ends or (number(shades.low, 3), number(shades.high, 3)))
    return canvas.svg(name, label)


def draw_key(canvas: Canvas, left: float, ends: tuple[str, str]) -> None:
    """The colours from the least to the largest value, above the cells."""
    start = min(left, canvas.width - 250) + 8 + 7 * len(ends[0])
    axes = canvas.axes(start, 10, canvas.width - start - 13 * LEVELS, canvas.height - 22)
    paint(axes, np.arange(LEVELS)[None, :] / 1.0, (np.arange(2.0), np.arange(LEVELS + 1.0)), 0.08, None)
    axes.set(xlim=(0, LEVELS), ylim=(0, 1))
    axes.set_axis_off()
    for x, text, side in ((-0.5, ends[0], "right"), (LEVELS + 0.5, ends[1], "left")):
        axes.text(x, 0.45, text, ha=side, va="center", color=MUTED)


def breadth(text: str) -> int:
    """Columns that a text takes on a terminal, which its width goes by."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)
