"""MiniGrid: what the observations say, fixed layouts, options."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rllib_rnd.envs import make_env, make_vector_env
from rllib_rnd.envs.minigrid import MiniGridOneHotEnv
from rllib_rnd.envs.minigrid_rules import MiniGridOptions
from rllib_rnd.errors import ConfigError

pytest.importorskip("minigrid")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

DOOR_KEY = "MiniGrid-DoorKey-5x5-v0"
# The layout of seed 0 differs between MiniGrid versions; what is asked below does not depend on which it is.


def make(env_id: str = DOOR_KEY, **options: Any) -> MiniGridOneHotEnv:
    return MiniGridOneHotEnv(env_id, MiniGridOptions(**options))


@pytest.mark.parametrize("observation", ["partial", "full", "compact"])
def test_gymnasium_checker_passes(observation: str) -> None:
    check_env(make(observation=observation, fixed_layout_seed=0), skip_render_check=True)


def test_partial_view_says_what_minigrid_says() -> None:
    env = make("MiniGrid-KeyCorridorS3R2-v0")
    obs, _ = env.reset(seed=0)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(300):
        image = env.inner.gen_obs()["image"]
        cells = obs[:-4].reshape(7, 7, 20)
        np.testing.assert_array_equal(cells[..., :11].argmax(-1), image[..., 0])
        np.testing.assert_array_equal(cells[..., :11].sum(-1), 1)
        for (x, y), kind in np.ndenumerate(image[..., 0]):
            colored = kind in (3, 4, 5, 6, 7)
            assert cells[x, y, 11:17].sum() == colored
            assert not colored or cells[x, y, 11:17].argmax() == image[x, y, 1]
            assert cells[x, y, 17:].sum() == (kind == 4)
            assert kind != 4 or cells[x, y, 17:].argmax() == image[x, y, 2]
            seen.add(int(kind))
        assert obs[-4:].sum() == 1 and obs[-4:].argmax() == env.inner.agent_dir
        obs, _, terminated, truncated, _ = env.step(int(rng.integers(6)))
        if terminated or truncated:
            obs, _ = env.reset()
    assert {1, 2, 4, 5} <= seen  # empty, wall, door, key came into view


@pytest.mark.parametrize("observation", ["full", "compact"])
def test_whole_grid_observations_tell_every_state_from_every_other(observation: str) -> None:
    """Random play of a fixed layout: equal observations if and only if equal places, doors, objects."""
    env = make(observation=observation, fixed_layout_seed=1, max_steps=10_000)
    obs, _ = env.reset(seed=0)
    states: dict[Any, bytes] = {}
    rng = np.random.default_rng(0)
    for _ in range(3000):
        inner = env.inner
        things = tuple(None if o is None else o.encode() for o in inner.grid.grid)
        carrying = None if inner.carrying is None else inner.carrying.encode()
        key = (tuple(int(v) for v in inner.agent_pos), inner.agent_dir, things, carrying)
        assert states.setdefault(key, obs.tobytes()) == obs.tobytes()
        obs, _, terminated, truncated, _ = env.step(int(rng.integers(6)))
        if terminated or truncated:
            obs, _ = env.reset()
    assert len(set(states.values())) == len(states) > 50
    assert any(key[3] is not None for key in states)  # the key was picked up


def test_compact_is_as_small_as_the_layout_allows() -> None:
    env = make(observation="compact", fixed_layout_seed=0)
    env.reset()
    free = sum(o is None or o.type != "wall" for o in env.inner.grid.grid)
    # Agent's place, one door (open, locked), the key's plane, heading, key carried.
    assert env.observation_space.shape == (free + 2 + free + 4 + 1,)
    rooms = make("MiniGrid-MultiRoom-N4-S5-v1", observation="compact", fixed_layout_seed=0)
    # Not the 25 x 25 cells around the rooms.
    assert rooms.observation_space.shape is not None and rooms.observation_space.shape[0] < 100


def layout(env: MiniGridOneHotEnv) -> bytes:
    inner = env.inner
    return inner.grid.encode().tobytes() + bytes([*(int(v) for v in inner.agent_pos), inner.agent_dir])


def test_fixed_layout_is_the_same_in_every_episode_and_environment() -> None:
    env, other = make(fixed_layout_seed=7), make(fixed_layout_seed=7)
    layouts = set()
    for seed in (0, 1, None, None):
        for e in (env, other):
            e.reset(seed=seed)
            layouts.add(layout(e))
    assert len(layouts) == 1
    another = make(fixed_layout_seed=8)
    another.reset()
    assert layout(another) not in layouts


def test_free_layouts_differ_by_episode_and_repeat_by_seed() -> None:
    env = make("MiniGrid-MultiRoom-N4-S5-v1")

    def three(seed: int) -> list[bytes]:
        found = []
        for s in (seed, None, None):
            env.reset(seed=s)
            found.append(layout(env))
        return found

    first, again, other = three(0), three(0), three(1)
    assert len(set(first)) == 3
    assert first == again != other


def test_what_moves_in_a_fixed_layout_stays_random() -> None:
    env = make("MiniGrid-Dynamic-Obstacles-6x6-v0", fixed_layout_seed=0, actions=[0], observation="full")

    def paths(seed: int) -> list[bytes]:
        obs = [env.reset(seed=seed)[0].tobytes()]
        obs += [env.step(0)[0].tobytes() for _ in range(10)]
        env.reset()
        return obs + [env.step(0)[0].tobytes() for _ in range(10)]

    first = paths(0)
    assert first == paths(0)
    assert first[0] == paths(1)[0] and first != paths(1)
    assert first[1:11] != first[11:]  # the second episode is not the first again


def test_rewards_and_reduced_actions() -> None:
    """Empty-5x5: forward, forward, right, forward, forward reaches the goal with the fifth step."""
    route = [1, 1, 0, 1, 1]  # of the reduced actions [right, forward]
    for reward, expected in (("default", 1 - 0.9 * 5 / 50), ("sparse_one", 1.0)):
        env = make("MiniGrid-Empty-5x5-v0", actions=[1, 2], reward=reward, max_steps=50)
        assert env.action_space.n == 2  # type: ignore[attr-defined]
        env.reset(seed=0)
        steps = [env.step(a) for a in route]
        assert [s[1] for s in steps] == [0, 0, 0, 0, pytest.approx(expected)]
        assert [s[2] for s in steps] == [False] * 4 + [True]


def test_max_steps_truncates_and_a_goal_with_the_last_step_terminates() -> None:
    env = make("MiniGrid-Empty-5x5-v0", actions=[1, 2], max_steps=5)
    env.reset(seed=0)
    assert [env.step(0)[2:4] for _ in range(5)] == [(False, False)] * 4 + [(False, True)]
    env.reset()
    assert [env.step(a)[2:4] for a in (1, 1, 0, 1, 1)][-1] == (True, False)


def test_rooms_count_from_the_start() -> None:
    env = make_vector_env("MiniGrid-MultiRoom-N4-S5-v1", 4)
    assert env.reset(seed=0)[1]["room"].tolist() == [0, 0, 0, 0]
    single = make("MiniGrid-MultiRoom-N4-S5-v1")
    single.reset(seed=0)
    last = single.inner.rooms[-1]
    single.inner.agent_pos = (last.top[0] + 1, last.top[1] + 1)
    assert single.step(0)[4]["room"] == 3
    assert "room" not in make().reset()[1]
    corridor = make("MiniGrid-KeyCorridorS3R2-v0")
    assert 0 <= corridor.reset(seed=0)[1]["room"] < 6


@pytest.mark.parametrize("observation", ["partial", "full"])
def test_the_position_is_the_agents_cell(observation: str) -> None:
    env = make("MiniGrid-LavaCrossingS9N1-v0", observation=observation)
    assert env.position_shape == (9, 9)
    _, info = env.reset(seed=0)
    rng, seen = np.random.default_rng(0), set()
    for _ in range(200):
        row, column = divmod(info["position"], 9)
        assert (column, row) == tuple(env.inner.agent_pos)
        seen.add(info["position"])
        _, _, terminated, truncated, info = env.step(int(rng.integers(3)))
        if terminated or truncated:
            _, info = env.reset()
    assert 9 + 1 in seen and len(seen) > 3
    wide = make("MiniGrid-KeyCorridorS3R2-v0")  # 5 rows, 7 columns
    info = wide.reset(seed=0)[1]
    assert wide.position_shape == (wide.inner.height, wide.inner.width) == (5, 7)
    assert info["position"] == wide.inner.agent_pos[1] * 7 + wide.inner.agent_pos[0]


def test_positions_and_rooms_of_a_vector() -> None:
    env = make_vector_env("MiniGrid-MultiRoom-N4-S5-v1", 3)
    info = env.reset(seed=0)[1]
    assert info["position"].shape == (3,) and info["_position"].all()
    assert set(info) == {"position", "_position", "room", "_room"}
    assert set(make().reset()[1]) == {"position"}  # a task without rooms


@pytest.mark.parametrize("observation", ["partial", "full", "compact"])
def test_a_restored_environment_goes_on_the_same(observation: str) -> None:
    config = {"observation": observation, "fixed_layout_seed": 0, "max_steps": 40}
    env = make_vector_env("MiniGrid-KeyCorridorS3R1-v0", 2, config)
    env.reset(seed=0)
    actions = np.random.default_rng(0).integers(6, size=(120, 2))
    for a in actions[:25]:
        env.step(a)
    state = env.clone_state()  # type: ignore[attr-defined]
    expected = [env.step(a) for a in actions]
    fresh = make_vector_env("MiniGrid-KeyCorridorS3R1-v0", 2, config)
    fresh.reset(seed=5)
    fresh.restore_state(state)  # type: ignore[attr-defined]
    for a, step in zip(actions, expected, strict=True):
        for x, y in zip(fresh.step(a)[:4], step[:4], strict=True):
            np.testing.assert_array_equal(x, y)
    assert any(step[3].any() for step in expected)


def test_bad_options_are_refused() -> None:
    for config, message in (
        ({"observation": "ful"}, "'full'"),
        ({"observation": "compact"}, "fixed_layout_seed"),
        ({"actions": [0, 7]}, "0 to 6"),
        ({"actions": [0, 0]}, "each once"),
        ({"actions": []}, "at least one"),
        ({"agent_view_size": 4}, "agent_view_size"),
        ({"max_step": 4}, "'max_steps'"),
    ):
        with pytest.raises(ConfigError, match=message):
            make_vector_env(DOOR_KEY, 1, config)
    with pytest.raises(ConfigError, match="Nearest: MiniGrid-DoorKey-5x5-v0"):
        make_vector_env("MiniGrid-DorKey-5x5-v0", 1)


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "minigrid", None)
    with pytest.raises(ConfigError, match=r'pip install "rllib_rnd\[minigrid\]"'):
        make_vector_env(DOOR_KEY, 1)


def test_rendering() -> None:
    env = make_env(DOOR_KEY, {"observation": "full"}, render_mode="rgb_array")
    env.reset(seed=0)
    frame: Any = env.render()
    assert frame.ndim == 3 and frame.shape[2] == 3 and frame.dtype == np.uint8
