"""The auxiliary loss contract: a loss on the backbone's features, besides the policy's and the critics'."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import torch
from torch import nn

from rllib_rnd.modules.backbone import Backbone
from rllib_rnd.options import Registry, option
from rllib_rnd.rollout import Rollout


@dataclass(frozen=True)
class AuxiliaryOptions:
    """Options that every auxiliary loss has."""

    coeff: float = option(1.0, "weight of this loss in the total", low=0.0)
    project_gradient: bool = option(
        False, "drop what of this loss's gradient on the backbone points against that of PPO (Yu et al. 2020)"
    )


class AuxiliaryLoss(nn.Module, abc.ABC):
    """Base of all auxiliary losses: a learner-only torch module.

    It trains the backbone that it is handed and owns only what is its own (projectors, EMA copies). It must
    not keep the backbone as a submodule, which would list the parameters twice. What is to be logged of the
    last minibatch besides losses it puts into ``metrics``, ``[]`` each.

    Subclasses set ``Options`` and the two documentation strings.

    Args:
        backbone: the policy's backbone, to read sizes from or to copy.
        observation_space: space of one observation as the policy sees it, frame stack included.
        options: an instance of ``Options``.
    """

    Options: ClassVar[type[Any]] = AuxiliaryOptions
    source: ClassVar[str] = ""
    cost: ClassVar[str] = ""

    def __init__(self, backbone: Backbone, observation_space: gym.Space, options: Any) -> None:
        super().__init__()
        self.observation_space = observation_space
        self.options = options
        self.metrics: dict[str, torch.Tensor] = {}

    @abc.abstractmethod
    def loss(
        self,
        backbone: Backbone,
        rollout: Rollout,
        index: torch.Tensor,
        generator: torch.Generator,
        valid: torch.Tensor,
    ) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Computes the loss on one minibatch.

        Args:
            backbone: the policy's backbone, with gradient.
            rollout: the rollout on the learner's device.
            index: ``[B]`` flat indices ``t * N + n``.
            generator: the only source of randomness.
            valid: ``[B]`` bool, False for reset steps.

        Returns:
            Per name the sum over samples (with a graph, even over none) and the count (no graph), both
            ``[]``; the loss is the ratio of the totals over all learners, weighted by ``options.coeff`` by
            the caller.
        """

    def min_batch_size(self) -> int:
        """Samples that a learner's minibatch must have, at least; checked when an algorithm is built."""
        return 1

    def after_update(self, backbone: Backbone) -> None:
        """Called after every optimiser step, for moving averages of the backbone. Does nothing by default."""


AUXILIARY_LOSSES: Registry[AuxiliaryLoss] = Registry("auxiliary loss")
