"""Checkpoints that are there: which are whole, and which is the newest of a run."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rllib_rnd.checkpoints.atomic import is_checkpoint_folder
from rllib_rnd.checkpoints.format import check_checkpoint
from rllib_rnd.checkpoints.manifest import MANIFEST, problems, read_manifest, verify
from rllib_rnd.checkpoints.names import by_progress, is_unfinished, order, stamp
from rllib_rnd.checkpoints.reading import result_at
from rllib_rnd.checkpoints.remote import fetch, is_remote
from rllib_rnd.errors import ConfigError, nearest_name
from rllib_rnd.tracking.labels import label_of_folder
from rllib_rnd.tracking.metrics import read, show

# Of checkpoints without a manifest: parts without which they cannot be restored.
_NEEDED = ("rllib_checkpoint.json", "algorithm_state.pkl", "class_and_ctor_args.pkl", "learner_group")

# Files that a checkpoint has beside a manifest only: where they lie alone, the manifest is what is missing.
_OF_FORMAT_4 = ("config.json", "module.json", "module.safetensors", "learner.json", "learner.safetensors")


def is_complete(folder: Path) -> bool:
    """Whether a checkpoint was written to its end: every file that its manifest names is there in its full size.

    Contents are not read; `verify` does that. Of checkpoints without a manifest (format 3, RLlib's own algorithms): the
    files that are needed are there, and every pickle ends as a whole one does.
    """
    return not _what_is_missing(folder)


def _what_is_missing(folder: Path) -> list[str]:
    if (folder / MANIFEST).is_file():
        try:
            return problems(folder, read_manifest(folder), hashes=False)
        except ConfigError as error:
            return [error.problem]
    own = [name for name in _OF_FORMAT_4 if (folder / name).exists()]
    missing = [MANIFEST] if own else [name for name in _NEEDED if not (folder / name).exists()]
    if missing:
        return [f"{missing[0]} is missing: the run was stopped while it was written"]
    pickles = sorted(folder.rglob("*.pkl"))
    if not [p for p in pickles if p.name == "state.pkl" and p.parent.name.startswith("learner")]:
        return ["learner_group/learner/state.pkl is missing: the run was stopped while it was written"]
    cut = [path.relative_to(folder) for path in pickles if not _ends_like_a_pickle(path)]
    return [f"{path} is cut short: the run was stopped while it was written" for path in cut]


def _ends_like_a_pickle(path: Path) -> bool:
    """A whole pickle ends in its STOP opcode, ``.``."""
    with path.open("rb") as file:
        if file.seek(0, 2) == 0:
            return False
        file.seek(-1, 2)
        return file.read(1) == pickle.STOP


def _begun_in(folder: Path) -> list[Path]:
    """Whatever was meant to be a checkpoint, whole or not, oldest first; not what is still being written."""
    marks = (*folder.rglob("rllib_checkpoint.json"), *folder.rglob(MANIFEST))
    found = {path.parent for path in marks} | {p for p in folder.rglob("checkpoint_*") if p.is_dir()}
    return _in_order([path for path in found if not is_unfinished(path.relative_to(folder))])


def _in_order(checkpoints: Iterable[Path]) -> list[Path]:
    """Oldest first: by when their trials started, and where a clock went back by how far a run was then."""
    by_time = sorted(checkpoints, key=order)
    trials: dict[Path, list[Path]] = {}
    for path in by_time:
        trials.setdefault(path.parent, []).append(path)
    experiments: dict[Path, list[Path]] = {}
    for trial in trials:
        experiments.setdefault(trial.parent, []).append(trial)
    turns = {home: by_progress(parts, lambda trial: _begins_at(trials[trial])) for home, parts in experiments.items()}
    if turns == experiments:
        return by_time
    turn = {home: iter(parts) for home, parts in turns.items()}
    return [path for trial in trials for path in trials[next(turn[trial.parent])]]


def _begins_at(checkpoints: Sequence[Path]) -> int | None:
    """The iteration of a trial's first checkpoint; None where it does not say so."""
    for path in checkpoints:
        with contextlib.suppress(ConfigError, OSError):
            if (path / MANIFEST).is_file():
                return read_manifest(path).iteration
    return None


def checkpoints_in(folder: Path) -> list[Path]:
    """Returns the complete checkpoints of a trial or experiment folder, oldest first."""
    return [path for path in _begun_in(folder) if is_checkpoint_folder(path) and is_complete(path)]


def newest_valid(folder: Path, say: Callable[[str], object] = str) -> Path | None:
    """Returns the newest checkpoint in a folder of which every byte is as it was written; None if there is none.

    Args:
        folder: of a trial, an experiment, or a checkpoint itself.
        say: is told which newer ones are passed over, and why.
    """
    for path in reversed(_begun_in(folder)):
        wrong = what_is_wrong(path)
        if not wrong:
            return path
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        say(f"skipped {path}: {wrong[0]}{more}")
    return None


def what_is_wrong(folder: Path) -> list[str]:
    """As `verify`, also of checkpoints without a manifest, which are only looked at for what is missing."""
    return verify(folder) if (folder / MANIFEST).is_file() else _what_is_missing(folder)


def find_checkpoint(path: str | Path, say: Callable[[str], object] = str) -> Path:
    """Returns the checkpoint meant by an experiment, trial or checkpoint folder: the newest valid one.

    Args:
        path: of the folder; an address (``s3://...``) is looked through where it is, and its checkpoint brought here.
        say: is told, of a sweep, which trial it is: that with the best return; of several experiments (a storage) which
            of them: the newest; which newer checkpoints are passed over, and why.

    Raises:
        ConfigError: the folder does not exist, holds no complete checkpoint, or one of another version's format.
    """
    if is_remote(path):
        checkpoint = fetch(str(path), say)
    else:
        run = _newest_experiment(Path(path).expanduser().resolve(), say)
        checkpoint = _of_best_trial(run, say) or _newest(run, path, say)
    check_checkpoint(checkpoint)
    return checkpoint


def _newest_experiment(folder: Path, say: Callable[[str], object]) -> Path:
    """Of a folder with several experiments the one that was trained last, else the folder itself."""
    found = [] if is_checkpoint_folder(folder) or not folder.is_dir() else checkpoints_in(folder)
    # As Tune lays them out: experiment/trial/checkpoint. What lies higher up is no experiment's.
    experiments = list(dict.fromkeys(path.parent.parent for path in found if folder in path.parents[2:]))
    if len(experiments) < 2 or found[-1].parent.parent not in experiments:
        return folder
    newest = found[-1].parent.parent
    say(f"newest of {len(experiments)} experiments: {newest.relative_to(folder)}")
    return newest


def _of_best_trial(run: Path, say: Callable[[str], object]) -> Path | None:
    """The newest checkpoint of a sweep's best trial by mean return; None if the folder is no sweep's."""
    folders = [path for path in (run.iterdir() if run.is_dir() else ()) if label_of_folder(path) != path.name]
    trials = sorted(folders, key=lambda path: (stamp(path), path.name))  # in the order of their start
    found = {trial: newest for trial in trials if (newest := newest_valid(trial, say))}
    if len(trials) < 2 or not found:
        return None
    returns = {trial: read(result_at(checkpoint), "return_mean") for trial, checkpoint in found.items()}
    ranked = [(value, trial) for trial, value in returns.items() if value is not None]
    if ranked:
        value, trial = max(ranked, key=lambda pair: pair[0])
        said, score = f"best of {len(trials)} trials by return_mean", f" ({show('return_mean', value)})"
    else:
        trial, score = max(found, key=lambda trial: order(found[trial])), ""
        said = f"newest of {len(trials)} trials, as none has a return"
    say(f"{said}: {label_of_folder(trial)}{score}")
    return found[trial]


def _newest(folder: Path, path: str | Path, say: Callable[[str], object]) -> Path:
    """The newest valid checkpoint of a folder, which the user called ``path``."""
    if folder.is_file():
        raise ConfigError(f"checkpoint {path}", "is a file", "a run's folder, a trial's, or a checkpoint's")
    if not folder.is_dir():
        raise ConfigError(f"checkpoint {path}", "there is no such folder", nearest=_nearest_folder(Path(path)))
    if is_checkpoint_folder(folder):
        wrong = what_is_wrong(folder)
        if not wrong:
            return folder
        kind = "is damaged" if any("damaged" in problem for problem in wrong) else "is not complete"
        raise ConfigError(f"checkpoint {path}", f"{kind}: {wrong[0]}", "its run's folder, for the newest valid one")
    found = newest_valid(folder, say)
    if found is None:
        raise ConfigError(f"checkpoint {path}", "holds no complete checkpoint (a folder with rllib_checkpoint.json)")
    return found


def _nearest_folder(path: Path) -> str | None:
    """The folder that was probably meant: beside it, or in one of those here, as a run in its storage."""
    with contextlib.suppress(OSError):
        places = [path.parent, *([] if path.is_absolute() else _folders(Path()))]
        known = {folder.name: folder for place in reversed(places) for folder in _folders(place)}
        name = path.name if path.name in known else nearest_name(path.name, known)
        return None if name is None else str(known[name])
    return None


def _folders(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))
