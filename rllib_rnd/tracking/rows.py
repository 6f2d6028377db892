"""The rows of ``result.json``: in the run's own folder as soon as Tune has them."""

from __future__ import annotations

import errno
import json
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.fs
from ray.tune.experiment import Trial
from ray.tune.logger import JsonLoggerCallback
from ray.tune.result import EXPR_RESULT_FILE
from ray.tune.utils.util import SafeFallbackEncoder

_MAX_KEPT = 10_000


class ResultRows(JsonLoggerCallback):
    """Writes each result of a trial into its folder at once.

    Tune's own logger, in whose place this stands, writes into a temporary folder, whose files come to the run's every
    ten seconds or more: what a kill finds there is lost. In a store that is no folder of this machine it still does.

    A row that cannot be written (a full disk) is kept and written with the next one; that is told once.

    Args:
        tell: prints one line.
    """

    def __init__(self, tell: Callable[[str], object]) -> None:
        super().__init__()
        self._tell: Callable[[str], object] | None = tell
        self._kept: dict[str, deque[str]] = {}
        self._told = False

    def __getstate__(self) -> dict[str, Any]:
        gone: dict[str, Any] = {"_tell": None, "_trial_files": {}, "_trial_configs": {}, "_kept": {}}
        return {**self.__dict__, **gone}

    def log_trial_start(self, trial: Trial) -> None:
        """Opens the trial's file; a row that a kill has cut short stays a line of its own."""
        if not isinstance(trial.storage.storage_filesystem, pyarrow.fs.LocalFileSystem):
            super().log_trial_start(trial)
            return
        self._close(trial)
        trial.init_local_path()
        self.update_config(trial, trial.config)
        file = Path(trial.path) / EXPR_RESULT_FILE
        file.parent.mkdir(parents=True, exist_ok=True)
        self._trial_files[trial] = file.open("ab", buffering=0)
        if self._trial_files[trial].tell() and not file.read_bytes().endswith(b"\n"):
            self._trial_files[trial].write(b"\n")
        self._kept.setdefault(trial.trial_id, deque(maxlen=_MAX_KEPT))

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Writes one row, behind those that wait."""
        if trial.trial_id not in self._kept and trial in self._trial_files:
            super().log_trial_result(iteration, trial, result)
            return
        if trial not in self._trial_files:
            self.log_trial_start(trial)
        self._kept[trial.trial_id].append(json.dumps(result, cls=SafeFallbackEncoder))
        self._write(trial)

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """Closes the file."""
        if trial in self._trial_files:
            self._write(trial)
            self._close(trial)

    def _write(self, trial: Trial) -> None:
        kept, file = self._kept.get(trial.trial_id), self._trial_files[trial]
        while kept:
            line = kept[0].encode() + b"\n"
            try:
                end = file.seek(0, os.SEEK_END)
                if file.write(line) < len(line):  # (the file has no buffer)
                    file.truncate(end)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                if not self._told and self._tell is not None:
                    self._told = True
                    self._tell(f"Results cannot be written ({error.strerror}); they are kept, training goes on.")
                return
            kept.popleft()

    def _close(self, trial: Trial) -> None:
        file = self._trial_files.pop(trial, None)
        if file is not None:
            file.close()
