"""What messages and docstrings recommend exists: wrappers, options, commands, extras, names of this package."""

from __future__ import annotations

import ast
import functools
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import pytest
import typer

from rllib_rnd.cli.app import app
from rllib_rnd.own_code import import_path

ROOT = Path(__file__).parents[1]

#: Options of other programs (MLflow, git, nvidia-smi, py-spy) that are named beside ours.
OTHERS = {"--help", "--backend-store-uri", "--porcelain", "--untracked-files", "--error-unmatch", "--query-gpu"} | {
    "--shm-size",
    "--cpus",
    "--force-reinstall",
    "--pid",
    "--duration",
    "--rate",
    "--threads",
    "--output",
    "--cap-add",
}


def texts() -> Iterator[tuple[Path, str]]:
    """Every string of the package, parts of one sentence joined; what an f-string fills in is a gap."""
    for path in sorted((ROOT / "rllib_rnd").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                yield path, "".join(str(p.value) if isinstance(p, ast.Constant) else "\0" for p in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
                yield path, node.value


def found(pattern: str) -> dict[str, Path]:
    """What the group of a pattern matches anywhere -> a file that says so."""
    return {match: path for path, text in texts() for match in re.findall(pattern, text)}


@functools.cache
def commands() -> dict[str, set[str]]:
    """Command -> its options."""
    root = typer.main.get_command(app)
    every = {"": {option for p in root.params for option in p.opts}}
    context = typer.Context(root)
    for name in root.list_commands(context):  # type: ignore[attr-defined]
        command = root.get_command(context, name)  # type: ignore[attr-defined]
        every[name] = {option for p in command.params for option in [*p.opts, *p.secondary_opts]}
        if hasattr(command, "commands"):
            for inner in command.commands.values():
                every[name] |= {option for p in inner.params for option in [*p.opts, *p.secondary_opts]}
    return every


def test_wrappers_of_gymnasium_exist() -> None:
    named = found(r"(?:gymnasium|gym)\.(wrappers(?:\.vector)?\.[A-Z]\w+)")
    assert named, "the pattern finds what is recommended"
    for name, path in named.items():
        module, _, attribute = f"gymnasium.{name}".rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), f"{path} recommends {name}"


def test_words_that_look_like_wrappers_are_wrappers() -> None:
    """``FlattenAction`` does not exist under any module."""
    named = found(r"\b((?:Flatten|Transform|Rescale|Filter|Normalize|Clip|Resize|Grayscale|Dtype)[A-Z]\w+)\b")
    for name, path in named.items():
        assert hasattr(gym.wrappers, name) or hasattr(gym.wrappers.vector, name), f"{path} recommends {name}"


def test_options_exist() -> None:
    known = set().union(*commands().values(), OTHERS)
    named = found(r"(?<![\w-])(?<!var\()(--[a-z][a-z-]+[a-z])")  # var(--...): a colour of a page
    assert len(named) > 8
    missing = {name: str(path) for name, path in named.items() if name not in known}
    assert not missing


def test_commands_exist() -> None:
    named = found(r"(?<![\w/.])rllib ([a-z]+) ")
    assert named and set(named) <= set(commands()) | {"here", "is"}, named


def test_extras_exist() -> None:
    extras = re.findall(r"^\s+\"([a-z-]+)\": ", (ROOT / "setup.py").read_text(encoding="utf-8"), re.MULTILINE)
    named = found(r"rllib_rnd\[([a-z-]+)\]")
    assert named and set(named) <= set(extras)


@pytest.mark.parametrize("pattern", [r"\b(rllib_rnd(?:\.\w+)+:\w+(?:\.\w+)*)", r"`(rllib_rnd(?:\.\w+)+)`"])
def test_names_of_this_package_exist(pattern: str) -> None:
    for name, path in found(pattern).items():
        try:
            importlib.import_module(name) if ":" not in name else import_path(name)
        except ImportError:
            assert import_path(name) is not None, f"{path} names {name}"
