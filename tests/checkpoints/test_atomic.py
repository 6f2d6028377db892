"""A checkpoint is there as a whole or not at all, whatever fails at whichever operation."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rllib_rnd.checkpoints import checkpoints_in, is_complete, newest_valid, read_manifest, verify
from rllib_rnd.checkpoints.atomic import discard, remove_leftovers
from rllib_rnd.checkpoints.manifest import seal
from rllib_rnd.checkpoints.names import REPLACED, is_unfinished
from rllib_rnd.checkpoints.saving import save_at
from tests.checkpoints.faults import fault_at

NAME = "checkpoint_000003"


def write(folder: Path, iteration: int = 1) -> None:
    """The files of a checkpoint, small ones."""
    (folder / "algorithm.json").write_text(f'{{"iteration": {iteration}}}', encoding="utf-8")
    save_file({"w": np.full(3, iteration)}, folder / "module.safetensors")
    (folder / "part").mkdir()
    (folder / "part" / "more.pkl").write_bytes(bytes(iteration) + b".")
    seal(folder, 4, "rllib_rnd.presets:RND", iteration, 10 * iteration)


def saved(folder: Path, iteration: int = 1, name: str = NAME) -> Path:
    return Path(save_at(folder / name, lambda place: write(place, iteration)))


def unfinished(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if is_unfinished(path.relative_to(folder))]


@pytest.mark.parametrize("kind", ["fails", "ends"])
@pytest.mark.parametrize("replaces", [False, True])
def test_a_fault_at_any_operation_leaves_the_old_or_the_new(tmp_path: Path, kind: str, replaces: bool) -> None:
    """Of a save beside another checkpoint, and of one in its place."""
    number, failed = 0, 0
    while True:
        folder = tmp_path / str(number)
        folder.mkdir()
        saved(folder, 1, NAME if replaces else "checkpoint_000002")
        with fault_at(number, folder, kind) as count:
            try:
                saved(folder, 2)
                raised = False
            except OSError:
                raised = True
                failed += 1
        newest = newest_valid(folder)
        assert newest is not None and verify(newest) == []
        assert load_file(newest / "module.safetensors")["w"][0] == read_manifest(newest).iteration
        assert raised or read_manifest(newest).iteration == 2
        assert all(map(is_complete, checkpoints_in(folder)))
        again = saved(folder, 3)
        assert read_manifest(again).iteration == 3 and newest_valid(folder) == again
        assert not unfinished(folder)
        if count[0] <= number:
            break
        number += 1
    assert number > 10 and failed >= number - 6  # what fails after the new one is in place is clearing away alone


def test_a_kill_at_any_operation_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    for number in range(1, 100):
        folder = tmp_path / str(number)
        folder.mkdir()
        saved(folder, 1)
        child = os.fork()
        if child == 0:
            with fault_at(number, folder, "kill"):
                saved(folder, 2)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        newest = newest_valid(folder)
        assert newest is not None and newest.name in (NAME, NAME + REPLACED)
        iteration = read_manifest(newest).iteration
        again = saved(folder, 3)
        assert newest_valid(folder) == again and not unfinished(folder)
        if os.WIFEXITED(status):
            assert iteration == 2
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
    assert 10 < number < 99


def test_a_folder_that_is_being_written_is_no_checkpoint(tmp_path: Path) -> None:
    def look(folder: Path) -> None:
        write(folder)
        assert newest_valid(tmp_path) is None and checkpoints_in(tmp_path) == []
        remove_leftovers(tmp_path)  # of another save in the same process
        assert (folder / "algorithm.json").is_file()

    assert verify(save_at(tmp_path / NAME, look)) == []


def test_left_overs_of_processes_that_are_gone_are_removed_others_stay(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    host = os.uname().nodename
    names = {
        f".c.saving-{host}-{child}-0123abcd": False,
        f".c.deleting-{host}-1-0123abcd": False,
        f".c.saving-{host}-1-0123abcd": True,  # the first process lives
        f".c.saving-elsewhere-{child}-0123abcd": True,
        ".git": True,
    }
    for name in names:
        (tmp_path / name).mkdir()
    saved(tmp_path)
    assert {name: (tmp_path / name).exists() for name in names} == names


def test_what_else_is_in_a_folder_stays(tmp_path: Path) -> None:
    notes = tmp_path / NAME / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("mine", encoding="utf-8")
    for iteration in (1, 2):
        path = saved(tmp_path, iteration)
        assert notes.read_text(encoding="utf-8") == "mine" and verify(path) == []
        assert read_manifest(path).iteration == iteration
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_deleted_checkpoint_is_at_no_moment_there_in_part(tmp_path: Path) -> None:
    for number in range(1, 100):
        path = saved(tmp_path, 1)
        with fault_at(number, tmp_path, "ends") as count:
            try:
                discard(path)
            except OSError:
                assert not path.exists() or verify(path) == []
        saved(tmp_path, 1, "checkpoint_000009")
        assert not unfinished(tmp_path)
        if count[0] <= number:
            break
    assert number < 99


def test_files_of_a_checkpoint_may_be_read_by_others_as_the_user_wants(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert {oct(file.stat().st_mode & 0o077) for file in path.glob("*.json")} != {"0o0"}
