"""What a run's folder says of a checkpoint's training, for the card of an exported policy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_rnd.analysis.tape import action_names
from rllib_rnd.checkpoints import checkpoint_config, result_at, results_of
from rllib_rnd.cli.folders import RECORD
from rllib_rnd.envs import make_env
from rllib_rnd.envs.atari_options import AtariOptions
from rllib_rnd.envs.registry import find_family
from rllib_rnd.errors import ConfigError, in_words
from rllib_rnd.export.card import SeedResult, Training
from rllib_rnd.tracking.labels import label_of_folder
from rllib_rnd.tracking.metrics import read

_NUMBERS = ("iteration", "agent_steps", "time_total_s", "return_mean")
_PROVENANCE = ("python", "ray", "torch", "rllib_rnd", "hardware", "cores")
_RESAMPLES = 10_000


def training_of(checkpoint: Path) -> Training:
    """All that is known of a checkpoint's training: in its folder, beside it, and in the record of its run."""
    config, trial = checkpoint_config(checkpoint), checkpoint.parent
    record, settings = _json(trial.parent / RECORD), _json(trial / "params.json")
    result = result_at(checkpoint)
    found = {name: read(result, name) for name in _NUMBERS}
    results = _seed_results(checkpoint, settings, config.seed, found)
    returns = [one.return_mean for one in results if one.return_mean is not None]
    label = label_of_folder(trial)
    return Training(
        algorithm=str(config.algo_class.__name__ if config.algo_class else type(config).__name__),
        run=", ".join(filter(None, (str(record.get("experiment", "")), label if label != trial.name else ""))),
        settings={key: in_words(value) for key, value in flat(settings).items() if not key.startswith("callbacks")},
        results=tuple(results),
        interval=mean_interval(returns),
        numbers={name: value for name, value in found.items() if value is not None},
        provenance=_provenance(record),
        action_names=_action_names(config),
        frames_per_step=_frames_per_step(config),
    )


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % percentile bootstrap interval of a mean over seeds, the same at every call; None below three."""
    if len(values) < 3:
        return None
    drawn = np.random.default_rng(0).choice(np.asarray(values), (_RESAMPLES, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def flat(settings: Mapping[str, Any], before: str = "") -> dict[str, object]:
    """Settings by dotted names; lists stay as they are."""
    found: dict[str, object] = {}
    for key, value in settings.items():
        name = f"{before}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return found


def _seed_results(
    checkpoint: Path, settings: Mapping[str, Any], seed: int | None, found: Mapping[str, float | None]
) -> list[SeedResult]:
    """This checkpoint's result, and those of the trials beside it that differ in their seeds alone."""
    own = SeedResult(seed, found["return_mean"], _whole(found["agent_steps"]), exported=True)
    if own.return_mean is None and own.agent_steps is None:
        return []
    results, trial = [own], checkpoint.parent
    for other in sorted(path for path in trial.parent.iterdir() if path.is_dir() and path != trial):
        theirs = _json(other / "params.json")
        if not theirs or _without_seed(theirs) != _without_seed(settings) or theirs.get("seed") == settings.get("seed"):
            continue
        last = (results_of(other) or [{}])[-1]
        results.append(SeedResult(theirs.get("seed"), read(last, "return_mean"), _whole(read(last, "agent_steps"))))
    return sorted(results, key=lambda result: -1 if result.seed is None else result.seed)


def _without_seed(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != "seed"}


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _provenance(record: Mapping[str, Any]) -> dict[str, str]:
    """Commit, versions and hardware of the record; not the command, which names folders of somebody's machine."""
    known = record.get("provenance")
    known = known if isinstance(known, Mapping) else {}
    said: dict[str, str] = {}
    if known.get("commit"):
        dirty = str(known.get("dirty", "")).lower() in ("true", "1", "yes")
        said["commit"] = f"{known['commit']}{' with changes that were not committed' if dirty else ''}"
    said |= {key: str(known[key]) for key in _PROVENANCE if known.get(key)}
    if record.get("created"):
        said["started"] = str(record["created"])[:19].replace("T", " ") + " UTC"
    return said


def _action_names(config: AlgorithmConfig) -> tuple[str, ...]:
    """What the actions of a Discrete space are called; () where they have no names of their own."""
    try:
        env = make_env(config.env, dict(config.env_config))
    except ConfigError:  # a vector environment, or a missing package: told where it matters
        return ()
    try:
        names = action_names(env) if hasattr(env.action_space, "n") else []
    finally:
        env.close()
    return () if all(name.lstrip("-").isdigit() for name in names) else tuple(names)


def _frames_per_step(config: AlgorithmConfig) -> int | None:
    """Frames of the game that pass in an agent step; None where there are none."""
    family, _ = find_family(config.env)
    if family.options_class is not AtariOptions or family.read is None:
        return None
    return int(family.read(dict(config.env_config)).frame_skip)


def _json(path: Path) -> dict[str, Any]:
    """A file that may be missing or broken."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
