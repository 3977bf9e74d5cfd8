"""Tables to encode."""

from __future__ import annotations

import numpy as np

TABLE = {
    "city": ["Rome", "Paris", "Rome", None, "Oslo", "Paris"],
    "age": [31.0, 28.0, np.nan, 60.0, 31.0, 45.0],
    "rooms": [3, 1, 2, 2, 3, 1],
    "member": [True, False, True, True, False, True],
}
SEEN = {"x": ["a", "a", "b"], "y": ["c", "c", "c"]}  # only x has a rare category
ASKED = {"x": ["z", "b", "a"], "y": ["c", "z", None]}


def make_table(rows=300, seed=0):
    """Columns of every kind, with skew, rare categories and missing values."""
    rng = np.random.default_rng(seed)
    city = rng.choice(np.array([f"city {i}" for i in range(40)], dtype=object), rows, p=1 / 2 ** np.r_[1:40, 39])
    city[rng.random(rows) < 0.1] = None
    age = rng.normal(40, 10, rows).round(1)
    age[rng.random(rows) < 0.1] = np.nan
    gain = np.where(rng.random(rows) < 0.8, 0, rng.integers(1, 10_000, rows))
    return {"city": city, "age": age, "gain": gain, "rooms": rng.integers(1, 6, rows), "member": rng.random(rows) < 0.5}


def take(table, rows):
    return {name: np.asarray(column)[rows] for name, column in table.items()}


def names_of(rows):
    """Per row its features by name, with the value where it is not 1."""
    names, table = rows.feature_names, []
    for start, end in zip(rows.indptr[:-1], rows.indptr[1:], strict=True):
        cells = zip(rows.indices[start:end].tolist(), rows.values[start:end].tolist(), strict=True)
        table.append([names[i] if value == 1 else (names[i], value) for i, value in cells])
    return table
