"""What a checkpoint is refused for is told before anything starts: what restoring it would say, and no more."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rllib_rnd.checkpoints.format import OWN_STATE
from rllib_rnd.checkpoints.reading import read_state
from rllib_rnd.checkpoints.restoring import Saved, check_restorable, saved_in_state, settings_of
from rllib_rnd.cli.folders import RECORD, RunRecord, as_before, claim, trials_in, update
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


@pytest.mark.parametrize("env_config", [{"size": 5}, {"size": 9}])
def test_another_environment_is_left_to_building(checkpoint: Path, env_config: Mapping[str, Any]) -> None:
    config = configured()
    config.environment(env_config=dict(env_config))
    check_startable(checkpoint, config)


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
