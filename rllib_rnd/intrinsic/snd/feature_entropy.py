"""Feature entropy: how widely spread are the states that an episode has seen of late?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rllib_rnd.functional.contrastive import contrastive_mse_loss, magnitude_penalty
from rllib_rnd.functional.infonce import info_nce_loss
from rllib_rnd.intrinsic.base import INTRINSIC_REWARDS, IntrinsicOptions, IntrinsicReward
from rllib_rnd.intrinsic.feature_watch import FeatureWatch
from rllib_rnd.intrinsic.snd.augmentation_sets import AUGMENTATION_CHOICES, AUGMENTATION_HELP, AugmentationSet
from rllib_rnd.intrinsic.snd.networks import (
    FRAME_CHUNK,
    INFO_NCE_MAGNITUDE_LIMIT,
    MAGNITUDE_LIMIT,
    FrameEncoder,
    FrameInput,
    derived_generator,
    draw_pairs,
    initialize,
)
from rllib_rnd.options import option
from rllib_rnd.plugin import LossTerms, Spaces, count_samples
from rllib_rnd.rollout import Rollout

# Rows of rings (environments) summed at a time, in float64.
_SUM_ROWS = 16


@dataclass(frozen=True)
class FeatureEntropyOptions(IntrinsicOptions):
    """Options of ``feature_entropy``."""

    episodic: bool = option(True, "stop returns at episode ends; michalnand: True")
    normalize_reward: bool = option(False, "divide by the running std of the discounted past sum")
    clip_reward: float | None = option(1.0, "limit of the reward, after reward_scale; null: none", low=0.0)
    reward_scale: float = option(1.0, "factor of the spread, which is about 0.7 between unlike states", low=0.0)
    buffer_size: int = option(
        256, "steps that an episode's spread is over; rows of buffer_size x feature_dim per environment", low=2
    )
    feature_dim: int = option(256, "size of the encoder's output; michalnand: 256", low=1)
    objective: Literal["contrastive", "info_nce"] = option("contrastive", "what the encoder learns; snd_v, snd_infonce")
    pairs: int = option(64, "pairs of states per minibatch that the encoder learns from", low=2)
    augmentation: str = option("auto", AUGMENTATION_HELP + "v1, noise for vectors", choices=AUGMENTATION_CHOICES)
    regulariser: Literal["magnitude", "square", "norm", "none"] = option(
        "magnitude", "against large features: magnitude (only above a limit), square (michalnand, 2022) or norm"
    )
    regularisation_coeff: float = option(1.0, "weight of that; square and norm: a small one, such as 1.0e-4", low=0.0)
    normalize_input: Literal["auto", "none", "mean", "mean_std"] = option(
        "auto", "none: bytes scaled to 0..1; mean: less the mean; mean_std; auto: none, mean_std for floats"
    )
    clip_input: float | None = option(None, "limit of mean_std input; null: 1 for images, 5 for vectors", low=0.0)
    encoder: Literal["narrow", "wide", "strided"] = option("narrow", "images: as snd_v")
    activation: Literal["elu", "relu"] = option("elu", "of the encoder")
    hidden_sizes: tuple[int, ...] = option((128, 128), "vectors: hidden layers of the encoder", low=1)


@INTRINSIC_REWARDS.register
class FeatureEntropy(IntrinsicReward[FeatureEntropyOptions]):
    """The spread of an episode's recent features.

    After michalnand/reinforcement_learning_agents, the agent "SND with entropy" (2022). An encoder learns from itself;
    every environment keeps the features of its last ``buffer_size`` steps, filled with the first after a reset; the
    reward is the mean over features of their standard deviation in there, times ``reward_scale``. It is 0 at an
    episode's start and grows as the episode sees more that is unlike. Beside ``snd_v`` it makes the three critics of
    that agent: ``intrinsic_reward: [{type: snd_v}, {type: feature_entropy}]``.

    The encoder goes on learning while features stay in the buffers, so part of the spread in a long episode is that of
    the encoder itself.

    Attributes:
        frames, encoder: raw frames -> network input -> ``[B, feature_dim]``.
        ring: ``[N, buffer_size, feature_dim]`` float32, features of the last steps.
        position: ``[N]`` int64, where the next one goes; -1: nothing was seen yet.
        metrics: after an update: ``entropy_feature_std`` and ``entropy_feature_drift``, as of `FeatureWatch`.

    Raises:
        ConfigError: images are too small, or augmentations are of images for vectors.
    """

    name = "feature_entropy"
    Options = FeatureEntropyOptions
    source = "michalnand/reinforcement_learning_agents, SND with entropy (2022)"
    cost = "one forward pass per step; trains on 2 x pairs frames; buffer_size x feature_dim floats per environment"
    min_batch_size = 2  # states are told apart

    ring: Tensor
    position: Tensor

    def __init__(self, spaces: Spaces, options: FeatureEntropyOptions) -> None:
        super().__init__(spaces, options)
        self.frames = FrameInput(spaces.frame, options.normalize_input, options.clip_input)
        self.encoder = FrameEncoder(
            self.frames, options.feature_dim, options.encoder, options.hidden_sizes, options.activation, 0
        )
        initialize(self.encoder)
        self.augment = AugmentationSet(options.augmentation, self.frames.layout is not None, auto="v1")
        self.watch = FeatureWatch("entropy")
        self.register_rows("ring", torch.zeros(options.buffer_size, options.feature_dim))
        self.register_rows("position", torch.tensor(-1))

    @torch.no_grad()
    def update_statistics(self, rollout: Rollout) -> None:
        """Adds newest frames to the input statistics, where ``normalize_input`` asks for any; sets the metrics."""
        self.metrics = self.watch.compare(lambda index: self.encoder(self.frames(rollout.newest_frame(index))))
        self.frames.update(rollout)

    @torch.no_grad()
    def compute(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """The spread after every step, ``[T, N]`` (0 on reset steps); moves the buffers over the rollout."""
        num_steps, num_envs = rollout.num_steps, rollout.num_envs
        self.fit_rows(num_envs, rollout.frames.device)
        offset = int(self.options.reward_on == "next")
        chunks = rollout.index_chunks(FRAME_CHUNK, num_steps + offset)
        z = torch.cat([self.encoder(self.frames(rollout.newest_frame(index))) for index in chunks])
        self.watch.keep(rollout, z)
        z = z.unflatten(0, (-1, num_envs))
        total, square = self._sums()
        fresh = rollout.is_first[:num_steps].clone()
        fresh[0] |= self.position < 0
        any_fresh = fresh.any(dim=1).tolist()
        spread = torch.zeros(num_steps, num_envs, device=z.device)
        for t in range(num_steps):
            if any_fresh[t]:
                self._fill(fresh[t].nonzero().squeeze(1), z[t], total, square)
            self._push(rollout.valid[t], z[t + offset], total, square)
            mean = total / self.options.buffer_size
            variance = (square / self.options.buffer_size - mean.square()).clamp(min=0.0)
            spread[t] = variance.sqrt().mean(dim=1)
        return rollout.per_step(self.options.reward_scale * spread), {}

    def terms(
        self, rollout: Rollout, features: dict[str, Tensor], index: Tensor, generator: torch.Generator
    ) -> LossTerms:
        """``entropy_encoder_loss``: the encoder's own loss on ``pairs`` pairs; zero with fewer than two samples."""
        draws = derived_generator(generator)
        if len(index) < 2:
            zero = torch.stack([p.sum() for p in self.parameters()]).sum() * 0.0
            return {"entropy_encoder_loss": (zero, zero.detach().clone())}
        options, read = self.options, self._read(rollout, index)
        regulariser = (options.regulariser, options.regularisation_coeff)
        if options.objective == "contrastive":
            drawn = draw_pairs(len(read), options.pairs, draws)
            first, second, label = (part.to(index.device) for part in drawn)
        else:
            order = torch.randperm(len(read), generator=draws, device=draws.device).to(index.device)
            first = second = order[: options.pairs]
        frame = rollout.newest_frame(read[torch.cat([first, second])])
        za, zb = self.encoder(self.augment(self.frames(frame), draws)).chunk(2)
        if options.objective == "contrastive":
            value = contrastive_mse_loss(za, zb, label, *regulariser, MAGNITUDE_LIMIT)
        else:
            value = info_nce_loss(za, zb) + magnitude_penalty(za, zb, *regulariser, INFO_NCE_MAGNITUDE_LIMIT)
        count = count_samples(index)
        return {"entropy_encoder_loss": (value * count, count)}

    def _read(self, rollout: Rollout, index: Tensor) -> Tensor:
        """Flat indices of the observations that the rewards of steps ``index [B]`` bring into the buffers: with those
        after steps, the reset observations that fill them."""
        if self.options.reward_on == "current":
            return index
        return torch.cat([index + rollout.num_envs, index[rollout.is_first.flatten()[index]]])

    def _sums(self) -> tuple[Tensor, Tensor]:
        """Sums and sums of squares over the rings, ``[N, D]`` float64.

        Taken anew in every rollout: within one, float64 loses nothing that float32 features would show.
        """
        parts = [rows.double() for rows in self.ring.split(_SUM_ROWS)]
        return torch.cat([p.sum(dim=1) for p in parts]), torch.cat([p.square().sum(dim=1) for p in parts])

    def _fill(self, rows: Tensor, z: Tensor, total: Tensor, square: Tensor) -> None:
        """Fills the rings of some environments, ``rows [M]``, with their ``z [N, D]``."""
        first, size = z[rows], self.options.buffer_size
        self.ring[rows] = first[:, None]
        self.position[rows] = 0
        total[rows], square[rows] = size * first.double(), size * first.double().square()

    def _push(self, where: Tensor, z: Tensor, total: Tensor, square: Tensor) -> None:
        """Replaces the oldest features in the rings of the environments ``where [N]`` by ``z [N, D]``."""
        rows = torch.arange(len(z), device=z.device)
        slot = self.position.clone()
        old = self.ring[rows, slot]
        new = torch.where(where[:, None], z, old)
        self.ring[rows, slot] = new
        self.position.copy_(torch.where(where, (slot + 1) % self.options.buffer_size, slot))
        total += new.double() - old.double()
        square += new.double().square() - old.double().square()
