"""What intrinsic rewards and auxiliary losses share; `docs/plugins.md` shows how to write your own."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import gymnasium as gym
import torch
from torch import Tensor, nn

from rllib_rnd.modules.actions import ActionFeatures
from rllib_rnd.modules.backbone import Backbone
from rllib_rnd.modules.observations import box_space

#: name -> (sum over samples, number of samples), both ``[]``; the loss is the ratio of the totals over all
#: learners.
LossTerms = dict[str, tuple[Tensor, Tensor]]

OptionsT = TypeVar("OptionsT", covariant=True)


@dataclass(frozen=True)
class Spaces:
    """What a plug-in will read.

    Attributes:
        observation: space of one observation as the policy sees it, frame stack included.
        action: space of one action.
        frame_stack: K; with K > 1 the first axis of an observation holds K frames, newest last.
        normalize_actions, clip_actions: RLlib's settings, by which a policy's actions become the environment's.

    Raises:
        ConfigError: observations are not arrays.
    """

    observation: gym.spaces.Box
    action: gym.Space
    frame_stack: int = 1
    normalize_actions: bool = True
    clip_actions: bool = False

    def __post_init__(self) -> None:
        """Whatever stands on these spaces may count on arrays."""
        box_space(self.observation)

    @property
    def frame(self) -> gym.spaces.Box:
        """Space of one frame of the stack (the observation's own without one)."""
        box = self.observation
        if self.frame_stack == 1:
            return box
        return gym.spaces.Box(box.low[0], box.high[0], dtype=box.dtype.type)  # type: ignore[arg-type, union-attr]

    @functools.cached_property
    def action_features(self) -> ActionFeatures:
        """``rollout.action`` as networks read it: ``action_features(action [B, ...]) -> [B, action_features.size]``.

        Raises:
            ConfigError: an action space that there is no policy for.
        """
        return ActionFeatures(self.action, self.normalize_actions, self.clip_actions)


class Plugin(nn.Module, Generic[OptionsT]):
    """Base of intrinsic rewards and auxiliary losses: a torch module that only learners hold.

    Args:
        spaces: of observations and actions.
        options: an instance of ``Options``.

    Attributes:
        name: in ``{type: name}``, and what the names of its metrics begin with.
        Options: dataclass of its options, made with `rllib_rnd.options.option`.
        source, cost: what `rllib list` prints besides.
        metrics: what is to be logged of the last minibatch besides losses, ``[]`` each.
    """

    name: ClassVar[str]
    Options: ClassVar[type]
    source: ClassVar[str] = ""
    cost: ClassVar[str] = ""

    options: OptionsT

    def __init__(self, spaces: Spaces, options: OptionsT) -> None:
        super().__init__()
        self.spaces = spaces
        self.options = options
        self.metrics: dict[str, Tensor] = {}

    @property
    def min_batch_size(self) -> int:
        """Samples that a learner's minibatch must have, at least; checked when an algorithm is built."""
        return 1

    def after_update(self, backbone: Backbone) -> None:
        """Called after every optimiser step, for moving averages of networks or the backbone (does nothing)."""


def count_samples(index: Tensor) -> Tensor:
    """The number of samples ``[B]`` as the count of a loss term, ``[]`` float32."""
    return torch.full((), float(len(index)), device=index.device)
