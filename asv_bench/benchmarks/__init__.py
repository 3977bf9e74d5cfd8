"""Benchmarks of fwfm_gpu, for airspeed velocity. From the root of the checkout, on what is installed::

    asv machine --config asv_bench/asv.conf.json --yes
    asv run --config asv_bench/asv.conf.json --quick --python=same

An engine that is not installed is skipped; one that is installed and fails, fails. To compare two commits, run each
with ``--set-commit-hash`` (or leave ``--python=same`` out, so that asv builds both), then::

    asv compare --config asv_bench/asv.conf.json COMMIT COMMIT
    asv publish --config asv_bench/asv.conf.json

asv takes the larger number for the worse one, so a rate that rises is shown as a regression. No step needs a network,
but the published page does: it loads jQuery, Flot and Bootstrap from where they are hosted.
"""

from __future__ import annotations
