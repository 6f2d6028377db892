"""Distillation of a random network: what RND and its relatives share, whatever the networks read."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Self, TypeVar

import torch
from torch import nn

from rllib_rnd.intrinsic.base import IntrinsicOptions, IntrinsicReward
from rllib_rnd.options import option
from rllib_rnd.plugin import LossTerms, count_samples
from rllib_rnd.rollout import Rollout


@dataclass(frozen=True)
class DistillationOptions(IntrinsicOptions):
    """Options of every reward that is the error in predicting a random network."""

    update_proportion: float = option(
        0.25,
        "share of samples the predictor trains on; 32 / number of environments in the paper",
        low=0.0,
        high=1.0,
    )
    mask_granularity: Literal["sample", "element"] = option(
        "sample", "draw that share over samples (RND; cheaper) or over samples x features (michalnand)"
    )
    error_reduction: Literal["mean", "half_sum"] = option(
        "mean", "reward = mean of the squared errors over features (RND) or half their sum (michalnand)"
    )
    clip_input: float = option(5.0, "limit of the normalised input, usually 1 to 5; RND: 5", low=0.0)
    feature_dim: int = option(512, "size of the target's output and of the predictor's extra layers", low=1)


DistillationOptionsT = TypeVar("DistillationOptionsT", bound=DistillationOptions, covariant=True)


class Distillation(IntrinsicReward[DistillationOptionsT], abc.ABC):
    """Base of rewards that are the error in predicting a random network.

    Burda et al. 2018 (arXiv:1810.12894), section 2.2. A target network f is drawn at random and never changes; a
    predictor g learns f on visited observations; the reward is the mean of ``(f(x) - g(x))^2``.

    Attributes:
        target, predictor: the two networks, what they read -> ``[B, feature_dim]``.
    """

    target: nn.Module
    predictor: nn.Module

    def train(self, mode: bool = True) -> Self:
        """Sets the training mode of everything but the target, which stays as it was drawn."""
        super().train(mode)
        self.target.eval()
        return self

    @abc.abstractmethod
    def run(self, network: nn.Module, rollout: Rollout, index: torch.Tensor) -> torch.Tensor:
        """One of the networks on the observations that steps ``index [B]`` are rewarded for: ``[B, feature_dim]``."""

    @torch.no_grad()
    def compute(self, rollout: Rollout) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Prediction errors ``[T, N]`` (0 on reset steps) and the feature ``target [T * N, D]``."""
        target, error = prediction_errors(
            lambda index: self.run(self.target, rollout, index),
            lambda index: self.run(self.predictor, rollout, index),
            rollout.index_chunks(),
            self._reduce,
        )
        return rollout.per_step(error), {"target": target}

    def error(self, x: torch.Tensor) -> torch.Tensor:
        """The reward of what the networks read, ``[B, ...]`` -> ``[B]``, with gradient."""
        return self._reduce(self.predictor(x) - self.target(x))

    def terms(
        self, rollout: Rollout, features: dict[str, torch.Tensor], index: torch.Tensor, generator: torch.Generator
    ) -> LossTerms:
        """``rnd_predictor_loss``, see `distil`."""
        return {
            "rnd_predictor_loss": self.distil(
                lambda kept: self.run(self.predictor, rollout, kept), features["target"], index, generator
            )
        }

    def distil(
        self,
        predict: Callable[[torch.Tensor], torch.Tensor],
        target: torch.Tensor,
        index: torch.Tensor,
        generator: torch.Generator,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The predictor's squared error, mean over features, of the samples that the mask keeps: sum and count.

        The mask is drawn first, and the predictor runs on kept samples only. Count: kept samples, or with the
        element mask kept elements / D, so that both have the scale of a mean per sample.

        Args:
            predict: indices ``[b]`` -> what the predictor says.
            target: what it is to say, by index.
            index: ``[B]`` samples.
            generator: of the mask.
        """
        by_element = self.options.mask_granularity == "element"
        draw_shape = (index.shape[0], self.options.feature_dim) if by_element else (index.shape[0],)
        draw = torch.rand(draw_shape, generator=generator, device=generator.device)
        keep = (draw < self.options.update_proportion).to(index.device)
        kept_index = index if by_element else index[keep]
        if len(kept_index) == 0:
            # Every parameter still takes part in the graph, as gradient averaging over learners expects.
            zero = torch.stack([p.sum() for p in self.predictor.parameters()]).sum() * 0.0
            return zero, zero.detach().clone()
        squared = (predict(kept_index) - target[kept_index]).square()
        if by_element:
            weight = keep.to(squared.dtype) / self.options.feature_dim
            return (squared * weight).sum(), weight.sum()
        return squared.mean(dim=1).sum(), count_samples(kept_index)

    def _reduce(self, error: torch.Tensor) -> torch.Tensor:
        squared = error.square()
        return squared.mean(dim=1) if self.options.error_reduction == "mean" else 0.5 * squared.sum(dim=1)


@torch.no_grad()
def prediction_errors(
    target: Callable[[torch.Tensor], torch.Tensor],
    predictor: Callable[[torch.Tensor], torch.Tensor],
    inputs: Iterable[torch.Tensor],
    size: Callable[[torch.Tensor], torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a predictor has yet to learn of a target network.

    Args:
        target, predictor: the networks, inputs ``[b, ...]`` -> ``[b, D]``.
        inputs: pieces of all samples, one pass each.
        size: differences ``[b, D]`` -> ``[b]``.

    Returns:
        The target's features ``[B, D]`` and the size of the predictor's errors ``[B]``.
    """
    parts = []
    for x in inputs:
        features = target(x)
        parts.append((features, size(predictor(x) - features)))
    all_features, errors = zip(*parts, strict=True)
    return torch.cat(all_features), torch.cat(errors)
