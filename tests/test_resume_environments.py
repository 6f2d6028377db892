"""Every family of environments: runs go on bit for bit in mid-episode, or are told which begin new episodes and why."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rllib_rnd.envs import list_environments, make_vector_env
from rllib_rnd.envs.by_id import GYMNASIUM_FAMILY, OWN_FAMILY
from rllib_rnd.sampling.episodes import EpisodeTracker
from tests.envs.test_families import NAMES, need_extra
from tests.resuming import assert_goes_on, assert_same_trees, building
from tests.test_resume import config

ATARI = {"frame_size": 40, "max_frames": 60, "noop_max": 4}  # 15 agent steps
#: Of each family (by its file): environments with options that make them small, in the middle of an episode after 10.
SAVED: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "atari": [("ALE/Pong-v5", ATARI | {"backend": "gymnasium", "flicker_prob": 0.5, "sticky_action_prob": 0.25})],
    "mario": [(NAMES["mario"], {"frame_size": 40, "noop_max": 3})],
    "doom": [(NAMES["doom"], {"frame_size": 40, "start": "dense"})],
    "deep_sea": [(NAMES["deep_sea"], {"size": 6, "noisy_tv": True})],
    "catch": [(NAMES["catch"], {"size": 9})],
    "point_maze": [(NAMES["point_maze"], {"max_steps": 12})],
    "warehouse": [(NAMES["warehouse"], {}), ("rllib_rnd/WarehouseMemory-v0", {})],
    "pixels": [(NAMES["pixels"], {"id": "CartPole-v1", "frame_size": 36})],
    "minigrid": [
        ("MiniGrid-MultiRoom-N2-S4-v0", {}),
        ("MiniGrid-Dynamic-Obstacles-5x5-v0", {}),
        ("MiniGrid-KeyCorridorS3R1-v0", {"observation": "compact", "fixed_layout_seed": 1}),
        ("MiniGrid-ObstructedMaze-1Dlhb-v0", {"observation": "full"}),
    ],
    "by_id": [
        (name, {})
        for name in (
            "CartPole-v1",
            "Acrobot-v1",
            "MountainCar-v0",
            "MountainCarContinuous-v0",
            "Pendulum-v1",
            "FrozenLake-v1",
            "Taxi-v3",
            "CliffWalking-v1",
            "Blackjack-v1",
        )
    ],
}
CASES = [(family, *case) for family, cases in SAVED.items() for case in cases]
# Families whose every engine is trained with, too: one for each way in which a state is kept.
TRAINED = ["atari", "point_maze", "warehouse", "minigrid", "by_id"]


class Wrapped(gym.Wrapper):
    """Keeps an object to itself."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.secret = [env]


def make_wrapped() -> gym.Env:
    return Wrapped(gym.make("CartPole-v1"))


def test_every_family_is_tried() -> None:
    assert set(SAVED) == {*NAMES, "by_id"} and len(list_environments()) == len(NAMES) + 2
    assert list_environments()[-2:] == [OWN_FAMILY, GYMNASIUM_FAMILY]


def plain(value: Any) -> Any:
    """A tree as it comes back from a file of arrays and JSON: tuples as lists, other objects not at all."""
    if isinstance(value, np.ndarray):
        assert value.dtype.kind in "biuf"
        return value.copy()
    if isinstance(value, dict):
        assert all(isinstance(key, str) for key in value)
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return json.loads(json.dumps(value))


@pytest.mark.parametrize(("family", "env_id", "env_config"), CASES, ids=[case[1] for case in CASES])
def test_a_state_is_plain_data_and_says_all(family: str, env_id: str, env_config: dict[str, Any]) -> None:
    need_extra(family)
    envs: list[Any] = [make_vector_env(env_id, 2, env_config) for _ in range(2)]
    first, other = envs
    assert first.can_clone_state
    first.reset(seed=5)
    first.action_space.seed(5)
    actions = [first.action_space.sample() for _ in range(32)]
    for action in actions[:10]:
        first.step(action)
    state = plain(first.clone_state())
    expected = [first.step(action)[:4] for action in actions[10:]]
    other.reset(seed=9)
    other.restore_state(state)
    got = [other.step(action)[:4] for action in actions[10:]]
    assert_same_trees(expected, got)
    assert set(first.state_rows) <= set(state) and all(len(state[name]) == 2 for name in first.state_rows)
    for env in envs:
        env.close()


def test_a_trackers_state_is_plain_data_and_says_all() -> None:
    tracker = EpisodeTracker(2)
    nothing = np.zeros(2, dtype=bool)
    tracker.start({"room": np.array([1, 2]), "progress": np.array([0.5, np.nan])})
    for step in range(5):
        done = np.array([step == 2, False])
        tracker.step(np.ones(2), done, np.array([step == 3, False]), {"room": np.array([step, 7])})
    states = [tracker.state()]
    again = EpisodeTracker.of_state(plain(states[0]))
    for one in (tracker, again):
        one.step(np.ones(2), ~nothing, nothing, {"room": np.array([3, 4]), "progress": np.array([1.0, 2.0])})
    assert_same_trees(tracker.state(), again.state())
    assert [e.state() for e in tracker.take_finished()] == [e.state() for e in again.take_finished()]
    assert tracker.take_visits() == again.take_visits() != {}


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("family", TRAINED)
def test_training_goes_on_in_mid_episode(family: str, tmp_path: Path) -> None:
    need_extra(family)
    env_id, env_config = SAVED[family][0]
    reward = {"type": "rnd", "feature_dim": 8, "hidden_sizes": [8]}
    made = config(env_id, env_config, intrinsic_reward=reward, warmup_steps=8, backbone="auto")
    result = assert_goes_on(made, tmp_path, before=1)
    if family in ("atari", "point_maze"):
        assert result["env_runners"]["episode_return_mean"] is not None  # episodes ended on the way


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(
    ("env_id", "env_config", "why"),
    [
        ("ALE/Pong-v5", ATARI | {"backend": "ale"}, r"C\+\+ keeps .*backend: gymnasium does not"),
        (f"{__name__}:make_wrapped", {}, "its wrapper Wrapped has no method clone_state and keeps its secret"),
    ],
)
def test_what_cannot_be_saved_is_named(
    env_id: str, env_config: dict[str, Any], why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = config(env_id, env_config)
    with building(made) as algorithm:
        algorithm.train()
        seeds = algorithm.env_runner.seeds.used
        algorithm.save_to_path(tmp_path)
    with caplog.at_level(logging.WARNING, logger="rllib_rnd"), building(made) as algorithm:
        algorithm.restore_from_path(tmp_path)
        (line,) = [record.getMessage() for record in caplog.records if "New episodes begin" in record.getMessage()]
        assert line.startswith(f"New episodes begin in {env_id}: ")
        assert re.search(why, line)
        assert algorithm.train()["training_iteration"] == 2
        assert algorithm.env_runner.seeds.used == seeds + 1  # not the first episodes once more
