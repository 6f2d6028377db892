"""The auxiliary loss contract: a loss on the backbone's features, besides the policy's and the critics'."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from rllib_rnd.modules.backbone import Backbone
from rllib_rnd.options import Registry, option
from rllib_rnd.plugin import LossTerms, Plugin, Spaces
from rllib_rnd.rollout import Rollout


@dataclass(frozen=True)
class AuxiliaryOptions:
    """Options that every auxiliary loss has."""

    coeff: float = option(1.0, "weight of this loss in the total", low=0.0)
    project_gradient: bool = option(
        False, "drop what of this loss's gradient on the backbone points against that of PPO (Yu et al. 2020)"
    )


AuxiliaryOptionsT = TypeVar("AuxiliaryOptionsT", bound=AuxiliaryOptions, covariant=True)


class AuxiliaryLoss(Plugin[AuxiliaryOptionsT], abc.ABC):
    """Base of all auxiliary losses.

    It trains the backbone that it is handed and owns only what is its own (projectors, EMA copies). It must
    not keep the backbone as a submodule, which would list the parameters twice.

    Subclasses set ``name``, ``Options`` and the two documentation strings.

    Args:
        backbone: the policy's backbone, to read sizes from or to copy.
        spaces: of observations and actions.
        options: an instance of ``Options``.
    """

    Options: ClassVar[type[AuxiliaryOptions]] = AuxiliaryOptions

    def __init__(self, backbone: Backbone, spaces: Spaces, options: AuxiliaryOptionsT) -> None:
        super().__init__(spaces, options)

    @abc.abstractmethod
    def terms(self, backbone: Backbone, rollout: Rollout, index: Tensor, generator: torch.Generator) -> LossTerms:
        """Computes the loss on one minibatch.

        Args:
            backbone: the policy's backbone, with gradient.
            rollout: the rollout on the learner's device.
            index: ``[B]`` flat indices ``t * N + n`` of valid samples: there is no reset step among them.
            generator: the only source of randomness.

        Returns:
            Per name the sum over samples (with a graph, even over none) and the count (no graph), both
            ``[]``; the loss is the ratio of the totals over all learners, weighted by ``options.coeff`` by
            the caller.
        """


AUXILIARY_LOSSES: Registry[AuxiliaryLoss] = Registry("auxiliary loss", AuxiliaryLoss)
