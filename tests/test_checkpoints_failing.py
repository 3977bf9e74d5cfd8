"""When a checkpoint cannot be written: a clear error, the former ones intact, and nothing that was learned is lost."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from functools import partial

import pytest
from small_models import bits, make_rows, scripted
from small_models import train as train_anywhere

import fwfm_gpu
from fwfm_gpu import Callback, model_file
from fwfm_gpu.errors import CheckpointError

X, y = make_rows()
train = partial(train_anywhere, X, y, device="numpy", epochs=3)


@pytest.fixture
def place(tmp_path):
    return str(tmp_path / "checkpoints")


def contents(directory):
    """Every file of a directory by name."""
    found = {}
    for name in sorted(os.listdir(directory)):
        with open(os.path.join(directory, name), "rb") as file:
            found[name] = file.read()
    return found


class After(Callback):
    """Do something once, after an epoch."""

    def __init__(self, epoch, do):
        self.epoch, self.do = epoch, do

    def on_epoch(self, status):
        if status.epoch == self.epoch:
            self.do()


class FullDisk:
    """A disk that takes some files whole, and of each one after that a part."""

    def __init__(self, monkeypatch, files):
        self.left, self.write = files, model_file.write_content
        monkeypatch.setattr(model_file, "write_content", self)

    def __call__(self, file, *given):
        self.left -= 1
        if self.left < 0:
            file.write(b"a part")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.write(file, *given)


def test_a_full_disk(place, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        FullDisk(patch, files=7)
        with pytest.raises(CheckpointError, match=r"could not be written to '.*checkpoints': No space left") as caught:
            train(checkpoint=place, checkpoint_every=2)
    error = caught.value
    assert error.errno == errno.ENOSPC
    assert isinstance(error, OSError)
    assert (error.model.trained.position.epochs, error.model.trained.position.batches) == (2, 4)
    assert list(contents(place)) == ["checkpoint-00000006.fwfm", "checkpoint-00000007.fwfm"]
    error.model.save(tmp_path / "elsewhere.fwfm")
    saved = fwfm_gpu.load(tmp_path / "elsewhere.fwfm", device="numpy")
    assert bits(saved.continue_training(X, y, epochs=1, progress=False)) == bits(train())
    assert bits(train(checkpoint=place, resume=place)) == bits(train())  # when there is room again


def test_former_checkpoints_are_intact_to_the_byte(place, monkeypatch):
    before = {}

    def fill():
        before.update(contents(place))
        FullDisk(monkeypatch, files=0)

    with pytest.raises(CheckpointError, match="Former checkpoints are as they were"):
        train(checkpoint=place, checkpoint_every=5, callbacks=[After(2, fill)])
    assert contents(place) == before
    assert len(before) == 2


@pytest.mark.skipif(os.name != "posix", reason="no limits on the size of files there")
def test_a_limit_on_the_size_of_files(place):
    import resource

    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, former[1]))
    try:
        with pytest.raises(CheckpointError, match="File too large") as caught:
            train(checkpoint=place)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert caught.value.errno == errno.EFBIG
    assert contents(place) == {}
    assert len(caught.value.model.history) == 1


@pytest.mark.parametrize("refused", ["open", "fsync", "replace"])
def test_a_system_that_refuses_in_the_midst(refused, place, monkeypatch):
    def refuse(*given, **named):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def begin_to_refuse():
        monkeypatch.setattr(os, refused, refuse)

    with pytest.raises(CheckpointError, match=r"could not be written to .*: Permission denied") as caught:
        train(checkpoint=place, callbacks=[After(2, begin_to_refuse)])
    monkeypatch.undo()
    assert caught.value.errno == errno.EACCES
    assert caught.value.model.best_epoch == 2
    assert list(contents(place)) == ["checkpoint-00000001.fwfm"]
    assert bits(train(checkpoint=place, resume=place)) == bits(train())


def test_the_directory_is_gone(place):
    with pytest.raises(CheckpointError, match=r"could not be written to .*: the directory is gone") as caught:
        train(checkpoint=place, callbacks=[After(2, lambda: shutil.rmtree(place))])
    model = caught.value.model
    assert model.best_epoch == 2
    assert bits(model.continue_training(X, y, epochs=1, progress=False)) == bits(train())


def test_when_the_last_one_fails_the_model_is_the_one_that_train_gives(place, monkeypatch):
    options = {"epochs": 4, "patience": 9, "eval_set": (X, y), "checkpoint_every": 1000}
    want = train(eval_metric=scripted([5, 3, 4, 4]), **{**options, "checkpoint_every": None})
    FullDisk(monkeypatch, files=0)
    with pytest.raises(CheckpointError) as caught:
        train(eval_metric=scripted([5, 3, 4, 4]), checkpoint=place, **options)
    assert caught.value.model.best_epoch == want.best_epoch == 2
    assert bits(caught.value.model) == bits(want)


# before training


class Never(Callback):
    def on_begin(self, status):
        raise AssertionError("training began")


def test_a_file_is_no_directory(tmp_path):
    path = tmp_path / "taken"
    path.write_text("mine")
    for name in (path, path / "below"):
        with pytest.raises(CheckpointError, match=r"no checkpoint can be written to .*Name a directory") as caught:
            train(checkpoint=name, callbacks=[Never()])
        assert caught.value.model is None
    with pytest.raises(CheckpointError, match=r"no checkpoint can be read from .*: it is not a directory"):
        train(resume=path, callbacks=[Never()])
    assert path.read_text() == "mine"


@pytest.mark.parametrize("refused", ["makedirs", "open"])
def test_a_directory_that_cannot_be_made_or_written(refused, place, monkeypatch):
    def refuse(*given, **named):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, refused, refuse)
    with pytest.raises(CheckpointError, match=r"no checkpoint can be written to .*: Permission denied"):
        train(checkpoint=place, callbacks=[Never()])


def test_a_checkpoint_that_cannot_be_read_is_not_passed_over(place, monkeypatch):
    train(checkpoint=place)

    def refuse(*given):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("fwfm_gpu.checkpoints.read_file", refuse)
    with pytest.raises(CheckpointError, match=r"checkpoint-00000003\.fwfm' cannot be read: Permission denied"):
        train(resume=place, callbacks=[Never()])


def test_files_of_others_are_left_alone(place):
    os.makedirs(place)
    for name in ("notes.txt", "checkpoint-1.fwfm", "checkpoint-00000009.fwfm.bak", "model.fwfm.0123456789abcdef.tmp"):
        with open(os.path.join(place, name), "w") as file:
            file.write("mine")
    before = contents(place)
    train(checkpoint=place)
    assert before.items() <= contents(place).items()
    assert len(contents(place)) == len(before) + 2


@pytest.mark.skipif(os.name != "posix", reason="no such permissions there")
def test_checkpoints_may_be_read_by_whom_the_umask_lets(place):
    former = os.umask(0o027)
    try:
        train(checkpoint=place)
    finally:
        os.umask(former)
    modes = {stat.S_IMODE(os.stat(os.path.join(place, name)).st_mode) for name in os.listdir(place)}
    assert modes == {0o640}
