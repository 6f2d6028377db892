"""Keeping an auxiliary loss from working against the policy's on the weights that they share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rllib_rnd.modules.distributed import all_reduce_sum, world_size


def project_conflicting(g_aux: Tensor, g_rl: Tensor) -> tuple[Tensor, Tensor]:
    """Removes from ``g_aux`` its part along ``g_rl`` where the two point against each other.

    ``g - (g . r / r . r) r`` if ``g . r < 0``, else g: Yu et al. 2020, "Gradient Surgery for Multi-Task Learning"
    (arXiv:2001.06782), algorithm 1, in one direction only: the policy's gradient stays as it is.

    Args:
        g_aux, g_rl: ``[P]``.

    Returns:
        The projected gradient ``[P]`` and the cosine of the two before ``[]`` (0 if one is zero).
    """
    dot, size = g_aux @ g_rl, g_rl @ g_rl
    cosine = dot / (g_aux.norm() * size.sqrt()).clamp(min=1e-12)
    return g_aux - dot.clamp(max=0.0) / size.clamp(min=1e-12) * g_rl, cosine


def backward_projected(loss: Tensor, parameters: Sequence[nn.Parameter]) -> dict[str, Tensor]:
    """Adds the gradient of ``loss`` to what ``parameters`` hold already, projected if it opposes that.

    All of the parameters count as one vector. Parameters of the loss alone get their whole gradient. With several
    learners the vectors are those of all of them together.

    Args:
        loss: ``[]``.
        parameters: shared with the loss whose gradient they hold.

    Returns:
        ``gradient_cosine``, and ``gradient_projected``: 1 if the gradient was changed, else 0.
    """
    held = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    loss.backward()
    # The learner sums gradients over all learners later; here they are needed summed already, hence the division.
    g_rl = all_reduce_sum(_flat(parameters, held))
    g_aux = all_reduce_sum(_flat(parameters, [parameter.grad for parameter in parameters]))
    projected, cosine = project_conflicting(g_aux, g_rl)
    together = (g_rl + projected) / world_size()
    parts = together.split([parameter.numel() for parameter in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad = part.view_as(parameter).clone()
    return {"gradient_cosine": cosine, "gradient_projected": (cosine < 0).float()}


def _flat(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]) -> Tensor:
    pairs = zip(parameters, gradients, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in pairs])
