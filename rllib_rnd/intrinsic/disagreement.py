"""Disagreement: how far the predictions of an ensemble are apart, which noise does not feed for ever."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from rllib_rnd.intrinsic.base import INTRINSIC_REWARDS
from rllib_rnd.intrinsic.networks import ForwardDynamics, InverseDynamics
from rllib_rnd.intrinsic.transitions import TransitionOptions, TransitionReward
from rllib_rnd.options import option
from rllib_rnd.plugin import LossTerms, Spaces, count_samples
from rllib_rnd.rollout import Rollout


@dataclass(frozen=True)
class DisagreementOptions(TransitionOptions):
    """Options of ``disagreement``."""

    feature_dim: int = option(512, "D, size of the features; published code: 512", low=1)
    model_size: int = option(512, "width of the hidden layer of each model; published code: 512", low=1)
    ensemble_size: int = option(5, "M, number of forward models; the paper: 5", low=2)
    encoder: Literal["random", "inverse"] = option(
        "random", "features: of an encoder that stays as it was drawn (the paper's), or trained by inverse dynamics"
    )
    update_proportion: float = option(
        0.8, "share of a minibatch each model trains on, drawn for each anew; published code: 0.8", low=0.0, high=1.0
    )


@INTRINSIC_REWARDS.register
class Disagreement(TransitionReward[DisagreementOptions]):
    """Exploration via disagreement: the variance of several models' predictions of the next features.

    Pathak et al. 2019, "Self-Supervised Exploration via Disagreement" (arXiv:1906.04161). M forward models predict
    ``phi_{t+1}`` from ``phi_t`` and ``a_t``. Eq. 1: ``r_t`` is the variance of their predictions over the models, here
    the mean over features. Where the models have seen enough they all predict the same, the mean of what may happen:
    unlike a prediction error, the reward fades on transitions that are random.

    The models differ by their initial weights and by their data: each trains on its own random share of every
    minibatch (the paper: each on a bootstrap of the data; its code drops a fifth of each model's losses).

    Raises:
        ConfigError: an action space that there is no policy for.
    """

    name = "disagreement"
    Options = DisagreementOptions
    source = "Pathak et al. 2019 (arXiv:1906.04161)"
    cost = "one encoding and ensemble_size forward models per step; random features are computed once per rollout"

    def __init__(self, spaces: Spaces, options: DisagreementOptions) -> None:
        super().__init__(spaces, options)
        self.inverse: InverseDynamics | None = None
        if options.encoder == "inverse":
            self.inverse = InverseDynamics(options.feature_dim, spaces.action_features, [options.model_size])
        else:
            self.encoder.requires_grad_(False)
        self.models = nn.ModuleList(
            ForwardDynamics(options.feature_dim, spaces.action_features, options.model_size)
            for _ in range(options.ensemble_size)
        )

    @torch.no_grad()
    def compute(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 1: ``[T, N]``, 0 on reset steps; if random, the features ``phi_t`` and ``phi_tp1`` ``[T * N, D]``."""
        phi = self.encode(rollout)
        action = rollout.action.flatten(0, 1)
        parts = [
            self.predict(phi[index], action[index]).var(dim=0, correction=0).mean(dim=1)
            for index in rollout.index_chunks()
        ]
        r_t = rollout.per_step(torch.cat(parts))
        if self.inverse is not None:
            return r_t, {}
        return r_t, {"phi_t": phi[: len(action)], "phi_tp1": phi[rollout.num_envs :]}

    def predict(self, phi_t: Tensor, action_t: Tensor) -> Tensor:
        """``[B, D]`` and actions -> every model's prediction of ``phi_{t+1}``, ``[M, B, D]``."""
        return torch.stack([model(phi_t, action_t) for model in self.models])

    def terms(
        self, rollout: Rollout, features: dict[str, Tensor], index: Tensor, generator: torch.Generator
    ) -> LossTerms:
        """``disagreement_forward_loss``: the models' squared errors, mean over features and over the samples that each
        model keeps, summed over models. With trained features also ``disagreement_inverse_loss``, whose gradient alone
        reaches the encoder.
        """
        draw = torch.rand((len(self.models), len(index)), generator=generator, device=generator.device)
        keep = (draw < self.options.update_proportion).to(index.device)
        terms: LossTerms = {}
        if self.inverse is None:
            phi_t, phi_tp1 = features["phi_t"][index], features["phi_tp1"][index]
            action_t = rollout.action.flatten(0, 1)[index]
        else:
            phi_t, phi_tp1, action_t = self.transitions(rollout, index)
            error = self.inverse.loss(phi_t, phi_tp1, action_t)
            terms["disagreement_inverse_loss"] = (error.sum(), count_samples(index))
        error = (self.predict(phi_t.detach(), action_t) - phi_tp1.detach()).square().mean(dim=2)
        # The ratio of sum and count is the sum over models of each one's mean error.
        terms["disagreement_forward_loss"] = ((error * keep).sum(), keep.sum() / len(self.models))
        return terms
