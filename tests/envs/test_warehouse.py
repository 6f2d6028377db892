"""The Warehouse as an environment: ends, seeds, states, arrays, pictures, options, policies."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import DictInfoToList

from rllib_rnd.envs.warehouse import WarehouseEnv, WarehouseVectorEnv
from rllib_rnd.envs.warehouse_policies import greedy_nearest_item, walking_distances
from rllib_rnd.envs.warehouse_rules import PIXELS, VARIANTS, WAREHOUSE
from rllib_rnd.errors import ConfigError
from tests.envs.list_warehouse import DOWN, LEFT, MEMORY, MINI, RIGHT, UP, Script


@pytest.mark.parametrize(("variant", "length"), [(WAREHOUSE, 100), (MEMORY, 96)])
def test_an_episode_ends_and_the_next_step_resets(variant: str, length: int) -> None:
    env = WarehouseVectorEnv(3, variant=variant, num_stacked=2, spawn_prob=0.5)
    env.reset(seed=0)
    for t in range(1, 2 * (length + 1) + 1):
        obs, reward, terminated, truncated, info = env.step(np.full(3, UP))
        assert not terminated.any() and truncated.all() == truncated.any() == (t % (length + 1) == length)
        if t % (length + 1) == 0:  # the step that resets
            assert (reward == 0).all() and (info["position"] == env.variant.num_cells // 2).all()
            assert not obs[:, env.variant.obs_size :].any() and (env.clone_state()["waiting"] <= 0).all()
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP


def test_environments_out_of_step_with_each_other() -> None:
    env = WarehouseVectorEnv(2, spawn_prob=0.5, episode_length=3)
    env.reset(seed=0)
    env.step(np.array([UP, UP]))
    state = env.clone_state()
    state["steps"], state["needs_reset"] = np.array([3, 1]), np.array([True, False])
    env.restore_state(state)
    _, _, _, truncated, info = env.step(np.array([UP, UP]))
    assert info["position"].tolist() == [24, 10] and not truncated.any()
    assert env.clone_state()["waiting"].max(axis=1).tolist() == [0, 2]
    assert [env.step(np.array([UP, UP]))[3].tolist() for _ in range(3)] == [
        [False, True],
        [False, False],
        [True, False],
    ]


def test_the_same_seed_gives_the_same_play() -> None:
    actions = np.random.default_rng(0).integers(4, size=(30, 4))

    def play(seed: Any, env: WarehouseVectorEnv | None = None) -> np.ndarray:
        env = env or WarehouseVectorEnv(4)
        return np.stack([env.reset(seed=seed)[0], *(env.step(a)[0] for a in actions)])

    one, again, other = WarehouseVectorEnv(4), play(1), play(2)
    np.testing.assert_array_equal(play(1, one), again)
    assert not np.array_equal(play(None, one), again)  # the stream goes on
    np.testing.assert_array_equal(play(1, one), again)
    assert not np.array_equal(again, other)
    assert not np.array_equal(again[:, 0], again[:, 1])
    np.testing.assert_array_equal(play([1, 2, 3, 4]), play([1, 2, 3, 4]))
    assert not np.array_equal(play([1, 2, 3, 4]), play([1, 2, 3, 5]))
    with pytest.raises(ConfigError, match="3 seeds for 4"):
        one.reset(seed=[1, 2, 3])
    with pytest.raises(ConfigError, match="mixes numbers and None"):
        one.reset(seed=[1, None, 3, 4])
    one.reset(seed=[None] * 4)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_returned_arrays_and_their_types(dtype: str) -> None:
    env, rng = WarehouseVectorEnv(3, dtype=dtype, num_stacked=2, episode_length=5), np.random.default_rng(0)
    kept = [(x, x.copy()) for x in (env.reset(seed=0)[0],)]
    for _ in range(12):
        obs, reward, terminated, truncated, info = env.step(rng.integers(4, size=3))
        assert obs in env.observation_space and obs.dtype == dtype and reward.dtype == np.float64
        kept += [(x, x.copy()) for x in (obs, reward, terminated, truncated, info["position"])]
    for array, as_returned in kept:
        np.testing.assert_array_equal(array, as_returned)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_single_environment_equals_the_vector_of_one(variant: str) -> None:
    config: dict[str, Any] = {"variant": variant, "episode_length": 10}
    single, vector = WarehouseEnv(**config), WarehouseVectorEnv(1, **config)
    assert single.observation_space == vector.single_observation_space
    (a, single_info), (b, info) = single.reset(seed=3), vector.reset(seed=3)
    np.testing.assert_array_equal(a, b[0])
    assert single_info == {"position": int(info["position"][0])}
    rng = np.random.default_rng(0)
    for t in range(1, 11):
        action = int(rng.integers(4))
        obs, reward, terminated, truncated, single_info = single.step(action)
        theirs = vector.step(np.array([action]))
        np.testing.assert_array_equal(obs, theirs[0][0])
        assert (reward, terminated, truncated) == (theirs[1][0], False, t == 10)
        assert single_info == {"position": int(theirs[4]["position"][0])}
    state = single.clone_state()
    with pytest.raises(RuntimeError, match="reset"):
        single.step(0)
    np.testing.assert_array_equal(single.reset()[0], vector.step(np.array([0]))[0][0])  # the stream goes on
    single.step(0)
    single.restore_state(state)
    with pytest.raises(RuntimeError, match="reset"):
        single.step(0)
    with pytest.raises(RuntimeError, match="reset"):
        WarehouseEnv().step(0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gymnasium_checker(variant: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = WarehouseEnv(variant)
        env.spec = EnvSpec("Checked-v0", WarehouseEnv, disable_env_checker=True, kwargs={"variant": variant})
        check_env(env)  # renders what the spec makes


def test_infos_as_lists() -> None:
    env = DictInfoToList(WarehouseVectorEnv(2))
    assert env.reset(seed=0)[1] == [{"position": 24}, {"position": 24}]
    assert env.step(np.array([UP, LEFT]))[4] == [{"position": 17}, {"position": 23}]


def test_walks_to_the_nearest_item() -> None:
    def choose(cell: int, items: list[int], variant: str = WAREHOUSE, **kwargs: Any) -> set[int]:
        task = VARIANTS[variant]
        obs = np.zeros((64, 2 * task.obs_size), dtype=np.uint8)
        obs[:, cell] = obs[:, [task.num_cells + i for i in items]] = 1
        obs[:, task.obs_size :] = 1  # the older observation of a stack
        return set(greedy_nearest_item(obs, np.random.default_rng(0), variant, **kwargs).tolist())

    assert choose(24, [3]) == {UP} and choose(24, [10]) == {DOWN}
    assert choose(24, [17 + 1]) == {LEFT} and choose(24, [17 + 2]) == {RIGHT}  # (3, 0) and (3, 6)
    assert choose(24, [3, 10]) == {UP}  # equally near: the first in the observation
    assert choose(24, [0]) == {UP}  # equally short walks: the lowest action
    assert choose(17, [3, 10]) == {UP} and choose(31, [3, 10]) == {DOWN}  # the nearer one
    assert choose(24, []) == {UP, DOWN, LEFT, RIGHT}
    assert choose(3, [3, 4]) == {UP, DOWN, LEFT, RIGHT}  # one under the robot
    assert choose(3, [3, 4], wait=True) == {UP}
    assert choose(2, [2], MINI) == {DOWN}  # from (0, 2) to (0, 3): around
    assert choose(2, [1], MINI, wait=True) == {UP}
    assert walking_distances(VARIANTS[MINI])[2].tolist() == [3, 0, 3, 5, 4, 5, 3, 3, 4, 4, 5, 5]
    rows, columns = np.array(VARIANTS[WAREHOUSE].sites).T
    distance = walking_distances(VARIANTS[WAREHOUSE])
    np.testing.assert_array_equal(distance[10], abs(rows - 1) + abs(columns - 3))
    with pytest.raises(ConfigError, match="variant"):
        greedy_nearest_item(np.zeros((1, 73)), np.random.default_rng(0), "Warehouse")


def test_the_image_shows_robot_and_items() -> None:
    env = WarehouseEnv(render_mode="rgb_array")
    env.vector._generator = Script({}, {3: 0.0}, *[{} for _ in range(6)], {5: 0.0})  # type: ignore[assignment]
    env.reset()

    def middle(image: Any, row: int, column: int) -> list[int]:
        return image[row * PIXELS + 16, column * PIXELS + 16].tolist()

    def edge(image: Any, row: int, column: int) -> list[int]:
        return image[row * PIXELS + 7, column * PIXELS + 7].tolist()

    for t in range(8):
        env.step((LEFT, RIGHT)[t % 2])
    image: Any = env.render()
    assert image.shape == (7 * PIXELS + 1, 7 * PIXELS + 1, 3) and image.dtype == np.uint8
    floor, robot, old, new = middle(image, 2, 2), middle(image, 3, 3), middle(image, 0, 3), middle(image, 0, 5)
    assert len({tuple(color) for color in (floor, robot, old, new)}) == 4
    assert floor == middle(image, 0, 1) == [255, 255, 255] and robot[2] > robot[0]
    assert old[0] == new[0] and old[1] < new[1]  # redder with time
    line, grid = image[PIXELS, 3 * PIXELS + 16].tolist(), image[2 * PIXELS, 3 * PIXELS + 16].tolist()
    assert floor != line != grid != floor and image[6 * PIXELS, 3 * PIXELS + 16].tolist() == line
    env.vector._position[:] = 3
    on_item: Any = env.render()
    assert middle(on_item, 0, 3) == robot and edge(on_item, 0, 3) == old  # the item is seen around the robot
    assert middle(on_item, 3, 3) == floor

    vector = WarehouseVectorEnv(3, variant=MINI, render_mode="rgb_array", spawn_prob=0.5)
    vector.reset(seed=0)
    images = vector.render()
    assert images is not None and len(images) == 3 and images[0].shape == (5 * PIXELS + 1, 5 * PIXELS + 1, 3)
    assert not np.array_equal(images[0], images[1])
    assert middle(images[0], 0, 0) == middle(images[0], 4, 4) not in (floor, robot)  # no shelf there
    assert WarehouseVectorEnv(2).render() is None and WarehouseEnv().render() is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"lifetme": 4}, r"^lifetme: unknown key 'lifetme'.*'lifetime'"),
        ({"lifetime": 0}, "^lifetime: 0 is out of range"),
        ({"spawn_prob": 1.5}, "^spawn_prob: "),
        ({"episode_length": 0}, "^episode_length: "),
        ({"num_stacked": 0}, "^num_stacked: "),
        ({"dtype": "int8"}, "^dtype: "),
        ({"removal_bug": 1}, "^removal_bug: "),
        ({"variant": "rllib_rnd/Warehous-v0"}, f"^variant: unknown variant.*'{WAREHOUSE}'"),
        ({"render_mode": "human"}, "render_mode"),
    ],
)
def test_bad_options_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WarehouseVectorEnv(2, **config)
    with pytest.raises(ConfigError, match=message):
        WarehouseEnv(**config)


def test_options_take_the_place_of_the_variants_values() -> None:
    env = WarehouseVectorEnv(2, variant=MEMORY, lifetime=5, episode_length=7, spawn_prob=0, removal_bug=True)
    expected = replace(VARIANTS[MEMORY], lifetime=5, episode_length=7, spawn_prob=0.0, removal_bug=True)
    assert env.variant == expected and WarehouseEnv(MEMORY).variant == VARIANTS[MEMORY]
    assert not env.reset(seed=0)[0][:, 25:].any()
