"""An intrinsic reward: what a small network cannot yet predict of a random one is new. Change it to what you want."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rllib_rnd.intrinsic import IntrinsicOptions, IntrinsicReward
from rllib_rnd.modules.image import is_image
from rllib_rnd.modules.observations import Scale
from rllib_rnd.options import option
from rllib_rnd.plugin import LossTerms, Spaces, count_samples
from rllib_rnd.rollout import Rollout


@dataclass(frozen=True)
class MyRewardOptions(IntrinsicOptions):
    """Options of ``my_reward``; gamma, coeff and others are inherited."""

    width: int = option(64, "width of both networks", low=1)


class MyReward(IntrinsicReward[MyRewardOptions]):
    """How badly one network predicts another, which is random, on the observation that a step leads to."""

    name = "my_reward"
    Options = MyRewardOptions

    def __init__(self, spaces: Spaces, options: MyRewardOptions) -> None:
        """Makes the networks for frames of these spaces."""
        super().__init__(spaces, options)
        shape, width = spaces.frame.shape, options.width
        self.scale = Scale(spaces.frame, is_image(shape))
        self.target, self.predictor = (
            nn.Sequential(nn.Linear(math.prod(shape), width), nn.ReLU(), nn.Linear(width, width)) for _ in range(2)
        )
        self.target.requires_grad_(False)

    def error(self, frames: Tensor) -> Tensor:
        """Raw frames ``[B, *frame_shape]`` -> how wrong the prediction is, ``[B]``."""
        x = self.scale(frames).flatten(1)
        return (self.predictor(x) - self.target(x)).square().mean(dim=1)

    @torch.no_grad()
    def compute(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """Rewards of a rollout ``[T, N]``, and what `terms` should find again: nothing."""
        return rollout.per_step(self.error(self.rewarded_frames(rollout))), {}

    def terms(
        self, rollout: Rollout, features: dict[str, Tensor], index: Tensor, generator: torch.Generator
    ) -> LossTerms:
        """The loss of the predictor on the samples ``index``: its sum, and how many they are."""
        offset = 1 if self.options.reward_on == "next" else 0
        return {"my_reward_loss": (self.error(rollout.newest_frame(index, offset)).sum(), count_samples(index))}

    def update_statistics(self, rollout: Rollout) -> None:
        """Running statistics of the input would be updated here; there are none."""
