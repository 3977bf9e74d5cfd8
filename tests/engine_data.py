"""Random training problems in the form of conformance vectors, and how to drive an engine through one.

A `Spec` says what a problem is like; equal specs give equal problems, so the reference's answer is computed once.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import reference

from fwfm_gpu.field_matrix import FieldMatrix
from fwfm_gpu.parameters import Parameters
from fwfm_gpu.verify import advance_all, vector_recipe

VECTORS = sorted((Path(__file__).parent / "conformance").glob("*.npz"))

LOSSES = ("logistic", "squared", "softmax")
RULES = ("sgd", "adagrad", "adam", "ftrl")
DTYPES = ("float32", "float64")
PATTERNS = ("alike", "alike-repeated", "ragged", "ragged-repeated", "short", "empty")
VALUES = ("signed", "ones", "subnormal", "huge")

N_FIELDS, FIELD_SIZE = 5, 5


@dataclass(frozen=True)
class Spec:
    """What a problem is like."""

    pattern: str = "ragged"  # of fields and lengths: see PATTERNS
    values: str = "signed"
    loss: str = "logistic"
    rule: str = "adagrad"
    dtype: str = "float32"
    k: int = 3
    n_classes: int = 1
    rows: int = 130
    batch_size: int = 70
    weighted: bool = False
    label_smoothing: float = 0.0
    field_weights: str = "learn"
    ftrl_start: str = "warm"
    gradient_clip: float | None = None
    rates: tuple[float, float] | None = None  # the learning rate of each epoch
    seed: int = 0

    def but(self, **changes) -> Spec:
        """The same, except for these."""
        return replace(self, **changes)

    def __str__(self) -> str:
        default = asdict(Spec())
        return " ".join(str(value) for name, value in asdict(self).items() if value != default[name]) or "default"


def row_features(spec: Spec, generator: np.random.Generator) -> np.ndarray:
    """Columns of one row, ascending. Column i is of the field that stands i // FIELD_SIZE-th in a shuffled list."""
    one_each = np.arange(N_FIELDS) * FIELD_SIZE + generator.integers(FIELD_SIZE, size=N_FIELDS)
    if spec.pattern == "alike":
        return one_each
    if spec.pattern == "alike-repeated":  # three of the first field's features, none of the second's
        return np.concatenate((np.sort(generator.permutation(FIELD_SIZE)[:3]), one_each[2:]))
    if spec.pattern == "ragged":
        return one_each[np.sort(generator.permutation(N_FIELDS)[: generator.integers(N_FIELDS + 1)])]
    longest = {"ragged-repeated": 10, "short": 2, "empty": 0}[spec.pattern]
    return np.sort(generator.permutation(N_FIELDS * FIELD_SIZE)[: generator.integers(longest + 1)])


def row_values(spec: Spec, generator: np.random.Generator, size: int) -> np.ndarray:
    """Values in T, none of them 0."""
    x = generator.normal(size=size)
    T = np.dtype(spec.dtype)
    if spec.values == "ones":
        x = np.ones(size)
    elif spec.values == "subnormal":  # about half of them
        x = np.where(generator.random(size) < 0.5, x * (10 * float(np.finfo(T).smallest_subnormal)), x)
    elif spec.values == "huge":  # scores far beyond exp's range, next to tiny values
        x = x * 10.0 ** generator.integers(-6, 3, size=size)
    rounded = x.astype(T)
    return np.where(rounded == 0, np.finfo(T).smallest_subnormal, rounded)


def make_problem(spec: Spec) -> dict:
    """A conformance vector without its answers."""
    generator = np.random.default_rng(spec.seed)
    n, T = N_FIELDS * FIELD_SIZE, np.dtype(spec.dtype)
    features = [row_features(spec, generator) for _ in range(spec.rows)]
    indptr = np.concatenate(([0], np.cumsum([len(row) for row in features])))
    C, F, k = spec.n_classes, N_FIELDS, spec.k
    y = {
        "squared": generator.normal(size=spec.rows),
        "logistic": generator.integers(2, size=spec.rows).astype(float),
        "softmax": generator.integers(C, size=spec.rows).astype(float),
    }[spec.loss]
    problem = {
        "config": config_of(spec),
        "indptr": indptr,
        "indices": np.concatenate(features).astype(np.int32),
        "data": row_values(spec, generator, int(indptr[-1])),
        "fields": np.repeat(generator.permutation(F), FIELD_SIZE).astype(np.int32),
        "y": y,
        "orders": np.array([generator.permutation(spec.rows) for _ in range(2)]),
        "start_w0": generator.normal(0, 0.3, C).astype(T),
        "start_w": generator.normal(0, 0.3, (C, n)).astype(T),
        "start_V": generator.normal(0, 0.5, (C, n, k)).astype(T),
        "start_R": generator.normal(1, 0.5, (C, F, F)).astype(T),
    }
    problem["start_w"][:, ::7] = 0  # FTRL starts those from zero
    problem["start_V"][:, 1::6] = -0.0
    if spec.weighted:
        problem["sample_weight"] = generator.choice([0, 0.3, 1, 2.5], spec.rows)
    return problem


def config_of(spec: Spec) -> dict:
    """The hyper-parameters of a problem, under the names of conformance vectors."""
    rate = {"sgd": 0.03, "adagrad": 0.1, "adam": 0.05, "ftrl": 0.2}[spec.rule]
    if spec.values == "huge":
        rate *= 1e-8 if spec.rule == "sgd" else 1e-3
    l1 = 0.01 if spec.rule == "ftrl" else 0.0
    return {
        "loss": spec.loss,
        "optimizer": spec.rule,
        "dtype": spec.dtype,
        "batch_size": spec.batch_size,
        "learning_rate": rate,
        "beta_1": 0.9,
        "beta_2": 0.99,
        "epsilon": 1e-8,
        "ftrl_beta": 1.0,
        "ftrl_start": spec.ftrl_start,
        "field_weights": spec.field_weights,
        "label_smoothing": spec.label_smoothing,
        "gradient_clip": spec.gradient_clip,
        "rates": spec.rates,
        "n_classes": spec.n_classes,
        "n_features": N_FIELDS * FIELD_SIZE,
        "n_fields": N_FIELDS,
        "n_factors": spec.k,
        "l1_linear": l1,
        "l2_linear": 0.003,
        "l1_factors": l1,
        "l2_factors": 0.002,
    }


SPOILS = ("infinite", "NaN", "parameter")


def spoil_row(problem: dict, row: int, kind: str) -> None:
    """Make a row of three or more values, of a float32 problem, one that cannot be trained on.

    Its score becomes infinite (with gradients of 0 if the loss is logistic) or NaN, or, if the loss is squared, the
    gradient of a parameter infinite while all scores stay finite.
    """
    items = slice(problem["indptr"][row], problem["indptr"][row + 1])
    x = problem["data"][items]
    problem["start_V"][:, problem["indices"][items]], problem["start_R"][:] = (
        0.5,
        1,
    )  # its pairs have the sign of x_a x_b
    if kind == "infinite":
        x[:2], problem["y"][row] = 1e30, 1
    elif kind == "NaN":
        x[:3] = 1e30, -1e30, 1e30
    else:
        x[0], problem["y"][row] = 10, 3e38
    if "sample_weight" in problem:
        problem["sample_weight"][row] = 1


@cache
def expected(spec: Spec) -> dict:
    """The reference's answer. Finite, or the problem would show nothing."""
    answer = reference.train(make_problem(spec))
    assert all(np.all(np.isfinite(array)) for array in answer.values())
    return answer


def read_vector(path: Path) -> dict:
    """A conformance vector as a problem with its answers."""
    with np.load(path) as archive:
        vector = dict(archive)
    return {**vector, "config": json.loads(str(vector["config"]))}


def rows_of(problem: dict) -> FieldMatrix:
    """The rows; values that are all 1 are one broadcast 1."""
    data = problem["data"]
    if len(data) and np.all(data == 1):
        data = np.broadcast_to(data[0], data.shape)
    return FieldMatrix(
        problem["indptr"].astype(np.int64), problem["indices"], data, problem["fields"], problem["config"]["n_fields"]
    )


def start_of(problem: dict) -> Parameters:
    """The parameters before training."""
    return Parameters(*(problem[f"start_{group}"] for group in reference.GROUPS))


def load(backend, problem: dict):
    """Resident rows and a resident model, ready to train."""
    data = backend.load_data(rows_of(problem), problem["y"], problem.get("sample_weight"))
    return data, backend.load_model(start_of(problem), None, vector_recipe(problem["config"]))


def drive(backend, problem: dict) -> dict:
    """What an engine makes of a problem, in the reference's form."""
    data, model = load(backend, problem)
    size = problem["config"]["batch_size"]
    orders = problem["orders"]
    seen = []
    for order, rate in zip(orders, problem["config"].get("rates") or [None] * len(orders), strict=True):
        run = backend.begin(model, data, order, learning_rate=rate)
        seen.append(advance_all(backend, run, model, data, (order, size)))
    return {"scores_seen": np.array(seen), **fetch(backend, model)}


def fetch(backend, model) -> dict:
    """Parameters and state of a resident model by the names of conformance vectors."""
    parameters, state = backend.fetch_model(model)
    answer = {f"end_{group}": array for group, array in parameters.arrays().items()}
    for group in reference.GROUPS if state is not None else ():
        answer |= {f"state_{group}_{name}": array for name, array in getattr(state, group).items()}
    return answer


def assert_same_bits(got: dict, want: dict) -> None:
    """Equal names, dtypes, shapes and bits: 0 is not -0."""
    assert got.keys() == want.keys()
    for name, array in want.items():
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape), name
        np.testing.assert_array_equal(got[name], array, err_msg=name, strict=True)
        np.testing.assert_array_equal(bits(got[name]), bits(array), err_msg=f"{name}: bits")


def bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")
