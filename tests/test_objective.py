"""The model as mathematics: derivatives, collapse to simpler models, the flat update, and learning interactions.

Formulas here are written anew, with whatever NumPy offers.
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from engine_data import Spec, bits, drive, fetch, load, make_problem, rows_of, start_of

import fwfm_gpu

GROUPS = ("w0", "w", "V", "R")


# ---- derivatives of the whole objective


def dense(problem: dict) -> np.ndarray:
    """X, (rows, n)."""
    return rows_of(problem).to_csr().toarray()


def scores(theta: dict, X: np.ndarray, fields: np.ndarray) -> np.ndarray:
    """s = w0 + Xw + sum over i < j of r_ij <v_i, v_j> x_i x_j, (rows, C)."""
    low, high = np.minimum.outer(fields, fields), np.maximum.outer(fields, fields)
    s_cb = []
    for w0, w, V, R in zip(*(theta[group] for group in GROUPS), strict=True):
        pair_weights = np.triu(R[low, high] * (V @ V.T), 1)
        s_cb.append(w0 + X @ w + np.einsum("bi,ij,bj->b", X, pair_weights, X))
    return np.stack(s_cb, axis=1)


def losses(loss: str, s: np.ndarray, y: np.ndarray, eps: float) -> np.ndarray:
    """L of each row."""
    if loss == "squared":
        return (s[:, 0] - y) ** 2 / 2
    if loss == "logistic":
        p, target = 1 / (1 + np.exp(-s[:, 0])), (1 - eps) * y + eps / 2
        return -target * np.log(p) - (1 - target) * np.log(1 - p)
    p = np.exp(s) / np.exp(s).sum(axis=1, keepdims=True)
    target = np.where(y[:, None] == np.arange(s.shape[1]), 1 - eps, eps / (s.shape[1] - 1))
    return -(target * np.log(p)).sum(axis=1)


def objective(problem: dict, theta: dict) -> float:
    """Mean weighted loss, plus l2 / 2 times the squares of w, V and R."""
    config = problem["config"]
    L = losses(
        config["loss"], scores(theta, dense(problem), problem["fields"]), problem["y"], config["label_smoothing"]
    )
    penalty = config["l2_linear"] * np.sum(theta["w"] ** 2)
    penalty += config["l2_factors"] * (np.sum(theta["V"] ** 2) + np.sum(theta["R"] ** 2))
    return np.mean(problem.get("sample_weight", 1) * L) + penalty / 2


def numeric_derivative(problem: dict, group: str, index: tuple, h: float = 1e-3) -> float:
    """Central differences of fourth order."""

    def at(step: float) -> float:
        theta = {name: problem[f"start_{name}"].copy() for name in GROUPS}
        theta[group][index] += step
        return objective(problem, theta)

    return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)


def derivative_problem(**changes) -> dict:
    """One batch, weighted, with a penalty, and no parameter at 0."""
    problem = make_problem(Spec(rule="sgd", dtype="float64", rows=70, batch_size=70, weighted=True, **changes))
    generator = np.random.default_rng(4)
    for group in GROUPS:
        start = problem[f"start_{group}"]
        start[:] = generator.uniform(0.2, 0.8, start.shape) * generator.choice([-1, 1], start.shape)
    problem["config"] |= {"learning_rate": 1.0, "l2_linear": 0.3, "l2_factors": 0.2}
    return problem


@pytest.mark.parametrize("k", [3, 0])
@pytest.mark.parametrize("pattern", ["alike", "alike-repeated", "ragged", "ragged-repeated", "short"])
@pytest.mark.parametrize(
    ("loss", "n_classes", "eps"),
    [("logistic", 1, 0.0), ("logistic", 1, 0.1), ("squared", 1, 0.0), ("softmax", 3, 0.0), ("softmax", 3, 0.1)],
)
def test_a_step_follows_the_derivative_of_the_objective(backend, loss, n_classes, eps, pattern, k):
    problem = derivative_problem(pattern=pattern, loss=loss, n_classes=n_classes, label_smoothing=eps, k=k)
    data, model = load(backend, problem)
    backend.advance(backend.begin(model, data, np.arange(len(problem["y"]))), 1)
    end, compared = fetch(backend, model), 0
    for group in GROUPS:
        start = problem[f"start_{group}"]
        g = start - end[f"end_{group}"]  # the learning rate is 1
        for index in zip(*np.nonzero(g), strict=True):
            numeric = numeric_derivative(problem, group, index)
            assert abs(g[index] - numeric) <= 1e-6 * abs(numeric), (group, index)
            compared += 1
    assert compared == n_classes * touched_coordinates(problem)


def touched_coordinates(problem: dict) -> int:
    """How many coordinates of one class the rows touch."""
    X, fields, k = dense(problem) != 0, problem["fields"], problem["config"]["n_factors"]
    slots = set()
    for row in X if k else []:
        held = fields[row]
        slots |= {(min(f, h), max(f, h)) for a, f in enumerate(held) for h in held[a + 1 :]}
    return 1 + int(X.any(axis=0).sum()) * (1 + k) + len(slots)


# ---- collapse


@pytest.mark.parametrize("k", [0, 1, 3, 16])
@pytest.mark.parametrize("pattern", ["alike", "ragged", "ragged-repeated", "short", "empty"])
def test_with_r_of_one_the_model_is_a_factorization_machine(backend, pattern, k):
    problem = make_problem(Spec(pattern=pattern, dtype="float64", k=k))
    problem["start_R"][:] = 1
    X, w, V = dense(problem), problem["start_w"][0], problem["start_V"][0]
    want = problem["start_w0"] + X @ w + ((X @ V) ** 2 - X**2 @ V**2).sum(axis=1) / 2  # O(n k)
    got = backend.score(backend.load_model(start_of(problem)), backend.load_data(rows_of(problem)))
    np.testing.assert_allclose(got[:, 0], want, rtol=0, atol=1e-12)


def test_a_fresh_model_is_a_factorization_machine():
    rows = rows_of(make_problem(Spec(dtype="float64")))
    y = np.arange(rows.n_rows) % 2
    model = fwfm_gpu.train(rows, y, epochs=0, init_scale=0.5, dtype="float64", progress=False)
    X, V = rows.to_csr().toarray(), model.parameters.V[0]
    want = ((X @ V) ** 2 - X**2 @ V**2).sum(axis=1) / 2
    assert np.ptp(want) > 1
    np.testing.assert_allclose(model.decision_function(rows), want, rtol=0, atol=1e-12)


def test_without_factors_r_is_never_touched(backend):
    problem = make_problem(Spec(k=0, rule="adam"))
    end = drive(backend, problem)
    np.testing.assert_array_equal(end["end_R"], problem["start_R"])
    assert not end["state_R_t"].any()


# ---- the flat update of one row after another (numerics 9)


def flat_gradients(theta: dict, features: list[int], x: list[float], fields: np.ndarray, y: float) -> dict:
    """The squared loss of one row: (group, index) -> gradient."""
    w, V, R = theta["w"], theta["V"], theta["R"]
    pairs = {}  # positions -> slot of R, <v_a, v_b>
    s = theta["w0"][0]
    for i, x_i in zip(features, x, strict=True):
        s += w[i] * x_i
    for a, b in combinations(range(len(x)), 2):
        slot = tuple(sorted((int(fields[features[a]]), int(fields[features[b]]))))
        d = 0.0
        for v_a, v_b in zip(V[features[a]], V[features[b]], strict=True):
            d += v_a * v_b
        pairs[a, b] = slot, d
        s += R[slot] * d * x[a] * x[b]
    g = s - y
    gradients = {("w0", (0,)): g} | {("w", (i,)): g * x_i for i, x_i in zip(features, x, strict=True)}
    gradients |= {("V", (i, t)): 0.0 for i in features for t in range(V.shape[1])}
    for a, i in enumerate(features):
        for b, j in enumerate(features):
            if a != b:
                low, high = min(a, b), max(a, b)
                q = g * x[low] * x[high] * R[pairs[low, high][0]]
                for t in range(V.shape[1]):
                    gradients["V", (i, t)] += q * V[j, t]
    for (a, b), (slot, d) in pairs.items():
        gradients["R", slot] = gradients.get(("R", slot), 0.0) + g * x[a] * x[b] * d
    return gradients


def flat_adagrad(theta: float, gradient: float, state: list[float], config: dict, l1: float, l2: float) -> float:
    g = gradient + l2 * theta
    state[0] += g * g
    return theta - config["learning_rate"] * g / math.sqrt(state[0] + 1e-10)


def flat_ftrl(theta: float, g: float, state: list[float], config: dict, l1: float, l2: float) -> float:
    rate, before = config["learning_rate"], math.sqrt(state[0])
    state[0] += g * g
    state[1] += g - (math.sqrt(state[0]) - before) / rate * theta
    if abs(state[1]) <= l1:
        return 0.0
    return -(state[1] - math.copysign(l1, state[1])) / ((config["ftrl_beta"] + math.sqrt(state[0])) / rate + l2)


@pytest.mark.parametrize(("rule", "update"), [("adagrad", flat_adagrad), ("ftrl", flat_ftrl)])
@pytest.mark.parametrize("pattern", ["alike", "ragged-repeated"])
def test_batches_of_one_row_are_the_flat_update(backend, pattern, rule, update):
    spec = Spec(
        pattern=pattern, loss="squared", rule=rule, dtype="float64", batch_size=1, rows=60, ftrl_start="zero", seed=3
    )
    problem = make_problem(spec)
    rows, config, state = rows_of(problem), problem["config"], {}
    theta = {group: problem[f"start_{group}"][0].copy() for group in GROUPS[1:]} | {"w0": problem["start_w0"].copy()}
    for b in problem["orders"].reshape(-1):
        items = slice(rows.indptr[b], rows.indptr[b + 1])
        features, x = rows.indices[items].tolist(), rows.values[items].tolist()
        for (group, index), g in flat_gradients(theta, features, x, rows.fields, problem["y"][b]).items():
            name = {"w0": None, "w": "linear"}.get(group, "factors")
            l1, l2 = (config[f"{norm}_{name}"] if name else 0.0 for norm in ("l1", "l2"))
            remembered = state.setdefault((group, index), [0.0, 0.0])
            theta[group][index] = update(theta[group][index], g, remembered, config, l1, l2)
    end = drive(backend, problem)
    for group in GROUPS:
        got = end[f"end_{group}"] if group == "w0" else end[f"end_{group}"][0]
        np.testing.assert_array_equal(bits(got), bits(theta[group]))


# ---- learning nothing but interactions


@pytest.fixture(scope="module")
def planted():
    """Rows and labels: of two ids, each with a hidden sign, the product decides. No id alone says anything."""
    generator, sizes = np.random.default_rng(0), [20, 20, 10, 10]
    ids = np.stack([generator.integers(size, size=6000) for size in sizes], axis=1)
    first, second = (generator.permutation(np.repeat([-1, 1], 10)) for _ in range(2))
    y = first[ids[:, 0]] * second[ids[:, 1]] > 0
    return fwfm_gpu.FieldMatrix.from_ids(ids, sizes), y


def held_out_auc(planted, **options) -> float:
    """Train on 4,000 rows; on the others, how often a positive row scores above a negative one."""
    rows, y = planted
    train, test = np.arange(4000), np.arange(4000, 6000)
    model = fwfm_gpu.train(rows.take(train), y[train], batch_size=100, progress=False, **options)
    s = model.decision_function(rows.take(test))
    return np.mean(s[y[test]][:, None] > s[~y[test]])


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("rule", "rate"), [("sgd", 2.0), ("adagrad", 0.1), ("adam", 0.01), ("ftrl", 1.0)])
def test_each_rule_learns_interactions(planted, rule, rate, seed):
    assert held_out_auc(planted, optimizer=rule, learning_rate=rate, n_factors=4, seed=seed) >= 0.85


@pytest.mark.parametrize(
    "options",
    [{"n_factors": 0}, {"n_factors": 4, "optimizer": "ftrl", "ftrl_start": "zero", "learning_rate": 1.0}],
    ids=["linear", "ftrl from zero"],
)
def test_nothing_is_learned_without_interactions(planted, options):
    assert held_out_auc(planted, **options) < 0.6
