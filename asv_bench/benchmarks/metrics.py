"""How fast the host's metrics are: they run after each epoch, whatever the engine."""

from __future__ import annotations

import numpy as np

from fwfm_gpu.metrics import evaluate, resolve_metrics
from fwfm_gpu.parameters import Array

ROWS = 1_000_000
ROWS_OF_A_GROUP = 10


class Metrics:
    """A million scores of the logistic loss."""

    params = (["auc", "logloss", "accuracy", "ece", "gauc", "ndcg@10"],)
    param_names = ("metric",)

    def setup_cache(self) -> tuple[Array, Array]:
        generator = np.random.default_rng(0)
        scores_bc = generator.normal(size=(ROWS, 1)).astype(np.float32)
        return scores_bc, (generator.random(ROWS) < 0.3).astype(np.float64)

    def setup(self, drawn: tuple[Array, Array], metric: str) -> None:
        group_b = np.random.default_rng(1).integers(0, max(1, ROWS // ROWS_OF_A_GROUP), ROWS)
        self.metrics = resolve_metrics(metric, "logistic", group_b)

    def time_evaluate(self, drawn: tuple[Array, Array], metric: str) -> None:
        scores_bc, y_b = drawn
        evaluate(self.metrics, "logistic", scores_bc, y_b)
