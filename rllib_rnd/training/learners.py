"""What the algorithm does with its learners."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import ray
from ray.rllib.core.learner.learner_group import LearnerGroup

from rllib_rnd.intrinsic.base import IntrinsicReward

logger = logging.getLogger(__name__)


def foreach_learner(group: LearnerGroup, method: str, *args: object) -> list[Any]:
    """Calls a method of every learner with the same arguments; lists travel to remote learners by reference.

    Raises:
        Exception: whatever a learner raised.
    """
    if group.is_remote:
        args = tuple(
            [r if isinstance(r, ray.ObjectRef) else ray.put(r) for r in a] if isinstance(a, list) else a for a in args
        )
    results = group.foreach_learner(lambda learner, _a=args: getattr(learner, method)(*_a))
    values = []
    for result in results:
        value = result.get()
        if not result.ok:
            raise value
        values.append(value)
    return values


def nodes_of(group: LearnerGroup) -> tuple[str, ...]:
    """Ray's nodes that the learners are on, each once."""
    found = group.foreach_learner(lambda _: ray.get_runtime_context().get_node_id())
    return tuple(dict.fromkeys(result.get() for result in found if result.ok))


def note_without_warmup(rewards: Sequence[IntrinsicReward]) -> str | None:
    """What is to be said where ``warmup_steps`` is 0 and these rewards want random play; None: they do not."""
    names = [reward.name for reward in rewards if reward.needs_warmup]
    if not names:
        return None
    return (
        f"warmup_steps is 0, but {', '.join(names)} normalises its input by running statistics: the first rollout is "
        "read as it is, and what it pays stays in the scale of the reward. Random play before training sets them, such "
        "as warmup_steps: 6400 (RND)."
    )


def warn_without_warmup(group: LearnerGroup) -> None:
    """Logs that note, if there is one."""
    note = foreach_learner(group, "note_without_warmup")[0]
    if note is not None:
        logger.warning(note)
