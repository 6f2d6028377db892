"""An environment: a corridor with a reward at its far end. Any gymnasium environment will do."""

from typing import Any

import gymnasium as gym
import numpy as np


class MyEnv(gym.Env[np.ndarray, np.int64]):
    """Left or right; the right end pays 1 and ends the episode.

    Args:
        length: an option; each argument with a default is one, and a line of ``env_config``.
        max_steps: after so many an episode is cut off.
        render_mode: there is nothing to see.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - as gymnasium has it

    def __init__(self, length: int = 10, max_steps: int = 100, render_mode: str | None = None) -> None:
        """Says what is observed and what can be done."""
        self.length, self.max_steps, self.render_mode = length, max_steps, render_mode
        self.observation_space = gym.spaces.Box(0.0, 1.0, (length,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.place = self.steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begins an episode; randomness comes from ``self.np_random``, which the seed makes repeatable."""
        super().reset(seed=seed)
        self.place, self.steps = 0, 0
        return self._observe(), {"position": self.place}  # counted: positions_visited

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict]:
        """One step: observation, reward, terminated, truncated, infos."""
        self.place = min(max(self.place + (1 if action == 1 else -1), 0), self.length - 1)
        self.steps += 1
        there = self.place == self.length - 1
        return self._observe(), float(there), there, self.steps >= self.max_steps, {"position": self.place}

    def _observe(self) -> np.ndarray:
        return np.eye(self.length, dtype=np.float32)[self.place]
