"""What the shell offers behind a word that is half typed: it asks with every press of the key, and waits."""

from __future__ import annotations

from pathlib import Path

import typer

_FILES = (".yaml", ".yml", ".py")


def complete_experiments(incomplete: str) -> list[str]:
    """Returns experiment files and folders that begin so, and tuned examples."""
    from rllib_rnd.cli.examples import example_files, examples_path

    folder = incomplete.rpartition("/")[0]
    there = sorted(Path(folder or ("/" if incomplete.startswith("/") else ".")).glob("*"))
    files = [f"{path}/" if path.is_dir() else str(path) for path in there if path.is_dir() or path.suffix in _FILES]
    examples = [str(path.relative_to(examples_path()).with_suffix("")) for path in example_files()]
    return [each for each in (*files, *examples) if each.startswith(incomplete)]


def complete_kinds(incomplete: str) -> list[str]:
    """Returns the kinds that ``rllib list`` knows."""
    from rllib_rnd.cli.listing import KINDS

    return [kind for kind in KINDS if kind.startswith(incomplete)]


def complete_names(context: typer.Context, incomplete: str) -> list[str]:
    """Returns the names of the kind that was typed before."""
    from rllib_rnd.cli.listing import names_of

    return [name for name in names_of(str(context.params.get("kind"))) if name.startswith(incomplete)]


def complete_plugins(incomplete: str) -> list[str]:
    """Returns what ``rllib new`` makes."""
    from rllib_rnd.cli.starting_points import KINDS

    return [kind for kind in KINDS if kind.startswith(incomplete)]
