"""How the golden files were made. They are kept as they are: this script never writes over one.

``python tests/golden/make_golden.py`` adds those that are missing. Each ``v1-<name>.fwfm`` is a model; the ``.npz``
beside it holds what every later version must read from it: rows X, targets y, the scores of X, the losses of the
history, and the model's arrays (``before.0``, ``before.1``, ...: parameters, then state). ``after.0``, ... are the
arrays after one more epoch. Rows are never shuffled, so that nothing here depends on NumPy's random streams.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import fwfm_gpu

FOLDER = Path(__file__).parent
X = np.random.default_rng(0).integers(-2, 3, (16, 5)) * 0.5
FIELDS = [0, 0, 1, 3, 3]  # field 2 has no column
FIELD_NAMES = ["user", "место", "nothing", "時"]
FEATURE_NAMES = ["a", "b", "c", "d", "\N{GRINNING FACE}"]


class StopAtOnce(fwfm_gpu.Callback):
    """Stops after the first batch."""

    def on_batches(self, status):
        return True


def train(rows, y, **options):
    """A small model."""
    settings = {"fields": FIELDS, "n_factors": 2, "epochs": 2, "batch_size": 6, "learning_rate": 0.25}
    return fwfm_gpu.train(rows, y, **{**settings, "init_scale": 0.3, "shuffle": False, "progress": False, **options})


def logistic_adagrad():
    """Labels that are strings, names, class weights, an evaluation."""
    rows = fwfm_gpu.FieldMatrix.from_matrix(X, FIELDS, field_names=FIELD_NAMES, feature_names=FEATURE_NAMES)
    y = np.where(X.sum(axis=1) > 0, "да", "no")
    held_out = {"validation_fraction": 0.25, "validation": "tail", "eval_metric": ["logloss", "accuracy"]}
    return train(rows, y, class_weight={"да": 2.0}, **held_out), y


def softmax_adam():
    """Three small integers for labels; stopped in the middle of the second epoch."""
    y = np.digitize(X.sum(axis=1), [-1, 1]).astype(np.int16) * 10
    model = train(X, y, optimizer="adam", epochs=1, label_smoothing=0.1)
    return model.continue_training(X, y, epochs=1, callbacks=[StopAtOnce()], progress=False), y


def squared_ftrl():
    """A regression in float64, with L1."""
    y = X[:, 0] - 2 * X[:, 1] + X[:, 2] * X[:, 3] + 0.125
    return train(X, y, optimizer="ftrl", dtype="float64", l1_linear=0.01, l1_factors=0.001), y


def sgd_without_state():
    """Booleans, and a plain factorization machine that cannot be trained on."""
    y = X[:, 0] * X[:, 2] > 0
    return train(X, y, optimizer="sgd", field_weights="ones"), y


MODELS = {
    "v1-logistic-adagrad": logistic_adagrad,
    "v1-softmax-adam": softmax_adam,
    "v1-squared-ftrl": squared_ftrl,
    "v1-sgd-without-state": sgd_without_state,
}


def arrays_of(model, when):
    """Parameters, then state where there is one, numbered."""
    state = [] if model.optimizer_state is None else model.optimizer_state.as_list()
    return {f"{when}.{i}": array for i, array in enumerate([*model.parameters.arrays().values(), *state])}


def make(name, folder=FOLDER):
    """Write one model, and what is to be read from it."""
    model_file, said_file = (Path(folder) / f"{name}.{ending}" for ending in ("fwfm", "npz"))
    if model_file.exists() or said_file.exists():
        raise FileExistsError(f"golden files stay as they are: {name} is there.")
    model, y = MODELS[name]()
    with_state = not name.endswith("without-state")
    model.save(model_file, optimizer_state=with_state)
    said = {"X": X, "y": y, "scores": model.decision_function(X), "losses": [r.loss for r in model.history]}
    said |= arrays_of(model, "before")
    if with_state:
        said |= arrays_of(model.continue_training(X, y, epochs=1, progress=False), "after")
    np.savez_compressed(said_file, **said)


if __name__ == "__main__":
    for missing in [name for name in MODELS if not (FOLDER / f"{name}.fwfm").exists()]:
        make(missing)
