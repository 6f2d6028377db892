"""BYOL: the distance between a prediction and the target network's projection, and how slowly the target follows."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from rllib_rnd.functional.shapes import check_shape


def byol_loss(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Squared distance of the two vectors' directions, ``2 - 2 cos``: 0 (same) to 4 (opposite).

    Grill et al. 2020, "Bootstrap Your Own Latent" (arXiv:2006.07733), eq. 2. The loss of a sample with two views is
    symmetric, the sum of two such terms (0 to 8): the prediction from view 1 against the target's projection of view 2,
    and the prediction from view 2 against the target's projection of view 1.

    Args:
        prediction: ``[B, D]``, with gradient.
        target: ``[B, D]``; no gradient reaches it.

    Returns:
        ``[B]``.

    Raises:
        ValueError: shapes that do not fit.
    """
    check_shape("prediction", prediction, (None, None))
    check_shape("target", target, tuple(prediction.shape))
    cosine = (F.normalize(prediction, dim=1) * F.normalize(target.detach(), dim=1)).sum(dim=1)
    return 2.0 - 2.0 * cosine


def byol_tau(tau_base: float, step: int, num_steps: int) -> float:
    """Weight of the old target at update ``step``: ``1 - (1 - tau_base) (cos(pi k / K) + 1) / 2``, 1 from K on.

    Grill et al. 2020 (arXiv:2006.07733), section 3.2.

    Args:
        tau_base: the weight at step 0, 0 to 1.
        step: k, updates made before.
        num_steps: K, updates after which the target stands still; 1 or more.

    Raises:
        ValueError: ``num_steps`` below 1 or ``step`` below 0.
    """
    if num_steps < 1 or step < 0:
        raise ValueError(f"num_steps, step: expected 1 or more and 0 or more, got {num_steps} and {step}.")
    progress = min(step / num_steps, 1.0)
    return 1.0 - (1.0 - tau_base) * (math.cos(math.pi * progress) + 1.0) / 2.0


def collapse_std(vectors: torch.Tensor) -> torch.Tensor:
    """Standard deviation over the batch of the normalised vectors, mean over dimensions: has everything become one?

    0 where all samples have the same direction (collapse); ``1 / sqrt(D)``, its upper limit, where directions are
    spread evenly. Chen and He 2021, "Exploring Simple Siamese Representation Learning" (arXiv:2011.10566), section 4.1.

    Args:
        vectors: ``[B, D]``.

    Returns:
        ``[]``.

    Raises:
        ValueError: not two axes.
    """
    check_shape("vectors", vectors, (None, None))
    return F.normalize(vectors, dim=1).std(dim=0, unbiased=False).mean()
