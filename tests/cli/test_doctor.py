"""``rllib doctor``: what it prints, its exit codes, its JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rllib_rnd.cli import app
from tests.analysis.results.made_runs import results, write_experiment, write_record, write_trial

runner = CliRunner()
CATCH = {"env": "rllib_rnd/Catch-v0"}


def invoke(*args: object) -> Result:
    return runner.invoke(app, ["doctor", *map(str, args)])


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """A run that was killed, with a checkpoint that was cut short."""
    home = tmp_path / "rnd"
    write_record(home, 1000, single=True)
    rows = results([1.0, 2.0], last={"hostname": "elsewhere"})
    trial = write_trial(home, rows, CATCH)
    (trial / "error.txt").write_text("boom")
    (trial / "checkpoint_000001").mkdir()
    (trial / "checkpoint_000001" / "rllib_checkpoint.json").write_text("{}")
    return home


def test_this_machine() -> None:
    done = invoke("--json")
    found = json.loads(done.stdout)
    assert found["what"] == "this machine"
    assert done.exit_code == (1 if found["level"] == "problem" else 0)
    assert {"Python", "packages", "torch", "memory", "disk", "/dev/shm"} <= {f["what"] for f in found["findings"]}


def test_a_crashed_run_is_a_problem_with_what_to_do(crashed: Path) -> None:
    done = invoke(crashed)
    assert done.exit_code == 1
    text = " ".join(done.stdout.split())
    assert "FAIL state" in text
    assert "rllib train file rnd.yaml --name rnd --resume" in text
    assert "FAIL checkpoints none is valid (checkpoint_000001: algorithm_state.pkl is missing" in text
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    assert "\x1b" not in done.stdout


def test_json_of_a_run(crashed: Path) -> None:
    found = json.loads(invoke(crashed, "--json").stdout)
    assert found["level"] == "problem"
    state = next(finding for finding in found["findings"] if finding["what"] == "state")
    assert state["level"] == "problem"
    assert state["what_to_do"].endswith("--resume")


def test_a_checkpoint(crashed: Path) -> None:
    (folder,) = crashed.glob("*/checkpoint_000001")
    done = invoke(folder)
    assert done.exit_code == 1
    assert "FAIL files" in done.stdout


def test_a_sweep_tells_once_what_its_trials_share(tmp_path: Path) -> None:
    home = write_experiment(tmp_path, "catch", {0: [0.1, 0.5], 1: [0.2, 0.6], 2: [0.3, 0.7]})
    done = invoke(home)
    assert done.exit_code == 0
    text = " ".join(done.stdout.split())
    assert text.startswith("sweep")
    assert "ok state of all 3 trials" in text
    assert "WARN checkpoints 3 of 3 trials: none" in text


def test_a_sweep_with_damaged_results(tmp_path: Path) -> None:
    """What is said of those that are well is no claim about the others."""
    home = write_experiment(tmp_path, "catch", {0: [0.1, 0.5], 1: [0.2, 0.6, 0.7], 2: [0.3, 0.7]})
    _, second, third = sorted(home.glob("*/result.json"))
    text = " ".join(invoke(home).stdout.split())
    assert "ok results of all 3 trials, one: 2 iterations, none missing" in text

    second.write_bytes(b"\x00\xff")
    third.write_text('{"a": broken')
    text = " ".join(invoke(home).stdout.split())
    assert "ok results of 1 of 3 trials, each: 2 iterations, none missing" in text
    assert "WARN results 2 of 3 trials: 1 damaged line in result.json, 0 that can be read" in text


@pytest.mark.parametrize(
    ("args", "words"),
    [(["/no/such/folder"], "there is no such folder"), (["EMPTY"], "holds no run"), (["EMPTY", "--ray"], "--ray")],
)
def test_bad_input(tmp_path: Path, args: list[str], words: str) -> None:
    done = invoke(*[str(tmp_path) if arg == "EMPTY" else arg for arg in args])
    assert done.exit_code == 2
    assert words in done.output


def test_a_storage_with_several_experiments_asks_which(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_experiment(tmp_path, name, {0: [0.1]})
    done = invoke(tmp_path)
    assert done.exit_code == 2
    assert "holds 2 experiments" in done.output
