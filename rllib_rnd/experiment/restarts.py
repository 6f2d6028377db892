"""Trials whose process dies: started again from their newest checkpoint, as long as that leads anywhere.

A kernel short of memory kills processes, and nodes go. A trial whose own code raised would raise again; it ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray import exceptions
from ray.tune import Callback
from ray.tune.experiment import Trial

#: Deaths in a row, without a checkpoint between them, after which a trial is started again once more.
MAX_DEATHS = 3

_DEATHS = (
    exceptions.RayActorError,
    exceptions.WorkerCrashedError,
    exceptions.NodeDiedError,
    exceptions.OutOfMemoryError,
    exceptions.ObjectLostError,
)


def is_death(error: BaseException | None) -> bool:
    """Whether a trial failed because a process of it ended: its own or a learner's, not because its code raised."""
    if isinstance(error, exceptions.RayTaskError):
        error = error.cause if isinstance(error.cause, BaseException) else error.as_instanceof_cause()
    if isinstance(error, exceptions.RayActorError):
        return not error.actor_init_failed
    return isinstance(error, _DEATHS)


def how_it_died(error: BaseException | None) -> str:
    """Returns why a process is gone in a few words."""
    text = str(error)
    if isinstance(error, exceptions.OutOfMemoryError) or "memory pressure" in text:
        return "Ray ended it: the machine was short of memory"
    if "NODE" in text or "node" in text.partition(".")[0]:
        return "its node is gone"
    return "it was killed, perhaps for want of memory, or it crashed"


class MortalTrial(Trial):
    """A trial of Tune that is started again when its process dies; what its code raises ends it as ever."""

    # (Kept in Tune's snapshot of a sweep, so of plain types.)
    deaths: int = 0
    died_with: str = ""
    has_died: bool = False
    cause: str = ""

    @staticmethod
    def adopt(trial: Trial) -> None:
        """Makes one of a trial of Tune's; Tune has no place to say which class it should make."""
        trial.__class__ = MortalTrial

    def handle_error(self, exc: Exception | None = None) -> None:
        """Counts a failure, and deaths without a new checkpoint since the last one."""
        super().handle_error(exc)
        self.has_died, self.cause = is_death(exc), how_it_died(exc)
        if self.has_died:
            newest = str(self.checkpoint.path) if self.checkpoint is not None else ""
            self.deaths = self.deaths + 1 if newest == self.died_with else 1
            self.died_with = newest

    def should_recover(self) -> bool:
        """Whether it is started again."""
        return bool(super().should_recover()) or (self.has_died and self.deaths <= MAX_DEATHS)


class TellRestarts(Callback):
    """Says when a trial is started again, and why.

    Args:
        tell: prints one line.
        iteration_at: returns the iteration that a checkpoint's folder was written after.
    """

    def __init__(self, tell: Callable[[str], object], iteration_at: Callable[[str], int | None]) -> None:
        self._tell: Callable[[str], object] | None = tell
        self._iteration_at: Callable[[str], int | None] | None = iteration_at

    def __getstate__(self) -> dict[str, Any]:
        return {"_tell": None, "_iteration_at": None}

    def on_trial_recover(self, *, trial: Trial, **_: object) -> None:
        """Says it."""
        if self._tell is None or self._iteration_at is None or not isinstance(trial, MortalTrial):
            return
        start = "its start"
        if trial.checkpoint is not None:
            start = f"iteration {self._iteration_at(trial.checkpoint.path)}"
        why = f"a process of it died ({trial.cause})" if trial.has_died else "it failed"
        count = f"; restart {trial.deaths} of at most {MAX_DEATHS} before the next checkpoint" if trial.has_died else ""
        self._tell(f"Trial {trial}: {why}. It is started again from {start}{count}.")
