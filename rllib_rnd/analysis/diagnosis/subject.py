"""What a user points at: a checkpoint, a run, a sweep; and all that its checks read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rllib_rnd.analysis.results.folders import is_trial, runs_in_folder
from rllib_rnd.analysis.results.mlflow_source import runs_in_store
from rllib_rnd.analysis.results.run import Run
from rllib_rnd.checkpoints.finding import what_is_wrong
from rllib_rnd.checkpoints.manifest import MANIFEST, installed_versions
from rllib_rnd.errors import ConfigError

Kind = Literal["checkpoint", "run", "sweep"]
_MARKS = (MANIFEST, "rllib_checkpoint.json", "algorithm_state.pkl")
STORE = "mlruns.db"


@dataclass(frozen=True)
class Trained:
    """One run, with what lies beside it.

    Attributes:
        run: its results.
        folders: of its trials, oldest first; each resume of a lone run has one.
        valid: the newest checkpoint of which every byte is as it was written; None: there is none.
        bad: newer ones, and what is wrong with each.
        versions: of the packages that it was begun with.
        installed: of those that are here.
        logged: agent steps that MLflow's store beside it knows of; None: there is no store; -1: it does not know it.
        home: the experiment's folder.
    """

    run: Run
    folders: tuple[Path, ...]
    valid: Path | None
    bad: Mapping[Path, str]
    versions: Mapping[str, str]
    installed: Mapping[str, str]
    logged: int | None
    home: Path

    @property
    def resume(self) -> str:
        """The command that continues it; "" where the run's record does not tell."""
        command = self.run.provenance.get("command", "")
        if not command:
            return ""
        named = command if "--name " in command else f"{command} --name {self.home.name}"
        return named if "--resume" in named else f"{named} --resume"


@dataclass(frozen=True)
class Subject:
    """What is looked at.

    Attributes:
        kind: of it.
        path: of it.
        trained: the runs; of a checkpoint that it is of, if its trial's folder is around it.
    """

    kind: Kind
    path: Path
    trained: tuple[Trained, ...]


def find_subject(place: str) -> Subject:
    """Reads what is at a path.

    Raises:
        ConfigError: nothing there is a run or a checkpoint, or there are several experiments.
    """
    path = Path(place).expanduser().resolve()
    if not path.is_dir():
        named = Path("results") / place
        if not named.is_dir():
            problem = "is a file" if path.is_file() else "there is no such folder"
            raise ConfigError(place, problem, "a run's folder, a trial's, or a checkpoint's")
        path = named.resolve()
    if is_checkpoint(path):
        around = path.parent if is_trial(path.parent) else None
        return Subject("checkpoint", path, () if around is None else _trained(around))
    trained = _trained(path)
    homes = {one.home for one in trained}
    if not trained:
        raise ConfigError(place, "holds no run and no checkpoint", "a run's folder, a trial's, or a checkpoint's")
    if len(homes) > 1:
        names = ", ".join(sorted(home.name for home in homes))
        raise ConfigError(place, f"holds {len(homes)} experiments", f"one of them: {names}")
    return Subject("sweep" if len(trained) > 1 else "run", path, trained)


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is a checkpoint's, or was meant to be."""
    return folder.name.startswith("checkpoint_") or any((folder / name).is_file() for name in _MARKS)


def _trained(folder: Path) -> tuple[Trained, ...]:
    try:
        runs = runs_in_folder(folder)
    except OSError as error:
        raise ConfigError(str(folder), f"cannot be read ({error.strerror or error})") from error
    found = []
    for run in runs:
        source = Path(run.source)
        home = source.parent if is_trial(source) else source
        folders = tuple(home / Path(trial).name for trial in run.trials)
        valid, bad = _checkpoints(folders)
        versions = {name: run.provenance[name] for name in ("python", "ray", "torch", "rllib_rnd") if _told(run, name)}
        found.append(Trained(run, folders, valid, bad, versions, installed_versions(), _logged(home, run), home))
    return tuple(found)


def _told(run: Run, name: str) -> bool:
    return bool(run.provenance.get(name))


def _checkpoints(folders: tuple[Path, ...]) -> tuple[Path | None, dict[Path, str]]:
    """The newest valid one, and what is wrong with newer ones. Older ones are not read."""
    bad: dict[Path, str] = {}
    for folder in reversed(folders):
        for path in sorted((p for p in folder.glob("checkpoint_*") if p.is_dir()), reverse=True):
            wrong = what_is_wrong(path)
            if not wrong:
                return path, bad
            bad[path] = wrong[0]
    return None, bad


def _logged(home: Path, run: Run) -> int | None:
    store = home.parent / STORE
    if not store.is_file():
        return None
    try:
        known = _steps_in_store(str(store), store.stat().st_mtime_ns)
    except ConfigError:  # a store that cannot be read is not this check's
        return None
    return max((known.get(trial, -1) for trial in run.trials), default=-1)


_cache: dict[tuple[str, int], dict[str, int]] = {}


def _steps_in_store(store: str, changed: int) -> dict[str, int]:
    """Agent steps by trial; read once for all trials of a sweep."""
    if (store, changed) not in _cache:
        _cache.clear()
        runs = runs_in_store(store, ("agent_steps",))
        _cache[store, changed] = {trial: run.agent_steps for run in runs for trial in run.trials}
    return _cache[store, changed]
