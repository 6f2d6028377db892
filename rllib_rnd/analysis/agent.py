"""The agent of a checkpoint: its configuration, its networks on the CPU, and a twin that has learned nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_rnd.checkpoints import checkpoint_config, load_own_module
from rllib_rnd.envs.makers import env_name
from rllib_rnd.module import IntrinsicPPOModule


@dataclass(frozen=True)
class Agent:
    """What is looked into.

    Attributes:
        folder: of the checkpoint.
        config: it was trained with.
        module: the policy with its intrinsic rewards, on the CPU, in evaluation mode.
        trained: False of the twin that `untrained` makes.
    """

    folder: Path
    config: AlgorithmConfig
    module: IntrinsicPPOModule
    trained: bool = True

    @classmethod
    def load(cls, folder: Path, command: str) -> Agent:
        """Loads the agent of a checkpoint.

        Args:
            folder: of the checkpoint.
            command: that asks for it, for messages.

        Raises:
            ConfigError: the checkpoint holds none of this package's.
        """
        module = load_own_module(folder, f"`rllib {command}`")
        return cls(folder, checkpoint_config(folder), module)

    def untrained(self, seed: int = 0) -> Agent:
        """The same networks with weights drawn anew; what was measured of inputs and rewards (buffers) is kept.

        Args:
            seed: of the weights.
        """
        args, kwargs = self.module.get_ctor_args_and_kwargs()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            twin = type(self.module)(*args, **kwargs)
        measured = dict(self.module.named_buffers())
        twin.load_state_dict(
            {name: measured[name] for name, _ in twin.named_buffers() if name in measured}, strict=False
        )
        twin.eval()
        return Agent(self.folder, self.config, twin, trained=False)

    @property
    def env(self) -> str:
        """Name of the environment."""
        return env_name(self.config.env)

    @property
    def reward_names(self) -> list[str]:
        """Short names of the intrinsic rewards, all different: of an import path the class."""
        return reward_names(self.config.intrinsic_reward_specs())


def reward_names(specs: list[dict[str, Any]]) -> list[str]:
    """Short names of intrinsic rewards, all different: of an import path the class."""
    short = [str(spec["type"]).rpartition(":")[2] for spec in specs]
    return [name if short.count(name) == 1 else f"{name} {i + 1}" for i, name in enumerate(short)]
