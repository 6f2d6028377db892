"""Places the faults of a schedule in a running training."""

from __future__ import annotations

import contextlib
import resource
import signal
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.soaking.processes import psutil
from benchmarks.soaking.schedule import Fault
from benchmarks.soaking.training import SAMPLE_TIMEOUT_S, Saved, Training

#: Kinds after which the driver must end, and the exit code that is documented; None: any.
ENDS_DRIVER: dict[str, int | None] = {
    "kill_driver": -signal.SIGKILL,
    "corrupt_checkpoint": -signal.SIGKILL,
    "end_driver": 128 + signal.SIGTERM,
    "kill_control": 1,
}
#: Kinds that Tune answers by starting the trial again, within the same driver.
ENDS_TRIAL = ("kill_learner", "kill_trial")
#: Seconds within which the driver must end.
END_S = {"end_driver": 30.0, "kill_control": 180.0}


@dataclass
class Placed:
    """A fault that was placed.

    Attributes:
        fault: of the schedule.
        target: what was hit, for the table.
        saved: good checkpoints at that moment.
        undo: ends what lasts.
    """

    fault: Fault
    target: str = ""
    saved: list[Saved] = field(default_factory=list)
    undo: Callable[[], object] = lambda: None

    @property
    def hold_s(self) -> float:
        """How long it lasts."""
        return SAMPLE_TIMEOUT_S * 1.5 if self.fault.kind == "hang_runner" else self.fault.hold_s


def place(fault: Fault, training: Training) -> Placed:
    """Places a fault now."""
    assert training.processes is not None
    kind = fault.kind
    placed = Placed(fault, saved=training.saved())
    if kind in ("kill_driver", "corrupt_checkpoint"):
        placed.target = _signal([training.processes.driver], signal.SIGKILL)
    elif kind == "end_driver":
        placed.target = _signal([training.processes.driver], signal.SIGTERM)
    elif kind in ("kill_all_runners", "kill_learner", "kill_trial", "kill_control"):
        role = {"kill_all_runners": "runner", "kill_control": "control process"}.get(kind, kind.removeprefix("kill_"))
        placed.target = _signal(training.processes.of_role(role), signal.SIGKILL)
    elif kind in ("kill_runner", "stop_runner", "hang_runner"):
        runners = training.processes.of_role("runner")
        one = runners[int(fault.choice * len(runners)) :][:1]
        placed.target = _signal(one, signal.SIGKILL if kind == "kill_runner" else signal.SIGSTOP)
        placed.undo = lambda: _signal(one, signal.SIGCONT)
    elif kind == "lock_store":
        placed.target, placed.undo = training.store.name, _locked(training.store)
    elif kind == "full_disk":
        hit = training.processes.of_role("trial") + training.processes.of_role("learner")
        placed.target, placed.undo = " ".join(str(p.pid) for p in hit), _full_disk(hit)
    return placed


def _signal(processes: list[psutil.Process], number: signal.Signals) -> str:
    sent = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)
            sent.append(str(process.pid))
    return " ".join(sent)


def _locked(store: Path) -> Callable[[], object]:
    """Takes the database for itself; what gives it back."""
    connection = sqlite3.connect(store, timeout=30.0, isolation_level=None)
    connection.execute("begin exclusive")
    return connection.close  # which rolls back


def _full_disk(processes: list[psutil.Process]) -> Callable[[], object]:
    """Lets no file of these processes grow beyond 1 kB: writes fail half-way, as on a disk that is full."""
    before = {}
    for process in processes:
        with contextlib.suppress(psutil.Error):
            before[process] = process.rlimit(resource.RLIMIT_FSIZE)
            process.rlimit(resource.RLIMIT_FSIZE, (1000, before[process][1]))

    def undo() -> None:
        for process, limits in before.items():
            with contextlib.suppress(psutil.Error):
                process.rlimit(resource.RLIMIT_FSIZE, limits)

    return undo


def flip_byte(folder: Path) -> str:
    """Flips one bit in the middle of a checkpoint's largest file; returns the file's name."""
    largest = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    with largest.open("r+b") as file:
        file.seek(largest.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    return str(largest.relative_to(folder))
