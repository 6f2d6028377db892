"""Checkpoints that are there: which is the newest complete one of a run, what was reached there, what is in it."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.rl_module.rl_module import RLModule

from rllib_rnd.checkpoint_format import check_checkpoint
from rllib_rnd.errors import ConfigError
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.modules.layers import noisy_layers
from rllib_rnd.tracking.labels import label_of_folder
from rllib_rnd.tracking.metrics import read, show

# Parts without which a checkpoint cannot be restored.
_NEEDED = ("rllib_checkpoint.json", "algorithm_state.pkl", "class_and_ctor_args.pkl", "learner_group")


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


def find_checkpoint(path: str | Path, say: Callable[[str], object] = str) -> Path:
    """Returns the checkpoint meant by an experiment, trial or checkpoint folder: the newest complete one.

    Args:
        path: of the folder.
        say: is told, of a sweep, which trial it is: that with the best return; of several experiments (a storage) which
            of them: the newest.

    Raises:
        ConfigError: the folder does not exist, holds no complete checkpoint, or one of another version's format.
    """
    run = _newest_experiment(Path(path).expanduser().resolve(), say)
    checkpoint = _of_best_trial(run, say) or _newest_complete(run, path)
    check_checkpoint(checkpoint)
    return checkpoint


def _newest_experiment(folder: Path, say: Callable[[str], object]) -> Path:
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


def _of_best_trial(run: Path, say: Callable[[str], object]) -> Path | None:
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


def checkpoint_config(folder: Path) -> AlgorithmConfig:
    """Returns the ``AlgorithmConfig`` that a checkpoint was trained with.

    Raises:
        ConfigError: the file is not what RLlib writes, or names code that is not installed here.
    """
    try:
        with (folder / "class_and_ctor_args.pkl").open("rb") as file:
            saved = pickle.load(file)
        state = saved["ctor_args_and_kwargs"][0][0]
    except (pickle.UnpicklingError, ImportError, AttributeError, KeyError, IndexError, EOFError) as error:
        raise ConfigError(f"checkpoint {folder}", f"its configuration cannot be read ({error})") from error
    return state if isinstance(state, AlgorithmConfig) else AlgorithmConfig.from_state(state)


def load_module(folder: Path) -> RLModule:
    """Returns the policy's RLModule, on the CPU, in evaluation mode and without the noise of noisy layers.

    Raises:
        ConfigError: the checkpoint holds no such module.
    """
    path = folder / "learner_group" / "learner" / "rl_module" / "default_policy"
    if not path.is_dir():
        raise ConfigError(f"checkpoint {folder}", "holds no single-agent module (default_policy)")
    module = RLModule.from_checkpoint(str(path))
    for layer in noisy_layers(module):
        layer.silence()
    module.eval()
    return module


def load_own_module(folder: Path, wanted: str) -> IntrinsicPPOModule:
    """As `load_module`, if it is a module of this package.

    Args:
        folder: of the checkpoint.
        wanted: what it is loaded for, for the message.

    Raises:
        ConfigError: it holds none, or one of RLlib's own.
    """
    module = load_module(folder)
    if not isinstance(module, IntrinsicPPOModule):
        raise ConfigError(
            f"checkpoint {folder}",
            f"its module {type(module).__name__} has no policy_and_values(); {wanted} is for this package's algorithms "
            "(IntrinsicPPO, RND, SND), not for RLlib's own",
        )
    return module
