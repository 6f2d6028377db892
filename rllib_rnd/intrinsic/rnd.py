"""Random network distillation: the error in predicting a fixed random network shows how new a frame is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from rllib_rnd.intrinsic.base import INTRINSIC_REWARDS, Traced
from rllib_rnd.intrinsic.distillation import Distillation, DistillationOptions
from rllib_rnd.modules.image import (
    NATURE_CONVS,
    conv_output_shape,
    conv_stack,
    image_layout,
    is_image,
    to_channels_last_float,
    with_channels,
)
from rllib_rnd.modules.layers import linear_stack, orthogonal_init
from rllib_rnd.modules.observations import Scale
from rllib_rnd.modules.repeats import of_each
from rllib_rnd.modules.running_moments import RunningMoments
from rllib_rnd.options import option
from rllib_rnd.plugin import Spaces
from rllib_rnd.rollout import Rollout

# (output channels, kernel, stride, padding)
_CONV_LAYOUTS = {
    "nature": NATURE_CONVS,
    "michalnand": ((32, 8, 4, 2), (64, 3, 2, 1), (64, 3, 1, 1)),
}

# Activations after the encoder's layers, and between the predictor's last linear layers.
_ACTIVATIONS: dict[str, tuple[type[nn.Module], type[nn.Module]]] = {
    "leaky_relu": (nn.LeakyReLU, nn.ReLU),
    "elu": (nn.ELU, nn.ELU),
}


@dataclass(frozen=True)
class RNDOptions(DistillationOptions):
    """Options of ``rnd``. The defaults are those of the paper at 128 environments."""

    normalize_input: Literal["mean_std", "mean", "none"] = option(
        "mean_std",
        "input: (x - mean) / std (RND); or scaled by the space's bounds, less the mean (michalnand) or as is",
    )
    activation: Literal["leaky_relu", "elu"] = option("leaky_relu", "of the encoders; michalnand: elu")
    negative_slope: float = option(
        0.01, "leaky_relu's slope below 0: torch's default; RND's own code: TensorFlow's, 0.2", low=0.0
    )
    conv_layout: Literal["nature", "michalnand"] = option(
        "nature", "images: conv 8/4, 4/2, 3/1 unpadded (RND) or 8/4, 3/2, 3/1 padded (michalnand, at 96 x 96)"
    )
    channels: tuple[int, ...] | None = option(
        None, "images: outputs of those convolutions, fewer leave the last ones out; null: 32, 64, 64", low=1
    )
    hidden_sizes: tuple[int, ...] = option((128, 128), "vectors: hidden layers of the encoders", low=1)


@INTRINSIC_REWARDS.register
class RND(Distillation[RNDOptions]):
    """Random network distillation: how far a trained network is from a fixed random one on the newest frame.

    Burda et al. 2018, "Exploration by Random Network Distillation" (arXiv:1810.12894). A target network f
    is drawn at random and never changes; a predictor g learns f on visited observations; the reward of step
    t is the mean of ``(f(x) - g(x))^2`` with x the newest frame of ``obs_{t+1}``, normalised per pixel and
    clipped.

    Images (uint8 ``[H, W]``, ``[H, W, C]``): three convolutions. Vectors: linear layers. 84 x 84 x 1: the
    target has 1,677,984 parameters (frozen), the predictor 2,203,296.

    Attributes:
        obs_moments: running mean and variance per element of a frame.
        target, predictor: the two networks, normalised frame -> ``[B, feature_dim]``.

    Raises:
        ConfigError: images are too small.
    """

    name = "rnd"
    Options: ClassVar[type[RNDOptions]] = RNDOptions
    source = "Burda et al. 2018 (arXiv:1810.12894)"
    cost = "two forward passes per step; the predictor trains on update_proportion of the samples"

    def __init__(self, spaces: Spaces, options: RNDOptions) -> None:
        super().__init__(spaces, options)
        shape = spaces.frame.shape
        self._layout = image_layout(shape) if is_image(shape) else None
        self._scale = Scale(spaces.frame, self._layout is not None)
        self.obs_moments = RunningMoments(shape)
        self.target = self._make_network(extra_layers=0)
        self.target.requires_grad_(False).eval()
        self.predictor = self._make_network(extra_layers=2)

    @property
    def needs_warmup(self) -> bool:
        """Unless frames are read as they are."""
        return self.options.normalize_input != "none"

    @torch.no_grad()
    def update_statistics(self, rollout: Rollout) -> None:
        """Adds the newest frames of all rewarded observations to the per-element moments, over all learners.

        The learner calls it at the end of its update, after the rewards of the rollout and the training on
        it: both then see the same statistics (frozen in between), and so do the target features kept from
        the rewards.
        """
        self.obs_moments.update(self.rewarded_frames(rollout), rollout.valid.flatten())

    def run(self, network: nn.Module, rollout: Rollout, index: torch.Tensor) -> torch.Tensor:
        """One of the networks on the normalised newest frames of the rewarded observations: ``[B, feature_dim]``."""
        offset = rollout.num_envs if self.options.reward_on == "next" else 0
        return self.run_on(network, rollout, index + offset)

    def run_on(self, network: nn.Module, rollout: Rollout, index: torch.Tensor) -> torch.Tensor:
        """One of the networks on the newest frames of observations ``index [B]``; on each different vector once."""

        def on_rows(rows: torch.Tensor) -> torch.Tensor:
            features: torch.Tensor = network(self.normalize_frames(rollout.newest_frame(rows)))
            return features

        return on_rows(index) if self._layout is not None else of_each(rollout, index, on_rows)

    def normalize_frames(self, frame: torch.Tensor) -> torch.Tensor:
        """Raw frames ``[B, *frame_shape]`` -> network input, ``[B, C, H, W]`` channels-last or ``[B, D]``."""
        clip = self.options.clip_input
        if self.options.normalize_input == "mean_std":
            x = self.obs_moments.normalize(frame, clip)
        else:
            x = frame.float()
            if self.options.normalize_input == "mean":
                x = x - self.obs_moments.mean.float()
            x = self._scale(x).clamp(-clip, clip)
        if self._layout is None:
            return x.flatten(1)
        return to_channels_last_float(self._layout.to_channels_first(x))

    def traced(self) -> Traced | None:
        """The prediction error as a function of the newest frame."""
        return Traced(self.normalize_frames, self.error, (self.predictor, self.target))

    def _make_network(self, extra_layers: int) -> nn.Sequential:
        options = self.options
        encoder_activation, head_activation = _ACTIVATIONS[options.activation]
        layers: list[nn.Module]
        if self._layout is None:
            size = self.obs_moments.mean.numel()
            layers = [linear_stack(size, options.hidden_sizes, encoder_activation)]
            size = options.hidden_sizes[-1] if options.hidden_sizes else size
        else:
            convs = _CONV_LAYOUTS[options.conv_layout]
            if options.channels is not None:
                convs = with_channels(convs, options.channels)
            size = math.prod(conv_output_shape(convs, self._layout))
            layers = [conv_stack(self._layout.channels, convs, encoder_activation), nn.Flatten()]
        layers.append(orthogonal_init(nn.Linear(size, options.feature_dim)))
        for _ in range(extra_layers):
            layers += [
                head_activation(),
                orthogonal_init(nn.Linear(options.feature_dim, options.feature_dim)),
            ]
        network = nn.Sequential(*layers)
        for layer in network.modules():
            if isinstance(layer, nn.LeakyReLU):
                layer.negative_slope = options.negative_slope
        return network
