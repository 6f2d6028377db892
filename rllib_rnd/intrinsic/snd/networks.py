"""What target and predictor of SND are made of: input, encoder, their common initialisation, pairs of states."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import gymnasium as gym
import torch
from torch import Tensor, nn

from rllib_rnd.modules.image import (
    ConvSpec,
    conv_output_shape,
    conv_stack,
    image_layout,
    is_image,
    to_channels_last_float,
)
from rllib_rnd.modules.layers import linear_stack
from rllib_rnd.modules.observations import Scale, is_whole
from rllib_rnd.modules.running_moments import RunningMoments
from rllib_rnd.rollout import Rollout

#: Convolutions by name: of SND-V, of SND-STD and SND-VIC, and of the first SND model, which are RND's padded.
ENCODERS: dict[str, tuple[ConvSpec, ...]] = {
    "narrow": ((16, 3, 2, 1), (32, 3, 2, 1), (64, 3, 2, 1), (64, 3, 1, 1)),
    "wide": ((32, 3, 2, 1), (64, 3, 2, 1), (64, 3, 2, 1), (128, 3, 1, 1)),
    "strided": ((32, 8, 4, 2), (64, 3, 2, 1), (64, 3, 1, 1)),
}

ENCODER_ACTIVATIONS: dict[str, type[nn.Module]] = {"elu": nn.ELU, "relu": nn.ReLU}

#: Limits of the mean square of features, summed over two views, for `functional.magnitude_penalty`: SND-V's, which is
#: out of reach as long as its distances are 0 and 1; and for InfoNCE, which leaves the scale free: a mean square of 1.
MAGNITUDE_LIMIT = 200.0
INFO_NCE_MAGNITUDE_LIMIT = 2.0

#: Frames per forward pass of an encoder over a whole rollout: its first maps are large.
FRAME_CHUNK = 256

# The map that ST-DIM compares place by place is the one after this many convolutions.
_LOCAL_CONVS = 3


class FrameInput(nn.Module):
    """Newest frames, raw, -> what the networks read.

    Args:
        space: of one frame.
        normalize: ``none``: numbers over the largest that the space allows, bytes from 0 to 1; ``mean``: then less the
            running mean; ``mean_std``: (x - mean) / std, clipped; ``auto``: ``none`` for whole numbers with bounds,
            ``mean_std`` for floats.
        clip: limit of ``mean_std``; None: 1 for images (SND), 5 for vectors (RND).

    Attributes:
        moments: running mean and variance per element of a frame, None if they are not needed.
        layout: of images, None for vectors.
    """

    def __init__(
        self,
        space: gym.spaces.Box,
        normalize: Literal["auto", "none", "mean", "mean_std"] = "auto",
        clip: float | None = None,
    ) -> None:
        super().__init__()
        self.shape = space.shape
        self.layout = image_layout(space.shape) if is_image(space.shape) else None
        self._scale = Scale(space, self.layout is not None)
        known = is_whole(space) and self._scale.is_known
        self.normalize = ("none" if known else "mean_std") if normalize == "auto" else normalize
        self.moments = None if self.normalize == "none" else RunningMoments(space.shape)
        self._clip = (5.0 if self.layout is None else 1.0) if clip is None else clip

    @torch.no_grad()
    def update(self, rollout: Rollout) -> None:
        """Adds the newest frame of every observation once to the moments, if any; all learners must call it."""
        if self.moments is not None:
            self.moments.update(rollout.all_newest_frames(), rollout.new_obs.flatten())

    def forward(self, frame: Tensor) -> Tensor:
        """Raw frames ``[B, *shape]`` -> ``[B, C, H, W]`` float32 in channels-last memory, or ``[B, D]``.

        A gradient passes only to frames that ask for one, which are those of analysis.
        """
        if self.moments is None:
            if self.layout is None:
                return self._scale(frame).flatten(1)
            return self._scale(to_channels_last_float(self.layout.to_channels_first(frame)))
        if self.normalize == "mean_std":
            x = self.moments.normalize(frame, self._clip)
        else:
            x = self._scale(frame.float() - self.moments.mean.float())
        if self.layout is None:
            return x.flatten(1)
        return to_channels_last_float(self.layout.to_channels_first(x))


class FrameEncoder(nn.Module):
    """Convolutions (images) or linear layers (vectors), one linear layer, then ``extra_layers`` more after ELUs.

    Args:
        frames: what it reads.
        feature_dim: D.
        encoder: a key of `ENCODERS`, for images.
        hidden_sizes: of vectors.
        activation: a key of `ENCODER_ACTIVATIONS`, of all but the extra layers.
        extra_layers: linear layers that a predictor has beyond its target, ELU before each.

    Attributes:
        local_channels: channels of the map after the third convolution; of a vector, which is one place, the width of
            its last hidden layer.

    Raises:
        ConfigError: images are too small.
    """

    def __init__(
        self,
        frames: FrameInput,
        feature_dim: int,
        encoder: str,
        hidden_sizes: Sequence[int],
        activation: str,
        extra_layers: int,
    ) -> None:
        super().__init__()
        unit = ENCODER_ACTIVATIONS[activation]
        layers: list[nn.Module]
        if frames.layout is None:
            size = math.prod(frames.shape)
            self.local = linear_stack(size, hidden_sizes, unit)
            self.local_channels = size = hidden_sizes[-1] if hidden_sizes else size
            layers = []
        else:
            convs = ENCODERS[encoder]
            stack = list(conv_stack(frames.layout.channels, convs, unit))
            # Two modules per convolution: itself and its activation.
            self.local = nn.Sequential(*stack[: 2 * _LOCAL_CONVS])
            self.local_channels = convs[_LOCAL_CONVS - 1][0]
            size = math.prod(conv_output_shape(convs, frames.layout))
            layers = [*stack[2 * _LOCAL_CONVS :], nn.Flatten()]
        layers.append(nn.Linear(size, feature_dim))
        for _ in range(extra_layers):
            layers += [nn.ELU(), nn.Linear(feature_dim, feature_dim)]
        self.head = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, H, W]`` or ``[B, E]`` -> ``[B, D]``."""
        return self.head(self.local(x))

    def with_local(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``[B, D]`` and the local map ``[B, C, H, W]`` (H = W = 1 for vectors)."""
        local = self.local(x)
        return self.head(local), local if local.dim() == 4 else local[:, :, None, None]


@torch.no_grad()
def initialize(network: FrameEncoder, gain: float = math.sqrt(2.0)) -> None:
    """Orthogonal weights with the given gain and zero biases."""
    for layer in _weight_layers(network):
        # By way of another tensor: torch cannot fill channels-last memory.
        layer.weight.copy_(nn.init.orthogonal_(torch.empty(layer.weight.shape), gain))
        nn.init.zeros_(layer.get_parameter("bias"))


@torch.no_grad()
def initialize_pair(
    target: FrameEncoder, predictor: FrameEncoder, target_gain: float, predictor_gain: float, coupled: bool
) -> None:
    """Orthogonal weights and zero biases of both networks.

    Coupled, as in michalnand's ppo_rnd_1: the weights of each layer that both have are the two halves of one
    orthogonal matrix. Where its rows fit (twice the layer's outputs are no more than its inputs) all rows of the target
    are orthogonal to all of the predictor, and the two start as unlike as they can be.

    Args:
        target, predictor: the predictor begins with the target's layers.
        target_gain, predictor_gain: factors of the weights.
        coupled: see above.
    """
    initialize(target, target_gain)
    initialize(predictor, predictor_gain)
    if not coupled:
        return
    for ours, theirs in zip(_weight_layers(target), _weight_layers(predictor), strict=False):
        a, b = ours.weight, theirs.weight
        joint = nn.init.orthogonal_(torch.empty(2 * len(a), a[0].numel()))
        a.copy_(target_gain * joint[: len(a)].view(a.shape))
        b.copy_(predictor_gain * joint[len(a) :].view(b.shape))


def _weight_layers(network: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    return [layer for layer in network.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]


class Pairs(NamedTuple):
    """P pairs of samples, by their positions ``[P]``; ``label [P]`` is 0 where both are the same sample, else 1."""

    first: Tensor
    second: Tensor
    label: Tensor


def draw_pairs(num_samples: int, num_pairs: int, generator: torch.Generator) -> Pairs:
    """Draws pairs for `functional.contrastive_mse_loss`, half of them of a sample and itself, on average.

    The second of an unequal pair is any of the other samples (the source draws from all, so now and then the two are
    the same sample, labelled as different).

    Args:
        num_samples: of two or more.
        num_pairs: P.
        generator: of the draws; the result is on its device.
    """
    device = generator.device
    first = torch.randint(num_samples, (num_pairs,), generator=generator, device=device)
    shift = torch.randint(1, num_samples, (num_pairs,), generator=generator, device=device)
    label = torch.rand(num_pairs, generator=generator, device=device) < 0.5
    return Pairs(first, torch.where(label, (first + shift) % num_samples, first), label.float())


def derived_generator(generator: torch.Generator) -> torch.Generator:
    """A generator seeded by one draw of ``generator``, so that what is drawn from that never depends on the data."""
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    return torch.Generator(device=generator.device).manual_seed(int(seed))
