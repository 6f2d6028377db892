"""MultiRoom in arrays against the Python package, frame by frame in equal layouts; and what only arrays have."""

from __future__ import annotations

import importlib.util
import pickle
from typing import Any

import numpy as np
import pytest

from rllib_rnd.envs import backend_note, make_env, make_vector_env
from rllib_rnd.envs.minigrid_arrays import _SEEN_THROUGH, MultiRoomVectorEnv, _sight
from rllib_rnd.envs.minigrid_rules import BALL, OBJECTS, MiniGridOptions
from rllib_rnd.errors import ConfigError
from tests.envs.test_minigrid_native import assert_same

if importlib.util.find_spec("minigrid") is None:
    pytest.skip("the extra minigrid is not installed", allow_module_level=True)

SMALL, LARGE = "MiniGrid-MultiRoom-N2-S4-v0", "MiniGrid-MultiRoom-N7-S8-v0"
FORWARD, DROP, TOGGLE = 2, 4, 5


def make(env_id: str, backend: str = "arrays", num_envs: int = 6, **options: Any) -> Any:
    return make_vector_env(env_id, num_envs, {"backend": backend, **options}, num_threads=1)


def some_actions(actions: list[int], num_envs: int, rng: np.random.Generator) -> np.ndarray:
    """Forward and toggle more often than others: random play that gets through doors."""
    weights = np.array([{FORWARD: 4.0, TOGGLE: 3.0}.get(action, 1.0) for action in actions])
    return rng.choice(len(actions), size=num_envs, p=weights / weights.sum())


@pytest.mark.parametrize(
    ("env_id", "options"),
    [
        (SMALL, {}),
        (SMALL, {"agent_view_size": 5, "reward": "sparse_one", "actions": [5, 0, 2, 1], "max_steps": 25}),
        (SMALL, {"agent_view_size": 3, "fixed_layout_seed": 3}),
        (LARGE, {}),
        ("MiniGrid-MultiRoom-N7-S4-v0", {}),
        ("MiniGrid-MultiRoom-N4-S5-v1", {"max_steps": 60}),
    ],
    ids=str,
)
def test_all_is_as_the_python_package_has_it(env_id: str, options: dict[str, Any]) -> None:
    arrays, python = make(env_id, **options), make(env_id, "minigrid", **options)
    assert isinstance(arrays, MultiRoomVectorEnv) and not isinstance(python, MultiRoomVectorEnv)
    assert arrays.single_observation_space == python.single_observation_space
    assert arrays.single_action_space == python.single_action_space
    assert arrays.position_shape == python.envs[0].position_shape
    rng, goals, limits, rooms = np.random.default_rng(0), 0, 0, set()
    for seed in (3, None):
        if seed is not None:
            assert_same(arrays.reset(seed=seed), python.reset(seed=seed))
        else:  # the random streams go on
            assert_same(arrays.reset(), python.reset())
        for _ in range(400):
            actions = some_actions(options.get("actions") or list(range(7)), 6, rng)
            got, expected = arrays.step(actions), python.step(actions)
            assert_same(got, expected)
            goals, limits = goals + int(got[2].sum()), limits + int(got[3].sum())
            rooms |= set(got[4]["room"].tolist())
    assert limits > 0 and len(rooms) > 1
    assert goals > 0 or env_id != SMALL


def test_a_goal_in_the_last_allowed_step_is_a_goal() -> None:
    """Each environment repeats what led to the goal, with just so many steps; one less is the time limit."""
    free = make(SMALL, num_envs=1)
    rng = np.random.default_rng(1)
    for seed in range(200):
        free.reset(seed=seed)
        actions = [some_actions(list(range(7)), 1, rng) for _ in range(40)]
        ends = [bool(free.step(action)[2][0]) for action in actions]
        if True in ends:
            break
    length = ends.index(True) + 1
    for limit in (length, length - 1):
        env = make(SMALL, num_envs=1, max_steps=limit)
        env.reset(seed=seed)
        steps = [env.step(action) for action in actions[:limit]]
        assert steps[-1][2][0] == (limit == length) and steps[-1][3][0] == (limit < length)
        assert steps[-1][1][0] == pytest.approx(0.1 if limit == length else 0.0)


def test_sight_of_a_row_is_that_of_the_definition() -> None:
    """Every row of five cells: cell by cell as the Python package goes through them."""
    size = 5
    row, ahead = _sight(size)
    for seen in range(2**size):
        for through in range(2**size):
            here = [bool(seen >> i & 1) for i in range(size)]
            there = [False] * size
            for columns, side in ((range(size - 1), 1), (range(size - 1, 0, -1), -1)):
                for i in columns:
                    if here[i] and through >> i & 1:
                        here[i + side] = there[i + side] = there[i] = True
            assert row[seen, through] == sum(1 << i for i in range(size) if here[i])
            assert ahead[seen, through] == sum(1 << i for i in range(size) if there[i])


def test_it_goes_on_from_a_saved_state() -> None:
    env, rng = make(SMALL, noisy_tv=True), np.random.default_rng(0)
    env.reset(seed=1)
    actions = rng.integers(7, size=(120, 6))
    for action in actions[:30]:
        env.step(action)
    saved = pickle.loads(pickle.dumps(env.clone_state()))
    expected = [env.step(action) for action in actions]  # through the time limit: new layouts
    other = make(SMALL, noisy_tv=True)
    other.reset(seed=7)
    for again in (env, other):
        again.restore_state(saved)
        for action, wanted in zip(actions, expected, strict=True):
            assert_same(again.step(action), wanted)
    with pytest.raises(ConfigError, match="env_id"):
        make("MiniGrid-MultiRoom-N6-v0", noisy_tv=True).restore_state(saved)


def test_the_noisy_television_changes_when_the_agent_drops_and_is_no_obstacle() -> None:
    env, plain = make(LARGE, noisy_tv=True, num_envs=40), make(LARGE, num_envs=40)
    env.reset(seed=0)
    plain.reset(seed=0)
    rng, colors = np.random.default_rng(0), []
    shown = lambda: env._grid[env._grid >= _SEEN_THROUGH.size - 6]  # noqa: E731
    first = shown()
    assert first.shape == (40,)
    seen = 0
    for step in range(100):
        before = shown()
        actions = some_actions([0, 1, 2, 5], 40, rng)
        actions = np.array([0, 1, 2, 5])[actions] if step % 2 else np.full(40, DROP)
        obs, *_ = env.step(actions)
        plain_obs, *_ = plain.step(actions)
        colors.append(shown())
        assert (colors[-1] == before).all() or actions[0] == DROP
        np.testing.assert_array_equal(env._place, plain._place)  # walls, doors and goal are where they were
        cells = obs[:, :-4].reshape(40, 49, 20)
        tv = cells[:, :, BALL].any(axis=1)
        other = (cells != plain_obs[:, :-4].reshape(40, 49, 20)).any(axis=2)
        assert (other.sum(axis=1) <= 1).all() and (other.any(axis=1) <= tv).all()
        assert ((cells[:, :, BALL] * cells[:, :, OBJECTS : OBJECTS + 6].sum(2)).sum(1) == tv).all()
        seen += int(tv.sum())
    assert seen > 100
    counts = np.bincount(np.concatenate(colors) - colors[0].min(), minlength=6)
    assert (counts > 0.1 * counts.sum()).all()
    single = make_env(LARGE, {"noisy_tv": True})
    assert single.reset(seed=0)[0].shape == (984,)


def test_the_fastest_is_taken_and_said() -> None:
    assert "arrays" in str(backend_note(LARGE, {}))
    assert "minigrid" in str(backend_note(LARGE, {"agent_view_size": 9}))
    refused: list[tuple[str, dict[str, Any], str]] = [
        ("MiniGrid-DoorKey-5x5-v0", {"backend": "arrays"}, "backend: 'arrays' is not possible: arrays play"),
        (LARGE, {"backend": "arrays", "agent_view_size": 9}, "backend: 'arrays' is not possible: .* up to 7"),
        (LARGE, {"backend": "arrays", "observation": "full"}, "partial views only"),
        ("MiniGrid-DoorKey-5x5-v0", {"noisy_tv": True}, "noisy_tv: true is not possible: arrays play"),
        (LARGE, {"noisy_tv": True, "backend": "minigrid"}, "'minigrid' has no noisy_tv; allowed is arrays"),
        (LARGE, {"noisy_tv": True, "backend": "envpool"}, "backend: 'envpool' is not possible"),
    ]
    for env_id, options, problem in refused:
        with pytest.raises(ConfigError, match=f"env_config.*{problem}"):
            make_vector_env(env_id, 2, options)
        with pytest.raises(ConfigError, match="env_config"):
            make_env(env_id, options) if options.get("noisy_tv") else make_vector_env(env_id, 2, options)
    assert MiniGridOptions().noisy_tv is False
