"""Barlow Twins: make the cross-correlation of two views' embeddings the identity."""

from __future__ import annotations

import torch

from rllib_rnd.functional.shapes import check_shape


def cross_correlation(z_1: torch.Tensor, z_2: torch.Tensor, epsilon: float = 1e-5) -> torch.Tensor:
    """Correlation over the batch of every dimension of one embedding with every dimension of the other.

    Zbontar et al. 2021, "Barlow Twins" (arXiv:2103.03230), eq. 2. Each dimension is standardised over its own batch,
    ``(z - mean) / sqrt(var + epsilon)`` with the population variance, which is batch normalisation without learned
    scale and offset.

    Args:
        z_1, z_2: ``[B, D]`` embeddings of two views of the same samples.
        epsilon: added to the variances; a dimension that is constant then correlates 0 with everything.

    Returns:
        ``[D, D]``, first index from ``z_1``, each value in -1 to 1.

    Raises:
        ValueError: shapes that do not fit, or fewer than two samples.
    """
    check_shape("z_1", z_1, (None, None))
    check_shape("z_2", z_2, tuple(z_1.shape))
    if len(z_1) < 2:
        raise ValueError(f"z_1: expected 2 samples or more, got {len(z_1)}.")
    return _standardize(z_1, epsilon).T @ _standardize(z_2, epsilon) / len(z_1)


def barlow_twins_loss(correlation: torch.Tensor, redundancy_coeff: float) -> torch.Tensor:
    """``sum_i (1 - C_ii)^2 + lambda sum_i sum_{j != i} C_ij^2``.

    Zbontar et al. 2021 (arXiv:2103.03230), eq. 1: the first sum makes the embedding invariant to the augmentation, the
    second makes its dimensions say different things. A sum, not a mean: it grows with D.

    Args:
        correlation: C ``[D, D]``.
        redundancy_coeff: lambda.

    Returns:
        ``[]``.

    Raises:
        ValueError: not a square matrix.
    """
    check_shape("correlation", correlation, (None, None))
    check_shape("correlation", correlation, (correlation.shape[0], correlation.shape[0]))
    diagonal = correlation.diagonal()
    off_diagonal = correlation - torch.diag(diagonal)
    return (1.0 - diagonal).square().sum() + redundancy_coeff * off_diagonal.square().sum()


def _standardize(z: torch.Tensor, epsilon: float) -> torch.Tensor:
    var, mean = torch.var_mean(z, dim=0, correction=0)
    return (z - mean) / (var + epsilon).sqrt()
