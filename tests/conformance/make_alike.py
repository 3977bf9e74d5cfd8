"""How the vectors ``alike-*.npz`` were made: rows that all have the same distinct fields, as ids of a table have.

    python tests/conformance/make_alike.py FOLDER

Computed by the scalar ``tests/reference.py``, which shares no code with the package.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from engine_data import Spec, expected, make_problem

SPECS = {
    "alike-logistic-adagrad-float32": Spec(pattern="alike", values="ones"),
    "alike-softmax-adam-float64": Spec(pattern="alike", loss="softmax", rule="adam", dtype="float64", n_classes=3),
}


def main() -> None:
    for name, spec in SPECS.items():
        vector = {**make_problem(spec), **expected(spec)}
        vector["config"] = np.array(json.dumps(vector["config"]))
        np.savez_compressed(Path(sys.argv[1]) / f"{name}.npz", **vector)


if __name__ == "__main__":
    main()
