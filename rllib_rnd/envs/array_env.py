"""Environments that live in one set of arrays: N of them are stepped at once, by numpy, from one random generator."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, Generic, TypeVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from rllib_rnd.envs.family import check_num_envs, check_render_mode
from rllib_rnd.envs.info import POSITION
from rllib_rnd.envs.vector import Seed, environment_seeds
from rllib_rnd.errors import ConfigError


def shared_generator(seed: Seed, num_envs: int, current: np.random.Generator) -> np.random.Generator:
    """The one generator of all environments after ``reset(seed=seed)``.

    A list of seeds is mixed into one; without a seed the stream goes on.

    Raises:
        ConfigError: a list of another length, or with None beside numbers.
    """
    if isinstance(seed, (int, np.integer)):
        return np.random.default_rng(int(seed))
    seeds = environment_seeds(seed, num_envs)
    numbers = [s for s in seeds if s is not None]
    if not numbers:
        return current
    if len(numbers) < num_envs:
        raise ConfigError("seed", f"{seeds} mixes numbers and None; the environments share one generator")
    return np.random.default_rng(numbers)


class ArrayVectorEnv(VectorEnv, abc.ABC):
    """N environments in one set of arrays (NEXT_STEP autoreset).

    One random generator serves all of them, and every number is drawn for every environment, needed or not: what
    happens depends on the seed, the number of environments and the actions alone. ``info["position"]`` is where each
    is, ``[N]`` int64, in a grid of ``position_shape`` (rows, columns).

    A subclass keeps what decides the future in arrays with N rows, each in an attribute of its name in `STATE` after an
    underscore, and sets ``_needs_reset`` in each step to whose episode has ended. Arrays handed out are never written
    again.

    Args:
        num_envs: number of environments.
        render_mode: None or one of ``metadata["render_modes"]``.
        observation_space: of one environment.
        action_space: of one environment.

    Raises:
        ConfigError: no such render mode, or ``num_envs`` below 1.
    """

    STATE: ClassVar[tuple[str, ...]]
    options: Any  # the dataclass of its env_config
    position_shape: tuple[int, int]
    metadata: dict[str, Any] = {  # noqa: RUF012 - as gymnasium
        "autoreset_mode": AutoresetMode.NEXT_STEP,
        "render_modes": [],
    }

    def __init__(
        self, num_envs: int, render_mode: str | None, observation_space: spaces.Box, action_space: spaces.Space
    ) -> None:
        check_num_envs(num_envs)
        check_render_mode(render_mode, self)
        self.num_envs, self.render_mode = num_envs, render_mode
        self.single_observation_space, self.single_action_space = observation_space, action_space
        self.observation_space = batch_space(observation_space, num_envs)
        self.action_space = batch_space(action_space, num_envs)
        self._envs = np.arange(num_envs)
        self._generator = np.random.default_rng()
        self._needs_reset = np.ones(num_envs, dtype=bool)

    @classmethod
    def single_metadata(cls) -> dict[str, Any]:
        """The metadata of the single environment, whose class needs them too: gymnasium asks before it makes one."""
        return {key: value for key, value in cls.metadata.items() if key != "autoreset_mode"}

    @property
    def needs_reset(self) -> np.ndarray:
        """Whose episode is over or was never begun, ``[N]`` bool: the next step only resets them."""
        return self._needs_reset.copy()

    def reset(self, *, seed: Seed = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode in every environment.

        Args:
            seed: seeds the one generator; a sequence (one number per environment) is mixed into one seed; None goes
                on with the random stream.
            options: not used.

        Raises:
            ConfigError: a sequence of another length, or with None beside numbers.
        """
        self._generator = shared_generator(seed, self.num_envs, self._generator)
        self._needs_reset = np.zeros(self.num_envs, dtype=bool)
        self._begin_all()
        return self._observe(), self._info()

    @abc.abstractmethod
    def _begin_all(self) -> None:
        """Puts every environment at the beginning of an episode."""

    @abc.abstractmethod
    def _observe(self) -> np.ndarray:
        """What is seen now, ``[N, ...]``."""

    @abc.abstractmethod
    def _cells(self) -> np.ndarray:
        """Index of the cell that each is in, ``[N]`` int64, a fresh array."""

    def _info(self) -> dict[str, Any]:
        return {POSITION: self._cells(), f"_{POSITION}": np.ones(self.num_envs, dtype=bool)}

    def render(self) -> tuple[np.ndarray, ...] | None:  # type: ignore[override]
        """Draws every environment: N images ``[height, width, 3]`` uint8; None without a render mode."""
        return None if self.render_mode is None else self._pictures()

    def _pictures(self) -> tuple[np.ndarray, ...] | None:
        """N pictures ``[height, width, 3]`` uint8; None where there is nothing to draw, and so no render mode."""
        return None

    @property
    def can_clone_state(self) -> bool:
        """Always: the state is a few arrays and that of the generator."""
        return True

    @property
    def state_rows(self) -> tuple[str, ...]:
        """The entries of a saved state that hold a row per environment."""
        return (*self.STATE, "needs_reset")

    def clone_state(self) -> dict[str, Any]:
        """Saves all that decides the future, and what the environment was made with, as plain data."""
        arrays = {name: array.copy() for name, array in self._state_arrays().items()}
        return {"made_with": self._made_with(), "generator": self._generator.bit_generator.state, **arrays}

    def _made_with(self) -> dict[str, Any]:
        """Its options by name, and what else decides the rules."""
        return dict(vars(self.options))

    def restore_state(self, state: dict[str, Any]) -> None:
        """Goes back to a saved state, also in another process.

        Raises:
            ConfigError: the state is of another number of environments, or of one with other options.
        """
        for name, own_value in self._made_with().items():
            if not _alike(state["made_with"].get(name), own_value):
                saved = state["made_with"].get(name)
                raise ConfigError("state", f"saved with {name} = {saved!r}, this environment's is {own_value!r}")
        arrays = self._state_arrays()
        if len(state["needs_reset"]) != self.num_envs:
            saved = len(state["needs_reset"])
            raise ConfigError("state", f"saved from {saved} environments, this vector has {self.num_envs}")
        for name in arrays:
            setattr(self, f"_{name}", state[name].copy())
        self._generator.bit_generator.state = state["generator"]

    def _state_arrays(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, f"_{name}") for name in self.state_rows}


Vector = TypeVar("Vector", bound=ArrayVectorEnv)


class VectorOfOne(gym.Env, Generic[Vector]):
    """A single environment made of a vector of one, for `gymnasium.make`: without the step that only resets.

    Infos lose their axis of environments.

    Args:
        vector: a vector environment with ``num_envs`` 1.
    """

    def __init__(self, vector: Vector) -> None:
        self.vector, self.render_mode = vector, vector.render_mode
        self.position_shape = vector.position_shape
        self.observation_space, self.action_space = vector.single_observation_space, vector.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode; ``seed`` as in the vector's ``reset``."""
        super().reset(seed=seed)
        obs, info = self.vector.reset(seed=seed, options=options)
        return obs[0], _of_one(info)

    def step(self, action: int | np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step.

        Raises:
            RuntimeError: no episode was begun, or it has ended and `reset` was not called.
        """
        if self.vector.needs_reset[0]:
            raise RuntimeError("The episode is over: call reset() before step().")
        obs, reward, terminated, truncated, info = self.vector.step(np.asarray(action)[None])
        return obs[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), _of_one(info)

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """Draws what the vector draws; None without a render mode."""
        images = self.vector.render()
        return None if images is None else images[0]

    def clone_state(self) -> dict[str, Any]:
        """Saves all that decides the future."""
        return self.vector.clone_state()

    def restore_state(self, state: dict[str, Any]) -> None:
        """Goes back to a saved state; raises as the vector's ``restore_state``."""
        self.vector.restore_state(state)


def _alike(saved: object, own: object) -> bool:
    """Whether two options are equal; sequences may have come back as lists."""
    if isinstance(saved, (list, tuple)) and isinstance(own, (list, tuple)):
        return list(saved) == list(own)
    return saved == own


def _of_one(info: dict[str, Any]) -> dict[str, Any]:
    """Numbers in place of arrays ``[1]``, without gymnasium's masks of what is there."""
    return {name: value[0].item() for name, value in info.items() if not name.startswith("_")}
