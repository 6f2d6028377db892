"""Checkpoints of every format that is read: those of former releases, and what runs of this one's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.rllib.algorithms.algorithm import Algorithm
from safetensors import safe_open

import rllib_rnd
from rllib_rnd.checkpoints import checkpoint_config, find_checkpoint, iteration_of, load_module, read_manifest, verify
from rllib_rnd.checkpoints.content import OBJECTS
from rllib_rnd.checkpoints.format import CHECKPOINT_FORMAT, check_checkpoint, format_of
from rllib_rnd.checkpoints.manifest import MANIFEST
from rllib_rnd.checkpoints.reading import algorithm_state, read_state
from rllib_rnd.errors import ConfigError
from tests.checkpoints.make_data import config
from tests.conftest import small_config
from tests.test_algorithm import assert_same, weights

DATA = Path(__file__).with_name("data")
FORMATS = (3, 4)


def test_each_format_that_is_read_has_a_checkpoint_here() -> None:
    assert {format_of(DATA / f"format_{number}") for number in FORMATS} == set(FORMATS)
    assert max(FORMATS) == CHECKPOINT_FORMAT, "a new format needs one: see data/README.md"
    size = sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file())
    assert size < 400_000


@pytest.mark.parametrize("number", FORMATS)
@pytest.mark.usefixtures("ray_session")
def test_a_checkpoint_of_a_former_release_is_loaded_and_trained_on(number: int, tmp_path: Path) -> None:
    folder = find_checkpoint(DATA / f"format_{number}")
    assert iteration_of(folder) == 2
    algorithm = rllib_rnd.RND.from_checkpoint(folder)
    module = load_module(folder)
    assert_same(weights(algorithm), {name: np.asarray(value) for name, value in module.get_state().items()})
    assert algorithm.config.seed == 3 and algorithm.warmed_up
    state = algorithm.get_state()
    assert state["intrinsic_ppo"]["recent_episodes"] and state["intrinsic_ppo"]["places"]["position"]["visits"]
    moments = next(iter(state["learner_group"]["learner"]["optimizer"].values()))["state"]["state"]
    assert any(np.any(entry["exp_avg_sq"]) for entry in moments.values())
    before = state["intrinsic_ppo"]["places"]["position"]["visits"].copy()
    result = algorithm.train()
    assert result["training_iteration"] == 3 and result["learners"]["default_policy"]["nonfinite_updates"] == 0
    assert result["env_runners"]["num_env_steps_sampled_lifetime"] > 120
    assert sum(algorithm.places["position"].visits.values()) > sum(before.values())
    path = algorithm.save_to_path(tmp_path / "again")
    algorithm.stop()
    assert read_manifest(path).format == CHECKPOINT_FORMAT and verify(path) == []


def test_the_two_hold_the_same_run() -> None:
    old, new = (read_state(DATA / f"format_{number}") for number in FORMATS)
    modules = [state["learner_group"]["learner"]["rl_module"]["default_policy"] for state in (old, new)]
    assert {name: value.shape for name, value in modules[0].items()} == {n: v.shape for n, v in modules[1].items()}
    for name in ("training_iteration", "metrics_logger", "intrinsic_ppo", "env_runner"):
        assert name in old and name in new
    for key in new["intrinsic_ppo"]:
        assert key in old["intrinsic_ppo"], key
    assert set(new["learner_group"]["learner"]["intrinsic_ppo"]) == set(
        old["learner_group"]["learner"]["intrinsic_ppo"]
    )
    assert checkpoint_config(DATA / "format_3").env == checkpoint_config(DATA / "format_4").env


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / "format_4", tmp_path / "checkpoint_000000"))


def with_format(folder: Path, number: int) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["format"], manifest["versions"]["rllib_rnd"] = number, "9.1"
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


@pytest.mark.parametrize("number", [1, 2, CHECKPOINT_FORMAT + 1])
def test_another_format_is_refused_with_the_versions_that_wrote_it(copied: Path, number: int) -> None:
    with_format(copied, number)
    words = rf"its format is {number}, of another version of rllib_rnd, rllib_rnd 9\.1, ray 2.* allowed is 4"
    for refuses in (check_checkpoint, find_checkpoint, rllib_rnd.RND.from_checkpoint):
        with pytest.raises(ConfigError, match=words):
            refuses(str(copied))


def test_nothing_is_unpickled_where_all_is_plain_data(copied: Path) -> None:
    """Pickles in it that would be no pickles: nobody asks them."""
    assert not (copied / OBJECTS).exists()
    for path in copied.glob("*.pkl"):
        path.write_bytes(b"no pickle")
    assert load_module(copied) and checkpoint_config(copied).env == "rllib_rnd/DeepSea-v0"
    assert read_state(copied)["training_iteration"] == 2 and algorithm_state(copied)["intrinsic_ppo"]["warmed_up"]


def test_others_read_weights_and_settings_without_this_package() -> None:
    with safe_open(DATA / "format_4" / "module.safetensors", framework="numpy") as file:
        assert file.get_tensor("policy_head.1.weight").dtype == np.float32
    settings = json.loads((DATA / "format_4" / "config.json").read_text())["settings"]
    assert settings["lambda"] == 0.95 and settings["intrinsic_reward"]["type"] == "rnd"
    assert settings["env_config"] == {"size": 5}


@pytest.mark.usefixtures("ray_session")
def test_python_objects_are_in_their_own_file_and_come_back(tmp_path: Path) -> None:
    algorithm = small_config(env="CartPole-v1", warmup_steps=0).callbacks(on_train_result=_noted).build_algo()
    state = {**algorithm.get_state(), "of_a_user": [_noted]}
    path = Path(algorithm.save_to_path(tmp_path / "c", state=state))
    algorithm.stop()
    assert (path / OBJECTS).exists() and read_state(path)["of_a_user"] == [_noted]
    content = json.loads((path / "config.json").read_text())
    assert content["python"] == ["callbacks_on_train_result"]
    config = checkpoint_config(path)
    assert config.callbacks_on_train_result is _noted


def _noted(**_: Any) -> None:
    """A callback."""


@pytest.mark.usefixtures("ray_session")
def test_rllibs_own_loader_and_parts_of_a_checkpoint_work(tmp_path: Path) -> None:
    folder = DATA / "format_4"
    algorithm: Any = Algorithm.from_checkpoint(str(folder))
    saved = weights(algorithm)
    assert algorithm.training_iteration == 2
    algorithm.train()
    part = "learner_group/learner/rl_module"
    algorithm.restore_from_path(str(folder / part), component=part)  # as RLlib's documentation has it
    assert_same(weights(algorithm), saved)
    assert algorithm.training_iteration == 3, "of that part nothing else was taken"
    with pytest.raises(ConfigError, match=r"^component: unknown component 'learners'.*Did you mean 'learner_group'"):
        algorithm.restore_from_path(str(folder), component="learners")
    address = algorithm.save_to_path("memory://formats/checkpoint_000000")
    algorithm.restore_from_path(address)
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    (damaged / "learner.json").write_bytes((damaged / "learner.json").read_bytes()[:-1] + b" ")
    before = weights(algorithm)
    with pytest.raises(ConfigError, match=r"learner\.json is damaged"):
        algorithm.restore_from_path(damaged)
    assert_same(weights(algorithm), before)
    with pytest.raises(ConfigError, match=r"^use_msgpack: there is one format"):
        algorithm.save_to_path(tmp_path / "m", use_msgpack=True)
    algorithm.stop()


@pytest.mark.usefixtures("ray_session")
def test_another_architecture_is_refused_by_its_fields(tmp_path: Path) -> None:
    other = config().training(backbone={"type": "mlp", "hidden_sizes": [24], "activation": "relu"})  # type: ignore[attr-defined]
    algorithm = other.build_algo()
    before = weights(algorithm)
    for number in FORMATS:
        with pytest.raises(ConfigError, match=r"^backbone\.hidden_sizes: \[24\] differs .* allowed is \[16\]"):
            algorithm.restore_from_path(DATA / f"format_{number}")
    assert_same(weights(algorithm), before)
    algorithm.stop()
