"""Result folders as ``rllib train file`` leaves them, made by hand."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

STEPS = 100  # of an iteration
STOP = "env_runners/num_env_steps_sampled_lifetime"


def result(iteration: int, value: float | None, **more: object) -> dict[str, Any]:
    """A result of an iteration with a mean return, or none where no episode has ended; ``more`` replaces entries."""
    runners: dict[str, Any] = {"num_env_steps_sampled_lifetime": float(iteration * STEPS), "num_episodes": 2}
    if value is not None:
        runners |= {"episode_return_mean": value, "episode_return_max": value + 1.0}
    return {
        "env_runners": runners,
        "learners": {
            "default_policy": {"entropy": 1.0, "num_trainable_parameters": float("nan"), "plugins": {"rnd_loss": 0.5}},
            "__all_modules__": {"num_trainable_parameters": float("nan")},
        },
        "training_iteration": iteration,
        "time_total_s": iteration * 2.0,
        "timestamp": int(time.time()),
        "pid": 1,
        "hostname": "elsewhere",
        "config": {"lr": 0.1, "nested": {"text": 'a "config": { in it'}},
        "time_since_restore": iteration * 2.0,
        **more,
    }


def results(
    values: Sequence[float | None], first: int = 1, last: Mapping[str, object] | None = None
) -> list[dict[str, Any]]:
    """A result per value; ``last`` replaces entries of the last."""
    rows = [result(first + i, value, time_since_restore=2.0 * i) for i, value in enumerate(values)]
    if rows and last is not None:
        rows[-1].update(last)
    return rows


def write_trial(home: Path, rows: Sequence[Mapping[str, Any]], config: Mapping[str, Any], number: int = 0) -> Path:
    """A trial's folder in an experiment's; later numbers began later."""
    drawn = f"seed={config.get('seed')}"
    folder = home / f"IntrinsicPPO_{number:05x}_00000_{drawn}_2026-01-02_03-04-{number:02d}"
    folder.mkdir(parents=True)
    (folder / "params.json").write_text(json.dumps(config))
    (folder / "result.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def write_record(home: Path, budget: int | None = 500, single: bool = False, **more: object) -> None:
    """The record of an experiment, which its folder is named after."""
    home.mkdir(parents=True, exist_ok=True)
    stop = {} if budget is None else {STOP: float(budget)}
    description = {"run": "IntrinsicPPO", "single": single, "stop": stop, "config": {}}
    record = {"experiment": home.name, "command": f"rllib train file {home.name}.yaml", "start": "x",
              "created": "2026-01-02T03:04:05+00:00", "description": description, **more}  # fmt: skip
    (home / "run.json").write_text(json.dumps(record))


def write_experiment(
    storage: Path, name: str, scores: Mapping[int, Sequence[float | None]], config: Mapping[str, Any] | None = None
) -> Path:
    """An experiment with a finished trial per seed, whose returns are given; its budget is what the longest took."""
    home = storage / name
    settings = {"env": "rllib_rnd/Catch-v0", **(config or {})}
    write_record(home, STEPS * max(map(len, scores.values())))
    for number, (seed, values) in enumerate(scores.items()):
        write_trial(home, results(values, last={"done": True}), {**settings, "seed": seed}, number)
    return home
