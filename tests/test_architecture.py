"""The house: imports point one way, in no circle; what a room may know is written down once, here."""

from __future__ import annotations

import ast
import functools
import graphlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rllib_rnd"

#: Rooms from the ground up. A room may import from those below it and from itself.
ROOMS = (
    "signals",
    "former_names",
    "errors",
    "redaction",
    "own_code",
    "machine",
    "options",
    "settings",
    "rllib_settings",
    "threads",
    "resources",
    "ray_logs",
    "functional",
    "rollout",
    "transport",
    "envs",
    "modules",
    "plugin",
    "plugin_contract",
    "intrinsic",
    "auxiliary",
    "module",
    "sampling",
    "training",
    "config_checks",
    "tracking",
    "checkpoints",
    "config",
    "checkpointed",
    "algorithm",
    "presets",
    "memory",
    "experiment",
    "export",
    "analysis",
    "cli",
    "__main__",
)
#: Rooms that may know less than what is below them: what they import from this package besides themselves.
ONLY = {
    "signals": set(),
    "functional": set(),
    "rollout": set(),
    "transport": {"rollout"},
    "machine": set(),
    "threads": set(),
    "resources": {"errors"},
    "ray_logs": set(),
    "checkpoints": {
        "errors",
        "options",
        "own_code",
        "settings",
        "rllib_settings",
        "envs",
        "module",
        "modules",
        "tracking",
    },
    "envs": {"errors", "options", "own_code"},
    "redaction": set(),
    "settings": {"errors", "options"},
    "rllib_settings": {"errors", "settings"},
    "tracking": {"errors", "options", "redaction", "settings", "signals"},
}
#: Rooms that nobody but those named may import.
IMPORTED_BY = {
    "analysis": {"cli"},
    "cli": {"__main__"},
    "experiment": {"cli", "analysis"},
    "tracking": {"experiment", "checkpoints", "analysis", "cli"},
}


def files() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "tuned_examples" not in path.parts)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imported(source: str, known: Collection[str]) -> set[str]:
    """Which of the ``known`` modules a source imports anywhere, also inside functions and for types alone.

    A name out of a package that is no module of it comes by way of the package's ``__init__``.
    """
    targets: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "imports are absolute"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                targets.add(submodule if submodule in known else node.module)
        elif isinstance(node, ast.Import):
            targets |= {alias.name for alias in node.names}
    return targets & set(known)


@functools.cache
def imports() -> dict[str, set[str]]:
    """Module -> modules of this package that it imports."""
    known = {module_name(path) for path in files()}
    return {module_name(path): imported(path.read_text(encoding="utf-8"), known) for path in files()}


def test_imports_are_read_name_by_name() -> None:
    known = {"p", "p.a", "p.a.x", "p.b"}
    source = "from p import a, Thing\nfrom p.a import x, Other\ndef f():\n    import p.b, math\n"
    assert imported(source, known) == {"p", "p.a", "p.a.x", "p.b"}
    assert imported("from p.a import x\nfrom os import path", known) == {"p.a.x"}


def pairs() -> list[tuple[str, str]]:
    return [(module, target) for module, targets in imports().items() for target in targets]


def test_every_file_is_in_a_room() -> None:
    assert {room(module) for module in imports()} - {""} == set(ROOMS)


def test_no_import_points_upwards() -> None:
    upward = [
        f"{module} -> {target}"
        for module, target in pairs()
        if room(module) and (not room(target) or ROOMS.index(room(target)) > ROOMS.index(room(module)))
    ]
    assert not upward


def test_no_circle_of_files() -> None:
    """Neither at import time nor hidden in functions."""
    graph = {module: targets for module, targets in imports().items() if module != "rllib_rnd"}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError with the circle


@pytest.mark.parametrize("name", ONLY)
def test_a_room_knows_no_more_than_it_may(name: str) -> None:
    more = {target for module, target in pairs() if room(module) == name and room(target) not in {name, *ONLY[name]}}
    assert not more


@pytest.mark.parametrize("name", IMPORTED_BY)
def test_a_room_is_known_by_no_more_than_may(name: str) -> None:
    more = {m for m, target in pairs() if room(target) == name and room(m) not in {name, *IMPORTED_BY[name]}}
    assert not more


def test_pure_functions_import_only_torch() -> None:
    allowed = {"torch", "math", "typing", "__future__", "rllib_rnd"}
    for path in (PACKAGE / "functional").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] in {*allowed, "collections", "dataclasses"}, path
            elif isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed, path


#: Findings of ruff that are not errors, because contracts of others force some of them: they may only become fewer.
RATCHET = json.loads(Path(__file__).with_name("ratchet.json").read_text())


def test_untyped_and_unused_arguments_only_become_fewer() -> None:
    """``Any`` in signatures (ANN401) and unused arguments (ARG). Found fewer? Then lower tests/ratchet.json."""
    command = [sys.executable, "-m", "ruff", "check", "--select", "ANN401,ARG", "--output-format", "json", "rllib_rnd"]
    command += ["--exclude", "rllib_rnd/cli/starters"]  # what users begin with shows the whole contract
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert dict(Counter(finding["code"] for finding in json.loads(found.stdout))) == RATCHET
