"""Environments for worker processes: this file imports nothing that they have not got anyway."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import gymnasium as gym
import numpy as np

from rllib_rnd.errors import ConfigError


class Counter(gym.Env):
    """Counts its steps, from a number that the seed draws; its action says what it does, see `step`.

    Args:
        refuses: in its constructor.
        dies: likewise.
    """

    def __init__(self, refuses: bool = False, dies: bool = False) -> None:
        self.observation_space = gym.spaces.Box(-1e6, 1e6, (2,), np.float32)
        self.action_space = gym.spaces.Discrete(9)
        self.t, self.number = 0, 0
        if refuses:
            raise ConfigError("env_config.size", "0 is out of range", "1 or more")
        if dies:
            os._exit(3)

    def _result(self) -> tuple[np.ndarray, dict[str, Any]]:
        info: dict[str, Any] = {"t": self.t, "half": self.t / 2}
        if self.number % 2 and self.t == 2:  # told now and then, by some
            info["event"] = {"name": "two", "at": np.full(2, self.number)}
        return np.array([self.number, self.t], np.float32), info

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """An episode."""
        super().reset(seed=seed)
        self.t, self.number = 0, int(self.np_random.integers(1000))
        return self._result()

    def step(self, action: int) -> Any:
        """1: raises; 2: ends its process; 3: is killed; 4: hangs; 5: refuses. An episode has 3 to 5 steps."""
        if action == 1:
            raise ValueError("the emulator died")
        if action == 2:
            os._exit(7)
        if action == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        while action == 4:
            time.sleep(0.05)
        if action == 5:
            raise ConfigError("env", "this cannot be")
        self.t += 1
        obs, info = self._result()
        return obs, float(self.t), self.t >= 3 + self.number % 3, self.t > 4, info

    def clone_state(self) -> dict[str, Any]:
        """All that decides the future."""
        return {"t": self.t, "number": self.number, "random": self.np_random.bit_generator.state}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Goes back."""
        self.t, self.number = state["t"], state["number"]
        self.np_random.bit_generator.state = state["random"]


class Unsaved(gym.Env):
    """Cannot save its state."""

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """An episode."""
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}
