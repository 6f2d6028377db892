"""Does every intrinsic reward work at all? Two sparse tasks, the same PPO, three seeds; a noisy TV; the price.

    python -m experiments.bonus_check.run
    python -m experiments.bonus_check.run --tasks minigrid --bonuses rnd snd_v   # a part, beside another call
    python -m experiments.bonus_check.run --report-only   # results.md and figures of what is there

Writes a CSV file per task, pictures and results.md; goes on where it was cut. The task "speed" wants an idle machine.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from experiments import run_report
from experiments.bonus_check import report
from experiments.bonus_check.report import NOISY_TV, NONE
from experiments.provenance import commit
from experiments.studies import Row, Run, build, local_ray, raw_bonus, run_missing, study_parser

HERE = Path(__file__).parent

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


@dataclass(frozen=True)
class Task:
    """What all rewards play, and when a run ends."""

    example: str
    budget: int  # agent steps
    enough: float  # mean return
    warmup_steps: int
    env: str | None = None  # in place of the example's
    settings: tuple[str, ...] = ()
    after: int = 0  # agent steps that a run goes on for once it is solved


TASKS = {
    "minigrid": Task(
        "minigrid_ppo", 600_000, 0.9, 256, "MiniGrid-MultiRoom-N4-S5-v0", ("env_config.max_steps=60",), after=100_000
    ),
    "deep_sea_pixels": Task("deep_sea_pixels_rnd", 60_000, 0.9, 48),
    # Nothing is enough here: all learn for as long.
    NOISY_TV: Task("deep_sea_pixels_rnd", 25_000, 9.0, 48, settings=("env_config.noisy_tv=true",)),
}
TITLES = {
    "minigrid": "MiniGrid-MultiRoom-N4-S5, one fixed layout, 60 steps, one reward at the end",
    "deep_sea_pixels": "DeepSea in pixels: 12 x 12 cells, 36 x 36 pixels",
}
REPORTED = {name: run_report.Task(title, TASKS[name].enough) for name, title in TITLES.items()}
_NOISE_ACTION = 2
_SPEED_ITERATIONS = 8


def settings(task: str, bonus: str) -> tuple[str, ...]:
    """Overrides of the example."""
    own = TASKS[task].settings
    if bonus == NONE:
        return (*own, "intrinsic_reward=null", "warmup_steps=0")
    options = ", ".join(part for part in (f"type: {bonus}", "episodic: false", BONUSES[bonus]) if part)
    return (*own, f"intrinsic_reward={{{options}}}", f"warmup_steps={TASKS[task].warmup_steps}")


def planned(task: str, bonuses: list[str], seeds: list[int]) -> Iterator[Run]:
    """All bonuses of the first seed, then of the next."""
    rules = TASKS[task]
    for seed in seeds:
        for bonus in bonuses:
            if task != "minigrid" or bonus not in IMAGES_ONLY:
                own = settings(task, bonus)
                run = Run(task, bonus, rules.example, seed, rules.budget, rules.enough, settings=own, env=rules.env)
                yield dataclasses.replace(run, after=rules.after)


def watch_tv(run: Run) -> list[Row]:
    """Trains beside a noisy TV; says how often the policy turns to it and what its noise is paid, in one row.

    ``tv_share`` is of the policy's steps (a third by chance), ``tv_bonus`` the mean bonus of random steps that show
    noise over that of the others; last steps of episodes, after which nothing is shown, do not count.
    """
    algorithm, started, steps = build(run), time.monotonic(), 0
    while steps < run.budget:
        runners = algorithm.train()["env_runners"]
        steps = int(runners["num_env_steps_sampled_lifetime"])
    share, ratio = [], float("nan")
    for _ in range(4):
        rollout = algorithm.env_runner.sample().to_torch()
        shown = rollout.valid & ~rollout.terminated
        share.append(float((rollout.action == _NOISE_ACTION)[shown].float().mean()))
    if run.variant != NONE:
        rollout = algorithm.env_runner.random_play(240).to_torch()
        shown, noise = rollout.valid & ~rollout.terminated, rollout.action == _NOISE_ACTION
        bonus = raw_bonus(algorithm, rollout)
        ratio = float(bonus[shown & noise].mean() / bonus[shown & ~noise].mean())
    algorithm.stop()
    return [
        {
            **run.columns,
            "agent_steps": steps,
            "seconds": round(time.monotonic() - started, 2),
            "return_mean": round(float(runners["episode_return_mean"]), 5),
            "tv_share": round(sum(share) / len(share), 4),
            "tv_bonus": round(ratio, 4),
            "done": 1,
            "commit": commit(),
        }
    ]


def measure_speed(run: Run) -> list[Row]:
    """Seconds of sampling and learning per iteration, the least of several."""
    algorithm = build(run)
    times = [algorithm.train()["timers"] for _ in range(2 + _SPEED_ITERATIONS)][2:]
    samples = algorithm.config.samples_per_iteration()
    algorithm.stop()
    least = {name: min(float(t[name]) for t in times) for name in ("sample_s", "learn_s")}
    return [{**run.columns, "samples": samples, **least, "done": 1, "commit": commit()}]


def results() -> str:
    """The text of results.md."""
    return report.results([NONE, *BONUSES], REPORTED)


def main() -> None:
    """Runs what is missing and writes the report."""
    parser = study_parser(__doc__)
    tasks = [*TASKS, "speed"]
    parser.add_argument("--tasks", nargs="+", default=tasks, choices=tasks)
    parser.add_argument("--bonuses", nargs="+", default=[NONE, *BONUSES], choices=[NONE, *BONUSES])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    args = parser.parse_args()
    if not args.report_only:
        with local_ray():
            for task in args.tasks:
                if task == "speed":
                    runs = [r for t in REPORTED for r in planned(t, args.bonuses, args.seeds)]
                    run_missing(runs, HERE / "speed.csv", measure_speed)
                elif task == NOISY_TV:
                    run_missing(planned(task, args.bonuses, args.seeds), HERE / f"{NOISY_TV}.csv", watch_tv)
                else:
                    run_missing(planned(task, args.bonuses, args.seeds), HERE / f"{task}.csv")
    report.draw([NONE, *BONUSES], REPORTED)
    (HERE / "results.md").write_text(results())


if __name__ == "__main__":
    main()
