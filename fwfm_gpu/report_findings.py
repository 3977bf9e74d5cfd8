"""What a report has to say of a model and some rows: figures only, no words and no pictures."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fwfm_gpu.encoding_report import FieldReport
from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.field_pairs import correlation, deciles, mutual_information, pair_strengths, pair_weights, sample
from fwfm_gpu.interactions import Interactions, top_interactions
from fwfm_gpu.labels import encode_targets, row_weights
from fwfm_gpu.metrics import METRICS, evaluate, resolve_metrics
from fwfm_gpu.model import FwFM
from fwfm_gpu.numerics import sigmoid64, softmax64
from fwfm_gpu.parameters import Array
from fwfm_gpu.problem import Settled, check_rows, fingerprint, make_problem

__all__ = ["Bins", "Comparison", "Fields", "Findings", "Pairs", "find"]

SHOWN = ("logloss", "auc", "rmse", "accuracy", "ece")  # metrics on the page
MOST_FIELDS = 60  # in a heat map
BINS = 15
PRESENT_AT_ONCE = 2**22
MOST_INTERACTIONS = 20
MOST_ROW_PAIRS = 4_000_000  # feature pairs of rows that are counted
ROWS_OF_AN_INTERACTION = 10  # but for few rows


@dataclass(frozen=True)
class Comparison:
    """A metric of the model beside that of the best constant prediction."""

    name: str
    value: float
    baseline: float


@dataclass(frozen=True, eq=False)
class Bins:
    """Predictions in steps of equal width: mean prediction, share of hits, rows, and rows by weight, each (bins,)."""

    predicted: Array
    observed: Array
    rows: Array
    effective: Array  # as many equal weights would be worth


@dataclass(frozen=True, eq=False)
class Pairs:
    """Field pairs, each (m, m) float64 for the m fields that are shown; NaN where the rows hold no such pair."""

    fields: Array  # (m,) int64, ascending
    weight: Array  # R
    strength: Array
    information: Array
    sampled: int  # rows behind strength
    counted: int  # rows behind information
    weight_correlation: float  # of |R| with information
    strength_correlation: float


@dataclass(frozen=True, eq=False)
class Fields:
    """One entry per field, each (F,)."""

    names: tuple[str, ...]
    features: Array
    nonzeros: Array  # per row
    without: Array  # share of the rows that hold nothing of it
    linear: Array  # norm of the linear weights
    partner: Array  # int64, -1: none
    partner_strength: Array
    encoding: tuple[FieldReport, ...] | None = None  # where the rows or the model know their encoder


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything that the page shows."""

    model: FwFM
    y: Array  # (rows,) float64, as `encode_targets` gives them
    scores: Array  # (rows, C) float64
    weight: Array  # (rows,) float64
    weighted: bool
    comparisons: tuple[Comparison, ...]
    fields: Fields
    pairs: Pairs | None  # None: no factors, so no pairs
    interactions: Interactions
    looked_at: tuple[int, int]  # rows behind the interactions, and in how many of them each was found at least
    data_fingerprint: str
    file_fingerprint: str

    def value(self, name: str) -> Comparison | None:
        """A metric by name, None where it does not apply."""
        return next((found for found in self.comparisons if found.name == name), None)

    @property
    def confidence(self) -> tuple[Array, Array]:
        """What calibration compares: the probability of class 1, or the largest one, and whether it came true."""
        if self.model.loss == "softmax":
            hit = np.argmax(self.scores, axis=1) == self.y
            return np.max(softmax64(self.scores), axis=1), hit.astype(np.float64)
        return sigmoid64(self.scores[:, 0]), self.y

    def own_probability(self) -> Array:
        """The probability of each row's own label, (rows,) float64; softmax alone."""
        return softmax64(self.scores)[np.arange(len(self.y)), self.y.astype(np.intp)]

    def calibration(self) -> Bins:
        """Steps between the smallest and the largest prediction but for half a percent of the rows on either side."""
        confidence, hit = self.confidence
        low, high = np.quantile(confidence, (0.005, 0.995))
        step = (high - low) / BINS
        place = np.clip((confidence - low) / step, 0, BINS - 1).astype(np.intp) if step else np.zeros(len(hit), np.intp)
        total = np.bincount(place, self.weight, BINS)
        kept = total > 0
        with np.errstate(invalid="ignore"):
            predicted, observed, effective = (
                np.bincount(place, self.weight * confidence, BINS) / total,
                np.bincount(place, self.weight * hit, BINS) / total,
                total**2 / np.bincount(place, self.weight**2, BINS),
            )
        rows = np.bincount(place[self.weight > 0], minlength=BINS)
        return Bins(*(found[kept] for found in (predicted, observed, rows, effective)))


def find(model: FwFM, X: Any, y: Any, sample_weight: Any) -> Findings:
    """Score the rows and look at everything.

    Raises
    ------
    InputError, InputTypeError
        X or y that the model cannot read, lengths that differ, labels that it does not know.
    """
    rows = model.columns.read(X, str(model.parameters.dtype))
    targets, _ = encode_targets(y, model.loss, model.labels)
    check_rows("X and y", rows, targets)
    weight = row_weights(targets, model.labels, sample_weight, None)
    problem = make_problem(
        Settled(model.options, model.loss, model.labels, model.columns), rows, targets, sample_weight
    )
    scores = model.decision_function(rows).reshape(rows.n_rows, -1).astype(np.float64)
    weight_b = np.ones(rows.n_rows) if weight is None else weight / np.max(weight)
    interactions, looked_at = look_at_interactions(model, rows, weight_b)
    strength, sampled = pair_strengths(model.parameters, rows, weight_b)
    return Findings(
        model=model,
        y=targets,
        scores=scores,
        weight=weight_b,
        weighted=weight is not None,
        comparisons=compare(model.loss, targets, scores, weight_b),
        fields=look_at_fields(model, rows, strength),
        pairs=look_at_pairs(model, rows, targets, weight_b, (strength, sampled)) if model.options.n_factors else None,
        interactions=interactions,
        looked_at=looked_at,
        data_fingerprint=fingerprint(problem),
        file_fingerprint=fingerprint_of_file(model),
    )


def compare(loss: str, y: Array, scores: Array, weight: Array) -> tuple[Comparison, ...]:
    """The metrics that fit, beside those of always predicting the shares of the labels, or the mean."""
    names = [name for name in SHOWN if loss in METRICS[name].losses]
    if loss == "logistic" and len(np.unique(y[weight > 0])) < 2:
        names.remove("auc")  # it ranks rows of one label against those of the other
    metrics = resolve_metrics(names, loss)
    found = evaluate(metrics, loss, scores, y, weight)
    constant = evaluate(metrics, loss, constant_scores(loss, y, scores, weight), y, weight)
    compared = [Comparison(a.name, a.value, b.value) for a, b in zip(found, constant, strict=True)]
    if loss == "squared" and compared[0].baseline:
        compared.append(Comparison("r2", 1 - (compared[0].value / compared[0].baseline) ** 2, 0.0))
    return tuple(compared)


def constant_scores(loss: str, y: Array, scores: Array, weight: Array) -> Array:
    """The scores of the best constant prediction, shaped like ``scores``."""
    if loss == "squared":
        return np.full_like(scores, np.average(y, weights=weight))
    counts = np.bincount(y.astype(np.intp), weight, max(2, scores.shape[1]))
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.log(counts / np.sum(counts)), -700)
    return np.broadcast_to(logs if loss == "softmax" else logs[1:] - logs[0], scores.shape)


def look_at_fields(model: FwFM, rows: FieldMatrix, strength: Array) -> Fields:
    """Field by field. strength : (F, F) float64."""
    F, columns = rows.n_fields, model.columns
    encoder = rows.encoder or columns.encoder
    names = columns.field_names or rows.field_names or tuple(f"field {p}" for p in range(F))
    squares = np.sum(model.parameters.w.astype(np.float64) ** 2, axis=0)
    others = np.where(np.isnan(strength), -1.0, strength)
    partner = np.argmax(others, axis=1)
    known = others[np.arange(F), partner] > 0
    return Fields(
        names=names,
        features=np.bincount(columns.fields, minlength=F),
        nonzeros=np.bincount(rows.fields[rows.indices], minlength=F) / rows.n_rows,
        without=1 - present(rows) / rows.n_rows,
        linear=np.sqrt(np.bincount(columns.fields, squares, F)),
        partner=np.where(known, partner, -1),
        partner_strength=np.where(known, others[np.arange(F), partner], np.nan),
        encoding=None if encoder is None else tuple(encoder.report()),
    )


def present(rows: FieldMatrix) -> Array:
    """In how many rows each field holds something, (F,) int64."""
    found = np.zeros(rows.n_fields, np.int64)
    step = max(1, PRESENT_AT_ONCE // rows.n_fields)
    for start in range(0, rows.n_rows, step):
        starts = rows.indptr[start : start + step + 1]
        held = np.zeros((len(starts) - 1, rows.n_fields), bool)
        b = np.repeat(np.arange(len(held)), np.diff(starts))
        held[b, rows.fields[rows.indices[starts[0] : starts[-1]]]] = True
        found += np.count_nonzero(held, axis=0)
    return found


def look_at_pairs(model: FwFM, rows: FieldMatrix, y: Array, weight: Array, strengths: tuple[Array, int]) -> Pairs:
    """The pairs of the fields that are shown: all, or those with the strongest pairs."""
    strength, sampled = strengths
    shown = strongest(np.nansum(strength, axis=1), MOST_FIELDS)
    label = y.astype(np.int64) if model.labels is not None else deciles(np.zeros(len(y), np.int64), y)
    information, counted = mutual_information(rows, label, shown, weight)
    grid = np.ix_(shown, shown)
    R = np.where(np.isnan(information), np.nan, pair_weights(model.parameters)[grid])
    return Pairs(
        fields=shown,
        weight=R,
        strength=strength[grid],
        information=information,
        sampled=sampled,
        counted=counted,
        weight_correlation=correlation(np.abs(R), information),
        strength_correlation=correlation(strength[grid], information),
    )


def look_at_interactions(model: FwFM, rows: FieldMatrix, weight_b: Array) -> tuple[Interactions, tuple[int, int]]:
    """The strongest feature pairs that rows hold, and not only a few; rows looked at, and the fewest that count."""
    lengths_b = np.diff(rows.indptr)
    drawn = np.sort(sample(weight_b, lengths_b * (lengths_b - 1) // 2, MOST_ROW_PAIRS))
    least = max(1, min(ROWS_OF_AN_INTERACTION, len(drawn) // 300))
    found = top_interactions(model, MOST_INTERACTIONS, X=rows.take(drawn), min_rows=least)
    return found, (len(drawn), least)


def strongest(values: Array, most: int) -> Array:
    """Where the largest values are, ascending; of equal ones the first."""
    return np.sort(np.argsort(-values, kind="stable")[:most])


def fingerprint_of_file(model: FwFM) -> str:
    """SHA-256 of the file that ``save`` writes, hexadecimal."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.fwfm")
        model.save(path)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def thinned(length: int, most: int, kept: Sequence[int] = ()) -> list[int]:
    """At most so many of the places 0 to length - 1, evenly, with the first, the last and those to keep."""
    if length <= most:
        return list(range(length))
    evenly = np.linspace(0, length - 1, most).round().astype(int).tolist()
    return sorted({*evenly, *(place for place in kept if 0 <= place < length)})
