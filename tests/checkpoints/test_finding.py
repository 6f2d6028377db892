"""Damaged checkpoints are found, passed over and named."""

from __future__ import annotations

from pathlib import Path

import pytest

from rllib_rnd.checkpoints import checkpoints_in, find_checkpoint, is_complete, iteration_of, newest_valid, verify
from rllib_rnd.checkpoints.manifest import MANIFEST
from rllib_rnd.errors import ConfigError
from tests.checkpoints.test_atomic import saved

FILES = ("algorithm.json", "module.safetensors", "part/more.pkl", MANIFEST)


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_anywhere_is_found(tmp_path: Path, name: str) -> None:
    old, new = saved(tmp_path, 1), saved(tmp_path, 2, "checkpoint_000004")
    data = (new / name).read_bytes()
    for position in range(0, len(data), max(1, len(data) // 40)):
        (new / name).write_bytes(data[:position] + bytes([data[position] ^ 0x15]) + data[position + 1 :])
        said: list[str] = []
        if verify(new):
            assert newest_valid(tmp_path, said.append) == old
            assert len(said) == 1 and said[0].startswith(f"skipped {new}: ")
        else:  # words of the manifest that nothing hangs on, as a version or a date
            assert name == MANIFEST
    if name != MANIFEST:
        (new / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert is_complete(new), "contents are not read where they are only counted"
        assert verify(new) == [f"{name} is damaged: its content is not what was written"]
        with pytest.raises(ConfigError, match=f"is damaged: {name} is damaged.* allowed is its run's folder"):
            find_checkpoint(new)
        assert find_checkpoint(tmp_path) == old


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_or_short_is_found_without_reading(tmp_path: Path, name: str) -> None:
    old, new = saved(tmp_path, 1), saved(tmp_path, 2, "checkpoint_000004")
    data = (new / name).read_bytes()
    for cut in (data[:-1], b"", None):
        (new / name).unlink(missing_ok=True)
        if cut is not None:
            (new / name).write_bytes(cut)
        assert not is_complete(new) or (name == MANIFEST and cut == data[:-1])  # its last byte ends a line
        if not is_complete(new):
            assert checkpoints_in(tmp_path) == [old]
            said: list[str] = []
            assert newest_valid(tmp_path, said.append) == old and len(said) == 1


def test_of_several_bad_ones_each_is_named(tmp_path: Path) -> None:
    good = saved(tmp_path, 1, "checkpoint_000001")
    short, damaged = saved(tmp_path, 2, "checkpoint_000002"), saved(tmp_path, 3, "checkpoint_000003")
    (short / "algorithm.json").unlink()
    (short / "part" / "more.pkl").unlink()
    (damaged / "module.safetensors").write_bytes(bytes((damaged / "module.safetensors").stat().st_size))
    (tmp_path / "checkpoint_000004").mkdir()
    said: list[str] = []
    assert newest_valid(tmp_path, said.append) == good
    assert said == [
        f"skipped {tmp_path}/checkpoint_000004: rllib_checkpoint.json is missing: the run was stopped while it was "
        "written",
        f"skipped {damaged}: module.safetensors is damaged: its content is not what was written",
        f"skipped {short}: algorithm.json is missing (and 1 more)",
    ]
    assert iteration_of(damaged) == 3


@pytest.mark.parametrize("left", ["config.json", "learner.safetensors", "module.json"])
def test_without_its_manifest_it_is_the_manifest_that_is_missing(tmp_path: Path, left: str) -> None:
    (tmp_path / "rllib_checkpoint.json").write_text("{}")
    (tmp_path / left).write_text("{}")
    with pytest.raises(ConfigError, match=r"is not complete: manifest\.json is missing"):
        find_checkpoint(tmp_path)


def test_where_none_is_valid_there_is_none(tmp_path: Path) -> None:
    path = saved(tmp_path)
    (path / "algorithm.json").unlink()
    assert newest_valid(tmp_path) is None
    with pytest.raises(ConfigError, match="holds no complete checkpoint"):
        find_checkpoint(tmp_path)


def test_inspecting_runs_no_code_of_pickles(tmp_path: Path) -> None:
    """Also of format 3: what is found, judged and counted is never unpickled."""
    import json
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    folder = tmp_path / "checkpoint_000000"
    (folder / "learner_group" / "learner").mkdir(parents=True)
    state = {"training_iteration": 5, "intrinsic_ppo": {"format": 3, "x": Evil()}, "y": [Evil()]}
    for name in ("algorithm_state.pkl", "class_and_ctor_args.pkl", "learner_group/learner/state.pkl"):
        (folder / name).write_bytes(pickle.dumps(state))
    (folder / "rllib_checkpoint.json").write_text(json.dumps({}), encoding="utf-8")
    assert find_checkpoint(tmp_path) == folder and iteration_of(folder) == 5
    assert is_complete(folder) and not (tmp_path / "ran").exists()
    pickle.loads((folder / "algorithm_state.pkl").read_bytes())
    assert (tmp_path / "ran").exists(), "the test's own trap works"
