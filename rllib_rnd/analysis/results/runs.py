"""Loading runs from wherever they are kept, and naming them shortly."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from rllib_rnd.analysis.results.csv_source import runs_in_csv
from rllib_rnd.analysis.results.folders import runs_in_folder
from rllib_rnd.analysis.results.mlflow_database import is_store
from rllib_rnd.analysis.results.mlflow_source import runs_in_store
from rllib_rnd.analysis.results.run import STATES, Run
from rllib_rnd.analysis.results.settings import labels_of
from rllib_rnd.errors import ConfigError, nearest_name

__all__ = ["STATES", "Run", "differences", "load_runs", "runs_by_place"]


def load_runs(places: Sequence[str], metrics: Collection[str] | None = None, storage: str = "results") -> list[Run]:
    """Loads runs, each once, with names that tell them apart.

    Of very long runs rows at even distances are read, see `Run.thinned`.

    Args:
        places: result folders (a trial, an experiment, a whole storage) or their names in the storage; MLflow stores
            (an SQLite file or a URI, with ``#RUN-ID`` or ``#EXPERIMENT`` for some of it); CSV files of curves.
        metrics: those to read, which is faster; None: all.
        storage: where a name that is no path is looked for.

    Raises:
        ConfigError: a place does not exist or holds no runs.
    """
    return [run for group in runs_by_place(places, metrics, storage).values() for run in group]


def runs_by_place(
    places: Sequence[str], metrics: Collection[str] | None = None, storage: str = "results"
) -> dict[str, list[Run]]:
    """`load_runs` by the place of each; a run that is in two places counts for the first."""
    found: list[tuple[str, Run]] = []
    sources: set[str] = set()
    trials: set[str] = set()
    for place in dict.fromkeys(places):
        for run in _load(place, metrics, storage):
            logged = is_store(place) and run.trials and trials.issuperset(run.trials)  # of a folder that is there too
            source = run.source if "#" in run.source else str(Path(run.source).expanduser().resolve())
            if source not in sources and not logged:
                found.append((place, run))
                sources.add(source)
                trials.update(run.trials)
    groups: dict[str, list[Run]] = {place: [] for place in places}
    for (place, _), run in zip(found, named([run for _, run in found]), strict=True):
        groups[place].append(run)
    return groups


def _load(place: str, metrics: Collection[str] | None, storage: str) -> list[Run]:
    if is_store(place):
        return runs_in_store(place, metrics)
    path = Path(place).expanduser()
    if not path.exists():
        path = _in_storage(place, Path(storage).expanduser())
    if path.is_file() and path.suffix.lower() == ".csv":
        return runs_in_csv(path, metrics)
    if path.is_file() and path.name != "result.json":
        kinds = "a result folder, an MLflow store (a database or a URI) or a CSV file"
        raise ConfigError(f"run {place}", "is a file of another kind", kinds)
    try:
        runs = runs_in_folder(path.parent if path.is_file() else path, metrics)
    except OSError as error:
        raise ConfigError(f"run {place}", f"cannot be read ({error.strerror or error})") from error
    if not runs:
        raise ConfigError(
            f"run {place}", "holds no runs", "a folder with runs in it: a storage, an experiment, a trial"
        )
    return runs


def _in_storage(name: str, storage: Path) -> Path:
    """The folder of a run that is called by its name."""
    if (storage / name).exists():
        return storage / name
    parent = Path(name).expanduser().parent
    beside = {child.name: child for place in (parent, storage) if place.is_dir() for child in place.iterdir()}
    nearest = nearest_name(Path(name).name, beside)
    raise ConfigError(f"run {name}", "there is no such run", nearest=None if nearest is None else str(beside[nearest]))


def named(runs: Sequence[Run]) -> list[Run]:
    """Gives each run the shortest label that no other has: what differs within its experiment, or the experiment."""
    several = len({run.experiment for run in runs}) > 1
    labels = [run.name or label for run, label in zip(runs, differences(runs), strict=True)]
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


def differences(runs: Sequence[Run]) -> list[str]:
    """What tells each run from the others of its experiment, "" where nothing does."""
    labels = [""] * len(runs)
    for experiment in {run.experiment for run in runs}:
        own = [i for i, run in enumerate(runs) if run.experiment == experiment]
        for i, label in zip(own, labels_of([runs[i].config for i in own]), strict=True):
            labels[i] = label
    return labels
