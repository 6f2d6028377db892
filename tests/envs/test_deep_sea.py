"""DeepSea: rewards by hand, one treasure path, the vector against the single environment."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import rllib_rnd
from rllib_rnd.envs.deep_sea import DeepSeaEnv, DeepSeaVectorEnv, action_mapping
from rllib_rnd.errors import ConfigError


def episode_return(env: DeepSeaEnv, go_right: tuple[bool, ...]) -> tuple[float, list[float]]:
    """Plays "right" or "left" at each row, whatever action means that in the cell."""
    env.reset()
    rewards, column = [], 0
    mapping = action_mapping(env.options.size, env.options.mapping_seed)
    for row, right in enumerate(go_right):
        means_right = int(mapping[row * env.options.size + column])
        obs, reward, terminated, truncated, _ = env.step(means_right if right else 1 - means_right)
        rewards.append(reward)
        column = max(column + 1 if right else column - 1, 0)
        assert (terminated, truncated) == (row == env.options.size - 1, False)
        if not terminated:
            assert obs.sum() == 1 and obs[(row + 1) * env.options.size + column] == 1
        else:
            assert obs.sum() == 0
    return sum(rewards), rewards


@pytest.mark.parametrize("size", [1, 5, 20])
def test_the_optimal_return_is_099(size: int) -> None:
    total, rewards = episode_return(DeepSeaEnv(size=size), (True,) * size)
    assert total == pytest.approx(0.99, abs=1e-12)
    assert rewards[:-1] == [pytest.approx(-0.01 / size)] * (size - 1)


def test_rewards_by_hand() -> None:
    env = DeepSeaEnv(size=4)
    assert episode_return(env, (True, False, True, True))[1] == pytest.approx([-0.0025, 0, -0.0025, -0.0025])
    assert episode_return(env, (False,) * 4)[1] == [0, 0, 0, 0]
    assert episode_return(env, (True, True, True, False))[1] == pytest.approx([-0.0025] * 3 + [0])


def test_exactly_one_action_sequence_finds_the_treasure() -> None:
    env = DeepSeaEnv(size=5)
    returns = [episode_return(env, path)[0] for path in itertools.product([False, True], repeat=5)]
    assert sorted(returns)[-2:] == pytest.approx([0.0, 0.99])


def test_the_mapping_differs_by_cell_and_by_its_seed_alone() -> None:
    a, b, c = action_mapping(10, 0), action_mapping(10, 0), action_mapping(10, 1)
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)
    assert 20 < a.sum() < 80 and set(a) == {0, 1}


@pytest.mark.filterwarnings("ignore")
def test_gymnasium_checker_and_registration() -> None:
    assert rllib_rnd.__name__  # importing the package is what registers the id
    check_env(gym.make("rllib_rnd/DeepSea-v0", size=6).unwrapped, skip_render_check=True)
    for mode in ("sync", "vector_entry_point", None):
        env = gym.make_vec("rllib_rnd/DeepSea-v0", num_envs=3, vectorization_mode=mode, size=6)
        assert env.reset()[0].shape == (3, 36)
        assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    env = gym.make_vec("rllib_rnd/DeepSea-v0", num_envs=3, size=6)
    assert isinstance(env, DeepSeaVectorEnv)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_vector_equals_the_single_environment(dtype: str) -> None:
    config: dict[str, Any] = {"size": 7, "mapping_seed": 3, "dtype": dtype}
    ours = DeepSeaVectorEnv(5, **config)
    stock: Any = gym.vector.SyncVectorEnv([lambda: DeepSeaEnv(**config)] * 5)
    assert ours.single_observation_space == stock.single_observation_space
    (obs, info), (theirs, their_info) = ours.reset(), stock.reset()
    np.testing.assert_array_equal(obs, theirs)
    assert info["position"].tolist() == their_info["position"].tolist() == [0] * 5
    kept, rng = [(obs, obs.copy())], np.random.default_rng(0)
    for t in range(40):
        actions = rng.integers(2, size=5)
        a, b = ours.step(actions), stock.step(actions)
        for x, y in zip(a[:4], b[:4], strict=True):
            np.testing.assert_array_equal(x, y)
            assert x.dtype == y.dtype
        assert a[2].all() == (t % 8 == 6)  # 7 steps, then one that resets
        np.testing.assert_array_equal(a[4]["position"], b[4]["position"])
        kept += [(x, x.copy()) for x in (*a[:4], a[4]["position"])]
    for array, as_returned in kept:
        np.testing.assert_array_equal(array, as_returned)


def test_the_position_is_the_cell_of_the_observation_and_nowhere_at_the_end() -> None:
    env, single = DeepSeaVectorEnv(3, size=4), DeepSeaEnv(size=4)
    assert env.position_shape == single.position_shape == (4, 4)
    obs, info = env.reset()
    rng, ends = np.random.default_rng(0), 0
    for _ in range(20):
        assert info["position"].dtype == np.int64 and info["_position"].tolist() == [True] * 3
        for cell, one_hot in zip(info["position"], obs, strict=True):
            assert (cell == -1 and one_hot.sum() == 0) or (one_hot.argmax() == cell and one_hot.sum() == 1)
        ends += int((info["position"] == -1).all())
        obs, _, _, _, info = env.step(rng.integers(2, size=3))
    assert ends == 4  # one in five steps
    assert single.reset()[1] == {"position": 0}
    assert [single.step(0)[4]["position"] // 4 for _ in range(4)] == [1, 2, 3, -1]


def test_divers_out_of_step_with_each_other() -> None:
    """States in different rows, one of them waiting for its reset."""
    env = DeepSeaVectorEnv(2, size=3)
    env.reset()
    env.step(np.array([0, 0]))
    arrays = {"row": np.array([3, 1]), "column": np.array([2, 0]), "needs_reset": np.array([True, False])}
    env.restore_state(env.clone_state() | arrays)
    obs, reward, terminated, _, _ = env.step(np.array([0, 0]))
    assert obs[0].argmax() == 0 and obs[0, 0] == 1 and reward[0] == 0 and not terminated[0]
    assert obs[1].argmax() in (6, 7)
    obs, _, terminated, _, _ = env.step(np.array([1, 1]))
    assert terminated.tolist() == [False, True] and obs[1].sum() == 0


def test_bad_options_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^sise: unknown key 'sise'.*'size'"):
        DeepSeaVectorEnv(2, sise=4)
    with pytest.raises(ConfigError, match="size"):
        DeepSeaEnv(size=0)
    with pytest.raises(RuntimeError, match="reset"):
        env = DeepSeaEnv(size=1)
        env.reset()
        env.step(0)
        env.step(0)


def test_images_show_the_cell_in_white() -> None:
    options: dict[str, Any] = {"size": 5, "mapping_seed": 3}
    images, vectors = DeepSeaVectorEnv(3, cell_size=2, **options), DeepSeaVectorEnv(3, **options)
    assert images.single_observation_space.shape == (10, 10)
    (image, _), (vector, _) = images.reset(), vectors.reset()
    rng = np.random.default_rng(0)
    for _ in range(12):
        expected = np.kron(vector.reshape(3, 5, 5), np.ones((2, 2), dtype=np.uint8)) * 255
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, expected)
        actions = rng.integers(2, size=3)
        image, vector = images.step(actions)[0], vectors.step(actions)[0]


@pytest.mark.parametrize("cell_size", [None, 3])
def test_noise_is_seen_after_its_action_only_and_leads_nowhere(cell_size: int | None) -> None:
    options: dict[str, Any] = {"size": 12, "noisy_tv": True, "cell_size": cell_size}
    env, quiet = DeepSeaVectorEnv(2, **options), DeepSeaVectorEnv(2, size=12, cell_size=cell_size)
    assert env.single_action_space == gym.spaces.Discrete(3)
    env.reset(seed=0)
    _, seen = quiet.reset()
    screens, mapping = [], action_mapping(12, quiet.options.mapping_seed)
    for _ in range(11):
        wrong = 1 - mapping[seen["position"]]  # what does not mean right
        obs, reward, _, _, info = env.step(np.array([2, wrong[1]]))
        expected, _, _, _, seen = quiet.step(wrong)
        np.testing.assert_array_equal(info["position"], seen["position"])
        np.testing.assert_array_equal(obs[1], expected[1])
        assert reward.tolist() == [0.0, 0.0]
        assert 0.3 < (obs[0] > 0).mean() < 0.7
        screens.append(obs[0])
    assert len({screen.tobytes() for screen in screens}) == 11
    obs, _, terminated, _, _ = env.step(np.array([2, 2]))
    assert terminated.all() and obs.sum() == 0  # the end looks like the end
    obs, *_ = env.step(np.array([2, 2]))
    assert (obs.reshape(2, -1) > 0).sum(axis=1).tolist() == [(cell_size or 1) ** 2] * 2  # the step that resets


def test_the_seed_decides_the_noise_and_a_saved_state_goes_on_with_it() -> None:
    def screens(env: DeepSeaVectorEnv, steps: int) -> np.ndarray:
        return np.stack([env.step(np.array([2, 2]))[0] for _ in range(steps)])

    env, again, other = (DeepSeaVectorEnv(2, size=8, noisy_tv=True) for _ in range(3))
    for each, seed in ((env, 1), (again, 1), (other, 2)):
        each.reset(seed=seed)
    first = screens(env, 5)
    np.testing.assert_array_equal(first, screens(again, 5))
    assert not np.array_equal(first, screens(other, 5))
    state = env.clone_state()
    after = screens(env, 4)
    other.restore_state(state)
    np.testing.assert_array_equal(after, screens(other, 4))
