"""The GPU check: tests on the device, then our engine against PyTorch on the same card. From the root of the checkout::

    make gpu-check
    make gpu-peers SHAPE=criteo BATCH=65536

Needs a Python with NumPy, SciPy, CuPy and pytest; PyTorch is compared with where it is there. No network, nothing is
installed.
"""

from __future__ import annotations
