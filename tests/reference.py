"""The numerics contract once more, literally: one scalar operation at a time, in the order that it states.

Shares no code with the package. Slow on purpose: what a sentence of the contract says is a line here. A problem is a
dict in the form of a conformance vector (its config parsed); so is the answer. A *coordinate* is a key such as
``("V", c, i, t)``; a row gradient is a dict of the coordinates that the row touches.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from itertools import combinations

import numpy as np

GROUPS = ("w0", "w", "V", "R")
STATE = {"sgd": (), "adagrad": ("acc",), "adam": ("m", "v"), "ftrl": ("z", "n")}


# ---- 2. Arithmetic


def power(beta: float, t: int) -> float:
    """The float64 nearest to the exact power of the float64 beta: integer division rounds once."""
    over, under = beta.as_integer_ratio()
    return over**t / under**t


@cache
def one_minus_power(beta: float, t: int) -> float:
    return 1.0 - power(beta, t)


# ---- 4. Loss gradient, in float64: Python's own floats


INVERSE_FACTORIALS = [float(Fraction(1, math.factorial(j))) for j in range(14)]


def exp(x: float) -> float:
    n = float(round(x * 1.4426950408889634))  # to even
    r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10
    p = INVERSE_FACTORIALS[13]
    for j in range(12, -1, -1):
        p = p * r
        p = p + INVERSE_FACTORIALS[j]
    return math.ldexp(p, int(n))


def sigmoid(s: float) -> float:
    e = exp(-min(abs(s), 700.0))
    return 1.0 / (1.0 + e) if s >= 0 else e / (1.0 + e)


def softmax(s: list[float]) -> list[float]:
    top = max(s)
    e = [exp(max(s_c - top, -700.0)) for s_c in s]
    total = 0.0
    for e_c in e:
        total = total + e_c
    return [e_c / total for e_c in e]


def loss_gradient(loss: str, s: list[float], y: float, eps: float) -> list[float]:
    """dL/ds of each class."""
    if loss == "squared":
        return [s[0] - y]
    if loss == "logistic":
        return [sigmoid(s[0]) - (y * (1.0 - eps) + 0.5 * eps)]
    C = len(s)
    target = [1.0 - eps if c == y else eps / (C - 1) for c in range(C)]
    return [p - t for p, t in zip(softmax(s), target, strict=True)]


# ---- 7. Update


def sign(z):
    return -1 if z < 0 else 1


class Update:
    """One rule with its hyper-parameters rounded to T."""

    def __init__(self, config: dict) -> None:
        self.T = T = np.dtype(config["dtype"]).type
        self.rule = config["optimizer"]
        self.beta = config["beta_1"], config["beta_2"]
        self.lr, self.epsilon = T(config["learning_rate"]), T(config["epsilon"])
        self.b1, self.b2 = T(self.beta[0]), T(self.beta[1])
        self.other1, self.other2 = T(1.0 - self.beta[0]), T(1.0 - self.beta[1])
        self.ftrl_beta, self.warm = T(config["ftrl_beta"]), config["ftrl_start"] == "warm"
        linear = T(config["l1_linear"]), T(config["l2_linear"])
        factors = T(config["l1_factors"]), T(config["l2_factors"])
        self.clip = None if config.get("gradient_clip") is None else T(config["gradient_clip"])
        self.penalty = {"w0": (T(0), T(0)), "w": linear, "V": factors, "R": factors}

    def start(self, group: str, theta) -> dict:
        state = {name: self.T(0) for name in STATE[self.rule]}
        if self.rule == "ftrl" and self.warm and theta != 0:
            l1, l2 = self.penalty[group]
            state["z"] = -(theta * (self.ftrl_beta / self.lr + l2) + self.T(sign(theta)) * l1)
        return state

    def step(self, group: str, theta, mean, state: dict, t: int):
        """The new theta; the state is replaced in place. t counts this batch already."""
        l1, l2 = self.penalty[group]
        if self.clip is not None and np.isfinite(mean):
            mean = min(max(mean, -self.clip), self.clip)
        if self.rule == "ftrl":
            return self.ftrl(theta, mean, state, l1, l2)
        g = mean + l2 * theta
        if self.rule == "sgd":
            return theta - self.lr * g
        if self.rule == "adagrad":
            state["acc"] = state["acc"] + g * g
            return theta - (self.lr * g) / np.sqrt(state["acc"] + self.T(1e-10))
        state["m"] = self.b1 * state["m"] + self.other1 * g
        state["v"] = self.b2 * state["v"] + (self.other2 * g) * g
        first, second = (self.T(one_minus_power(beta, t)) for beta in self.beta)
        return theta - (self.lr * (state["m"] / first)) / (np.sqrt(state["v"] / second) + self.epsilon)

    def ftrl(self, theta, g, state: dict, l1, l2):
        z, n = state["z"], state["n"]
        n_new = n + g * g
        z = z + (g - ((np.sqrt(n_new) - np.sqrt(n)) / self.lr) * theta)
        n = n_new
        state["z"], state["n"] = z, n
        if abs(z) <= l1:
            return self.T(0)
        return -(z - self.T(sign(z)) * l1) / ((self.ftrl_beta + np.sqrt(n)) / self.lr + l2)


# ---- 3, 5, 6. A model in training


class Model:
    """Coordinates with their values, state and counts."""

    def __init__(self, problem: dict) -> None:
        self.problem, self.config = problem, problem["config"]
        self.T = np.dtype(self.config["dtype"]).type
        self.update = Update(self.config)
        self.learns_R = self.config["field_weights"] == "learn"
        self.field = [int(f) for f in problem["fields"]]
        self.theta, self.state, self.count = {}, {}, {}
        for group in GROUPS:
            for index, value in np.ndenumerate(problem[f"start_{group}"]):
                self.theta[(group, *index)] = value
                held = group == "R" and not self.learns_R
                self.state[(group, *index)] = self.update.start(group, self.T(0) if held else value)

    def row(self, b: int) -> tuple[list[int], list]:
        """Features and values of one row."""
        lo, hi = (int(p) for p in self.problem["indptr"][b : b + 2])
        return [int(i) for i in self.problem["indices"][lo:hi]], [self.T(x) for x in self.problem["data"][lo:hi]]

    def slot(self, c: int, i: int, j: int) -> tuple:
        """The coordinate of r for two features."""
        f, h = self.field[i], self.field[j]
        return ("R", c, min(f, h), max(f, h))

    def pairs(self, z: int) -> list[tuple[int, int]]:
        """a ascending, then b; none without factors."""
        return list(combinations(range(z), 2)) if self.config["n_factors"] else []

    def dots(self, c: int, features: list[int]) -> dict:
        k = self.config["n_factors"]
        V = [[self.theta["V", c, i, t] for t in range(k)] for i in features]
        dots = {}
        for a, b in self.pairs(len(features)):
            d = self.T(0)
            for v_a, v_b in zip(V[a], V[b], strict=True):
                d = d + v_a * v_b
            dots[a, b] = d
        return dots

    def score(self, c: int, features: list[int], x: list, dots: dict):
        s = self.theta["w0", c]
        for i, x_p in zip(features, x, strict=True):
            s = s + self.theta["w", c, i] * x_p
        for (a, b), d in dots.items():
            s = s + ((self.theta[self.slot(c, features[a], features[b])] * d) * x[a]) * x[b]
        return s

    def row_gradient(self, b: int) -> tuple[list, dict]:
        """The row's scores, and every coordinate that it touches with its gradient."""
        features, x = self.row(b)
        dots = [self.dots(c, features) for c in range(self.config["n_classes"])]
        s = [self.score(c, features, x, d) for c, d in enumerate(dots)]
        y, eps = float(self.problem["y"][b]), self.config["label_smoothing"]
        dL = loss_gradient(self.config["loss"], [float(s_c) for s_c in s], y, eps)
        weight = self.problem.get("sample_weight")
        gradient = {}
        for c, d in enumerate(dots):
            g = self.T(dL[c] if weight is None else float(weight[b]) * dL[c])
            gradient.update(self.class_gradient(c, g, features, x, d))
        return s, gradient

    def class_gradient(self, c: int, g, features: list[int], x: list, dots: dict) -> dict:
        gradient = {("w0", c): g}
        for i, x_p in zip(features, x, strict=True):
            gradient["w", c, i] = g * x_p
        q = {}
        for (a, b), d in dots.items():
            slot = self.slot(c, features[a], features[b])
            c_ab = (g * x[a]) * x[b]
            q[a, b] = q[b, a] = c_ab * self.theta[slot]
            if self.learns_R:
                gradient[slot] = gradient.get(slot, self.T(0)) + c_ab * d
        for t in range(self.config["n_factors"]):
            V_t = [self.theta["V", c, i, t] for i in features]
            for a, i in enumerate(features):
                total = self.T(0)
                for b, v_b in enumerate(V_t):
                    if b != a:
                        total = total + q[a, b] * v_b
                gradient["V", c, i, t] = total
        return gradient

    def ordered_sum(self, gradients: list[dict]) -> dict:
        total = {}
        for gradient in gradients:
            for coordinate, value in gradient.items():
                total[coordinate] = total.get(coordinate, self.T(0)) + value
        return total

    def train_batch(self, rows: list[int]) -> list:
        """One step. Returns the scores that it began with."""
        scores, gradients = zip(*(self.row_gradient(b) for b in rows), strict=True)
        blocks = [self.ordered_sum(gradients[lo : lo + 64]) for lo in range(0, len(rows), 64)]
        touched = self.ordered_sum(blocks)
        counted = {self.counter(coordinate) for coordinate in touched}
        for counter in counted:
            self.count[counter] = self.count.get(counter, 0) + 1
        for coordinate, total in touched.items():
            mean = total / self.T(len(rows))
            group, t = coordinate[0], self.count[self.counter(coordinate)]
            new = self.update.step(group, self.theta[coordinate], mean, self.state[coordinate], t)
            assert type(new) is self.T  # nothing was widened on the way
            self.theta[coordinate] = new
        return list(scores)

    def counter(self, coordinate: tuple) -> tuple:
        """What its touches are counted under: its feature, its slot, or the bias."""
        group = coordinate[0]
        return ("bias",) if group == "w0" else ("slot", *coordinate[2:]) if group == "R" else ("feature", coordinate[2])

    def arrays(self) -> dict:
        """End parameters and state, in the form of a conformance vector."""
        answer = {}
        for group in GROUPS:
            start = self.problem[f"start_{group}"]
            for name in (*STATE[self.update.rule], *(["t"] if self.update.rule == "adam" else [])):
                answer[f"state_{group}_{name}"] = np.empty(start.shape, np.int64 if name == "t" else start.dtype)
            answer[f"end_{group}"] = np.empty_like(start)
        for coordinate in self.theta:
            group, index = coordinate[0], coordinate[1:]
            answer[f"end_{group}"][index] = self.theta[coordinate]
            for name, value in self.state[coordinate].items():
                answer[f"state_{group}_{name}"][index] = value
            if self.update.rule == "adam":
                answer[f"state_{group}_t"][index] = self.count.get(self.counter(coordinate), 0)
        return answer


def train(problem: dict) -> dict:
    """The scores that each visited row had before its batch, and parameters and state after all epochs."""
    size = problem["config"]["batch_size"]
    scores_seen = []
    with np.errstate(all="ignore"):
        model = Model(problem)
        rates = model.config.get("rates") or [model.config["learning_rate"]] * len(problem["orders"])
        for order, rate in zip(problem["orders"], rates, strict=True):
            seen, model.update.lr = [], model.T(rate)
            for lo in range(0, len(order), size):
                seen += model.train_batch([int(b) for b in order[lo : lo + size]])
            scores_seen.append(seen)
        return {"scores_seen": np.array(scores_seen, model.T), **model.arrays()}
