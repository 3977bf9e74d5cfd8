"""The examples run from end to end, here on small data of the same form."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import pytest

FRAPPE = Path(__file__).parents[1] / "docs" / "examples" / "frappe.py"


@pytest.fixture
def frappe_folder(tmp_path):
    """Three files with a header, a label and two columns of global feature numbers."""
    rng = np.random.default_rng(0)
    for name, rows in (("train", 600), ("valid", 200), ("test", 200)):
        user, item = rng.integers(0, 8, rows), rng.integers(8, 14, rows)
        label = (user + item) % 2
        table = np.stack((label, user, item), axis=1)
        with gzip.open(tmp_path / f"{name}.csv.gz", "wt") as file:
            np.savetxt(file, table, fmt="%d", delimiter=",", header="label,user,item", comments="")
    return tmp_path


@pytest.mark.skipif(not FRAPPE.exists(), reason="the examples are not part of an installed package")
def test_frappe_searches_on_validation_and_prints_the_test_table(frappe_folder, capsys, monkeypatch):
    spec = importlib.util.spec_from_file_location("frappe", FRAPPE)
    frappe = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "frappe", frappe)  # dataclasses look their module up
    spec.loader.exec_module(frappe)
    monkeypatch.setattr(frappe, "GRID", {"n_factors": [8], "learning_rate": [0.1], "l2_factors": [1e-5, 1.0]})
    monkeypatch.setattr("sys.argv", ["frappe.py", "--data", str(frappe_folder), "--seeds", "2"])
    frappe.main()
    printed = capsys.readouterr().out
    assert "| 8 | 0.1 | 1e-05 |" in printed
    assert "best on validation: " in printed and "'l2_factors': 1e-05" in printed  # l2 = 1 learns no interaction
    test_rows = [line for line in printed.splitlines() if line.startswith(("| FM", "| FwFM"))]
    assert [line.split(" | ")[1] for line in test_rows] == ["2", "2", "1"]
    assert test_rows[1].split(" | ")[2].startswith("1.0000")
