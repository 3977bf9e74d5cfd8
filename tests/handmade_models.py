"""Models whose parameters are given, not trained."""

from __future__ import annotations

import numpy as np

from fwfm_gpu.labels import Labels
from fwfm_gpu.model import Columns, FwFM, Trained
from fwfm_gpu.options import Options
from fwfm_gpu.parameters import Parameters


def handmade(rows, C=1, k=3, dtype="float32", seed=8, labels=None, **given):
    """A model on the columns of some rows, its parameters random but for those given."""
    generator = np.random.default_rng(seed)
    n, F = rows.n_features, rows.n_fields
    shapes = {"w0": (C,), "w": (C, n), "V": (C, n, k), "R": (C, F, F)}
    arrays = {name: generator.normal(size=shape).astype(dtype) for name, shape in shapes.items()}
    arrays.update({name: np.asarray(array, dtype).reshape(shapes[name]) for name, array in given.items()})
    known = None if C == 1 else Labels(np.array(labels or [f"label {c}" for c in range(C)]))
    loss = "squared" if C == 1 else "softmax"
    options = Options(n_factors=k, dtype=dtype, device="numpy")
    return FwFM(options, loss, known, Columns.of(rows), Trained(Parameters(**arrays), None, {}))
