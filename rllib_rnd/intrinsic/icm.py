"""Intrinsic curiosity module: the error in predicting the next features, of an encoder that knows the actions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rllib_rnd.intrinsic.base import INTRINSIC_REWARDS
from rllib_rnd.intrinsic.networks import ICM_CONVS, ForwardDynamics, InverseDynamics
from rllib_rnd.intrinsic.transitions import TransitionOptions, TransitionReward
from rllib_rnd.options import option
from rllib_rnd.plugin import LossTerms, Spaces, count_samples
from rllib_rnd.rollout import Rollout


@dataclass(frozen=True)
class ICMOptions(TransitionOptions):
    """Options of ``icm``."""

    episodic: bool = option(True, "stop returns at episode ends; ICM: True, all rewards are one stream")
    normalize_reward: bool = option(False, "divide by the running std of the discounted past sum of rewards; ICM: no")
    eta: float = option(0.01, "scale of the reward; ICM's published code: 0.01", low=0.0)
    beta: float = option(0.2, "weight of the forward loss, 1 - beta of the inverse loss; ICM: 0.2", low=0.0, high=1.0)
    forward_trains_encoder: bool = option(
        True, "the forward loss trains the encoder too, as in ICM; false leaves it to the inverse loss alone"
    )


@INTRINSIC_REWARDS.register
class ICM(TransitionReward[ICMOptions]):
    """Intrinsic curiosity module: the error of a forward model, in features that an inverse model shapes.

    Pathak et al. 2017, "Curiosity-driven Exploration by Self-supervised Prediction" (arXiv:1705.05363). An inverse
    model predicts ``a_t`` from ``phi_t`` and ``phi_{t+1}``, so that features hold what actions change; a forward model
    predicts ``phi_{t+1}`` from ``phi_t`` and ``a_t``. Eq. 6: ``r_t = eta / 2 ||phi_hat_{t+1} - phi_{t+1}||^2``. Eq. 7:
    the loss is ``(1 - beta) L_I + beta L_F``, minimised over encoder and both models.

    Images: four convolutions 32 3x3/2 with ELU, then one linear layer to ``feature_dim`` (the paper flattens the last
    convolution, 288 numbers at 42 x 42). Vectors: linear layers.

    Raises:
        ConfigError: an action space that there is no policy for.
    """

    name = "icm"
    Options = ICMOptions
    source = "Pathak et al. 2017 (arXiv:1705.05363)"
    cost = "one encoding and one forward model per step; training encodes two observations per sample"
    convs = ICM_CONVS
    activation = nn.ELU

    def __init__(self, spaces: Spaces, options: ICMOptions) -> None:
        super().__init__(spaces, options)
        self.inverse = InverseDynamics(options.feature_dim, spaces.action_features, [options.model_size])
        self.forward_model = ForwardDynamics(options.feature_dim, spaces.action_features, options.model_size)

    @torch.no_grad()
    def compute(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 6: ``[T, N]``, 0 on reset steps. No features: the encoder changes with every step of the optimizer."""
        phi = self.encode(rollout)
        action, num_envs = rollout.action.flatten(0, 1), rollout.num_envs
        parts = [
            self._forward_error(phi[index], phi[index + num_envs], action[index]) for index in rollout.index_chunks()
        ]
        return rollout.per_step(self.options.eta * torch.cat(parts)), {}

    def terms(
        self, rollout: Rollout, features: dict[str, Tensor], index: Tensor, generator: torch.Generator
    ) -> LossTerms:
        """``icm_inverse_loss`` and ``icm_forward_loss`` with their weights of eq. 7."""
        phi_t, phi_tp1, action_t = self.transitions(rollout, index)
        inverse = self.inverse.loss(phi_t, phi_tp1, action_t).sum()
        if not self.options.forward_trains_encoder:
            phi_t, phi_tp1 = phi_t.detach(), phi_tp1.detach()
        forward = self._forward_error(phi_t, phi_tp1, action_t).sum()
        count, beta = count_samples(index), self.options.beta
        return {"icm_inverse_loss": ((1 - beta) * inverse, count), "icm_forward_loss": (beta * forward, count)}

    def _forward_error(self, phi_t: Tensor, phi_tp1: Tensor, action_t: Tensor) -> Tensor:
        """Eq. 5: ``[B]``, half the squared error, summed over features."""
        return 0.5 * (self.forward_model(phi_t, action_t) - phi_tp1).square().sum(dim=1)
