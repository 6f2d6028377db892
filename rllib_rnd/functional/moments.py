"""Mean and variance of batches, and the exact merge of two of them."""

from __future__ import annotations

import torch

from rllib_rnd.functional.shapes import check_shape

Moments = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def batch_moments(x: torch.Tensor, mask: torch.Tensor | None = None, batch_dims: int = 1) -> Moments:
    """Mean, population variance and count over the leading axes, in float64.

    Args:
        x: ``[*batch, *shape]`` of any dtype.
        mask: ``[*batch]`` bool, samples to count; None counts all.
        batch_dims: number of leading axes to reduce.

    Returns:
        mean ``[*shape]``, var ``[*shape]``, count ``[]``, all float64. Nothing to count gives zeros.

    Raises:
        ValueError: the mask's shape is not that of the leading axes.
    """
    batch_shape = x.shape[:batch_dims]
    rows = x.reshape(-1, *x.shape[batch_dims:])
    if mask is not None:
        check_shape("mask", mask, tuple(batch_shape))
        rows = rows[mask.reshape(-1)]
    rows = rows.to(torch.float64)
    count = torch.tensor(float(rows.shape[0]), dtype=torch.float64, device=x.device)
    if rows.shape[0] == 0:
        zeros = torch.zeros(rows.shape[1:], dtype=torch.float64, device=x.device)
        return zeros, zeros.clone(), count
    mean = rows.mean(dim=0)
    return mean, (rows - mean).square().mean(dim=0), count


def drift(now: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """Mean squared change of the features of the same samples over their mean variance before, ``[]``.

    Args:
        now, before: ``[B, ...]``.

    Raises:
        ValueError: their shapes differ.
    """
    check_shape("now", now, tuple(before.shape))
    variance = before.var(dim=0, unbiased=False).mean()
    return (now - before).square().mean() / variance.clamp(min=1e-30)


def combine_moments(a: Moments, b: Moments) -> Moments:
    """Moments of the union of two disjoint samples from the moments of each.

    Chan, Golub and LeVeque 1983, "Algorithms for Computing the Sample Variance", equations 2.1:
    ``M2 = M2_a + M2_b + delta^2 n_a n_b / n``.

    Args:
        a, b: (mean ``[*shape]``, var ``[*shape]``, count ``[]``).

    Returns:
        The same triple for the union; two empty samples give mean and variance 0.

    Raises:
        ValueError: the two have different shapes.
    """
    mean_a, var_a, count_a = a
    mean_b, var_b, count_b = b
    check_shape("mean of b", mean_b, tuple(mean_a.shape))
    count = count_a + count_b
    total = count.clamp(min=torch.finfo(count.dtype).tiny)
    delta = mean_b - mean_a
    weight_b = count_b / total
    # An empty side may hold any placeholder (such as variance 1); its zero weight removes it.
    mean = torch.where(count_a > 0, mean_a + delta * weight_b, mean_b)
    var = (var_a * count_a + var_b * count_b + delta.square() * count_a * weight_b) / total
    return mean, var, count
