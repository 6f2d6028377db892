"""A trial of a sweep that goes on, set to what its own folder holds.

Tune brings trials back from its snapshot of the sweep, which lags behind by 10 s and more: after a kill it would start
a trial from an older checkpoint, or from none.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ray.train._internal.checkpoint_manager import _CheckpointManager
from ray.train._internal.session import _TrainingResult
from ray.tune import Checkpoint
from ray.tune.experiment import Trial

from rllib_rnd.checkpoints import checkpoints_in, iteration_of, newest_valid, results_of


def renew(trial: Trial) -> None:
    """Gives a trial that is not yet running its newest valid checkpoint, and its last result.

    A trial whose last result is newer than its newest checkpoint has lost what came after that: it counts as being at
    the checkpoint, unless it was never to be saved at its end.
    """
    if trial.status != Trial.PENDING or not trial.storage.trial_dir_name:  # one without a folder has just been made
        return
    folder = Path(trial.path)
    if not folder.is_dir():
        return
    found, newest = checkpoints_in(folder), newest_valid(folder)
    rows = {row.get("training_iteration"): row for row in results_of(folder)}
    if newest is None:
        if not trial.checkpoint_at_end and rows:  # all that there was to keep of it
            trial.run_metadata.last_result = list(rows.values())[-1]
        return
    manager = _CheckpointManager(trial.run_metadata.checkpoint_manager.checkpoint_config)
    for checkpoint in found[: found.index(newest) + 1]:
        metrics = _result(rows, iteration_of(checkpoint))
        manager.register_checkpoint(
            _TrainingResult(Checkpoint(str(checkpoint), trial.storage.storage_filesystem), metrics)
        )
    trial.run_metadata.checkpoint_manager = manager
    trial.storage.current_checkpoint_index = _highest_index(folder)
    ends_unsaved = rows and not trial.checkpoint_at_end
    trial.run_metadata.last_result = list(rows.values())[-1] if ends_unsaved else _result(rows, iteration_of(newest))
    trial.run_metadata.invalidate_cache()


def _result(rows: dict[Any, dict[str, Any]], iteration: int | None) -> dict[str, Any]:
    """The result at an iteration; a kill may have come before it was logged."""
    return rows.get(iteration) or {"training_iteration": iteration}


def _highest_index(folder: Path) -> int:
    """The highest number of a checkpoint's folder, complete or not: the next one must not be written into it."""
    numbers = [re.fullmatch(r"\.?checkpoint_(\d+).*", path.name) for path in folder.iterdir()]
    return max((int(number.group(1)) for number in numbers if number), default=-1)
