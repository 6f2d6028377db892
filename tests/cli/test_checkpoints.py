"""Finding checkpoints: the newest complete one, whatever was cut short."""

import itertools
import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune import Checkpoint

from rllib_rnd.checkpoints import checkpoints_in, is_complete, result_at
from rllib_rnd.cli.checkpoints import KeepCheckpoints, StartFrom, find_checkpoint, start_from
from rllib_rnd.cli.jobs import Job, _already_done, _resumed
from rllib_rnd.cli.train_options import TrainOptions
from rllib_rnd.errors import ConfigError
from rllib_rnd.experiment.file import CheckpointOptions, load_experiments

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


def result_of(value: float | None, iteration: int) -> dict[str, Any]:
    returns = {} if value is None else {"episode_return_mean": value}
    return {"training_iteration": iteration, "env_runners": returns}


def write_sweep(folder: Path, returns: dict[str, float | None]) -> None:
    for number, (label, value) in enumerate(returns.items()):
        trial = folder / f"RND_x_83cf0_{number:05d}_{label}_2026-01-02_03-04-{number:02d}"
        write_checkpoint(trial / "checkpoint_000000", iteration=2)
        line = json.dumps(result_of(value, 2))
        (trial / "result.json").write_text(f"{line}\n", encoding="utf-8")


@pytest.mark.parametrize("order", list(itertools.permutations([None, 0.5, 0.93, -1.0])))
def test_a_sweep_means_its_best_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], order: tuple[float | None, ...]
) -> None:
    write_sweep(tmp_path, {f"lr=1e-0{i},seed=0": value for i, value in enumerate(order)})
    best = order.index(0.93)
    assert f"_lr=1e-0{best},seed=0_" in find_checkpoint(tmp_path).parent.name
    assert capsys.readouterr().out == f"best of 4 trials by return_mean: lr=1e-0{best}, seed=0 (0.93)\n"
    trial = find_checkpoint(next(tmp_path.glob("*_00000_*"))).parent  # named itself, it is meant itself
    assert "_lr=1e-00,seed=0_" in trial.name and capsys.readouterr().out == ""


@pytest.mark.parametrize("value", ["0.0001", "{grid_search: [0.0001]}"])
def test_a_lone_run_goes_on_from_its_newest_checkpoint(tmp_path: Path, value: str) -> None:
    """Also where its trials have labels: each resume has a trial folder of its own."""
    file, storage = tmp_path / "x.yaml", tmp_path / "results"
    file.write_text(f"x: {{run: PPO, env: CartPole-v1, config: {{lr: {value}}}}}", encoding="utf-8")
    write_sweep(storage / "x", {"lr=0.0001": 0.9, "lr=0.0001,": 0.1})
    job = _resumed(load_experiments(file)[0], "x", TrainOptions(storage=str(storage)), "start")
    assert job.start is not None and "_00001_" in job.start.checkpoint and job.begun is None


def test_a_sweep_without_returns_means_its_newest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sweep(tmp_path, {"lr=1": None, "lr=2": None})
    assert "_lr=2_" in find_checkpoint(tmp_path).parent.name
    assert capsys.readouterr().out == "newest of 2 trials, as none has a return: lr=2\n"


def test_of_several_experiments_the_newest_is_meant_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is meant of it is what its own folder means: of a sweep the best trial."""
    write_checkpoint(tmp_path / "alone" / TRIAL.replace("03-04-05", "03-00-00") / "checkpoint_000007")
    write_sweep(tmp_path / "more" / "sweep", {"lr=1": 0.9, "lr=2": 0.1})
    found = find_checkpoint(tmp_path)
    assert "_lr=1_" in found.parent.name and found == find_checkpoint(tmp_path / "more" / "sweep")
    best = "best of 2 trials by return_mean: lr=1 (0.9)\n"
    assert capsys.readouterr().out == f"newest of 2 experiments: more/sweep\n{best}{best}"
    write_checkpoint(tmp_path / "alone" / TRIAL.replace("03-04-05", "03-09-00") / "checkpoint_000000")
    assert find_checkpoint(tmp_path).parents[1].name == "alone"
    assert capsys.readouterr().out == "newest of 2 experiments: alone\n"
    find_checkpoint(tmp_path / "alone")
    find_checkpoint(tmp_path / "alone" / TRIAL.replace("03-04-05", "03-00-00") / "checkpoint_000007")
    assert capsys.readouterr().out == "", "one experiment, though it was resumed"


@pytest.mark.parametrize("order", ["max", "min"])
@pytest.mark.parametrize("keep", [1, 2, None])
@pytest.mark.parametrize("metric", ["env_runners/episode_return_mean", "episode_return_mean"])  # both as in ``stop``
@pytest.mark.parametrize("returns", list(itertools.permutations([1.0, 2.0, 3.0, None])))
def test_the_best_checkpoints_are_kept_and_the_newest(
    tmp_path: Path, order: str, keep: int | None, metric: str, returns: tuple[float | None, ...]
) -> None:
    options = CheckpointOptions(num_to_keep=keep, checkpoint_score_attribute=metric, checkpoint_score_order=order)
    keeper, trial_folder = KeepCheckpoints(options), tmp_path / TRIAL
    trial_folder.mkdir()
    for number, value in enumerate(returns):
        if number == 2:
            keeper = KeepCheckpoints(options)  # a run that goes on finds what it had
        folder = write_checkpoint(trial_folder / f"checkpoint_{number:06d}", iteration=number)
        result = result_of(value, number)
        with (trial_folder / "result.json").open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
        trial: Any = SimpleNamespace(trial_id="a", last_result=result)
        keeper.on_checkpoint(trial=trial, checkpoint=Checkpoint.from_directory(str(folder)))
    sign = 1.0 if order == "max" else -1.0
    ranked = sorted(
        range(4), key=lambda i: float("-inf") if returns[i] is None else sign * (returns[i] or 0.0), reverse=True
    )
    kept = {int(path.name[-6:]) for path in trial_folder.glob("checkpoint_*")}
    assert kept == {*ranked[:keep], 3}
    best = keeper.best(str(trial_folder))
    assert best == (str(trial_folder / f"checkpoint_{ranked[0]:06d}"), returns[ranked[0]])


def kept_after(folder: Path, returns: list[list[float]], options: CheckpointOptions, lone: bool) -> list[str]:
    """Checkpoints that a run has, a trial folder for each time it went on, with the returns that it saved them at."""
    number = 0
    for hour, values in enumerate(returns):
        keeper = KeepCheckpoints(options, lone=lone)  # another process
        trial_folder = folder / TRIAL.replace("03-04-05", f"{hour + 3:02d}-04-05")
        for index, value in enumerate(values):
            number += 1
            path = write_checkpoint(trial_folder / f"checkpoint_{index:06d}", iteration=number)
            with (trial_folder / "result.json").open("a", encoding="utf-8") as file:
                file.write(json.dumps(result_of(value, number)) + "\n")
            trial: Any = SimpleNamespace(trial_id=str(hour), last_result=result_of(value, number), checkpoint=None)
            newest = Checkpoint.from_directory(str(path))
            before = checkpoints_in(folder)
            keeper.on_checkpoint(trial=trial, trials=[trial], checkpoint=newest)
            assert path.is_dir() and before[-1] == path  # what was gone on from stays until a newer one is there
    best = keeper.best(str(trial_folder))
    assert best is None or Path(best[0]).is_dir()
    return [f"{path.parent.name[-8:-6]}/{path.name[-1]}" for path in checkpoints_in(folder)]


def test_what_a_lone_run_keeps_is_counted_over_all_its_folders(tmp_path: Path) -> None:
    newest = CheckpointOptions(num_to_keep=2)
    best = CheckpointOptions(num_to_keep=2, checkpoint_score_attribute="env_runners/episode_return_mean")
    returns = [[1.0, 9.0, 2.0], [3.0], [4.0, 5.0]]
    assert kept_after(tmp_path / "newest", returns, newest, lone=True) == ["05/0", "05/1"]
    assert kept_after(tmp_path / "best", returns, best, lone=True) == ["03/1", "05/1"]
    # Each trial of a sweep keeps its own.
    assert kept_after(tmp_path / "sweep", returns, newest, lone=False) == ["03/1", "03/2", "04/0", "05/0", "05/1"]
    assert kept_after(tmp_path / "one", [[1.0], [2.0]], CheckpointOptions(num_to_keep=1), lone=True) == ["04/0"]


def test_what_another_trial_is_to_start_from_is_not_deleted(tmp_path: Path) -> None:
    keeper = KeepCheckpoints(CheckpointOptions(num_to_keep=1))
    donor: Any = SimpleNamespace(trial_id="a", last_result={}, checkpoint=None)
    copy: Any = SimpleNamespace(trial_id="b", last_result={}, checkpoint=None)
    for number in range(4):
        path = write_checkpoint(tmp_path / TRIAL / f"checkpoint_{number:06d}", iteration=number)
        keeper.on_checkpoint(trial=donor, trials=[donor, copy], checkpoint=Checkpoint.from_directory(str(path)))
        if number == 1:  # population based training has given it to a trial that waits
            copy.checkpoint = Checkpoint.from_directory(str(path))
        if number == 2:
            assert [found.name[-1] for found in checkpoints_in(tmp_path)] == ["1", "2"]
            copy.checkpoint = None  # it has started
    assert [found.name[-1] for found in checkpoints_in(tmp_path)] == ["3"]


def test_where_a_run_goes_on_is_said_also_if_a_kill_came_before_the_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = write_checkpoint(tmp_path / TRIAL / "checkpoint_000003", iteration=6)
    experiment: Any = SimpleNamespace(stop={"agent_steps": 100})
    assert not _already_done(Job(experiment, "run", "x", start=StartFrom(str(made))), "rllib train x.yaml")
    assert f"continuing from {made} (iteration 6)." in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("stop", "command"),
    [
        ({"training_iteration": 3}, "rllib train x.yaml --name run --resume --stop iteration=8"),
        ({"env_runners/episode_return_mean": 0.5}, "rllib train x.yaml --name run --resume --stop return_mean=NUMBER"),
        (  # all that it has reached, and nothing that it has not
            {"env_runners/episode_return_mean": 0.5, "training_iteration": 3, "time_total_s": 100},
            "rllib train x.yaml --name run --resume --stop return_mean=NUMBER --stop iteration=8",
        ),
    ],
)
def test_a_run_that_has_reached_its_end_has_a_command_that_takes_it_further(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stop: dict[str, float], command: str
) -> None:
    made = write_checkpoint(tmp_path / TRIAL / "checkpoint_000003", iteration=4)
    result = {"training_iteration": 4, "env_runners": {"episode_return_mean": 0.7}}
    (tmp_path / TRIAL / "result.json").write_text(json.dumps(result) + "\n", encoding="utf-8")
    experiment: Any = SimpleNamespace(stop=stop)
    job = Job(experiment, "run", "x", start=StartFrom(str(made)))
    assert _already_done(job, "rllib train x.yaml --name run --resume")
    assert "To go on, raise it:\n" in (said := capsys.readouterr().out)
    assert said.rstrip().endswith(command)
