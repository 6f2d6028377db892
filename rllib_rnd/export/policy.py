"""A policy that acts by itself, in a loop of the user's own: from a checkpoint or from an exported folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from rllib_rnd.checkpoints import checkpoint_config, find_checkpoint, load_own_module
from rllib_rnd.envs.plain import plain_observations
from rllib_rnd.envs.space_json import space_from_json, space_in_words
from rllib_rnd.errors import ConfigError
from rllib_rnd.export.engines import ONNX, PT2, Engine, onnx_engine, pt2_engine, torch_engine
from rllib_rnd.export.graph import ActionRange, PolicyGraph, plain_space
from rllib_rnd.export.samples import EnvironmentSpaces, environment_spaces
from rllib_rnd.modules.actions import distribution_for_space

CONFIG = "config.json"
#: What ``config.json`` says of itself, and the number of its format.
MADE_BY, FORMAT = "rllib export", 1


@dataclass(frozen=True)
class Interface:
    """What a policy reads and says.

    Attributes:
        spaces: of the environment itself.
        normalize_actions, clip_actions: how the policy's numbers are brought into the bounds of a Box.
        memory_size: F, numbers that it remembers; 0: none.
    """

    spaces: EnvironmentSpaces
    normalize_actions: bool = True
    clip_actions: bool = False
    memory_size: int = 0


class StandalonePolicy:
    """Observations in, actions in the environment's range out; no environment, no algorithm, no Ray cluster.

    Args:
        engine: computes the networks.
        interface: what goes in and out.
        deterministic: the most likely action unless `act` is told otherwise; else a draw.
        seed: of the draws.

    Attributes:
        observation_space, action_space: of the environment itself, of one step.
        memory_size: F; 0 for policies without a memory.
    """

    def __init__(self, engine: Engine, interface: Interface, deterministic: bool = False, seed: int = 0) -> None:
        self.observation_space, self.action_space = interface.spaces.observation, interface.spaces.action
        self.memory_size = interface.memory_size
        self.deterministic = deterministic
        self._engine = engine
        self._conversion = plain_observations(self.observation_space)
        plain = self.observation_space if self._conversion is None else self._conversion.space
        assert isinstance(plain, gym.spaces.Box)
        self._plain = plain
        self._distribution = distribution_for_space(plain_space(self.action_space))
        self._to_env = ActionRange(self.action_space, interface.normalize_actions, interface.clip_actions)
        self._generator = torch.Generator()
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Begins the draws anew: the same seed, the same actions."""
        self._generator.manual_seed(seed)

    def act(
        self,
        obs: object,
        memory: np.ndarray | None = None,
        is_first: np.ndarray | None = None,
        deterministic: bool | None = None,
    ) -> tuple[Any, np.ndarray | None]:
        """Chooses an action, or one for each of N environments.

        Args:
            obs: one observation as the environment shows it; N of them as one array ``[N, ...]``, or as a list if they
                are no arrays.
            memory: what came back with the action before; None where episodes begin.
            is_first: ``[N]`` bool, environments whose episode begins although ``memory`` is given.
            deterministic: the most likely action, or a draw; None: as the policy was loaded.

        Returns:
            The action, or actions ``[N, ...]``, and what to hand in at the next step: None without a memory.

        Raises:
            ConfigError: an observation or a memory of another shape or type, or with numbers that are none.
            RuntimeError: the networks' outputs are not finite.
        """
        batch, single = self._batch(obs)
        inputs = {"obs": batch, **self._memory(memory, is_first, len(batch), single)}
        outputs = self._engine(inputs)
        dist_inputs = outputs["dist_inputs"]
        if np.isnan(dist_inputs).any() or (dist_inputs == np.inf).any():
            raise RuntimeError("The policy's outputs are not finite: its weights are not finite or far too large.")
        if self.deterministic if deterministic is None else deterministic:
            action = outputs["action"]
        else:
            drawn, _ = self._distribution.sample(torch.from_numpy(dist_inputs), self._generator)
            action = self._to_env(drawn).numpy()
        after = outputs.get("next_memory")
        if not single:
            return action, after
        one = action[0] if isinstance(self.action_space, gym.spaces.Discrete) else action[0, ...]
        return one, None if after is None else after[0]

    def _batch(self, obs: object) -> tuple[np.ndarray, bool]:
        """Observations ``[N, ...]`` as the networks read them, and whether it is a single one."""
        space, plain = self.observation_space, self._plain
        is_array = isinstance(space, gym.spaces.Box) and bool(space.shape)
        if not is_array and not (isinstance(obs, np.ndarray) and obs.shape[-1:] == plain.shape):
            single = not isinstance(obs, list)
            parts: list[Any] = obs if isinstance(obs, list) else [obs]
            batch = np.stack([self._flattened(one) for one in parts])
        else:
            array = np.asarray(obs)
            single = array.shape == plain.shape
            batch = array[None] if single else array
            batch = self._of_type(batch, np.dtype(space.dtype if is_array else plain.dtype))
            if is_array and self._conversion is not None:
                batch = self._conversion.convert(batch)
        if batch.shape[1:] != plain.shape or not len(batch):
            raise ConfigError(
                "observation", f"shape {list(np.shape(batch))} does not fit", f"{space_in_words(space)}; or many of it"
            )
        if batch.dtype.kind == "f" and not np.isfinite(batch).all():
            raise ConfigError("observation", "holds numbers that are not finite", "finite ones")
        return np.ascontiguousarray(batch), single

    def _flattened(self, obs: object) -> np.ndarray:
        assert self._conversion is not None  # it is no array
        try:
            return self._conversion.convert(obs)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            allowed = space_in_words(self.observation_space)
            raise ConfigError("observation", f"{type(obs).__name__} does not fit ({error!r})", allowed) from error

    @staticmethod
    def _of_type(batch: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
        """Whole numbers stay whole: what was divided by 255 before would be divided by it again."""
        if batch.dtype != dtype and not np.can_cast(batch.dtype, dtype, "same_kind"):
            raise ConfigError("observation", f"numbers of type {batch.dtype}", f"{dtype}, raw from the environment")
        return batch.astype(dtype, copy=False)

    def _memory(
        self, memory: np.ndarray | None, is_first: np.ndarray | None, num: int, single: bool
    ) -> dict[str, np.ndarray]:
        """The networks' inputs besides observations."""
        size = self.memory_size
        if not size:
            return {}
        begins = np.full(num, memory is None) if is_first is None else np.array(is_first, bool).reshape(-1)
        try:
            held = np.zeros((num, size), np.float32) if memory is None else np.asarray(memory, np.float32)
        except (TypeError, ValueError) as error:
            raise ConfigError("memory", f"holds no numbers ({error})", "None, or what act() returned") from error
        held = held[None] if single and held.ndim == 1 else held
        if held.shape != (num, size) or begins.shape != (num,):
            raise ConfigError(
                "memory",
                f"shape {list(np.shape(held))}, episode starts {list(begins.shape)}, with {num} observations",
                f"None, or what act() returned: {[size] if single else [num, size]}",
            )
        if not np.isfinite(held).all():
            raise ConfigError("memory", "holds numbers that are not finite", "None, or what act() returned")
        return {"memory": held, "is_first": begins | (memory is None)}


def load_policy(path: str | Path, *, deterministic: bool = False, seed: int = 0) -> StandalonePolicy:
    """Loads a policy to act with, on the CPU.

    Args:
        path: of a checkpoint, of the folder of a run (its newest checkpoint; of a sweep that of the best trial), or of
            a folder that ``rllib export`` wrote.
        deterministic: the most likely actions instead of draws.
        seed: of the draws.

    Raises:
        ConfigError: there is none, or one that this version cannot read.
    """
    folder = Path(path).expanduser()
    data = read_config(folder)
    if data is None:
        return _of_checkpoint(find_checkpoint(folder), deterministic, seed)
    interface = interface_of(data, folder)
    if (folder / PT2).is_file():
        engine = pt2_engine(folder / PT2)
    elif (folder / ONNX).is_file():
        engine = onnx_engine(folder / ONNX)
    else:
        raise ConfigError(f"policy {path}", f"the folder has neither {PT2} nor {ONNX}", "a folder as it was exported")
    return StandalonePolicy(engine, interface, deterministic, seed)


def read_config(folder: Path) -> dict[str, Any] | None:
    """What ``rllib export`` wrote down of a folder; None if it is not one of its folders."""
    try:
        data = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) and data.get("made_by") == MADE_BY else None


def interface_of(data: Mapping[str, Any], folder: Path) -> Interface:
    """What a ``config.json`` says of the policy's inputs and outputs.

    Raises:
        ConfigError: it is of another format, or incomplete.
    """
    if data.get("format") != FORMAT:
        found = data.get("format")
        raise ConfigError(f"policy {folder}", f"its format is {found!r}, of another version of rllib_rnd", str(FORMAT))
    try:
        action, parts = data["action"], (data["observation"]["space"], data["action"]["space"])
        spaces = EnvironmentSpaces(*map(space_from_json, parts))
        return Interface(spaces, action["normalize_actions"], action["clip_actions"], data["memory"]["size"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"policy {folder}", f"its {CONFIG} is not complete ({error!r})") from error


def _of_checkpoint(folder: Path, deterministic: bool, seed: int) -> StandalonePolicy:
    module = load_own_module(folder, "load_policy()")
    try:
        spaces = environment_spaces(checkpoint_config(folder))
    except ConfigError:  # its package is not installed here: the plain spaces that the networks know will do
        spaces = EnvironmentSpaces(module.observation_space, module.action_space)
    config = module.model_config
    interface = Interface(
        spaces,
        config.get("normalize_actions", True),
        config.get("clip_actions", False),
        module.backbone.state_size,
    )
    return StandalonePolicy(torch_engine(PolicyGraph(module, spaces.action)), interface, deterministic, seed)
