"""Finding checkpoints: the newest complete one, whatever was cut short."""

import json
import pickle
from pathlib import Path

import pytest

from rllib_rnd.cli.checkpoints import checkpoints_in, find_checkpoint, is_complete, result_at, start_from
from rllib_rnd.errors import ConfigError

TRIAL = "RND_x_00000_0_2026-01-02_03-04-05"


def write_checkpoint(folder: Path, iteration: int = 1) -> Path:
    learner = folder / "learner_group" / "learner"
    learner.mkdir(parents=True)
    (folder / "rllib_checkpoint.json").write_text("{}", encoding="utf-8")
    for path in (folder / "class_and_ctor_args.pkl", learner / "state.pkl"):
        path.write_bytes(pickle.dumps([1, 2, 3]))
    (folder / "algorithm_state.pkl").write_bytes(pickle.dumps({"training_iteration": iteration}))
    return folder


def test_the_newest_complete_one_is_found(tmp_path: Path) -> None:
    early = write_checkpoint(tmp_path / TRIAL / "checkpoint_000000")
    newest = write_checkpoint(tmp_path / TRIAL / "checkpoint_000009")
    cut = write_checkpoint(tmp_path / TRIAL / "checkpoint_000010")
    state = cut / "learner_group" / "learner" / "state.pkl"
    state.write_bytes(state.read_bytes()[:-1])
    assert checkpoints_in(tmp_path) == [early, newest]
    assert find_checkpoint(tmp_path) == find_checkpoint(tmp_path / TRIAL) == find_checkpoint(newest) == newest
    with pytest.raises(ConfigError, match="is not complete"):
        find_checkpoint(cut)


def test_a_later_trial_counts_more_than_a_higher_number(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / TRIAL / "checkpoint_000009")
    resumed = write_checkpoint(tmp_path / TRIAL.replace("03-04-05", "09-00-00") / "checkpoint_000000")
    assert find_checkpoint(tmp_path) == resumed


@pytest.mark.parametrize("missing", ["algorithm_state.pkl", "learner_group/learner/state.pkl", "rllib_checkpoint.json"])
def test_missing_parts_make_it_incomplete(tmp_path: Path, missing: str) -> None:
    folder = write_checkpoint(tmp_path / "c")
    assert is_complete(folder)
    (folder / missing).unlink()
    assert not is_complete(folder)


def test_folders_without_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no complete checkpoint"):
        find_checkpoint(tmp_path)
    with pytest.raises(ConfigError, match="no such folder"):
        find_checkpoint(tmp_path / "nowhere")


def test_the_counters_come_from_the_result_of_the_same_iteration(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / TRIAL / "checkpoint_000000", iteration=2)
    lines = [json.dumps({"training_iteration": i, "time_total_s": 10.0 * i}) for i in (1, 2, 3)]
    (tmp_path / TRIAL / "result.json").write_text("\n".join([*lines, '{"training_it']), encoding="utf-8")
    assert result_at(folder)["time_total_s"] == 20.0
    assert start_from(folder, with_counters=True).counters == {"training_iteration": 2, "time_total_s": 20.0}
    assert start_from(folder, with_counters=False).counters == {}
