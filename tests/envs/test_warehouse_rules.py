"""The Warehouse's rules by hand, the vector against a list-based warehouse, returns of scripted policies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rllib_rnd.envs.warehouse import WarehouseVectorEnv, skip_after_removal
from rllib_rnd.envs.warehouse_policies import greedy_nearest_item, uniform_random
from rllib_rnd.envs.warehouse_rules import EMPTY, VARIANTS, WAREHOUSE
from tests.envs.list_warehouse import DOWN, LEFT, MEMORY, MINI, RIGHT, SECOND, UP, ListWarehouse, Script


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
