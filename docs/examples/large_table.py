"""A table too large to be encoded at once: chunk by chunk, in bounded memory.

    python docs/examples/large_table.py --rows 10000000

Makes chunks of 14 mixed columns, fits an encoder on the first, encodes all, keeps every encoded row, and prints the
peak memory of the process (the unit of ru_maxrss is that of Linux).
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

import fwfm_gpu

CATEGORIES = (2, 5, 7, 9, 16, 42, 1000)


def make_chunk(number: int, rows: int) -> dict[str, np.ndarray]:
    """Seven columns of strings, four of integers, three of floats with missing values."""
    generator = np.random.default_rng(number)
    table: dict[str, np.ndarray] = {}
    for i, count in enumerate(CATEGORIES):
        table[f"string {i}"] = np.array([f"category {c}" for c in range(count)], object)[
            generator.integers(0, count, rows)
        ]
    for i, count in enumerate((10, 40, 100, 5000)):
        table[f"integer {i}"] = generator.integers(0, count, rows)
    for i in range(3):
        table[f"float {i}"] = np.where(generator.random(rows) < 0.1, np.nan, generator.normal(size=rows))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--chunk", type=int, default=500_000)
    arguments = parser.parse_args()
    encoder, kept, seconds, cells = fwfm_gpu.FieldEncoder(), [], 0.0, 0
    for number in range(-(-arguments.rows // arguments.chunk)):
        table = make_chunk(number, min(arguments.chunk, arguments.rows - number * arguments.chunk))
        if number == 0:
            encoder.fit(table)
        began = time.process_time()
        kept.append(encoder.transform(table))
        seconds += time.process_time() - began
        cells += sum(len(column) for column in table.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{sum(rows.n_rows for rows in kept):,} rows encoded, {cells / seconds / 1e6:.1f} million cells per second")
    print(f"peak memory of the process: {peak / 2**30:.2f} GiB")


if __name__ == "__main__":
    main()
