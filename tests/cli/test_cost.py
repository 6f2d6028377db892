"""What a sweep will cost, told before it starts."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rllib_rnd.cli.cost import SweepCost, TellCost, pace_of_earlier_runs
from rllib_rnd.cli.folders import RunRecord, claim
from rllib_rnd.experiment.file import Experiment, load_experiments

SWEEP = """\
x:
  run: RND
  env: rllib_rnd/DeepSea-v0
  stop: {agent_steps: 36000}
  num_samples: 3
  config:
    num_envs_per_env_runner: 4
    rollout_fragment_length: 10
    lr: {grid_search: [1.0e-4, 1.0e-3]}
    gamma: {tune: uniform, args: [0.9, 0.99]}
"""


def sweep(folder: Path, old: str = "", new: str = "") -> Experiment:
    (folder / "x.yaml").write_text(SWEEP.replace(old, new), encoding="utf-8")
    return load_experiments(folder / "x.yaml")[0]


@pytest.mark.parametrize(
    ("stop", "steps", "told"),
    [
        ("{agent_steps: 36000}", 36000.0, "6 trials of at most 36,000 agent steps, 4 at a time: about 2h 00m"),
        ("{iteration: 900}", 36000.0, "6 trials of at most 36,000 agent steps, 4 at a time: about 2h 00m"),
        ("{agent_steps: 36000, time_total_s: 60}", 36000.0, "agent steps, at most 1m 00s, 4 at a time: about 2m 00s"),
        ("{time_total_s: 60}", None, "6 trials of at most 1m 00s, 4 at a time: about 2m 00s"),
        ("{return_mean: 1}", None, "6 trials, 4 at a time; no condition says when they end."),
    ],
)
def test_trials_times_steps_by_what_runs_at_once(tmp_path: Path, stop: str, steps: float | None, told: str) -> None:
    """Ten steps a second are an hour for each trial; six trials by four are two rounds."""
    cost = SweepCost(sweep(tmp_path, "{agent_steps: 36000}", stop), at_once=4)
    assert cost.steps == steps
    line = cost.told(10.0, "as in x")
    assert told in line
    assert ("(10 agent steps/s, as in x)" in line) == ("no condition" not in line)


def test_limits_and_schedulers_count(tmp_path: Path) -> None:
    limited = SweepCost(
        sweep(tmp_path, "  config:", "  tune_config: {max_concurrent_trials: 1, time_budget_s: 7200}\n  config:"), 4
    )
    assert limited.at_once == 1 and limited.seconds(10.0) == 7200.0 and limited.seconds(100.0) == 2160.0
    early = SweepCost(sweep(tmp_path, "  config:", "  scheduler: asha\n  config:"), 4)
    assert early.told(10.0, "x").endswith("; worse trials end earlier.")
    assert SweepCost(sweep(tmp_path), 100).at_once == 6


def result(steps: int, seconds: float, **more: float) -> dict[str, Any]:
    runners = {"num_env_steps_sampled_lifetime": steps}
    return {"env_runners": runners, "time_total_s": seconds, "training_iteration": 1, **more}


def test_the_pace_is_that_of_the_newest_run_with_results(tmp_path: Path) -> None:
    storage, experiment = tmp_path / "results", sweep(tmp_path)
    assert pace_of_earlier_runs(str(storage), experiment) is None
    for number, paces in enumerate([[1, 1, 1], [5, 30, 20], []]):
        folder = storage / claim(str(storage), "x", RunRecord("x", "c", str(number)))
        for trial, pace in enumerate(paces):
            (folder / f"t{trial}").mkdir()
            lines = [json.dumps(result(1, 1.0)), json.dumps(result(pace * 10, 10.0)), '{"env_runners": {"num_']
            (folder / f"t{trial}" / "result.json").write_text("\n".join(lines), encoding="utf-8")
    claim(str(storage), "other", RunRecord("other", "c", "9"))
    assert pace_of_earlier_runs(str(storage), experiment) == (20.0, "as in x_2")
    assert pace_of_earlier_runs("s3://bucket", experiment) is None


def test_else_it_is_told_once_when_the_second_result_is_in(tmp_path: Path) -> None:
    lines: list[str] = []
    teller = TellCost(SweepCost(sweep(tmp_path), 4), lines.append)
    trial: Any = SimpleNamespace(last_result={})
    for number in range(4):
        now = result(100 * number, 10.0) | {"throughput": {"agent_steps_per_s": 10.0}}
        teller.on_trial_result(trial=trial, result=now)
        assert len(lines) == (1 if number else 0)
        trial.last_result = {"training_iteration": 1}
    assert "about 2h 00m (10 agent steps/s, in its first iterations)" in lines[0]
