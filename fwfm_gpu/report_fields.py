"""The sections of a report on field pairs and on fields."""

from __future__ import annotations

import math

import numpy as np

from fwfm_gpu.encoding_report import FieldReport
from fwfm_gpu.parameters import Array
from fwfm_gpu.report_charts import Shades, heat_map
from fwfm_gpu.report_findings import Findings, Pairs, strongest
from fwfm_gpu.report_html import (
    MINUS,
    NONE,
    TIMES,
    Column,
    Markup,
    aligned,
    bar,
    count,
    number,
    picture,
    pictures,
    readable,
    section,
    share,
    table,
    tag,
)

__all__ = ["write_fields", "write_pairs"]

MOST_PAIRS = 20  # in the table
MOST_IN_TABLE = 200  # fields
LEAST_SPAN = 0.9, 1.1  # of |R|, that all but equal weights look so


def write_pairs(findings: Findings) -> Markup:
    """The heat maps of the FwFM paper, and the strongest pairs."""
    pairs, names = findings.pairs, findings.fields.names
    if pairs is None:
        text = "The model has no factors (n_factors=0), so fields do not interact: there are no pairs to show."
        return section("pairs", "Field pairs", text)
    if not np.any(np.isfinite(pairs.information)):
        return section("pairs", "Field pairs", "No row holds features of two fields: there are no pairs to show.")
    held = findings.model.options.field_weights == "ones"
    shown, R = [names[p] for p in pairs.fields], np.abs(pairs.weight)
    of_classes = ", the mean over labels" if len(findings.model.parameters.R) > 1 else ""
    left = (
        picture(
            "Strength of each pair",
            heat_map("strength", "Heat map of the strength of each field pair.", pairs.strength, (shown, shown)),
            "How much each pair moves the score of a row on average. R was held at 1 and says nothing.",
        )
        if held
        else picture(
            "What the model learned: |R|",
            heat_map("weights", "Heat map of |R| of each field pair.", R, (shown, shown), shades_of_weights(R)),
            f"The weight that the model gives to each pair of fields{of_classes}. Every pair started at 1.",
        )
    )
    right = picture(
        "What the data says: mutual information",
        heat_map("information", "Heat map of mutual information.", pairs.information, (shown, shown)),
        "How much knowing both fields of a row tells of its label, in nats, the unit of logloss. Pairs of large fields "
        "look better than they are, for few rows share a combination.",
    )
    lede = "Where the two pictures agree, the model weighs most what tells most. " + said_of_pairs(findings, pairs)
    width = 120 + 12.5 * len(shown) if len(shown) > 25 else 340
    body = [pictures(left, right, least=round(width)), pairs_table(findings, pairs)]
    return section("pairs", "Field pairs", lede, *body, broad=len(shown) > 8)


def shades_of_weights(R: Array) -> Shades:
    """Shades that take in some distance from 1, where every pair started: noise has no contrast."""
    low, high = LEAST_SPAN
    return Shades(min(low, float(np.nanmin(R))), max(high, float(np.nanmax(R))))


def said_of_pairs(findings: Findings, pairs: Pairs) -> str:
    """Correlations, and what was left out."""
    known = [
        f"{what} {round(value, 2) + 0:.2f}".replace("-", MINUS)
        for what, value in (("|R|", pairs.weight_correlation), ("strength", pairs.strength_correlation))
        if math.isfinite(value)
    ]
    text = f"Correlation with mutual information: {', '.join(known)}. " if known else ""
    if len(pairs.fields) < len(findings.fields.names):
        text += f"Of {count(len(findings.fields.names))} fields the {len(pairs.fields)} strongest are shown. "
    rows = len(findings.y)
    if pairs.counted < np.count_nonzero(findings.weight):
        text += f"Mutual information is from {count(pairs.counted)} of {count(rows)} rows, drawn at random. "
    return text


def pairs_table(findings: Findings, pairs: Pairs) -> Markup:
    """The strongest pairs of the fields that are shown."""
    names = findings.fields.names
    strength = np.where(np.tri(len(pairs.fields), k=-1, dtype=bool), np.nan, pairs.strength)
    order = np.argsort(-np.nan_to_num(strength, nan=-1).ravel(), kind="stable")[:MOST_PAIRS]
    places = [divmod(int(i), len(pairs.fields)) for i in order if np.isfinite(strength.ravel()[i])]
    values = [[float(found[place]) for place in places] for found in (strength, pairs.weight, pairs.information)]
    texts = [aligned(column) for column in values]
    most = max(values[0], default=0.0) or 1.0
    rows = []
    for i, (p, q) in enumerate(places):
        pair = f"{readable(names[pairs.fields[p]])} {TIMES} {readable(names[pairs.fields[q]])}"
        rows.append([pair, bar(texts[0][i], values[0][i] / most), texts[1][i], texts[2][i]])
    weight = "R" if len(findings.model.parameters.R) == 1 else "mean |R|"
    columns = [Column("pair", False), Column("strength"), Column(weight), Column("mutual information")]
    explained = tag(
        "p",
        "Strength is the mean of |R",
        tag("sub", "pq"),
        " ⟨v",
        tag("sub", "i"),
        ", v",
        tag("sub", "j"),
        "⟩ x",
        tag("sub", "i"),
        " x",
        tag("sub", "j"),
        f"|, how far a pair moves the score of a row, over {count(pairs.sampled)} rows. R alone is no strength: small "
        "factors undo a large R.",
        class_="remark",
    )
    heading = tag("h3", f"The {len(rows)} strongest pairs" if len(rows) > 1 else "The strongest pair")
    return tag("div", heading, explained, table("Strongest field pairs", columns, rows), class_="block")


def write_fields(findings: Findings) -> Markup:
    """One line per field."""
    fields = findings.fields
    shown = strongest(
        fields.linear if findings.pairs is None else np.nan_to_num(fields.partner_strength), MOST_IN_TABLE
    )
    columns: list[tuple[Column, list[str]]] = [
        (Column("field", False), [readable(fields.names[p]) for p in shown]),
        (Column("features"), [count(fields.features[p]) for p in shown]),
        (Column("nonzeros per row"), [number(fields.nonzeros[p], 3) for p in shown]),
        (Column("rows without"), [share(fields.without[p]) for p in shown]),
        (Column("linear norm"), aligned(fields.linear[shown].tolist())),
    ]
    if findings.pairs is not None:
        partners = [readable(fields.names[p]) if p >= 0 else NONE for p in fields.partner[shown]]
        columns.append((Column("strongest partner", False), partners))
        columns.append((Column("strength"), aligned(fields.partner_strength[shown].tolist())))
    lede = (
        "What the model knows of each field: its features, how often rows hold them, the norm of their linear weights"
    )
    lede += "." if findings.pairs is None else ", and the field that it interacts with most."
    left_out = len(fields.names) - len(shown)
    lede += f" The {len(shown)} strongest; {count(left_out)} more are left out." if left_out else ""
    body = [column_table("Fields", columns)]
    if fields.encoding is not None:
        body.append(write_encoding([fields.encoding[p] for p in shown]))
    return section("fields", "Fields", lede, *body)


def column_table(caption: str, columns: list[tuple[Column, list[str]]]) -> Markup:
    """A table that is given by columns."""
    headings, cells = zip(*columns, strict=True)
    return table(caption, headings, zip(*cells, strict=True))


def write_encoding(encoding: list[FieldReport]) -> Markup:
    """What the encoder knows of the fields."""
    columns = [
        (Column("field", False), [readable(field.name) for field in encoding]),
        (Column("kind", False), [field.kind for field in encoding]),
        (Column("distinct values"), [count(field.distinct) for field in encoding]),
        (Column("missing"), [count(field.missing) for field in encoding]),
        (Column("rare"), [count(field.rare) for field in encoding]),
        (Column("unknown"), [NONE if field.unknown_rate is None else share(field.unknown_rate) for field in encoding]),
    ]
    notes = [readable(field.note, 160) for field in encoding]
    columns += [(Column("note", False), notes)] if any(notes) else []
    text = "Distinct and missing values and rare categories are of the table that the encoder was fitted on, unknown "
    text += "values of the rows that it encoded last."
    heading, remark = tag("h3", "How the columns were encoded"), tag("p", text, class_="remark")
    return tag("div", heading, remark, column_table("Encoded columns", columns), class_="block")
