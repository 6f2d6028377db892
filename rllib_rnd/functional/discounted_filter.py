"""The forward filter behind the scale of an intrinsic reward."""

from __future__ import annotations

import torch

from rllib_rnd.functional.shapes import check_shape


def discounted_filter(
    r_t: torch.Tensor, carry: torch.Tensor, gamma: float, valid_t: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Runs ``R_t = gamma R_{t-1} + r_t`` forward in time, across episode ends and across rollouts.

    The standard deviation of R scales the intrinsic reward in Burda et al. 2018, "Exploration by Random
    Network Distillation" (arXiv:1810.12894), section 2.4. It is a sum over the past, not a return: it needs
    no future.

    Args:
        r_t: ``[T, N]`` rewards.
        carry: ``[N]`` R after the previous rollout (0 at the start).
        gamma: discount.
        valid_t: ``[T, N]`` bool; invalid (reset) steps leave R as it is.

    Returns:
        ``R_t [T, N]`` (on an invalid step the value before it) and the new carry ``[N]``.

    Raises:
        ValueError: shapes that do not fit.
    """
    check_shape("r_t", r_t, (None, None))
    check_shape("carry", carry, (r_t.shape[1],))
    check_shape("valid_t", valid_t, r_t.shape)

    filtered_t = torch.empty(r_t.shape, dtype=carry.dtype, device=r_t.device)
    for t in range(r_t.shape[0]):
        carry = torch.where(valid_t[t], gamma * carry + r_t[t].to(carry.dtype), carry)
        filtered_t[t] = carry
    return filtered_t, carry
