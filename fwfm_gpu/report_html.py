"""HTML that escapes by itself: elements, tables, and numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = [
    "MINUS",
    "NONE",
    "RAISED",
    "TIMES",
    "Column",
    "Markup",
    "aligned",
    "bar",
    "count",
    "figures",
    "join",
    "number",
    "picture",
]
__all__ += ["pictures", "readable", "section", "share", "table", "tag"]

VOID = {"meta"}
NONE = "\N{EN DASH}"  # what a cell without a number shows
MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Markup(str):
    """Text that is HTML already. Everything else is escaped."""

    __slots__ = ()


def tag(element: str, *children: str, **attributes: object) -> Markup:
    """An element; children are escaped unless they are Markup.

    ``class_`` and ``for_`` lose their underscore, other underscores become hyphens; None leaves an attribute out.
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    closing = "" if element in VOID else f"</{element}>"
    return Markup(f"<{element}{written}>{join(children)}{closing}")


def join(children: Iterable[str]) -> Markup:
    """One after another, escaped unless they are Markup."""
    return Markup("".join(child if isinstance(child, Markup) else escape(child, quote=False) for child in children))


def readable(name: object, most: int = 40) -> str:
    """A name of any content and length as one short line: what cannot be printed becomes a replacement character."""
    text = str(name)
    tail = most // 3
    text = text if len(text) <= most else f"{text[: most - tail - 1]}…{text[-tail:]}"  # names often differ at their end
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def number(value: float, digits: int = 4) -> str:
    """So many significant digits, none of them a trailing zero: 16,281 and 0.2838 and 1.5 times a power of ten."""
    if not math.isfinite(value):
        return NONE
    if value and not 1e-5 <= abs(value) < 1e7:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa} {TIMES} 10{str(int(exponent)).translate(RAISED)}".replace("-", MINUS)
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
    text = f"{value:,.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", MINUS)


def aligned(values: Sequence[float], digits: int = 3) -> list[str]:
    """Numbers of one column with equally many decimals: the largest shows ``digits`` digits, or a few more."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if largest and not 1e-5 <= largest < 1e9:
        return [number(value, digits) for value in values]
    decimals = max(0, digits - 1 - math.floor(math.log10(largest))) if largest else 0
    return [f"{value:,.{decimals}f}".replace("-", MINUS) if math.isfinite(value) else NONE for value in values]


def count(value: float) -> str:
    """16,281."""
    return f"{value:,.0f}"


def share(value: float) -> str:
    """86.5%."""
    if not math.isfinite(value):
        return NONE
    return "0%" if value == 0 else "<0.1%" if value < 0.0005 else f"{100 * value:.1f}%"


def bar(text: str, part: float) -> Markup:
    """A number with a bar behind it, ``part`` of the cell wide."""
    part = part if math.isfinite(part) else 0.0
    return tag("span", text, class_="bar", style=f"--part:{100 * part:.1f}%")


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, and whether it holds numbers, which are set to the right."""

    heading: str
    numeric: bool = True


def table(caption: str, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> Markup:
    """A table whose first column heads the rows, in a frame that scrolls sideways where the screen is narrow."""
    kinds = ["n" if column.numeric else None for column in columns]
    heads = (tag("th", c.heading, scope="col", class_=kind) for c, kind in zip(columns, kinds, strict=True))
    body = []
    for row in rows:
        first, *others = zip(row, kinds, strict=True)
        cells = [tag("th", first[0], scope="row", class_=first[1])]
        cells += [tag("td", cell, class_=kind) for cell, kind in others]
        body.append(tag("tr", *cells))
    head = tag("thead", tag("tr", *heads))
    inner = tag("table", tag("caption", caption), head, tag("tbody", *body))
    return tag("div", inner, class_="scroll", role="region", aria_label=caption, tabindex="0")


def section(name: str, heading: str, lede: str, *body: str, broad: bool = False) -> Markup:
    """A section: heading and a sentence or two, then what they are about, beside them or, if broad, below."""
    intro = tag("div", tag("h2", heading, id=f"{name}-heading"), tag("p", lede), class_="intro")
    content = tag("div", *body, class_="content")
    class_ = "broad" if broad else None
    return tag("section", intro, content, id=name, class_=class_, aria_labelledby=f"{name}-heading")


def picture(heading: str, chart: Markup, caption: str) -> Markup:
    """A chart with its heading and how to read it."""
    frame = tag("div", chart, class_="scroll", role="region", aria_label=heading, tabindex="0")
    return tag("figure", tag("h3", heading), frame, tag("figcaption", caption))


def pictures(*charts: Markup, least: int = 340) -> Markup:
    """Charts side by side where there is room for at least so many pixels each."""
    return tag("div", *charts, class_="pictures", style=f"--least:{least}px")


def figures(inner: Markup) -> Markup:
    """The figures behind a chart, folded away."""
    return tag("details", tag("summary", "The figures"), inner)
