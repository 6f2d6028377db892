"""``rllib compare``: settings that differ, results side by side, who is ahead."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rllib_rnd.cli import app
from tests.analysis.results.made_runs import results, write_experiment, write_record, write_trial

runner = CliRunner()


def invoke(*args: object) -> Result:
    done = runner.invoke(app, ["compare", *map(str, args)], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done


def seeds(*scores: float) -> dict[int, list[float | None]]:
    return {seed: [0.0, score] for seed, score in enumerate(scores)}


def cells(output: str, name: str) -> list[str]:
    """The cells of the row of a table that begins so."""
    (line,) = [line for line in output.splitlines() if line.strip().startswith(f"{name}  ")]
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_two_experiments(tmp_path: Path) -> None:
    write_experiment(tmp_path, "ppo", seeds(1.0, 2.0, 3.0))
    write_experiment(tmp_path, "rnd", seeds(11.0, 12.0, 13.0), {"intrinsic_reward": "rnd", "lr": 0.001})
    output = invoke(tmp_path / "ppo", tmp_path / "rnd").output
    assert output.splitlines()[1] == "rllib_rnd/Catch-v0"
    assert cells(output, "intrinsic_reward.type") == ["intrinsic_reward.type", "rnd", "none"]
    assert cells(output, "lr") == ["lr", "0.001", "0.0001"]
    assert "gamma" not in output
    name, count, result, best, *_ = cells(output, "rnd")
    assert (name, count, best) == ("rnd", "3", "13")
    assert result.startswith("12.0 [11.")
    assert output.splitlines()[-1].startswith("rnd is better than ppo by 10.0 [")
    assert "probability of improvement 1.00 [1.00, 1.00]" in output
    assert invoke(tmp_path / "ppo", tmp_path / "rnd").output == output  # the same intervals again


def test_below_three_seeds_points_only(tmp_path: Path) -> None:
    write_experiment(tmp_path, "a", seeds(1.0, 2.0))
    write_experiment(tmp_path, "b", seeds(9.0, 9.5), {"lr": 0.1})
    output = invoke(tmp_path / "a", tmp_path / "b").output
    assert cells(output, "b")[2] == "9, 9.5"
    assert "[" not in output
    assert "fewer than 3 seeds, points only, which shows nothing yet" in output
    assert "better" not in output


def test_a_difference_that_the_seeds_do_not_show(tmp_path: Path) -> None:
    write_experiment(tmp_path, "a", seeds(0.0, 5.0, 10.0))
    write_experiment(tmp_path, "b", seeds(1.0, 6.0, 11.0), {"lr": 0.1})
    output = invoke(tmp_path).output
    assert "b is above a by 1 [" in output
    assert "which 3 seeds do not show" in output
    assert "better" not in output


def test_the_variants_of_a_sweep(tmp_path: Path) -> None:
    home = tmp_path / "sweep"
    write_record(home, 200)
    for number, (lr, seed) in enumerate([(lr, seed) for lr in (0.1, 0.2) for seed in range(3)]):
        config = {"env": "rllib_rnd/Catch-v0", "lr": lr, "seed": seed}
        write_trial(home, results([0.0, 10 * lr + seed], last={"done": True}), config, number)
    output = invoke(home).output
    assert cells(output, "lr=0.2")[1] == "3"
    assert "lr=0.2 is above lr=0.1 by 1" in output


def test_the_same_settings_from_two_places_stay_apart(tmp_path: Path) -> None:
    """An experiment and its repetition with other code."""
    write_experiment(tmp_path / "old", "a", seeds(1.0))
    write_experiment(tmp_path / "new", "a", seeds(2.0))
    output = invoke(tmp_path / "old", tmp_path / "new").output
    assert "no setting differs" in output
    assert "a (new) is above a (old) by 1 in return_mean" in output


def test_runs_that_did_not_end_are_marked_and_cut(tmp_path: Path) -> None:
    write_experiment(tmp_path, "a", {0: [1.0, 2.0, 3.0, 4.0]})
    write_record(tmp_path / "b", 400)
    config = {"env": "rllib_rnd/Catch-v0", "lr": 0.1, "seed": 0}
    write_trial(tmp_path / "b", results([5.0, 2.5], last={"done": True}), config)
    output = invoke(tmp_path).output
    assert "note: b, seed=0: stopped at 200 of 400 agent steps" in output
    assert "a is above b by 1.5" in output
    output = invoke(tmp_path, "--truncate-to-shortest").output
    assert "all runs cut to the shortest: 200 agent steps" in output
    assert "b is above a by 0.5" in output


def test_the_tasks_of_a_storage_one_after_the_other(tmp_path: Path) -> None:
    for env in ("CartPole-v1", "Acrobot-v1"):
        for name, lr in (("slow", 0.1), ("fast", 0.2)):
            write_experiment(tmp_path, f"{env}_{name}", seeds(lr), {"env": env, "lr": lr})
    write_experiment(tmp_path, "lone", seeds(0.1), {"env": "MountainCar-v0", "lr": 0.1})
    output = invoke(tmp_path).output
    assert output.count("lr=0.2 is above lr=0.1 by 0.1") == 2  # the same settings, the same name
    assert "MountainCar-v0: lr=0.1 alone, nothing to compare" in output


def test_another_metric(tmp_path: Path) -> None:
    write_experiment(tmp_path, "a", seeds(1.0, 1.0, 1.0))
    write_experiment(tmp_path, "b", seeds(2.0, 2.0, 2.0), {"lr": 0.1})
    assert "b is better than a by 1.00 [1.00, 1.00] in return_max" in invoke(tmp_path, "--metric", "return_max").output
    assert "a and b have the same entropy" in invoke(tmp_path, "--metric", "entropy").output


def test_curves_of_a_study() -> None:
    """Of this project's own: influence-aware memory on the warehouse."""
    output = invoke(Path(__file__).parents[2] / "experiments" / "memory" / "warehouse.csv").output
    assert cells(output, "IAM")[1] == "3"
    assert "IAM is better than GRU by 4." in output


@pytest.mark.parametrize("by", ["lr", "gamma"])
def test_by_a_setting(tmp_path: Path, by: str) -> None:
    for number, (lr, gamma) in enumerate([(0.1, 0.8), (0.1, 0.9), (0.2, 0.8), (0.2, 0.9)]):
        write_experiment(tmp_path, f"e{number}", seeds(lr + 10 * gamma), {"lr": lr, "gamma": gamma})
    output = invoke(tmp_path, "--by", by).output
    other = {"lr": "gamma: 0.8, 0.9", "gamma": "lr: 0.1, 0.2"}[by]
    assert f"holds runs of different {other}" in output
    assert ("lr=0.2 is above lr=0.1 by 0.1" if by == "lr" else "gamma=0.9 is above gamma=0.8 by 1") in output
