"""Barlow Twins as the SND experiments had it: the cross-correlation without any standardisation."""

from __future__ import annotations

from torch import Tensor

from rllib_rnd.functional.shapes import check_shape


def snd_barlow_loss(za: Tensor, zb: Tensor, off_diagonal_coeff: float = 5e-3) -> Tensor:
    """``sum_i (C_ii - 1)^2 + off_diagonal_coeff sum_{i != j} C_ij^2`` with ``C = za^T zb / B``, ``[]``.

    Zbontar et al. 2021 (arXiv:2103.03230), eq. 1, but C is of raw features: their mean and scale are not taken out, so
    the loss also fixes their scale, at a mean square of 1.

    Args:
        za: ``[B, D]`` features of one view.
        zb: ``[B, D]`` of the other.
        off_diagonal_coeff: weight of the off-diagonal part.

    Raises:
        ValueError: the shapes differ or there is no sample.
    """
    check_shape("za", za, (None, None))
    check_shape("zb", zb, tuple(za.shape))
    if len(za) == 0:
        raise ValueError("za: one sample or more is needed, got none.")
    correlation = za.T @ zb / len(za)
    diagonal = correlation.diagonal()
    off_diagonal = correlation.square().sum() - diagonal.square().sum()
    return (diagonal - 1.0).square().sum() + off_diagonal_coeff * off_diagonal
