"""Which fault comes when: an endless sequence that a seed alone decides."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

#: Kind -> what is done.
KINDS: dict[str, str] = {
    "kill_runner": "SIGKILL of one runner",
    "kill_all_runners": "SIGKILL of all runners",
    "stop_runner": "SIGSTOP of one runner, for seconds",
    "hang_runner": "SIGSTOP of one runner, for longer than sample_timeout_s",
    "kill_learner": "SIGKILL of the learner's process",
    "kill_trial": "SIGKILL of the trial's process",
    "kill_driver": "SIGKILL of the driver, then --resume",
    "end_driver": "SIGTERM of the driver (exit code 143), then --resume",
    "kill_control": "SIGKILL of Ray's control process, then --resume",
    "lock_store": "MLflow's database locked, for seconds",
    "full_disk": "no file of trial and learner may grow beyond 1 kB (as on a full disk), for seconds",
    "corrupt_checkpoint": "SIGKILL of the driver, a byte of the newest checkpoint flipped, then --resume",
}

_HOLD_S = {"stop_runner": (3.0, 15.0), "lock_store": (15.0, 40.0), "full_disk": (15.0, 40.0)}
_WAIT_S = (15.0, 60.0)


@dataclass(frozen=True)
class Fault:
    """One fault of a schedule.

    Attributes:
        number: from 0.
        kind: a key of `KINDS`.
        wait_s: seconds of undisturbed training before it.
        hold_s: how long it lasts; 0: it is over at once.
        choice: 0..1, picks a process where there are several.
    """

    number: int
    kind: str
    wait_s: float
    hold_s: float
    choice: float


def schedule(seed: int) -> Iterator[Fault]:
    """Yields faults without end: all kinds in a random order, then all of them again in another one."""
    draws = random.Random(seed)
    number = 0
    while True:
        for kind in draws.sample(list(KINDS), len(KINDS)):
            yield Fault(
                number, kind, draws.uniform(*_WAIT_S), draws.uniform(*_HOLD_S.get(kind, (0, 0))), draws.random()
            )
            number += 1
