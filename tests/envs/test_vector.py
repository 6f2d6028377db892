"""The lean vector environment: NEXT_STEP autoreset, arrays nobody writes again, infos as gymnasium's."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from rllib_rnd.envs.vector import LeanVectorEnv
from rllib_rnd.errors import ConfigError


class Counter(gym.Env):
    """Counts its steps; ends after ``length`` of them, by truncation if ``truncates``."""

    def __init__(self, length: int = 3, truncates: bool = False, extra_info: bool = False) -> None:
        self.observation_space = spaces.Box(0, 100, (1,), np.int64)
        self.action_space = spaces.Discrete(5)
        self.length, self.truncates, self.extra_info, self.t = length, truncates, extra_info, 0
        self.buffer = np.zeros(1, dtype=np.int64)  # reused at each step, as careless environments do

    def _result(self) -> tuple[np.ndarray, dict[str, Any]]:
        self.buffer[0] = self.t
        info: dict[str, Any] = {"t": self.t}
        if self.extra_info and self.t == 2:
            info["event"] = {"name": "two", "at": np.ones(2)}
        return self.buffer, info

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return self._result()

    def step(self, action: int) -> Any:
        assert self.t < self.length, "stepped after the end"
        self.t += 1
        obs, info = self._result()
        done = self.t == self.length
        return obs, float(action), done and not self.truncates, done and self.truncates, info


def test_next_step_autoreset_shows_the_last_observation_and_ignores_the_next_action() -> None:
    env = LeanVectorEnv([lambda: Counter(2), lambda: Counter(3, truncates=True)])
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    obs, _ = env.reset(seed=0)
    assert obs.tolist() == [[0], [0]]
    steps = [env.step(np.array([1, 2])) for _ in range(5)]
    assert [s[0].ravel().tolist() for s in steps] == [[1, 1], [2, 2], [0, 3], [1, 0], [2, 1]]
    assert [s[1].tolist() for s in steps] == [[1, 2], [1, 2], [0, 2], [1, 0], [1, 2]]
    assert [s[2][0] for s in steps] == [False, True, False, False, True]
    assert [s[3][1] for s in steps] == [False, False, True, False, False]
    assert not any(s[3][0] or s[2][1] for s in steps)


def test_it_does_what_gymnasiums_own_vector_does() -> None:
    def makers() -> list[Any]:
        return [lambda: Counter(2), lambda: Counter(4, extra_info=True), lambda: Counter(3, truncates=True)]

    lean: Any = LeanVectorEnv(makers())
    stock: Any = SyncVectorEnv(makers())
    results = [(lean.reset(seed=1), stock.reset(seed=1))]
    results += [(lean.step(a), stock.step(a)) for a in np.arange(30).reshape(10, 3) % 5]
    events = 0
    for ours, theirs in results:
        for a, b in zip(ours[:-1], theirs[:-1], strict=True):
            np.testing.assert_array_equal(a, b)
        assert ours[-1].keys() == theirs[-1].keys()
        np.testing.assert_array_equal(ours[-1]["t"], theirs[-1]["t"])
        np.testing.assert_array_equal(ours[-1]["_t"], theirs[-1]["_t"])
        if "event" in ours[-1]:
            events += 1
            np.testing.assert_array_equal(ours[-1]["event"]["at"], theirs[-1]["event"]["at"])
            np.testing.assert_array_equal(ours[-1]["_event"], theirs[-1]["_event"])
    assert events >= 2


def test_returned_arrays_are_never_written_again() -> None:
    env = LeanVectorEnv([Counter, Counter])
    kept = [env.reset()[0]]
    copies = [kept[0].copy()]
    for _ in range(7):
        result = env.step(np.array([3, 4]))
        kept += result[:4]
        copies += [array.copy() for array in result[:4]]
    for array, as_returned in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(array, as_returned)


def test_reset_in_the_middle_forgets_pending_autoresets() -> None:
    env = LeanVectorEnv([lambda: Counter(1)])
    env.reset()
    assert env.step(np.array([0]))[2][0]
    env.reset()
    obs, reward, terminated, _, _ = env.step(np.array([4]))
    assert (obs[0, 0], reward[0], terminated[0]) == (1, 4.0, True)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="num_envs"):
        LeanVectorEnv([])
    with pytest.raises(ConfigError, match="2 seeds for 1"):
        LeanVectorEnv([Counter]).reset(seed=[1, 2])
    with pytest.raises(ConfigError, match="cannot save its state"):
        LeanVectorEnv([Counter]).clone_state()
    other = LeanVectorEnv([Counter])
    other.envs[0].action_space = spaces.Discrete(9)
    with pytest.raises(ConfigError, match="differ"):
        LeanVectorEnv([Counter, lambda: other.envs[0]])
