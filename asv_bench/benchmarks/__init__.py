"""Benchmarks of fwfm_gpu, for airspeed velocity. From the root of the checkout, on what is installed::

    asv machine --config asv_bench/asv.conf.json --yes
    asv run --config asv_bench/asv.conf.json --quick --python=same

An engine that is not installed is skipped; one that is installed and fails, fails.
"""

from __future__ import annotations
