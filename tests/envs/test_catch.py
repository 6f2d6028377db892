"""Catch: pixels and rewards by hand, hidden balls, the vector against the single environment, saved states."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import rllib_rnd  # noqa: F401 - registers the environments
from rllib_rnd.envs.catch import CatchEnv, CatchVectorEnv
from rllib_rnd.errors import ConfigError

LEFT, STAY, RIGHT = 0, 1, 2


def play(env: CatchEnv, ball: int, actions: list[int]) -> tuple[list[np.ndarray], list[float], bool]:
    """One episode with the ball in a given column, on a board of cells of one pixel."""
    first = next(obs for seed in range(100) if (obs := env.reset(seed=seed)[0])[0, ball])
    seen, rewards, terminated = [first], [], False
    for action in actions:
        obs, reward, terminated, truncated, _ = env.step(action)
        seen.append(obs)
        rewards.append(reward)
        assert not truncated
    return seen, rewards, terminated


def test_a_game_by_hand() -> None:
    env = CatchEnv(size=4, cell_size=1)
    seen, rewards, terminated = play(env, ball=0, actions=[LEFT, LEFT, STAY])
    assert rewards == [0.0, 0.0, 1.0] and terminated
    on = [sorted(zip(*np.nonzero(board), strict=True)) for board in seen]
    assert on == [[(0, 0), (3, 2)], [(1, 0), (3, 1)], [(2, 0), (3, 0)], [(3, 0)]]
    assert {int(v) for v in np.unique(seen[0])} == {0, 255}


@pytest.mark.parametrize(("actions", "reward"), [([LEFT] * 3, -1.0), ([RIGHT] * 3, 1.0), ([STAY] * 3, -1.0)])
def test_the_paddle_stops_at_the_wall_and_the_end_pays(actions: list[int], reward: float) -> None:
    _, rewards, terminated = play(CatchEnv(size=4, cell_size=1), 3, actions)
    assert rewards == [0.0, 0.0, reward] and terminated


def test_a_hidden_ball_is_seen_in_its_first_rows_only() -> None:
    seen, rewards, _ = play(CatchEnv(size=5, cell_size=1, visible_rows=2), 2, [STAY] * 4)
    assert [int(np.count_nonzero(board[:4])) for board in seen] == [1, 1, 0, 0, 0]
    assert rewards[-1] == 1.0, "it falls on all the same"


def test_cells_become_squares() -> None:
    small, _ = CatchEnv(size=3, cell_size=1).reset(seed=1)
    large, _ = CatchEnv(size=3, cell_size=4).reset(seed=1)
    assert large.shape == (12, 12)
    np.testing.assert_array_equal(large, np.kron(small, np.ones((4, 4), dtype=np.uint8)))


def test_the_vector_resets_on_the_step_after_the_end() -> None:
    env = CatchVectorEnv(3, size=3, cell_size=1)
    _, info = env.reset(seed=0)
    for t in range(8):
        before = info["position"]
        obs, reward, terminated, truncated, info = env.step(np.array([LEFT, STAY, RIGHT]))
        assert terminated.tolist() == [t % 3 == 1] * 3 and not truncated.any()
        assert (np.abs(reward) == (t % 3 == 1)).all()
        if t % 3 == 2:  # the reset step: its action is ignored
            assert info["position"].tolist() == [1, 1, 1] and obs[:, 0].any(axis=1).all()
            assert before.tolist() == [0, 1, 2]
        assert obs.shape == (3, 3, 3)


def test_balls_fall_everywhere_and_chance_catches_one_in_size() -> None:
    env = CatchVectorEnv(500, size=5, cell_size=1)
    obs, _ = env.reset(seed=0)
    assert np.bincount(obs[:, 0].argmax(axis=1), minlength=5).min() > 60
    for _ in range(4):
        reward = env.step(np.full(500, STAY))[1]
    assert (reward == 1).mean() == pytest.approx(0.2, abs=0.06)


def test_gymnasium_accepts_it_and_a_finished_episode_refuses_steps() -> None:
    env = gym.make("rllib_rnd/Catch-v0", render_mode="rgb_array", size=4)
    check_env(env.unwrapped, skip_render_check=True)
    env.reset(seed=0)
    assert env.render().shape == (16, 16, 3)
    for _ in range(3):
        env.step(STAY)
    with pytest.raises(RuntimeError, match="reset"):
        env.unwrapped.step(STAY)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"sise": 5}, "Did you mean 'size'"), ({"size": 1}, "2 to 100"), ({"visible_rows": 0}, "1 or more")],
)
def test_bad_options_are_config_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CatchVectorEnv(1, **options)
