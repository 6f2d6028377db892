"""The terms of PPO, one value per sample, so that the caller alone decides on masks and denominators."""

from __future__ import annotations

import torch

from rllib_rnd.functional.shapes import check_shape


def clipped_surrogate_loss(
    logp: torch.Tensor, logp_old: torch.Tensor, advantage: torch.Tensor, clip_param: float
) -> torch.Tensor:
    """``-min(ratio A, clip(ratio, 1 - eps, 1 + eps) A)``, Schulman et al. 2017 (arXiv:1707.06347), eq. 7.

    Args:
        logp: ``[B]`` log-probability of the action under the policy being trained.
        logp_old: ``[B]`` the same under the policy that acted.
        advantage: ``[B]``.
        clip_param: eps.

    Returns:
        ``[B]`` loss, to be minimised.

    Raises:
        ValueError: shapes that do not fit.
    """
    check_shape("logp_old", logp_old, tuple(logp.shape))
    check_shape("advantage", advantage, tuple(logp.shape))
    ratio = torch.exp(logp - logp_old)
    clipped = ratio.clamp(1.0 - clip_param, 1.0 + clip_param)
    return -torch.minimum(ratio * advantage, clipped * advantage)


def value_loss(
    v: torch.Tensor, v_target: torch.Tensor, v_old: torch.Tensor | None = None, clip: float | None = None
) -> torch.Tensor:
    """``0.5 (v - target)^2`` per sample and stream.

    With ``clip``, the larger of that and the error of ``v_old + clip(v - v_old, -clip, clip)``: the value
    clipping of OpenAI Baselines' PPO2 (not in the paper), here off unless asked for.

    Args:
        v: ``[B, S]`` values being trained.
        v_target: ``[B, S]``.
        v_old: ``[B, S]`` values at acting time, needed with ``clip``.
        clip: largest trusted change of a value, or None.

    Returns:
        ``[B, S]``.

    Raises:
        ValueError: shapes that do not fit, or ``clip`` without ``v_old``.
    """
    check_shape("v_target", v_target, tuple(v.shape))
    error = (v - v_target).square()
    if clip is not None:
        if v_old is None:
            raise ValueError("v_old: needed when clip is given.")
        check_shape("v_old", v_old, tuple(v.shape))
        clipped = v_old + (v - v_old).clamp(-clip, clip)
        error = torch.maximum(error, (clipped - v_target).square())
    return 0.5 * error


def approx_kl(logp: torch.Tensor, logp_old: torch.Tensor) -> torch.Tensor:
    """Sample of KL(old || new): ``(ratio - 1) - log ratio``.

    The estimator k3 of Schulman 2020, "Approximating KL Divergence": unbiased and never negative. The
    original RND code logs ``0.5 (log ratio)^2`` (k2), which agrees to second order but is biased for larger
    changes.

    Args:
        logp, logp_old: ``[B]``.

    Returns:
        ``[B]``.

    Raises:
        ValueError: shapes that do not fit.
    """
    check_shape("logp_old", logp_old, tuple(logp.shape))
    log_ratio = logp - logp_old
    return torch.expm1(log_ratio) - log_ratio


def clip_fraction(logp: torch.Tensor, logp_old: torch.Tensor, clip_param: float) -> torch.Tensor:
    """1.0 where the probability ratio left ``[1 - clip_param, 1 + clip_param]``, else 0.0; ``[B]``.

    Raises:
        ValueError: shapes that do not fit.
    """
    check_shape("logp_old", logp_old, tuple(logp.shape))
    return ((torch.exp(logp - logp_old) - 1.0).abs() > clip_param).to(logp.dtype)


def explained_variance(v: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """``1 - Var(target - v) / Var(target)`` over the valid samples.

    1 is a perfect critic, 0 one that is no better than a constant, below 0 one that is worse.

    Args:
        v, target: tensors of one shape.
        valid: bool of the same shape.

    Returns:
        ``[]``; 0 where the target has no variance (or nothing is valid), rather than a division by zero.

    Raises:
        ValueError: shapes that do not fit.
    """
    check_shape("target", target, tuple(v.shape))
    check_shape("valid", valid, tuple(v.shape))
    target_var = _masked_variance(target, valid)
    error_var = _masked_variance(target - v, valid)
    safe = torch.where(target_var > 0, target_var, torch.ones_like(target_var))
    return torch.where(target_var > 0, 1.0 - error_var / safe, torch.zeros_like(target_var))


def masked_mean(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of ``x`` where ``mask``; 0 (with a graph) if the mask is empty. Masked values may be non-finite.

    Args:
        x: any shape.
        mask: bool of the same shape.

    Returns:
        ``[]``.

    Raises:
        ValueError: shapes that do not fit.
    """
    check_shape("mask", mask, tuple(x.shape))
    return torch.where(mask, x, torch.zeros_like(x)).sum() / mask.sum().clamp(min=1)


def _masked_variance(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return masked_mean((x - masked_mean(x, mask)).square(), mask)


def ppo_sums(
    logp: torch.Tensor,
    entropy: torch.Tensor,
    values: torch.Tensor,
    logp_old: torch.Tensor,
    v_old: torch.Tensor,
    advantage: torch.Tensor,
    v_target: torch.Tensor,
    clip_param: float,
    vf_clip_param: float | None,
) -> dict[str, torch.Tensor]:
    """All terms of PPO with several value streams, summed over samples; the caller divides by its own count.

    Args:
        logp: ``[B]`` log-probability of the action under the policy being trained.
        entropy: ``[B]`` of that policy.
        values: ``[B, S]`` of the critics being trained, stream 0 extrinsic.
        logp_old: ``[B]`` log-probability of the action at acting time.
        v_old: ``[B, S]`` values at acting time.
        advantage: ``[B]``, mixed over the streams.
        v_target: ``[B, S]``.
        clip_param: eps of the clipped surrogate.
        vf_clip_param: largest trusted change of a value, or None.

    Returns:
        ``policy_loss``, ``vf_loss`` (all streams), ``entropy``; and without gradient ``vf_loss_extrinsic``,
        ``vf_loss_intrinsic``, ``approx_kl``, ``clip_fraction``. Each ``[]``.

    Raises:
        ValueError: shapes that do not fit.
    """
    check_shape("entropy", entropy, tuple(logp.shape))
    vf = value_loss(values, v_target, v_old, vf_clip_param)
    sums = {
        "policy_loss": clipped_surrogate_loss(logp, logp_old, advantage, clip_param).sum(),
        "vf_loss": vf.sum(),
        "entropy": entropy.sum(),
    }
    with torch.no_grad():
        sums["vf_loss_extrinsic"] = vf[:, 0].sum()
        sums["vf_loss_intrinsic"] = vf[:, 1:].sum()
        sums["approx_kl"] = approx_kl(logp, logp_old).sum()
        sums["clip_fraction"] = clip_fraction(logp, logp_old, clip_param).sum()
    return sums
