"""The sections of a report: what each says in words, tables and charts."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Sequence
from dataclasses import fields as dataclass_fields
from typing import Any

import numpy as np

from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.field_pairs import deciles
from fwfm_gpu.history import EpochRecord
from fwfm_gpu.metrics import METRICS, ranking_metric
from fwfm_gpu.model import FwFM
from fwfm_gpu.options import Options
from fwfm_gpu.parameters import Array
from fwfm_gpu.report_charts import Shades, calibration, curves, drawn_with, heat_map, histograms, scatter
from fwfm_gpu.report_fields import write_fields, write_pairs
from fwfm_gpu.report_findings import Comparison, Findings, strongest, thinned
from fwfm_gpu.report_html import (
    Column,
    Markup,
    count,
    figures,
    number,
    picture,
    pictures,
    readable,
    section,
    share,
    table,
    tag,
)
from fwfm_gpu.report_interactions import write_interactions
from fwfm_gpu.version import __version__

__all__ = ["SECTIONS", "kind_of_model", "write_head"]

MOST_EPOCHS = 50  # in the table
MOST_POINTS = 400  # of a curve
MOST_LABELS = 30  # in a chart
MOST_LETTERS = 300  # of an option
MOST_SHADE = 0.4  # share of a label's rows that the strongest shade stands for
SHADES = Shades(0, MOST_SHADE, ("0%", f"{MOST_SHADE:.0%} of the rows, or more"))

RULES = {"adagrad": "AdaGrad", "adam": "Adam", "ftrl": "FTRL", "sgd": "SGD"}
METRIC_WORDS = {
    "logloss": ("Logloss", "lower is better"),
    "ne": ("Normalized entropy", "lower is better"),
    "auc": ("AUC", "higher is better"),
    "gauc": ("AUC within groups", "higher is better"),
    "accuracy": ("Accuracy", "higher is better"),
    "ece": ("Calibration error", "lower is better"),
    "rmse": ("RMSE", "lower is better"),
    "mae": ("Mean absolute error", "lower is better"),
    "r2": ("Variance explained", "higher is better"),
}


def named(series: str) -> str:
    """A metric as readers know it; of several eval sets, with the name of the set."""
    of, _, metric = series.rpartition("/")
    word = METRIC_WORDS[metric][0] if metric in METRIC_WORDS else readable(metric)
    return f"{word} on {readable(of)}" if of else word


def kind_of_model(model: FwFM) -> str:
    """What it is called."""
    if model.parameters.n_factors == 0:
        return "Linear model"
    held = model.options.field_weights == "ones"
    return "Factorization machine" if held else "Field-weighted factorization machine"


def names_of_labels(model: FwFM) -> list[str]:
    """The labels as short lines."""
    return [] if model.classes is None else [readable(label, 24) for label in model.classes.tolist()]


def write_head(findings: Findings, title: str | None) -> Markup:
    """What the model is, and how good."""
    model = findings.model
    p, kind = model.parameters, kind_of_model(model)
    above = tag("p", f"{kind} · model report" if title else "Model report", class_="eyebrow")
    facts = [
        f"{count(p.n_fields)} field{'s' * (p.n_fields != 1)}",
        f"{count(p.n_features)} feature{'s' * (p.n_features != 1)}",
        f"{p.n_factors} factors" if p.n_factors else "no factors",
        f"{model.loss} loss",
        RULES[model.options.optimizer],
        f"{model.best_epoch} epoch{'s' * (model.best_epoch != 1)}",
        str(p.dtype),
    ]
    tiles = [tile(comparison) for comparison in findings.comparisons]
    parts = [above, tag("h1", readable(title or kind, 200)), tag("p", summary(findings), class_="lede")]
    parts.append(tag("ul", *(tag("li", fact) for fact in facts), class_="facts"))
    if findings.data_fingerprint == model.trained.data_fingerprint:
        text = "These are the very rows that the model was given to train on: expect worse figures on new rows."
        parts.append(tag("p", tag("strong", "Training rows."), " ", text, class_="note"))
    return tag("header", *parts, tag("dl", *tiles, class_="tiles"))


def tile(found: Comparison) -> Markup:
    """One metric, large, beside its baseline."""
    name, better = METRIC_WORDS[found.name]
    show: Callable[[float], str] = number if found.name == "rmse" else "{:.4f}".format
    baseline = "a constant has none" if found.name == "ece" else f"{show(found.baseline)} for a constant"
    return tag(
        "div",
        tag("dt", name),
        tag("dd", show(found.value), class_="value"),
        tag("dd", baseline, class_="baseline"),
        tag("dd", better, class_="better"),
    )


def summary(findings: Findings) -> str:
    """The model in two sentences for someone who does not train models."""
    model, rows = findings.model, f"On {count(len(findings.y))} rows"
    rows += " (weighted)" if findings.weighted else ""
    p, labels = model.parameters, names_of_labels(model)
    given = f"from {count(p.n_fields)} field{'s' * (p.n_fields != 1)}"
    if model.loss == "squared":
        error, explained = findings.value("rmse"), findings.value("r2")
        assert error is not None
        text = f"it explains {share(explained.value)} of the variance; " if explained and explained.value >= 0 else ""
        constant = f"against {number(error.baseline)} for always predicting the mean"
        if error.value > error.baseline:
            constant = f"worse than always predicting the mean, whose error is {number(error.baseline)}"
        return f"Predicts a number {given}. {rows} {text}its typical error (RMSE) is {number(error.value)}, {constant}."
    loss, right = findings.value("logloss"), findings.value("accuracy")
    assert loss is not None and right is not None
    change = abs(1 - loss.value / loss.baseline) if loss.baseline else math.nan
    direction = "below" if loss.value <= loss.baseline else "above"
    text = f"{rows} its logloss is {loss.value:.4f}"
    text += f", {share(change)} {direction} that of a constant prediction" if math.isfinite(change) else ""
    if model.loss == "softmax":
        return (
            f"Predicts one of {len(labels)} labels {given}. {text}; it names the right label in {share(right.value)} "
            f"of them, against {share(right.baseline)} for always naming the most frequent one."
        )
    ranks = findings.value("auc")
    told = f", and it ranks a “{labels[1]}” above a “{labels[0]}” {100 * ranks.value:.1f} times in 100" if ranks else ""
    return f"Predicts “{labels[1]}” against “{labels[0]}” {given}. {text}{told}."


def write_learning(findings: Findings) -> Markup:
    """Curves by epoch."""
    model, history = findings.model, findings.model.history
    if not history:
        text = "The model holds no finished epoch, so there are no curves to show."
        return section("learning", "Learning", text)
    names = list(history[-1].metrics)
    kept = model.best_epoch
    places = thinned(len(history), MOST_POINTS, [kept - 1])
    shown = [history[place] for place in places]
    losses = {"training loss": by_epoch(shown, lambda record: record.loss)}
    alike = [name for name in names if name.rpartition("/")[2] == "logloss"][:1]
    for name in alike:
        of = name.rpartition("/")[0]
        losses[f"loss of {readable(of)}" if of else "evaluation loss"] = by_epoch(shown, metric_of(name))
    last = history[kept - 1] if 0 < kept <= len(history) else history[-1]
    charts = [
        picture(
            "Loss",
            curves("loss", f"Loss by epoch; training loss {number(last.loss)} at epoch {last.epoch}.", losses, kept),
            "The mean loss of each pass over the training rows, each row scored before it was learned from"
            + (
                "; the dashed curve is that of rows held out. It should fall along with the solid one."
                if alike
                else "."
            ),
        )
    ]
    for i, name in enumerate(name for name in names if name not in alike):
        label = f"{named(name)} by epoch; {number(last.metrics.get(name, math.nan))} at epoch {last.epoch}."
        metric = name.rpartition("/")[2]
        known = METRICS.get(metric) or ranking_metric(metric, None)
        better = "" if known is None else " Higher is better." if known.higher_is_better else " Lower is better."
        rows = named(name) if metric != name else f"{named(name)} of the evaluation rows"
        series = {rows: by_epoch(shown, metric_of(name))}
        caption = f"Measured on the evaluation rows after each epoch.{better}"
        charts.append(picture(named(name), curves(f"curve-{i}", label, series, kept), caption))
    lede = f"{count(len(history))} epoch{'s' * (len(history) != 1)} in {number(model.trained.seconds, 3)} seconds. "
    lede += f"The upright line marks epoch {kept}, whose parameters the model holds. "
    lede += "" if names else "There were no evaluation rows, so only the training loss is known."
    return section("learning", "Learning", lede, pictures(*charts), figures(epochs_table(history, kept)))


def by_epoch(
    shown: Sequence[EpochRecord], value: Callable[[EpochRecord], float | None]
) -> tuple[list[int], list[float]]:
    """A curve."""
    values = [value(record) for record in shown]
    return [record.epoch for record in shown], [math.nan if found is None else found for found in values]


def metric_of(name: str) -> Callable[[EpochRecord], float | None]:
    """A metric of an epoch, None where it was not measured."""
    return lambda record: record.metrics.get(name)


def epochs_table(history: Sequence[EpochRecord], kept: int) -> Markup:
    """Some of the epochs, if not all."""
    names = list(history[-1].metrics)
    rows = []
    for place in thinned(len(history), MOST_EPOCHS, [kept - 1]):
        record = history[place]
        values = [record.loss, *(record.metrics.get(name, math.nan) for name in names)]
        epoch = tag("strong", f"{record.epoch} (kept)") if record.epoch == kept else str(record.epoch)
        cells = [number(math.nan if value is None else value, 5) for value in values]
        rows.append([epoch, *cells, number(record.seconds, 3), count(record.rows_per_second)])
    headings = ["epoch", "training loss", *map(named, names), "seconds", "rows per second"]
    return table("Epochs", [Column(heading) for heading in headings], rows)


def write_predictions(findings: Findings) -> Markup:
    """How far the predictions can be trusted."""
    if findings.model.loss == "squared":
        return write_regression(findings)
    bins, labels = findings.calibration(), names_of_labels(findings.model)
    multiple = findings.model.loss == "softmax"
    said = "probability of the predicted label" if multiple else f"predicted probability of “{labels[1]}”"
    true = "share predicted right" if multiple else f"share of “{labels[1]}”"
    error = findings.value("ece")
    assert error is not None
    charts = [
        picture(
            "Calibration",
            calibration("calibration", f"Calibration; expected error {error.value:.4f}.", bins, (said, true)),
            "Rows in steps of equal width. On the dashed line predictions come true as often as they say; below it "
            f"{'the model is too sure' if multiple else 'they are too high'}. Upright strokes are 95% intervals, the "
            "bars count the rows.",
        ),
        own_probabilities(findings) if multiple else score_histogram(findings),
    ]
    columns = [Column(heading) for heading in ("step", "mean prediction", "share of hits", "rows")]
    rows = [
        [str(i + 1), f"{predicted:.4f}", f"{observed:.4f}", count(size)]
        for i, (predicted, observed, size) in enumerate(zip(bins.predicted, bins.observed, bins.rows, strict=True))
    ]
    lede = (
        f"Do probabilities mean what they say, and do labels separate? The expected calibration error is "
        f"{error.value:.4f}: that far are probability and frequency apart on average."
    )
    inner = table("Calibration", columns, rows)
    return section("predictions", "Predictions", lede, pictures(*charts), figures(inner))


def score_histogram(findings: Findings) -> Markup:
    """Scores of either label."""
    labels, scores = names_of_labels(findings.model), findings.scores[:, 0]
    owns = [(findings.y == c) & (findings.weight > 0) for c in range(len(labels))]
    groups = [(f"“{name}”", scores[own], findings.weight[own]) for name, own in zip(labels, owns, strict=True)]
    chart = histograms(
        "scores",
        f"Histogram of scores: “{labels[0]}” and “{labels[1]}”.",
        groups,
        (f"predicted probability of “{labels[1]}”", True),
    )
    caption = "How the rows of each label spread over the predictions. The less the two overlap, the higher the AUC."
    return picture("Scores by label", chart, caption)


def own_probabilities(findings: Findings) -> Markup:
    """The probability of each row's own label, label by label."""
    labels = names_of_labels(findings.model)
    weight, y = findings.weight, findings.y.astype(np.intp)
    totals = np.bincount(y, weight, len(labels))
    shown = strongest(totals, MOST_LABELS)
    shown = shown[totals[shown] > 0]
    steps = 10
    place = np.minimum((findings.own_probability() * steps).astype(np.intp), steps - 1)
    counts = np.bincount(y * steps + place, weight, len(labels) * steps).reshape(-1, steps)[shown]
    parts = np.minimum(counts / totals[shown, None], MOST_SHADE)
    ticks = [f".{step}" for step in range(steps)]
    left_out = np.count_nonzero(totals) - len(shown)
    caption = (
        "Each line is a label, its shades a histogram of the probability that the model gave to the right answer: "
    )
    caption += "the first column below .1, the last from .9. Strong shades on the right are good."
    caption += f" The {len(shown)} most frequent labels; {left_out} more are left out." if left_out else ""
    label = f"Histogram of the probability given to the true label, for {len(shown)} labels."
    chart = heat_map("scores", label, parts, ([labels[c] for c in shown], ticks), SHADES)
    return picture("Probability of the true label", chart, caption)


def write_regression(findings: Findings) -> Markup:
    """Truth by prediction, and residuals."""
    kept = findings.weight > 0
    true, predicted, weight = findings.y[kept], findings.scores[kept, 0], findings.weight[kept]
    tenth = deciles(np.zeros(len(predicted), np.int64), predicted)
    totals = np.bincount(tenth, weight, 10)
    used = totals > 0
    means = tuple((np.bincount(tenth, weight * values, 10)[used] / totals[used]) for values in (predicted, true))
    error = np.average(true - predicted, weights=weight)
    charts = [
        picture(
            "Predicted against true",
            scatter("scores", "Predicted against true values.", predicted, true, (means[0], means[1])),
            "Each row by its prediction and its true value; many rows as shades, stronger for more. A large dot is the "
            "mean of a tenth of the rows, in the order of their predictions: on the dashed line, predictions of that "
            "size are right on average.",
        ),
        picture(
            "Errors",
            histograms(
                "errors",
                f"Histogram of errors; their mean is {number(error)}.",
                [("error", true - predicted, weight)],
                ("true less predicted", False),
            ),
            f"True value less prediction. The mean error is {number(error)}; a long tail on one side is a kind of row "
            "that the model does not know well.",
        ),
    ]
    lede = "How close predictions come to the truth, and which way they err."
    return section("predictions", "Predictions", lede, pictures(*charts))


def write_settings(findings: Findings) -> Markup:
    """All options, and how to train such a model again."""
    model = findings.model
    default = Options()
    rows, changed = [], []
    for entry in dataclass_fields(Options):
        value = getattr(model.options, entry.name)
        text, usual = written(value), written(getattr(default, entry.name))
        rows.append([tag("code", entry.name), tag("strong", text) if text != usual else text, usual])
        if text != usual:
            changed.append(f"    {entry.name}={text},\n")
    encoder = model.columns.encoder
    if model.options.validation_fraction is None and model.history and model.history[-1].metrics:
        held_out = "X_valid" if encoder is None else "encoder.transform(valid_table)"
        changed.append(f"    eval_set=({held_out}, y_valid),\n")
    X, encoding = (
        ("X", "") if encoder is None else ("rows", f"{call_of(encoder)}\nrows = encoder.fit_transform(table)\n")
    )
    call = f"import fwfm_gpu\n\n{encoding}model = fwfm_gpu.train(\n    {X},\n    y,\n{''.join(changed)})"
    lede = "Every option of train, those that differ from the default in bold, and the call that trains such a model."
    remark = (
        "The same rows in the same order, the same options and the same NumPy give the same model to the bit. "
        "Sample weights and later calls of continue_training or partial_fit are not among the options."
    )
    columns = [Column("option", False), Column("value", False), Column("default", False)]
    code = tag("pre", tag("code", call), tabindex="0", role="region", aria_label="How to reproduce")
    body = [tag("h3", "How to reproduce"), code, tag("p", remark, class_="remark"), table("Options", columns, rows)]
    return section("settings", "Settings", lede, *body)


def call_of(encoder: FieldEncoder) -> str:
    """The call that makes such an encoder, with the options that differ from the default."""
    options = [
        f"    {name}={list(value) if isinstance(value, tuple) else value!r},\n"
        for name, value in encoder.changed().items()
    ]
    return "encoder = fwfm_gpu.FieldEncoder(" + (f"\n{''.join(options)}" if options else "") + ")"


def written(value: Any) -> str:
    """An option as Python writes it; a function by its name, for its address is another in each process."""
    if callable(value):
        return readable(getattr(value, "__name__", type(value).__name__), MOST_LETTERS)
    if isinstance(value, tuple):
        inner = ", ".join(written(entry) for entry in value)
        return readable(f"[{inner}]", MOST_LETTERS)
    return readable(repr(value), MOST_LETTERS)


def write_provenance(findings: Findings) -> Markup:
    """Where the model comes from: fingerprints, versions, time."""
    model = findings.model
    speeds: Array = np.array([record.rows_per_second for record in model.history])
    rows = [
        ["training data", code_of(model.trained.data_fingerprint or "not known")],
        ["rows of this page", code_of(findings.data_fingerprint)],
        ["model file", code_of(findings.file_fingerprint)],
        ["training time", f"{number(model.trained.seconds, 3)} seconds"],
        ["speed", f"{count(float(np.median(speeds)))} rows per second" if len(speeds) else "not known"],
        ["trained with", f"NumPy {readable(model.trained.numpy_version)}"],
        ["page made with", f"fwfm_gpu {__version__}, NumPy {np.__version__}, matplotlib {drawn_with()}"],
        ["Python", platform.python_version()],
    ]
    lede = (
        "SHA-256 of the data (rows, labels and weights) and of the file that save writes: equal fingerprints are equal "
        "data and equal models."
    )
    columns = [Column("what", False), Column("value", False)]
    return section("provenance", "Provenance", lede, table("Provenance", columns, rows))


def code_of(text: str) -> Markup:
    """Digits that may break anywhere."""
    return tag("code", text, class_="digits")


SECTIONS = (
    write_learning,
    write_predictions,
    write_pairs,
    write_interactions,
    write_fields,
    write_settings,
    write_provenance,
)
