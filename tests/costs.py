"""What each test file costs, and by that: the dearest first, and as many as fit into a budget.

    make test PYTEST_ARGS=--write-costs     measures all files, and writes tests/costs.json
    make test-fast                          what fits into a budget of CPU seconds (--budget), see `chosen`

A cost is in seconds of CPU, of pytest and of all that it starts, Ray's processes too: it does not depend on what else
the machine does. A file's first test pays for what all files of a pytest process share, such as Ray's start.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILE = Path(__file__).with_name("costs.json")
#: Of a file that nobody has measured yet.
UNKNOWN_S = 3.0


def known_costs() -> dict[str, float]:
    """CPU seconds by test file, as of the last measurement."""
    found: dict[str, float] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def changed_files() -> set[str]:
    """What differs from the main branch, committed or not; nothing where that cannot be told."""
    commands = (["git", "diff", "--name-only", "main"], ["git", "ls-files", "--others", "--exclude-standard"])
    found: set[str] = set()
    for command in commands:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        found |= set(done.stdout.split()) if done.returncode == 0 else set()
    return found


def is_about(test: str, changed: Collection[str]) -> bool:
    """Whether a test file has changed, or stands in the mirrored place of a source file that has, or names it."""
    if test in changed:
        return True
    sources = [Path(path) for path in changed if path.startswith("rllib_rnd/") and path.endswith(".py")]
    folder, text = Path(test).parent, (ROOT / test).read_text(encoding="utf-8")
    for source in sources:
        module = ".".join(source.with_suffix("").parts)
        mirrored = folder == Path("tests", *source.parts[1:-1]) and source.stem in Path(test).stem
        if mirrored or f"{module} import" in text or f"{module}:" in text:
            return True
    return False


def chosen(files: Collection[str], costs: Mapping[str, float], budget: float, changed: Collection[str]) -> list[str]:
    """Which test files fit into a budget of CPU seconds: those about what has changed first, then the cheapest."""
    about = {test for test in files if is_about(test, changed)}
    found, left = [], budget
    for test in sorted(files, key=lambda test: (test not in about, costs.get(test, UNKNOWN_S), test)):
        cost = costs.get(test, UNKNOWN_S)
        if cost <= left:
            found.append(test)
            left -= cost
    return found


# --- measuring --------------------------------------------------------------------------------------------------------


def cpu_seconds() -> float:
    """CPU that this process has taken, with all that it has started and that still runs or was waited for."""
    tick, spent = os.sysconf("SC_CLK_TCK"), dict[int, tuple[int, float]]()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(") ")[2].split()
            spent[int(stat.parent.name)] = int(fields[1]), sum(map(int, fields[11:15])) / tick
    own, found = {os.getpid()}, 0.0
    while new := {pid for pid, (parent, _) in spent.items() if parent in own} - own:
        own |= new
    for pid in own & spent.keys():
        found += spent[pid][1]
    return found


class Costs:
    """Measures the files that a pytest process runs."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._file, self._before = "", 0.0

    def enter(self, file: str) -> None:
        """The next test is of this file; "": there is none."""
        if file == self._file:
            return
        now = cpu_seconds()
        if self._file:
            self.seconds[self._file] = self.seconds.get(self._file, 0.0) + max(0.0, now - self._before)
        self._file, self._before = file, now


# --- pytest -----------------------------------------------------------------------------------------------------------

_COSTS = pytest.StashKey[Costs]()
#: Test files that fit into the budget; not there without one.
_KEPT = pytest.StashKey[frozenset[str]]()


def files_of(arguments: Collection[str]) -> set[str]:
    """The test files that pytest would collect of its arguments."""
    found: set[Path] = set()
    for argument in arguments:
        place = (ROOT / argument.partition("::")[0]).resolve()
        found |= set(place.rglob("test_*.py")) if place.is_dir() else {place}
    return {str(file.relative_to(ROOT)) for file in found}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("costs")
    group.addoption("--budget", type=float, metavar="SECONDS", help="only test files that fit into so much CPU")
    group.addoption("--write-costs", action="store_true", help=f"measure all files and write {FILE.name}")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_COSTS] = Costs()
    budget = config.getoption("--budget")
    if budget is not None:
        config.stash[_KEPT] = frozenset(chosen(files_of(config.args), known_costs(), budget, changed_files()))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What does not fit into the budget is not even imported."""
    kept = config.stash.get(_KEPT, None)
    if kept is None or not collection_path.match("test_*.py"):
        return None
    return str(collection_path.relative_to(ROOT)) not in kept or None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The dearest files first: a worker that gets one last has the others wait for it."""
    costs = known_costs()
    file_of = {item: item.nodeid.partition("::")[0] for item in items}
    items.sort(key=lambda item: -costs.get(file_of[item], UNKNOWN_S))  # keeps the order in a file


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if item.config.getoption("--write-costs"):
        item.config.stash[_COSTS].enter(item.nodeid.partition("::")[0])


def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    if not config.getoption("--write-costs"):
        return
    costs = config.stash[_COSTS]
    costs.enter("")
    if hasattr(config, "workeroutput"):  # a worker of xdist
        config.workeroutput["costs"] = costs.seconds
        return
    measured = {name: round(seconds, 1) for name, seconds in costs.seconds.items()}
    if measured:
        there = {name: cost for name, cost in known_costs().items() if (ROOT / name).is_file()}
        FILE.write_text(json.dumps(there | measured, indent=1, sort_keys=True) + "\n", encoding="utf-8")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """In xdist's controller: what a worker has measured."""
    costs = node.config.stash[_COSTS].seconds
    for name, seconds in getattr(node, "workeroutput", {}).get("costs", {}).items():
        costs[name] = costs.get(name, 0.0) + seconds
