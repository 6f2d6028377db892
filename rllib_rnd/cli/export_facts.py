"""What a run's folder says of a checkpoint's training, for the card of an exported policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_rnd.analysis.results.groups import grouped
from rllib_rnd.analysis.results.run import Run
from rllib_rnd.analysis.results.runs import load_runs
from rllib_rnd.analysis.results.statistics import estimate, mean
from rllib_rnd.analysis.tape import action_names
from rllib_rnd.checkpoints import checkpoint_config, result_at
from rllib_rnd.envs import make_env
from rllib_rnd.errors import ConfigError, in_words
from rllib_rnd.export.card import SeedResult, Training
from rllib_rnd.tracking.labels import label_of_folder
from rllib_rnd.tracking.metrics import read

_NUMBERS = ("iteration", "agent_steps", "time_total_s", "return_mean")
_PROVENANCE = ("python", "ray", "torch", "rllib_rnd", "hardware", "cores")


def training_of(checkpoint: Path) -> Training:
    """All that is known of a checkpoint's training: in its folder, beside it, and in the record of its run."""
    config, trial = checkpoint_config(checkpoint), checkpoint.parent
    names = _action_names(config)
    mine, variant = _runs(trial)
    if mine is None:
        algorithm = config.algo_class.__name__ if config.algo_class else type(config).__name__
        return Training(algorithm, action_names=names)
    result = result_at(checkpoint)
    found = {name: read(result, name) for name in _NUMBERS}
    results = [_own_result(mine, found), *(_result(run) for run in variant if run is not mine)]
    returns = [one.return_mean for one in results if one.return_mean is not None]
    label = label_of_folder(trial)
    return Training(
        algorithm=mine.algorithm,
        run=", ".join(filter(None, (mine.experiment, label if label != trial.name else ""))),
        settings={key: in_words(value) for key, value in mine.config.items() if not key.startswith("callbacks")},
        results=tuple(sorted(results, key=lambda one: -1 if one.seed is None else one.seed)),
        interval=_interval(returns),
        numbers={name: value for name, value in found.items() if value is not None},
        provenance=_provenance(mine.provenance),
        action_names=names,
        frames_per_step=mine.frames_per_step,
        # Tune writes one per trial that has gone on with other settings; its name ends as the trial's id.
        changed=any(f.stem.removeprefix("pbt_policy_") in trial.name for f in trial.parent.glob("pbt_policy_*.txt")),
    )


def _interval(returns: Sequence[float]) -> tuple[float, float] | None:
    """Of the mean over seeds, as reports have it; None where there are too few."""
    found = estimate(mean, [np.array(returns)]) if returns else None
    return None if found is None or found.low is None or found.high is None else (found.low, found.high)


def _runs(trial: Path) -> tuple[Run | None, Sequence[Run]]:
    """The run that a trial's folder belongs to, and all that differ from it in their seeds alone; None: no run's."""
    if not (trial / "result.json").is_file():
        return None, ()
    try:
        runs = load_runs([str(trial.parent)], _NUMBERS)
    except ConfigError:  # nothing there can be read: a card needs no results
        return None, ()
    for variants in grouped(runs).values():
        for variant in variants:
            for run in variant.runs:
                if f"{trial.parent.name}/{trial.name}" in run.trials:
                    return run, variant.runs
    return None, ()


def _own_result(run: Run, found: Mapping[str, float | None]) -> SeedResult:
    """What the exported policy had reached when it was saved."""
    steps = found["agent_steps"]
    return SeedResult(run.seed, found["return_mean"], None if steps is None else int(steps), exported=True)


def _result(run: Run) -> SeedResult:
    reached = run.final("return_mean")
    return SeedResult(run.seed, None if np.isnan(reached) else reached, run.agent_steps or None, run.state)


def _provenance(known: Mapping[str, str]) -> dict[str, str]:
    """Commit, versions and hardware of the record; not the command, which names folders of somebody's machine."""
    said: dict[str, str] = {}
    if known.get("commit"):
        dirty = known.get("dirty", "").lower() in ("true", "1", "yes")
        said["commit"] = f"{known['commit']}{' with changes that were not committed' if dirty else ''}"
    said |= {key: known[key] for key in _PROVENANCE if known.get(key)}
    if known.get("created"):
        said["started"] = known["created"][:19].replace("T", " ") + " UTC"
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
