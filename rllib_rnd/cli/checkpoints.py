"""Checkpoints on disk: which is the newest complete one of a run, and what the run had reached there; how a new trial
starts from one; which of them are kept."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.tune import Callback, Checkpoint
from ray.tune.experiment import Trial

from rllib_rnd.checkpoint_format import check_checkpoint
from rllib_rnd.cli.runtime import say
from rllib_rnd.errors import ConfigError
from rllib_rnd.experiment.file import CheckpointOptions
from rllib_rnd.tracking.labels import label_of_folder
from rllib_rnd.tracking.metrics import find, read, show

# Parts without which a checkpoint cannot be restored.
_NEEDED = ("rllib_checkpoint.json", "algorithm_state.pkl", "class_and_ctor_args.pkl", "learner_group")
# Tune's counters that an algorithm's own checkpoint does not hold.
_COUNTERS = ("training_iteration", "time_total_s", "timesteps_total", "episodes_total")


def is_complete(folder: Path) -> bool:
    """Whether a checkpoint was written to its end.

    A run that is killed while it saves leaves some files out or cuts one short; a whole pickle ends in its
    STOP opcode, ``.``.
    """
    if not all((folder / name).exists() for name in _NEEDED):
        return False
    pickles = list(folder.rglob("*.pkl"))
    states = [p for p in pickles if p.name == "state.pkl" and p.parent.name.startswith("learner")]
    return bool(states) and all(_ends_like_a_pickle(path) for path in pickles)


def _ends_like_a_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, 2) == 0:
            return False
        file.seek(-1, 2)
        return file.read(1) == pickle.STOP


def _order(folder: Path) -> tuple[str, int, str]:
    """Sorts by the time in the trial folder's name, then by the checkpoint's number; copying keeps both."""
    number = re.search(r"(\d+)$", folder.name)
    return _stamp(folder.parent), int(number.group()) if number else -1, str(folder)


def _stamp(trial_folder: Path) -> str:
    found = re.search(r"\d{4}-\d{2}-\d{2}_\d{2}-\d{2}-\d{2}$", trial_folder.name)
    return found.group() if found else ""


def checkpoints_in(folder: Path) -> list[Path]:
    """Returns the complete checkpoints of a trial or experiment folder, oldest first."""
    found: Iterator[Path] = (p.parent for p in folder.rglob("rllib_checkpoint.json"))
    return sorted((p for p in found if is_complete(p)), key=_order)


def find_checkpoint(path: str | Path) -> Path:
    """Returns the checkpoint meant by an experiment, trial or checkpoint folder: the newest complete one.

    Of a sweep it is that of the trial with the best return, of several experiments (a storage folder) that of the
    newest; a line says which trial or experiment that is.

    Raises:
        ConfigError: the folder does not exist, holds no complete checkpoint, or one of another version's format.
    """
    run = _newest_experiment(Path(path).expanduser().resolve())
    checkpoint = _of_best_trial(run) or _newest_complete(run, path)
    check_checkpoint(checkpoint)
    return checkpoint


def _newest_experiment(folder: Path) -> Path:
    """Of a folder with several experiments the one that was trained last, else the folder itself."""
    is_checkpoint = (folder / "rllib_checkpoint.json").is_file()
    found = [] if is_checkpoint or not folder.is_dir() else checkpoints_in(folder)
    # As Tune lays them out: experiment/trial/checkpoint. What lies higher up is no experiment's.
    experiments = list(dict.fromkeys(path.parent.parent for path in found if folder in path.parents[2:]))
    if len(experiments) < 2 or found[-1].parent.parent not in experiments:
        return folder
    newest = found[-1].parent.parent
    say(f"newest of {len(experiments)} experiments: {newest.relative_to(folder)}")
    return newest


def _of_best_trial(run: Path) -> Path | None:
    """The newest checkpoint of a sweep's best trial by mean return; None if the folder is no sweep's."""
    folders = [path for path in (run.iterdir() if run.is_dir() else ()) if label_of_folder(path) != path.name]
    trials = sorted(folders, key=lambda path: (_stamp(path), path.name))  # in the order of their start
    found = {trial: checkpoints[-1] for trial in trials if (checkpoints := checkpoints_in(trial))}
    if len(trials) < 2 or not found:
        return None
    returns = {trial: read(result_at(checkpoint), "return_mean") for trial, checkpoint in found.items()}
    ranked = [(value, trial) for trial, value in returns.items() if value is not None]
    if ranked:
        value, trial = max(ranked, key=lambda pair: pair[0])
        said, score = f"best of {len(trials)} trials by return_mean", f" ({show('return_mean', value)})"
    else:
        trial, score = max(found, key=lambda trial: _order(found[trial])), ""
        said = f"newest of {len(trials)} trials, as none has a return"
    say(f"{said}: {label_of_folder(trial)}{score}")
    return found[trial]


def _newest_complete(folder: Path, path: str | Path) -> Path:
    """The newest complete checkpoint of a folder, which the user called ``path``."""
    if not folder.is_dir():
        raise ConfigError(f"checkpoint {path}", "there is no such folder")
    if (folder / "rllib_checkpoint.json").is_file():
        if is_complete(folder):
            return folder
        raise ConfigError(f"checkpoint {path}", "is not complete; the run was stopped while it was written")
    found = checkpoints_in(folder)
    if not found:
        raise ConfigError(f"checkpoint {path}", "holds no complete checkpoint (a folder with rllib_checkpoint.json)")
    return found[-1]


def results_of(trial_folder: Path) -> list[dict[str, Any]]:
    """Returns the results that a trial logged, oldest first; a line cut short by a kill is left out."""
    path = trial_folder / "result.json"
    results = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            results.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return results


def iteration_of(checkpoint: Path) -> int | None:
    """Returns the training iteration that a checkpoint was written after."""
    with (checkpoint / "algorithm_state.pkl").open("rb") as file:
        iteration: int | None = pickle.load(file).get("training_iteration")
    return iteration


def result_at(checkpoint: Path) -> dict[str, Any]:
    """Returns the result logged when a checkpoint was written, or {} if there is none."""
    iteration = iteration_of(checkpoint)
    matching = [r for r in results_of(checkpoint.parent) if r.get("training_iteration") == iteration]
    return matching[-1] if matching else {}


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


class KeepBest(Callback):
    """Keeps the checkpoints of each trial with the best scores, and the newest, from which a run goes on.

    Tune's own ``checkpoint_score_attribute`` does not look into a result, where all metrics of RLlib are.

    Args:
        options: the metric by its path in the result, what best means, and how many are kept (None: all).
    """

    def __init__(self, options: CheckpointOptions) -> None:
        self.options = options
        self.scores: dict[str, dict[str, float]] = {}  # trial -> path of a checkpoint -> score, oldest first

    def on_checkpoint(self, *, trial: Trial, checkpoint: Checkpoint, **_: object) -> None:
        """Scores the new checkpoint by the result that it was written at, and deletes what is too many."""
        if trial.trial_id not in self.scores:
            self.scores[trial.trial_id] = self._found(Path(checkpoint.path).parent)
        scores = self.scores[trial.trial_id]
        scores.pop(checkpoint.path, None)
        scores[checkpoint.path] = self._score(trial.last_result)
        if self.options.num_to_keep is None:
            return
        ranked = sorted(reversed(scores), key=scores.__getitem__, reverse=True)  # of two that are alike the newer
        for path in ranked[self.options.num_to_keep :]:
            if path != checkpoint.path:
                del scores[path]
                checkpoint.filesystem.delete_dir(path)

    def best(self, trial_folder: str) -> tuple[str, float] | None:
        """Returns the best checkpoint of a trial's folder and its score, or None if none has one."""
        scored = {
            path: score
            for scores in self.scores.values()
            for path, score in scores.items()
            if score > float("-inf") and Path(path).parent == Path(trial_folder)
        }
        if not scored:
            return None
        path = max(scored, key=scored.__getitem__)
        return path, scored[path] * self._sign

    @property
    def _sign(self) -> float:
        return 1.0 if self.options.checkpoint_score_order == "max" else -1.0

    def _score(self, result: Mapping[str, Any]) -> float:
        value = find(result, str(self.options.checkpoint_score_attribute))
        return float("-inf") if value is None else value * self._sign

    def _found(self, folder: Path) -> dict[str, float]:
        """What a trial that goes on has kept before."""
        return {str(path): self._score(result_at(path)) for path in checkpoints_in(folder)} if folder.is_dir() else {}
