"""Which rollouts an iteration learns from: those that every learner could fetch, and each learner's part of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import ray
import torch
from ray.exceptions import ObjectLostError

from rllib_rnd.modules.distributed import all_reduce_sum
from rllib_rnd.rollout import Rollout

logger = logging.getLogger(__name__)

#: Rollouts of all runners, in their order, or references to them.
Rollouts = Sequence[Rollout | ray.ObjectRef]


def fetched(rollouts: Rollouts, device: torch.device | str = "cpu") -> list[Rollout]:
    """The rollouts in their order, less those that went down with the node of their runner.

    What one learner cannot fetch none uses: else they would disagree on whose environments are whose, or wait for each
    other for ever. Every learner must call it with the same list.
    """
    found = [_fetch(rollout) for rollout in rollouts]
    lost = all_reduce_sum(torch.tensor([float(rollout is None) for rollout in found], device=device))
    kept = [rollout for rollout, gone in zip(found, lost.tolist(), strict=True) if rollout is not None and not gone]
    if len(kept) < len(found):
        logger.warning("%d of %d rollouts were lost with their node.", len(found) - len(kept), len(found))
    return kept


def _fetch(rollout: Rollout | ray.ObjectRef) -> Rollout | None:
    if not isinstance(rollout, ray.ObjectRef):
        return rollout
    try:
        found: Rollout = ray.get(rollout)
    except ObjectLostError:  # also of an owner that has died
        return None
    return found
