"""``rllib runs``: what is in a storage; and what it, ``compare`` and ``plot`` refuse, in one line with exit code 2."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rllib_rnd.cli import app
from tests.analysis.results.made_runs import results, write_experiment, write_record, write_trial

runner = CliRunner()
CATCH = {"env": "rllib_rnd/Catch-v0"}


def invoke(*args: object) -> Result:
    return runner.invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200"})


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Two experiments of one task, one of another, one that was resumed and killed."""
    write_experiment(tmp_path, "rnd", {0: [None, 0.5], 1: [None, 0.9]}, {"intrinsic_reward": "rnd"})
    write_experiment(tmp_path, "ppo", {0: [None, 0.1]})
    write_experiment(tmp_path, "cart", {0: [20.0, 30.0]}, {"env": "CartPole-v1"})
    home = tmp_path / "long"
    write_record(home, 1000, single=True)
    write_trial(home, results([1.0, 2.0]), {**CATCH, "seed": 0}, 0)
    write_trial(home, results([3.0], first=3, last={"done": True}), {**CATCH, "seed": 0}, 1)
    return tmp_path


def rows(output: str) -> list[list[str]]:
    """Cells of the lines of a table, which stand two spaces or more apart."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in output.splitlines()]


def test_a_row_per_run(storage: Path) -> None:
    done = invoke("runs", storage)
    assert done.exit_code == 0
    head, *table = rows(done.output)
    assert head == ["run", "task", "what differs", "agent steps", "return_mean", "state", "age"]
    assert len(table) == 5
    assert ["rnd", "rllib_rnd/Catch-v0", "seed=1", "200", "0.9", "finished"] in [row[:-1] for row in table]
    assert ["long", "rllib_rnd/Catch-v0", "300", "3", "stopped at 30%, resumed 1x"] in [row[:-1] for row in table]
    assert table[0][-1].endswith("s")


def test_a_run_is_called_as_commands_call_it(storage: Path) -> None:
    """By its folder: an experiment may have many runs, each with a name of its own (``--name``)."""
    shutil.copytree(storage / "cart", storage / "cart_first")
    assert {"cart", "cart_first"} <= {row[0] for row in rows(invoke("runs", storage).output)}
    found = json.loads(invoke("runs", storage, "--json").stdout)
    assert {run["folder"] for run in found if run["experiment"] == "cart"} == {"cart", "cart_first"}


def test_what_is_the_same_for_all_runs_is_said_once(storage: Path) -> None:
    title, head, *table = rows(invoke("runs", storage / "ppo").output)
    assert title == ["rllib_rnd/Catch-v0"]
    assert head == ["run", "agent steps", "return_mean", "state", "age"]
    assert table[0][:4] == ["ppo", "200", "0.1", "finished"]


def test_the_best_first(storage: Path) -> None:
    table = rows(invoke("runs", storage, "--best", "return_max").output)
    assert "return_max" in table[0]
    assert [row[0] for row in table[1:]] == ["cart", "long", "rnd", "rnd", "ppo"]


def test_json_for_other_programs(storage: Path) -> None:
    found = json.loads(invoke("runs", storage, "--json", "--best", "return_mean").stdout)
    assert [run["result"] for run in found] == [30.0, 3.0, 0.9, 0.5, 0.1]
    assert found[1]["resumed"] == 1
    assert found[2]["differs"] == "seed=1"
    assert found[2]["settings"]["intrinsic_reward.type"] == "rnd"
    assert found[2]["provenance"]["command"] == "rllib train file rnd.yaml"


def test_a_run_without_a_result(tmp_path: Path) -> None:
    write_record(tmp_path / "a")
    write_trial(tmp_path / "a", [], CATCH)
    (run,) = json.loads(invoke("runs", tmp_path, "--json").stdout)
    assert (run["result"], run["agent_steps"], run["state"]) == (None, 0, "unknown")
    assert "unknown, no result" in invoke("runs", tmp_path).output


REFUSED = {
    "no such place": ["runs", "{}/nothing"],
    "nothing in it": ["runs", "{}/empty"],
    "no metric of that name": ["runs", "{}", "--best", "retrun_mean"],
    "no result at all": ["runs", "{}/waiting", "--best", "return_mean"],
    "compare: no such place": ["compare", "{}/rnd", "{}/pp"],
    "compare: one variant": ["compare", "{}/rnd"],
    "compare: different tasks": ["compare", "{}/rnd", "{}/cart"],
    "compare: unequal budgets": ["compare", "{}/rnd", "{}/long"],
    "compare: no metric of that name": ["compare", "{}/rnd", "{}/ppo", "--metric", "return"],
    "compare: no setting of that name": ["compare", "{}/rnd", "{}/ppo", "--by", "learning_rate"],
    "compare: frame skips": ["compare", "{}/pong4", "{}/pong2"],
    "plot: different tasks": ["plot", "{}"],
    "plot: frame skips": ["plot", "{}/pong4", "{}/pong2"],
    "plot: no metric of that name": ["plot", "{}/rnd", "--metric", "returns"],
    "plot: no axis of that name": ["plot", "{}/rnd", "--x", "steps"],
    "plot: an axis that no run tells": ["plot", "{}/rnd", "--x", "frames"],
    "plot: a suffix that cannot be": ["plot", "{}/rnd", "--out", "{}/a.gif"],
    "plot: a file that cannot be": ["plot", "{}/rnd", "--out", "{}/rnd/run.json/a.png"],
    "plot: a table of scores": ["plot", "{}/scores.csv"],
    "plot: no database": ["plot", "{}/broken.db"],
}


@pytest.mark.parametrize("what", REFUSED)
def test_every_refusal_is_one_line_with_exit_code_2(storage: Path, what: str) -> None:
    pytest.importorskip("matplotlib")
    (storage / "empty").mkdir()
    (storage / "scores.csv").write_text("task,variant,seed,score\na,b,0,1\n")
    (storage / "broken.db").write_text("nothing")
    write_record(storage / "waiting")
    write_trial(storage / "waiting", [], CATCH)
    for skip in (2, 4):
        settings = {"env": "ALE/Pong-v5", "env_config": {"frame_skip": skip}}
        write_experiment(storage, f"pong{skip}", {0: [1.0]}, settings)
    before = sorted(storage.rglob("*"))
    done = invoke(*(arg.replace("{}", str(storage)) for arg in REFUSED[what]))
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert done.stderr.startswith("rllib: ")
    assert done.stderr.count("\n") == 1
    assert sorted(storage.rglob("*")) == before
