"""MiniGrid stepped by envpool (Weng et al. 2022, arXiv:2206.10558), in C++ threads, without a Python object per game.

Observations, rewards, ends and infos are those of `MiniGridOneHotEnv`; layouts follow the same rules but come from
another random stream, so equal seeds give other layouts. States cannot be saved. Tasks that envpool 1.2 makes by
other rules are left to others, see `minigrid_backends`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from rllib_rnd.envs.info import POSITION, ROOM
from rllib_rnd.envs.minigrid_rules import (
    CHANNELS,
    MiniGridOptions,
    allowed_actions,
    check_minigrid_options,
    encode_view,
    find_room,
    make_task,
)
from rllib_rnd.envs.vector import Seed
from rllib_rnd.errors import ConfigError


class _Step(NamedTuple):
    """What envpool tells of n environments: ``view [n, 7, 7, 3]``, ``place [n, 2]`` (x, y), and ``[n]`` arrays."""

    view: np.ndarray
    heading: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    place: np.ndarray
    steps: np.ndarray


class EnvPoolMiniGridVectorEnv(VectorEnv):
    """N copies of a MiniGrid task in C++ threads, in gymnasium's NEXT_STEP mode; see `MiniGridOneHotEnv`.

    Observations are ``[N, 7 * 7 * 20 + 4]`` uint8, ``info["position"]`` and ``info["room"]`` ``[N]`` int64;
    ``position_shape`` is (rows, columns) of the grid.

    Args:
        env_id: a task for which `find_backend` of `minigrid_backends` names envpool.
        num_envs: N.
        options: see `MiniGridOptions`.
        num_threads: threads that step the environments.

    Raises:
        ConfigError: MiniGrid is not installed, or repeated or no actions.
    """

    #: Why states cannot be saved.
    why_no_state = "its backend in C++ keeps the games to itself; env_config.backend: minigrid does not"

    def __init__(self, env_id: str, num_envs: int, options: MiniGridOptions, num_threads: int) -> None:
        self._env: Any = None
        check_minigrid_options(options)
        self.options, self.num_envs = options, num_envs
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}
        self.render_mode, self.spec = None, None
        actions = allowed_actions(options)
        self.single_observation_space = spaces.Box(0, 1, (options.agent_view_size**2 * CHANNELS + 4,), np.uint8)
        self.single_action_space = spaces.Discrete(len(actions))
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._allowed_actions = np.array(actions, np.int32)
        task = make_task(env_id, options)
        task.reset(seed=0)  # some tasks know their rooms only then; they are the same in every layout
        self.position_shape: tuple[int, int] = (task.height, task.width)
        rooms = [find_room(task, x, y) for y in range(task.height) for x in range(task.width)]
        self._rooms = np.array([-1 if room is None else room for room in rooms])
        self._max_steps: int = task.max_steps
        task.close()
        # envpool counts a goal or a death in the last allowed step as truncated: it is given one step more than there
        # is, and environments at the limit are truncated, and reset, from here.
        self._arguments = {
            "task_id": env_id,
            "num_envs": num_envs,
            "num_threads": num_threads,
            "max_episode_steps": self._max_steps + 1,
        }
        self._truncated = np.zeros(num_envs, bool)

    def reset(self, *, seed: Seed = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Resets every environment, i with ``seed + i``; without a seed the random streams go on.

        Raises:
            ConfigError: a list of seeds.
        """
        import envpool

        if seed is not None and not isinstance(seed, (int, np.integer)):
            raise ConfigError("seed", f"{seed!r} is not supported by native MiniGrid environments", "one int")
        if self._env is None or seed is not None:  # seeds are given when the environments are made
            first = int(np.random.SeedSequence().generate_state(1)[0] % 2**30) if seed is None else int(seed)
            self._env = envpool.make_gymnasium(**self._arguments, env_seed=[first + i for i in range(self.num_envs)])
        self._truncated = np.zeros(self.num_envs, bool)
        new = self._reset_some(np.arange(self.num_envs, dtype=np.int32))
        return encode_view(new.view, new.heading), self._info(new)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One agent step of every environment: ``obs [N, 984]``, then ``[N]`` arrays, then infos."""
        native = self._allowed_actions[np.asarray(actions)]
        if self._truncated.any():
            late, others = (np.flatnonzero(which).astype(np.int32) for which in (self._truncated, ~self._truncated))
            parts = [self._reset_some(late)]
            if others.size:
                parts.append(self._step_some(native[others], others))
            order = np.argsort(np.concatenate([late, others]))
            new = _Step(*(np.concatenate(arrays)[order] for arrays in zip(*parts, strict=True)))
        else:
            new = self._step_some(native, None)
        success = new.reward > 0
        # Computed again: envpool's is a float32, and of the number of steps that it was given.
        paid = 1.0 if self.options.reward == "sparse_one" else 1 - 0.9 * (new.steps / self._max_steps)
        reward = np.where(success, paid, new.reward.astype(np.float64))
        self._truncated = ~new.terminated & (new.steps >= self._max_steps)
        return encode_view(new.view, new.heading), reward, new.terminated, self._truncated.copy(), self._info(new)

    def _reset_some(self, indices: np.ndarray) -> _Step:
        obs, info = self._env.reset(indices)
        nothing = np.zeros(len(indices), bool)
        return _Step(obs["image"], obs["direction"], nothing, nothing, info["agent_pos"], info["elapsed_step"])

    def _step_some(self, actions: np.ndarray, indices: np.ndarray | None) -> _Step:
        obs, reward, terminated, _, info = self._env.step(actions, indices)
        return _Step(obs["image"], obs["direction"], reward, terminated, info["agent_pos"], info["elapsed_step"])

    def _info(self, new: _Step) -> dict[str, Any]:
        position = new.place[:, 1].astype(np.int64) * self.position_shape[1] + new.place[:, 0]
        info = {POSITION: position, f"_{POSITION}": np.ones(self.num_envs, bool)}
        room = self._rooms[position]
        inside = room >= 0
        if inside.any():
            info[ROOM], info[f"_{ROOM}"] = np.where(inside, room, 0), inside
        return info

    def close_extras(self, **_: object) -> None:
        """Ends the threads."""
        self._env = None
