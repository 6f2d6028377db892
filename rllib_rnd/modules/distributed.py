"""Sums over learners. Statistics are merged with these explicitly, because DDP would copy those of rank 0."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

#: Ray's default are 30 minutes. A learner that is slower by that much for one rollout has a fault.
LONGEST_WAIT_S = 600.0

T = TypeVar("T")


def world_size() -> int:
    """Number of learners that train together; 1 without torch.distributed."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size()
    return 1


def bound_waits() -> None:
    """Has no learner wait longer than `LONGEST_WAIT_S` for the others: where they differ in more, they never come."""
    if world_size() > 1:
        dist.distributed_c10d._set_pg_timeout(timedelta(seconds=LONGEST_WAIT_S))


def rank() -> int:
    """This learner's number, 0 to ``world_size() - 1``."""
    return dist.get_rank() if world_size() > 1 else 0


def all_reduce_sum(tensor: torch.Tensor) -> torch.Tensor:
    """Returns the sum of ``tensor`` over all learners; ``tensor`` itself where there is only one.

    Every learner must call it equally often and with the same shape, else they wait for each other for ever.
    """
    if world_size() == 1:
        return tensor
    total = tensor.detach().clone()
    dist.all_reduce(total, op=dist.ReduceOp.SUM)
    return total


def from_all(value: T) -> list[T]:
    """What every learner has (small: it is pickled), in their order, on every learner; all of them must call it."""
    if world_size() == 1:
        return [value]
    values: list[T] = [value] * world_size()
    dist.all_gather_object(values, value)
    return values


def sum_gradients(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Sums gradients over all learners, if there are several; a parameter that has none counts as zero."""
    if world_size() == 1:
        return
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
    parts = all_reduce_sum(flat).split([p.numel() for p in parameters])
    for parameter, grad in zip(parameters, parts, strict=True):
        parameter.grad = gradient_of(parameter, grad)


def gradient_of(parameter: torch.nn.Parameter, flat: torch.Tensor) -> torch.Tensor:
    """A flat gradient in the shape of its parameter and laid out in memory as that.

    Fused optimizers step through both in the order of memory: channels-last weights with a gradient in plain order
    would each get another one's.
    """
    return torch.empty_like(parameter, requires_grad=False).copy_(flat.view_as(parameter))


def broadcast_from_first(tensor: torch.Tensor) -> None:
    """Overwrites ``tensor`` on every learner by that of the first."""
    if world_size() > 1:
        dist.broadcast(tensor, src=0)


def standardize(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Zero mean and unit variance over ``values[index]`` of all learners; one sample becomes 0."""
    chosen = values[index].double()
    count, total, square = all_reduce_sum(
        torch.stack(
            [
                torch.tensor(float(len(index)), dtype=torch.float64, device=values.device),
                chosen.sum(),
                chosen.square().sum(),
            ]
        )
    )
    count = count.clamp(min=1.0)
    mean = total / count
    std = (square / count - mean.square()).clamp(min=0.0).sqrt()
    return ((values - mean) / (std + 1e-8)).to(values.dtype)
