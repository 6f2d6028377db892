"""Does every intrinsic reward work at all? Two sparse tasks, the same PPO, three seeds; a noisy TV; the price.

    python experiments/bonus_check/run.py
    python experiments/bonus_check/run.py --tasks minigrid --bonuses rnd snd_v   # a part, beside another call
    python experiments/bonus_check/run.py --report                               # results.md from what is there

Writes a CSV file per task, pictures and results.md; goes on where it was cut. The task "speed" wants an idle machine.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray

sys.path.insert(0, str(Path(__file__).parents[1]))
from report import write_report
from studies import Run, build, commit, run_missing

HERE = Path(__file__).parent
NONE = "none"

_DYNAMICS = "feature_dim: 64, model_size: 128"
_RND = "feature_dim: 64, hidden_sizes: [128]"
_SND = (
    "gamma: 0.99, reward_on: next, normalize_reward: true, clip_reward: null, reward_scale: 1.0, "
    "update_proportion: 0.5, keep_proportion: 1.0, feature_dim: 64, hidden_sizes: [128]"
)
#: What differs from each reward's defaults. For all: small networks, as the policy's are, and returns that do not stop
#: at the end of an episode.
BONUSES: dict[str, str] = {
    "count": "",
    "rnd": f"{_RND}, update_proportion: 1.0",
    "modified_rnd": "feature_dim: 64, update_proportion: 1.0",
    "icm": f"{_DYNAMICS}, normalize_reward: true",
    "disagreement": _DYNAMICS,
    "noveld": f"{_RND}, alpha: 1.0",
    "ride": f"{_DYNAMICS}, normalize_reward: true",
    "ngu": "capacity: 128, rnd_feature_dim: 64, rnd_hidden_sizes: [128]",
    "e3b": "feature_dim: 64",
    "re3": "normalize_reward: true",
    "byol_explore": f"{_DYNAMICS}, memory_size: 64, horizon: 4, reward_decay: 0.8, reward_scale: 0.03",
    "snd_v": f"{_SND}, pairs: 128",
    "snd_std": _SND,
    "snd_vic": _SND,
    "snd_infonce": _SND,
    "snd_barlow": f"{_SND}, pairs: 128",
    "feature_entropy": "normalize_reward: true, clip_reward: null, buffer_size: 32, feature_dim: 64",
}
IMAGES_ONLY = {"modified_rnd"}
#: Example, environment in place of the example's, budget in agent steps, mean return that ends a run, other settings.
TASKS: dict[str, tuple[str, str | None, int, float, tuple[str, ...]]] = {
    "minigrid": ("minigrid_ppo", "MiniGrid-MultiRoom-N4-S5-v0", 600_000, 0.9, ("env_config.max_steps=60",)),
    "deep_sea_pixels": ("deep_sea_pixels_rnd", None, 60_000, 0.9, ()),
    # Nothing is enough here: all learn for as long.
    "noisy_tv": ("deep_sea_pixels_rnd", None, 25_000, 9.0, ("env_config.noisy_tv=true",)),
}
_WARM_UP_STEPS = {"minigrid": 256, "deep_sea_pixels": 48, "noisy_tv": 48}
_NOISE_ACTION = 2
_SPEED_ITERATIONS = 8


def settings(task: str, bonus: str) -> tuple[str, ...]:
    """Overrides of the example."""
    own = TASKS[task][4]
    if bonus == NONE:
        return (*own, "intrinsic_reward=null", "warmup_steps=0")
    options = ", ".join(part for part in (f"type: {bonus}", "episodic: false", BONUSES[bonus]) if part)
    return (*own, f"intrinsic_reward={{{options}}}", f"warmup_steps={_WARM_UP_STEPS[task]}")


def planned(task: str, bonuses: list[str], seeds: list[int]) -> Iterator[Run]:
    """All bonuses of the first seed, then of the next."""
    example, env, budget, enough, _ = TASKS[task]
    for seed in seeds:
        for bonus in bonuses:
            if task != "minigrid" or bonus not in IMAGES_ONLY:
                yield Run(task, bonus, example, seed, budget, enough, settings=settings(task, bonus), env=env)


def watch_tv(run: Run) -> list[dict[str, Any]]:
    """Trains beside a noisy TV; says how often the policy turns to it and what its noise is paid, in one row.

    ``tv_share`` is of the policy's steps (a third by chance), ``tv_bonus`` the mean bonus of random steps that show
    noise over that of the others; last steps of episodes, after which nothing is shown, do not count.
    """
    algorithm, started, steps = build(run), time.time(), 0
    while steps < run.budget:
        runners = algorithm.train()["env_runners"]
        steps = int(runners["num_env_steps_sampled_lifetime"])
    share, ratio = [], float("nan")
    rewards = algorithm.learner_group._learner.trained_module.rewards() if run.variant != NONE else []
    for _ in range(4):
        rollout = algorithm.env_runner.sample().to_torch()
        shown = rollout.valid & ~rollout.terminated
        share.append(float((rollout.action == _NOISE_ACTION)[shown].float().mean()))
    if rewards:
        rollout = algorithm.env_runner.random_play(240).to_torch()
        shown, noise = rollout.valid & ~rollout.terminated, rollout.action == _NOISE_ACTION
        bonus = rewards[0].reward(rollout)[0]
        ratio = float(bonus[shown & noise].mean() / bonus[shown & ~noise].mean())
    algorithm.stop()
    return [
        {
            **run.columns,
            "agent_steps": steps,
            "seconds": round(time.time() - started, 2),
            "return_mean": round(float(runners["episode_return_mean"]), 5),
            "tv_share": round(sum(share) / len(share), 4),
            "tv_bonus": round(ratio, 4),
            "done": 1,
            "commit": commit(),
        }
    ]


def measure_speed(run: Run) -> list[dict[str, Any]]:
    """Seconds of sampling and learning per iteration, the least of several."""
    algorithm = build(run)
    times = [algorithm.train()["timers"] for _ in range(2 + _SPEED_ITERATIONS)][2:]
    samples = algorithm.config.samples_per_iteration()
    algorithm.stop()
    least = {name: min(float(t[name]) for t in times) for name in ("sample_s", "learn_s")}
    return [{**run.columns, "samples": samples, **least, "done": 1, "commit": commit()}]


def main() -> None:
    """Runs what is missing and writes the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    tasks = [*TASKS, "speed"]
    parser.add_argument("--tasks", nargs="+", default=tasks, choices=tasks)
    parser.add_argument("--bonuses", nargs="+", default=[NONE, *BONUSES], choices=[NONE, *BONUSES])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--report", action="store_true", help="run nothing")
    args = parser.parse_args()
    if not args.report:
        ray.init(include_dashboard=False, log_to_driver=False, num_cpus=2)
        for task in args.tasks:
            if task == "speed":
                runs = [r for t in ("minigrid", "deep_sea_pixels") for r in planned(t, args.bonuses, args.seeds)]
                run_missing(runs, HERE / "speed.csv", measure_speed)
            elif task == "noisy_tv":
                run_missing(planned(task, args.bonuses, args.seeds), HERE / "noisy_tv.csv", watch_tv)
            else:
                run_missing(planned(task, args.bonuses, args.seeds), HERE / f"{task}.csv")
        ray.shutdown()
    write_report(HERE, [NONE, *BONUSES], {task: (rules[2], rules[3]) for task, rules in TASKS.items()})


if __name__ == "__main__":
    main()
