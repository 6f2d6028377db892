"""When a run ends: its stop conditions, or Ctrl-C."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ray import tune
from ray.tune import Callback, Stopper

from rllib_rnd.tracking.metrics import STEADY_PATHS, lookup

_NOTICE = b"\nCtrl-C: finishing this iteration, then writing a checkpoint. Ctrl-C again stops at once.\n"


class Interrupt:
    """Turns the first Ctrl-C (or SIGTERM) into a flag, the second into ``KeyboardInterrupt``.

    Ray starts its processes with SIGINT blocked, so a terminal's Ctrl-C reaches only this process.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        os.write(2, _NOTICE)  # print() may not be entered from a signal handler


@dataclass
class Progress:
    """How far a trial is.

    Attributes:
        path: the result that is nearest to its target.
        value, target: its value now and at the end.
        share: 0..1.
    """

    path: str
    value: float
    target: float
    share: float


def reached(result: Mapping[str, Any], stop: Mapping[str, float]) -> tuple[str, float] | None:
    """Returns the first stop condition (path, target) that a result meets, or None.

    A metric that is absent (no episode has ended yet) is not reached.
    """
    for path, target in stop.items():
        value = lookup(result, path)
        if value is not None and value >= target:
            return path, target
    return None


def progress(result: Mapping[str, Any], stop: Mapping[str, float]) -> Progress | None:
    """Returns the condition that will end the trial first as far as it can be foreseen; None if there is none.

    Only quantities that grow steadily count: a return of 90 of 100 says nothing about the time to go.
    """
    best: Progress | None = None
    for path, target in stop.items():
        value = lookup(result, path)
        if path not in STEADY_PATHS or value is None or target <= 0:
            continue
        share = min(1.0, value / target)
        if best is None or share > best.share:
            best = Progress(path, value, target, share)
    return best


class RunStopper(Stopper):
    """Ends a trial at its stop conditions; after Ctrl-C ends every trial at its next result.

    A trial ended by its own result saves a checkpoint (``checkpoint_at_end``); one ended by ``stop_all`` would not.
    So ``stop_all`` waits until no trial is running and only keeps the waiting ones from starting.
    """

    def __init__(self, stop: Mapping[str, float], interrupt: Interrupt) -> None:
        self._stop = dict(stop)
        self._interrupt: Interrupt | None = interrupt
        self.running: set[str] = set()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether this trial ends with this result."""
        return self.interrupted or reached(result, self._stop) is not None

    def stop_all(self) -> bool:
        """Whether no further trial may start."""
        return self.interrupted and not self.running

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._interrupt is not None and self._interrupt.requested

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles the stopper with the experiment; a restored experiment is not an interrupted one.
        return {"_stop": self._stop, "_interrupt": None, "running": set()}


class RunningTrials(Callback):
    """Tells a `RunStopper` which trials run."""

    def __init__(self, stopper: RunStopper) -> None:
        self._stopper = stopper

    def on_trial_start(self, iteration: int, trials: list[Any], trial: tune.Trial, **info: Any) -> None:
        """Counts the trial as running."""
        self._stopper.running.add(trial.trial_id)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: tune.Trial, **info: Any) -> None:
        """Counts the trial as ended."""
        self._stopper.running.discard(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: tune.Trial, **info: Any) -> None:
        """Counts the trial as ended."""
        self._stopper.running.discard(trial.trial_id)
