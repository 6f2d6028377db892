"""MiniGrid on envpool against the Python package: step by step with equal layouts, and what layouts there are."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from rllib_rnd.envs import backend_note, make_vector_env
from rllib_rnd.envs.minigrid import MiniGridOneHotEnv
from rllib_rnd.envs.minigrid_backends import find_backend
from rllib_rnd.envs.minigrid_native import EnvPoolMiniGridVectorEnv
from rllib_rnd.envs.minigrid_rules import MiniGridOptions
from rllib_rnd.errors import ConfigError

if importlib.util.find_spec("envpool") is None or importlib.util.find_spec("minigrid") is None:
    pytest.skip("the extras minigrid and envpool are not installed", allow_module_level=True)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

DOOR_KEY = "MiniGrid-DoorKey-5x5-v0"
EMPTY = "MiniGrid-Empty-5x5-v0"
LEFT, RIGHT, FORWARD, PICKUP = range(4)


def make(env_id: str, num_envs: int = 4, backend: str = "envpool", **options: Any) -> Any:
    return make_vector_env(env_id, num_envs, {"backend": backend, **options}, num_threads=1)


@pytest.mark.parametrize("env_id", [EMPTY, "MiniGrid-Empty-8x8-v0"])
@pytest.mark.parametrize(
    "options",
    [{}, {"actions": [2, 1]}, {"actions": [2, 1], "max_steps": 17, "reward": "sparse_one"}],
    ids=["all actions", "two actions", "time limit"],
)
def test_tasks_without_random_layout_are_the_same_step_by_step(env_id: str, options: dict[str, Any]) -> None:
    native, python = make(env_id, **options), make(env_id, backend="minigrid", **options)
    assert "EnvPool" in type(native).__name__
    assert native.single_observation_space == python.single_observation_space
    assert native.single_action_space == python.single_action_space
    assert native.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    assert native.position_shape == python.envs[0].position_shape
    assert_same((*native.reset(seed=5),), (*python.reset(seed=5),))
    rng, ends = np.random.default_rng(0), np.zeros(2, int)
    for _ in range(1200):
        actions = rng.integers(native.single_action_space.n, size=4)
        got, expected = native.step(actions), python.step(actions)
        assert_same(got, expected)
        ends += [expected[2].sum(), expected[3].sum()]
    assert ends.min() > 0 or "max_steps" not in options
    assert ends.sum() > 0
    assert native.reset()[0].shape == (4, 984)


def assert_same(got: tuple[Any, ...], expected: tuple[Any, ...]) -> None:
    *arrays, info = got
    *expected_arrays, expected_info = expected
    for a, b in zip([*arrays, *info.values()], [*expected_arrays, *(expected_info[k] for k in info)], strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    assert info.keys() == expected_info.keys()


def load_layout(env: MiniGridOneHotEnv, state: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """Gives a Python task the layout that envpool made; returns what its reset would."""
    from minigrid.core.constants import IDX_TO_COLOR, IDX_TO_OBJECT
    from minigrid.core.world_object import WorldObj

    env.reset(seed=0)
    inner = env.inner
    codes = np.array(state.grid).reshape(state.width, state.height, 3)
    for x, y in np.ndindex(state.width, state.height):
        inner.grid.set(x, y, WorldObj.decode(*(int(code) for code in codes[x, y])))
    inner.agent_pos, inner.agent_dir = state.agent_pos, state.agent_dir
    for name in ("obj", "door"):  # what is to be picked up, or opened
        if hasattr(inner, name):
            wanted = IDX_TO_OBJECT[state.target_type], IDX_TO_COLOR[state.target_color]
            (found,) = [o for o in inner.grid.grid if o is not None and (o.type, o.color) == wanted]
            setattr(inner, name, found)
    return env._observe(inner.gen_obs()), env._info()


@pytest.mark.parametrize(
    ("env_id", "options", "steps"),
    [
        (DOOR_KEY, {"max_steps": 150}, 700),
        ("MiniGrid-KeyCorridorS3R1-v0", {"actions": [0, 1, 2, 3, 5]}, 1200),
        ("MiniGrid-LavaGapS6-v0", {"max_steps": 9}, 200),
        ("MiniGrid-LockedRoom-v0", {}, 600),
        ("MiniGrid-Unlock-v0", {"reward": "sparse_one"}, 700),
    ],
)
def test_tasks_with_random_layouts_are_the_same_in_equal_layouts(
    env_id: str, options: dict[str, Any], steps: int
) -> None:
    """envpool's layouts are loaded into the Python tasks; then all is equal, ends in the last allowed step too."""
    native = make(env_id, **options)
    single = [MiniGridOneHotEnv(env_id, MiniGridOptions(**options)) for _ in range(4)]
    obs, info = native.reset(seed=1)
    needs_reset, ends, rooms = np.ones(4, bool), np.zeros(3, int), set()
    rng = np.random.default_rng(2)
    actions = terminated = truncated = np.zeros(4, int)
    reward = np.zeros(4)
    for _ in range(steps):
        states = native._env.debug_states() if needs_reset.any() else []
        for i, env in enumerate(single):
            if needs_reset[i]:
                expected: Any = (*load_layout(env, states[i]), 0.0, False, False)
            else:
                own_obs, own_reward, *own_end, own_info = env.step(int(actions[i]))
                expected = (own_obs, own_info, own_reward, *own_end)
            np.testing.assert_array_equal(obs[i], expected[0])
            told = {key: info[key][i] for key in ("position", "room") if info.get(f"_{key}", np.zeros(4))[i]}
            assert (told, reward[i], terminated[i], truncated[i]) == expected[1:]
            ends += [expected[2] > 0, expected[3], expected[4]]
            rooms.add(told.get("room"))
        needs_reset = (terminated | truncated).astype(bool)
        actions = rng.choice([LEFT, RIGHT, *[FORWARD] * 3, *range(PICKUP, native.single_action_space.n)], size=4)
        obs, reward, terminated, truncated, info = native.step(actions)
    assert ends[1] + ends[2] > 4
    if env_id == "MiniGrid-LockedRoom-v0":
        assert len(rooms) > 2 and None in rooms  # the hallway is no room


@pytest.mark.parametrize("env_id", [DOOR_KEY, "MiniGrid-KeyCorridorS3R2-v0", "MiniGrid-GoToObject-6x6-N2-v0"])
def test_layouts_are_alike_on_average(env_id: str) -> None:
    """The mean of each bit of the first observation, within the error of so many layouts."""
    native, python = make(env_id, 400), make(env_id, 400, backend="minigrid")
    got, expected = (np.concatenate([env.reset(seed=s)[0] for s in (0, 400)]).mean(0) for env in (native, python))
    error = np.sqrt((got * (1 - got) + expected * (1 - expected)) / 800)
    assert (np.abs(got - expected) <= 5 * error + 0.005).all()
    assert (error > 0).sum() > 50


def test_random_play_ends_alike() -> None:
    """Lava: mean length, share of goals, and the discounted reward, each within four standard errors."""
    results = []
    for backend in ("envpool", "minigrid"):
        env, episodes = make("MiniGrid-LavaGapS5-v0", 100, backend=backend), []
        env.reset(seed=3)
        rng, length, over = np.random.default_rng(0), np.zeros(100), np.zeros(100, bool)
        for _ in range(150):
            length += ~over
            _, reward, terminated, truncated, _ = env.step(rng.choice([LEFT, RIGHT, FORWARD], size=100))
            over = terminated | truncated
            episodes += [(length[i], reward[i] > 0, reward[i]) for i in np.flatnonzero(over)]
            length[over] = 0
        results.append(np.array(episodes, float))
    native, python = results
    assert min(len(native), len(python)) > 500
    error = np.sqrt(native.var(0) / len(native) + python.var(0) / len(python))
    assert (np.abs(native.mean(0) - python.mean(0)) < 4 * error).all()


def test_a_goal_with_the_last_step_terminates() -> None:
    """Five steps lead to the goal of Empty-5x5; who turns on the spot is truncated, and both are reset in turn."""
    env = make(EMPTY, 2, actions=[1, 2], max_steps=5)
    env.reset(seed=0)
    route = [1, 1, 0, 1, 1]
    ends = [env.step(np.array([a, 0]))[1:4] for a in route]
    assert [e[1].tolist() for e in ends] == [[False, False]] * 4 + [[True, False]]
    assert [e[2].tolist() for e in ends] == [[False, False]] * 4 + [[False, True]]
    assert ends[-1][0].tolist() == [1 - 0.9 * (5 / 5), 0.0]
    obs, reward, terminated, truncated, info = env.step(np.array([1, 1]))
    assert info["position"].tolist() == [6, 6] and not reward.any() and not (terminated | truncated).any()
    np.testing.assert_array_equal(obs[0], obs[1])


def test_seeds() -> None:
    def first(seed: int | None, env: Any) -> np.ndarray:
        return np.concatenate([env.reset(seed=seed)[0], env.reset()[0]])

    env = make(DOOR_KEY, 8)
    once = first(3, env)
    np.testing.assert_array_equal(once, first(3, make(DOOR_KEY, 8)))
    np.testing.assert_array_equal(once[1:8], env.reset(seed=4)[0][:7])  # environment i has the seed + i
    assert not np.array_equal(once, first(50, env))
    assert not np.array_equal(once[:8], once[8:])
    with pytest.raises(ConfigError, match="seed"):
        env.reset(seed=[1, 2, 3])
    assert not np.array_equal(make(DOOR_KEY, 8).reset()[0], make(DOOR_KEY, 8).reset()[0])


def test_returned_arrays_stay_as_they_were() -> None:
    env = make(EMPTY, max_steps=7)
    env.reset(seed=0)
    steps, copies = [], []
    for _ in range(20):
        steps.append(env.step(np.array([RIGHT, FORWARD, FORWARD, LEFT]))[:4])
        copies.append([array.copy() for array in steps[-1]])
    for step, copy in zip(steps, copies, strict=True):
        for array, as_returned in zip(step, copy, strict=True):
            np.testing.assert_array_equal(array, as_returned)


@pytest.fixture
def own_task() -> Iterator[str]:
    env_id = "MiniGrid-OfSomebody-v0"
    gym.register(env_id, entry_point="minigrid.envs:EmptyEnv", kwargs={"size": 5})
    yield env_id
    del gym.registry[env_id]


def test_the_backend_that_auto_takes(own_task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (backend_note(DOOR_KEY) or "").startswith("envpool (the fastest")
    assert isinstance(make(DOOR_KEY, backend="auto"), EnvPoolMiniGridVectorEnv)
    for env_id, config, reason in (
        (DOOR_KEY, {"observation": "full"}, "partial views only"),
        (DOOR_KEY, {"fixed_layout_seed": 0}, "fixed_layout_seed"),
        (DOOR_KEY, {"agent_view_size": 5}, "side 7"),
        (DOOR_KEY, {"backend": "minigrid"}, "asked for"),
        ("MiniGrid-MultiRoom-N6-v0", {"agent_view_size": 9}, "side 7"),
        ("MiniGrid-ObstructedMaze-2Dl-v0", {}, "sizes"),
        ("MiniGrid-Dynamic-Obstacles-6x6-v0", {}, "obstacles"),
        (own_task, {}, "envpool has no task"),
    ):
        note = backend_note(env_id, config) or ""
        assert note.startswith("minigrid (") and reason in note
        assert not isinstance(make_vector_env(env_id, 1, config), EnvPoolMiniGridVectorEnv)
        if "backend" not in config:
            with pytest.raises(ConfigError, match=f"backend: 'envpool' is not possible: .*{reason}"):
                make(env_id, **config)
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "envpool" else real(name))
    assert 'minigrid (envpool is not installed: pip install "rllib_rnd[envpool]"' in (backend_note(DOOR_KEY) or "")
    with pytest.raises(ConfigError, match=r"not possible: .* pip install"):
        find_backend(DOOR_KEY, MiniGridOptions(backend="envpool"))


def test_what_is_wrong_is_refused_by_either_backend() -> None:
    for config, message in (({"backend": "envpol"}, "'envpool'"), ({"actions": [0, 0]}, "each once")):
        with pytest.raises(ConfigError, match=message):
            make_vector_env(DOOR_KEY, 1, config)
    with pytest.raises(ConfigError, match="Nearest: MiniGrid-DoorKey-5x5-v0"):
        make("MiniGrid-DorKey-5x5-v0")


def test_multi_room_is_left_to_the_package_for_a_reason() -> None:
    """Should this fail, envpool has mended its layouts, and the task may be stepped by it."""
    import envpool

    env: Any = envpool.make_gymnasium("MiniGrid-MultiRoom-N4-S5-v0", num_envs=100, num_threads=1, seed=0)
    env.reset()
    solvable = [_goal_within_reach(state) for state in env.debug_states()]
    assert np.mean(solvable) < 0.5


def _goal_within_reach(state: Any) -> bool:
    kinds = np.array(state.grid).reshape(state.width, state.height, 3)[..., 0]
    wall = 2
    seen, border = {tuple(state.agent_pos)}, [tuple(state.agent_pos)]
    while border:
        x, y = border.pop()
        for cell in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
            if cell not in seen and kinds[cell] != wall:
                seen.add(cell)
                border.append(cell)
    return tuple(state.goal_pos) in seen
