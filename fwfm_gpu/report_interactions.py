"""The section of a report on the strongest feature pairs."""

from __future__ import annotations

import numpy as np

from fwfm_gpu.report_findings import Findings
from fwfm_gpu.report_html import TIMES, Column, Markup, aligned, bar, count, readable, section, table, tag

__all__ = ["write_interactions"]

LETTERS = 40  # of a name


def write_interactions(findings: Findings) -> Markup:
    """What single pairs of features add to a score, the strongest first."""
    found, (looked_at, least) = findings.interactions, findings.looked_at
    if not found:
        text = "The rows hold no pair of features that the model learned: there is nothing to show."
        return section("interactions", "Interactions", text)
    multiple = findings.model.loss == "softmax"
    both = [both for pair in found for both in zip(pair.names, pair.field_names, strict=True)]
    named = all(name.startswith(field) for name, field in both)  # as those of an encoder do
    most = max(abs(pair.value) for pair in found) or 1.0
    values = signs(aligned([pair.value for pair in found]), [pair.value for pair in found])
    strengths = aligned([pair.strength for pair in found])
    columns = [Column("features", False), *([] if named else [Column("fields", False)]), Column("adds to the score")]
    columns += [Column("of label", False), Column("strength")] * multiple + [Column("rows with both")]
    rows = []
    for place, pair in enumerate(found):
        cells = [joined(pair.names), *([] if named else [joined(pair.field_names)])]
        cells.append(bar(values[place], abs(pair.value) / most))
        if multiple:
            cells += [readable(found.labels[pair.leading], 24), strengths[place]]
        rows.append([*cells, count(pair.rows or 0)])
    body = [tag("p", *explained(multiple), class_="remark"), table("Strongest feature pairs", columns, rows)]
    pairs = "pairs of features" if least == 1 else f"pairs of features that {least} rows or more hold"
    lede = f"Of the {pairs}, the {len(found)} that move a score most. " if len(found) > 1 else ""
    lede += "What few rows hold was mostly learned from few rows. "
    lede += f"From {count(looked_at)} rows, drawn at random." if looked_at < np.count_nonzero(findings.weight) else ""
    return section("interactions", "Interactions", lede.strip(), *body)


def joined(names: tuple[str, str]) -> str:
    """Two names."""
    return f"{readable(names[0], LETTERS)} {TIMES} {readable(names[1], LETTERS)}"


def signs(texts: list[str], values: list[float]) -> list[str]:
    """A plus before what is above 0: here the direction is half of what is said."""
    return [f"+{text}" if value > 0 else text for text, value in zip(texts, values, strict=True)]


def explained(multiple: bool) -> list[str]:
    """What the numbers are."""
    sub = [tag("sub", letters) for letters in ("pq", "i", "j")]
    texts: list[str] = ["A pair adds R", sub[0], " ⟨v", sub[1], ", v", sub[2]]
    texts.append("⟩ to the score of a row that holds both features with value 1. ")
    if multiple:
        texts.append(
            "Shown is the label whose score it moves most against those of the others; strength is the norm of what it "
            "adds to all labels, less their mean, which changes no probability. "
        )
    return texts
