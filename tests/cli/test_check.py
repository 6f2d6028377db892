"""`rllib check`: how small what it trains is, how long training will take, what this machine is too small for."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import pytest
import torch
from typer.testing import CliRunner

from rllib_rnd.cli import app
from rllib_rnd.cli.check import is_worth_repeating, small_settings
from rllib_rnd.cli.estimate import Pace, hours
from rllib_rnd.experiment.file import load_experiments
from rllib_rnd.memory import Room
from tests.conftest import small_config

FILE = """\
x:
  run: RND
  env: rllib_rnd/DeepSea-v0
  stop: {agent_steps: 1000}
  config: {num_envs_per_env_runner: 4, rollout_fragment_length: 16}
"""


class Own(gym.Env):
    observation_space = gym.spaces.Box(0.0, 1.0, (3,))
    action_space = gym.spaces.Discrete(2)


def written(folder: Path, old: str = "", new: str = "") -> Path:
    path = folder / "x.yaml"
    path.write_text(FILE.replace(old, new), encoding="utf-8")
    return path


def test_a_file_for_a_larger_machine_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, at the setting that takes most; training is refused (tests/test_memory.py)."""
    monkeypatch.setattr(Room, "here", staticmethod(lambda: Room(2**28, 2**40, None)))
    path = written(tmp_path)
    result = CliRunner().invoke(app, ["check", str(path)])
    assert result.exit_code == 0
    said = " ".join(result.output.split())
    assert "warning: this machine is too small, training will be refused here. num_env_runners: training would" in said
    (tmp_path / "y.yaml").write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    result = CliRunner().invoke(app, ["check", str(path), str(tmp_path / "y.yaml")])
    assert result.exit_code == 0
    assert result.output.count("(too much for this machine: training will be refused here)") == 2
    assert "2 of 2 files are fine." in result.output


def test_a_file_whose_runners_play_on_a_gpu_while_it_learns_is_fine(tmp_path: Path) -> None:
    wanted = "num_env_runners: 2, overlap_sampling: true, num_gpus_per_env_runner: 0.2, num_gpus_per_learner: 0.5"
    path = written(tmp_path, "config: {", f"config: {{{wanted}, ")
    result = CliRunner().invoke(app, ["check", str(path)])
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "2 runners" in said and "at the same time" in said
    away = "--set num_gpus_per_learner=0 --set num_gpus_per_env_runner=0"
    assert torch.cuda.is_available() or (
        "this machine has no GPU, training will be refused here" in said and away in said
    )
    (tmp_path / "y.yaml").write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    result = CliRunner().invoke(app, ["check", str(path), str(tmp_path / "y.yaml")])
    assert torch.cuda.is_available() or result.output.count("(no GPU here: training will be refused here)") == 2


@pytest.mark.parametrize(
    ("env", "wanted", "envs"),
    [
        ("rllib_rnd/DeepSea-v0", 4, 4),
        ("rllib_rnd/Catch-v0", 4, 4),
        ("rllib_rnd/Catch-v0", 64, 8),
        (f"{__name__}:Own", 64, 4),
    ],
)
def test_what_is_trained_is_small_and_has_one_thread(tmp_path: Path, env: str, wanted: int, envs: int) -> None:
    text = f"{env}\n  stop: {{agent_steps: 1000}}\n  config: {{num_envs_per_env_runner: {wanted}"
    path = written(tmp_path, FILE[FILE.index("rllib_rnd/") : FILE.index(", rollout")], text)
    (experiment,) = load_experiments(path)
    settings = small_settings(experiment)
    assert settings["torch_threads"] == 1
    assert experiment.sample_config(**settings).num_envs_per_env_runner == envs


def paced(threads: int = 1, epochs: int = 1, runners: int = 0, learners: int = 0) -> float:
    """Agent steps per second, of an iteration of 64 steps that played for 1 s and learned for 3 s in one epoch."""
    run = small_config(num_epochs=1)
    wanted = small_config(num_epochs=epochs).env_runners(num_env_runners=runners, num_envs_per_env_runner=40)
    wanted.learners(num_learners=learners)
    assert run.samples_per_iteration() == 64
    found = Pace.of(wanted, run, {"timers": {"sample_s": 1.0, "learn_s": 3.0}}, threads)
    assert found is not None and found.source == "by 64 steps here, roughly"
    return found.steps_per_s


def test_the_pace_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shared is done at once, by as many as there are cores."""
    monkeypatch.setattr("rllib_rnd.cli.estimate.usable_cores", lambda: 4)
    assert paced() == pytest.approx(64 / (1 + 3))
    assert paced(epochs=4) == pytest.approx(64 / (1 + 12))
    assert paced(threads=3) == pytest.approx(64 / (1 + 1))
    assert paced(runners=2) == pytest.approx(64 / (0.5 + 3))
    assert paced(runners=8) == pytest.approx(64 / (0.25 + 3))
    assert paced(learners=2, threads=4) == pytest.approx(64 / (1 + 0.75))
    assert Pace.of(small_config(), small_config(), {}) is None


@pytest.mark.parametrize(
    ("sample_s", "learn_s", "again"),
    [
        (0.1, 0.1, True),
        (3.0, 0.1, True),  # the first reset of its environments
        (3.0, 2.0, True),
        (1.0, 2.0, False),
    ],
)
def test_a_first_iteration_is_repeated_unless_it_was_mostly_learning(
    sample_s: float, learn_s: float, again: bool
) -> None:
    result = {"timers": {"sample_s": sample_s, "learn_s": learn_s}}
    assert is_worth_repeating({"num_envs_per_env_runner": 4}, small_config(), result) is again
    assert is_worth_repeating({}, small_config(), result) is False  # at the file's own size


@pytest.mark.parametrize(
    ("steps", "told"),
    [(0, ""), (1000, ""), (100_000, "; before that 400,000 agent steps of random play (warmup_steps), about 2h 13m")],
)
def test_random_play_is_told_where_it_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (experiment,) = load_experiments(written(tmp_path, "config: {", f"config: {{warmup_steps: {steps}, "))
    assert hours(experiment, Pace(100.0, "measured", 50.0)).partition(")")[2] == told
    assert hours(experiment, Pace(100.0, "measured")).endswith("(warmup_steps)" if told else "measured)")
