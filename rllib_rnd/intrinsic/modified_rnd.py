"""Modified RND: random network distillation on features of the policy's backbone in place of pixels."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from rllib_rnd.errors import ConfigError
from rllib_rnd.intrinsic.base import INTRINSIC_REWARDS, Traced
from rllib_rnd.intrinsic.distillation import Distillation, DistillationOptions
from rllib_rnd.intrinsic.feature_watch import FeatureWatch
from rllib_rnd.modules.backbone import Backbone, representation_shape
from rllib_rnd.modules.image import MIN_IMAGE_SIDE, ImageInput, conv_stack, is_image
from rllib_rnd.modules.layers import linear_stack, orthogonal_init
from rllib_rnd.modules.moving_average import move_average
from rllib_rnd.modules.observations import Scale, is_whole
from rllib_rnd.modules.running_moments import RunningMoments
from rllib_rnd.options import option
from rllib_rnd.plugin import Spaces
from rllib_rnd.rollout import Rollout

# (output channels, kernel, stride, padding): each side grows by one, by one, and loses one.
_CONVS = ((64, 2, 1, 1), (64, 2, 1, 1), (64, 2, 1, 0))
_HIDDEN_SIZES = (64, 128, 256)


@dataclass(frozen=True)
class ModifiedRNDOptions(DistillationOptions):
    """Options of ``modified_rnd``."""

    tau: float | None = option(
        None,
        "features of a moving average of the backbone, which keeps this share of itself per optimizer step; null: of "
        "the backbone itself. RND+BYOL: 0.99 or 0.95 per epoch of 4 steps, about 0.9975 or 0.987",
        low=0.0,
        high=1.0,
    )


@INTRINSIC_REWARDS.register
class ModifiedRND(Distillation[ModifiedRNDOptions]):
    """Random network distillation on the features that the policy's backbone makes of whole observations.

    After "modified RND" of the RND+BYOL lineage (reproductions of Burda et al. 2018, arXiv:1810.12894, with
    self-supervised losses). What the networks read is ``backbone.representation(obs_{t+1})``, standardised by running
    moments of each feature and clipped; it is computed once per rollout and never passes a gradient to the backbone.
    Features ``[D]``: linear layers 64, 128, 256; maps ``[C, H, W]`` (``nature_cnn`` with ``shared_output: conv``):
    three convolutions 64 2x2 with padding 1, 1, 0; LeakyReLU after each; then a linear layer to ``feature_dim`` and in
    the predictor two more with ReLU before them.

    Features move while the backbone learns, so a state that is well known can look new: ``rnd_feature_drift`` shows by
    how much, and ``tau`` slows it down. Backbones with a memory are asked about single steps with an empty memory.

    Attributes:
        feature_moments: running mean and variance of each feature, over all learners.
        average: the moving average of the backbone, in eval mode without gradient; None without ``tau``.
        metrics: after the last update: ``rnd_feature_std``, mean over features of their std over the rollout (0 is
            collapse), and ``rnd_feature_drift``, mean squared change of features by the update over their variance
            before.

    Raises:
        ConfigError: observations are vectors.
    """

    name = "modified_rnd"
    Options = ModifiedRNDOptions
    source = "RND+BYOL lineage; Burda et al. 2018 (arXiv:1810.12894)"
    cost = "one forward pass of the backbone per step, and two of small networks; trains on update_proportion"

    def __init__(self, spaces: Spaces, options: ModifiedRNDOptions) -> None:
        super().__init__(spaces, options)
        shape = spaces.observation.shape
        if not is_image(shape):
            raise ConfigError(
                "type",
                f"observations of shape {shape} are no images",
                f"images of {MIN_IMAGE_SIDE} x {MIN_IMAGE_SIDE} pixels or more, whose backbone leaves out what is not "
                "needed",
                "rnd",
            )
        self.watch = FeatureWatch("rnd")
        self.average: Backbone | None = None
        # In a tuple, because a module in an attribute would list the backbone's parameters twice.
        self._online: tuple[Backbone, ...] = ()
        self._encoded: tuple[Rollout, Tensor] | None = None

    def use_backbone(self, backbone: Backbone) -> None:
        """Builds the networks for the backbone's features, and its moving average."""
        self._online = (backbone,)
        if self.options.tau is not None:
            self.average = copy.deepcopy(backbone).requires_grad_(False).eval()
        shape = representation_shape(backbone)
        self.feature_moments = RunningMoments(shape)
        self.target = self._make_network(shape, extra_layers=0)
        self.target.requires_grad_(False).eval()
        self.predictor = self._make_network(shape, extra_layers=2)

    def train(self, mode: bool = True) -> Self:
        """Sets the training mode of the predictor; the target and the moving average stay in eval mode."""
        super().train(mode)
        if self.average is not None:
            self.average.eval()
        return self

    @torch.no_grad()
    def update_statistics(self, rollout: Rollout) -> None:
        """Adds a rollout's valid features, as they were when it was rewarded, to the moments, and measures drift."""
        features = self._features(rollout)
        self.feature_moments.update(features, rollout.valid.flatten())
        self._encoded = None
        self.watch.keep(rollout, features)
        self.metrics = self.watch.compare(lambda index: self._represent(rollout, index))

    def run(self, network: nn.Module, rollout: Rollout, index: Tensor) -> Tensor:
        """One of the networks on the normalised features of the rewarded observations: ``[B, feature_dim]``."""
        features: Tensor = network(self.inputs(rollout, index))
        return features

    def inputs(self, rollout: Rollout, index: Tensor) -> Tensor:
        """Normalised features of the rewarded observations, ``[B, D]`` or ``[B, C, H, W]``."""
        return self.feature_moments.normalize(self._features(rollout)[index], self.options.clip_input)

    def traced(self) -> Traced | None:
        """The prediction error as a function of the whole observation, through the backbone that makes the features."""
        backbone, space = self._encoder(), self.spaces.observation
        # Of whole numbers backbones take floats as scaled, a user's own perhaps does not: it is handed raw numbers.
        scales = is_whole(space) and any(isinstance(part, ImageInput) for part in backbone.modules())
        read = Scale(space, is_image=True) if scales else torch.Tensor.float
        return Traced(read, self._error_of_observations, (backbone,), stack=True)

    def _error_of_observations(self, obs: Tensor) -> Tensor:
        """Rewards ``[B]`` of observations ``[B, *obs_shape]`` as the backbone reads them, with gradient."""
        features = self._encoder().representation(obs)
        return self.error(self.feature_moments.normalize(features, self.options.clip_input))

    def start_from(self, backbone: Backbone) -> None:
        """Puts the moving average, if there is one, on the backbone."""
        if self.average is not None:
            self.average.load_state_dict(backbone.state_dict())

    @torch.no_grad()
    def after_update(self, backbone: Backbone) -> None:
        """Moves the moving average, if there is one; its buffers are the backbone's."""
        if self.average is not None and self.options.tau is not None:
            move_average(self.average.parameters(), backbone.parameters(), self.options.tau)
            for own, online in zip(self.average.buffers(), backbone.buffers(), strict=True):
                own.copy_(online)

    def _features(self, rollout: Rollout) -> Tensor:
        """``[T * N, ...]`` raw features of the rewarded observations, computed once from its reward to its end."""
        if self._encoded is None or self._encoded[0] is not rollout:
            self._encoded = rollout, torch.cat([self._represent(rollout, index) for index in rollout.index_chunks()])
        return self._encoded[1]

    @torch.no_grad()
    def _represent(self, rollout: Rollout, index: Tensor) -> Tensor:
        """Features of the observations that steps ``index [B]`` are rewarded for, without dropout and the like."""
        network = self._encoder()
        training = network.training
        offset = rollout.num_envs * int(self.options.reward_on == "next")
        features = network.eval().representation(rollout.obs(index + offset))
        network.train(training)
        return features

    def _encoder(self) -> Backbone:
        """What makes the features: the backbone, or its moving average."""
        return self._online[0] if self.average is None else self.average

    def _make_network(self, shape: tuple[int, ...], extra_layers: int) -> nn.Sequential:
        dim = self.options.feature_dim
        layers: list[nn.Module]
        if len(shape) == 3:
            channels, height, width = shape
            layers = [conv_stack(channels, _CONVS, nn.LeakyReLU), nn.Flatten()]
            size = _CONVS[-1][0] * (height + 1) * (width + 1)
        else:
            layers = [nn.Flatten(), linear_stack(math.prod(shape), _HIDDEN_SIZES, nn.LeakyReLU)]
            size = _HIDDEN_SIZES[-1]
        layers.append(orthogonal_init(nn.Linear(size, dim)))
        for _ in range(extra_layers):
            layers += [nn.ReLU(), orthogonal_init(nn.Linear(dim, dim))]
        return nn.Sequential(*layers)
