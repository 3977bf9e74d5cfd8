"""CUDA C to kernels that can be called: compiled by NVRTC, kept on disk, loaded by CuPy.

CuPy would compile as well, but appends ``-ftz=true`` to whatever it is told, and its cache does not see files that are
included (numerics 10). A binary that is loaded from a file gets no options. Compiling needs neither a GPU nor a driver.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

from fwfm_gpu.atomic_file import replace_file
from fwfm_gpu.cuda_sources import Source, Variant, read_source
from fwfm_gpu.errors import DeviceError, InputError, MissingExtraError

__all__ = ["OPTIONS", "architecture", "cache_folder", "compile_source", "load"]

OPTIONS = (
    ("--fmad=false", "a product and a sum are two roundings (numerics 2)"),
    ("--ftz=false", "subnormal float32 numbers are kept (numerics 2)"),
    ("--prec-div=true", "division is correctly rounded (numerics 2)"),
    ("--prec-sqrt=true", "so is the square root (numerics 2)"),
    ("-std=c++17", "the same C++ for every compiler that reads the sources"),
)

DIGEST_BYTES = 32  # of SHA-256, before the binary in a cached file
LOGGER = logging.getLogger("fwfm_gpu")


def compile_source(
    source: Source, variant: Variant, architecture: str, *, output: Literal["cubin", "ptx"] = "cubin"
) -> bytes:
    """Compile for one architecture.

    Parameters
    ----------
    source : Source
        With its includes joined.
    variant : Variant
        Types and number of factors.
    architecture : str
        ``"sm_90"``, or ``"compute_90"`` for PTX alone.
    output : str
        ``"cubin"``: for this architecture. ``"ptx"``: text that the driver compiles, for newer ones too.

    Raises
    ------
    DeviceError
        The compiler refused the source or was not found; its messages name our files and lines.
    MissingExtraError
        CuPy, through which the compiler is called, is not installed.
    """
    nvrtc = import_nvrtc()
    with compiled(source, list_options(variant, architecture)) as program:
        if output == "ptx":
            text: bytes = nvrtc.getPTX(program)
            return text
        # CuPy takes a cubin for a text that ends in a NUL, and leaves its last byte out: the end of the last header. In
        # memory nobody notices, because Python's bytes end in one; a file must hold it.
        binary: bytes = nvrtc.getCUBIN(program) + b"\0"
        return binary


def list_options(variant: Variant, architecture: str) -> tuple[str, ...]:
    """All that the compiler is told."""
    return f"--gpu-architecture={architecture}", *(flag for flag, _ in OPTIONS), *variant.defines


@contextmanager
def compiled(source: Source, options: tuple[str, ...]) -> Iterator[Any]:
    """NVRTC's handle of the compiled source, for as long as the context lasts."""
    nvrtc = import_nvrtc()
    program = nvrtc.createProgram(source.text, source.name, (), ())
    try:
        try:
            nvrtc.compileProgram(program, options)
        except nvrtc.NVRTCError as error:
            version = ".".join(map(str, nvrtc.getVersion()))
            raise DeviceError(
                f"{source.name} did not compile: expected NVRTC {version} to accept it with {' '.join(options)}, got "
                f"{error}:\n{nvrtc.getProgramLog(program)}\n"
                "Install another NVRTC (fwfm-gpu[cuda12] or [cuda13] brings one), or report this text."
            ) from None
        yield program
    finally:
        nvrtc.destroyProgram(program)


@cache
def import_nvrtc() -> Any:
    """CuPy's door to NVRTC, once it is known to answer."""
    try:
        from cupy.cuda import nvrtc
    except ImportError as error:
        raise MissingExtraError(
            f"the CUDA engine needs CuPy, which did not import: {error}. Install fwfm-gpu[cuda12] or fwfm-gpu[cuda13], "
            "whichever fits the driver."
        ) from error
    try:
        nvrtc.getVersion()
    except (ImportError, OSError, RuntimeError) as error:  # CuPy looks for the library at the first call
        raise DeviceError(
            f"the CUDA engine needs NVRTC, NVIDIA's runtime compiler; CuPy did not find it: {str(error).strip()}. "
            "Install fwfm-gpu[cuda12] or fwfm-gpu[cuda13], which bring it."
        ) from error
    return nvrtc


def describe_compiler() -> str:
    """NVRTC's version and the newest architecture that it knows. Raises as `import_nvrtc`."""
    nvrtc = import_nvrtc()
    version = ".".join(map(str, nvrtc.getVersion()))
    return f"compiler NVRTC {version}, for compute capability up to {max(nvrtc.getSupportedArchs()) / 10:.1f}"


def architecture(device: int) -> str:
    """What to compile for: ``"sm_90"`` for a device that NVRTC knows, else the ``"compute_XX"`` nearest below it.

    Raises
    ------
    DeviceError
        The device is older than all that NVRTC knows.
    """
    nvrtc = import_nvrtc()
    from cupy.cuda import Device

    return fit_architecture(int(Device(device).compute_capability), nvrtc.getSupportedArchs())


def fit_architecture(capability: int, supported: tuple[int, ...]) -> str:
    """``supported`` are NVRTC's; PTX for an older architecture runs on a newer device, a cubin does not."""
    if capability in supported:
        return f"sm_{capability}"
    older = [known for known in supported if known < capability]
    if not older:
        raise DeviceError(
            f"the GPU has compute capability {capability / 10:.1f}: the installed NVRTC compiles for "
            f"{min(supported) / 10:.1f} or newer. Install the extra of an older CUDA, or use another device."
        )
    return f"compute_{max(older)}"


def cache_folder() -> Path:
    """Where compiled kernels are kept, whether the folder is there yet or not.

    ``FWFM_GPU_CACHE``, else ``fwfm_gpu`` below ``XDG_CACHE_HOME``, else ``~/.cache/fwfm_gpu``.
    """
    own, shared = os.environ.get("FWFM_GPU_CACHE"), os.environ.get("XDG_CACHE_HOME", "")
    if own:
        return Path(own).absolute()
    return Path(shared if os.path.isabs(shared) else os.path.expanduser("~/.cache"), "fwfm_gpu")


def open_cache() -> Path | None:
    """The cache folder, made when it is not there; None, and a line in the log, when nothing may be kept in it.

    Who can write there can run code on the device in our name: it must be ours alone.
    """
    folder = cache_folder()
    try:
        if not folder.is_absolute():
            raise FileNotFoundError("there is no home folder")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        warn_once(f"compiled kernels are not kept: {folder} is no folder that can be used ({error})")
        return None
    if found.st_uid != os.getuid() or found.st_mode & 0o022:
        warn_once(
            f"compiled kernels are not kept: {folder} must belong to you and be writable by you alone (chmod 700)"
        )
        return None
    return folder


@cache
def warn_once(text: str) -> None:
    """Each text reaches the log once in a process."""
    LOGGER.warning("%s. Set FWFM_GPU_CACHE to a folder of your own.", text)


def fetch_binary(source: Source, variant: Variant, architecture: str) -> bytes:
    """The compiled source: from the cache when it is there and whole, else compiled, and kept."""
    output: Literal["cubin", "ptx"] = "cubin" if architecture.startswith("sm_") else "ptx"
    folder = open_cache()
    if folder is None:
        return compile_source(source, variant, architecture, output=output)
    path = folder / name_binary(source, variant, architecture)
    binary = read_binary(path)
    if binary is None:
        binary = compile_source(source, variant, architecture, output=output)
        keep_binary(path, binary)
    return binary


def name_binary(source: Source, variant: Variant, architecture: str) -> str:
    """A file name that changes with whatever may change the binary."""
    parts = (source.text, list_options(variant, architecture), tuple(import_nvrtc().getVersion()))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def read_binary(path: Path) -> bytes | None:
    """What was kept; None when there is nothing, or it is damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, binary = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    return binary if binary and hashlib.sha256(binary).digest() == digest else None


def keep_binary(path: Path, binary: bytes) -> None:
    """Put a binary into the cache, whole or not at all."""
    try:
        replace_file(path, lambda file: file.write(hashlib.sha256(binary).digest() + binary))
    except (OSError, InputError) as error:
        warn_once(f"compiled kernels are not kept: {path.parent} takes no file ({error})")


def load(name: str, variant: Variant) -> dict[str, Any]:
    """The kernels of a source on the current device, by name; compiled and loaded once.

    Parameters
    ----------
    name : str
        ``"rows.cu"``.
    variant : Variant
        Types and number of factors.

    Returns
    -------
    dict of str to cupy.RawKernel
        To be called through `fwfm_gpu.backends.kernel_arguments.Program`: CuPy checks no argument.

    Raises
    ------
    DeviceError, MissingExtraError
        As `compile_source` and `architecture`.
    """
    import_nvrtc()
    from cupy.cuda import runtime

    return load_on(name, variant, runtime.getDevice())


@cache
def load_on(name: str, variant: Variant, device: int) -> dict[str, Any]:
    """As `load`; ``device`` is the current one."""
    import cupy

    source = read_source(name)
    binary = fetch_binary(source, variant, architecture(device))
    with tempfile.TemporaryDirectory(prefix="fwfm_gpu-") as folder:  # CuPy loads from a file, and loads each kernel now
        path = Path(folder, f"{name}.bin")
        path.write_bytes(binary)
        module = cupy.RawModule(path=str(path))
        return {kernel: module.get_function(kernel) for kernel in source.kernels}
