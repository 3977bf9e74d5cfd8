"""What a card is called, and what it can do in a second."""

from __future__ import annotations

import platform
import subprocess
from typing import Any

import numpy as np
import scipy

from fwfm_gpu.version import __version__

LANES = {(7, 0): 64, (7, 2): 64, (7, 5): 64, (8, 0): 64}  # of float32 in a multiprocessor; 128 in all others
COPIED = 1 << 30  # bytes, many times any cache
COPIES = 20


def describe_card(device: str) -> dict[str, Any]:
    """Name, size and rates; a device without a card has a name alone."""
    if not device.startswith("cuda"):
        return {"name": device, "operations_per_s": None, "copy_bytes_per_s": None}
    import cupy

    number = int(device.partition(":")[2] or 0)
    cupy.cuda.Device(number).use()
    runtime = cupy.cuda.runtime
    about = runtime.getDeviceProperties(number)
    count, kilohertz = about["multiProcessorCount"], runtime.deviceGetAttribute(runtime.cudaDevAttrClockRate, number)
    lanes = LANES.get((about["major"], about["minor"]), 128)
    return {
        "name": about["name"].decode(),
        "compute_capability": f"{about['major']}.{about['minor']}",
        "memory_bytes": about["totalGlobalMem"],
        "multiprocessors": count,
        "clock_mhz": kilohertz // 1000,
        "driver": driver_version(number),
        "operations_per_s": count * lanes * kilohertz * 1000,
        "copy_bytes_per_s": copy_bandwidth(),
    }


def copy_bandwidth() -> int:
    """Bytes read and written in a second by copies on the device."""
    import cupy

    source, target = (cupy.zeros(COPIED, cupy.uint8) for _ in range(2))
    began, ended = cupy.cuda.Event(), cupy.cuda.Event()
    target.data.copy_from_device(source.data, COPIED)
    began.record()
    for _ in range(COPIES):
        target.data.copy_from_device_async(source.data, COPIED, cupy.cuda.get_current_stream())
    ended.record()
    ended.synchronize()
    return round(2 * COPIED * COPIES / (cupy.cuda.get_elapsed_time(began, ended) / 1000))


def driver_version(number: int) -> str | None:
    """As ``nvidia-smi`` says it; None where it is not there."""
    command = ["nvidia-smi", f"--id={number}", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def describe_versions(device: str) -> dict[str, str | None]:
    """What the figures were measured with."""
    versions = {"fwfm_gpu": __version__, "python": platform.python_version()}
    versions |= {"numpy": np.__version__, "scipy": scipy.__version__}
    if device.startswith("cuda"):
        import cupy

        versions |= {"cupy": cupy.__version__, "cuda": str(cupy.cuda.runtime.runtimeGetVersion())}
    return versions
