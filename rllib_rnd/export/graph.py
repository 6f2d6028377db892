"""A policy as one function of tensors: raw observations in, actions in the environment's own range out.

Everything that training keeps outside of the networks is inside here: which action is the most likely one, the bounds
of the environment's actions, their shape and their type.
"""

from __future__ import annotations

from typing import cast

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from rllib_rnd.envs.plain import plain_actions
from rllib_rnd.module import IntrinsicPPOModule

#: Names of what goes in, in the order of the arguments; policies without a memory take the first alone.
INPUTS = ("obs", "memory", "is_first")
#: Names of what comes out; the last of policies with a memory alone.
OUTPUTS = ("action", "dist_inputs", "value", "next_memory")


class ActionRange(nn.Module):
    """A policy's own actions -> the environment's: in its range, of its shape and type.

    The same as `rllib_rnd.modules.actions.to_environment` followed by what `rllib_rnd.envs.plain` does, in torch.

    Args:
        space: of the environment's actions, as the environment itself has it.
        normalize, clip: the settings ``normalize_actions`` and ``clip_actions``.
    """

    start: Tensor | None
    low: Tensor | None
    high: Tensor | None

    def __init__(self, space: gym.Space, normalize: bool, clip: bool) -> None:
        super().__init__()
        plain = plain_space(space)
        self.shape = tuple(space.shape or ())
        self.dtype = torch.from_numpy(np.zeros(0, space.dtype)).dtype
        self.is_stretched = False
        start, low, high = None, None, None
        if isinstance(plain, spaces.Box):
            self.is_stretched = bool(normalize and plain.is_bounded())
            if normalize or clip:
                low, high = torch.from_numpy(plain.low), torch.from_numpy(plain.high)
        else:
            start = torch.as_tensor(cast("spaces.MultiDiscrete", plain).start)
        self.register_buffer("start", start, persistent=False)
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("high", high, persistent=False)

    def forward(self, action: Tensor) -> Tensor:
        """``[B]`` or ``[B, A]`` -> ``[B, *space.shape]``."""
        if self.start is not None:
            action = action + self.start
        elif self.low is not None and self.high is not None:
            if self.is_stretched:
                action = self.low + (action + 1.0) * 0.5 * (self.high - self.low)
            action = torch.clamp(action, self.low, self.high)
        return action.reshape(action.shape[0], *self.shape).to(self.dtype)

    def own(self, action: Tensor) -> Tensor:
        """The other way, of whole numbers: ``[B, *space.shape]`` -> ``[B]`` or ``[B, A]``."""
        assert self.start is not None
        flat = action.long().reshape(len(action), -1) - self.start
        return flat[:, 0] if self.start.dim() == 0 else flat


def plain_space(space: gym.Space) -> gym.Space:
    """The space of the policy's own actions: of one axis, or one choice."""
    conversion = plain_actions(space)
    return space if conversion is None else conversion.space


class PolicyGraph(nn.Module):
    """Backbone, heads and the way to the environment's action, and nothing that only learning needs.

    Args:
        module: of a checkpoint. Its weights are copied.
        action_space: of the environment itself.

    Attributes:
        networks: the copy, without intrinsic rewards and auxiliary losses.
        to_env: a policy's own actions -> the environment's.
    """

    def __init__(self, module: IntrinsicPPOModule, action_space: gym.Space) -> None:
        super().__init__()
        self.networks = inference_only(module)
        config = module.model_config
        self.to_env = ActionRange(
            action_space, config.get("normalize_actions", True), config.get("clip_actions", False)
        )
        self.eval().requires_grad_(False)

    def forward(self, obs: Tensor, memory: Tensor | None = None, is_first: Tensor | None = None) -> dict[str, Tensor]:
        """One step of B environments.

        Args:
            obs: ``[B, *obs_shape]`` raw, as the environment shows it.
            memory: ``[B, F]``, what came out as ``next_memory`` before; policies without a memory: None.
            is_first: ``[B]`` bool, episodes that begin here, whatever the memory holds; likewise.

        Returns:
            ``action [B, ...]``, the most likely one; ``dist_inputs [B, P]``, logits, or means and then log standard
            deviations; ``value [B, S]``, stream 0 extrinsic; ``next_memory [B, F]``.
        """
        starts = None if is_first is None else is_first[None]
        dist_inputs, value, state = self.networks.policy_and_values(obs, memory, starts)
        action = self.to_env(self.networks.distribution.mode(dist_inputs))
        outputs = {"action": action, "dist_inputs": dist_inputs, "value": value}
        return outputs if state is None else {**outputs, "next_memory": state}


def inference_only(module: IntrinsicPPOModule) -> IntrinsicPPOModule:
    """A copy with the same weights and without what only learners hold, in evaluation mode."""
    args, kwargs = module.get_ctor_args_and_kwargs()
    with torch.random.fork_rng(devices=[]):  # of weights that are replaced at once
        twin = type(module)(*args, **{**kwargs, "inference_only": True})
    own = module.state_dict()
    twin.load_state_dict({name: own[name] for name in twin.state_dict()})
    return twin.eval()
