"""BYOL: predict what a slow copy of the network makes of another view of the same observation."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from rllib_rnd.auxiliary.augmentations import AugmentationOptions
from rllib_rnd.auxiliary.base import AUXILIARY_LOSSES
from rllib_rnd.auxiliary.two_views import TwoViewLoss, projector
from rllib_rnd.functional.byol import byol_loss, byol_tau
from rllib_rnd.modules.backbone import Backbone
from rllib_rnd.modules.distributed import all_reduce_sum, world_size
from rllib_rnd.modules.moving_average import move_average
from rllib_rnd.options import option
from rllib_rnd.plugin import Spaces


@dataclass(frozen=True)
class BYOLOptions(AugmentationOptions):
    """Options of ``byol``."""

    projector_hidden: int = option(4096, "width of the projector's hidden layer; RND+BYOL: 896, later 4096", low=1)
    projection_size: int = option(256, "width of projections and predictions", low=1)
    predictor_hidden: int = option(512, "width of the predictor's hidden layer", low=1)
    tau: float = option(
        0.99, "weight of the old target in its moving average; RND+BYOL: 0.99, BYOL: 0.996", low=0.0, high=1.0
    )
    tau_schedule: Literal["constant", "cosine"] = option(
        "constant", "cosine: from tau to 1 over tau_steps (BYOL), after which the target stands still"
    )
    tau_steps: int = option(100_000, "optimizer steps that the cosine takes; the whole training is usual", low=1)
    target_statistics: Literal["batch", "average"] = option(
        "batch",
        "what batch normalisation in the target uses: its batch (as published), or the moving average of the online "
        "network's statistics (EMAN), which lags behind where features hardly differ and move together",
    )


class Branch(nn.Module):
    """Backbone and projector as one module, so that one moving average takes both; raw ``[B, ...]`` -> ``[B, P]``."""

    def __init__(self, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.projector = backbone, head

    def forward(self, obs: Tensor) -> Tensor:
        """``[B, *observation_space.shape]`` raw -> projections ``[B, P]``."""
        return self.projector(self.backbone.representation(obs).flatten(1))


@AUXILIARY_LOSSES.register
class BYOL(TwoViewLoss[BYOLOptions]):
    """Bootstrap your own latent: one view predicts what a moving average of the network makes of another.

    Grill et al. 2020 (arXiv:2006.07733). The online network is the policy's backbone, a projector and a predictor; the
    target is a copy of backbone and projector whose parameters follow theirs as a moving average, after every step of
    the optimizer: ``target <- tau target + (1 - tau) online``. The loss is symmetric in the two views, 0 to 8.

    The average takes in the statistics of batch normalisation too, which published implementations leave out. They are
    read with ``target_statistics: average`` (Cai et al. 2021, arXiv:2101.08482): a sample's target then does not depend
    on the others in its batch. With several learners, batches are normalised by learner and averages are common.

    Attributes:
        projector: ``[B, feature_size]`` -> ``[B, projection_size]``.
        predictor: ``[B, projection_size]`` -> the same.
        target: the moving average of backbone and projector, without gradient; in eval mode, but for batch
            normalisation with ``target_statistics: batch``.
        num_updates: ``[]`` int64, updates of the target so far.

    Raises:
        ConfigError: the augmentation does not fit the observation.
    """

    name = "byol"
    Options = BYOLOptions
    source = "Grill et al. 2020 (arXiv:2006.07733)"
    cost = "backbone forward and backward on two views, and forward on both again for the target"
    # Both views are normalised as one batch; two rows would become +1 and -1 whatever they are.
    min_batch_size = 2
    num_updates: Tensor

    def __init__(self, backbone: Backbone, spaces: Spaces, options: BYOLOptions) -> None:
        super().__init__(backbone, spaces, options)
        size = options.projection_size
        self.projector = projector([self.feature_size, options.projector_hidden, size])
        self.predictor = projector([size, options.predictor_hidden, size])
        self.target = copy.deepcopy(Branch(backbone, self.projector)).requires_grad_(False).eval()
        for norm in self._target_norms():
            norm.momentum = 0.0  # its own batches leave the averaged statistics alone
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.int64))

    def train(self, mode: bool = True) -> BYOL:
        """Sets the training mode; of the target (its dropout stays off) only that of batch normalisation, if at all."""
        super().train(mode)
        self.target.eval()
        if self.options.target_statistics == "batch":
            for norm in self._target_norms():
                norm.train(mode)
        return self

    def tau(self) -> float:
        """Weight of the old target at the next update."""
        if self.options.tau_schedule == "constant":
            return self.options.tau
        return byol_tau(self.options.tau, int(self.num_updates), self.options.tau_steps)

    def sum_over_samples(self, backbone: Backbone, views: Tensor) -> Tensor:
        """Both directions, summed over samples: ``[2 * B, ...]`` -> ``[]``."""
        features = backbone.representation(views).flatten(1)
        projections = self.projector(features)
        predictions = self.predictor(projections)
        with torch.no_grad():
            targets = self.target(views)
        self.record(feature=features, projection=projections, target=targets)
        return byol_loss(predictions, targets.roll(len(views) // 2, 0)).sum()

    @torch.no_grad()
    def after_update(self, backbone: Backbone) -> None:
        """Moves the target's parameters and statistics towards the online network's.

        The first statistics (mean 0, variance 1) are nobody's: the first update replaces them, and until there are
        ``1 / (1 - tau)`` to average, all so far count the same. With the plain average the target's projections would
        nearly coincide at first and spread out after some 200 steps only.
        """
        online, tau, updates = Branch(backbone, self.projector), self.tau(), int(self.num_updates)
        move_average(self.target.parameters(), online.parameters(), tau)
        for old, new in zip(self.target.buffers(), online.buffers(), strict=True):
            if old.is_floating_point():
                move_average([old], [all_reduce_sum(new) / world_size()], min(tau, updates / (updates + 1)))
            else:
                old.copy_(new)
        self.num_updates += 1

    def _target_norms(self) -> list[nn.modules.batchnorm._BatchNorm]:
        return [m for m in self.target.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
