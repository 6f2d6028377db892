"""The contrastive loss of SND-V: equal pairs at distance 0, unequal ones at distance 1."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from rllib_rnd.functional.shapes import check_shape

#: How the size of features is held down.
Regulariser = Literal["magnitude", "norm", "square", "none"]


def contrastive_mse_loss(
    za: Tensor,
    zb: Tensor,
    label: Tensor,
    regulariser: Regulariser = "magnitude",
    coeff: float = 1.0,
    limit: float = 200.0,
) -> Tensor:
    """``mean_i (label_i - d_i)^2 + penalty`` with ``d_i = mean_k (za_ik - zb_ik)^2``, ``[]``.

    Pecháč et al. 2023 (arXiv:2302.11563), SND-V. Distances are those that the reward is made of, so novelty is
    measured in units of "another state".

    Args:
        za: ``[P, D]`` features of the first of each pair.
        zb: ``[P, D]`` of the second.
        label: ``[P]`` 0 where both show the same state, else 1.
        regulariser, coeff, limit: see `magnitude_penalty`.

    Raises:
        ValueError: the shapes do not fit or there is no pair.
    """
    check_shape("za", za, (None, None))
    check_shape("zb", zb, tuple(za.shape))
    check_shape("label", label, (len(za),))
    if len(za) == 0:
        raise ValueError("za: one pair or more is needed, got none.")
    distance = (za - zb).square().mean(dim=1)
    return (label.to(za.dtype) - distance).square().mean() + magnitude_penalty(za, zb, regulariser, coeff, limit)


def magnitude_penalty(
    za: Tensor, zb: Tensor, regulariser: Regulariser = "magnitude", coeff: float = 1.0, limit: float = 200.0
) -> Tensor:
    """Penalty on the size of features, ``[]``; only differences count above, so nothing else keeps it down.

    With m(z) the mean of z^2 over samples and features:

    * ``magnitude``: ``coeff relu(m(za) + m(zb) - limit)``, the paper's, which is 0 until features are very large;
    * ``square``: ``coeff (m(za) + m(zb))``, of the agent with an entropy reward (2022);
    * ``norm``: ``coeff mean_i (|za_i| + |zb_i|)``, Euclidean norms (2022);
    * ``none``: 0.

    Args:
        za: ``[P, D]``.
        zb: ``[P, D]``.
        regulariser: which of them.
        coeff: its weight.
        limit: of ``magnitude``.

    Raises:
        ValueError: the shapes differ, or the name is unknown.
    """
    check_shape("za", za, (None, None))
    check_shape("zb", zb, tuple(za.shape))
    if regulariser == "none":
        return za.new_zeros(())
    if regulariser == "norm":
        return coeff * (torch.linalg.vector_norm(za, dim=1) + torch.linalg.vector_norm(zb, dim=1)).mean()
    magnitude = za.square().mean() + zb.square().mean()
    if regulariser == "magnitude":
        return coeff * torch.relu(magnitude - limit)
    if regulariser == "square":
        return coeff * magnitude
    raise ValueError(f"regulariser: {regulariser!r} is not one of magnitude, norm, square, none.")
