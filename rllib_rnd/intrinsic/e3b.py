"""E3B: an elliptical bonus that shrinks along the directions of embeddings already seen in an episode."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rllib_rnd.intrinsic.base import INTRINSIC_REWARDS
from rllib_rnd.intrinsic.networks import InverseDynamics
from rllib_rnd.intrinsic.transitions import TransitionOptions, TransitionReward
from rllib_rnd.options import option
from rllib_rnd.plugin import LossTerms, Spaces, count_samples
from rllib_rnd.rollout import Rollout

# Steps that are taken together: the arithmetic of a block grows with its square, the calls with their number.
_BLOCK = 64


@dataclass(frozen=True)
class E3BOptions(TransitionOptions):
    """Options of ``e3b``."""

    episodic: bool = option(True, "stop returns at episode ends; E3B: True, all rewards are one stream")
    feature_dim: int = option(
        64, "D, size of the features; cost grows with its square; published: 288 (Vizdoom), 1024 (MiniHack)", low=1
    )
    ridge: float = option(0.1, "lambda, what the diagonal of the matrix starts with; E3B: 0.1", low=1e-6)


@INTRINSIC_REWARDS.register
class E3B(TransitionReward[E3BOptions]):
    """``phi_{t+1}^T C_t^{-1} phi_{t+1}`` with ``C_t = lambda I + sum_{i <= t} phi_i phi_i^T`` over the episode so far.

    Henaff et al. 2022, "Exploration via Elliptical Episodic Bonuses" (arXiv:2210.05805), algorithm 1.
    phi is trained by inverse dynamics, so that it holds what the agent controls. With one-hot phi the bonus is
    1 / (lambda + visits). An episode's first observation is part of C, but no action led there to be rewarded.

    The inverse is kept up to date by updates of the rank of a block of steps (Woodbury 1950), in float64: what is
    subtracted is nearly as large as what it is subtracted from where ``|phi|^2`` is much larger than lambda.

    Attributes:
        inverse: ``[N, D, D]`` float64, C^{-1} of every environment's current episode.
        inverse_dynamics: what trains the encoder.

    Raises:
        ConfigError: an action space that there is no policy for.
    """

    name = "e3b"
    Options = E3BOptions
    source = "Henaff et al. 2022 (arXiv:2210.05805)"
    cost = "an encoder pass and an update of D x D numbers per step; training encodes every sample twice"

    inverse: Tensor

    def __init__(self, spaces: Spaces, options: E3BOptions) -> None:
        super().__init__(spaces, options)
        self.inverse_dynamics = InverseDynamics(options.feature_dim, spaces.action_features, [options.model_size])
        self.register_rows("inverse", torch.eye(options.feature_dim, dtype=torch.float64) / options.ridge)

    @torch.no_grad()
    def compute(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """``[T, N]`` (0 on reset steps), and no features: the encoder changes with every step of the optimizer."""
        phi = self.encode(rollout).unflatten(0, (-1, rollout.num_envs))
        is_first, seen = rollout.is_first.clone(), ~rollout.broken
        # Each observation once: obs_0 was the last one of the rollout before, unless an episode begins with it; one
        # that begins with obs_T belongs to the next rollout.
        seen[0] &= is_first[0]
        seen[-1] &= ~is_first[-1]
        is_first[-1] = False
        self.fit_rows(rollout.num_envs, phi.device)
        parts = (rows.split(_BLOCK) for rows in (phi, is_first, seen))
        bonus = torch.cat([self.add_block(*block) for block in zip(*parts, strict=True)])
        return torch.where(rollout.is_first[1:], 0.0, bonus[1:]).to(rollout.reward.dtype), {}

    @torch.no_grad()
    def add_block(self, phi: Tensor, is_first: Tensor, active: Tensor) -> Tensor:
        """`add` of S steps in their order, where episodes may begin.

        With ``P = C^{-1}`` before an episode's part of the block and X the rows phi of that part, the Cholesky factor
        L of ``I + X P X^T`` holds all bonuses: the determinant of its first t rows is that of the first t - 1 times
        ``1 + phi_t^T C_{t-1}^{-1} phi_t``, so the bonus is ``L_tt^2 - 1``. By Woodbury's identity ``C^{-1}`` after the
        block is ``P - (L^{-1} X P)^T (L^{-1} X P)``.

        Args:
            phi: ``[S, N, D]``.
            is_first: ``[S, N]`` bool, steps that begin an episode.
            active: ``[S, N]`` bool, False leaves an environment alone.

        Returns:
            ``[S, N]`` float64, the bonus before adding; 0 where not active.
        """
        episode = is_first.T.cumsum(dim=1)  # [N, S], 0 is the one that goes on
        goes_on, latest = episode == 0, episode == episode[:, -1:]
        x = phi.transpose(0, 1).double() * active.T[:, :, None]
        px = torch.where(goes_on[:, :, None], x @ self.inverse, x / self.options.ridge)
        same = episode[:, :, None] == episode[:, None, :]
        gram = (px @ x.mT).masked_fill_(~same, 0.0)
        gram.diagonal(dim1=1, dim2=2).add_(1.0)
        factor, info = torch.linalg.cholesky_ex(gram)
        # Where features are so large that rounding hides the 1, or are no numbers, there is no reward.
        factor = torch.where(info[:, None, None] == 0, factor, torch.nan)
        bonus = (factor.diagonal(dim1=1, dim2=2).square() - 1.0).clamp(min=0.0)
        half = torch.linalg.solve_triangular(factor, px * latest[:, :, None], upper=False)
        self.renew_rows(~goes_on[:, -1])
        self.inverse.baddbmm_(half.mT, half, alpha=-1.0)
        self.inverse.copy_(0.5 * (self.inverse + self.inverse.mT))
        return (bonus * active.T).T

    @torch.no_grad()
    def add(self, phi: Tensor, active: Tensor) -> Tensor:
        """Adds one embedding per environment to its matrix.

        Args:
            phi: ``[N, D]``.
            active: ``[N]`` bool, False leaves an environment alone.

        Returns:
            ``[N]`` float64, the bonus before adding; 0 where not active.
        """
        phi = phi.double()
        u = torch.bmm(self.inverse, phi[:, :, None])
        bonus = torch.where(active, (phi * u[:, :, 0]).sum(dim=1).clamp(min=0.0), 0.0)
        # (C + phi phi^T)^{-1} = C^{-1} - u u^T / (1 + b); a root of the factor on both sides keeps it symmetric.
        v = u * (active / (1.0 + bonus)).sqrt()[:, None, None]
        self.inverse.baddbmm_(v, v.transpose(1, 2), alpha=-1.0)
        return bonus

    def terms(
        self, rollout: Rollout, features: dict[str, Tensor], index: Tensor, generator: torch.Generator
    ) -> LossTerms:
        """``e3b_inverse_loss``: cross-entropy (or half the squared error) of the predicted actions."""
        loss = self.inverse_dynamics.loss(*self.transitions(rollout, index))
        return {"e3b_inverse_loss": (loss.sum(), count_samples(index))}
