"""Checkpoints of runs: which one a command means, how a new trial starts from one, which of them are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.fs
import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.tune import Callback, Checkpoint
from ray.tune.experiment import Trial

from rllib_rnd import checkpoints
from rllib_rnd.algorithm import IntrinsicPPO
from rllib_rnd.checkpoints import checkpoints_in, is_complete, result_at
from rllib_rnd.checkpoints.atomic import discard
from rllib_rnd.checkpoints.finding import what_is_wrong
from rllib_rnd.cli.runtime import say
from rllib_rnd.experiment.file import CheckpointOptions
from rllib_rnd.tracking.metrics import find

# Tune's counters that an algorithm's own checkpoint does not hold.
_COUNTERS = ("training_iteration", "time_total_s", "timesteps_total", "episodes_total")


def find_checkpoint(path: str | Path) -> Path:
    """As `rllib_rnd.checkpoints.find_checkpoint`; of a sweep, a line says which trial it is of.

    Raises:
        ConfigError: as there.
    """
    return checkpoints.find_checkpoint(path, say)


@dataclass
class StartFrom:
    """An ``on_algorithm_init`` callback that continues from a checkpoint.

    `Tuner.restore` can go back further than the newest checkpoint on disk, because it follows Tune's own
    snapshot of the experiment; this does not use that snapshot.

    Attributes:
        checkpoint: the folder.
        counters: Tune's counters at the checkpoint (seconds trained, ...); empty starts them at zero.
        before: a callback of the experiment file that runs first.
    """

    checkpoint: str
    counters: dict[str, Any] = field(default_factory=dict)
    before: Callable[..., Any] | None = None

    def __call__(self, algorithm: Algorithm, **kwargs: object) -> None:
        """Restores weights, optimizer, statistics, counters and the iteration number."""
        if self.before is not None:
            self.before(algorithm=algorithm, **kwargs)
        algorithm.restore_from_path(self.checkpoint)
        # The same fields that Trainable.restore() sets.
        algorithm._time_total = self.counters.get("time_total_s") or 0.0
        algorithm._timesteps_total = self.counters.get("timesteps_total")
        algorithm._episodes_total = self.counters.get("episodes_total")
        # Done once. Left in the configuration it would be saved with it, and every checkpoint of this run
        # would need the one it started from. (The configuration is frozen: this goes around its __setattr__.)
        algorithm.config.__dict__["callbacks_on_algorithm_init"] = self.before


def start_from(checkpoint: Path, with_counters: bool) -> StartFrom:
    """Builds the callback; ``with_counters`` continues Tune's clocks too (a resume)."""
    result = result_at(checkpoint) if with_counters else {}
    return StartFrom(str(checkpoint), {key: result[key] for key in _COUNTERS if key in result})


class KeepCheckpoints(Callback):
    """Keeps of each trial the checkpoints with the best scores, or the last ones, and the newest in any case.

    A lone run is one trial however often it went on, each time in another folder: what it is to keep is counted over
    all of them. Nothing is deleted before a newer checkpoint is there as a whole, nor what another trial is to start
    from, as in population based training.

    Tune's own way ends in a log that nobody reads where a checkpoint cannot be deleted, and does not look into a
    result, where all metrics of RLlib are.

    Args:
        options: the metric by its path in the result and what best means, or None: the newest are the best; how many
            are kept (None: all).
        tell: says a line to the user.
        lone: the run has one trial.
    """

    def __init__(self, options: CheckpointOptions, tell: Callable[[str], object] = say, lone: bool = False) -> None:
        self.options = options
        self.lone = lone
        self.scores: dict[str, dict[str, float]] = {}  # trial -> path of a checkpoint -> score, oldest first
        self._tell = tell
        self._resisting: dict[str, set[str]] = {}  # trial -> checkpoints that could not be deleted
        self._told = False

    def on_checkpoint(self, *, trial: Trial, checkpoint: Checkpoint, trials: Sequence[Trial] = (), **_: object) -> None:
        """Scores the new checkpoint by the result that it was written at, and deletes what is too many."""
        local = isinstance(checkpoint.filesystem, pyarrow.fs.LocalFileSystem)
        if trial.trial_id not in self.scores:
            self.scores[trial.trial_id] = self._found(self._home(Path(checkpoint.path).parent)) if local else {}
        scores = self.scores[trial.trial_id]
        scores.pop(checkpoint.path, None)
        scores[checkpoint.path] = self._score(trial.last_result)
        if self.options.num_to_keep is None or (local and not is_complete(Path(checkpoint.path))):
            return  # what is there is all that the run can go on from
        ranked = sorted(reversed(scores), key=scores.__getitem__, reverse=True)  # of two that are alike the newer
        resisting = self._resisting.pop(trial.trial_id, set())
        wanted = {other.checkpoint.path for other in trials if other is not trial and other.checkpoint is not None}
        for path in (*resisting, *ranked[self.options.num_to_keep :]):
            if path != checkpoint.path and path not in wanted:
                scores.pop(path, None)
                self._delete(trial.trial_id, path, checkpoint.filesystem)

    def _delete(self, trial: str, path: str, system: pyarrow.fs.FileSystem) -> None:
        """Deletes a checkpoint; where that fails it is told once, and tried again at the next one."""
        try:
            if isinstance(system, pyarrow.fs.LocalFileSystem):
                discard(Path(path))
            else:
                system.delete_dir(path)
        except FileNotFoundError:
            return
        except OSError as error:
            self._resisting.setdefault(trial, set()).add(path)
            if not self._told:
                self._told = True
                reason = error.strerror or str(error)
                self._tell(f"warning: the old checkpoint {path} cannot be deleted ({reason}); tried again at the next")

    def best(self, trial_folder: str) -> tuple[str, float] | None:
        """Returns the best checkpoint of a trial's folder and its score, or None if none has one."""
        scored = {
            path: score
            for scores in self.scores.values()
            for path, score in scores.items()
            if score > float("-inf") and self._home(Path(path).parent) == self._home(Path(trial_folder))
        }
        if not scored:
            return None
        path = max(scored, key=scored.__getitem__)
        return path, scored[path] * self._sign

    def _home(self, trial_folder: Path) -> Path:
        """The folder that holds all that a trial has ever saved."""
        return trial_folder.parent if self.lone else trial_folder

    @property
    def _sign(self) -> float:
        return 1.0 if self.options.checkpoint_score_order == "max" else -1.0

    def _score(self, result: Mapping[str, Any]) -> float:
        if self.options.checkpoint_score_attribute is None:
            return 0.0
        value = find(result, str(self.options.checkpoint_score_attribute))
        return float("-inf") if value is None else value * self._sign

    def _found(self, folder: Path) -> dict[str, float]:
        """What a trial that goes on has kept before. A damaged one takes no other's place."""
        valid = [path for path in checkpoints_in(folder) if not what_is_wrong(path)] if folder.is_dir() else []
        return {str(path): self._score(result_at(path)) for path in valid}


class TellSaves(Callback):
    """Says when a trial's checkpoint could not be saved, once until one can be again; training goes on meanwhile.

    Args:
        tell: says a line to the user.
    """

    def __init__(self, tell: Callable[[str], object] = say) -> None:
        self._tell = tell
        self._saved: set[str] = set()  # trials whose save under way has brought a checkpoint
        self._failing: set[str] = set()

    def on_checkpoint(self, *, trial: Trial, **_: object) -> None:
        """A checkpoint is there."""
        self._saved.add(trial.trial_id)
        if trial.trial_id in self._failing:
            self._failing.discard(trial.trial_id)
            self._tell("Checkpoints are saved again.")

    def on_trial_save(self, *, trial: Trial, **_: object) -> None:
        """A save is over; Tune tells of it also if there is none."""
        if trial.trial_id in self._saved:
            self._saved.discard(trial.trial_id)
            return
        if trial.trial_id in self._failing or not issubclass(trial.get_trainable_cls(), IntrinsicPPO):
            return
        self._failing.add(trial.trial_id)
        kept = trial.checkpoint
        rest = f"{kept.path} stays the newest" if kept is not None else "nothing has been saved yet"
        self._tell(f"warning: the checkpoint was not saved ({_reason(trial)}); training goes on, {rest}.")


def _reason(trial: Trial) -> str:
    """Why a trial's newest save failed, asked of its process, which now waits for what comes next."""
    actor = trial.temporary_state.ray_actor
    try:
        return str(ray.get(actor.save_problem.remote(), timeout=10.0)) or "unknown" if actor is not None else "unknown"
    except (ray.exceptions.RayError, TimeoutError):
        return "its process does not say why"
