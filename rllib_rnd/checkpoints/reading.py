"""What is in a checkpoint: the result that it was written at, the settings, the module."""

from __future__ import annotations

import contextlib
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModule

from rllib_rnd.checkpoints.content import CONSTRUCTOR, ContentReader, config_from_json, has_content
from rllib_rnd.checkpoints.format import STATE_FILE
from rllib_rnd.checkpoints.manifest import MANIFEST, read_manifest
from rllib_rnd.checkpoints.migration import migrated_algorithm, migrated_state
from rllib_rnd.checkpoints.pickles import read_inert
from rllib_rnd.errors import ConfigError, unknown_name_error
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.modules.layers import noisy_layers
from rllib_rnd.rllib_settings import REFUSED
from rllib_rnd.settings import OWN


def results_of(trial_folder: Path) -> list[dict[str, Any]]:
    """Returns the results that a trial logged, oldest first; a line that is none (cut short, damaged) is left out."""
    path = trial_folder / "result.json"
    results = []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        with contextlib.suppress(ValueError):
            result = json.loads(line)
            if isinstance(result, dict):
                results.append(result)
    return results


def iteration_of(checkpoint: Path) -> int | None:
    """Returns the training iteration that a checkpoint was written after."""
    if (checkpoint / MANIFEST).is_file():
        return read_manifest(checkpoint).iteration
    state = read_inert(checkpoint / STATE_FILE)
    iteration = state.get("training_iteration") if isinstance(state, dict) else None
    return iteration if isinstance(iteration, int) else None


def result_at(checkpoint: Path) -> dict[str, Any]:
    """Returns the result logged when a checkpoint was written, or {} if there is none."""
    iteration = iteration_of(checkpoint)
    matching = [r for r in results_of(checkpoint.parent) if r.get("training_iteration") == iteration]
    return matching[-1] if matching else {}


def checkpoint_config(folder: Path) -> AlgorithmConfig:
    """Returns the ``AlgorithmConfig`` that a checkpoint was trained with.

    It is made of plain data where no setting holds Python objects; else it is unpickled, and so runs code.

    Raises:
        ConfigError: the file is not what was written, or names code that is not installed here.
    """
    config = config_from_json(folder) if has_content(folder) else None
    if config is not None:
        return config
    try:
        with (folder / CONSTRUCTOR).open("rb") as file:
            saved = pickle.load(file)
        state = saved["ctor_args_and_kwargs"][0][0]
    except (pickle.UnpicklingError, ImportError, AttributeError, KeyError, IndexError, EOFError) as error:
        raise ConfigError(f"checkpoint {folder}", f"its configuration cannot be read ({error})") from error
    config = state if isinstance(state, AlgorithmConfig) else AlgorithmConfig.from_state(state)
    if isinstance(config, PPOConfig) and set(OWN) <= set(vars(config)):
        # Settings that do nothing here, which nobody can have set: their defaults may have been others then.
        now = type(config)().__dict__
        config.__dict__.update({name: now[name] for name in REFUSED if name in now})
    return config


def read_state(folder: Path) -> dict[str, Any]:
    """Returns an algorithm's state, as of ``Algorithm.get_state()``; that of format 3 is brought up to this one.

    Raises:
        ConfigError: a file cannot be read.
    """
    return ContentReader(folder).state() if has_content(folder) else migrated_state(folder)


def part_of(state: Mapping[str, Any], component: str) -> dict[str, Any]:
    """A state with nothing but one of its parts.

    Args:
        state: as of `read_state`.
        component: its path in it, as ``learner_group/learner/rl_module``.

    Raises:
        ConfigError: there is no such part.
    """
    name, _, rest = component.partition("/")
    if name not in state:
        raise unknown_name_error("component", name, state, "component")
    return {name: part_of(state[name], rest) if rest else state[name]}


def algorithm_state(folder: Path) -> dict[str, Any]:
    """As `read_state`, without the learner's; also of RLlib's own algorithms.

    Raises:
        ConfigError: the file cannot be read.
    """
    if has_content(folder):
        return ContentReader(folder).algorithm()
    return migrated_algorithm(folder)


def load_module(folder: Path) -> RLModule:
    """Returns the policy's RLModule, on the CPU, in evaluation mode and without the noise of noisy layers.

    Raises:
        ConfigError: the checkpoint holds no such module.
    """
    if has_content(folder):
        module = ContentReader(folder).module()
    else:
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
