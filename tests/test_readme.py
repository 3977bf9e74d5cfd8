"""Every example of the README and of the numerics page runs and prints what the page says."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def without_fences(text: str) -> str:
    """The text with Markdown's fence lines blank: doctest would take a closing fence for output."""
    return "\n".join("" if line.startswith("```") else line for line in text.splitlines())


def run_examples(text: str, name: str = "text") -> doctest.TestResults:
    """Run all examples of a text in one namespace; failures are printed."""
    examples = doctest.DocTestParser().get_doctest(without_fences(text), {}, name, name, 0)
    return doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(examples)


@pytest.mark.parametrize("page", ["README.md", "docs/numerics.md"])
def test_the_page(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # an example may save a file
    results = run_examples((ROOT / page).read_text(encoding="utf-8"), page)
    assert results.attempted > 0
    assert results.failed == 0


def test_a_wrong_example_fails():
    results = run_examples("```python\n>>> 1 + 1\n3\n```\n\n```python\n>>> 2\n2\n```\n")
    assert (results.attempted, results.failed) == (2, 1)
