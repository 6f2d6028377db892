"""Faults strike at the call that they are placed at, once, and are gone afterwards."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.placing import MARK, Fault, placed, processes_of, psutil


class Subject:
    def double(self, text: str) -> str:
        return text * 2

    @staticmethod
    def halve(text: str) -> str:
        return text[: len(text) // 2]


HERE = f"{__name__}:Subject"


def test_a_fault_strikes_at_its_call_once_for_all_processes_with_its_marker(tmp_path: Path) -> None:
    fault = Fault(f"{HERE}.double", call=2, act="raise", number=errno.ENOSPC, marker=str(tmp_path / "struck"))
    with placed(fault):
        assert Subject().double("a") == "aa"
        with pytest.raises(OSError, match=r"\[Errno 28\]"):
            Subject().double("a")
        assert Subject().double("a") == "aa"
    with placed(fault):  # as in another process: its second call, but the marker is there
        assert [Subject().double("a") for _ in range(3)] == ["aa"] * 3


def test_only_calls_with_the_named_argument_count_and_static_functions_stay_static() -> None:
    fault = Fault(f"{HERE}.halve", act="raise", on="b", after=True)
    with placed(fault):
        assert Subject.halve("aa") == "a"
        with pytest.raises(RuntimeError, match="placed"):
            Subject().halve("bb")
    assert Subject.halve("bb") == "b" and isinstance(Subject.__dict__["halve"], staticmethod)


def test_processes_of_a_run_are_found_by_its_mark_also_orphans() -> None:
    child = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'input()'], stdin=0).pid)"
    started = subprocess.Popen(
        [sys.executable, "-c", child],
        env={**os.environ, MARK: "this-test"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None and started.stdin is not None
    orphan = int(started.stdout.readline())
    started.wait(30)
    assert [process.pid for process in processes_of("this-test", "input()")] == [orphan]
    assert processes_of("this-test", "raylet") == []
    started.stdin.close()
    psutil.wait_procs([psutil.Process(orphan)] if psutil.pid_exists(orphan) else [], timeout=30)
