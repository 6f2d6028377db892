"""Lets a small training run for hours under random faults, and looks for what is lost, wrong or leaks.

A training with two remote runners and a remote learner is started by ``rllib train``. A killer places faults from
a seeded schedule, resumes what has ended, and checks after each that nothing was lost beyond the last checkpoint.
Memory, handles, threads and shared memory of all processes are sampled. Without faults it shows leaks alone, and the
price.

    python -m benchmarks.soak --hours 1 --out /tmp/soak
    python -m benchmarks.soak --hours 1 --out /tmp/soak_still --no-faults

``--out`` of an earlier call goes on there until its hours are full. `soak.csv` holds the samples, `machine.csv` those
of the machine, `faults.csv` the faults, `soak.md`, `soak.json` and `soak.png` what came out. Exit code 1: something was
wrong. ``--publish FAULTS STILL`` puts two such folders into ``docs/reliability.md``.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.soaking.keeping import State, append, rounded
from benchmarks.soaking.killer import END_S, ENDS_DRIVER, ENDS_TRIAL, Placed, flip_byte, place
from benchmarks.soaking.processes import alive, folder_mib, object_store, psutil, shared_memory_mib
from benchmarks.soaking.publish import publish
from benchmarks.soaking.report import write_report
from benchmarks.soaking.rows import Recovery, Results, problems_of_iterations, problems_of_rows, recovery
from benchmarks.soaking.schedule import schedule
from benchmarks.soaking.training import ORPHANS_S, Training
from rllib_rnd.analysis.results.rows import joined, read_rows

_SAMPLE_S, _POLL_S, _FOLDER_S = 5.0, 0.25, 60.0
_PATIENCE_S = 900.0  # for the next iteration
_STARTS = 10  # tries in a row: on a machine that is short of time Ray gives up starting after 30 s
_FULL_PATIENCE_S = 300.0  # for all runners to be back
_STORE_PATIENCE_S = 90.0  # for MLflow's store to have all rows, at the end


class TimeOverError(Exception):
    """The soak itself is to end: by a signal, or because its time is over."""


class Soak:
    """A soak in a folder.

    Args:
        out: of everything.
        hours: of training, with what the folder holds already.
        seed: of the schedule.
        faults: place faults.
    """

    def __init__(self, out: Path, hours: float, seed: int, faults: bool) -> None:
        self.training = Training(out)
        self.results = Results(self.training.folder)
        self.out, self.seed, self.faults = out, seed, faults
        self.state = State.read(out)
        self.offset = self.state.seconds
        self.end = hours * 3600.0
        self.began = time.monotonic()
        self.life = self.state.lives - 1
        self.ending = False
        self._next_sample = self._next_folder = 0.0
        self._folder_mib = 0.0
        self._held: tuple[float, Callable[[], object]] = (math.inf, lambda: None)  # when a lasting fault ends, and how

    def _keep_state(self) -> None:
        self.state.seconds, self.state.lives = self.now, self.life + 1
        (self.out / "state.json").write_text(json.dumps(dataclasses.asdict(self.state), indent=1))

    @property
    def now(self) -> float:
        """Seconds of the soak, over all calls."""
        return self.offset + time.monotonic() - self.began

    def problem(self, text: str) -> None:
        """Notes what is wrong, once."""
        if text not in [known for _, known in self.state.problems]:
            self.state.problems.append((round(self.now), text))
            print(f"{self.now:7.0f} s  WRONG: {text}", flush=True)

    def look(self) -> None:
        """Reads new results and samples if it is time.

        Raises:
            TimeOverError: the time is over.
        """
        self.results.update()
        if self.now >= self._held[0]:
            self._release()
        if self.now >= self._next_sample:
            self._next_sample = self.now + _SAMPLE_S
            self._sample()
            self._keep_state()
        if self.now >= self.end and not self.ending:
            raise TimeOverError

    def _sample(self) -> None:
        processes = self.training.processes
        rows = [] if processes is None else processes.sample()
        stamp = {"t": round(self.now, 1), "life": self.life}
        append(self.out / "soak.csv", [{**stamp, **rounded(row)} for row in rows])
        if self.now >= self._next_folder:
            self._next_folder, self._folder_mib = self.now + _FOLDER_S, folder_mib(self.training.storage)
        last = self.results.rows[-1] if self.results.rows else None
        machine = {
            "iteration": self.results.last,
            "agent_steps": last.agent_steps if last else 0,
            **object_store(processes),
            "shm_mib": shared_memory_mib(),
            "storage_mib": self._folder_mib,
            "orphans": self.training.orphans(),
            "load": os.getloadavg()[0],
        }
        append(self.out / "machine.csv", [{**stamp, **rounded(machine)}])

    def sleep(self, seconds: float) -> None:
        """Lets the training train."""
        until = self.now + seconds
        while self.now < until:
            self.look()
            if self.training.code is not None:
                return
            time.sleep(_POLL_S)

    def start(self) -> None:
        """Starts a driver and waits for its first result.

        Raises:
            RuntimeError: none came, again and again.
        """
        for _ in range(_STARTS):
            self.life += 1
            count = len(self.results.rows)
            self.training.start()
            until = self.now + _PATIENCE_S
            while self.now < until and self.training.code is None:
                self.look()
                if len(self.results.rows) > count:
                    return
                time.sleep(_POLL_S)
            how = "did not train" if self.training.code is None else f"ended with code {self.training.code}"
            load = f"load of the machine {os.getloadavg()[0]:.0f}"
            self.problem(f"driver {self.life} {how} within {_PATIENCE_S:.0f} s of its start ({load})")
            self.training.kill()
        raise RuntimeError(f"the training cannot be started; see {self.out / 'driver.log'}")

    def run(self) -> None:
        """Runs until the hours are full."""
        self.results.update()
        self._close_earlier()
        faults = itertools.islice(schedule(self.seed), self.state.faults, None)
        try:
            self.start()
            while True:
                if not self.faults:
                    self.sleep(60.0)
                    self._unasked_end()
                    continue
                fault = next(faults)
                self.sleep(fault.wait_s)
                self._unasked_end()
                self.state.faults = fault.number + 1
                self._suffer(place(fault, self.training))
        except (TimeOverError, KeyboardInterrupt):
            pass
        self._finish()

    def _close_earlier(self) -> None:
        """Ends a driver that a former call has left behind."""
        file = self.out / "driver.pid"
        if file.is_file() and psutil.pid_exists(int(file.read_text())):
            process = psutil.Process(int(file.read_text()))
            if str(self.training.storage) in process.cmdline():
                process.terminate()
                psutil.wait_procs([process], timeout=90.0)
                if alive(process):
                    process.kill()

    def _unasked_end(self) -> None:
        if self.training.code is not None:
            self.problem(f"driver {self.life} ended unasked with code {self.training.code}")
            self._restart()

    def _restart(self, corrupt: bool = False) -> str:
        """After a driver's end: what it left must be right; then a new one goes on.

        Args:
            corrupt: flip a byte of the newest checkpoint first.

        Returns:
            The file with the flipped byte.
        """
        self.results.update()
        self.check()
        saved, count, flipped = self.training.saved(), len(self.results.rows), ""
        good = saved
        if corrupt and len(saved) > 1:
            flipped, good = f"{saved[-1].folder.name}/{flip_byte(saved[-1].folder)}", saved[:-1]
        self._floor(good[-1].iteration if good else 0)
        self.start()
        if flipped and self.results.rows[count].iteration - 1 == saved[-1].iteration:
            self.problem("a resume took a checkpoint with a flipped byte")
        return flipped

    def _floor(self, iteration: int) -> None:
        """Notes that what begins next may not begin before this iteration."""
        self.state.floors[str(1 + sum(row.since == 1 for row in self.results.rows[1:]))] = iteration

    def _suffer(self, placed: Placed) -> None:
        """Sees a fault through until training is back, and writes down what it cost."""
        kind, began, clock, code = placed.fault.kind, self.now, time.time(), ""
        ended_s: float | None = None
        print(f"{began:7.0f} s  {kind} ({placed.target}) at iteration {self.results.last}", flush=True)
        self._held = (began + placed.hold_s, placed.undo)
        if kind in ENDS_TRIAL and placed.saved:
            self._floor(placed.saved[-1].iteration)
        if kind in ENDS_DRIVER:
            code, ended_s = self._end_of_driver(kind, began)
            placed.target += " " + self._restart(kind == "corrupt_checkpoint")

        def back() -> Recovery:
            return recovery(self.results.rows, clock, kind in ENDS_TRIAL or kind in ENDS_DRIVER)

        if not self._wait_for(lambda: back().next_s is not None, _PATIENCE_S):
            self.problem(f"no iteration within {_PATIENCE_S:.0f} s of {kind}")
            self.training.kill()
            self._restart()
        self._wait_for(lambda: None not in (back().back_s, back().full_s), _FULL_PATIENCE_S)
        self.sleep(began + placed.hold_s - self.now)
        self._release()
        found = back()
        row = {
            "t": began,
            "number": placed.fault.number,
            "kind": kind,
            "target": placed.target,
            "held_s": placed.hold_s,
            "iteration": found.last,
            "exit_code": code,
            "ended_s": ended_s,
            "next_iteration_s": found.next_s,
            "back_s": found.back_s,
            "all_runners_s": found.full_s,
            "iterations_lost": found.lost,
            "load": os.getloadavg()[0],
        }
        append(self.out / "faults.csv", [rounded(row)])
        self.check()

    def _release(self) -> None:
        """Ends a fault that lasts."""
        undo = self._held[1]
        self._held = (math.inf, lambda: None)
        undo()

    def _end_of_driver(self, kind: str, began: float) -> tuple[str, float]:
        code = self.training.wait(END_S.get(kind, 30.0), self.look)
        if code is None:
            load = f"load of the machine {os.getloadavg()[0]:.0f}"
            self.problem(f"driver {self.life} had not ended {END_S.get(kind, 30.0):.0f} s after {kind} ({load})")
            code = self.training.wait(120.0, self.look)
        seconds = self.now - began
        if code is None:
            self.training.kill()
            return "none", seconds
        wanted = ENDS_DRIVER[kind]
        if wanted is not None and code != wanted:
            self.problem(f"exit code {code} after {kind}, not {wanted}")
        self.results.update()
        return str(code), seconds

    def _wait_for(self, done: Callable[[], bool], patience_s: float) -> bool:
        """Lets the training train until something is so; returns whether it is."""
        until = self.now + patience_s
        while self.now < until:
            self.look()
            if done():
                return True
            self._unasked_end()
            time.sleep(_POLL_S)
        return False

    def check(self, end: bool = False) -> None:
        """What must be true of the rows, in Tune's files and in MLflow."""
        floors = {int(life): iteration for life, iteration in self.state.floors.items()}
        for text in problems_of_rows(self.results.rows, floors):
            self.problem(text)
        values = [
            row for path in self._result_files() for row in read_rows(path, ("iteration",), max_rows=10**9).values
        ]
        if values:
            for text in problems_of_iterations("result.json", joined(values)["iteration"].tolist()):
                self.problem(text)
        until = max((row.iteration for row in self.results.rows), default=0) if end else None
        try:
            for text in problems_of_iterations("MLflow", self.training.logged_iterations(), until):
                self.problem(text)
            if self.training.logged_runs() > 1:
                self.problem(f"MLflow holds {self.training.logged_runs()} runs of one training")
        except sqlite3.OperationalError as error:
            self.problem(f"MLflow's store cannot be read: {error}")
        orphans = self.training.outlived()
        if orphans:
            self.problem(f"processes outlived their driver by {ORPHANS_S:.0f} s: {', '.join(orphans)}")
        self._keep_state()

    def _result_files(self) -> list[Path]:
        return sorted(self.training.folder.glob("*/result.json"), key=lambda path: path.parent.name[-19:])

    def _finish(self) -> None:
        """Ends the training as a user would, checks all, and writes the report."""
        self.ending = True
        self._release()
        if self.training.code is None and self.training.processes is not None:
            self.training.send(signal.SIGTERM)
            code = self.training.wait(120.0, self.look)
            if code != 128 + signal.SIGTERM:
                self.problem(f"exit code {code} at the end, not {128 + signal.SIGTERM}")
            self.training.kill()
        self.results.update()
        until = self.now + _STORE_PATIENCE_S
        newest = max((row.iteration for row in self.results.rows), default=0)
        while self.now < until and max(self.training.logged_iterations(), default=0) < newest:
            time.sleep(1.0)
        self.check(end=True)
        write_report(self.out)


def main() -> int:
    """Soaks; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--hours", type=float, default=1.0, help="of training, with what --out holds already")
    parser.add_argument("--no-faults", action="store_true", help="only watch")
    parser.add_argument("--seed", type=int, default=0, help="of the schedule of faults")
    parser.add_argument("--out", type=Path, default=Path("/tmp/soak"), help="folder of everything; goes on there")
    parser.add_argument("--report-only", action="store_true", help="make table and figure of what --out holds")
    two = ("FAULTS", "STILL")
    parser.add_argument("--publish", type=Path, nargs=2, metavar=two, help="put the soaks of two folders into the docs")
    args = parser.parse_args()
    out = args.out.resolve()
    if args.publish:
        publish(*args.publish)
        return 0
    if args.report_only:
        write_report(out)
        return 0
    out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    soak = Soak(out, args.hours, args.seed, not args.no_faults)
    try:
        soak.run()
    finally:
        soak.training.kill()
    return 1 if soak.state.problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
