"""Where the CUDA C sources lie: the checkout first, then the installed package."""

from __future__ import annotations

from pathlib import Path

from fwfm_gpu.errors import DeviceError

__all__ = ["source_folder"]


def source_folder() -> Path:
    """The folder of the CUDA C sources.

    An editable install copies the sources once and the copy goes stale, so the checkout's own ``cuda/`` wins. In
    site-packages a neighbour named ``cuda`` belongs to somebody else: only beside a ``pyproject.toml`` is it ours.

    Raises
    ------
    DeviceError
        When neither folder is there.
    """
    package = Path(__file__).parent
    checkout, packaged = package.parent / "cuda", package / "cuda"
    if checkout.is_dir() and (package.parent / "pyproject.toml").is_file():
        return checkout
    if packaged.is_dir():
        return packaged
    raise DeviceError(
        f"the CUDA C sources are missing: expected the folder {packaged} (or {checkout} in a checkout), found neither. "
        "Reinstall fwfm-gpu: its wheel ships them."
    )
