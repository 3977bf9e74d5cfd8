"""The table of features claims nothing that no test proves."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "features.md").read_text("utf-8")


def rows():
    """The cells of each row that is a feature."""
    lines = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| |")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_each_yes_of_ours_names_a_test_that_is_there():
    assert len(rows()) > 40
    for what, ours, proof, *others in rows():
        assert len(others) == 6, what
        named = re.findall(r"`(tests/[\w/]+\.py)`", proof)
        assert bool(named) != ours.startswith("no"), what
        assert all((ROOT / test).is_file() for test in named), f"{what}: {proof}"
