"""The files of results in a trial's folder, in place of Tune's own: a disk that takes no row ends no training.

Tune's loggers write beside the storage and let an error end the run; these write into the storage itself where that is
a file system, so that no row is lost with the process.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.logger import CSVLoggerCallback, JsonLoggerCallback
from ray.tune.utils import flatten_dict
from ray.tune.utils.util import SafeFallbackEncoder

from rllib_rnd.tracking.patient_file import PatientFile, folder_of
from rllib_rnd.tracking.tensorboard import TensorBoardLogger

RESULTS, PROGRESS = "result.json", "progress.csv"


class Trouble:
    """Says once that files of results cannot be written, and once that all are.

    Args:
        say: prints one line to the user; None: nobody is told.
    """

    def __init__(self, say: Callable[[str], None] | None) -> None:
        self._say = say
        self._files = set[str]()

    def __getstate__(self) -> dict[str, Any]:
        return {"_say": None, "_files": set()}  # Tune pickles its callbacks

    def of(self, path: Path) -> Callable[[str], None]:
        """What a file tells of its own."""
        return _Of(self, str(path))

    def told(self, path: str, reason: str) -> None:
        """Takes what one of them tells."""
        before = bool(self._files)
        (self._files.add if reason else self._files.discard)(path)
        if self._say is None or before == bool(self._files):
            return
        if reason:
            self._say(
                f"{Path(path).name} cannot be written ({reason}): results are kept until it can, training goes on."
            )
        else:
            self._say("Results can be written again; all that were kept are.")


class _Of:
    """What a file tells of its own; a class, which can be pickled."""

    def __init__(self, trouble: Trouble, path: str) -> None:
        self._trouble, self._path = trouble, path

    def __call__(self, reason: str) -> None:
        self._trouble.told(self._path, reason)


class ResultLogger(JsonLoggerCallback):
    """``result.json``: every result, one a line; ``params.json`` and ``params.pkl``: the configuration."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__()
        self._trouble = trouble
        self._rows: dict[Trial, PatientFile] = {}
        self._without_config = set[Trial]()

    def log_trial_start(self, trial: Trial) -> None:
        """Writes the configuration."""
        if trial not in self._rows:
            folder = folder_of(trial)
            if folder == Path(trial.local_path or ""):
                trial.init_local_path()
                self._restore_from_remote(RESULTS, trial)
            self._rows[trial] = PatientFile(folder / RESULTS, self._trouble.of(folder / RESULTS))
        self.update_config(trial, trial.config)

    def log_trial_result(self, _iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Writes one result, and what is left of earlier ones."""
        if trial not in self._rows:
            self.log_trial_start(trial)
        if trial in self._without_config:
            self.update_config(trial, trial.config)
        self._rows[trial].append((json.dumps(result, cls=SafeFallbackEncoder) + "\n").encode())

    def log_trial_end(self, trial: Trial, **_: object) -> None:
        """Writes what is left."""
        if trial in self._rows:
            self._rows.pop(trial).append()

    def update_config(self, trial: Trial, config: dict[str, Any]) -> None:
        """Writes the configuration anew."""
        name = str(Path(trial.local_path or "", "params.json"))
        try:
            trial.init_local_path()
            super().update_config(trial, config)
        except OSError as error:
            self._without_config.add(trial)
            self._trouble.told(name, error.strerror or str(error))
        else:
            self._without_config.discard(trial)
            self._trouble.told(name, "")


class ProgressLogger(CSVLoggerCallback):
    """``progress.csv``: every result, one a row; its columns are those of the first."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__()
        self._trouble = trouble
        self._rows: dict[Trial, tuple[PatientFile, list[str]]] = {}

    def log_trial_result(self, _iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Writes one row, and what is left of earlier ones."""
        flat = flatten_dict({key: value for key, value in result.items() if key != "config"}, delimiter="/")
        text = io.StringIO()
        if trial not in self._rows:
            folder = folder_of(trial)
            if folder == Path(trial.local_path or ""):
                trial.init_local_path()
                self._restore_from_remote(PROGRESS, trial)
            columns = _columns(folder / PROGRESS)
            file = PatientFile(folder / PROGRESS, self._trouble.of(folder / PROGRESS))
            self._rows[trial] = file, columns or list(flat)
            if not columns:
                csv.DictWriter(text, list(flat)).writeheader()
        file, columns = self._rows[trial]
        csv.DictWriter(text, columns, extrasaction="ignore").writerow(flat)
        file.append(text.getvalue().encode())

    def log_trial_end(self, trial: Trial, **_: object) -> None:
        """Writes what is left."""
        if trial in self._rows:
            self._rows.pop(trial)[0].append()


def _columns(path: Path) -> list[str]:
    """The columns that a file has; [] if there is none, or nothing in it."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return next(csv.reader(file), [])
    except OSError:
        return []


def result_loggers(say: Callable[[str], None] | None) -> Sequence[Callback]:
    """Returns the callbacks that write a trial's results into its folder, instead of Tune's own.

    From now on a snapshot of the experiment that Tune cannot write costs a printed line too.
    """
    _forgive_snapshots(say)
    trouble = Trouble(say)
    return [ResultLogger(trouble), ProgressLogger(trouble), TensorBoardLogger(trouble.of)]


def _forgive_snapshots(say: Callable[[str], None] | None) -> None:
    """Has Tune's controller go on where its snapshot cannot be written; the one before stays."""
    write = getattr(TuneController.save_to_dir, "forgiven", TuneController.save_to_dir)
    trouble = Trouble(say)

    def save_to_dir(controller: TuneController) -> None:
        name = controller.experiment_state_file_name
        try:
            write(controller)
        except OSError as error:
            trouble.told(name, error.strerror or str(error))
        else:
            trouble.told(name, "")

    save_to_dir.forgiven = write  # type: ignore[attr-defined]
    TuneController.save_to_dir = save_to_dir
