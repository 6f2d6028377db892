"""py-spy at work: where processes are, which of them may be looked into, and flame graphs of them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import ray

_ANYBODY, _LET_TRACE = ctypes.c_ulong(-1), 0x59616D61  # prctl's PR_SET_PTRACER_ANY, PR_SET_PTRACER


def py_spy() -> str | None:
    """The program, if it is installed."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.is_file() else shutil.which("py-spy")


class Place(NamedTuple):
    """Where a process is: the node by Ray's name for it, and its number there."""

    node: str
    pid: int


def place_of_process(*_: object) -> Place:
    """Of this process, which lets py-spy look into it from now on: where the kernel asks, only a parent may else."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_LET_TRACE, _ANYBODY, 0, 0, 0)
    return Place(ray.get_runtime_context().get_node_id(), os.getpid())


class Flames:
    """py-spy at work on some processes of this machine.

    Args:
        program: py-spy.
        pids: by name.
        folder: of the graphs.
        seconds: that are watched.
    """

    def __init__(self, program: str, pids: Mapping[str, int], folder: Path, seconds: float) -> None:
        self.files = {name: folder / f"flames_{name.replace(' ', '_')}.svg" for name in pids}
        options = ["--duration", str(max(1, round(seconds))), "--rate", "100", "--threads"]
        self._running = {
            name: subprocess.Popen(
                [program, "record", "--pid", str(pid), *options, "--output", str(self.files[name])],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for name, pid in pids.items()
        }

    @property
    def ended(self) -> bool:
        """Whether all are done."""
        return all(process.poll() is not None for process in self._running.values())

    def end(self) -> dict[str, str]:
        """Has them write what they have; returns, by name, why there is no graph where there is none."""
        missing = {}
        for process in self._running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for name, process in self._running.items():
            try:
                _, errors = process.communicate(timeout=20.0)
            except subprocess.TimeoutExpired:
                process.kill()
                _, errors = process.communicate()
            if not self.files[name].is_file():
                missing[name] = (errors.strip().splitlines() or ["py-spy says nothing"])[-1]
        return missing
