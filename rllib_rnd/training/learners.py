"""What the algorithm does with its learners."""

from __future__ import annotations

from typing import Any

import ray
from ray.rllib.core.learner.learner_group import LearnerGroup


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
