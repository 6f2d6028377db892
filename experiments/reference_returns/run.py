"""What play without learning reaches: uniform random actions in every environment, and heuristics where there are any.

    python -m experiments.reference_returns.run
    python -m experiments.reference_returns.run --report-only   # results.md of what is there

Returns are raw, of whole episodes; writes results.json and results.md.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.provenance import commit, note
from experiments.report import document, table
from experiments.studies import study_parser
from rllib_rnd.envs import make_vector_env
from rllib_rnd.envs.warehouse_policies import greedy_nearest_item
from rllib_rnd.envs.warehouse_rules import VARIANTS
from rllib_rnd.sampling.episodes import EpisodeSummary, EpisodeTracker

HERE = Path(__file__).parent
HARD_GAMES = ("MontezumaRevenge", "Gravitar", "Venture", "Pitfall", "PrivateEye", "Solaris")
DENSE_GAMES = ("Breakout", "Pong", "MsPacman")
GRIDS = ("Empty-8x8", "DoorKey-8x8", "KeyCorridorS3R3", "MultiRoom-N6", "FourRooms")

SEED = 0
PROVENANCE = ("commit", "seed")  # of a row, not in the table

Policy = Callable[[np.ndarray], np.ndarray]


def play(
    env_id: str, config: dict[str, object], episodes: int, num_envs: int, policy: Policy | None
) -> dict[str, str | float | None]:
    """Plays whole episodes, an equal number in each environment: taking whichever end first would favour short ones."""
    env = make_vector_env(env_id, num_envs, config)
    tracker, done = EpisodeTracker(num_envs), np.zeros(num_envs, dtype=bool)
    env.action_space.seed(SEED)
    obs, infos = env.reset(seed=SEED)
    tracker.start(infos)
    share = -(-episodes // num_envs)
    found: list[list[EpisodeSummary]] = [[] for _ in range(num_envs)]
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
        "commit": commit(),
        "seed": SEED,
    }


def planned() -> list[tuple[str, dict[str, object], int, int, Policy | None]]:
    """Environment, options, episodes, environments at a time, policy (None: random)."""
    rng = np.random.default_rng(SEED)
    plan: list[tuple[str, dict[str, object], int, int, Policy | None]] = []
    plan += [(f"ALE/{game}-v5", {}, 32, 16, None) for game in (*HARD_GAMES, *DENSE_GAMES)]
    plan += [("rllib_rnd/SuperMarioBros-1-1-v0", {"max_steps": 2000}, 8, 4, None)]
    plan += [("rllib_rnd/DeepSea-v0", {"size": size}, 10_000, 1_000, None) for size in (10, 20)]
    plan += [(f"MiniGrid-{grid}-v0", {}, 200, 20, None) for grid in GRIDS]
    plan += [("rllib_rnd/PointMaze-v0", {"layout": name}, 2_000, 500, None) for name in ("u_maze", "medium", "spiral")]
    for env_id in VARIANTS:
        plan += [(env_id, {}, 2_000, 500, None)]
        plan += [(env_id, {}, 2_000, 500, functools.partial(greedy_nearest_item, rng=rng, variant=env_id))]
    plan += [("CartPole-v1", {}, 200, 20, None), ("Pendulum-v1", {}, 200, 20, None)]
    plan += [("rllib_rnd/Pixels-v0", {"id": "MountainCar-v0", "interpolation": "linear"}, 8, 8, None)]
    return plan


def written(value: str | float | None) -> str:
    """A cell of the table."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


def results() -> str:
    """The text of results.md."""
    rows = json.loads((HERE / "results.json").read_text())
    head = [name for name in rows[0] if name not in PROVENANCE]
    code, seeds = (", ".join(sorted({str(row[name]) for row in rows})) for name in PROVENANCE)
    return document(
        HERE,
        "Returns without learning",
        table(head, ([written(row[name]) for name in head] for row in rows)),
        [f"Seeds: {seeds}, of environments and actions; code: commit {code}."],
    )


def main() -> None:
    """Plays everything and writes the report."""
    if not study_parser(__doc__).parse_args().report_only:
        rows = []
        for entry in planned():
            rows.append(play(*entry))
            print({k: rows[-1][k] for k in ("env", "env_config", "mean return", "episodes")}, flush=True)
        (HERE / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
        note(HERE, anew=True)
    (HERE / "results.md").write_text(results())


if __name__ == "__main__":
    main()
