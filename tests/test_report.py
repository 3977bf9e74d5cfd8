"""The report: one page that stands alone, says what is so, and can be read by everyone."""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from reports import IDS, LOSSES, ROWS, SCORE, SECTIONS, Page, Y, model_of, rows

import fwfm_gpu
from fwfm_gpu import FieldMatrix
from fwfm_gpu.encoding import FieldEncoder
from fwfm_gpu.errors import InputError
from fwfm_gpu.history import EpochRecord
from fwfm_gpu.report import report
from fwfm_gpu.report_charts import compact
from fwfm_gpu.report_fields import shades_of_weights
from fwfm_gpu.report_findings import find, thinned


@pytest.fixture
def write(tmp_path):
    """Write a report and take it apart."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: there are no charts")

    def write_report(model, X, y, **options):
        path = report(model, X, y, tmp_path / "report.html", **options)
        assert path == tmp_path / "report.html"
        return Page(path.read_text("utf-8"))

    return write_report


@pytest.fixture(scope="module")
def page_of(tmp_path_factory):
    """The page of a loss, written once."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: there are no charts")
    path = tmp_path_factory.mktemp("pages") / "page.html"
    return cache(lambda loss: Page(report(model_of(loss), rows(), Y[loss], path).read_text("utf-8")))


# the page


@pytest.mark.parametrize("loss", LOSSES)
def test_every_section_is_there_for_every_loss(page_of, loss):
    page = page_of(loss)
    assert [attrs["id"] for attrs in page.all("section")] == SECTIONS
    assert len(page.all("h1")) == 1
    charts = {"logistic": 5, "softmax": 5, "squared": 6}[
        loss
    ]  # a loss curve, rmse's own, two of predictions, two heat maps
    assert len(page.all("svg")) == charts
    assert {attrs["href"] for attrs in page.all("a")} == {f"#{name}" for name in SECTIONS}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_page_needs_nothing_but_itself(page_of, loss):
    page = page_of(loss)
    assert "http" not in page.source.replace("http-equiv", "")
    assert not page.all("script") and not page.all("link") and not page.all("img") and not page.all("iframe")
    links = [value for name, value in page.attributes if name in ("src", "href", "xlink:href")]
    links += re.findall(r"url\(([^)]*)\)", page.source)
    assert links and {link[:1] for link in links} == {"#"}
    assert {link[1:] for link in links} <= set(page.ids)
    assert "@import" not in page.source
    assert page.all("meta", content="default-src 'none'; style-src 'unsafe-inline'")


@pytest.mark.parametrize("loss", LOSSES)
def test_ids_are_unique_and_references_meet_them(page_of, loss):
    page = page_of(loss)
    assert len(page.ids) == len(set(page.ids))
    assert {value for name, value in page.attributes if name == "aria-labelledby"} <= set(page.ids)


def test_charts_and_tables_speak(page_of):
    page = page_of("logistic")
    assert all(attrs["role"] == "img" and len(attrs["aria-label"]) > 10 for attrs in page.all("svg"))
    assert all("scope" in attrs for attrs in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert all("aria-label" in attrs for attrs in page.all("div", tabindex="0"))
    assert page.all("html", lang="en") and page.all("meta", name="viewport")


@pytest.mark.parametrize("loss", LOSSES)
def test_colours_are_those_of_the_style_sheet(page_of, loss):
    page = page_of(loss)
    styled = " ".join(value for name, value in page.attributes if name == "style")
    assert "var(--first)" in styled and "#" not in styled.replace("url(#", "")
    declared = set(re.findall(r"(--[\w-]+):", page.source))
    assert set(re.findall(r"var\((--[\w-]+)\)", page.source)) <= declared


def test_names_are_text_wherever_they_stand(write):
    page = write(model_of("logistic"), rows(), Y["logistic"], title="<b>& title")
    assert not page.all("script") and not page.all("b")
    assert "<script>alert(1)</script> \N{MULTIPLICATION SIGN} $x$" in page
    assert "<b>& title" in page and "“_yes”" in page and "“<no>”" in page
    assert page.source.count("日本 &amp; co") >= 4


def test_names_of_any_characters_and_length(write):
    names = ["a\x00\x1b\n", "\ud800\uffff", "x" * 100_000, ""]
    model = fwfm_gpu.train(IDS[:, :2], Y["logistic"], progress=False, n_factors=2, epochs=1)
    model.columns = replace(model.columns, field_names=tuple(names[1:3]))
    with pytest.raises(InputError, match="Unicode"):  # such a model cannot be saved, so it has no file to name
        write(model, IDS[:, :2], Y["logistic"])
    model.columns = replace(model.columns, field_names=(names[0], names[2]))
    page = write(model, IDS[:, :2], Y["logistic"])
    assert len(page.source) < 200_000
    assert "a\ufffd\ufffd\ufffd" in page


def test_fields_without_names_are_numbered(write):
    model = fwfm_gpu.train(IDS, Y["logistic"], progress=False, n_factors=2, epochs=1)
    assert "field 0 \N{MULTIPLICATION SIGN} field 3" in write(model, IDS, Y["logistic"])


def test_the_same_inputs_give_the_same_bytes(page_of, write):
    first = page_of("logistic").source
    pytest.importorskip("matplotlib").rcParams["lines.linewidth"] = 9  # the user's own style is without effect
    try:
        assert write(model_of("logistic"), rows(), Y["logistic"]).source == first
    finally:
        sys.modules["matplotlib"].rcdefaults()


# what it says


def test_metrics_beside_a_constant_prediction(page_of):
    model, y = model_of("logistic"), Y["logistic"] == "_yes"
    p = model.predict_proba(rows())[:, 1]
    share = y.mean()
    loss = -np.mean(np.log(np.where(y, p, 1 - p)))
    constant = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    page = page_of("logistic")
    assert f"{loss:.4f}" in page and f"{constant:.4f} for a constant" in page and "0.5000 for a constant" in page
    assert f"{max(share, 1 - share):.4f} for a constant" in page


@pytest.mark.parametrize("loss", LOSSES)
def test_baselines(loss):
    found = find(model_of(loss), rows(), Y[loss], None)
    shares = np.unique(Y[loss], return_counts=True)[1] / ROWS
    expected = {
        "logloss": -np.sum(shares * np.log(shares)),
        "accuracy": shares.max(),
        "auc": 0.5,
        "ece": 0.0,
        "rmse": np.std(SCORE),
        "r2": 0.0,
    }
    assert len(found.comparisons) == {"logistic": 4, "softmax": 3, "squared": 2}[loss]
    for comparison in found.comparisons:
        assert comparison.baseline == pytest.approx(expected[comparison.name], abs=1e-12)


def test_weights_count_like_repeated_rows():
    weight = np.random.default_rng(3).integers(0, 3, ROWS)
    repeated = np.repeat(np.arange(ROWS), weight)
    model = model_of("logistic")
    one = find(model, rows(), Y["logistic"], weight)
    other = find(model, rows().take(repeated), Y["logistic"][repeated], None)
    for a, b in zip(one.comparisons, other.comparisons, strict=True):
        assert (a.name, a.value, a.baseline) == (b.name, pytest.approx(b.value), pytest.approx(b.baseline))
    np.testing.assert_allclose(one.pairs.information, other.pairs.information)
    np.testing.assert_allclose(one.pairs.strength, other.pairs.strength)


def test_calibration_counts_every_row():
    found = find(model_of("logistic"), rows(), Y["logistic"], None)
    bins = found.calibration()
    assert bins.rows.sum() == ROWS
    np.testing.assert_allclose(np.average(bins.observed, weights=bins.rows), np.mean(Y["logistic"] == "_yes"))
    np.testing.assert_allclose(bins.effective, bins.rows)
    assert np.all(np.diff(bins.predicted) > 0)


def test_the_strongest_pair_comes_first(write):
    model = fwfm_gpu.train(rows(["a", "b", "c", "d"]), Y["logistic"], progress=False, epochs=30, learning_rate=0.2)
    found = find(model, rows(["a", "b", "c", "d"]), Y["logistic"], None)
    assert np.nanargmax(np.triu(np.nan_to_num(found.pairs.strength))) == 1
    assert found.fields.partner[:2].tolist() == [1, 0]
    page = write(model, rows(["a", "b", "c", "d"]), Y["logistic"])
    body = page.source.index("Strongest field pairs</caption>")
    assert page.source[body:].index("a \N{MULTIPLICATION SIGN} b") < page.source[body:].index(
        "c \N{MULTIPLICATION SIGN} d"
    )
    assert "Correlation with mutual information: |R|" in page


def test_a_linear_model_has_no_pairs(write):
    page = write(model_of("logistic", n_factors=0), rows(), Y["logistic"])
    assert "no pairs to show" in page and "Linear model" in page
    assert len(page.all("svg")) == 3 and "strongest partner" not in page


def test_held_field_weights_give_way_to_strengths(write):
    page = write(model_of("logistic", field_weights="ones"), rows(), Y["logistic"])
    assert "Strength of each pair" in page and "R was held at 1" in page and "|R| 0" not in page
    assert "Factorization machine" in page


def test_one_field_has_no_pairs(write):
    model = fwfm_gpu.train(IDS[:, :1], Y["logistic"], progress=False)
    assert "No row holds features of two fields" in write(model, IDS[:, :1], Y["logistic"])


def test_fields_of_several_none_and_one_feature():
    X = np.array([[1, 1, 0, 2.0], [0, 1, 0, 0], [0, 0, 0, 3], [1, 0, 0, 0]] * 5)
    model = fwfm_gpu.train(X, [0, 1] * 10, fields=[0, 0, 2, 2], progress=False, epochs=2)
    fields = find(model, X, [0, 1] * 10, None).fields
    assert fields.features.tolist() == [2, 0, 2]
    assert fields.nonzeros.tolist() == [1, 0, 0.5]
    assert fields.without.tolist() == [0.25, 1, 0.5]
    w = model.parameters.w[0].astype(float)
    np.testing.assert_allclose(fields.linear, [np.hypot(*w[:2]), 0, np.hypot(*w[2:])])
    assert fields.partner[1] == -1


def test_without_history(write):
    page = write(model_of("logistic", epochs=0), rows(), Y["logistic"])
    assert "no finished epoch" in page and len(page.all("svg")) == 4


def test_without_evaluation(write):
    page = write(model_of("logistic", validation_fraction=None), rows(), Y["logistic"])
    assert "no evaluation rows" in page and "evaluation_rows" not in page


def test_several_eval_sets_have_curves_of_their_own(write):
    sets = {"valid": (rows(), Y["logistic"]), "test": (rows(), Y["logistic"])}
    model = fwfm_gpu.train(
        rows(), Y["logistic"], progress=False, epochs=2, eval_set=sets, eval_metric=["logloss", "ndcg@3"]
    )
    page = write(model, rows(), Y["logistic"])
    for title in ("Logloss on test", "ndcg@3 on valid", "ndcg@3 on test"):
        assert f"{title} by epoch; " in page.source and title in page
    assert "loss of valid" in page and "Logloss on valid by epoch" not in page.source  # beside the training loss
    assert page.source.count("Higher is better.") == 2


def test_a_loss_that_was_not_finite_leaves_a_gap(write):
    model = fwfm_gpu.train(rows(), Y["logistic"], progress=False, epochs=2)
    model.trained = replace(model.trained, history=(EpochRecord(1, float("nan")), EpochRecord(2, 0.5)))
    assert len(write(model, rows(), Y["logistic"]).all("svg")) == 5


def test_training_rows_are_called_so(page_of, write):
    assert "Training rows." in page_of("logistic")
    assert "Training rows." not in write(model_of("logistic"), rows().take(slice(1, None)), Y["logistic"][1:])


def test_settings_are_complete_and_name_what_differs(write):
    def half(y, p):
        return "half", 0.5, True

    model = model_of("logistic", eval_metric=("auc", half), class_weight="balanced")
    page = write(model, rows(), Y["logistic"])
    assert all(option in page for option in model.options.plain())
    assert "n_factors=3," in page and "eval_metric=['auc', half]," in page and "class_weight='balanced'," in page
    assert "learning_rate=" not in page and "eval_set=" not in page


def test_fingerprints_are_those_of_data_and_file(tmp_path, write):
    model = model_of("logistic")
    model.save(tmp_path / "model.fwfm")
    page = write(model, rows(), Y["logistic"])
    assert hashlib.sha256((tmp_path / "model.fwfm").read_bytes()).hexdigest() in page
    assert model.trained.data_fingerprint in page
    assert np.__version__ in page and fwfm_gpu.__version__ in page


def test_rows_of_one_label_have_no_auc(write):
    one = Y["logistic"] == "_yes"
    page = write(model_of("logistic"), rows().take(np.flatnonzero(one)), Y["logistic"][one])
    assert "AUC" not in [text.strip() for text in page.text] and "Accuracy" in page


@pytest.mark.parametrize("loss", LOSSES)
def test_a_single_row(write, loss):
    assert len(write(model_of(loss), rows().take([3]), Y[loss][3:4]).all("section")) == len(SECTIONS)


def test_a_model_from_a_file_reports_the_same(tmp_path, page_of, write):
    model_of("logistic").save(tmp_path / "m.fwfm")
    assert write(fwfm_gpu.load(tmp_path / "m.fwfm"), rows(), Y["logistic"]).source == page_of("logistic").source


def test_many_fields_features_and_epochs_stay_small(write):
    generator, F = np.random.default_rng(4), 300
    names = [f"a field with quite a long name, number {f}" for f in range(F)]
    X = FieldMatrix.from_ids(generator.integers(100, size=(60, F)), [100] * F, field_names=names)
    model = fwfm_gpu.train(X, np.arange(60) % 2, n_factors=1, epochs=1, progress=False)
    history = [EpochRecord(epoch, 1 / epoch, {"logloss": 1.0, "auc": 0.6}, 0.1, 1e4) for epoch in range(1, 20_001)]
    model.trained = replace(model.trained, history=tuple(history))
    page = write(model, X, np.arange(60) % 2)
    assert len(page.source.encode()) < 1_000_000
    assert "Of 300 fields the 60 strongest are shown" in page and "100 more are left out" in page


def test_many_labels_stay_few_lines(write):
    y = np.arange(ROWS) % 60
    page = write(fwfm_gpu.train(rows(), y, loss="softmax", n_factors=1, epochs=1, progress=False), rows(), y)
    assert "The 30 most frequent labels; 30 more are left out" in page


def test_thinning_keeps_the_ends_and_what_it_is_told():
    assert thinned(3, 5) == [0, 1, 2]
    assert thinned(1000, 3, [77, -1, 1000]) == [0, 77, 500, 999]


def test_what_an_encoder_knows_stands_in_the_table(write):
    table = {"town": np.array(["a", "b", "b", "c"] * 10), "size": np.linspace(0, 1, 40)}
    X = FieldEncoder(min_count=11).fit_transform(table)
    model = fwfm_gpu.train(X, np.arange(40) % 2, progress=False, epochs=1)
    page = write(model, X, np.arange(40) % 2)
    assert "How the columns were encoded" in page and "categorical" in page
    assert "missing values contribute nothing" in page
    assert write(model, table, np.arange(40) % 2).source == page.source


def test_the_call_that_trains_such_a_model_encodes_its_table_first(write):
    table = {"town": np.array(["a", "b", "b", "c"] * 10, object), "size": np.linspace(0, 1, 40)}
    X = FieldEncoder(categorical=["town"], min_count=11).fit_transform(table)
    page = write(fwfm_gpu.train(X, np.arange(40) % 2, progress=False, epochs=1), X, np.arange(40) % 2)
    assert "encoder = fwfm_gpu.FieldEncoder( categorical=['town'], min_count=11, )" in page
    assert "rows = encoder.fit_transform(table) model = fwfm_gpu.train( rows, y," in page
    X = FieldEncoder().fit_transform(table)
    page = write(fwfm_gpu.train(X, np.arange(40) % 2, progress=False, epochs=1), X, np.arange(40) % 2)
    assert "encoder = fwfm_gpu.FieldEncoder() rows" in page


def test_a_model_worse_than_the_mean_is_called_so(page_of, write):
    page = write(model_of("squared"), rows(), np.full(ROWS, 3e5) + 100 * SCORE)
    assert "worse than always predicting the mean" in page
    assert "worse than always" not in page_of("squared")


def test_epochs_are_whole_numbers(write):
    page = write(model_of("logistic", epochs=1), rows(), Y["logistic"])
    chart = re.search(r"<h3>Loss</h3>.*?</svg>", page.source, re.S)[0]
    ticks = re.findall(r">([^<>]+)</text>", chart.partition(">epoch<")[0])
    assert ticks == ["1"]


def test_nearly_equal_field_weights_share_a_shade():
    alike = shades_of_weights(np.array([[np.nan, 0.9001], [0.901, np.nan]]))
    assert (alike.low, alike.high) == (0.9, 1.1)
    apart = shades_of_weights(np.array([[np.nan, 0.2], [3.0, np.nan]]))
    assert (apart.low, apart.high) == (0.2, 3.0)


@pytest.mark.parametrize(
    "ticks, texts",
    [
        ([0, 20000, 40000], ["0", "20,000", "40,000"]),
        ([0, 0.25, 0.5], ["0", "0.25", "0.50"]),
        ([-1e10, 0, 1e10], ["\u221210\u00b710\u2079", "0", "10\u00b710\u2079"]),
        ([1.5e6, 2e6], ["1.5\u00b710\u2076", "2.0\u00b710\u2076"]),
        ([300000, 300000.5], ["300,000.0", "300,000.5"]),
        ([], []),
    ],
)
def test_ticks_are_short_and_told_apart(ticks, texts):
    assert compact(ticks) == texts
