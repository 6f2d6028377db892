"""When a run ends: its stop conditions, Ctrl-C or SIGTERM."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from ray.tune import Callback, Stopper
from ray.tune.experiment import Trial
from ray.tune.result import SHOULD_CHECKPOINT

from rllib_rnd.errors import nearest_name
from rllib_rnd.signals import NAMES, Terminated, exit_code
from rllib_rnd.tracking.metrics import STEADY_PATHS, curated, find, read, short_name

# What a callback logs at the end of an iteration is in the next one's result.
_FIRST_RESULTS = 3

#: What the first Ctrl-C is answered with, and the first SIGTERM.
NOTICE = "Ctrl-C: finishing this iteration, then saving; once more to stop now."
SIGTERM_NOTICE = "SIGTERM: finishing this iteration, then saving, within 30 s; once more to stop now."

# Slurm and Kubernetes kill 30 s after SIGTERM. What of it is for the iteration and the save; the rest is for the end.
_SAVE_WITHIN_S, _END_WITHIN_S = 20.0, 28.0
# ``timeout`` and Slurm send one SIGTERM twice: to the process and to its group.
_SAME_SIGTERM_S = 1.0


class Interrupt:
    """Turns the first Ctrl-C or SIGTERM into a flag, the second into ``KeyboardInterrupt``; a third ends the process.

    Where nothing has been trained yet, the first one is a ``KeyboardInterrupt`` already. After SIGTERM there are 30 s:
    an iteration that takes too long is cut off by another ``KeyboardInterrupt``, an end that hangs by `end_now`.

    Ray starts its processes with SIGINT blocked, so a terminal's Ctrl-C reaches only this process.

    Attributes:
        requested: whether it was pressed.
        number: of the signal; 0 before.
        late: the iteration was cut off.
        training: whether there is something to save.
        on_screen: whether something shows `notice` as soon as ``requested`` is set; else it is written to stderr.
        end_now: ends the process with an exit code, whatever hangs.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.requested = False
        self.number = 0
        self.late = False
        self.training = False
        self.on_screen: Callable[[], bool] = lambda: False
        self.end_now: Callable[[int], object] = os._exit
        self._clock = clock
        self._at = 0.0
        self._stopping = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        for number, handle in (
            (signal.SIGINT, self._handle),
            (signal.SIGTERM, self._handle),
            (signal.SIGALRM, self._cut),
        ):
            self._previous[number] = signal.signal(number, handle)
        return self

    def __exit__(self, *_: object) -> None:
        self.in_time()
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @property
    def code(self) -> int:
        """The exit code: 130 after Ctrl-C, 143 after SIGTERM."""
        return exit_code(self.number or signal.SIGINT)

    @property
    def name(self) -> str:
        """What the signal is called; "" before."""
        return NAMES.get(self.number, "")

    @property
    def notice(self) -> str:
        """What it is answered with; "" before."""
        return "" if not self.requested else NOTICE if self.number == signal.SIGINT else SIGTERM_NOTICE

    def in_time(self) -> None:
        """All is saved: nothing is cut off any more."""
        signal.setitimer(signal.ITIMER_REAL, 0.0)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == self.number == signal.SIGTERM and self._clock() - self._at < _SAME_SIGTERM_S:
            return
        if self._stopping:
            self.end_now(exit_code(number))
        elif self.requested:
            self._stopping = True
            raise KeyboardInterrupt
        self.requested, self.number, self._at = True, number, self._clock()
        if number == signal.SIGTERM:
            backstop = threading.Timer(_END_WITHIN_S, self.end_now, [exit_code(number)])
            backstop.daemon = True
            backstop.start()
        if not self.training:
            self._stopping = True
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        if number == signal.SIGTERM:
            signal.setitimer(signal.ITIMER_REAL, _SAVE_WITHIN_S)
        if not self.on_screen():
            os.write(2, f"\n{self.notice}\n".encode())  # print() may not be entered from a signal handler

    def _cut(self, *_: object) -> None:
        """The time is over."""
        if not self._stopping:
            self.late = self._stopping = True
            raise KeyboardInterrupt


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
        value = find(result, path)
        if value is not None and value >= target:
            return path, target
    return None


def progress(result: Mapping[str, Any], stop: Mapping[str, float]) -> Progress | None:
    """Returns the condition that will end the trial first as far as can be foreseen; None if none can.

    Only quantities that grow steadily count: a return of 90 of 100 says nothing about the time to go.
    """
    best: Progress | None = None
    for path, target in stop.items():
        value = find(result, path)
        if path not in STEADY_PATHS or value is None or target <= 0:
            continue
        share = min(1.0, value / target)
        if best is None or share > best.share:
            best = Progress(path, value, target, share)
    return best


@dataclass
class Conditions:
    """What ends the trials of an experiment.

    A condition on a metric that only a user's code can report is a promise. If the first results do not keep it the
    trial ends too, for it would never stop.

    Attributes:
        stop: conditions by result path; the first that is reached counts.
        promised: those of ``stop`` that no table says are reported.
        problem: why trials ended that have not reached a condition; "" if none did.
    """

    stop: Mapping[str, float] = field(default_factory=dict)
    promised: Collection[str] = ()
    problem: str = ""
    _results: dict[str, int] = field(default_factory=dict)

    def end(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Whether a trial ends with this result."""
        return reached(result, self.stop) is not None or self._breaks_promise(trial_id, result)

    def _breaks_promise(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        if not self.promised or not read(result, "agent_steps"):  # pre-training reports less
            return False
        seen = self._results[trial_id] = self._results.get(trial_id, 0) + 1
        missing = [path for path in sorted(self.promised) if find(result, path) is None]
        if seen != _FIRST_RESULTS or not missing:
            return False
        reported = curated(result)
        nearest = nearest_name(missing[0], reported)
        self.problem = f"stop.{short_name(missing[0])}: the first {seen} results do not hold it"
        self.problem += f"; nearest is {nearest!r}" if nearest else ""
        self.problem += ". If it comes later, declare it: metrics: [" + missing[0] + "]"
        return True


class RunStopper(Stopper):
    """Ends a lone trial at its stop conditions, and after Ctrl-C at its next result.

    It is saved and reported then like one that has finished. The trials of a sweep are ended by its plan and, after
    Ctrl-C, by `SaveOnInterrupt`: Tune never resumes a trial that its stopper ended.

    Args:
        conditions: what ends the trial.
        interrupt: the Ctrl-C flag.
    """

    def __init__(self, conditions: Conditions, interrupt: Interrupt) -> None:
        self._conditions = conditions
        self._interrupt: Interrupt | None = interrupt

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether this trial ends with this result."""
        interrupted = self._interrupt is not None and self._interrupt.requested
        return interrupted or self._conditions.end(trial_id, result)

    def stop_all(self) -> bool:
        """Never: trials that Tune stops on its own are not saved."""
        return False

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles the stopper with the experiment; a restored experiment is not an interrupted one.
        return {**self.__dict__, "_interrupt": None}


class SaveOnInterrupt(Callback):
    """After Ctrl-C saves every running trial, also where the file wants no checkpoint at the end.

    In a sweep it then ends Tune's loop, with all trials still marked as running in Tune's snapshot, which is
    what `Tuner.restore` continues.

    Args:
        interrupt: the Ctrl-C flag.
        sweep: the experiment has several trials.
    """

    def __init__(self, interrupt: Interrupt, sweep: bool) -> None:
        self._interrupt: Interrupt | None = interrupt
        self._sweep = sweep
        self.unsaved: set[str] = set()
        self._ended = False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_interrupt": None, "unsaved": set()}

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._interrupt is not None and self._interrupt.requested

    def on_trial_start(self, *, trial: Trial, **_: object) -> None:
        """Notes a running trial; one that starts after Ctrl-C has nothing to save."""
        if not self.interrupted:
            self.unsaved.add(trial.trial_id)

    def on_trial_result(self, *, trial: Trial, result: dict[str, Any], **_: object) -> None:
        """Asks for a checkpoint."""
        if self._interrupt is not None:
            self._interrupt.training = True
        if self.interrupted:
            result[SHOULD_CHECKPOINT] = True

    def on_step_end(self, *, trials: Sequence[Trial] = (), **_: object) -> None:
        """A trial that waits for its turn was saved when it was paused."""
        if self.interrupted:
            for trial in trials:
                if trial.status == Trial.PAUSED:
                    self._saved(trial.trial_id)

    def on_checkpoint(self, *, trial: Trial, **_: object) -> None:
        """Ends the sweep when the last running trial is saved."""
        if self.interrupted:
            self._saved(trial.trial_id)

    def on_trial_save(self, *, trial: Trial, **_: object) -> None:
        """A save that brought no checkpoint is over too: there is nothing more to wait for."""
        if self.interrupted:
            self._saved(trial.trial_id)

    def on_trial_complete(self, *, trial: Trial, **_: object) -> None:
        """A trial that has ended needs no more saving."""
        self._saved(trial.trial_id)

    def on_trial_error(self, *, trial: Trial, **_: object) -> None:
        """A trial that has failed cannot be saved."""
        self._saved(trial.trial_id)

    def _saved(self, trial_id: str) -> None:
        self.unsaved.discard(trial_id)
        if self._sweep and self.interrupted and not self.unsaved and not self._ended:
            self._ended = True
            os.kill(os.getpid(), signal.SIGUSR1)  # Tune's own request to end its loop and write its snapshot
