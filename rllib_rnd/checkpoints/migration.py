"""Checkpoints of format 3, which were RLlib's pickles, brought up to the current format as they are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rllib_rnd.checkpoints.format import CHECKPOINT_FORMAT, MIGRATED, OWN_STATE, STATE_FILE
from rllib_rnd.checkpoints.pickles import read_tolerant
from rllib_rnd.errors import ConfigError
from rllib_rnd.modules.generators import global_states


def migrated_state(folder: Path) -> dict[str, Any]:
    """The state of an algorithm, as of its ``get_state()`` in this version. **Code of the pickles runs.**

    Raises:
        ConfigError: a file cannot be read.
    """
    state = migrated_algorithm(folder)
    group = folder / "learner_group"
    learner = _read(group / "learner" / "state.pkl")
    modules = sorted(group.glob("learner/rl_module/*/module_state.pkl"))
    learner["rl_module"] = {path.parent.name: _read(path) for path in modules}
    state["learner_group"] = {"learner": _migrated_learner(learner)}
    for name in ("env_runner", "eval_env_runner", "env_to_module_connector", "module_to_env_connector"):
        if (folder / name / "state.pkl").is_file():
            state[name] = _component(folder / name)
    return state


def _component(folder: Path) -> dict[str, Any]:
    """A part of RLlib's, with its own parts."""
    parts = {path.parent.name: _component(path.parent) for path in sorted(folder.glob("*/state.pkl"))}
    return {**_read(folder / "state.pkl"), **parts}


def migrated_algorithm(folder: Path) -> dict[str, Any]:
    """As `migrated_state`, without learners and runners; that of RLlib's own algorithms as it is.

    Raises:
        ConfigError: the file cannot be read.
    """
    state = _read(folder / STATE_FILE)
    own = state.get(OWN_STATE)
    return state if own is None else {**state, OWN_STATE: _migrated_own(own)}


def _migrated_own(own: Mapping[str, Any]) -> dict[str, Any]:
    """This package's part: episodes as plain data; new episodes begin, each runner draws on as it did."""
    if own.get("format") not in MIGRATED:
        return dict(own)
    episodes = [vars(episode) for episode in own["recent_episodes"]]
    plays = own["play"]
    return {
        **own,
        "format": CHECKPOINT_FORMAT,
        "recent_episodes": [
            {**episode, "places": {kind: sorted(ids) for kind, ids in episode["places"].items()}}
            for episode in episodes
        ],
        "play": {"num_runners": len(plays), "states": [_migrated_play(i, plays[i]) for i in sorted(plays)]},
        "evaluation_generators": [],
    }


def _migrated_play(runner: int, play: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "runner": runner,
        "generators": {"own": play["generator"], **global_states()},
        "num_envs": play["num_envs"],
        "resets": play["resets"],
        "env": None,
        "why_not_saved": "the checkpoint is of format 3, of an older version",
        "random_play": None,
    }


def _migrated_learner(learner: Mapping[str, Any]) -> dict[str, Any]:
    """The generator of the first learner becomes a list of them."""
    own = dict(learner[OWN_STATE])
    own |= {"generators": [{"own": own.pop("generator"), **global_states()}], "reported": {}}
    return {**learner, OWN_STATE: own}


def _read(path: Path) -> dict[str, Any]:
    found = read_tolerant(path)
    if not isinstance(found, dict):
        raise ConfigError(f"checkpoint {path.parent}", f"{path.name} holds no state")
    return found
