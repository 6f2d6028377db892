"""How long the `rllib` command takes to answer: help, lists, a check, and the first iteration of a training.

    python -m benchmarks.cli --against /path/of/another/checkout

Each command runs in a process of its own, the contenders' in turn; the median of the rounds counts. CPU is that of the
process and of children that it has waited for (not Ray's). Wall clock means something on an idle machine only.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.harness import ROOT, arguments, commit_of, publish

_TRAIN = ("train", "file", "deep_sea_rnd", "--stop", "iteration=1")
#: What is asked.
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("--help",),
    ("train", "--help"),
    ("list",),
    ("list", "rewards"),
    ("check", "deep_sea_rnd"),
    _TRAIN,
)
#: Lines whose coming counts too, before the end.
MARKS: dict[str, Callable[[str], bool]] = {
    "first line": lambda _: True,
    "first iteration": lambda line: "|" in line and " agent steps/s" in line,
}


@dataclass
class Times:
    """Seconds of a command in each round: CPU, and by mark when it came."""

    cpu: list[float] = field(default_factory=list)
    wall: dict[str, list[float]] = field(default_factory=dict)


def run(checkout: Path, command: tuple[str, ...], times: Times) -> None:
    """Runs a command of a checkout in a folder of its own."""
    program = f"import sys; sys.argv = ['rllib', *{command!r}]; from rllib_rnd.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONUNBUFFERED": "1"}
    with tempfile.TemporaryDirectory() as folder:
        before, started, seen = os.times(), time.perf_counter(), dict[str, float]()
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            for mark, counts in MARKS.items():
                if mark not in seen and counts(line):
                    seen[mark] = time.perf_counter() - started
        if process.wait():
            raise SystemExit(f"cli.py: rllib {' '.join(command)} of {checkout} failed")
        seen["end"] = time.perf_counter() - started
        after = os.times()
    times.cpu.append(after.children_user + after.children_system - before.children_user - before.children_system)
    for mark, seconds in seen.items():
        times.wall.setdefault(mark, []).append(seconds)


def main() -> None:
    """Times all commands and keeps the table."""
    options = arguments(__doc__, rounds=3, against="")
    checkouts = {"here": ROOT} | ({"before": Path(options.against).resolve()} if options.against else {})
    rows: list[dict[str, object]] = []
    for command in COMMANDS:
        found = {label: Times() for label in checkouts}
        for _ in range(options.rounds):
            for label, checkout in checkouts.items():
                run(checkout, command, found[label])
        for mark in (*MARKS, "end") if command == _TRAIN else ("end",):
            row: dict[str, object] = {"command": f"`rllib {' '.join(command)}`", "to": mark}
            for label, times in found.items():
                row[f"{label}: CPU s"] = statistics.median(times.cpu) if mark == "end" else ""
                row[f"{label}: wall s"] = statistics.median(times.wall[mark])
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    notes = f"Medians of {options.rounds} rounds. CPU without Ray's own processes."
    if options.against:
        notes += f" Before: commit {commit_of(checkouts['before'])}."
    publish("cli", "How long the command takes to answer", rows, notes)


if __name__ == "__main__":
    main()
