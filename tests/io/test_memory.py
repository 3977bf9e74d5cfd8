from __future__ import annotations

import sys
import tracemalloc

import numpy as np
import pytest

from fwfm_gpu.io import iterate_libffm, read_libffm

PER_VALUE = 24  # bytes beside the result
WORKING_SPACE = 24e6  # of iterate, however long the file is


def lines(kind):
    """About 2000 rows of 39 features."""
    rng = np.random.default_rng(0)
    for _ in range(2000):
        fields = np.arange(39) if kind != "unsorted" else rng.permutation(39)
        ids = (rng.integers(0, 20000, 39) + fields * 20000).tolist()
        values = ["1"] * 39 if kind in ("ones", "split") else [f"{value:.4f}" for value in rng.normal(size=39)]
        entries = zip(fields.tolist(), ids, values, strict=True)
        yield ("1 " + " ".join(f"{field}:{i}:{value}" for field, i, value in entries) + "\n").encode()


def big(kind, folder):
    """A file of 2.3 million values, and the options to read it with."""
    path = folder / "rows.ffm"
    path.write_bytes(b"".join(lines(kind)) * 30)
    return path, {"shared_ids": "split"} if kind == "split" else {}


def peak(function):
    """The most memory that the function held, in bytes, and its result."""
    tracemalloc.start()
    try:
        result = function()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["ones", "real", "unsorted", "split"])
def test_reading_holds_little_beside_the_result(kind, tmp_path):
    path, options = big(kind, tmp_path)
    most, (rows, y) = peak(lambda: read_libffm(path, **options))
    arrays = (rows.indptr, rows.indices, rows.fields, y, *(() if rows.all_ones else (rows.values,)))
    names = rows.feature_names or ()
    result = sum(array.nbytes for array in arrays) + sys.getsizeof(names) + sum(map(sys.getsizeof, names))
    assert rows.nnz > 2_300_000
    assert most - result <= PER_VALUE * rows.nnz


def test_iterating_does_not_grow_with_the_file(tmp_path):
    path, _ = big("real", tmp_path)
    most, rows = peak(lambda: sum(len(y) for _, y in iterate_libffm(path, rows_per_chunk=1000)))
    assert rows == 60000
    assert most <= WORKING_SPACE
