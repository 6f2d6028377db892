"""Exponential moving averages of networks."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


@torch.no_grad()
def move_average(average: Iterable[Tensor], online: Iterable[Tensor], tau: float) -> None:
    """``average <- tau average + (1 - tau) online`` in place.

    Args:
        average, online: parameters in the same order.
        tau: what the average keeps of itself, 0 to 1.
    """
    # The number of steps, its last argument, plays no part in an exponential average.
    get_ema_multi_avg_fn(tau)(list(average), list(online), 0)
