"""Carries out long runs in their order, several at a time, until all are done or the time is up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from experiments.long_runs import describe, is_kept, keep, key_of, rows_in
from experiments.provenance import note
from experiments.studies import Run

ROOT = Path(__file__).parents[1]
# Whatever asks for Ray is to fail rather than start one.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "RAY_ENABLE_AUTO_CONNECT": "0"}
_TRIES = 3  # of a run whose process fails
_LOOK_S = 1.0  # between looks at the processes
_STOPPING = (signal.SIGINT, signal.SIGTERM)
_TELL_S = 600.0  # between lines on how far runs are


@dataclass(frozen=True)
class Job:
    """A run, and where it leaves what.

    Attributes:
        run: what is trained.
        folder: of the run while it is under way.
        path: the CSV file of its study.
        distance: agent steps between the rows that the file keeps.
    """

    run: Run
    folder: Path
    path: Path
    distance: float

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.run.study} {self.run.variant} seed {self.run.seed}"

    def far(self) -> str:
        """How far it is, for people."""
        rows = rows_in(self.folder / "rows.csv")
        if not rows:
            return f"{self.name}: not begun"
        last = rows[-1]
        return (
            f"{self.name}: {int(last['agent_steps']):,} of {self.run.budget:,} agent steps, "
            f"mean return {last['return_mean'] or '-'}, {float(last['cpu_s']) / 60:.1f} core-minutes"
        )


@dataclass
class Outcome:
    """How a schedule ended.

    Attributes:
        done: names of runs that came to their end.
        failed: names of runs whose process failed again and again.
        left: runs that are not done.
        signal: what stopped it, 0 where nothing did.
    """

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    left: int = 0
    signal: int = 0


class Schedule:
    """Runs in their order.

    Args:
        jobs: in order; what their studies' files have is left out.
        at_once: processes at a time.
        seconds: after so many every run saves a checkpoint and stops.
        checkpoint_s: seconds between the checkpoints of a run.
        say: is told what happens.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        at_once: int,
        seconds: float,
        checkpoint_s: float,
        say: Callable[[str], None],
    ) -> None:
        self._waiting = [job for job in jobs if not is_kept(job.path, job.run)]
        self._at_once, self._checkpoint_s, self._say = at_once, checkpoint_s, say
        self._deadline = time.monotonic() + seconds
        self._running: dict[Job, subprocess.Popen[bytes]] = {}
        self._failures: Counter[Job] = Counter()
        self._outcome = Outcome()

    def carry_out(self) -> Outcome:
        """Blocks until it is over. Ctrl-C and SIGTERM stop it as the time limit does."""
        before = {number: signal.signal(number, self._told) for number in _STOPPING}
        told = time.monotonic()
        self._say(f"{len(self._waiting)} runs are to be done, {self._at_once} at a time")
        try:
            while self._running or (self._waiting and not self._is_over):
                self._start()
                time.sleep(_LOOK_S)
                self._collect()
                if self._is_over:
                    self._stop()
                if time.monotonic() - told >= _TELL_S:
                    told = time.monotonic()
                    for job in self._running:
                        self._say(job.far())
        finally:
            for process in self._running.values():
                process.terminate()
            for number, handler in before.items():
                signal.signal(number, handler)
        self._outcome.left = len(self._waiting)
        return self._outcome

    def _told(self, number: int, _frame: FrameType | None) -> None:
        self._outcome.signal = number

    @property
    def _is_over(self) -> bool:
        return self._outcome.signal != 0 or time.monotonic() >= self._deadline

    def _start(self) -> None:
        while self._waiting and len(self._running) < self._at_once and not self._is_over:
            job = self._waiting.pop(0)
            describe(job.run, job.folder, self._checkpoint_s)
            self._say(f"starts  {job.far()}")
            environment = {**os.environ, **_ENVIRONMENT}
            with (job.folder / "log.txt").open("ab") as log:
                command = [sys.executable, "-m", "experiments.long_runs", str(job.folder)]
                self._running[job] = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    def _stop(self) -> None:
        """Every run saves and ends, which may take an iteration's time."""
        for process in self._running.values():
            process.terminate()
        for job, process in self._running.items():
            process.wait()
            self._say(f"stopped {job.far()}")
        self._collect()

    def _collect(self) -> None:
        for job, process in list(self._running.items()):
            code = process.poll()
            if code is None:
                continue
            del self._running[job]
            rows = rows_in(job.folder / "rows.csv")
            if code == 0 and rows and int(rows[-1]["agent_steps"]) >= job.run.budget:
                keep(job.path, job.run, rows, job.distance)
                note(job.path.parent)
                self._outcome.done.append(job.name)
                self._say(f"done    {job.far()}")
            elif code == 0 or (self._is_over and -code in _STOPPING):  # before it had begun to listen
                self._waiting.append(job)
            else:
                self._failed(job, code)

    def _failed(self, job: Job, code: int) -> None:
        """A run that failed is tried again when the others have had their turn."""
        self._failures[job] += 1
        if self._failures[job] < _TRIES:
            self._waiting.append(job)
        else:
            self._outcome.failed.append(job.name)
        self._say(f"failed  {job.name}: exit code {code}, see {job.folder / 'log.txt'}")


def job_of(run: Run, work: Path, study: Path, distance: float) -> Job:
    """The job of a run of a study.

    Args:
        run: what is to be trained.
        work: folder of all runs under way.
        study: folder of the study, with a CSV file per task.
        distance: agent steps between the rows that are kept.
    """
    return Job(run, work / run.study / "-".join(key_of(run)), study / f"{run.study}.csv", distance)
