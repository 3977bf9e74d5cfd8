"""A table that is larger than the memory one may use: made in pieces, trained on in a process that is held to a limit.

Columns are those of Criteo's click logs: 13 numbers with gaps and a long tail, 26 columns of categories, from a few to
a million, that are as skewed as words. The rows are random; clicks depend on some of them. Strings are stored as they
are, without a dictionary, about 200 bytes a row. Needs the extras ``data`` and
``cpu``::

    python docs/examples/out_of_core.py --rows 20000000

makes the Parquet file, then trains one epoch in a child process whose data segment the system limits (RLIMIT_DATA: the
heap and all private memory, files that are mapped left out), and prints what was used as JSON. A child that asks for
more dies of a MemoryError.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

NUMBERS = 13
SIZES = np.geomspace(4, 1_000_000, 26).astype(np.int64)  # distinct categories of each column, at most
AT_ONCE = 250_000
MIB = 2**20


def make_words(numbers: np.ndarray):
    """Eight hexadecimal digits for each number, as in Criteo's logs: a pyarrow array of strings."""
    import pyarrow

    digits = (numbers.astype(np.uint64) * 2654435761 % 2**32).astype(">u4").tobytes().hex().encode()
    places = np.arange(len(numbers) + 1, dtype=np.int32) * 8
    return pyarrow.StringArray.from_buffers(len(numbers), pyarrow.py_buffer(places), pyarrow.py_buffer(digits))


def make_chunk(generator: np.random.Generator, rows: int):
    """Some rows, as a pyarrow table."""
    import pyarrow

    columns: dict[str, object] = {}
    score = np.full(rows, -1.2)
    for i in range(NUMBERS):
        numbers = np.floor(generator.lognormal(1 + i / 4, 1.5, rows)).astype(np.int32)
        missing = generator.random(rows) < i / 40
        score += np.where(missing, 0.2, 0.05 * np.log1p(numbers)) * (-1) ** i
        columns[f"I{i + 1}"] = pyarrow.array(numbers, mask=missing)
    ranks = []
    for i, size in enumerate(SIZES):
        rank = np.floor(size ** generator.random(rows)).astype(np.int64)  # the n-th comes 1 / n times as often
        ranks.append(rank)
        columns[f"C{i + 1}"] = make_words(rank * 26 + i)
    score += 0.8 * ((ranks[3] % 3 == 1) ^ (ranks[9] % 2 == 0)) - 0.6 * (ranks[1] % 2 == ranks[5] % 2)
    columns["clicked"] = pyarrow.array((generator.random(rows) < 1 / (1 + np.exp(-score))).astype(np.int8))
    return pyarrow.table(columns)


def make_file(path: Path, rows: int, seed: int = 0) -> None:
    """The table, a piece at a time."""
    import pyarrow.parquet

    generator, writer = np.random.default_rng(seed), None
    for begin in range(0, rows, AT_ONCE):
        chunk = make_chunk(generator, min(AT_ONCE, rows - begin))
        if writer is None:
            writer = pyarrow.parquet.ParquetWriter(path, chunk.schema, use_dictionary=False)
        writer.write_table(chunk)
    if writer is not None:
        writer.close()


def train_within(limit: int, source: str, options: dict[str, int]) -> dict[str, float]:
    """In the child: held to so many bytes, one epoch; what it took."""
    import fwfm_gpu

    if limit:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    began = time.perf_counter()
    label = None if source.endswith(".rows") else "clicked"
    fixed = {"device": "cpu", "epochs": 1, "batch_size": 8192, "learning_rate": 0.02, "progress": False}
    model = fwfm_gpu.train(source, label=label, **fixed, **options)
    seconds = time.perf_counter() - began
    state = [*model.parameters.arrays().values(), *model.optimizer_state.as_list()]
    return {
        "seconds": round(seconds, 1),
        "epoch seconds": round(model.history[0].seconds, 1),
        "loss": model.history[0].loss,
        "features": model.parameters.n_features,
        "model MiB": round(sum(array.nbytes for array in state) / MIB, 1),
        "peak MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def run_child(limit: int, source: str, options: dict[str, int]) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--child", json.dumps([limit, source, options])]
    # Arrow's own allocator reserves far more than it uses, and the limit counts what is reserved
    environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"the child failed: {done.stderr}")
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--path", type=Path, default=Path("criteo_shaped.parquet"))
    parser.add_argument("--limit-mib", type=int, default=2048, help="of the child's private memory; 0: none")
    parser.add_argument("--shuffle-rows", type=int, default=1 << 19)
    parser.add_argument("--fit-rows", type=int, default=250_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps(train_within(*json.loads(asked.child))))
        return
    began = time.perf_counter()
    if not asked.path.exists():
        make_file(asked.path, asked.rows)
    made = time.perf_counter() - began
    options = {"shuffle_rows": asked.shuffle_rows, "fit_rows": asked.fit_rows, "n_threads": asked.threads}
    found = run_child(asked.limit_mib * MIB, str(asked.path), options)
    size = round(asked.path.stat().st_size / MIB, 1)
    print(
        json.dumps(
            {"rows": asked.rows, "file MiB": size, "limit MiB": asked.limit_mib, "made in": round(made), **found}
        )
    )


if __name__ == "__main__":
    main()
