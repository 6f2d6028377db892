"""What comes out of a vector environment: held against its promise, without numbers that are none; failures by name."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Space
from gymnasium.vector import VectorEnv
from ray.util import log_once

from rllib_rnd.envs.contract import read_column, read_info, read_obs, read_result, source
from rllib_rnd.errors import ConfigError
from rllib_rnd.own_code import cause_of

logger = logging.getLogger(__name__)

#: Broken observations that one environment may send in a row, before it counts as failed.
MAX_BROKEN_IN_A_ROW = 100

# What is larger is no number either: networks would multiply it to infinity.
_LARGEST = 1e18
# Observations of no more numbers are held against their bounds.
_FEW_NUMBERS = 1024
_LARGEST_REWARD = float(np.finfo(np.float32).max)


class EnvironmentFailedError(RuntimeError):
    """An environment raised an error of its own, or sent what nothing can be made of.

    Args:
        env: its name.
        where: the method, ``reset`` or ``step``.
        reason: its error in words: the error itself need not be one that can travel between processes.
    """

    def __init__(self, env: str, where: str, reason: str) -> None:
        super().__init__(env, where, reason)
        self.env, self.where, self.reason = env, where, reason

    def __str__(self) -> str:
        return f"env: {self.env!r} failed in {self.where}(): {self.reason}"


@contextmanager
def failures_in(where: str, env: str) -> Iterator[None]:
    """Makes an `EnvironmentFailedError` of whatever the environment ``env`` raises in its method ``where``."""
    try:
        yield
    except (ConfigError, EnvironmentFailedError):
        raise
    except Exception as error:
        raise EnvironmentFailedError(env, where, cause_of(error)) from error


class Intake:
    """Takes in what N environments return.

    Args:
        name: the environment's, for messages.
        env: the vector environment.

    Attributes:
        num_broken: observations that held NaN, infinity or numbers beyond 1e18, so far.
    """

    def __init__(self, name: str, env: VectorEnv) -> None:
        self.num_broken = 0
        self._name, self._env = name, env
        space = env.observation_space
        self._shape, self._dtype = tuple(space.shape or ()), np.dtype(space.dtype)
        self._in_a_row = np.zeros(env.num_envs, dtype=np.int64)
        self._bounds = _bounds_of(env.single_observation_space)

    def reset(self, result: object) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        """What ``reset`` returned: observations, ``[N]`` bool where they are broken (numbers that are none are now 0),
        infos.

        Raises:
            ConfigError: it is not as promised.
            EnvironmentFailedError: too many broken observations in a row.
        """
        obs, infos = read_result(result, self._env, "reset")
        return *self._usable(obs, "reset"), read_info(infos, self._env, "reset")

    def step(self, result: object) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """What ``step`` returned: observations and which are broken as of `reset`, rewards, flags, infos.

        Raises:
            ConfigError: it is not as promised.
            EnvironmentFailedError: too many broken observations in a row, or a reward that is not finite.
        """
        obs, reward, terminated, truncated, infos = read_result(result, self._env, "step")
        reward = self._column(reward, "rewards")
        if not abs(float(reward.sum())) < _LARGEST_REWARD:
            worst = int(np.argmin(np.abs(reward) < _LARGEST_REWARD))
            raise self._failure(f"the reward of environment {worst} is {reward[worst]}, and has to be a finite number")
        terminated = self._column(terminated, "terminated").astype(bool, copy=False)
        truncated = self._column(truncated, "truncated").astype(bool, copy=False)
        return *self._usable(obs, "step"), reward, terminated, truncated, read_info(infos, self._env, "step")

    def _column(self, values: object, name: str) -> np.ndarray:
        return read_column(values, self._env.num_envs, self._env, name)

    def _usable(self, returned: object, method: str) -> tuple[np.ndarray, np.ndarray]:
        if type(returned) is np.ndarray and returned.dtype == self._dtype and returned.shape == self._shape:
            obs = returned
        else:
            obs = read_obs(returned, self._shape, self._dtype, self._env, method)
        broken = np.zeros(len(obs), dtype=bool)
        if self._dtype.kind != "f":
            return obs, broken
        if self._bounds is not None:
            self._tell_outside(obs, method)
        flat = obs.reshape(-1)
        # One pass without a copy: NaN and infinity stay, and what is too large becomes infinite. (Not of float16,
        # whose squares overflow at 256.)
        if self._dtype.itemsize > 2 and float(np.vdot(flat, flat)) < _LARGEST * _LARGEST:
            self._in_a_row[:] = 0
            return obs, broken
        unusable = ~(np.abs(obs) <= min(_LARGEST, float(np.finfo(self._dtype).max)))
        broken = np.asarray(unusable.reshape(len(obs), -1).any(axis=1))
        self._count(broken, method)
        if broken.any():
            obs = np.where(unusable, 0, obs).astype(self._dtype, copy=False)
        return obs, broken

    def _tell_outside(self, obs: np.ndarray, method: str) -> None:
        """Says once that an observation is outside its space; training goes on: nothing here relies on the bounds."""
        assert self._bounds is not None
        low, high = self._bounds
        outside = ((obs < low) | (obs > high)) & (np.abs(obs) <= _LARGEST)  # what is more is broken
        if outside.any():
            self._bounds = None
        # A process makes environments more than once, for random play and for evaluation, too.
        if outside.any() and log_once(f"{self._name} sends observations outside its space"):
            logger.warning(
                "env: %r sent an observation outside its space (%s); see %s. It is taken as it is, and this is not "
                "said again.",
                self._name,
                obs[outside][0],
                source(self._env, method),
            )

    def _count(self, broken: np.ndarray, method: str) -> None:
        if broken.any() and log_once(f"{self._name} sends broken observations"):
            logger.warning(
                "env: %r sent an observation with NaN, infinity or a number beyond 1e18. The step before it and the "
                "one after it are not learned from; the metric broken_observations counts such observations.",
                self._name,
            )
        self.num_broken += int(broken.sum())
        self._in_a_row = np.where(broken, self._in_a_row + 1, 0)
        if self._in_a_row.max() >= MAX_BROKEN_IN_A_ROW:
            raise self._failure(
                f"{MAX_BROKEN_IN_A_ROW} observations in a row of environment {self._in_a_row.argmax()} held NaN, "
                "infinity or numbers beyond 1e18",
                method,
            )

    def _failure(self, problem: str, method: str = "step") -> EnvironmentFailedError:
        return EnvironmentFailedError(self._name, method, f"{problem}; see {source(self._env, method)}")


def _bounds_of(space: Space) -> tuple[np.ndarray, np.ndarray] | None:
    """The bounds of floats, if there are any and to look costs next to nothing."""
    if not isinstance(space, Box) or np.dtype(space.dtype).kind != "f" or math.prod(space.shape) > _FEW_NUMBERS:
        return None
    return (space.low, space.high) if np.isfinite([space.low, space.high]).any() else None
