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
from ray.rllib.utils.actor_manager import RemoteCallResults

from rllib_rnd.intrinsic.base import IntrinsicReward

logger = logging.getLogger(__name__)

#: How long the other learners have to answer after one has failed, s.
GRACE_S = 5.0


class LearnerDiedError(RuntimeError):
    """A learner's process is gone, or given up, and with it the training since the last checkpoint; see the message."""


def foreach_learner(group: LearnerGroup, method: str, *args: object) -> list[Any]:
    """Calls a method of every learner with the same arguments; lists travel to remote learners by reference.

    Where one fails the others may wait for its part of a sum for ever: they get `GRACE_S` more and are ended then. If
    the process of one is gone, or has not answered within ``learn_timeout_s``, all are, as none can go on without it.

    Raises:
        LearnerDiedError: the process of a learner is gone, or hangs.
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
        LearnerDiedError: one is, or hangs.
    """
    try:
        yield
    except (ray.exceptions.RayActorError, AssertionError):  # RLlib asserts that all are in service
        if group.is_remote:
            _answers(group, lambda _: None)
        raise


def bound_waits(group: LearnerGroup) -> None:
    """Has RLlib itself wait for answers of learners no longer than ``learn_timeout_s`` either, where it would for ever.

    What is late is a `LearnerDiedError` then.
    """
    if not group.is_remote:
        return
    manager = group._worker_manager
    ask = manager.foreach_actor

    def foreach_actor(
        *args: object,
        remote_actor_ids: list[int] | None = None,
        timeout_seconds: float | None = None,
        **kwargs: object,
    ) -> RemoteCallResults:
        if timeout_seconds is not None:  # who says how long it waits bears it
            return ask(*args, remote_actor_ids=remote_actor_ids, timeout_seconds=timeout_seconds, **kwargs)
        asked, limit = set(remote_actor_ids or manager.healthy_actor_ids()), group.config.learn_timeout_s
        results = ask(*args, remote_actor_ids=remote_actor_ids, timeout_seconds=limit, **kwargs)
        late = sorted(asked.intersection(manager.healthy_actor_ids()) - {result.actor_id for result in results})
        if late:
            _give_up(group, late, _in_time(group))
        return results

    manager.foreach_actor = foreach_actor


def _answers(group: LearnerGroup, function: Callable[[Any], Any]) -> list[Any]:
    """What a function returns for every learner in a process of its own; raises as `foreach_learner`."""
    actors, limit = group._workers, group.config.learn_timeout_s
    calls = [actor.apply.remote(function) for actor in actors]
    failures, waiting = dict[int, Exception](), list(calls)
    until = math.inf if limit is None else time.monotonic() + limit
    while waiting and time.monotonic() < until:
        left_s = None if until == math.inf else max(0.0, until - time.monotonic())
        ready, waiting = ray.wait(waiting, num_returns=1, timeout=left_s)
        for call in ready:
            try:
                ray.get(call)
            except Exception as error:  # of the learner's code, of Ray, of torch.distributed
                failures[calls.index(call)] = error
                until = min(until, time.monotonic() + GRACE_S)
    late = [calls.index(call) for call in waiting]
    if not failures and not late:
        return list(ray.get(calls))
    died = {number: error for number, error in failures.items() if isinstance(error, ray.exceptions.RayActorError)}
    if died:
        _end(actors)
        raise LearnerDiedError(_words(died, len(actors)))
    if late and all(map(_is_about_another, failures.values())):
        _give_up(group, late, "while another waits for it" if failures else _in_time(group))
    _end([actors[number] for number in late])
    raise next((error for error in failures.values() if not _is_about_another(error)), next(iter(failures.values())))


def _in_time(group: LearnerGroup) -> str:
    return f"within learn_timeout_s = {group.config.learn_timeout_s} s"


def _give_up(group: LearnerGroup, late: Sequence[int], why: str) -> None:
    """Ends all learners where some do not answer, which may be stopped or hang, or wait for one that does.

    Raises:
        LearnerDiedError: always.
    """
    learners = len(group._workers)
    _end(group._workers)
    one = "the learner" if learners == 1 else f"learner {late[0] + 1} of {learners}"
    which = one if len(late) == 1 else f"{len(late)} of {learners} learners"
    lost = "What was learned since the last checkpoint is lost."
    raise LearnerDiedError(f"no answer of {which} {why}: a process hangs or is stopped. {lost}")


def _end(actors: Sequence[ray.actor.ActorHandle]) -> None:
    for actor in actors:
        ray.kill(actor)


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
