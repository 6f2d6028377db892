"""How networks play: observations in, actions and what else rollouts and videos want to know out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from rllib_rnd.functional.distributions import ActionDistribution
from rllib_rnd.modules.accelerate import PolicyAndValues

_CPU = torch.device("cpu")


class Decision(NamedTuple):
    """What a policy makes of the observations of N environments.

    Attributes:
        action: ``[N, ...]``, before it is brought into the environment's range.
        logp: ``[N]``, its log-probability.
        dist_inputs: ``[N, P]``, inputs of the action distribution.
        value: ``[N, S]``.
        memory: ``[N, F]``, the policy's after this step.
    """

    action: np.ndarray
    logp: np.ndarray
    dist_inputs: np.ndarray
    value: np.ndarray
    memory: np.ndarray


class Outlook(NamedTuple):
    """As `Decision`, before an action is chosen; ``dist_inputs`` is a tensor on the CPU."""

    dist_inputs: torch.Tensor
    value: np.ndarray
    memory: np.ndarray


@dataclass(frozen=True)
class Policy:
    """Networks, how actions come out of them, and what has to be known of their memory.

    Attributes:
        forward: observations, memory (None if F is 0) and episode starts ``[1, N]`` -> inputs of the action
            distribution, values and memory.
        distribution: of the actions.
        generator: of the draws, on the CPU.
        device: where the networks are.
        memory_size: F.
        sequence_length: L, steps after which rollouts keep the memory.
        num_streams: S.
        deterministic: the most likely action instead of a draw.
    """

    forward: PolicyAndValues
    distribution: ActionDistribution
    generator: torch.Generator
    device: torch.device = _CPU
    memory_size: int = 0
    sequence_length: int = 1
    num_streams: int = 1
    deterministic: bool = False

    def empty_memory(self, num_envs: int) -> np.ndarray:
        """``[N, F]``, before the first observation; networks begin anew where ``is_first``, whatever is in it."""
        return np.zeros((num_envs, self.memory_size), dtype=np.float32)

    def look(self, obs: np.ndarray, memory: np.ndarray, is_first: np.ndarray) -> Outlook:
        """Runs the networks; nothing is drawn.

        Args:
            obs: ``[N, *obs_shape]``.
            memory: ``[N, F]``.
            is_first: ``[N]`` bool, episodes that begin here.
        """
        memory_tensor, starts = None, None
        # Not RLlib's forward_exploration: that walks through all submodules, to eval mode and back, around every call.
        with torch.inference_mode():
            obs_tensor = torch.from_numpy(obs).to(self.device)
            if self.memory_size:
                memory_tensor = torch.from_numpy(memory).to(self.device)
                starts = torch.from_numpy(is_first[None]).to(self.device)
            outputs = self.forward(obs_tensor, memory_tensor, starts)
            parts = [part.float() for part in outputs if part is not None]
            both = torch.cat(parts, dim=1).cpu()  # one transfer
        first, second = parts[0].shape[1], parts[0].shape[1] + parts[1].shape[1]
        return Outlook(both[:, :first], both[:, first:second].numpy(), both[:, second:].numpy())

    def decide(
        self, obs: np.ndarray, memory: np.ndarray, is_first: np.ndarray, broken: np.ndarray | None = None
    ) -> Decision:
        """Looks, and chooses one action per environment.

        Args:
            obs, memory, is_first: as of `look`.
            broken: ``[N]`` bool, observations that say nothing: their actions are drawn as from inputs of 0, which
                make all discrete actions equally likely and normal ones standard normal.

        Raises:
            RuntimeError: the networks' outputs are not finite, and so their weights cannot be.
        """
        dist_inputs, value, memory = self.look(obs, memory, is_first)
        # Minus infinity is an action that a mask has ruled out.
        if not math.isfinite(dist_inputs.sum()) and not bool((dist_inputs < math.inf).all()):
            raise RuntimeError(
                "The policy's outputs are not finite although its observations are: its weights are not finite or "
                "far too large, or a network of your own divides by zero, or takes a root or logarithm of zero."
            )
        if broken is not None and broken.any():
            blind = torch.from_numpy(broken)
            dist_inputs = dist_inputs.masked_fill(blind[:, None], 0.0)
        else:
            blind = None
        if self.deterministic:
            action = self.distribution.mode(dist_inputs)
            if blind is not None:
                drawn = self.distribution.sample(dist_inputs, self.generator)[0].to(action.dtype)
                # Not in place: the mode may be a view of the inputs.
                action = torch.where(blind.view(-1, *[1] * (action.dim() - 1)), drawn, action)
            logp, _ = self.distribution.logp_and_entropy(dist_inputs, action)
        else:
            action, logp = self.distribution.sample(dist_inputs, self.generator)
        return Decision(action.numpy(), logp.numpy(), dist_inputs.numpy(), value, memory)
