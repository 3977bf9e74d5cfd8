"""The section on feature pairs: which, how strong, of how many rows."""

from __future__ import annotations

import numpy as np
import pytest
from reports import LOSSES, Page, Y, model_of, rows

import fwfm_gpu
from fwfm_gpu import FieldMatrix, report_findings
from fwfm_gpu.report import report
from fwfm_gpu.report_findings import find


@pytest.fixture
def write(tmp_path):
    """Write a report and take it apart."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: there are no charts")
    return lambda *given: Page(report(*given, tmp_path / "report.html").read_text("utf-8"))


@pytest.mark.parametrize("loss", LOSSES)
def test_the_strongest_pairs_that_rows_hold(write, loss):
    found = find(model_of(loss), rows(), Y[loss], None)
    expected = model_of(loss).top_interactions(20, X=rows())
    assert found.interactions == expected and found.looked_at == (120, 1)
    page = write(model_of(loss), rows(), Y[loss])
    body = page.source.partition("Strongest feature pairs</caption>")[2].partition("</table>")[0]
    assert body.count("<tr>") == 21
    first = " \N{MULTIPLICATION SIGN} ".join(expected[0].names)
    assert first in body.partition("</tr>")[2].partition("</tr>")[0]
    assert f">{expected[0].rows}</td></tr>" in body
    assert ("of label" in body) == (loss == "softmax") and "fields" in body  # features have no names


def test_names_that_start_with_their_field_stand_alone(write):
    table = {"town": np.array(["Bern", "Oslo"] * 20, object), "size": np.array(["s", "m", "l", "xl"] * 10, object)}
    X = fwfm_gpu.FieldEncoder().fit_transform(table)
    y = np.arange(40) % 2
    page = write(fwfm_gpu.train(X, y, progress=False, epochs=2, device="numpy"), X, y)
    body = page.source.partition("Strongest feature pairs</caption>")[2].partition("</table>")[0]
    assert "town=Bern \N{MULTIPLICATION SIGN} size=" in body and "fields" not in body


def test_rows_without_a_learned_pair(write):
    page = write(model_of("logistic", n_factors=0), rows(), Y["logistic"])
    assert "hold no pair of features that the model learned" in page


def test_pairs_of_few_rows_are_left_out_and_many_rows_sampled(monkeypatch):
    ids = np.random.default_rng(0).integers(16, size=(3000, 2))
    X, y = FieldMatrix.from_ids(ids, [16, 16]), ids[:, 0] % 2
    model = fwfm_gpu.train(X, y, progress=False, epochs=1, n_factors=2, device="numpy")
    found = find(model, X, y, None)
    assert found.looked_at == (3000, 10)
    assert min(pair.rows for pair in found.interactions) >= 10
    monkeypatch.setattr(report_findings, "MOST_ROW_PAIRS", 1000)
    assert find(model, X, y, None).looked_at == (1000, 3)
    half = find(model, X, y, np.arange(3000) < 500)
    assert half.looked_at == (500, 1)
