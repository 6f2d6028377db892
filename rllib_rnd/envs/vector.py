"""A lean synchronous vector environment in gymnasium's NEXT_STEP autoreset mode.

It does what `gymnasium.vector.SyncVectorEnv` does, for array observations only, with less work per step (one
copy of each observation, infos gathered column by column), and it can save and restore all of its
environments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
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


class LeanVectorEnv(VectorEnv):
    """Steps Python environments one after the other.

    Returned arrays are never written again, so a caller may keep them. After ``terminated`` or ``truncated``
    the next step ignores the action, resets that environment and returns its first observation with reward 0.

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
        if first.observation_space.shape is None or first.observation_space.dtype is None:
            raise ConfigError("env", f"observation space {first.observation_space} is not one array", "Box or alike")
        for env in self.envs[1:]:
            if (env.observation_space, env.action_space) != (first.observation_space, first.action_space):
                raise ConfigError("env", "the environments of one vector differ in their observation or action space")
        self.num_envs = len(self.envs)
        self.metadata = {**first.metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}
        self.render_mode = first.render_mode
        self.spec = first.spec
        self.single_observation_space = first.observation_space
        self.single_action_space = first.action_space
        self.observation_space = batch_space(first.observation_space, self.num_envs)
        self.action_space = batch_space(first.action_space, self.num_envs)
        self._one_shape = first.observation_space.shape
        self._obs_shape = (self.num_envs, *self._one_shape)
        self._obs_dtype = np.dtype(first.observation_space.dtype)
        self._needs_reset = np.zeros(self.num_envs, dtype=bool)

    def reset(self, *, seed: Seed = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Resets every environment; returns ``(obs [N, *obs_shape], infos)``."""
        obs = np.empty(self._obs_shape, self._obs_dtype)
        infos = []
        for i, (env, env_seed) in enumerate(zip(self.envs, environment_seeds(seed, self.num_envs), strict=True)):
            obs[i], info = self._begin(env.reset(seed=env_seed, options=options), env)
            infos.append(info)
        self._needs_reset = np.zeros(self.num_envs, dtype=bool)
        return obs, self._gather(infos)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of every environment: ``obs [N, *obs_shape]``, then ``[N]`` arrays, then infos."""
        obs = np.empty(self._obs_shape, self._obs_dtype)
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
        return obs, reward, terminated, truncated, self._gather(infos)

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

    def _gather(self, infos: list[dict[str, Any]]) -> dict[str, Any]:
        """Batches infos as gymnasium does (``key`` and mask ``_key``), with a short way for plain numbers."""
        gathered: dict[str, Any] = {}
        for key in infos[0]:
            if all(isinstance(info.get(key), (bool, int, float, np.number)) for info in infos):
                gathered[key] = np.array([info[key] for info in infos])
                gathered[f"_{key}"] = np.ones(self.num_envs, dtype=bool)
        fast: set[Any] = {key for key in infos[0] if key in gathered}
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

    #: The entries of a saved state that hold a row per environment: all of them.
    state_rows = ("envs", "needs_reset")

    @property
    def why_no_state(self) -> str | None:
        """Why the environments cannot save their state, in words; None: they can."""
        return next((why for why in map(why_not_saved, self.envs) if why is not None), None)

    @property
    def can_clone_state(self) -> bool:
        """Whether every environment can save its state."""
        return self.why_no_state is None

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
        if len(state["envs"]) != self.num_envs:
            saved = len(state["envs"])
            raise ConfigError("state", f"saved from {saved} environments, this vector has {self.num_envs}")
        for env, env_state in zip(self.envs, state["envs"], strict=True):
            restore_state(env, env_state)
        self._needs_reset = state["needs_reset"].copy()

    def close_extras(self, **_: object) -> None:
        """Closes every environment."""
        for env in self.envs:
            env.close()
