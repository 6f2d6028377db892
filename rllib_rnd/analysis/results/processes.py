"""Whether the process that trains a run is still there."""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path

_CLOCK_S = 60.0  # by which the clock may have been set since
_RECENT_S = 600.0  # a run of another machine that has written within so many seconds still runs


def state_of_process(host: str, pid: object, written: float | None) -> str:
    """How a run without an end stands.

    Args:
        host: name of the machine that wrote its last result.
        pid: number of the process that did.
        written: when, seconds since 1970.

    Returns:
        ``running`` or ``crashed`` where the process was one of this machine; of another machine ``running`` if it was
        heard of lately, else ``unknown``.
    """
    if host == socket.gethostname() and isinstance(pid, int):
        return "running" if _lives(pid, written or 0.0) else "crashed"
    return "running" if written is not None and time.time() - written < _RECENT_S else "unknown"


def _lives(pid: int, written: float) -> bool:
    """Whether the number is taken, and by a process that was there when the result was written."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # another user's
    began = _began(pid)  # numbers are given again
    return began is None or began <= written + _CLOCK_S


def _began(pid: int) -> float | None:
    """When a process began, seconds since 1970; None where the system does not tell."""
    try:
        boot = re.search(r"^btime (\d+)", Path("/proc/stat").read_text(encoding="ascii"), re.MULTILINE)
        # What stands behind the name, which is in brackets and may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return None if boot is None else int(boot[1]) + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return None
