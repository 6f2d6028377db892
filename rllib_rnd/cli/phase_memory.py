"""How much memory processes take in each phase of a training, and how long the phases are."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_READ_EVERY_S = 0.01


@dataclass
class PhaseMemory:
    """The most memory that each process had in each phase, read a hundred times a second, and how long phases took.

    Attributes:
        pids: processes of this machine, by name.
        peaks: phase -> name -> bytes that are in memory (RSS; what processes share counts in each).
        seconds: phase -> of its last time, without the phases inside.
    """

    pids: Mapping[str, int]
    peaks: dict[str, dict[str, int]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    _phase: str = "built"
    _over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.read()
        self._thread = threading.Thread(target=self._read_on, name="memory by phase", daemon=True)
        self._thread.start()

    def _read_on(self) -> None:
        while not self._over.wait(_READ_EVERY_S):
            self.read()

    def read(self) -> None:
        """Reads it now."""
        peaks = self.peaks.setdefault(self._phase, {})
        for name, pid in self.pids.items():
            peaks[name] = max(peaks.get(name, 0), _resident(pid))

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """The block is this phase, in place of the one around it."""
        around, started, inside = self._phase, time.perf_counter(), dict(self.seconds)
        self._phase = name
        try:
            yield
            self.read()
        finally:
            self._phase = around
            within = sum(seconds for other, seconds in self.seconds.items() if inside.get(other) != seconds)
            self.seconds[name] = time.perf_counter() - started - within

    def stop(self) -> None:
        """Reads no more."""
        self._over.set()
        self._thread.join()


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):  # it has ended, or the system does not tell
        return 0
