"""Barlow Twins: two views of an observation shall agree in every dimension, and dimensions shall not repeat others."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rllib_rnd.auxiliary.augmentations import AugmentationOptions
from rllib_rnd.auxiliary.base import AUXILIARY_LOSSES
from rllib_rnd.auxiliary.two_views import TwoViewLoss, projector
from rllib_rnd.errors import ConfigError
from rllib_rnd.functional.barlow import barlow_twins_loss, cross_correlation
from rllib_rnd.modules.backbone import Backbone
from rllib_rnd.modules.distributed import all_reduce_sum, world_size
from rllib_rnd.options import option
from rllib_rnd.plugin import Spaces


@dataclass(frozen=True)
class BarlowTwinsOptions(AugmentationOptions):
    """Options of ``barlow_twins``."""

    projector_sizes: tuple[int, ...] = option(
        (1024, 1024, 1024),
        "widths of the projector's layers; RND+Barlow Twins: three of 1024, later three of 8192 (138 M parameters)",
        low=1,
    )
    redundancy_coeff: float = option(0.0051, "lambda: weight of the correlations between different dimensions", low=0.0)


@AUXILIARY_LOSSES.register
class BarlowTwins(TwoViewLoss[BarlowTwinsOptions]):
    """Barlow Twins: features of two views agree, and no two features say the same.

    Zbontar et al. 2021 (arXiv:2103.03230). Backbone and projector embed two views; the loss pulls the matrix of
    correlations between the dimensions of one and the other towards the identity. No target network, no predictor.

    The loss belongs to a batch, not to samples: it is returned as loss times samples over samples. Batch normalisation
    sees each view by itself. With several learners it also sees each learner's batch by itself, but the correlations
    are those of all learners' samples together.

    Attributes:
        projector: ``[B, feature_size]`` -> ``[B, projector_sizes[-1]]``.

    Raises:
        ConfigError: the augmentation does not fit the observation, or there is no layer.
    """

    name = "barlow_twins"
    Options = BarlowTwinsOptions
    source = "Zbontar et al. 2021 (arXiv:2103.03230)"
    cost = "backbone forward and backward on two views; a square matrix of the projector's last width"
    # Each view is normalised by itself; two rows would become +1 and -1 whatever they are.
    min_batch_size = 3

    def __init__(self, backbone: Backbone, spaces: Spaces, options: BarlowTwinsOptions) -> None:
        super().__init__(backbone, spaces, options)
        if not options.projector_sizes:
            raise ConfigError("projector_sizes", "[] is empty", "one size or more")
        self.projector = projector([self.feature_size, *options.projector_sizes], bias=False)

    def sum_over_samples(self, backbone: Backbone, views: Tensor) -> Tensor:
        """Loss times samples: ``[2 * B, ...]`` -> ``[]``."""
        features = backbone.representation(views).flatten(1)
        z_1, z_2 = (self.projector(part) for part in features.chunk(2))
        self.record(feature=features, projection=torch.cat([z_1, z_2]))
        correlation = mean_over_learners(cross_correlation(z_1, z_2), len(z_1))
        return barlow_twins_loss(correlation, self.options.redundancy_coeff) * len(z_1)


def mean_over_learners(own: Tensor, count: int) -> Tensor:
    """The mean over all learners' samples, by value; by gradient this learner's own mean.

    The learner sums gradients of ``loss * count / total count`` over learners. A function of the common mean then gets
    exactly its gradient: every learner adds what its own samples do to that mean.

    Args:
        own: mean over this learner's samples.
        count: number of these samples.
    """
    if world_size() == 1:
        return own
    mean = all_reduce_sum(own.detach() * count) / all_reduce_sum(torch.tensor(float(count), device=own.device))
    return own + (mean - own).detach()
