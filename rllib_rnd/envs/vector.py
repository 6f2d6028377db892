"""A lean synchronous vector environment in gymnasium's NEXT_STEP autoreset mode.

It does what `gymnasium.vector.SyncVectorEnv` does, for array observations only, with less work per step (one
copy of each observation, infos gathered column by column), and it can save and restore all of its
environments.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from rllib_rnd.envs.contract import batch_info, read_info, read_number, read_obs, read_result
from rllib_rnd.envs.saving import clone_state, restore_state, why_not_saved
from rllib_rnd.errors import ConfigError

#: What ``reset`` takes: one seed for all, one for each environment, or None to go on with the random streams.
Seed = int | Sequence[int | None] | None


def environment_seeds(seed: Seed, num_envs: int) -> list[int | None]:
    """Gives each environment its seed: ``seed + i`` for an int (gymnasium's convention), None for None.

    Raises:
        ConfigError: a list of seeds whose length is not the number of environments.
    """
    if seed is None:
        return [None] * num_envs
    if isinstance(seed, (int, np.integer)):
        return [int(seed) + i for i in range(num_envs)]
    if len(seed) != num_envs:
        raise ConfigError(
            "seed", f"got {len(seed)} seeds for {num_envs} environments; give one int or one per environment"
        )
    return list(seed)


def check_saved_number(state: dict[str, Any], num_envs: int) -> None:
    """Refuses a saved state of another number of environments.

    Raises:
        ConfigError: it is.
    """
    if len(state["envs"]) != num_envs:
        saved = len(state["envs"])
        raise ConfigError("state", f"saved from {saved} environments, this vector has {num_envs}")


def number_columns(infos: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """What all environments tell as a plain number: name -> ``[N]``, in the order of the first's."""
    return {
        key: np.array([info[key] for info in infos])
        for key in infos[0]
        if all(isinstance(info.get(key), (bool, int, float, np.number)) for info in infos)
    }


class Single(NamedTuple):
    """What one of several equal environments is, as far as a vector of them has to know."""

    observation_space: gym.Space
    action_space: gym.Space
    metadata: dict[str, Any]
    render_mode: str | None
    spec: EnvSpec | None
    reusable: bool

    @staticmethod
    def of(env: gym.Env) -> Single:
        """Of this one."""
        reusable = bool(getattr(env, "reusable", False))
        return Single(env.observation_space, env.action_space, env.metadata, env.render_mode, env.spec, reusable)


class PythonVectorEnv(VectorEnv, ABC):
    """N equal environments written in Python, in NEXT_STEP autoreset mode.

    Returned arrays are never written again, so a caller may keep them. After ``terminated`` or ``truncated``
    the next step ignores the action, resets that environment and returns its first observation with reward 0.

    Attributes:
        reusable: the environments say that a seeded reset leaves no trace of what was played before, and that they are
            dear to make: others may play in them until then.
    """

    #: The entries of a saved state that hold a row per environment: all of them.
    state_rows = ("envs", "needs_reset")

    @property
    @abstractmethod
    def why_no_state(self) -> str | None:
        """Why the environments cannot save their state, in words; None: they can."""

    @property
    def can_clone_state(self) -> bool:
        """Whether every environment can save its state."""
        return self.why_no_state is None

    def _describe(self, single: Single, num_envs: int) -> None:
        """Sets what a vector environment tells of itself.

        Raises:
            ConfigError: observations are not arrays.
        """
        space = single.observation_space
        if space.shape is None or space.dtype is None:
            raise ConfigError("env", f"observation space {space} is not one array", "Box or alike")
        self.num_envs, self.render_mode, self.spec = num_envs, single.render_mode, single.spec
        self.metadata = {**single.metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}
        self.single_observation_space, self.single_action_space = space, single.action_space
        self.observation_space = batch_space(space, num_envs)
        self.action_space = batch_space(single.action_space, num_envs)
        self.reusable = single.reusable
        self._one_shape = space.shape
        self._obs_shape = (num_envs, *space.shape)
        self._obs_dtype = np.dtype(space.dtype)

    def _gather(self, infos: list[dict[str, Any]]) -> dict[str, Any]:
        """Batches infos as gymnasium does (``key`` and mask ``_key``), with a short way for plain numbers."""
        gathered = number_columns(infos)
        fast: set[Any] = set(gathered)
        gathered = self._with_masks(gathered)
        odd: set[Any] = set()
        for i, info in enumerate(infos):
            if len(info) > len(fast):
                for key in info.keys() - fast - odd:
                    try:
                        self._add_info(gathered, {key: info[key]}, i)
                    except Exception:  # no two environments need tell the same kind of thing: no batch, but objects
                        odd.add(key)
                        gathered[key], gathered[f"_{key}"] = batch_info(infos, key)
        return gathered

    def _with_masks(self, columns: dict[str, np.ndarray]) -> dict[str, Any]:
        """The same, and after each who tells it: all do."""
        told = {key: {key: column, f"_{key}": np.ones(self.num_envs, dtype=bool)} for key, column in columns.items()}
        return {key: column for one in told.values() for key, column in one.items()}


class LeanVectorEnv(PythonVectorEnv):
    """Steps Python environments one after the other.

    Args:
        env_fns: one maker per environment; all spaces must be equal.

    Raises:
        ConfigError: no environments, observations that are not arrays, or spaces that differ.
    """

    def __init__(self, env_fns: Sequence[Callable[[], gym.Env]]) -> None:
        self.envs: list[gym.Env] = []  # first, so that close() works on a half-made object
        if not env_fns:
            raise ConfigError("num_envs", "0 environments asked for", "1 or more")
        self.envs = [make() for make in env_fns]
        first = self.envs[0]
        self._describe(Single.of(first), len(self.envs))
        for env in self.envs[1:]:
            if (env.observation_space, env.action_space) != (first.observation_space, first.action_space):
                raise ConfigError("env", "the environments of one vector differ in their observation or action space")
        self._needs_reset = np.zeros(self.num_envs, dtype=bool)

    def reset(self, *, seed: Seed = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Resets every environment; returns ``(obs [N, *obs_shape], infos)``."""
        obs = np.empty(self._obs_shape, self._obs_dtype)
        return obs, self._gather(self.reset_into(obs, environment_seeds(seed, self.num_envs), options))

    def reset_into(
        self, obs: np.ndarray, seeds: Sequence[int | None], options: dict[str, Any] | None
    ) -> list[dict[str, Any]]:
        """As `reset`, with the observations written into ``obs [N, *obs_shape]``; the info of each environment."""
        infos = []
        for i, (env, env_seed) in enumerate(zip(self.envs, seeds, strict=True)):
            obs[i], info = self._begin(env.reset(seed=env_seed, options=options), env)
            infos.append(info)
        self._needs_reset = np.zeros(self.num_envs, dtype=bool)
        return infos

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of every environment: ``obs [N, *obs_shape]``, then ``[N]`` arrays, then infos."""
        obs = np.empty(self._obs_shape, self._obs_dtype)
        reward, terminated, truncated, infos = self.step_into(obs, actions)
        return obs, reward, terminated, truncated, self._gather(infos)

    def step_into(
        self, obs: np.ndarray, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """As `step`, with the observations written into ``obs [N, *obs_shape]``; the rest, and each one's info."""
        reward = np.zeros(self.num_envs, dtype=np.float64)
        terminated = np.zeros(self.num_envs, dtype=bool)
        truncated = np.zeros(self.num_envs, dtype=bool)
        infos = []
        for i, env in enumerate(self.envs):
            if self._needs_reset[i]:
                obs[i], info = self._begin(env.reset(), env)
            else:
                obs[i], reward[i], terminated[i], truncated[i], info = self._step_one(env, actions[i])
            infos.append(info)
        self._needs_reset = terminated | truncated
        return reward, terminated, truncated, infos

    def _begin(self, result: object, env: gym.Env) -> tuple[np.ndarray, dict[str, Any]]:
        """What ``reset`` of one environment returned, as it is to be."""
        obs, info = read_result(result, env, "reset")
        return read_obs(obs, self._one_shape, self._obs_dtype, env, "reset"), read_info(info, env, "reset")

    def _step_one(self, env: gym.Env, action: object) -> tuple[np.ndarray, float, float, float, dict[str, Any]]:
        """One step of one environment, each value of the type that it is to have."""
        result: Sequence[Any] = env.step(action)
        if type(result) is not tuple or len(result) != 5:
            result = read_result(result, env, "step")
        obs, reward, terminated, truncated, info = result
        if type(obs) is not np.ndarray or obs.dtype != self._obs_dtype or obs.shape != self._one_shape:
            obs = read_obs(obs, self._one_shape, self._obs_dtype, env, "step")
        if type(reward) is not float:
            reward = read_number(reward, env, "a reward of")
        if type(terminated) is not bool:
            terminated = read_number(terminated, env, "terminated")
        if type(truncated) is not bool:
            truncated = read_number(truncated, env, "truncated")
        if type(info) is not dict:
            info = read_info(info, env, "step")
        return obs, reward, terminated, truncated, info

    def render(self) -> tuple[Any, ...] | None:
        """Renders every environment."""
        return tuple(env.render() for env in self.envs)

    def call(self, name: str, *args: object, **kwargs: object) -> tuple[Any, ...]:
        """Calls a method of every environment (or reads an attribute); one result per environment."""
        found = [env.get_wrapper_attr(name) for env in self.envs]
        return tuple(f(*args, **kwargs) if callable(f) else f for f in found)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Reads an attribute of every environment."""
        return tuple(env.get_wrapper_attr(name) for env in self.envs)

    @property
    def why_no_state(self) -> str | None:
        """Why the environments cannot save their state, in words; None: they can."""
        return next((why for why in map(why_not_saved, self.envs) if why is not None), None)

    def clone_state(self) -> dict[str, Any]:
        """Saves all that decides the future of the environments, as plain data as far as they do.

        Raises:
            ConfigError: an environment cannot.
        """
        why = self.why_no_state
        if why is not None:
            raise ConfigError("env", f"{self.envs[0]} cannot save its state: {why}")
        return {"envs": [clone_state(env) for env in self.envs], "needs_reset": self._needs_reset.copy()}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Goes back to a saved state, also in another process.

        Raises:
            ConfigError: the state is of another number of environments.
        """
        check_saved_number(state, self.num_envs)
        for env, env_state in zip(self.envs, state["envs"], strict=True):
            restore_state(env, env_state)
        self._needs_reset = state["needs_reset"].copy()

    def close_extras(self, **_: object) -> None:
        """Closes every environment."""
        for env in self.envs:
            env.close()
