"""Runs in result folders: every state, resumed runs, and whatever is broken there."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rllib_rnd.analysis.results.runs import load_runs
from rllib_rnd.errors import ConfigError
from tests.analysis.results.made_runs import result, results, write_experiment, write_record, write_trial

CONFIG = {"env": "rllib_rnd/Catch-v0", "seed": 0}


def state_of(tmp_path: Path, rows: list[dict[str, Any]], budget: int | None = 500) -> str:
    write_record(tmp_path / "a", budget)
    write_trial(tmp_path / "a", rows, CONFIG)
    (run,) = load_runs([str(tmp_path / "a")])
    return run.state


@pytest.fixture(scope="module")
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def here(pid: int, timestamp: float | None = None) -> dict[str, object]:
    return {"pid": pid, "hostname": socket.gethostname(), "timestamp": time.time() if timestamp is None else timestamp}


def test_finished_is_what_met_a_stop_condition(tmp_path: Path) -> None:
    assert state_of(tmp_path, results([1.0] * 5, last={"done": True})) == "finished"


def test_finished_also_where_tune_did_not_mark_the_last_result(tmp_path: Path, dead: int) -> None:
    assert state_of(tmp_path, results([1.0] * 5, last=here(dead))) == "finished"


def test_stopped_is_what_was_ended_before(tmp_path: Path) -> None:
    assert state_of(tmp_path, results([1.0] * 3, last={"done": True})) == "stopped"


def test_stopped_by_ctrl_c_in_a_sweep(tmp_path: Path, dead: int) -> None:
    assert state_of(tmp_path, results([1.0] * 3, last={"should_checkpoint": True, **here(dead)})) == "stopped"


def test_the_end_without_known_conditions_is_the_end(tmp_path: Path) -> None:
    assert state_of(tmp_path, results([1.0] * 3, last={"done": True}), budget=None) == "finished"


def test_running_while_its_process_lives(tmp_path: Path) -> None:
    assert state_of(tmp_path, results([1.0], last=here(os.getpid()))) == "running"


def test_crashed_when_its_process_is_gone(tmp_path: Path, dead: int) -> None:
    assert state_of(tmp_path, results([1.0], last=here(dead))) == "crashed"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="ages of processes are read from /proc")
def test_crashed_when_its_number_belongs_to_a_younger_process(tmp_path: Path) -> None:
    assert state_of(tmp_path, results([1.0], last=here(os.getpid(), time.time() - 1e6))) == "crashed"


def test_elsewhere_it_runs_while_it_writes(tmp_path: Path) -> None:
    assert state_of(tmp_path, results([1.0])) == "running"


def test_elsewhere_and_silent_is_unknown(tmp_path: Path) -> None:
    assert state_of(tmp_path, results([1.0], last={"timestamp": time.time() - 1e5})) == "unknown"


def test_failed_has_an_error_that_nothing_followed(tmp_path: Path) -> None:
    write_record(tmp_path / "a")
    trial = write_trial(tmp_path / "a", results([1.0]), CONFIG)
    (trial / "error.txt").write_text("Traceback ...")
    assert load_runs([str(trial)])[0].state == "failed"
    os.utime(trial / "error.txt", (1e9, 1e9))  # tried again since, and still at it
    assert load_runs([str(trial)])[0].state == "running"


def test_a_trial_without_a_result_is_listed(tmp_path: Path) -> None:
    """Waiting in a sweep: no files at all, but the experiment's record says what it will be."""
    home = tmp_path / "a"
    write_record(home)
    record = json.loads((home / "run.json").read_text())
    grid = {"type": "mlp", "dim": {"grid_search": [1, 2]}}
    record["description"]["config"] = {"env": "rllib_rnd/Catch-v0", "seed": 3, "backbone": grid}
    (home / "run.json").write_text(json.dumps(record))
    (home / "IntrinsicPPO_x_12345_00001_dim=2_2026-01-02_03-04-05").mkdir()
    (run,) = load_runs([str(home)])
    assert (run.state, run.agent_steps, run.task, run.seed) == ("unknown", 0, "rllib_rnd/Catch-v0", 3)
    assert run.config["backbone.dim"] == 2
    assert run.metrics == {}


def test_what_a_run_says_of_itself(tmp_path: Path) -> None:
    home = tmp_path / "deep"
    write_record(home, provenance={"commit": "abc", "cores": 2})
    config = {"env": "rllib_rnd/DeepSea-v0", "env_config": {"size": 20, "mapping_seed": 7}, "seed": 7, "lambda_": 1.0,
              "intrinsic_reward": "rnd"}  # fmt: skip
    write_trial(home, results([None, 2.0]), config)
    (run,) = load_runs([str(home)])
    assert run.task == "rllib_rnd/DeepSea-v0 (size=20)"
    assert (run.experiment, run.algorithm, run.seed, run.budget) == ("deep", "IntrinsicPPO", 7, 500)
    assert run.config["lambda"] == 1
    assert run.config["intrinsic_reward.type"] == "rnd"
    assert run.provenance["commit"] == "abc"
    assert run.provenance["cores"] == "2"
    assert run.provenance["command"] == "rllib train file deep.yaml"
    assert run.frames_per_step is None
    assert run.final("return_mean") == 2.0


@pytest.mark.parametrize(
    ("config", "frames"),
    [
        ({"env": "ALE/MontezumaRevenge-v5", "env_config": {"backend": "ale"}}, 4),
        ({"env": "ALE/MontezumaRevenge-v5", "env_config": {"frame_skip": 2}}, 2),
        ({"env": "CartPole-v1"}, None),
    ],
)
def test_frames_of_an_agent_step(tmp_path: Path, config: dict[str, Any], frames: int | None) -> None:
    write_trial(tmp_path / "a", results([1.0]), config)
    (run,) = load_runs([str(tmp_path)])
    assert (run.task, run.frames_per_step) == (config["env"], frames)


def test_a_resumed_run_is_one_run(tmp_path: Path) -> None:
    """Three folders: killed after 4, resumed at 3, stopped, resumed at 5; and one that saw no result."""
    home = tmp_path / "a"
    write_record(home, 600, single=True)
    write_trial(home, results([1.0, 1.0, 1.0, 1.0]), CONFIG, 0)
    write_trial(home, results([2.0, 2.0], first=3, last={"done": True}), CONFIG, 1)
    write_trial(home, results([3.0, 3.0], first=5, last={"done": True}), {**CONFIG, "lr": 0.5}, 2)
    (run,) = load_runs([str(home)])
    assert run.metrics["return_mean"].tolist() == [1, 1, 2, 2, 3, 3]
    assert run.metrics["agent_steps"].tolist() == [100, 200, 300, 400, 500, 600]
    assert (run.resumed, run.state, run.config["lr"]) == (2, "finished", 0.5)
    assert run.source == str(home)
    write_trial(home, [], CONFIG, 3)
    (run,) = load_runs([str(home)])
    assert (run.resumed, run.state, run.agent_steps) == (3, "unknown", 600)


@pytest.mark.parametrize("last", [{"done": True}, {}], ids=["stopped", "killed"])
def test_a_lone_run_that_goes_on_and_has_no_result_yet_is_known_by_its_command(
    tmp_path: Path, last: dict[str, Any], dead: int
) -> None:
    home, since = tmp_path / "a", datetime.now(UTC).isoformat()
    write_trial(home, results([1.0, 2.0], last={**here(dead), **last}), CONFIG, 0)
    write_trial(home, [], CONFIG, 1)
    for pid, state in ((os.getpid(), "running"), (dead, "stopped" if last else "crashed")):
        process = {"host": socket.gethostname(), "pid": str(pid), "since": since}
        write_record(home, 600, single=True, process=process)
        (run,) = load_runs([str(home)])
        assert (run.state, run.resumed, run.agent_steps) == (state, 1, 200)
    write_record(home, 600, single=True, process={"host": "x", "pid": "none", "since": "?"})
    assert load_runs([str(home)])[0].state == "unknown"


def test_a_run_that_was_restored_in_its_own_folder(tmp_path: Path) -> None:
    rows = results([1.0, 1.0, 1.0]) + results([2.0, 2.0], first=3)
    write_trial(tmp_path / "a", rows, CONFIG)
    (run,) = load_runs([str(tmp_path)])
    assert run.resumed == 1
    assert run.metrics["return_mean"].tolist() == [1, 1, 2, 2]


def test_equal_trials_of_a_sweep_are_runs_of_their_own(tmp_path: Path) -> None:
    home = tmp_path / "a"
    write_record(home)
    for number in range(3):
        write_trial(home, results([1.0]), CONFIG, number)
    assert len(load_runs([str(home)])) == 3


def test_places_are_a_storage_an_experiment_a_trial_a_checkpoint_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = write_experiment(tmp_path / "results", "a", {0: [1.0], 1: [2.0]})
    write_experiment(tmp_path / "results" / "deeper", "b", {0: [3.0]})
    trial = next(path for path in home.iterdir() if path.is_dir())
    (trial / "checkpoint_000000").mkdir()
    monkeypatch.chdir(tmp_path)
    assert len(load_runs([str(tmp_path)])) == 3
    assert len(load_runs(["results"])) == 3
    assert len(load_runs(["a"])) == 2
    assert len(load_runs([str(trial)])) == 1
    assert len(load_runs([str(trial / "result.json")])) == 1
    assert len(load_runs([str(trial / "checkpoint_000000")])) == 1
    assert len(load_runs([str(trial), str(home), "results"])) == 3  # each once


def test_names_are_short_and_different(tmp_path: Path) -> None:
    write_experiment(tmp_path, "a", {0: [1.0], 1: [2.0]})
    assert [run.name for run in load_runs([str(tmp_path)])] == ["seed=0", "seed=1"]
    write_experiment(tmp_path, "b", {0: [3.0]})
    assert [run.name for run in load_runs([str(tmp_path)])] == ["a, seed=0", "a, seed=1", "b, seed=0"]
    write_trial(tmp_path / "b", results([1.0]), CONFIG, 9)
    names = [run.name for run in load_runs([str(tmp_path)])]
    assert len(set(names)) == 4


@pytest.mark.parametrize("text", ["", "{", "[]", '{"description": null}', '{"experiment": 3}'])
def test_a_record_that_cannot_be_read_costs_what_it_would_have_told(tmp_path: Path, text: str) -> None:
    home = write_experiment(tmp_path, "a", {0: [1.0]})
    (home / "run.json").write_text(text)
    trial = next(path for path in home.iterdir() if path.is_dir())
    (trial / "params.json").write_text(text)
    (run,) = load_runs([str(tmp_path)])
    assert run.final("return_mean") == 1.0
    assert (run.budget, run.task) == (None, "unknown task")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("empty", "holds no runs"),
        ("aa", "there is no such run. Nearest: "),
        ("text.txt", "is a file of another kind"),
        ("", "there is no such run"),
    ],
)
def test_places_without_runs_are_refused_in_one_line(tmp_path: Path, place: str, words: str) -> None:
    write_experiment(tmp_path, "a1", {0: [1.0]})
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("hello")
    with pytest.raises(ConfigError) as caught:
        load_runs([str(tmp_path / place) if place else "nothing_of_the_kind"])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_result_with_nothing_of_rllibs(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "result.json").write_text('{"loss": 3.0}\n{"loss": "x", "timestamp": "y", "pid": "z"}\n')
    (run,) = load_runs([str(tmp_path)])
    assert run.final("loss") == 3.0
    assert result(1, None)["training_iteration"] == 1
