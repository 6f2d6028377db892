"""What the algorithm does with its learners."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray.rllib.core.learner.learner_group import LearnerGroup

from rllib_rnd.intrinsic.base import IntrinsicReward

logger = logging.getLogger(__name__)

#: How long the other learners have to answer after one has failed, s.
GRACE_S = 5.0


class LearnerDiedError(RuntimeError):
    """A learner's process is gone, and with it the training since the last checkpoint. The message says which."""


def foreach_learner(group: LearnerGroup, method: str, *args: object) -> list[Any]:
    """Calls a method of every learner with the same arguments; lists travel to remote learners by reference.

    Where one fails the others may wait for its part of a sum for ever: they get `GRACE_S` more and are ended then. If
    the process of one is gone all are, as none can go on without it.

    Raises:
        LearnerDiedError: the process of a learner is gone.
        Exception: whatever a learner raised; of several errors the first that does not just say that another is away.
    """
    if not group.is_remote:
        (result,) = group.foreach_learner(lambda learner: getattr(learner, method)(*args))
        return [result.get()]
    args = tuple(
        [r if isinstance(r, ray.ObjectRef) else ray.put(r) for r in a] if isinstance(a, list) else a for a in args
    )
    return _answers(group, lambda learner: getattr(learner, method)(*args))


@contextmanager
def told_of_dead_learners(group: LearnerGroup) -> Iterator[None]:
    """Says which learner's process is gone where RLlib itself talks to learners in the block.

    Raises:
        LearnerDiedError: one is.
    """
    try:
        yield
    except (ray.exceptions.RayActorError, AssertionError):  # RLlib asserts that all are in service
        if group.is_remote:
            _answers(group, lambda _: None)
        raise


def _answers(group: LearnerGroup, function: Callable[[Any], Any]) -> list[Any]:
    """What a function returns for every learner in a process of its own; raises as `foreach_learner`."""
    actors = group._workers
    calls = [actor.apply.remote(function) for actor in actors]
    failures, waiting, until = dict[int, Exception](), list(calls), math.inf
    while waiting and time.monotonic() < until:
        left_s = None if until == math.inf else max(0.0, until - time.monotonic())
        ready, waiting = ray.wait(waiting, num_returns=1, timeout=left_s)
        for call in ready:
            try:
                ray.get(call)
            except Exception as error:  # of the learner's code, of Ray, of torch.distributed
                failures[calls.index(call)] = error
                until = min(until, time.monotonic() + GRACE_S)
    if not failures:
        return list(ray.get(calls))
    died = {number: error for number, error in failures.items() if isinstance(error, ray.exceptions.RayActorError)}
    for number in range(len(actors)) if died else [calls.index(call) for call in waiting]:
        ray.kill(actors[number])
    if died:
        raise LearnerDiedError(_words(died, len(actors)))
    raise next((error for error in failures.values() if not _is_about_another(error)), next(iter(failures.values())))


def _is_about_another(error: Exception) -> bool:
    """Whether it only says that sums with another learner have broken off."""
    cause = getattr(error, "cause", error)
    return isinstance(cause, RuntimeError) and any(word in str(cause) for word in ("gloo", "Connection", "NCCL"))


def _words(died: Mapping[int, Exception], learners: int) -> str:
    """One line about the first of the processes that are gone."""
    number, error = min(died.items())
    text = " ".join(str(error).split())
    pid, place = re.search(r"\bpid: (\d+)", text), re.search(r"\bip: (\S+)", text)
    where = ", ".join(filter(None, (f"process {pid[1]}" if pid else "", f"on {place[1]}" if place else "")))
    causes = {
        "out of memory": "Ray ended it as memory ran out",
        "OOM killer": "it was killed (signal 9, as by the kernel when memory runs out) or crashed",
        "node has died": "its node is gone",
        "node was terminated": "its node is gone",
        "ray.kill": "it was ended by ray.kill",
    }
    cause = next((words for mark, words in causes.items() if mark in text), text[:160])
    which = f"learner {number + 1} of {learners}" if learners > 1 else "the learner"
    return f"{which} ({where}) died: {cause}. What it had learned since the last checkpoint is lost."


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
