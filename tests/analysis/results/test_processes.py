"""Whether the process that trains a run is still there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rllib_rnd.analysis.results.processes import state_of_process

HERE = socket.gethostname()
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="when a process began is told by /proc")


def test_this_process_lives() -> None:
    assert state_of_process(HERE, os.getpid(), time.time()) == "running"


def test_one_that_has_written_long_ago_and_lives_still_runs() -> None:
    """A long iteration: it was there when it wrote, and is there now."""
    assert state_of_process(HERE, os.getppid(), time.time()) == "running"
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    time.sleep(1.1)  # what the file system says of /proc/PID is the time of the first look
    assert state_of_process(HERE, child.pid, time.time() - 1.0) == "running"
    child.communicate(b"\n")
    assert state_of_process(HERE, child.pid, time.time()) == "crashed"


@needs_proc
def test_a_younger_process_of_the_same_number_is_another() -> None:
    assert state_of_process(HERE, os.getpid(), time.time() - 1e6) == "crashed"


@pytest.mark.parametrize(("silent_s", "state"), [(10.0, "running"), (1e5, "unknown")])
@pytest.mark.parametrize(("host", "pid"), [("elsewhere", 1), ("elsewhere", None), (HERE, None), (HERE, "text")])
def test_of_what_is_not_known_here_the_last_result_tells(host: str, pid: object, silent_s: float, state: str) -> None:
    assert state_of_process(host, pid, time.time() - silent_s) == state


def test_no_time_is_no_sign_of_life() -> None:
    assert state_of_process("elsewhere", 1, None) == "unknown"
