"""What a store of runs is told of a run besides its results, and by what it knows the run again when it goes on."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ray.tune.experiment import Trial

from rllib_rnd.tracking.labels import trial_label


@dataclass(frozen=True)
class RunIdentity:
    """One run, which may be a sweep of many trials.

    Attributes:
        name: short name, that of its folder.
        key: of this run alone, the same whenever it goes on.
        sweep: it has several trials.
        source: the experiment's file.
        tags: what is known of it: file, folder, command, commit, versions, hardware.
    """

    name: str
    key: str
    sweep: bool = False
    source: Path | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def trial_name(self, trial: Trial) -> str:
        """The label that the terminal shows: what the trial draws, or the run's name."""
        return trial_label(getattr(trial, "evaluated_params", None) or {}) or self.name

    def trial_key(self, trial: Trial) -> str:
        """Key of a trial. A lone trial that goes on is a new one for Tune, one of a sweep is the same."""
        return f"{self.key}/{trial.trial_id}" if self.sweep else self.key

    def short_key(self, trial: Trial) -> str:
        """The same in 16 letters and digits, for stores that take little."""
        return hashlib.sha256(self.trial_key(trial).encode()).hexdigest()[:16]


def this_process() -> str:
    """Returns what tells this process from every other: ``host:pid:start``; "" where that cannot be known."""
    started = _started(os.getpid())
    return f"{socket.gethostname()}:{os.getpid()}:{started}" if started else ""


def has_ended(process: str) -> bool:
    """Whether a process, as `this_process` names it, was one of this machine and is there no more."""
    host, _, rest = process.rpartition(":")[0].rpartition(":")
    if host != socket.gethostname() or not rest.isdigit() or not _started(os.getpid()):
        return False
    return _started(int(rest)) != process.rpartition(":")[2]


def _started(pid: int) -> str:
    """When a process began, as no other process of that number did: the boot and its clock ticks since; "" if none."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # What stands behind the name, which is in brackets and may hold anything; the state comes first.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else f"{boot[:8]}-{fields[19]}"
