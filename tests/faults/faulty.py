"""Environments that misbehave when they are told to: by files in a folder, each of which one process takes, once."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

#: Steps of an episode.
LENGTH = 10


class Orders:
    """Misbehaviour that is waiting to be taken.

    Args:
        folder: whose name environments are given.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder, self._placed = Path(folder), 0
        self.folder.mkdir(exist_ok=True, parents=True)

    def place(self, act: str, where: str = "step", at: int = 3, times: int = 1) -> None:
        """Has ``times`` processes, or one so often, do ``act`` at the ``at``-th call of ``where`` from then on."""
        for _ in range(times):
            self._placed += 1
            order = self.folder / f"{where}-{self._placed:04d}"
            order.write_text(json.dumps({"act": act, "where": where, "at": at}), encoding="utf-8")
            order.rename(order.with_suffix(".order"))

    def take(self, *where: str) -> dict[str, Any] | None:
        """Takes an order for one of these methods, if there is any."""
        for order in sorted(self.folder.glob("*.order")):
            if order.name.partition("-")[0] in where:
                try:
                    order.rename(order.with_suffix(".taken"))
                except FileNotFoundError:  # another process was faster
                    continue
                found: dict[str, Any] = json.loads(order.with_suffix(".taken").read_text(encoding="utf-8"))
                return found
        return None

    def clear(self) -> None:
        """Takes back what nobody has taken."""
        while self.take("init", "reset", "step"):
            pass


class _Misbehaves:
    """What single and vector environments have in common."""

    def __init__(self, folder: str) -> None:
        self._orders = Orders(folder)
        self._order: dict[str, Any] | None = None
        self._act("init", self._orders.take("init"))

    def _due(self, where: str) -> str:
        """What is to be done at this call of a method; what needs no result is done."""
        if self._order is None:
            self._order = self._orders.take("reset", "step")
        if self._order is None or self._order["where"] != where:
            return ""
        self._order["at"] -= 1
        if self._order["at"] > 0:
            return ""
        order, self._order = self._order, None
        return self._act(where, order)

    def _act(self, where: str, order: Mapping[str, Any] | None) -> str:
        act = "" if order is None else order["act"]
        if act == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif act == "exit":
            os._exit(3)
        elif act == "raise":
            raise ValueError(f"the emulator died in {where}")
        elif act == "hang":
            while True:
                time.sleep(0.05)
        elif act == "hang for good":  # whatever is raised
            while True:
                try:
                    time.sleep(0.05)
                except Exception:
                    continue
        elif act == "zombie":
            self._children = [subprocess.Popen([sys.executable, "-c", ""])]
        return str(act)

    @staticmethod
    def _spoilt(act: str, obs: np.ndarray, reward: Any) -> tuple[Any, Any]:
        """An observation and a reward, or several, after what is to be done to them."""
        if act in ("nan", "inf"):
            obs = obs.copy()
            obs[..., -1] = math.nan if act == "nan" else math.inf
        elif act in ("reward nan", "reward inf"):
            reward = reward * 0.0 + (math.nan if act.endswith("nan") else math.inf)
        elif act == "shape":
            obs = obs[..., :-1]
        elif act == "dtype":
            obs = obs.astype(str)
        elif act == "outside":
            obs = obs.copy()
            obs[..., -1] = 5.0
        return obs, reward


class Faulty(_Misbehaves, gym.Env):
    """Counts what it sends: an observation is a number of its own, drawn when it was made, how many it has sent, and
    the step of the episode.

    Args:
        folder: of its `Orders`.
    """

    def __init__(self, folder: str) -> None:
        self.observation_space = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.name, self.sent, self.t = int.from_bytes(os.urandom(3), "big") / 2**24, 0, 0
        super().__init__(folder)

    def _obs(self) -> np.ndarray:
        self.sent += 1
        return np.array([self.name, self.sent / 8192, self.t / LENGTH], np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        gym.Env.reset(self, seed=seed)
        self.t = 0
        obs, _ = self._spoilt(self._due("reset"), self._obs(), 0.0)
        return obs, {}

    def step(self, action: int) -> Any:
        self.t += 1
        act = self._due("step")
        done = self.t >= LENGTH or act == "last nan"
        obs, reward = self._spoilt("nan" if act == "last nan" else act, self._obs(), 1.0)
        return (obs, reward, done, {}) if act == "values" else (obs, reward, done, False, {})


class FaultyVector(_Misbehaves, VectorEnv):
    """`Faulty` as a user's own vector environment; all its copies misbehave at once."""

    def __init__(self, num_envs: int, folder: str) -> None:
        self.num_envs, self.metadata = num_envs, {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.single_observation_space = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.single_action_space = gym.spaces.Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.names = np.frombuffer(os.urandom(4 * num_envs), np.uint32) / 2.0**32
        self.sent, self.t = 0, 0
        super().__init__(folder)

    def _obs(self) -> np.ndarray:
        self.sent += 1
        rest = np.full((self.num_envs, 2), (self.sent / 8192, self.t / LENGTH))
        return np.concatenate([self.names[:, None], rest], axis=1).astype(np.float32)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.t = 0
        obs, _ = self._spoilt(self._due("reset"), self._obs(), 0.0)
        return obs, {}

    def step(self, actions: Any) -> Any:
        begins = self.t >= LENGTH
        self.t = 0 if begins else self.t + 1
        act = self._due("reset") if begins else self._due("step")
        self.t = LENGTH if act == "last nan" else self.t
        reward = np.full(self.num_envs, 0.0 if begins else 1.0)
        obs, reward = self._spoilt("nan" if act == "last nan" else act, self._obs(), reward)
        done, never = np.full(self.num_envs, self.t >= LENGTH), np.zeros(self.num_envs, bool)
        return (obs, reward, done, {}) if act == "values" else (obs, reward, done, never, {})


class Large(gym.Env):
    """Observations of a quarter of a megabyte, which nobody looks at."""

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(0, 255, (2**18,), np.uint8)
        self.action_space = gym.spaces.Discrete(2)
        self.t = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2**18, np.uint8), {}

    def step(self, action: int) -> Any:
        self.t += 1
        return np.zeros(2**18, np.uint8), 0.0, self.t >= LENGTH, False, {}
