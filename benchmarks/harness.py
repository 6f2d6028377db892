"""What the benchmarks share: contenders that take turns in one call, the machine's own speed, tables.

Machines drift, so only ratios measured side by side count. Every contender is a process of its own that sets
itself up once and then runs one iteration whenever it is told to; `race` lets them take turns.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

HERE = Path(__file__).parent
ROOT = HERE.parent
PACKAGES = ("ray", "torch", "gymnasium", "ale-py", "numpy", "opencv-python")


def serve(iterate: Callable[[], dict[str, float]]) -> None:
    """Runs ``iterate`` once for each line on standard input and answers with its numbers as JSON.

    Peak memory of the process, and on the GPU if it uses one (MiB), is added. Everything else that the process prints
    goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for _ in sys.stdin:
        started = time.perf_counter()
        numbers = iterate()
        numbers.setdefault("seconds", time.perf_counter() - started)
        numbers["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if torch.cuda.is_initialized():
            numbers["gpu_peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
        answers.write(json.dumps(numbers) + "\n")
        answers.flush()


@dataclass
class Contender:
    """One process of a race.

    Attributes:
        name: its row in the table.
        command: arguments of the interpreter, ``-m`` and a module that calls `serve`, and its flags.
        environment: variables set for it only.
        folder: where it runs.
    """

    name: str
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path = ROOT
    rounds: list[dict[str, float]] = field(default_factory=list)

    def start(self) -> None:
        """Starts the process; its set-up runs while others start."""
        self._process = subprocess.Popen(
            [sys.executable, *self.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**os.environ, **self.environment},
        )

    def turn(self) -> dict[str, float]:
        """One iteration.

        Raises:
            RuntimeError: the process ended.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.name}: the process ended with code {self._process.wait()}.")
        numbers: dict[str, float] = json.loads(answer)
        return numbers

    def stop(self) -> None:
        """Ends the process by ending its input."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def median(self, key: str) -> float:
        """Median over the rounds."""
        return statistics.median(r[key] for r in self.rounds if key in r)


def race(contenders: Sequence[Contender], rounds: int, warmup: int = 1) -> None:
    """Lets the contenders take turns, ``warmup`` unmeasured rounds first; results are in their ``rounds``."""
    for contender in contenders:
        contender.start()
    try:
        for i in range(warmup + rounds):
            for contender in contenders:
                numbers = contender.turn()
                if i >= warmup:
                    contender.rounds.append(numbers)
            print(f"round {i + 1} of {warmup + rounds}", file=sys.stderr, flush=True)
    finally:
        for contender in contenders:
            contender.stop()


def matmul_rate(seconds: float = 1.0, device: str = "cpu") -> float:
    """GFLOP/s of large float32 matrix products on a device now."""
    size = 1024 if device == "cpu" else 8192
    a, b = torch.randn(2, size, size, device=device)
    torch.mm(a, b)[0, 0].item()
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        torch.mm(a, b)[0, 0].item()  # waits for the device
        count += 1
    return count * 2 * size**3 / (time.perf_counter() - started) / 1e9


def commit_of(folder: Path) -> str:
    """The version of a checkout as git names it; empty without git."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout.strip()


def versions() -> dict[str, str]:
    """Of the packages whose speed counts."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def machine() -> dict[str, object]:
    """Hardware, versions, commit, and the command that is running."""
    return {
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "matmul_gflops": round(matmul_rate(), 1),
        "python": platform.python_version(),
        "versions": versions(),
        "commit": commit_of(ROOT),
        "command": f"python {shlex.join(sys.orig_argv[1:])}",
    }


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Markdown table of rows with the same keys."""
    keys = list(rows[0])
    lines = ["| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
    lines += ["| " + " | ".join(_cell(row[key]) for key in keys) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
    return str(value)


def publish(name: str, title: str, rows: Sequence[Mapping[str, object]], notes: str = "") -> None:
    """Prints the table and keeps it as ``results/<name>.md`` and ``.json`` with hardware and versions.

    The variable ``BENCHMARK_RESULTS`` names another folder.
    """
    facts = machine()
    packages = ", ".join(f"{k} {v}" for k, v in versions().items())
    text = (
        f"# {title}\n\n{table(rows)}\n\n{notes}{chr(10) * 2 if notes else ''}"
        f"{facts['cores']} cores ({facts['processor']}), GPU: {facts['gpu']}, matmul {facts['matmul_gflops']} GFLOP/s; "
        f"Python {facts['python']}, {packages}; commit {facts['commit']}.\n\n    {facts['command']}\n"
    )
    folder = Path(os.environ.get("BENCHMARK_RESULTS", HERE / "results"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    (folder / f"{name}.json").write_text(json.dumps({"machine": facts, "rows": list(rows)}, indent=1) + "\n")
    print(text)


def arguments(description: str | None, **defaults: bool | float | str | list[int] | list[str]) -> argparse.Namespace:
    """Parses ``--name value`` for each default; lists take several values."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    for name, value in defaults.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            parser.add_argument(flag, action="store_true")
        elif isinstance(value, list):
            parser.add_argument(flag, nargs="+", type=type(value[0]), default=value)
        else:
            parser.add_argument(flag, type=type(value), default=value)
    return parser.parse_args()
