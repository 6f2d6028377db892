"""What a checkpoint is refused for is told before anything starts: what restoring it would say, and no more."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from rllib_rnd import RND
from rllib_rnd.checkpoints.format import OWN_STATE
from rllib_rnd.checkpoints.reading import read_state
from rllib_rnd.checkpoints.restoring import Saved, check_restorable, saved_in_state, settings_of
from rllib_rnd.cli.folders import RECORD, RunRecord, as_before, claim, trials_in, update
from rllib_rnd.cli.jobs import _tell_changes
from rllib_rnd.cli.startable import check_startable
from rllib_rnd.errors import ConfigError
from tests.conftest import small_config
from tests.test_restoring import CHANGES, REWARD, build


@pytest.fixture(scope="module")
def checkpoint(ray_session: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """After one iteration."""
    algorithm = configured().build_algo()
    algorithm.train()
    folder = Path(algorithm.save_to_path(tmp_path_factory.mktemp("trained") / "checkpoint"))
    algorithm.stop()
    return folder


@pytest.fixture(scope="module")
def saved(checkpoint: Path) -> Saved:
    state = read_state(checkpoint)
    return saved_in_state(state, state[OWN_STATE])


def configured(**changes: Any) -> Any:
    return small_config(**{"intrinsic_reward": REWARD, "num_epochs": 1, **changes})


OTHERS: list[tuple[str, Any]] = [("warmup_steps", 7), ("backbone", "mlp")]


@pytest.mark.parametrize(("name", "value"), [*CHANGES, *OTHERS], ids=str)
def test_it_is_refused_for_what_restoring_would_refuse(checkpoint: Path, saved: Saved, name: str, value: Any) -> None:
    assert _said(lambda: check_startable(checkpoint, configured(**{name: value}))) == _said(
        lambda: _restore(saved, configured(**{name: value}))
    )


def _restore(saved: Saved, config: Any) -> None:
    config.validate()
    check_restorable(saved, settings_of(config), build(config).tensor_shapes())


def _said(act: Any) -> str:
    try:
        act()
    except ConfigError as error:
        return str(error)
    return ""


def test_both_answers_are_among_them(checkpoint: Path) -> None:
    check_startable(checkpoint, configured())
    with pytest.raises(ConfigError, match=r"^intrinsic_reward.feature_dim: 8 differs from the checkpoint"):
        check_startable(checkpoint, configured(intrinsic_reward={**REWARD, "feature_dim": 8}))


class OwnSea(gym.Env):
    """May take its time, so that nothing but a training makes it."""

    def __init__(self) -> None:
        raise AssertionError("it is made")


@pytest.mark.parametrize(
    ("env", "env_config", "refused"),
    [
        ("rllib_rnd/DeepSea-v0", {"size": 5}, ""),
        ("rllib_rnd/DeepSea-v0", {"size": 9}, "env_config.size: 9 differs from the checkpoint"),
        ("rllib_rnd/Catch-v0", {}, "env: 'rllib_rnd/Catch-v0' differs from the checkpoint"),
        (f"{__name__}:OwnSea", {}, ""),
    ],
)
def test_another_environment_is_refused_where_it_may_be_made(
    checkpoint: Path, env: str, env_config: Mapping[str, Any], refused: str
) -> None:
    config = configured().environment(env, env_config=dict(env_config))
    said = _said(lambda: check_startable(checkpoint, config))
    assert said.startswith(refused) and bool(said) == bool(refused)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"lr": 0.5, "lambda_": 0.5}, [("lambda", 0.95, 0.5), ("lr", 1e-4, 0.5)]),
        ({"intrinsic_reward": {**REWARD, "coeff": 3.0}}, [("intrinsic_reward.coeff", None, 3.0)]),
    ],
)
def test_what_goes_on_otherwise_is_told(checkpoint: Path, changes: dict[str, Any], told: list[Any]) -> None:
    """Against the checkpoint, not against what was tried since and trained nothing."""
    assert sorted(check_startable(checkpoint, configured(**changes))) == told


def test_changes_are_said_with_the_command_that_began_it(capsys: pytest.CaptureFixture[str]) -> None:
    _tell_changes("x", [f"s{i} 1 -> 2" for i in range(7)], RunRecord("x", "rllib train x.yaml --set lr=0.2", "1"))
    said = capsys.readouterr().out
    assert said.startswith("x: goes on with other settings: s0 1 -> 2, ") and "s4 1 -> 2, and 2 more.\n" in said
    assert said.endswith("It was started by: rllib train x.yaml --set lr=0.2\n")
    _tell_changes("x", [], None)
    assert not capsys.readouterr().out


def test_a_checkpoint_that_cannot_be_read_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    (copy / "learner.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"its learner.json cannot be read"):
        check_startable(copy, configured())


def test_a_run_that_could_not_go_on_is_what_it_was(tmp_path: Path) -> None:
    name = claim(str(tmp_path), "x", RunRecord("x", "c", "1", description={"lr": 1.0}))
    run = tmp_path / name
    for trial in ("first", "second"):
        (run / trial).mkdir()
        (run / trial / "result.json").write_text("{}\n" if trial == "first" else "", encoding="utf-8")
    record, trials = (run / RECORD).read_text(encoding="utf-8"), trials_in(run)
    update(str(tmp_path), name, {"lr": 2.0}, {})
    for trial in ("refused", "trained"):
        (run / trial).mkdir()
        (run / trial / "error.txt").touch()
    (run / "trained" / "result.json").write_text("{}\n", encoding="utf-8")
    as_before(run, record, trials)
    assert (run / RECORD).read_text(encoding="utf-8") == record
    assert {path.name for path in trials_in(run)} == {"first", "second", "trained"}


def test_from_python_a_runs_folder_means_its_newest_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "run" / "trial" / "checkpoint_000001")
    algorithm = RND.from_checkpoint(tmp_path / "run")
    assert algorithm.training_iteration == 1
    algorithm.stop()
