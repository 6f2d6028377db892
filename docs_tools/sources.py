"""Where the tables of the docs come from: the code's own declarations, the tables of studies, the tuned examples."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import rllib_rnd.auxiliary
import rllib_rnd.intrinsic
import rllib_rnd.modules  # noqa: F401 - their imports fill the registries
from rllib_rnd.auxiliary.base import AUXILIARY_LOSSES
from rllib_rnd.cli.examples import description, example_files, examples_path
from rllib_rnd.envs import list_environments
from rllib_rnd.envs.family import EnvironmentFamily
from rllib_rnd.experiment.yaml_file import load_yaml
from rllib_rnd.intrinsic.base import INTRINSIC_REWARDS
from rllib_rnd.modules.backbone import BACKBONES
from rllib_rnd.options import Registry

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

#: Kinds of plug-ins by the word that a page's marker has for them.
REGISTRIES: dict[str, Registry[Any]] = {
    "reward": INTRINSIC_REWARDS,
    "backbone": BACKBONES,
    "loss": AUXILIARY_LOSSES,
}
#: The folder of each kind's pages.
FOLDERS = {"reward": "rewards", "backbone": "backbones", "loss": "losses", "environment": "environments"}
#: Pages of families of environments, by what their names look like.
ENVIRONMENTS = {
    "atari": "ALE/",
    "mario": "rllib_rnd/SuperMarioBros",
    "doom": "rllib_rnd/DoomMyWayHome",
    "deep_sea": "rllib_rnd/DeepSea",
    "catch": "rllib_rnd/Catch",
    "point_maze": "rllib_rnd/PointMaze",
    "warehouse": "rllib_rnd/Warehouse",
    "pixels": "rllib_rnd/Pixels",
    "minigrid": "MiniGrid-",
    "own": "package.module:Class",
    "gymnasium": "any other gymnasium id",
}


@functools.cache
def families() -> dict[str, EnvironmentFamily[Any]]:
    """Families of environments by the names of their pages.

    Raises:
        LookupError: a family has no page, or a page no family.
    """
    left, found = list(list_environments()), {}
    for page, beginning in ENVIRONMENTS.items():
        matching = [family for family in left if family.pattern.startswith(beginning)]
        if len(matching) != 1:
            raise LookupError(f"{len(matching)} families begin with {beginning!r}, the page of {page}")
        found[page] = matching[0]
        left.remove(matching[0])
    if left:
        raise LookupError(f"no page for {', '.join(family.pattern for family in left)}")
    return found


def names_of(kind: str) -> list[str]:
    """The names that have a page each."""
    return list(ENVIRONMENTS) if kind == "environment" else REGISTRIES[kind].names()


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> list[str]:
    """Lines of a Markdown table; bars in cells are escaped."""
    titles = list(head)
    cells = [[str(cell).replace("|", r"\|") for cell in row] for row in rows]
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    return lines + [f"| {' | '.join(row)} |" for row in cells]


@functools.cache
def tables_of(page: str) -> list[tuple[list[str], list[list[str]]]]:
    """Head and rows of every table of a page of the repository, in their order."""
    found: list[tuple[list[str], list[list[str]]]] = []
    before = ""
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not before.startswith("|"):
                found.append((cells, []))
            elif not set(line) <= set("|-: "):
                found[-1][1].append(cells)
        before = line
    return found


def row_of(page: str, column: str, name: str, first: str) -> dict[str, str] | None:
    """The row named ``name`` of the first table whose first column is ``first`` and that has the column ``column``."""
    for head, rows in tables_of(page):
        if head[0] == first and column in head:
            return next((dict(zip(head, row, strict=True)) for row in rows if row[0] == name), None)
    raise LookupError(f"{page} has no table of {first} with {column}")


def rows_of(page: str, columns: Iterable[str], first: str) -> list[dict[str, str]]:
    """All rows of the first table whose first column is ``first`` and that has all of ``columns``."""
    wanted = set(columns)
    for head, rows in tables_of(page):
        if head[0] == first and wanted <= set(head):
            return [dict(zip(head, row, strict=True)) for row in rows]
    raise LookupError(f"{page} has no table of {first} with {', '.join(sorted(wanted))}")


@functools.cache
def examples() -> list[tuple[str, str, frozenset[tuple[str, str]]]]:
    """Name, first line and what it names (kind, name) of every tuned example."""
    return [
        (
            str(path.relative_to(examples_path()).with_suffix("")),
            description(path),
            frozenset(_named(load_yaml(path)[0])),
        )
        for path in example_files()
    ]


def _named(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for experiment in content.values():
        config = {**experiment.get("config", {}), **{k: v for k, v in experiment.items() if k.startswith("env")}}
        run = str(experiment.get("run", ""))
        preset = {"RND": "rnd", "SND": "snd_v"}.get(run)
        rewards = _types(config["intrinsic_reward"]) if "intrinsic_reward" in config else [preset]
        yield from (("reward", name) for name in rewards if name)
        yield from (("backbone", name) for name in _types(config.get("backbone")))
        yield from (("loss", name) for name in _types(config.get("auxiliary_loss")))
        for env in _choices(config.get("env")):
            page = next((page for page, family in families().items() if family.owns(str(env))), "")
            yield ("environment", page)
        yield ("algorithm", run)


def _choices(value: object) -> list[object]:
    """A value, or all that a grid or a draw can make of it."""
    if isinstance(value, Mapping):
        return list(value.get("grid_search", value.get("args", [])))
    return [value] if value is not None else []


def _types(spec: object) -> list[str]:
    """Names of the plug-ins in a specification, whatever its form."""
    if isinstance(spec, str):
        return [spec]
    if isinstance(spec, Mapping):
        if "type" in spec:
            return [str(name) for name in _choices(spec["type"])]
        return [name for value in spec.values() for name in _types(value)]
    return [name for one in spec for name in _types(one)] if isinstance(spec, list | tuple) else []


def examples_with(kind: str, name: str) -> list[tuple[str, str]]:
    """Name and first line of the tuned examples that name something."""
    return [(example, line) for example, line, named in examples() if (kind, name) in named]
