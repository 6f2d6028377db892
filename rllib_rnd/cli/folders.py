"""Whose folder is whose: every run has one to itself, with a record in it that says what it is.

A run is known by its record, never by its folder's name: folders are numbered where a name is taken, deleted, moved
and renamed, and an experiment may be called ``x_2`` like the second run of ``x``.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.fs

from rllib_rnd.cli.surroundings import advice
from rllib_rnd.errors import ConfigError, nearest_name

RECORD = "run.json"


@dataclass(frozen=True)
class RunRecord:
    """What a run's folder says of itself.

    Attributes:
        experiment: name of the experiment in its file.
        command: that started the run.
        start: the same for all runs that one command started.
        created: when, ISO 8601 in UTC.
        description: what the experiment was, as `describe` gives it.
        key: of this run alone, by which stores know it again when it goes on; "" in records of former versions.
        provenance: commit, versions and hardware at its start, as `tracking.provenance` gives them.
        resumes: the same, and when, for each time it went on.
        process: of the command that trains it, or did last: its ``host`` and ``pid``, and ``since`` when.
    """

    experiment: str
    command: str
    start: str
    created: str = field(default_factory=lambda: _now())
    description: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)
    resumes: Sequence[Mapping[str, str]] = ()
    process: Mapping[str, str] = field(default_factory=lambda: _this_process())

    @staticmethod
    def read(folder: Path) -> RunRecord | None:
        """Returns the record in a folder, or None if there is none that can be read."""
        try:
            data = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            return RunRecord(**{"process": {}, **data})  # former versions do not tell
        except (OSError, ValueError, TypeError):
            return None


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _this_process() -> dict[str, str]:
    return {"host": socket.gethostname(), "pid": str(os.getpid()), "since": _now()}


def claim(storage: str, base: str, record: RunRecord) -> str:
    """Makes a folder that no other run has, ``base`` or ``base_2``, ``base_3``, ..., and puts the record into it.

    Two processes never get the same one. (In a remote store, which knows no such thing, one that looks later.)

    Returns:
        Its name.

    Raises:
        ConfigError: the storage cannot be written to.
    """
    number, name = 1, base
    try:
        while not _make(storage, name):
            number += 1
            name = f"{base}_{number}"
        _write(storage, name, _text(record))
    except OSError as error:
        reason = advice(error, place=False) or error.strerror or str(error)
        raise ConfigError(f"--storage {storage}", f"folder {name!r} cannot be made there: {reason}") from error
    return name


def _text(record: RunRecord) -> str:
    return json.dumps(dataclasses.asdict(record), indent=1) + "\n"


def _make(storage: str, name: str) -> bool:
    """Makes a new folder; False if there is one of that name."""
    if "://" not in storage:
        Path(storage).mkdir(parents=True, exist_ok=True)
        try:
            (Path(storage) / name).mkdir()
        except FileExistsError:
            return False
        return True
    system, path = pyarrow.fs.FileSystem.from_uri(f"{storage.rstrip('/')}/{name}")
    if system.get_file_info(path).type != pyarrow.fs.FileType.NotFound:
        return False
    system.create_dir(path)
    return True


def _write(storage: str, name: str, text: str) -> None:
    if "://" in storage:
        system, path = pyarrow.fs.FileSystem.from_uri(f"{storage.rstrip('/')}/{name}/{RECORD}")
        with system.open_output_stream(path) as stream:
            stream.write(text.encode())
        return
    file = Path(storage) / name / RECORD
    whole = file.with_suffix(".new")  # a record is there as a whole or not at all
    whole.write_text(text, encoding="utf-8")
    os.replace(whole, file)


def update(storage: str, name: str, description: Mapping[str, Any], provenance: Mapping[str, str]) -> str:
    """Writes down what a run that goes on is now, and what it goes on with.

    Returns:
        Its key.
    """
    record = RunRecord.read(Path(storage) / name)
    if record is None:
        return ""
    key = record.key or uuid.uuid4().hex
    resumes = (*record.resumes, {"created": _now(), **provenance})
    now = dataclasses.replace(record, description=description, key=key, resumes=resumes, process=_this_process())
    _write(storage, name, _text(now))
    return key


def trials_in(folder: Path) -> set[Path]:
    """The folders that trials of a run have made."""
    return {path for path in folder.iterdir() if path.is_dir()}


def as_before(folder: Path, record: str, trials: Collection[Path]) -> None:
    """Leaves a run that could not go on as it was.

    Args:
        folder: of the run.
        record: text of its record before.
        trials: what `trials_in` gave before; later ones without a result are taken back.
    """
    _write(str(folder.parent), folder.name, record)
    for path in trials_in(folder) - set(trials):
        result = path / "result.json"
        if not (result.is_file() and result.stat().st_size):
            shutil.rmtree(path)


def release(storage: str, name: str) -> None:
    """Takes back a claimed folder in which nothing was trained: one without a result."""
    folder = Path(storage) / name
    if "://" not in storage and not any(path.stat().st_size for path in folder.glob("*/result.json")):
        shutil.rmtree(folder)


def runs_in(storage: str) -> dict[str, RunRecord]:
    """Returns folder name -> record of all runs in a storage folder, oldest first."""
    root = Path(storage)
    found = {path.name: RunRecord.read(path) for path in (root.iterdir() if root.is_dir() else ())}
    runs = {name: record for name, record in found.items() if record is not None}
    return dict(sorted(runs.items(), key=lambda item: (item[1].created, item[0])))


def runs_to_resume(storage: str, experiments: Sequence[str], name: str | None) -> list[str | None]:
    """Finds the folder that ``--resume`` continues for each experiment, None where it has no run yet; each once.

    With ``name`` the run in that folder, and of the other experiments those that the same command started. Without,
    the newest run of any of the experiments, and likewise; of an experiment that was not started then its newest.

    Args:
        storage: a local folder.
        experiments: names of those in the files; several files may have the same.
        name: the option ``--name``: of a folder, or of all folders of a start with several experiments.

    Raises:
        ConfigError: no such run, or it is of another experiment.
    """
    runs = runs_in(storage)
    mine = {folder: record.experiment for folder, record in runs.items() if record.experiment in experiments}
    if name is None and not mine:
        raise _no_run(f"of {' or '.join(map(repr, experiments))}", storage, runs)
    chosen = list(mine)[-1] if name is None else _named(storage, experiments, name, runs)
    if len(experiments) == 1:
        return [chosen]
    together = [folder for folder in mine if runs[folder].start == runs[chosen].start]
    found: list[str | None] = []
    for experiment in experiments:
        same = [folder for folder in together if mine[folder] == experiment and folder not in found]
        older = [folder for folder in mine if mine[folder] == experiment and folder not in found]
        found.append(same[0] if same else older[-1] if older and name is None else None)
    return found


def _named(storage: str, experiments: Sequence[str], name: str, runs: Mapping[str, RunRecord]) -> str:
    """The folder that ``--name`` means."""
    folders = [name] if len(experiments) == 1 else [name, *(f"{name}_{experiment}" for experiment in experiments)]
    chosen = next((folder for folder in folders if folder in runs), None)
    if chosen is None and (Path(storage) / name).is_dir():
        problem = f"that folder has no {RECORD} that can be read, so --checkpoint alone can start a new run from it"
        raise ConfigError(f"--name {name}", problem)
    if chosen is None:
        raise _no_run(repr(name), storage, runs, nearest_name(name, runs))
    if runs[chosen].experiment not in experiments:
        problem = f"is a run of experiment {runs[chosen].experiment!r}, which is in none of these files"
        raise ConfigError(f"--name {name}", problem, f"a run of {' or '.join(map(repr, experiments))}")
    return chosen


def _no_run(what: str, storage: str, runs: Mapping[str, RunRecord], nearest: str | None = None) -> ConfigError:
    there = ", ".join(runs) or "none"
    return ConfigError("--resume", f"no run {what} in {storage} (runs there: {there})", nearest=nearest)
