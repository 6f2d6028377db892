"""The commands that the end of a run suggests."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rllib_rnd.cli.summary import Report, further, over_seeds, print_report, relative, typed

STEPS = "env_runners/num_env_steps_sampled_lifetime"
RETURN = "env_runners/episode_return_mean"


def report(command: str, stop: dict[str, float], interrupted: str = "") -> Report:
    return Report("x", "/r/x", command, None, interrupted, stop)


def test_a_finished_run_goes_on_with_its_condition_doubled() -> None:
    result = {STEPS: 1000}
    command = "rllib train file x.yaml --stop agent_steps=1e3 --stop iteration=9 --resume"
    expected = "rllib train file x.yaml --stop iteration=9 --resume --stop agent_steps=2000"
    assert further(report(command, {STEPS: 1000.0}), result) == expected


def test_nothing_is_suggested_where_nothing_can_be_doubled() -> None:
    assert further(report("c", {RETURN: 5.0}), {RETURN: 6.0}) == ""
    assert further(report("c", {STEPS: 5.0}), {STEPS: 4}) == ""
    assert further(report("c", {STEPS: 5.0}, interrupted="Ctrl-C"), {STEPS: 6}) == ""


def test_paths_are_shortened_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert relative(str(tmp_path / "results" / "c")) == "results/c"
    assert relative("/elsewhere/c") == "/elsewhere/c"


def test_commands_can_be_typed_as_they_are_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bin_folder = tmp_path / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    for name in ("python", "rllib"):
        (bin_folder / name).touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(bin_folder / "python"))
    monkeypatch.setenv("PATH", "/usr/bin")
    assert typed("rllib evaluate c") == ".venv/bin/rllib evaluate c"
    assert typed("mlflow ui") == "mlflow ui"  # not installed here: nothing better is known
    monkeypatch.setenv("PATH", str(bin_folder))
    assert typed("rllib evaluate c") == "rllib evaluate c"


def trial(label: str, value: float | None, error: Exception | None = None) -> Any:
    runners = {"num_env_steps_sampled_lifetime": 12345678, "episode_return_max": 99.0}
    metrics: dict[str, Any] = {"env_runners": runners | ({} if value is None else {"episode_return_mean": value})}
    metrics |= {"time_total_s": 20000.0, "learners": {"default_policy": {"intrinsic_reward_mean": 0.1234567}}}
    path = f"/r/RND_rllib_rnd_DeepSea-v0_83cf0_00003_{label}_2026-11-21_17-03-46"
    return SimpleNamespace(path=path, metrics=metrics, error=error, checkpoint=None)


def shown(trials: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    print_report(report("c", {}), trials, None)  # type: ignore[arg-type]
    return capsys.readouterr().out


@pytest.mark.parametrize("length", [1, 10, 40, 100])
def test_numbers_stay_whole_at_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    names = "n" * length
    text = shown([trial(f"{names}={lr},seed=0", lr) for lr in (1e-5, 2e-5)], capsys, monkeypatch)
    table = text.partition("checkpoint")[0].splitlines()
    assert max(map(len, table)) <= 80
    for number in ("1e-05", "2e-05", "12,345,678", "0.1235", "5h 33m"):
        assert any(number in f"{line} " for line in table), number
    assert "…" not in text
    assert "lr=0.0000" not in text


def test_seeds_come_to_a_mean(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [trial(f"lr={lr},seed={seed}", lr + seed) for lr in (1.0, 2.0) for seed in (0, 1, 2, 3)]
    trials += [trial("lr=1.0,seed=4", None), trial("lr=1.0,seed=5", 99.0, RuntimeError("broken"))]
    assert over_seeds(trials) == {"lr=2.0": [2.0, 3.0, 4.0, 5.0], "lr=1.0": [1.0, 2.0, 3.0, 4.0]}
    rows = [line.split() for line in shown(trials, capsys, monkeypatch).splitlines()]
    assert ["trial", "seeds", "mean", "std.", "error", "best"] in rows
    assert ["lr=2.0", "4", "3.5", "0.6455", "5"] in rows  # sqrt(5 / 3) / sqrt(4)


def test_several_trials_are_reported_on(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    line = f"report       {typed('rllib report /r/x')}\n"
    assert line in shown([trial(f"lr={lr},seed=0", lr) for lr in (1.0, 2.0)], capsys, monkeypatch)
    assert "rllib report" not in shown([trial("x", 1.0)], capsys, monkeypatch)
    unborn = [trial(f"lr={lr},seed=0", lr) for lr in (1.0, 2.0)]
    for one in unborn:
        one.metrics = None
    assert "rllib report" not in shown(unborn, capsys, monkeypatch), "there is nothing to report on"


def test_of_two_seeds_there_is_no_mean(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown([trial(f"seed={seed}", seed) for seed in (0, 1)], capsys, monkeypatch)
    assert "fewer than 3 seeds" in text and "std. error" not in text
    assert over_seeds([trial("lr=1,seed=0", 1.0), trial("lr=2,seed=0", 1.0)]) == {}


def test_a_run_without_a_finished_episode_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = trial("x", None)
    assert "mean return                  - (no episode has ended)" in shown([alone], capsys, monkeypatch)
    alone.metrics["env_runners"]["num_env_steps_sampled_lifetime"] = 0  # pre-training
    alone.metrics["throughput"] = {"agent_steps_per_s": 49.0}
    assert "agent steps/s" not in shown([alone], capsys, monkeypatch)
