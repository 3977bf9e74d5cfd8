"""Writing a model file: the former one is never lost, and a new one comes where it should."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_bytes import POSIX, write_small

from fwfm_gpu import atomic_file, model_file
from fwfm_gpu.errors import InputError
from fwfm_gpu.model_file import read_file, write_file


@pytest.fixture
def small(path):
    return write_small(path)


# The former file is never lost


class Faults:
    """Counts the steps of a write and raises at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail_at: int, error: BaseException) -> None:
        self.fail_at, self.error, self.steps = fail_at, error, []
        for name in ("open", "chmod", "fsync", "replace"):
            monkeypatch.setattr(os, name, self.watched(name, getattr(os, name)))
        faults = self

        class File(io.BufferedWriter):
            def write(self, content):
                faults.step("write")
                return super().write(content)

            def seek(self, *place):
                faults.step("seek")
                return super().seek(*place)

            def flush(self):
                faults.step("flush")
                super().flush()

        def open_file(path, mode, opener):
            return File(io.FileIO(path, mode, opener=opener))

        monkeypatch.setattr(atomic_file, "open", open_file, raising=False)

    def step(self, name: str) -> None:
        self.steps.append(name)
        if len(self.steps) == self.fail_at:
            raise self.error

    def watched(self, name: str, function: Any) -> Any:
        def call(*args, **keywords):
            self.step(name)
            return function(*args, **keywords)

        return call


STEPS = ["open", "chmod", "write", "write", "write", "seek", "write", "flush", "fsync", "flush", "replace"]


@POSIX
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), MemoryError()], ids=repr)
@pytest.mark.parametrize("fail_at", range(1, len(STEPS) + 1), ids=lambda at: f"{at}-{STEPS[at - 1]}")
def test_a_failure_at_any_step_leaves_the_former_file(tmp_path, path, monkeypatch, small, fail_at, error):
    with monkeypatch.context() as patch:
        faults = Faults(patch, fail_at, error)
        with pytest.raises(type(error)) as caught:
            write_file(path, {"V": np.ones(100_000), "w": np.ones(3)}, {})
    assert caught.value is error
    assert faults.steps[:fail_at] == STEPS[:fail_at]
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_bytes() == small


@POSIX
def test_the_directory_is_synced_last(tmp_path, path, monkeypatch, small):
    with monkeypatch.context() as patch:
        faults = Faults(patch, 0, OSError())
        write_file(path, {"V": np.ones(100_000), "w": np.ones(3)}, {})
    assert faults.steps == [*STEPS, "open", "fsync"]
    for at, code in itertools.product((len(STEPS) + 1, len(STEPS) + 2), (errno.EACCES, errno.EINVAL, errno.EIO)):
        raises = pytest.raises(OSError, match="broken") if code == errno.EIO else contextlib.nullcontext()
        with monkeypatch.context() as patch, raises:
            Faults(patch, at, OSError(code, "broken"))
            write_file(path, {"V": np.ones(100_000), "w": np.ones(3)}, {"at": at, "code": code})
        assert read_file(path)[1] == {"at": at, "code": code, "format_version": 1}  # it was already in place
        assert os.listdir(tmp_path) == [path.name]


@POSIX
def test_ctrl_c_on_any_line_leaves_one_whole_file(tmp_path, path, monkeypatch, small):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    write_file(path, {"V": np.ones(3)}, {})
    new = path.read_bytes()
    outcomes = []
    for last in itertools.count(1):
        path.write_bytes(small)
        done = interrupted_write(last, path)
        assert os.listdir(tmp_path) == [path.name], f"line {last}"
        outcomes.append(path.read_bytes())
        if done:
            break
    switch = outcomes.index(new)
    assert outcomes == [small] * switch + [new] * (len(outcomes) - switch)
    assert switch > 30  # lines before the file was replaced


def interrupted_write(last: int, path: Path) -> bool:
    """Write until the given line of the two modules, counted as executed; True when the end came first."""
    lines = itertools.count(1)

    def trace(frame, event, arg):
        if frame.f_code.co_filename not in (model_file.__file__, atomic_file.__file__):
            return None
        if event == "line" and next(lines) == last:
            raise KeyboardInterrupt
        return trace

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        write_file(path, {"V": np.ones(3)}, {})
    except KeyboardInterrupt:
        return False
    finally:
        sys.settrace(former)
    return True


def test_a_full_disk_leaves_the_former_file(tmp_path, path, small):
    resource = pytest.importorskip("resource", reason="the system has no limit on file sizes")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            write_file(path, {"V": np.ones(100_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_bytes() == small


# Paths and permissions


@pytest.fixture
def umask_027():
    former = os.umask(0o027)
    yield
    os.umask(former)


def mode(path: Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


@POSIX
@pytest.mark.usefixtures("umask_027")
def test_a_new_file_has_the_mode_of_the_umask(path):
    write_file(path, {}, {})
    assert mode(path) == 0o640


@POSIX
@pytest.mark.usefixtures("umask_027")
@pytest.mark.parametrize("former", [0o600, 0o664, 0o444])
def test_the_mode_of_a_former_file_is_kept(path, former):
    path.write_bytes(b"former")
    path.chmod(former)
    write_file(path, {}, {})
    assert mode(path) == former
    assert read_file(path) == ({}, {"format_version": 1})


@POSIX
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_written_through(tmp_path, exists):
    (tmp_path / "store").mkdir()
    target, link = tmp_path / "store" / "target", tmp_path / "link"
    if exists:
        target.write_bytes(b"former")
    link.symlink_to(Path("store") / "target")
    write_file(link, {}, {"a": 1})
    assert link.is_symlink()
    assert read_file(target)[1]["a"] == 1
    assert os.listdir(tmp_path / "store") == ["target"]


@POSIX
def test_a_ring_of_links_is_an_error_of_the_system(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OSError, match="symbolic links"):
        write_file(tmp_path / "a", {}, {})
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    assert (tmp_path / "a").is_symlink()


def test_a_path_without_its_directory(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_file(tmp_path / "missing" / "model", {}, {})
    assert os.listdir(tmp_path) == []


def test_a_directory_as_the_path(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_file(tmp_path / "folder", {}, {})
    assert os.listdir(tmp_path) == ["folder"]


@POSIX
def test_a_pipe_as_the_path(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="regular file"):
        write_file(tmp_path / "pipe", {}, {})
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_path_of_this_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_file("model", {}, {"a": 1})
    assert read_file("model")[1]["a"] == 1


@pytest.mark.parametrize("path", [1, None])
def test_a_number_is_no_path(path):
    with pytest.raises(TypeError):
        write_file(path, {}, {})
    with pytest.raises(TypeError):
        read_file(path)
