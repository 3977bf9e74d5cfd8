"""A field of hashed values: a fixed number of buckets, no vocabulary, and nothing that is unknown.

The bucket of a value, so that any language can find it:

1. Its text: a string is its own; an integer its decimal digits, after ``-`` where it is negative; a float that is whole
   and at most 2**53 in size is that integer (other floats are refused); a boolean ``true`` or ``false``. So 1, 1.0 and
   ``"1"`` are one value.
2. BLAKE2b (RFC 7693) of the text in UTF-8, with a digest of 8 bytes, keyed by the seed as 8 bytes, little-endian; no
   salt, no personalisation.
3. The digest as an unsigned integer, little-endian, modulo the number of buckets.
"""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from fwfm_gpu.category_field import check_unicode
from fwfm_gpu.columns import Column
from fwfm_gpu.errors import InputError
from fwfm_gpu.field_kind import NOTHING, Encoded, FieldKind
from fwfm_gpu.matrix_reader import first_true
from fwfm_gpu.parameters import Array

__all__ = ["MOST_BUCKETS", "MOST_SEED", "Collisions", "HashField", "find_bucket", "fit_hash", "make_hash"]

MOST_BUCKETS = 2**30
MOST_SEED = 2**64 - 1
MOST_EXACT = 2**53
DIGEST = 8  # bytes


@dataclass(frozen=True)
class Collisions:
    """How the values of fit fell into buckets.

    Attributes
    ----------
    values : int
        Distinct values.
    used : int
        Buckets that hold one or more of them.
    sharing : int
        Values that share their bucket with another one.
    expected : float
        How many would, on average, if buckets were drawn by chance.
    cells : int
        Values of all rows, each counted in every row that holds it.
    shared_cells : int
        Those whose bucket is shared.
    """

    values: int
    used: int
    sharing: int
    expected: float
    cells: int
    shared_cells: int

    @property
    def share(self) -> float:
        """The part of all cells whose bucket is shared."""
        return self.shared_cells / self.cells if self.cells else 0.0


@dataclass(frozen=True, eq=False)
class HashField(FieldKind):
    """A column whose values are hashed.

    Attributes
    ----------
    name : str
    n_buckets : int
        Each is a feature.
    seed : int
    missing : int
        Rows of fit without a value.
    collisions : Collisions
    """

    name: str
    n_buckets: int
    seed: int
    missing: int
    collisions: Collisions
    format: ClassVar[int] = 2
    kind: ClassVar[str] = "hashed"
    family: ClassVar[str] = "values"
    n_slots: ClassVar[int] = 1
    n_rare: ClassVar[int] = 0

    @property
    def distinct(self) -> int:
        return self.collisions.values

    @property
    def missing_feature(self) -> int:
        return self.n_buckets if self.missing else NOTHING

    @property
    def n_features(self) -> int:
        return self.n_buckets + (self.missing > 0)

    def feature_names(self) -> list[str]:
        """``user_id#0``, ``user_id#1``, ..., ``user_id missing``."""
        return [self.name_feature(i) for i in range(self.n_features)]

    def name_feature(self, feature: int) -> str:
        """Found without making all of them."""
        return f"{self.name}#{feature}" if feature < self.n_buckets else f"{self.name} missing"

    def accepts(self, column: Any) -> bool:
        """Strings, numbers and booleans are hashed alike, whichever fit saw."""
        return column.family in ("strings", "numbers", "booleans")

    def encode(self, column: Column, unknown: str) -> Encoded:
        """The bucket of each row. Nothing is unknown but what is missing."""
        buckets = np.full(len(column.missing), self.missing_feature, np.int32)
        present = ~column.missing
        if column.categories is not None:
            check_unicode(self.name, column.categories)
            buckets[present] = self._find(column.categories)[column.values[present]]
        elif present.any():
            values, positions = np.unique(column.values[present], return_inverse=True)
            buckets[present] = self._find(write_texts(column.name, values))[positions]
        unseen = None if self.missing or present.all() else column.missing
        return Encoded([buckets], [None], unseen)

    def _find(self, texts: list[str]) -> Array:
        find = make_hash(self.seed)
        return np.fromiter((find(text) % self.n_buckets for text in texts), np.int32, len(texts))

    def arrays(self) -> dict[str, Array]:
        """What a file keeps as arrays."""
        return {}

    def document(self) -> dict[str, Any]:
        """What a file keeps as JSON."""
        return {
            "kind": self.kind,
            "name": self.name,
            "n_buckets": self.n_buckets,
            "seed": self.seed,
            "missing": self.missing,
            "collisions": asdict(self.collisions),
        }

    @classmethod
    def restore(cls, arrays: dict[str, Array], document: dict[str, Any]) -> HashField:
        """The field that `document` described; ValueError, KeyError or TypeError if it is no such."""
        n_buckets, seed, missing = (operator.index(document[key]) for key in ("n_buckets", "seed", "missing"))
        if not 0 < n_buckets <= MOST_BUCKETS or not 0 <= seed <= MOST_SEED or missing < 0:
            raise ValueError("numbers of buckets, seeds and missing rows that cannot be")
        counted = Collisions(**document["collisions"])
        if any(not isinstance(count, (int, float)) or count < 0 for count in asdict(counted).values()):
            raise ValueError("counts of collisions that cannot be")
        return cls(str(document["name"]), n_buckets, seed, missing, counted)


def make_hash(seed: int) -> Callable[[str], int]:
    """The hash of a text before it is taken modulo the number of buckets."""
    keyed = hashlib.blake2b(digest_size=DIGEST, key=seed.to_bytes(8, "little"))

    def find(text: str) -> int:
        state = keyed.copy()
        state.update(text.encode())
        return int.from_bytes(state.digest(), "little")

    return find


def find_bucket(text: str, n_buckets: int, seed: int = 0) -> int:
    """The bucket of one text."""
    return make_hash(seed)(text) % n_buckets


def write_texts(name: str, values: Array) -> list[str]:
    """The text of each distinct value of a column."""
    if values.dtype == object:
        texts: list[str] = values.tolist()
        return texts
    if values.dtype == bool:
        return ["true" if value else "false" for value in values.tolist()]
    if values.dtype.kind == "f":
        bad = (values != np.trunc(values)) | (np.abs(values) > MOST_EXACT)
        if bad.any():
            raise InputError(
                f"column {name!r} must hold strings, booleans or whole numbers up to 2**53 in size to be hashed: got "
                f"{values[first_true(bad)].item()!r}. Make strings of them, or encode the column as numeric."
            )
        values = values.astype(np.int64)
    return [str(value) for value in values.tolist()]


def fit_hash(column: Column, present: tuple[Array, Array], n_buckets: int, seed: int) -> HashField:
    """A field of so many buckets, given the column's distinct values and their counts, which are not kept."""
    values, counts = present
    find = make_hash(seed)
    buckets = np.fromiter((find(text) % n_buckets for text in write_texts(column.name, values)), np.int64, len(values))
    used, positions, together = np.unique(buckets, return_inverse=True, return_counts=True)
    shared = together[positions] > 1
    alone = math.exp((len(values) - 1) * math.log1p(-1 / n_buckets)) if n_buckets > 1 else float(len(values) == 1)
    collisions = Collisions(
        len(values),
        len(used),
        int(np.count_nonzero(shared)),
        len(values) * (1 - alone),
        int(counts.sum()),
        int(counts[shared].sum()),
    )
    return HashField(column.name, n_buckets, seed, int(np.count_nonzero(column.missing)), collisions)
