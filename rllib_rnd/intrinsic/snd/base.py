"""Self-supervised network distillation: as RND, but the target learns too, so what it tells apart is what matters."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

import torch
from torch import Tensor

from rllib_rnd.functional import drift
from rllib_rnd.intrinsic.base import IntrinsicOptions, IntrinsicReward, Traced
from rllib_rnd.intrinsic.distillation import prediction_errors
from rllib_rnd.intrinsic.snd.networks import FRAME_CHUNK, FrameEncoder, FrameInput, derived_generator, initialize_pair
from rllib_rnd.options import option
from rllib_rnd.plugin import LossTerms, Spaces, count_samples
from rllib_rnd.rollout import Rollout

# Samples whose features the participation ratio is of.
_RANK_SAMPLES = 256

#: Linear layers that the predictor has beyond the target's.
_PREDICTOR_LAYERS = 2


@dataclass(frozen=True)
class SNDOptions(IntrinsicOptions):
    """Options that all SND rewards have."""

    episodic: bool = option(True, "stop returns at episode ends; SND: True")
    normalize_reward: bool = option(False, "divide by the running std of the discounted past sum; SND: False")
    clip_reward: float | None = option(1.0, "limit of the reward, after reward_scale; SND: 1; null: none", low=0.0)
    reward_scale: float = option(0.5, "eta, the factor of the error; Montezuma: V 0.5, STD 1, VIC 0.25", low=0.0)
    update_proportion: float = option(
        0.25,
        "share of a minibatch that is trained on; with 4 epochs 0.25 makes one pass over a rollout, as in the paper",
        low=0.0,
        high=1.0,
    )
    keep_proportion: float = option(
        1.0, "share of the samples x features that is distilled; SND-V: 0.25, elsewhere 1", low=0.0, high=1.0
    )
    normalize_input: Literal["auto", "none", "mean", "mean_std"] = option(
        "auto", "none: bytes scaled to 0..1 (SND); mean: less the mean; mean_std; auto: none, mean_std for floats"
    )
    clip_input: float | None = option(None, "limit of mean_std input; null: 1 for images (SND), 5 for vectors", low=0.0)
    encoder: Literal["narrow", "wide", "strided"] = option(
        "narrow", "images: conv 16, 32, 64, 64 (SND-V); 32, 64, 64, 128 (STD, VIC); RND's 8/4, 3/2, 3/1 padded"
    )
    activation: Literal["elu", "relu"] = option("elu", "of the encoders; SND-V: elu; STD, VIC: relu")
    target_gain: float = option(1.41421356, "factor of the target's orthogonal weights", low=0.0)
    predictor_gain: float = option(1.41421356, "factor of the predictor's orthogonal weights", low=0.0)
    coupled_init: bool = option(
        False, "draw the weights of target and predictor as halves of one orthogonal matrix (michalnand)"
    )
    feature_dim: int = option(512, "size of the target's output and of the predictor's extra layers", low=2)
    hidden_sizes: tuple[int, ...] = option((128, 128), "vectors: hidden layers of the encoders", low=1)


SNDOptionsT = TypeVar("SNDOptionsT", bound=SNDOptions, covariant=True)


class SND(IntrinsicReward[SNDOptionsT], abc.ABC):
    """Base of the SND rewards; they differ in what the target learns (`representation`).

    Pecháč, Chovanec, Farkaš 2023, "Self-supervised network distillation" (arXiv:2302.11563). A target encoder learns a
    representation of states by itself, a predictor with two more layers learns the target's output. The reward of
    step t is ``reward_scale * mean_k (target_k(x) - predictor_k(x))^2``, x the newest frame of ``obs_{t+1}`` (with
    ``reward_on: current``, as in the paper's code, of ``obs_t``): new states are those that the predictor does not know
    yet, in features that tell states apart. Nothing of the distillation reaches the target, and nothing of the
    self-supervision the predictor.

    Each minibatch trains on ``update_proportion`` of its samples, drawn without replacement. Losses that are statistics
    of a batch are those of a learner's own samples.

    Attributes:
        frames: from raw frames to what the networks read, with its statistics.
        target, predictor: the two networks, ``[B, ...]`` -> ``[B, feature_dim]``.
        metrics: of the last minibatch, detached ``[]``: ``snd_feature_std`` (over the batch, mean over features; 0 is
            collapse), ``snd_feature_norm`` (mean Euclidean norm), ``snd_feature_rank`` (participation ratio,
            ``(sum_i l_i)^2 / sum_i l_i^2`` of their covariance's eigenvalues; 1 is collapse to a line) and
            ``snd_target_drift`` (how far features moved since the rollout was rewarded: mean squared change over their
            variance then).

    Raises:
        ConfigError: images are too small.
    """

    Options: ClassVar[type[SNDOptions]] = SNDOptions
    source = "Pecháč et al. 2023 (arXiv:2302.11563)"

    def __init__(self, spaces: Spaces, options: SNDOptionsT) -> None:
        super().__init__(spaces, options)
        self.frames = FrameInput(spaces.frame, options.normalize_input, options.clip_input)
        self.target = self._encoder(extra_layers=0)
        self.predictor = self._encoder(extra_layers=_PREDICTOR_LAYERS)
        initialize_pair(self.target, self.predictor, options.target_gain, options.predictor_gain, options.coupled_init)

    @abc.abstractmethod
    def representation(
        self, rollout: Rollout, index: Tensor, x: Tensor, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The target's own loss on some samples.

        Args:
            rollout: the rollout.
            index: ``[k]`` flat indices of valid samples, k of two or more, in random order.
            x: ``[k, ...]`` the frames they are rewarded for, as the networks read them.
            generator: of all draws.

        Returns:
            Losses ``[]`` by name (the names of `loss_names`), each a mean over samples; and the target's features of
            ``x``, ``[k, D]`` detached, which the predictor distils.
        """

    @property
    def min_batch_size(self) -> int:
        """As many as leave two after ``update_proportion``; 1 with 0, which trains on nothing."""
        proportion = self.options.update_proportion
        return 1 if proportion == 0.0 else math.floor(1.0 / proportion) + 1

    def loss_names(self) -> list[str]:
        """Names of what `representation` returns."""
        return ["snd_target_loss"]

    @torch.no_grad()
    def update_statistics(self, rollout: Rollout) -> None:
        """Adds newest frames to the input statistics, where ``normalize_input`` asks for any."""
        self.frames.update(rollout)

    @torch.no_grad()
    def compute(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """Distillation errors ``[T, N]`` times ``reward_scale`` (0 on reset steps) and ``target [T * N, D]``.

        The features are the target's before it trains on this rollout; `terms` only measures its drift by them.
        """
        inputs = (self.inputs(rollout, index) for index in rollout.index_chunks(FRAME_CHUNK))
        target, error = prediction_errors(self.target, self.predictor, inputs, lambda d: d.square().mean(dim=1))
        return rollout.per_step(self.options.reward_scale * error), {"target": target}

    def traced(self) -> Traced | None:
        """The distillation error as a function of the rewarded frame."""
        return Traced(self.frames, self._error, (self.predictor, self.target))

    def _error(self, x: Tensor) -> Tensor:
        """Rewards ``[B]`` of what `inputs` returned, with gradient."""
        return self.options.reward_scale * (self.predictor(x) - self.target(x)).square().mean(dim=1)

    def terms(
        self, rollout: Rollout, features: dict[str, Tensor], index: Tensor, generator: torch.Generator
    ) -> LossTerms:
        """``snd_target_loss`` of the variant, and ``snd_predictor_loss``: the squared error, mean over kept elements.

        Counts: samples; of the predictor kept elements / D, so that both have the scale of a mean per sample. With
        fewer than two samples all are zero.
        """
        draws = derived_generator(generator)
        order = torch.randperm(len(index), generator=draws, device=draws.device).to(index.device)
        index = index[order[: math.ceil(self.options.update_proportion * len(index))]]
        if len(index) < 2:
            return self._no_terms()
        x = self.inputs(rollout, index)
        losses, target = self.representation(rollout, index, x, draws)
        self._measure(target, features["target"][index])
        count = count_samples(index)
        terms = {name: (value * count, count) for name, value in losses.items()}
        return {**terms, "snd_predictor_loss": self._distil(x, target, draws)}

    def inputs(self, rollout: Rollout, index: Tensor, other: bool = False) -> Tensor:
        """Newest frames that steps ``index [B]`` are rewarded for, as the networks read them.

        ``other`` gives those of ``obs_{t+1}`` in place of ``obs_t``, or the reverse. Both are of one episode, whatever
        step it is. Returns ``[B, C, H, W]`` or ``[B, D]``.
        """
        return self.frames(rollout.newest_frame(index, offset=int((self.options.reward_on == "next") != other)))

    def _distil(self, x: Tensor, target: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        squared = (self.predictor(x) - target).square()
        if self.options.keep_proportion == 1.0:
            return squared.mean(dim=1).sum(), count_samples(x)
        draw = torch.rand(squared.shape, generator=generator, device=generator.device).to(x.device)
        weight = (draw < self.options.keep_proportion).to(squared.dtype) / squared.shape[1]
        return (squared * weight).sum(), weight.sum()

    def _no_terms(self) -> LossTerms:
        """Zero losses over no samples; every parameter still takes part in the graph."""
        zero = torch.stack([p.sum() for p in self.parameters()]).sum() * 0.0
        return {name: (zero, zero.detach().clone()) for name in [*self.loss_names(), "snd_predictor_loss"]}

    @torch.no_grad()
    def _measure(self, now: Tensor, before: Tensor) -> None:
        centred = now - now.mean(dim=0)
        gram = centred[:_RANK_SAMPLES] @ centred[:_RANK_SAMPLES].T
        self.metrics = {
            "snd_feature_std": centred.square().mean(dim=0).sqrt().mean(),
            "snd_feature_norm": torch.linalg.vector_norm(now, dim=1).mean(),
            "snd_feature_rank": gram.trace().square() / gram.square().sum().clamp(min=1e-30),
            "snd_target_drift": drift(now, before),
        }

    def _encoder(self, extra_layers: int) -> FrameEncoder:
        options = self.options
        return FrameEncoder(
            self.frames, options.feature_dim, options.encoder, options.hidden_sizes, options.activation, extra_layers
        )
