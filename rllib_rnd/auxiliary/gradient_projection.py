"""Keeping an auxiliary loss from working against the policy's on the weights that they share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rllib_rnd.modules.distributed import all_reduce_sum, gradient_of, world_size


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
    smallest = torch.finfo(g_aux.dtype).tiny  # however small a gradient is, it has a direction
    cosine = dot / (g_aux.norm() * size.sqrt()).clamp(min=smallest)
    return g_aux - dot.clamp(max=0.0) / size.clamp(min=smallest) * g_rl, cosine


def backward_projected(
    loss: Tensor, parameters: Sequence[nn.Parameter], policy_gradients: Sequence[Tensor | None]
) -> dict[str, Tensor]:
    """Adds the gradient of ``loss`` to what the parameters hold, projected if it opposes the policy's.

    Those of ``parameters`` that the loss reaches count as one vector; the others keep what they hold, and have no say.
    Parameters of the loss alone get their whole gradient. With several learners the vectors are those of all of them
    together.

    Args:
        loss: ``[]``.
        parameters: shared with the policy.
        policy_gradients: of the policy's loss, and of no other, on each of them.

    Returns:
        ``gradient_cosine``, and ``gradient_projected``: 1 if the gradient was changed, else 0.
    """
    held = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    loss.backward()
    own = [parameter.grad for parameter in parameters]
    for parameter, gradient in zip(parameters, held, strict=True):
        parameter.grad = gradient
    reached = _reached(own, loss.device)
    # The learner sums gradients over all learners later; here they are needed summed already, hence the division.
    g_rl, g_aux = (
        all_reduce_sum(_flat([parameters[i] for i in reached], [gradients[i] for i in reached], loss))
        for gradients in (policy_gradients, own)
    )
    projected, cosine = project_conflicting(g_aux, g_rl)
    parts = (projected / world_size()).split([parameters[i].numel() for i in reached])
    for i, part in zip(reached, parts, strict=True):
        before, gradient = held[i], gradient_of(parameters[i], part)
        parameters[i].grad = gradient if before is None else before + gradient
    return {"gradient_cosine": cosine, "gradient_projected": (cosine < 0).float()}


def _reached(gradients: Sequence[Tensor | None], device: torch.device) -> list[int]:
    """Places of those that exist, on any learner."""
    exist = torch.tensor([float(gradient is not None) for gradient in gradients], device=device)
    return [i for i, count in enumerate(all_reduce_sum(exist).tolist()) if count > 0]


def _flat(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None], like: Tensor) -> Tensor:
    pairs = zip(parameters, gradients, strict=True)
    flat = [(torch.zeros_like(p) if g is None else g).flatten() for p, g in pairs]
    return torch.cat(flat) if flat else like.new_zeros(0)
