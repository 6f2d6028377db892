"""When a trial is saved besides every so many iterations: after a time, and when somebody asks for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.result import SHOULD_CHECKPOINT


class SaveInTime(Callback):
    """Saves every trial after the iteration in which its time has come.

    Args:
        every_s: seconds from one checkpoint of a trial to the next; None: only when asked.
        clock: source of seconds that never jump.
    """

    def __init__(self, every_s: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s = every_s
        self._clock = clock
        self._asked = 0
        self._last: dict[str, tuple[float, int]] = {}  # trial -> when it was saved last, how often was asked then

    def ask(self) -> None:
        """Has every trial that runs save after its iteration; for any thread."""
        self._asked += 1

    def on_trial_start(self, *, trial: Trial, **_: object) -> None:
        """The time begins with the trial, also when it goes on."""
        self._note(trial)

    def on_trial_result(self, *, trial: Trial, result: dict[str, Any], **_: object) -> None:
        """Asks Tune for a checkpoint where one is due. One that fails is tried again when the next is due."""
        at, answered = self._last.get(trial.trial_id, (self._clock(), self._asked))
        late = self._every_s is not None and self._clock() - at >= self._every_s
        if late or answered != self._asked:
            result[SHOULD_CHECKPOINT] = True
            self._note(trial)

    def on_checkpoint(self, *, trial: Trial, **_: object) -> None:
        """Whatever it was saved for, the time begins anew."""
        self._last[trial.trial_id] = (self._clock(), self._last.get(trial.trial_id, (0.0, 0))[1])

    def _note(self, trial: Trial) -> None:
        self._last[trial.trial_id] = (self._clock(), self._asked)
