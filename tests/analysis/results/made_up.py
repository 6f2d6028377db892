"""Runs with numbers made up, as objects and as result folders."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rllib_rnd.analysis.results.run import Run

STEP = 1000  # agent steps of an iteration


def made_up_run(
    variant: str = "rnd",
    seed: int = 0,
    final: float = 1.0,
    rows: int = 40,
    task: str = "rllib_rnd/DeepSea-v0 (size=20)",
    **changes: object,
) -> Run:
    """A run whose return rises to ``final`` and whose bonus falls."""
    rng = np.random.default_rng(seed)
    share = np.arange(1, rows + 1) / rows
    metrics = {
        "agent_steps": STEP * np.arange(1.0, rows + 1),
        "time_total_s": 7.0 * np.arange(1.0, rows + 1),
        "return_mean": final * share + 0.01 * rng.standard_normal(rows) * (share < 1),
        "intrinsic_reward_mean": np.exp(-6.0 * share),
        "positions_visited": np.floor(400 * share),
        "entropy": 1.4 - share,
        "approx_kl": np.full(rows, 0.01),
        "explained_variance_extrinsic": share,
        "explained_variance_intrinsic": 0.5 * share,
        "snd_target_drift": 0.1 * share,
        "nonfinite_updates": np.zeros(rows),
        "sample_s": np.full(rows, 3.0),
        "learn_s": np.full(rows, 1.0),
        "sync_s": np.zeros(rows),
    }
    run = Run(
        name=f"{variant}, seed={seed}",
        source=f"results/{variant}/{seed}",
        experiment="made_up",
        algorithm="IntrinsicPPO",
        seed=seed,
        task=task,
        frames_per_step=4,
        config={"variant": variant, "seed": seed, "lr": 0.001},
        state="finished",
        metrics=metrics,
        budget=STEP * rows,
        provenance={"commit": "abc1234", "command": "rllib train file x.yaml", "cores": "2"},
    )
    return dataclasses.replace(run, **changes)  # type: ignore[arg-type]


def write_folder(storage: Path, experiment: str, finals: Mapping[int, float], rows: int = 12, env: str = "") -> Path:
    """A result folder with a trial for each seed, as Tune leaves it."""
    home = storage / experiment
    home.mkdir(parents=True)
    record = {
        "experiment": experiment,
        "command": f"rllib train file {experiment}.yaml",
        "start": "1",
        "created": "2026-01-01T00:00:00",
        "description": {"stop": {"agent_steps": STEP * rows}, "run": "IntrinsicPPO"},
    }
    (home / "run.json").write_text(json.dumps(record))
    for seed, final in finals.items():
        trial = home / f"IntrinsicPPO_x_{sum(map(ord, experiment)):05x}_0000{seed}_seed={seed}_2026-01-01_00-00-0{seed}"
        trial.mkdir()
        params = {"env": env or "rllib_rnd/DeepSea-v0", "seed": seed, "lr": 0.001 if "a" in experiment else 0.002}
        (trial / "params.json").write_text(json.dumps(params))
        lines = [
            {
                "training_iteration": i,
                "time_total_s": 2.0 * i,
                "env_runners": {
                    "num_env_steps_sampled_lifetime": STEP * i,
                    "episode_return_mean": final * i / rows,
                    "num_episodes": 3,
                },
                "learners": {"default_policy": {"entropy": 1.0 / i}},
            }
            for i in range(1, rows + 1)
        ]
        (trial / "result.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return home
