"""All code of the README and of the pages runs, and prints what the pages say."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import commands, fences, run_page

from fwfm_gpu.cli import main

ROOT = Path(__file__).parents[1]
NOT_RUN = {  # figures and reasons; their commands take minutes
    "docs/benchmarks.md",
    "docs/design/compiled-cpu.md",
    "docs/design/cuda-engine.md",
    "docs/design/determinism.md",
    "docs/design/engine-seam.md",
    "docs/design/model-file.md",
    "docs/design/numpy-engine.md",
    "docs/design/out-of-core.md",
}
NUMPY_ALONE = {"README.md", "docs/numerics.md", "docs/tutorial.md"}
PAGES = sorted(
    page
    for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    if (page := path.relative_to(ROOT).as_posix()) not in NOT_RUN and "_build" not in page
)


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Runs a page in an empty folder; commands in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def call(words):
        capfd.readouterr()
        try:
            code = main(words)
        except SystemExit as ended:  # argparse
            code = ended.code or 0
        return capfd.readouterr().out, code

    return lambda page, name="page": run_page(page, name, call)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.filterwarnings("default")
def test_the_page(page, run):
    if page not in NUMPY_ALONE:
        pytest.importorskip("sklearn", reason="scikit-learn is missing: most pages are for all extras")
    text = (ROOT / page).read_text("utf-8")
    if left_out := run(text, page):
        pytest.skip(f"all other code of the page passed; left out: {'; '.join(left_out)}")


def test_code_that_needs_nothing_is_in_most_pages():
    assert set(PAGES) >= NUMPY_ALONE
    plain = [page for page in PAGES if any(not f.needs and f.language for f in fences((ROOT / page).read_text()))]
    assert len(plain) > len(PAGES) / 2


def test_a_wrong_example_fails(run):
    run("```python\n>>> x = 1\n```\nand\n```python\n>>> x + 1\n2\n```\n")
    with pytest.raises(AssertionError, match="Expected:\n    3"):
        run("```python\n>>> 1 + 1\n3\n```\n\n```python\n>>> 2\n2\n```\n")


def test_a_script_fails_where_it_is_wrong(run):
    with pytest.raises(NameError):
        run("```python\nx = 1\n```\n\n```python\nprint(y)\n```\n")


def test_what_is_missing_is_left_out(run):
    assert run("<!-- needs: no_such_package -->\n```python\n1 / 0\n```\n") == ["page:2: no_such_package"]
    with pytest.raises(ZeroDivisionError):
        run("<!-- needs: json -->\n```python\n1 / 0\n```\n")


def test_commands_print_what_the_page_says(run):
    run("```console\n$ pip install nothing\nhm\n$ fwfm-gpu --version  # of today\nfwfm-gpu ...\n```\n")
    with pytest.raises(AssertionError, match="printed"):
        run("```console\n$ fwfm-gpu --version\nno\n```\n")
    with pytest.raises(AssertionError, match="ended with 2"):
        run("```console\n$ fwfm-gpu nonsense\n```\n")


def test_commands_and_their_output_are_told_apart():
    assert list(commands("$ a \\\n  b\nout\n$ c\n")) == [("a   b", "out\n"), ("c", "")]
