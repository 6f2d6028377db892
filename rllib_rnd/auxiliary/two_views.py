"""What losses on two augmented views of an observation share: the views, the features and the collapse metrics."""

from __future__ import annotations

import abc
import math
from itertools import chain, pairwise
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from rllib_rnd.auxiliary.augmentations import AugmentationOptions, build_augmentation
from rllib_rnd.auxiliary.base import AuxiliaryLoss
from rllib_rnd.functional.byol import collapse_std
from rllib_rnd.modules.backbone import Backbone, representation_shape
from rllib_rnd.modules.distributed import all_reduce_sum
from rllib_rnd.plugin import LossTerms, Spaces, count_samples
from rllib_rnd.rollout import Rollout

AugmentationOptionsT = TypeVar("AugmentationOptionsT", bound=AugmentationOptions, covariant=True)


class TwoViewLoss(AuxiliaryLoss[AugmentationOptionsT]):
    """Base of losses that draw two views of each observation and compare what the backbone makes of them.

    The views of a minibatch are one batch of twice its size for the backbone. It reads single steps, a recurrent one
    with an empty memory. Features are ``backbone.representation``, flattened.

    Subclasses set ``min_batch_size``, below which batch normalisation leaves nothing to learn from, besides what
    `AuxiliaryLoss` asks for. The loss is called ``<name>_loss``.

    Attributes:
        feature_size: width of the flattened representation.
        metrics: of the last minibatch that was not skipped, on this learner's share: ``<name>_feature_std``,
            ``<name>_projection_std``, see `collapse_std`.

    Raises:
        ConfigError: the augmentation does not fit the observation.
    """

    Options: ClassVar[type[AugmentationOptions]] = AugmentationOptions

    def __init__(self, backbone: Backbone, spaces: Spaces, options: AugmentationOptionsT) -> None:
        super().__init__(backbone, spaces, options)
        self.augmentation = build_augmentation(spaces.observation, options)
        self.feature_size = math.prod(representation_shape(backbone))

    def terms(self, backbone: Backbone, rollout: Rollout, index: Tensor, generator: torch.Generator) -> LossTerms:
        """``<name>_loss``; 0 of 0 samples where some learner has fewer than `min_batch_size`."""
        obs = rollout.obs(index)
        self.augmentation.observe(obs)
        # All learners skip together, for those that do not may wait for the others' share of a sum.
        short = all_reduce_sum(torch.tensor(float(len(obs) < self.min_batch_size), device=obs.device))
        if short > 0:
            parameters = chain(backbone.parameters(), self.parameters())
            zero = torch.stack([p.sum() for p in parameters if p.requires_grad]).sum() * 0.0
            return {f"{self.name}_loss": (zero, zero.detach().clone())}
        with torch.no_grad():
            views = torch.cat([self.augmentation(obs, generator), self.augmentation(obs, generator)])
        loss_sum = self.sum_over_samples(backbone, views)
        return {f"{self.name}_loss": (loss_sum, count_samples(index))}

    @abc.abstractmethod
    def sum_over_samples(self, backbone: Backbone, views: Tensor) -> Tensor:
        """The loss, summed over samples.

        Args:
            backbone: the policy's, with gradient.
            views: ``[2 * B, *observation_space.shape]`` raw: first views of all samples, then second views.

        Returns:
            ``[]``.
        """

    @torch.no_grad()
    def record(self, **vectors: Tensor) -> None:
        """Sets `metrics`: ``<name>_<key>_std`` of each ``[B, D]``."""
        self.metrics = {f"{self.name}_{key}_std": collapse_std(value) for key, value in vectors.items()}


def projector(sizes: list[int], bias: bool = True) -> nn.Sequential:
    """Linear layers with batch normalisation and ReLU between them, torch's initialisation as published.

    The buffers of the batch normalisation hold the statistics of the last batch alone (momentum 1): in training mode
    nothing reads them, and whoever wants an average can average.

    Args:
        sizes: widths from input to output.
        bias: of the linear layers.
    """
    layers: list[nn.Module] = []
    for in_features, out_features in pairwise(sizes[:-1]):
        norm = nn.BatchNorm1d(out_features, momentum=1.0)
        layers += [nn.Linear(in_features, out_features, bias), norm, nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1], bias))
