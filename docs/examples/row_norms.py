"""What ``normalize="l2"`` does on Adult, krkopt and Frappe: the same training with it and without, over a few seeds.

    python docs/examples/row_norms.py --krkopt FILE --frappe DIR

Data and judging are those of defaults.py. Options are those of a user who passes nothing, but for the learning rate:
rows of length 1 have smaller gradients, so each is tried at two rates. A line is the mean over seeds, and the range.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from defaults import judge, problems

RATES = (0.1, 0.3)


def spread(values: list[float]) -> str:
    """Mean and range."""
    return f"{np.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--krkopt", type=Path)
    parser.add_argument("--frappe", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    print("| data | learning_rate | normalize | logloss | AUC or accuracy |\n|--|--|--|--|--|")
    for problem in problems(arguments):
        for rate in RATES:
            for normalize in (None, "l2"):
                options = {"normalize": normalize, "learning_rate": rate}
                found = [judge(problem, seed=seed, **options) for seed in range(arguments.seeds)]
                loglosses, seconds, _ = (list(column) for column in zip(*found, strict=True))
                cells = [problem.name, rate, normalize, spread(loglosses), spread(seconds)]
                print("|", " | ".join(map(str, cells)), "|", flush=True)


if __name__ == "__main__":
    main()
