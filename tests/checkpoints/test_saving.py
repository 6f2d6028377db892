"""Saves of trials: into a folder or a store, and where that fails."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.fs
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from ray.train._internal.storage import StorageContext
from ray.tune import Checkpoint

from rllib_rnd import RND, RNDConfig
from rllib_rnd.checkpoints import checkpoints_in, find_checkpoint, iteration_of, verify
from rllib_rnd.checkpoints.content import ContentWriter
from rllib_rnd.checkpoints.manifest import MANIFEST
from rllib_rnd.checkpoints.remote import checkpoints_at, open_store
from rllib_rnd.checkpoints.saving import TrialSaver, save_at
from rllib_rnd.cli.checkpoints import KeepCheckpoints, TellSaves
from rllib_rnd.errors import ConfigError
from rllib_rnd.experiment.file import CheckpointOptions
from tests.checkpoints.faults import fault_at
from tests.checkpoints.test_atomic import saved, unfinished, write

TRIAL = "RND_x_00000_0_2026-01-02_03-04-05"


def storage_in(place: str | Path, system: pyarrow.fs.FileSystem | None = None) -> StorageContext:
    return StorageContext(str(place), "run", storage_filesystem=system, trial_dir_name=TRIAL)


@pytest.fixture
def store() -> Any:
    MemoryFileSystem.store.clear()
    yield pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(MemoryFileSystem()))
    MemoryFileSystem.store.clear()


def test_a_trial_saves_one_after_the_other(tmp_path: Path) -> None:
    saver = TrialSaver(storage_in(tmp_path))
    for iteration in (1, 2):
        result = saver.save(partial(write, iteration=iteration), {"training_iteration": iteration})
        assert result.checkpoint is not None and result.metrics == {"training_iteration": iteration}
        assert verify(result.checkpoint.path) == [] and iteration_of(Path(result.checkpoint.path)) == iteration
    assert [path.name for path in checkpoints_in(tmp_path)] == ["checkpoint_000000", "checkpoint_000001"]


def test_a_save_that_fails_is_none_and_the_next_has_its_number(tmp_path: Path) -> None:
    saver = TrialSaver(storage_in(tmp_path))
    saver.save(write, {})
    (first,) = checkpoints_in(tmp_path)
    number, count, there = 0, [1], [first]
    while count[0] > number:
        with fault_at(number, first.parent, "fails") as count:
            result = saver.save(partial(write, iteration=2), {})
        if result.checkpoint is None:
            assert saver.problem == os.strerror(errno.ENOSPC)
        else:  # nothing hung on what failed
            there.append(first.with_name(f"checkpoint_{len(there):06d}"))
            assert saver.problem == ""
        assert checkpoints_in(tmp_path) == there and verify(first) == []
        number += 1
    assert number - len(there) > 6
    assert not unfinished(first.parent)


def test_a_disk_that_is_full_while_tensors_are_written_is_no_other_error(tmp_path: Path) -> None:
    """They are written by a library with errors of its own. The kernel refuses files of more than a kilobyte here."""
    state = {"x": 1, "learner_group": {"learner": {"rl_module": {"default_policy": {"w": np.zeros(1000)}}}}}
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            ContentWriter(tmp_path).write(state, RNDConfig(), RND, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_what_earlier_processes_left_in_other_trial_folders_is_removed(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    left = tmp_path / "run" / "earlier_trial" / f".c.saving-{os.uname().nodename}-{child}-0123abcd"
    left.mkdir(parents=True)
    TrialSaver(storage_in(tmp_path)).save(write, {})
    assert not left.exists()


def test_mistakes_that_are_no_full_disk_end_the_trial(tmp_path: Path) -> None:
    def broken(_folder: Path) -> None:
        raise TypeError("cannot pickle this")

    with pytest.raises(TypeError, match="cannot pickle"):
        TrialSaver(storage_in(tmp_path)).save(broken, {})


def test_a_mark_of_tunes_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    for saved_before in (0, 1):
        saver = TrialSaver(storage_in(tmp_path / str(saved_before)))
        for _ in range(saved_before + 1):
            (mark,) = (tmp_path / str(saved_before) / "run").glob(".validate*")
            mark.unlink()
            assert saver.save(write, {}).checkpoint is not None and mark.exists()


def test_a_run_whose_folder_goes_is_trained_on_and_saved_when_it_is_there_again(tmp_path: Path) -> None:
    saver, run, away = TrialSaver(storage_in(tmp_path)), tmp_path / "run", tmp_path / "away"
    saver.save(write, {})
    run.rename(away)  # as a share that is not mounted any more
    assert saver.save(partial(write, iteration=2), {}).checkpoint is None
    assert saver.problem == f"the run's folder {run} is gone" and not run.exists()
    away.rename(run)
    assert saver.save(partial(write, iteration=3), {}).checkpoint is not None and not saver.problem


def test_a_storage_that_this_machine_never_saw_ends_the_trial_in_one_line(tmp_path: Path) -> None:
    storage = storage_in(tmp_path)
    (tmp_path / "run").rename(tmp_path / "on another machine")
    with pytest.raises(RuntimeError, match=r"^--storage: .*run cannot be reached from the machine .*s3://[^\n]*$"):
        TrialSaver(storage).save(write, {})


# --- stores -----------------------------------------------------------------------------------------------------------


def test_a_store_is_saved_to_listed_and_read(store: pyarrow.fs.FileSystem) -> None:
    saver = TrialSaver(storage_in("/bucket", store))
    for iteration in (1, 2):
        assert saver.save(partial(write, iteration=iteration), {}).checkpoint is not None
    found = checkpoints_at(*open_store("memory://bucket/run"))
    assert list(found.values()) == ["", ""]
    local = find_checkpoint("memory://bucket/run")
    assert local.name == "checkpoint_000001" and verify(local) == [] and iteration_of(local) == 2
    assert iteration_of(find_checkpoint(f"memory://bucket/run/{TRIAL}/checkpoint_000000")) == 1


def test_an_upload_cut_short_is_none(store: pyarrow.fs.FileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every file: the one before is found, and which is passed over is said."""
    saver = TrialSaver(storage_in("/bucket", store))
    saver.save(write, {})
    real, uploads, limit = MemoryFileSystem.open, [0], [0]

    def open_(self: MemoryFileSystem, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        if "w" in mode and "000001" in path:
            uploads[0] += 1
            if uploads[0] > limit[0]:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(self, path, mode, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, "open", open_)
    for files in range(4):
        uploads[0], limit[0] = 0, files
        assert saver.save(partial(write, iteration=2), {}).checkpoint is None and saver.problem
        assert iteration_of(find_checkpoint("memory://bucket/run")) == 1
    uploads[0], limit[0] = 0, 4  # three files and the manifest
    assert saver.save(partial(write, iteration=2), {}).checkpoint is not None
    assert iteration_of(find_checkpoint("memory://bucket/run")) == 2
    damaged = "/bucket/run/" + TRIAL + "/checkpoint_000001/algorithm.json"
    MemoryFileSystem.store[damaged].getbuffer()[3] = ord("!")
    said: list[str] = []
    assert iteration_of(find_checkpoint("memory://bucket/run", said.append)) == 1
    assert len(said) == 1 and "checkpoint_000001: algorithm.json is damaged" in said[0]
    del MemoryFileSystem.store[damaged.replace("algorithm.json", MANIFEST)]
    with pytest.raises(ConfigError, match="holds no complete checkpoint"):
        find_checkpoint(f"memory://bucket/run/{TRIAL}/checkpoint_000001")


def test_addresses_that_nobody_knows_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^checkpoint nowhere://x: its store is not known here"):
        find_checkpoint("nowhere://x")


def test_a_checkpoint_in_a_store_is_replaced(store: pyarrow.fs.FileSystem) -> None:
    for iteration in (1, 2):
        assert save_at("memory://bucket/c", partial(write, iteration=iteration)) == "memory://bucket/c"
    assert iteration_of(find_checkpoint("memory://bucket/c")) == 2


# --- what the user is told, what is kept -----------------------------------------------------------------------------


class FakeTrial:
    """As much of Tune's trial as callbacks look at."""

    def __init__(self, checkpoint: Checkpoint | None = None) -> None:
        self.trial_id, self.checkpoint, self.last_result = "a", checkpoint, dict[str, Any]()
        self.temporary_state = SimpleNamespace(ray_actor=None)

    def get_trainable_cls(self) -> type:
        return RND


def test_failing_saves_are_told_once_until_one_works_again(tmp_path: Path) -> None:
    said: list[str] = []
    tells, checkpoint = TellSaves(said.append), Checkpoint.from_directory(str(saved(tmp_path)))
    trial: Any = FakeTrial(checkpoint)

    def save(works: bool) -> None:
        if works:
            tells.on_checkpoint(trial=trial, checkpoint=checkpoint)
        tells.on_trial_save(trial=trial)

    for works in (True, False, False, True, True, False):
        save(works)
    warning = "warning: the checkpoint was not saved (unknown); training goes on, " + checkpoint.path
    assert said == [f"{warning} stays the newest.", "Checkpoints are saved again.", f"{warning} stays the newest."]


@pytest.fixture
def keeping(tmp_path: Path) -> tuple[Callable[[int], Path], list[str]]:
    """Saves the n-th checkpoint of a trial that keeps one, and what has been said."""
    said: list[str] = []
    keeper, trial = KeepCheckpoints(CheckpointOptions(num_to_keep=1), said.append), FakeTrial()

    def save(number: int) -> Path:
        path = saved(tmp_path / TRIAL, number, f"checkpoint_{number:06d}")
        keeper.on_checkpoint(trial=trial, checkpoint=Checkpoint.from_directory(str(path)))  # type: ignore[arg-type]
        return path

    return save, said


def test_a_delete_that_fails_is_told_once_and_tried_again(
    tmp_path: Path, keeping: tuple[Callable[[int], Path], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    save, said = keeping
    first = save(1)
    with monkeypatch.context() as patch:
        patch.setattr("rllib_rnd.cli.checkpoints.discard", _refused)
        second, third = save(2), save(3)
    assert [path.exists() for path in (first, second, third)] == [True, True, True]
    assert len(said) == 1 and said[0].startswith(f"warning: the old checkpoint {first} cannot be deleted (Permission")
    fourth = save(4)
    assert checkpoints_in(tmp_path) == [fourth] and len(said) == 1


def _refused(_folder: Path) -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def test_the_last_valid_one_is_never_deleted(
    tmp_path: Path, keeping: tuple[Callable[[int], Path], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    save, _ = keeping
    first = save(1)
    with monkeypatch.context() as patch:
        patch.setattr("rllib_rnd.cli.checkpoints.is_complete", lambda _path: False)  # as a disk that loses files
        save(2)
    assert first.exists()
    third = save(3)
    assert checkpoints_in(tmp_path) == [third]


def test_a_damaged_one_takes_no_valid_ones_place(tmp_path: Path) -> None:
    resumed = tmp_path / TRIAL.replace("03-04-05", "09-00-00")
    first, damaged = (saved(tmp_path / TRIAL, number, f"checkpoint_{number:06d}") for number in (1, 2))
    victim = next(path for path in damaged.rglob("*") if path.is_file() and path.name != MANIFEST)
    content = bytearray(victim.read_bytes())
    content[0] ^= 1
    victim.write_bytes(content)  # as long as it was
    keeper, trial = KeepCheckpoints(CheckpointOptions(num_to_keep=2), lone=True), FakeTrial()
    third = saved(resumed, 3, "checkpoint_000000")
    keeper.on_checkpoint(trial=trial, checkpoint=Checkpoint.from_directory(str(third)))  # type: ignore[arg-type]
    assert [path.exists() for path in (first, damaged, third)] == [True, True, True]
    fourth = saved(resumed, 4, "checkpoint_000001")
    keeper.on_checkpoint(trial=trial, checkpoint=Checkpoint.from_directory(str(fourth)))  # type: ignore[arg-type]
    assert [path.exists() for path in (first, damaged, third, fourth)] == [False, True, True, True]
