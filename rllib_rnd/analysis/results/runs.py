"""Loading runs from wherever they are kept, and naming them shortly."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rllib_rnd.analysis.results.folders import runs_in_folder
from rllib_rnd.analysis.results.run import STATES, Run
from rllib_rnd.analysis.results.settings import differing_settings, label_of
from rllib_rnd.errors import ConfigError, nearest_name

__all__ = ["STATES", "Run", "load_runs"]


def load_runs(places: Sequence[str]) -> list[Run]:
    """Loads runs, each once, with names that tell them apart.

    Args:
        places: result folders (a trial, an experiment, a whole storage).

    Raises:
        ConfigError: a place does not exist or holds no runs.
    """
    runs: dict[str, Run] = {}
    for place in places:
        for run in _load(place):
            runs.setdefault(run.source, run)
    return named(list(runs.values()))


def _load(place: str) -> list[Run]:
    folder = Path(place).expanduser()
    if not folder.exists():
        beside = [path.name for path in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise ConfigError(f"run {place}", "there is no such folder", nearest=nearest_name(folder.name, beside))
    runs = runs_in_folder(folder)
    if not runs:
        raise ConfigError(f"run {place}", "holds no runs", "a trial's, an experiment's or a storage folder")
    return runs


def named(runs: Sequence[Run]) -> list[Run]:
    """Gives each run the shortest label that no other has: what differs within its experiment, or the experiment."""
    several = len({run.experiment for run in runs}) > 1
    labels = _labels(runs)
    names = [
        ", ".join(filter(None, [run.experiment if several or not label else "", label]))
        for run, label in zip(runs, labels, strict=True)
    ]
    taken, seen = Counter(names), Counter[str]()
    unique = []
    for run, name in zip(runs, names, strict=True):
        seen[name] += 1
        unique.append(dataclasses.replace(run, name=name if taken[name] == 1 else f"{name} #{seen[name]}"))
    return unique


def _labels(runs: Sequence[Run]) -> list[str]:
    """What tells each run from the others of its experiment: its own label, or the settings that differ."""
    own: dict[str, list[Run]] = {}
    for run in runs:
        own.setdefault(run.experiment, []).append(run)
    differing = {experiment: differing_settings([run.config for run in group]) for experiment, group in own.items()}
    return [
        run.name or label_of({key: run.config[key] for key in differing[run.experiment] if key in run.config})
        for run in runs
    ]
