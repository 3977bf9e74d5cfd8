"""The section "GPU" of the benchmarks page, made from the figures in the folder beside it.

``python -m gpu.table docs/benchmarks`` writes it anew into docs/benchmarks.md.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .cases import SHAPES

BEGIN = "<!-- begin of what gpu.table writes -->"
END = "<!-- end of what gpu.table writes -->"
NOT_MEASURED = """\
Not measured. These two commands measure, on a machine with an NVIDIA GPU, from a checkout, without network or
installation. Its `python3` must hold NumPy, SciPy, CuPy and pytest; PyTorch is compared with where it is there. The
first command takes eight minutes at most; the second goes on where it was stopped.

```console
$ make gpu-check
$ make gpu-peers SHAPE=criteo BATCH=65536
```
"""
MODES = {"eager": "eager", "compile": "compiled", "graph": "CUDA graph", "compile_graph": "compiled, CUDA graph"}
STAGES = ("plan", "rows", "coordinates", "other")
TRAIN, SCORE = "train_rows_per_s", "score_rows_per_s"

Record = dict[str, Any]


def write_section(folder: Path) -> bool:
    """Put the section into the page beside the folder: ``docs/benchmarks`` has ``docs/benchmarks.md``.

    Returns
    -------
    bool
        False where there is no page with the two marker lines.
    """
    page = folder.with_suffix(".md")
    text = page.read_text("utf-8") if page.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        return False
    page.write_text(f"{before}{BEGIN}\n{make_section(folder)}{END}{after}", encoding="utf-8")
    return True


def make_section(folder: Path) -> str:
    """What stands between the markers, from every ``gpu-CARD.json`` and ``gpu-CARD-peers.jsonl`` of a folder."""
    reports = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("gpu-*.json"))]
    peers = [(path, read_lines(path)) for path in sorted(folder.glob("gpu-*-peers.jsonl"))]
    parts = [report_text(report) for report in reports] or [NOT_MEASURED]
    return "\n".join([*parts, *(peers_text(path, records) for path, records in peers)])


def read_lines(path: Path) -> list[Record]:
    """The records of a JSON-lines file; a last line that was cut short is left out."""
    if not path.exists():
        return []
    *whole, _ = path.read_text("utf-8").split("\n")
    return [json.loads(line) for line in whole if line]


def slug(name: str) -> str:
    """A card's name as part of a file's."""
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")


def report_text(report: Record) -> str:
    """One card: how it was measured, our figures, PyTorch's best, the time of the stages, what failed."""
    parts = [f"### {report['card']['name']}\n", measured_with(report), ours_table(report), *order_costs(report)]
    if any(case["engine"] == "torch" for case in report["cases"]):
        parts += ["PyTorch's best form in the same run:\n", torch_table(report)]
    elif report["torch"]["reason"]:
        parts.append(f"Nothing to compare with: {report['torch']['reason']}.\n")
    if any(case["engine"] == "ours" and case.get("kernels_us") for case in report["cases"]):
        parts += ["Microseconds of a training step, by stage:\n", stages_table(report)]
    failed = [f"- {describe(case)}: {plain(case['error'])}" for case in report["cases"] if "error" in case]
    return "\n".join([*parts, "Without a figure:\n", *failed, ""] if failed else parts)


def measured_with(report: Record) -> str:
    """The sentence before the tables."""
    card, versions, tests = report["card"], report["versions"], report["tests"]
    packages = [f"{name} {version}" for name, version in versions.items()]
    packages += [f"PyTorch {report['torch']['version']}"] if report["torch"]["version"] else []
    lines = [f"`make gpu-check`, {report['measured']}: {', '.join(packages)}."]
    if card["operations_per_s"]:
        lines += [
            f"Driver {card['driver']}; {card['multiprocessors']} multiprocessors at {card['clock_mhz']:,} MHz:"
            f" {card['operations_per_s'] / 1e12:.1f} T float32 operations a second, none fused; copies move"
            f" {card['copy_bytes_per_s'] / 1e12:.2f} TB/s.",
            "The floor is the time that these allow a step to take at least (`asv_bench/gpu/cases.py`).",
        ]
    if tests:
        lines.append("Tests: {passed} passed, {failed} failed, {skipped} skipped.".format(**tests))
    return "\n".join(lines) + "\n"


def ours_table(report: Record) -> str:
    """Rates of our engine, the share of the floor reached, and how often PyTorch's best they are."""
    head = ["shape", "k", "batch", "optimizer", "training, rows/s", "of the floor", "times PyTorch's best"]
    rows = []
    for case in report["cases"]:
        if case["engine"] == "ours" and "error" not in case:
            row = [case["shape"], SHAPES[case["shape"]].k, f"{case['batch']:,}", case["optimizer"]]
            for figure, share in ((TRAIN, "train_share"), (SCORE, "score_share")):
                row += [number(case[figure]), percent(case[share]), ratio(case, report, figure)]
            rows.append([*row, gigabytes(case["memory_bytes"])])
    return markdown([*head, "scoring, rows/s", "of the floor", "times PyTorch's best", "memory"], rows)


def order_costs(report: Record) -> list[str]:
    """How much longer a row takes in training than with atomics, a line for each case that was measured with both."""
    atomics = {problem(case): case.get(TRAIN) for case in report["cases"] if case["engine"] == "atomics"}
    lines = []
    for case in report["cases"]:
        if case["engine"] == "ours" and case.get(TRAIN) and (rate := atomics.get(problem(case))):
            longer = rate / case[TRAIN] - 1
            words = f"{percent(abs(longer))} {'faster' if longer < 0 else 'slower'}"
            lines.append(f"- {' '.join(describe(case).split()[1:])}: ordered sums against atomics: {words}\n")
    head = "In training, against the same row gradients with atomics (`asv_bench/gpu/atomics.cu`):\n"
    return [head, "".join(lines)] if lines else []


def torch_table(report: Record) -> str:
    """For each problem the best form, in training and in scoring."""
    problems = dict.fromkeys(problem(case) for case in report["cases"] if case["engine"] == "torch")
    rows = []
    for shape, batch, optimizer in problems:
        row = [shape, f"{batch:,}", optimizer]
        for figure in (TRAIN, SCORE):
            best = best_torch(report, (shape, batch, optimizer), figure)
            row += ["", ""] if best is None else [number(best[figure]), form(best)]
        rows.append(row)
    return markdown(["shape", "batch", "optimizer", "training, rows/s", "form", "scoring, rows/s", "form"], rows)


def stages_table(report: Record) -> str:
    """Sums over the kernels of each stage."""
    rows = []
    for case in report["cases"]:
        if case["engine"] == "ours" and case.get("kernels_us"):
            spent = [sum(case["kernels_us"].get(stage, {}).values()) for stage in STAGES]
            step = case["batch"] / case[TRAIN] * 1e6
            row = [case["shape"], f"{case['batch']:,}", case["optimizer"]]
            rows.append([*row, *(f"{microseconds:,.1f}" for microseconds in (*spent, step))])
    return markdown(["shape", "batch", "optimizer", *STAGES, "the whole step, by the host's clock"], rows)


def peers_text(path: Path, records: Iterable[Record]) -> str:
    """Every other form of PyTorch on one card."""
    rows = []
    for case in records:
        row = [case["shape"], f"{case['batch']:,}", case["optimizer"], form(case)]
        if "error" in case:
            figures = [plain(case["error"]), "", ""]
        else:
            figures = [number(case[TRAIN]), number(case[SCORE]), gigabytes(case["memory_bytes"])]
        rows.append([*row, *figures])
    head = ["shape", "batch", "optimizer", "form", "training, rows/s", "scoring, rows/s", "memory"]
    return f"### Forms of PyTorch: {path.name}\n\n`make gpu-peers`:\n\n{markdown(head, rows)}"


def best_torch(report: Record, of: tuple[str, int, str], figure: str) -> Record | None:
    """PyTorch's case with the highest figure on the same problem."""
    cases = [case for case in report["cases"] if case["engine"] == "torch" and problem(case) == of and figure in case]
    return max(cases, key=lambda case: case[figure], default=None)


def problem(case: Record) -> tuple[str, int, str]:
    """What cases must share to be compared."""
    return case["shape"], case["batch"], case["optimizer"]


def describe(case: Record) -> str:
    """A case in a few words."""
    words = [case["engine"], case["shape"], f"{case['batch']:,}", case["optimizer"]]
    return " ".join([*words, form(case)] if case["form"] else words)


def form(case: Record) -> str:
    """A form of PyTorch and its mode."""
    return f"{case['form']}, {MODES[case['mode']]}"


def ratio(case: Record, report: Record, figure: str) -> str:
    """Ours by PyTorch's best."""
    best = best_torch(report, problem(case), figure)
    return "" if best is None else f"{case[figure] / best[figure]:.1f}"


def number(value: int) -> str:
    return f"{value:,}"


def percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def gigabytes(size: int | None) -> str:
    return "" if size is None else f"{size / 1e9:.2f} GB"


def plain(text: str) -> str:
    """Text that breaks no table."""
    return text.replace("|", "/").replace("\n", " ")


def markdown(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


if __name__ == "__main__":
    sys.exit(not write_section(Path(sys.argv[1])))
