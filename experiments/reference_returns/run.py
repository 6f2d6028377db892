"""What play without learning reaches: uniform random actions in every environment, and heuristics where there are any.

    python experiments/reference_returns/run.py

Returns are raw, of whole episodes; writes results.md and results.json.
"""

from __future__ import annotations

import json
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rllib_rnd.envs import make_vector_env
from rllib_rnd.envs.warehouse_policies import greedy_nearest_item
from rllib_rnd.envs.warehouse_rules import VARIANTS
from rllib_rnd.sampling.episodes import EpisodeTracker

HERE = Path(__file__).parent
HARD_GAMES = ("MontezumaRevenge", "Gravitar", "Venture", "Pitfall", "PrivateEye", "Solaris")
DENSE_GAMES = ("Breakout", "Pong", "MsPacman")
GRIDS = ("Empty-8x8", "DoorKey-8x8", "KeyCorridorS3R3", "MultiRoom-N6", "FourRooms")

Policy = Callable[[np.ndarray], np.ndarray]


def play(env_id: str, config: dict[str, Any], episodes: int, num_envs: int, policy: Policy | None) -> dict[str, Any]:
    """Plays whole episodes, an equal number in each environment: taking whichever end first would favour short ones."""
    env = make_vector_env(env_id, num_envs, config)
    tracker, done = EpisodeTracker(num_envs), np.zeros(num_envs, dtype=bool)
    env.action_space.seed(0)
    obs, infos = env.reset(seed=0)
    tracker.start(infos)
    share, found = -(-episodes // num_envs), [[] for _ in range(num_envs)]
    started, steps = time.perf_counter(), 0
    while any(len(f) < share for f in found):
        action = env.action_space.sample() if policy is None else policy(obs)
        obs, reward, terminated, truncated, infos = env.step(action)
        reset_step, done = done, terminated | truncated
        tracker.step(reward, done, reset_step, infos)
        steps += num_envs
        for episode in tracker.take_finished() if done.any() else []:
            if len(found[episode.env_index]) < share:
                found[episode.env_index].append(episode)
    env.close()
    everything = [episode for f in found for episode in f]
    returns = np.array([e.raw_return for e in everything])
    cells = [len(e.places["position"]) for e in everything if "position" in e.places]
    rooms = [len(e.rooms) for e in everything if "room" in e.places]
    return {
        "env": env_id,
        "env_config": json.dumps(config) if config else "",
        "policy": "random" if policy is None else "nearest item",
        "episodes": len(everything),
        "mean return": float(returns.mean()),
        "std": float(returns.std()),
        "min": float(returns.min()),
        "max": float(returns.max()),
        "length": float(np.mean([e.length for e in everything])),
        "rooms per episode": float(np.mean(rooms)) if rooms else None,
        "cells per episode": float(np.mean(cells)) if cells else None,
        "steps/s": steps / (time.perf_counter() - started),
    }


def planned() -> list[tuple[str, dict[str, Any], int, int, Policy | None]]:
    """Environment, options, episodes, environments at a time, policy (None: random)."""
    rng = np.random.default_rng(0)
    plan: list[tuple[str, dict[str, Any], int, int, Policy | None]] = []
    plan += [(f"ALE/{game}-v5", {}, 32, 16, None) for game in (*HARD_GAMES, *DENSE_GAMES)]
    plan += [("rllib_rnd/SuperMarioBros-1-1-v0", {"max_steps": 2000}, 8, 4, None)]
    plan += [("rllib_rnd/DeepSea-v0", {"size": size}, 10_000, 1_000, None) for size in (10, 20)]
    plan += [(f"MiniGrid-{grid}-v0", {}, 200, 20, None) for grid in GRIDS]
    plan += [("rllib_rnd/PointMaze-v0", {"layout": name}, 2_000, 500, None) for name in ("u_maze", "medium", "spiral")]
    for env_id in VARIANTS:
        plan += [(env_id, {}, 2_000, 500, None)]
        plan += [(env_id, {}, 2_000, 500, lambda obs, v=env_id: greedy_nearest_item(obs, rng, v))]
    plan += [("CartPole-v1", {}, 200, 20, None), ("Pendulum-v1", {}, 200, 20, None)]
    plan += [("rllib_rnd/Pixels-v0", {"id": "MountainCar-v0", "interpolation": "linear"}, 8, 8, None)]
    return plan


def main() -> None:
    """Plays everything and writes the tables."""
    rows = []
    for entry in planned():
        rows.append(play(*entry))
        print({k: v for k, v in rows[-1].items() if k in ("env", "env_config", "mean return", "episodes")}, flush=True)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True, check=True
    ).stdout.strip()
    keys = list(rows[0])
    lines = [
        "# Returns without learning",
        "",
        "Raw returns of whole episodes, seed 0 of environments and actions; lengths in agent steps.",
        "",
        "| " + " | ".join(keys) + " |",
        "|" + "---|" * len(keys),
    ]
    for row in rows:
        cells = ["" if v is None else f"{v:,.3g}" if isinstance(v, float) and abs(v) < 1000 else f"{v:,.0f}"
                 if isinstance(v, float) else str(v) for v in row.values()]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", f"{platform.machine()}, commit {commit}.", "", "    python experiments/reference_returns/run.py", ""]
    (HERE / "results.md").write_text("\n".join(lines))
    (HERE / "results.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
