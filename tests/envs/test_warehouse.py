"""Warehouse: rules by hand, the vector against a list-based warehouse, returns of scripted policies."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import DictInfoToList

from rllib_rnd.envs.warehouse import WarehouseEnv, WarehouseVectorEnv, skip_after_removal
from rllib_rnd.envs.warehouse_policies import greedy_nearest_item, uniform_random, walking_distances
from rllib_rnd.envs.warehouse_rules import EMPTY, MOVES, PIXELS, VARIANTS, WAREHOUSE, WarehouseVariant
from rllib_rnd.errors import ConfigError

MINI, SECOND, MEMORY = (f"rllib_rnd/{name}-v0" for name in ("MiniWarehouse", "Warehouse2", "WarehouseMemory"))
UP, DOWN, LEFT, RIGHT = range(4)


@dataclass
class ListWarehouse:
    """One warehouse written down as the rules are told: a list of items, one after the other."""

    task: WarehouseVariant
    robot: tuple[int, int] = (0, 0)
    items: list[list[Any]] = field(default_factory=list)  # [cell, waiting time], in order of creation
    steps: int = 0

    def reset(self, draws: np.ndarray) -> np.ndarray:
        self.robot, self.items, self.steps = (self.task.size // 2,) * 2, [], 0
        self.spawn(draws, [])
        return self.observe()

    def step(self, action: int, draws: np.ndarray) -> tuple[np.ndarray, float, bool]:
        self.move(action)
        for item in self.items:
            item[1] += 1
        reward = self.reward()
        before = [cell for cell, _ in self.items]
        self.remove()
        self.spawn(draws, [cell for cell in before if cell not in [c for c, _ in self.items]])
        self.steps += 1
        return self.observe(), reward, self.steps >= self.task.episode_length

    def move(self, action: int) -> None:
        (row, column), last = self.robot, self.task.size - 1
        if not self.task.walks_along_border:
            if action in (UP, DOWN) and column in (0, last):
                return
            if action in (LEFT, RIGHT) and row in (0, last):
                return
        row, column = row + MOVES[action][0], column + MOVES[action][1]
        if 0 <= row <= last and 0 <= column <= last:
            self.robot = (row, column)

    def reward(self) -> float:
        reward = 0.0
        for cell, waited in self.items:
            if cell == self.robot:
                longest = max(waiting for _, waiting in self.items)
                worth = waited / longest if self.task.reward_by_waiting else 1.0
                reward += worth * self.task.reward_scale
        return reward

    def remove(self) -> None:
        # Going through the list itself while it shrinks is the bug; going through a copy is how to avoid it.
        for item in self.items if self.task.removal_bug else list(self.items):
            if item[0] == self.robot or item[1] >= self.task.lifetime:
                self.items.remove(item)

    def spawn(self, draws: np.ndarray, emptied: list[Any]) -> None:
        numbers = iter(draws.tolist())
        for cells in self.task.spawn_passes:
            occupied = [cell for cell, _ in self.items]
            for cell in cells:
                wanted = next(numbers) < self.task.spawn_prob and cell not in occupied
                if not self.task.refills_at_once and cell in emptied:
                    wanted = False
                if self.task.max_items is not None and len(self.items) >= self.task.max_items:
                    wanted = False
                if wanted:
                    self.items.append([cell, 0])

    def observe(self) -> np.ndarray:
        size = self.task.size
        robots = [(row, column) == self.robot for row in range(size) for column in range(size)]
        occupied = [cell for cell, _ in self.items]
        return np.array(robots + [site in occupied for site in self.task.sites], dtype=np.uint8)


class Script:
    """A random stream with given numbers; 1 (no item) where nothing is said."""

    def __init__(self, *steps: dict[int, float]) -> None:
        self.steps = list(steps)

    def random(self, shape: tuple[int, int]) -> np.ndarray:
        draws = np.ones(shape)
        for index, value in (self.steps.pop(0) if self.steps else {}).items():
            draws[:, index] = value
        return draws


def scripted(*steps: dict[int, float], start: int | None = None, **config: Any) -> WarehouseVectorEnv:
    """One environment, reset, with the draws of the reset and of each step; ``start`` moves the robot."""
    env = WarehouseVectorEnv(1, **config)
    env._generator = Script(*steps)  # type: ignore[assignment]
    env.reset()
    if start is not None:
        env._position[:] = start
    return env


def act(env: WarehouseVectorEnv, action: int) -> tuple[set[int], float]:
    """One step of one environment: the item entries that are 1, counted from the first, and the reward."""
    obs, reward, *_ = env.step(np.array([action]))
    return set(np.flatnonzero(obs[0, env.variant.num_cells : env.variant.obs_size]).tolist()), float(reward[0])


@pytest.mark.parametrize(("name", "size", "num_sites", "draws"), [(WAREHOUSE, 7, 24, 28), (MINI, 5, 12, 12)])
def test_the_layout(name: str, size: int, num_sites: int, draws: int) -> None:
    task = VARIANTS[name]
    assert (task.size, len(task.sites), task.obs_size) == (size, num_sites, size * size + num_sites)
    assert sum(len(cells) for cells in task.spawn_passes) == draws
    index = {site: task.num_cells + i for i, site in enumerate(task.sites)}
    if name == WAREHOUSE:
        assert [index[(0, c)] for c in range(7)] == list(range(49, 56))
        assert [index[(6, c)] for c in range(7)] == list(range(56, 63))
        assert [index[(r, c)] for r in range(1, 6) for c in (0, 6)] == list(range(63, 73))
    else:
        places = [(0, 1), (0, 2), (0, 3), (4, 1), (4, 2), (4, 3), (1, 0), (1, 4), (2, 0), (2, 4), (3, 0), (3, 4)]
        assert [index[place] for place in places] == list(range(25, 37))


def test_the_numbers_of_the_variants() -> None:
    rows = [(v.size, v.spawn_prob, v.lifetime, v.episode_length, v.max_items) for v in VARIANTS.values()]
    assert list(VARIANTS) == [WAREHOUSE, MINI, SECOND, MEMORY]
    assert rows == [(7, 0.05, 8, 100, None), (5, 0.05, 8, 100, None), (5, 0.04, 8, 100, None), (5, 0.05, 16, 96, 4)]
    assert [v.removal_bug for v in VARIANTS.values()] == [True, False, False, False]


def test_moves_by_hand() -> None:
    env = scripted(start=0)
    seen = []
    for action in (UP, LEFT, DOWN, RIGHT, UP, RIGHT, *[DOWN] * 7, *[RIGHT] * 5):
        obs, _, _, _, info = env.step(np.array([action]))
        assert obs[0].sum() == 1 and obs[0].argmax() == info["position"][0]
        seen.append(int(info["position"][0]))
    assert seen == [0, 0, 7, 8, 1, 2, 9, 16, 23, 30, 37, 44, 44, 45, 46, 47, 48, 48]


def test_the_small_grid_is_left_by_the_way_in_only() -> None:
    env = scripted(variant=MINI)
    seen = [int(env.step(np.array([a]))[4]["position"][0]) for a in (UP, UP, LEFT, RIGHT, UP, DOWN, LEFT, LEFT, UP)]
    assert seen == [7, 2, 2, 2, 2, 7, 6, 5, 5]
    corners = {0, 4, 20, 24}
    many = WarehouseVectorEnv(50, variant=MINI)
    rng = np.random.default_rng(0)
    visited = {int(p) for _ in range(300) for p in many.step(rng.integers(4, size=50))[4]["position"]}
    assert visited == set(range(25)) - corners


def test_corners_are_tried_twice_and_the_rest_once() -> None:
    env = scripted({0: 0.9, 14: 0.01}, {3: 0.049, 4: 0.05}, {20: 0.0, 26: 0.0, 6: 0.0, 15: 0.0}, start=24)
    assert np.flatnonzero(env._waiting[0] == 0).tolist() == [0]  # corner (0, 0): its second try
    assert act(env, UP)[0] == {0, 3}  # (0, 3); 0.05 is not below 0.05
    # Draws 20 and 26 are row 3 and 6 of column 0; 6 and 15 both are corner (0, 6), which gets one item.
    items, _ = act(env, DOWN)
    assert items == {0, 3, 6, 7, 18} and env.variant.sites[18] == (3, 0) and env.variant.sites[7] == (6, 0)
    assert env._waiting[0, [0, 3, 6]].tolist() == [2, 1, 0]


@pytest.mark.parametrize("bug", [True, False])
@pytest.mark.parametrize(("wait", "pays"), [(1, 1.0), (7, 1.0), (8, 0.0)])
def test_an_item_can_be_collected_eight_moves_after_it_came(wait: int, pays: float, bug: bool) -> None:
    """The item comes with the observation of step t, is in those of t ... t + 7, pays at the move of t + 8."""
    env = scripted({}, {3: 0.0}, removal_bug=bug)
    assert act(env, LEFT) == ({3}, 0.0)  # step t
    for i in range(1, wait + 1):
        assert act(env, (RIGHT, LEFT)[i % 2]) == ({3} if i <= 7 else set(), 0.0)
    env._position[:] = 7 + 3  # (1, 3), below the item
    assert act(env, UP) == (set(), pays)


def test_an_item_under_the_robot_pays_after_the_next_move() -> None:
    env = scripted({}, {3: 0.0}, {}, {3: 0.0}, start=7 + 3)
    assert act(env, UP) == ({3}, 0.0)  # the item comes with the robot on its cell
    assert act(env, UP) == (set(), 1.0)  # bumping into the wall
    assert act(env, UP) == ({3}, 0.0)
    assert act(env, DOWN) == ({3}, 0.0)  # walked away from it
    assert act(env, UP) == (set(), 1.0)


def test_the_removal_bug_spares_the_next_in_the_list() -> None:
    quiet: list[dict[int, float]] = [{} for _ in range(7)]
    # Sites 2, 3 and 5 get items in one step, 9 (draw 9) one step later.
    steps = [{}, {2: 0.0, 3: 0.0, 5: 0.0}, {9: 0.0}, *quiet]
    bug, clean = (scripted(*steps, removal_bug=b) for b in (True, False))
    for _ in range(8):
        assert act(bug, LEFT)[0] == act(clean, LEFT)[0]
        bug._position[:] = clean._position[:] = 24
    assert act(clean, LEFT)[0] == {9}
    assert act(bug, LEFT)[0] == {3, 9}  # 2 goes, 3 is passed over, 5 goes
    bug._position[:] = clean._position[:] = 24
    assert act(clean, LEFT)[0] == set()
    assert act(bug, LEFT)[0] == {9}  # 3 goes, 9, due now, is passed over
    bug._position[:] = 24
    assert act(bug, LEFT)[0] == set()


def test_an_item_passed_over_under_the_robot_pays_again() -> None:
    env = scripted({}, {2: 0.0, 3: 0.0}, removal_bug=True)
    for _ in range(8):
        act(env, LEFT)
        env._position[:] = 24
    env._position[:] = 7 + 3
    assert act(env, UP) == ({3}, 1.0)
    assert act(env, UP) == (set(), 1.0)
    assert act(env, UP) == (set(), 0.0)


def test_skipping_follows_the_order_of_creation() -> None:
    waiting = np.array([[8, 9, EMPTY, 8, 3]])
    draw = np.array([[4, 1, 0, 2, 0]])
    due = waiting >= 8
    # Oldest first: site 1, then (by draw) 3 and 0, then 4, which is not due.
    assert skip_after_removal(due, waiting, draw, 28).tolist() == [[True, True, False, False, False]]
    collected = due | (waiting == 3)
    assert skip_after_removal(collected, waiting, draw, 28).tolist() == [[True, True, False, False, False]]
    one_more = np.array([[True, False, False, False, True]])
    assert skip_after_removal(one_more, waiting, draw, 28).tolist() == [[True, False, False, False, False]]


def test_rewards_by_waiting_time() -> None:
    # Draw 0 is (0, 1), draw 1 (0, 2): items of age 3 and 2 when the robot reaches the second.
    for variant, expected in ((MINI, 1.0), (SECOND, 2 / 3), (MEMORY, 0.25 * 2 / 3)):
        env = scripted({}, {0: 0.0}, {1: 0.0}, variant=variant)
        assert [act(env, a) for a in (LEFT, RIGHT, UP)] == [({0}, 0.0), ({0, 1}, 0.0), ({0, 1}, 0.0)]
        items, reward = act(env, UP)
        assert items == {0} and reward == pytest.approx(expected)


def test_a_site_just_emptied_stays_empty_for_the_step() -> None:
    # Draw 3 is (0, 3), site 3, on the large grid and (1, 0), site 6, on the small one.
    for variant, expected in ((WAREHOUSE, [{3}, {3}, {3}]), (MINI, [{6}, set(), {6}])):
        env = scripted({}, *[{3: 0.0}] * 3, variant=variant, lifetime=1)
        assert [act(env, action)[0] for action in (UP, DOWN, UP)] == expected


def test_no_more_than_four_items_to_remember() -> None:
    env = scripted({0: 0.0}, {i: 0.0 for i in range(12)}, variant=MEMORY)
    items, _ = act(env, UP)
    assert items == {0, 1, 2, 6}  # the one there was, then in the order of the draws: (0, 2), (0, 3), (1, 0)
    many = WarehouseVectorEnv(20, variant=MEMORY, spawn_prob=0.5)
    counts = [many.step(np.zeros(20, dtype=int))[0][:, 25:].sum(axis=1).max() for _ in range(50)]
    assert max(counts) == 4


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("bug", [True, False])
@pytest.mark.parametrize("changes", [{}, {"spawn_prob": 0.3, "lifetime": 3, "episode_length": 37}])
def test_the_vector_equals_the_list(variant: str, bug: bool, changes: dict[str, Any]) -> None:
    n, num_steps, stacked = 3, 1500, 3
    env = WarehouseVectorEnv(n, variant=variant, removal_bug=bug, num_stacked=stacked, **changes)
    task = replace(VARIANTS[variant], removal_bug=bug, **changes)
    lists = [ListWarehouse(task) for _ in range(n)]
    stream, rng = np.random.default_rng(5), np.random.default_rng(6)
    num_draws = sum(len(cells) for cells in task.spawn_passes)
    past = [[np.zeros(task.obs_size, dtype=np.uint8)] * stacked for _ in range(n)]

    def expected(i: int, obs: np.ndarray, fresh: bool) -> np.ndarray:
        past[i] = [obs, *([np.zeros_like(obs)] * (stacked - 1) if fresh else past[i][:-1])]
        return np.concatenate(past[i])

    draws, total = stream.random((n, num_draws)), 0.0
    theirs = np.stack([expected(i, w.reset(draws[i]), True) for i, w in enumerate(lists)])
    ours, _ = env.reset(seed=5)
    np.testing.assert_array_equal(ours, theirs)
    done = [False] * n
    for _ in range(num_steps):
        draws, newest = stream.random((n, num_draws)), ours[:, : task.obs_size]
        # Half of the moves towards items: else few would be collected.
        towards = greedy_nearest_item(newest, rng, variant, wait=True)
        actions = np.where(rng.random(n) < 0.5, towards, uniform_random(newest, rng))
        ours, rewards, terminated, truncated, info = env.step(actions)
        for i, warehouse in enumerate(lists):
            if done[i]:
                obs, reward, done[i], fresh = warehouse.reset(draws[i]), 0.0, False, True
            else:
                (obs, reward, done[i]), fresh = warehouse.step(int(actions[i]), draws[i]), False
            np.testing.assert_array_equal(ours[i], expected(i, obs, fresh))
            assert (rewards[i], truncated[i], terminated[i]) == (reward, done[i], False)
            assert divmod(int(info["position"][i]), task.size) == warehouse.robot
            total += reward
    assert total > 20  # enough was collected for the comparison to say something


def returns(
    policy: Callable[[np.ndarray, np.random.Generator], np.ndarray], num_envs: int = 2000, **config: Any
) -> np.ndarray:
    """Return of one episode in each environment, ``[N]``."""
    env, rng = WarehouseVectorEnv(num_envs, **config), np.random.default_rng(1)
    (obs, _), total = env.reset(seed=0), np.zeros(num_envs)
    for _ in range(env.variant.episode_length):
        obs, reward, _, truncated, _ = env.step(policy(obs, rng))
        total += reward
    assert truncated.all()
    return total


@pytest.mark.parametrize(("bug", "random", "greedy", "waiting"), [(True, 9.3, 43.4, 46.1), (False, 8.9, 42.4, 43.4)])
def test_returns_of_scripted_policies(bug: bool, random: float, greedy: float, waiting: float) -> None:
    """Standard errors are 0.08 and 0.1; the reference values come from an independent simulation of the rules."""
    assert returns(uniform_random, removal_bug=bug).mean() == pytest.approx(random, abs=0.35)
    assert returns(greedy_nearest_item, removal_bug=bug).mean() == pytest.approx(greedy, abs=0.45)
    wait = returns(lambda obs, rng: greedy_nearest_item(obs, rng, wait=True), removal_bug=bug)
    assert wait.mean() == pytest.approx(waiting, abs=0.45)


@pytest.mark.parametrize(("bug", "lifetime", "items"), [(True, 8.48, 8.10), (False, 8.0, 7.78)])
def test_items_that_nobody_collects(bug: bool, lifetime: float, items: float) -> None:
    """Without the bug a site is taken 8 of 8 + (1 - q) / q steps, q = 0.05, in corners 0.0975: 7.78 items."""
    env = WarehouseVectorEnv(200, removal_bug=bug, episode_length=10**6)
    env.reset(seed=0)
    lives, counts = [], []
    for t in range(1000):
        before = env._waiting.copy()
        obs = env.step(np.full(200, (LEFT, RIGHT)[t % 2]))[0]
        if t >= 100:
            gone = (before > EMPTY) & (env._waiting != before + 1)
            lives.append(before[gone] + 1)
            counts.append(obs[:, 49:].sum(axis=1).mean())
    assert np.concatenate(lives).mean() == pytest.approx(lifetime, abs=0.02)
    assert np.mean(counts) == pytest.approx(items, abs=0.05)


@pytest.mark.parametrize(("variant", "length"), [(WAREHOUSE, 100), (MEMORY, 96)])
@pytest.mark.parametrize("time_limit", ["truncate", "terminate"])
def test_an_episode_ends_and_the_next_step_resets(variant: str, length: int, time_limit: str) -> None:
    env = WarehouseVectorEnv(3, variant=variant, time_limit=time_limit, num_stacked=2, spawn_prob=0.5)
    env.reset(seed=0)
    for t in range(1, 2 * (length + 1) + 1):
        obs, reward, terminated, truncated, info = env.step(np.full(3, UP))
        done, other = (truncated, terminated) if time_limit == "truncate" else (terminated, truncated)
        assert not other.any() and done.all() == done.any() == (t % (length + 1) == length)
        if t % (length + 1) == 0:  # the step that resets
            assert (reward == 0).all() and (info["position"] == env.variant.num_cells // 2).all()
            assert not obs[:, env.variant.obs_size :].any() and (env._waiting <= 0).all()
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
    assert env._waiting[0].max() == 0 and env._waiting[1].max() == 2
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


def test_writing_into_what_was_returned_changes_nothing() -> None:
    envs = [WarehouseVectorEnv(2, num_stacked=3, episode_length=4) for _ in range(2)]
    for env in envs:
        env.reset(seed=0)
    for _ in range(9):
        (clean, *_), (dirty, reward, terminated, truncated, info) = (env.step(np.array([UP, LEFT])) for env in envs)
        np.testing.assert_array_equal(clean, dirty)
        for array in (dirty, reward, terminated, truncated, info["position"]):
            array[:] = 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_saved_state_goes_on_the_same(variant: str) -> None:
    config: dict[str, Any] = {"variant": variant, "num_stacked": 2, "episode_length": 15, "spawn_prob": 0.2}
    env, actions = WarehouseVectorEnv(4, **config), np.random.default_rng(0).integers(4, size=(40, 4))
    env.reset(seed=0)
    for moment in (9, 15):  # within an episode, and before the step that resets
        for a in actions[:moment]:
            env.step(a)
        state = env.clone_state()
        frozen = pickle.dumps(state)
        expected = [env.step(a) for a in actions]
        assert pickle.dumps(state) == frozen
        fresh = WarehouseVectorEnv(4, **config)
        for saved in (state, pickle.loads(frozen)):
            fresh.restore_state(saved)
            for a, step in zip(actions, expected, strict=True):
                for x, y in zip(fresh.step(a)[:4], step[:4], strict=True):
                    np.testing.assert_array_equal(x, y)
        env.restore_state(state)
    assert env.can_clone_state
    with pytest.raises(ConfigError, match=r"shape \(4,\)"):
        WarehouseVectorEnv(3, **config).restore_state(state)
    with pytest.raises(ConfigError, match="past"):
        WarehouseVectorEnv(4, **{**config, "num_stacked": 1}).restore_state(state)


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
        ({"lifetme": 4}, r"env_config: unknown key 'lifetme'.*'lifetime'"),
        ({"lifetime": 0}, "env_config.lifetime: 0 is out of range"),
        ({"spawn_prob": 1.5}, "env_config.spawn_prob"),
        ({"episode_length": 0}, "env_config.episode_length"),
        ({"num_stacked": 0}, "env_config.num_stacked"),
        ({"time_limit": "trunctate"}, "env_config.time_limit.*'truncate'"),
        ({"dtype": "int8"}, "env_config.dtype"),
        ({"removal_bug": 1}, "env_config.removal_bug"),
        ({"variant": "rllib_rnd/Warehous-v0"}, f"variant.*'{WAREHOUSE}'"),
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
    with pytest.raises(ConfigError, match="num_envs"):
        WarehouseVectorEnv(0)
