"""VICReg: two views agree, every feature varies over the batch, and no two features tell the same."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rllib_rnd.functional.shapes import check_shape


class VICRegTerms(NamedTuple):
    """The three parts of the loss, each ``[]``."""

    invariance: Tensor
    variance: Tensor
    covariance: Tensor


def vicreg_terms(za: Tensor, zb: Tensor, eps: float = 1e-4) -> VICRegTerms:
    """The three parts, of both views together.

    Bardes, Ponce, LeCun 2022 (arXiv:2105.04906), eq. 1 to 5: invariance, the mean squared difference; variance, the
    mean over features of ``relu(1 - sqrt(var + eps))``; covariance, the sum of the squared off-diagonal covariances
    divided by D. The latter two are summed over the views; variances and covariances divide by ``B - 1``.

    Args:
        za: ``[B, D]`` features of one view, B of two or more.
        zb: ``[B, D]`` of the other.
        eps: keeps the root's gradient finite where a feature is constant.

    Raises:
        ValueError: the shapes differ, or there are fewer than two samples.
    """
    check_shape("za", za, (None, None))
    check_shape("zb", zb, tuple(za.shape))
    if len(za) < 2:
        raise ValueError(f"za: a variance needs two samples or more, got {len(za)}.")
    invariance = (za - zb).square().mean()
    spread_a, redundancy_a = _spread_and_redundancy(za, eps)
    spread_b, redundancy_b = _spread_and_redundancy(zb, eps)
    return VICRegTerms(invariance, spread_a + spread_b, redundancy_a + redundancy_b)


def vicreg_loss(
    za: Tensor,
    zb: Tensor,
    invariance_coeff: float = 1.0,
    variance_coeff: float = 1.0,
    covariance_coeff: float = 1.0 / 25.0,
    eps: float = 1e-4,
) -> Tensor:
    """Weighted sum of `vicreg_terms`, ``[]``.

    The weights are SND-VIC's 1, 1, 1/25 (Pecháč et al. 2023, arXiv:2302.11563); VICReg's own are 25, 25, 1, which is
    the same up to a factor.

    Args:
        za: ``[B, D]`` features of one view, B of two or more.
        zb: ``[B, D]`` of the other.
        invariance_coeff: lambda.
        variance_coeff: mu.
        covariance_coeff: nu.
        eps: as in `vicreg_terms`.

    Raises:
        ValueError: as `vicreg_terms`.
    """
    terms = vicreg_terms(za, zb, eps)
    return invariance_coeff * terms.invariance + variance_coeff * terms.variance + covariance_coeff * terms.covariance


def _spread_and_redundancy(z: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    z = z - z.mean(dim=0)
    covariance = z.T @ z / (len(z) - 1)
    variance = covariance.diagonal()
    spread = torch.relu(1.0 - (variance + eps).sqrt()).mean()
    return spread, (covariance.square().sum() - variance.square().sum()) / z.shape[1]
