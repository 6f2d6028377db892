"""How cost grows with environments, rollout length and runners: agent steps per second, time per part, memory.

    python -m benchmarks.scaling --envs 8 32 128 512 --steps 32 128 512 --runners 0 1 2 4

One table of three races: environments (128 steps, no runners), rollout length and runners (both with 32 environments).
Memory is that of the main process, which learns; runners have their own.

    python -m benchmarks.scaling --fit

Another race, 1, 2, 4 and 8 runners of 4 environments each, and a model of it (`scaling_model`): fitted to 1, 2 and 4,
held against 8; fitted to all, asked what 8, 64 and 512 runners with a core each would do, and what would hold them up.
"""

from __future__ import annotations

import dataclasses
import os
import sys

from benchmarks.harness import Contender, arguments, publish, race
from benchmarks.product import paper_config
from benchmarks.scaling_model import (
    PARTS,
    Cluster,
    Measured,
    Model,
    bottleneck,
    error,
    fit,
    predict,
    steps_per_s,
)
from rllib_rnd.envs import make_vector_env
from rllib_rnd.memory import predict as predict_memory

_ENVS, _STEPS = 4, 32  # of each runner in the race that is modelled
_TEN_GBIT = 1.25e9  # bytes/s
_PACKED = 1 / 20  # what lz4 leaves of Montezuma's frames, at least (benchmarks/results/transport.md)


def contender(envs: int, steps: int, runners: int, overlap: bool, flags: list[str]) -> Contender:
    """The package at one setting; its name holds the setting."""
    name = f"{envs} {steps} {runners}{' overlapped' if overlap else ''}"
    words = ["-m", "benchmarks.product", "--envs", envs, "--steps", steps, "--runners", runners, *flags]
    return Contender(name, [str(word) for word in words] + ["--overlap"] * overlap)


def row(c: Contender) -> dict[str, object]:
    """Medians of one contender; parts per 1,000 agent steps, so that settings can be compared."""
    envs, steps, runners, *overlapped = c.name.split()
    agent_steps = c.median("agent_steps")
    return {
        "environments": int(envs),
        "steps": int(steps),
        "runners": f"{runners}{' overlapped' if overlapped else ''}",
        "agent steps/s": agent_steps / c.median("seconds"),
        **{f"{part} per 1,000": 1000.0 * c.median(part) / agent_steps for part in PARTS},
        "peak MiB": c.median("peak_mib"),
        "of which frames": (int(steps) + 4) * int(envs) * 84 * 84 / 2**20,
    }


def rollout_bytes() -> int:
    """Of one runner in the race that is modelled."""
    config = paper_config("ALE/MontezumaRevenge-v5", _ENVS, 1, num_steps=_STEPS)
    env = make_vector_env(config.env, 1, {}, 1)
    return predict_memory(config, (env.single_observation_space, env.single_action_space)).rollout


def measure(runners: list[int], rounds: int, flags: list[str]) -> list[Measured]:
    """Runs the race that is modelled, one contender at a time: eight runners and their rivals would be too many."""
    found = []
    for count in runners:
        one = contender(_ENVS * count, _STEPS, count, False, flags)
        race([one], rounds)
        found.append(Measured(count, {part: one.median(part) for part in PARTS}))
    return found


def checked(measured: list[Measured], model: Model, held_out: int) -> list[dict[str, object]]:
    """A row of each measured setting: what was measured, what the model says, how far it is off."""
    rows: list[dict[str, object]] = []
    for one in measured:
        said = predict(model, one.runners, Cluster(cores=model.cores))
        rows.append(
            {
                "runners": f"{one.runners}{' (not fitted to)' if one.runners == held_out else ''}",
                "where": "measured here",
                **{part: f"{one.seconds[part]:.3f} / {said[part]:.3f}" for part in PARTS},
                "agent steps/s": f"{steps_per_s(model, one.runners, one.seconds):,.0f} / "
                f"{steps_per_s(model, one.runners, said):,.0f}",
                "off by": f"{error(model, one):+.0%}",
                "bottleneck": bottleneck(one.seconds),
            }
        )
    return rows


def foretold(model: Model, runners: list[int]) -> list[dict[str, object]]:
    """A row for each number of runners and place."""
    packed = int(model.rollout_bytes * _PACKED)
    places = {
        "a core each, 10 Gbit/s, unpacked": (model.rollout_bytes, Cluster(bandwidth=_TEN_GBIT)),
        "the same, lz4": (packed, Cluster(bandwidth=_TEN_GBIT)),
        "the same, learner 50 times as fast": (packed, Cluster(bandwidth=_TEN_GBIT, learner_speed=50.0)),
    }
    rows: list[dict[str, object]] = []
    for count in runners:
        for name, (size, where) in places.items():
            one = dataclasses.replace(model, rollout_bytes=size)
            parts = predict(one, count, where)
            rows.append(
                {
                    "runners": str(count),
                    "where": name,
                    **{part: f"{parts[part]:.3f}" for part in PARTS},
                    "agent steps/s": f"{steps_per_s(one, count, parts):,.0f}",
                    "off by": "",
                    "bottleneck": bottleneck(parts),
                }
            )
    return rows


def fit_and_foretell(runners: list[int], rounds: int, flags: list[str]) -> None:
    """Measures, fits, checks, foretells, publishes."""
    measured, size = measure(runners, rounds, flags), rollout_bytes()
    cores = float(os.cpu_count() or 1)
    fitted = fit(measured[:-1], _ENVS * _STEPS, size, cores)
    everything = fit(measured, _ENVS * _STEPS, size, cores)
    notes = (
        f"Seconds per iteration, measured / modelled; {_ENVS} environments and {_STEPS} steps for each runner, RND on "
        f"Montezuma's Revenge. Coefficients: {dataclasses.asdict(everything)}."
    )
    rows = checked(measured, fitted, runners[-1]) + foretold(everything, [8, 64, 512])
    publish("scaling_model", "Scaling, measured, modelled and foretold", rows, notes)


if __name__ == "__main__":
    args = arguments(
        __doc__,
        envs=[8, 32, 128, 512],
        steps=[32, 128, 512],
        runners=[0, 1, 2, 4],
        rounds=2,
        threads=0,
        gpu=False,
        fit=False,
    )
    flags = ["--threads", str(args.threads)] + ["--gpu"] * args.gpu
    if args.fit:
        fit_and_foretell([1, 2, 4, 8], args.rounds, flags)
        sys.exit()
    races = [
        [contender(envs, 128, 0, False, flags) for envs in args.envs],
        [contender(32, steps, 0, False, flags) for steps in args.steps],
        [contender(32, 128, r, overlap, flags) for r in args.runners for overlap in (False, True)[: 1 + (r > 0)]],
    ]
    rows = []
    for contenders in races:
        race(contenders, args.rounds)
        rows += [row(c) for c in contenders]
    publish(
        "scaling_gpu" if args.gpu else "scaling",
        "How cost grows",
        rows,
        "Seconds of each part are per 1,000 agent steps.",
    )
