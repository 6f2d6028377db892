"""A disk that is full while results are written: rows are kept and written later, in order; training goes on."""

from __future__ import annotations

import csv
import errno
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.fs
import pytest
from ray.tune.execution.tune_controller import TuneController
from ray.tune.logger import CSVLoggerCallback, JsonLoggerCallback, TBXLoggerCallback
from ray.tune.utils.callback import _create_default_callbacks

from rllib_rnd.tracking import result_files
from rllib_rnd.tracking.patient_file import PatientFile
from rllib_rnd.tracking.result_files import result_loggers
from tests.tracking.test_tensorboard import points, result


class Trial:
    """As much of Tune's as its loggers look at: a folder in a storage, and one beside it."""

    def __init__(self, folder: Path) -> None:
        self.local_path, self.config, self.evaluated_params = str(folder / "staging"), {"lr": 0.5}, {"lr": 0.5}
        self.folder = folder / "trial"
        self.storage = SimpleNamespace(storage_filesystem=pyarrow.fs.LocalFileSystem(), trial_fs_path=str(self.folder))

    def init_local_path(self) -> None:
        Path(self.local_path).mkdir(exist_ok=True)


def fill_up(path: Path) -> None:
    """From now on every byte that is written to this file meets a full disk."""
    if path.exists():
        path.rename(path.with_suffix(".before"))
    path.symlink_to("/dev/full")


def make_room(path: Path) -> None:
    """The disk of that file has room again."""
    path.unlink()
    if path.with_suffix(".before").exists():
        path.with_suffix(".before").rename(path)


def test_rows_of_a_full_disk_are_written_later_once_and_in_order(tmp_path: Path) -> None:
    said: list[str] = []
    trial: Any = Trial(tmp_path)
    loggers: Any = result_loggers(said.append)
    for logger in loggers:
        logger.log_trial_start(trial)
    (events,) = trial.folder.glob("events.*")
    files = [trial.folder / "result.json", trial.folder / "progress.csv", events]
    for number in range(1, 8):
        if number == 3:
            for path in files:
                fill_up(path)
        if number == 6:
            for path in files:
                make_room(path)
        for logger in loggers:
            logger.on_trial_result(iteration=number, trials=[], trial=trial, result=result(100 * number))
        rows = (trial.folder / "result.json").read_text().splitlines() if not 3 <= number < 6 else []
        assert not rows or [json.loads(row)["training_iteration"] for row in rows] == [*range(1, number + 1)]
    for logger in loggers:
        logger.log_trial_end(trial)
    with (trial.folder / "progress.csv").open(newline="") as file:
        assert [int(row["training_iteration"]) for row in csv.DictReader(file)] == [*range(1, 8)]
    assert [step for step, _ in points(trial.folder)[0]["return_mean"]] == [100 * number for number in range(1, 8)]
    assert len(said) == 2 and "No space left on device" in said[0] and "all that were kept are" in said[1], said


def test_a_piece_that_does_not_fit_leaves_nothing_of_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk takes three bytes more, and then none."""
    reasons: list[str] = []
    file = PatientFile(tmp_path / "rows", reasons.append)
    file.append(b"first\n")
    write, room = os.write, [3]

    def full(number: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken, room[0] = write(number, data[: room[0]]), 0
        return taken

    monkeypatch.setattr(os, "write", full)
    file.append(b"second\n")
    file.append(b"third\n")
    monkeypatch.undo()
    assert (tmp_path / "rows").read_bytes() == b"first\n" and file.kept == 2
    file.append()
    assert (tmp_path / "rows").read_bytes() == b"first\nsecond\nthird\n" and file.kept == 0
    assert reasons == ["No space left on device", ""]


def test_what_a_kill_has_cut_short_stays_a_line_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(b"first\nsec")
    for lines, expected in ((False, b"first\nsecthird\n"), (True, b"first\nsecthird\nfourth\n")):
        PatientFile(tmp_path / "rows", print, lines).append(b"fourth\n" if lines else b"third\n")
        assert (tmp_path / "rows").read_bytes() == expected
    (tmp_path / "rows").write_bytes(b"first\nsec")
    PatientFile(tmp_path / "rows", print).append(b"third\n")
    assert (tmp_path / "rows").read_bytes() == b"first\nsec\nthird\n"


def test_a_run_that_goes_on_adds_to_its_files(tmp_path: Path) -> None:
    trial: Any = Trial(tmp_path)
    for number in (1, 2):
        for logger in result_loggers(None):
            logger.log_trial_start(trial)  # type: ignore[attr-defined]
            logger.on_trial_result(iteration=number, trials=[], trial=trial, result=result(100 * number))
            logger.log_trial_end(trial)  # type: ignore[attr-defined]
    assert len((trial.folder / "result.json").read_text().splitlines()) == 2
    assert len((trial.folder / "progress.csv").read_text().splitlines()) == 3
    assert len([*trial.folder.glob("events.*")]) == 2
    assert json.loads((tmp_path / "staging" / "params.json").read_text()) == {"lr": 0.5}


def test_a_configuration_that_cannot_be_written_is_written_later(tmp_path: Path) -> None:
    said: list[str] = []
    trial: Any = Trial(tmp_path)
    trial.init_local_path()
    fill_up(tmp_path / "staging" / "params.json")
    logger: Any = result_loggers(said.append)[0]
    logger.log_trial_start(trial)
    make_room(tmp_path / "staging" / "params.json")
    logger.log_trial_result(1, trial, result(100))
    assert json.loads((tmp_path / "staging" / "params.json").read_text()) == {"lr": 0.5} and len(said) == 2


def test_they_stand_in_for_all_of_tunes_and_travel_with_its_snapshot() -> None:
    loggers = result_loggers(print)
    all_of_them = _create_default_callbacks(list(loggers), air_verbosity=None)
    for kind in (CSVLoggerCallback, JsonLoggerCallback, TBXLoggerCallback):
        assert [c for c in all_of_them if isinstance(c, kind)] == [c for c in loggers if isinstance(c, kind)]
    assert len(pickle.loads(pickle.dumps(loggers))) == 3


def test_a_snapshot_of_the_experiment_that_cannot_be_written_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    full = [True, True, False]

    def write(_: TuneController) -> None:
        if full.pop(0):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(TuneController, "save_to_dir", write)
    result_files._forgive_snapshots(said.append)
    save: Callable[[Any], None] = TuneController.save_to_dir
    for _ in range(3):
        save(SimpleNamespace(experiment_state_file_name="experiment_state-1.json"))
    assert len(said) == 2 and said[0].startswith("experiment_state-1.json cannot be written (No space left")
