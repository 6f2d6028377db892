"""Does every intrinsic reward work at all? Two sparse tasks, the same PPO, three seeds; then a noisy TV.

    python experiments/bonus_check/run.py
    python experiments/bonus_check/run.py --tasks deep_sea_pixels --bonuses rnd snd_v   # a part, beside another call
    python experiments/bonus_check/run.py --report                                     # results.md from what is there

Writes a CSV file per task, pictures and results.md; goes on where it was cut.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import ray

sys.path.insert(0, str(Path(__file__).parents[1]))
from studies import Run, run_missing

HERE = Path(__file__).parent
NONE = "none"

_DYNAMICS = "feature_dim: 64, model_size: 128"
_SND = (
    "gamma: 0.99, episodic: false, reward_on: next, normalize_reward: true, clip_reward: null, reward_scale: 1.0, "
    "update_proportion: 0.5, keep_proportion: 1.0, feature_dim: 64, hidden_sizes: [128]"
)
#: What differs from each reward's defaults: networks as small as the policy's, and what is said in README.md.
BONUSES: dict[str, str] = {
    "rnd": "feature_dim: 64, hidden_sizes: [128], update_proportion: 1.0",
    "count": "episodic: false",
    "icm": f"{_DYNAMICS}, normalize_reward: true",
    "disagreement": _DYNAMICS,
    "ride": f"{_DYNAMICS}, normalize_reward: true",
    "noveld": "feature_dim: 64, hidden_sizes: [128]",
    "ngu": "capacity: 128, rnd_feature_dim: 64, rnd_hidden_sizes: [128]",
    "e3b": "feature_dim: 64",
    "re3": "episodic: false",
    "byol_explore": f"{_DYNAMICS}, memory_size: 64, horizon: 4, reward_decay: 0.8, reward_scale: 0.03",
    "snd_v": f"{_SND}, pairs: 128",
    "snd_std": _SND,
    "snd_vic": _SND,
    "snd_infonce": _SND,
    "snd_barlow": f"{_SND}, pairs: 128",
    "feature_entropy": "normalize_reward: true, clip_reward: null, buffer_size: 32, feature_dim: 64",
}
#: Example, budget in agent steps, and the mean return that ends a run.
TASKS = {
    "minigrid": ("minigrid_rnd", 600_000, 0.9),
    "deep_sea_pixels": ("deep_sea_pixels_rnd", 100_000, 0.9),
}


def settings(bonus: str) -> tuple[str, ...]:
    """Overrides of the example: its run is RND's or PPO's, its reward the bonus (or none)."""
    if bonus == NONE:
        return ("intrinsic_reward=null", "warmup_steps=0")
    return (f"intrinsic_reward={{type: {bonus}, {BONUSES[bonus]}}}",)


def planned(tasks: list[str], bonuses: list[str], seeds: list[int]) -> Iterator[tuple[str, Run]]:
    """All seeds of each bonus on each task."""
    for task in tasks:
        example, budget, enough = TASKS[task]
        for seed in seeds:
            for bonus in bonuses:
                yield task, Run(task, bonus, example, seed, budget, enough, settings=settings(bonus))


def main() -> None:
    """Runs what is missing and writes the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--bonuses", nargs="+", default=[NONE, *BONUSES], choices=[NONE, *BONUSES])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--report", action="store_true", help="run nothing")
    args = parser.parse_args()
    if not args.report:
        ray.init(include_dashboard=False, log_to_driver=False, num_cpus=2)
        for task, run in planned(args.tasks, args.bonuses, args.seeds):
            run_missing([run], HERE / f"{task}.csv")
        ray.shutdown()


if __name__ == "__main__":
    main()
