"""A search over each reward's weight, on a task and seeds that the table does not use.

    python -m experiments.minigrid_benchmark.search                    # all, about half an hour of two cores
    python -m experiments.minigrid_benchmark.search --rewards noveld   # one: 8 runs of about a minute
    python -m experiments.minigrid_benchmark.search --hours 0.25       # the next call goes on

DoorKey-6x6, 300,000 agent steps, seeds 100 and 101: four weights for each reward, three entropy coefficients for PPO
without one; all else as published. In all 62 runs, 19 million agent steps. PPO alone solves this task, so that it tells
which weights stand in the way, and nothing of which ones lead farthest: a reward keeps the common weight of 1 unless it
fails with it, and has the largest one that does not fail then. Writes search.csv and results.md.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.long_runs import CHECKPOINT_S, KEPT_ROWS
from experiments.minigrid_benchmark import report
from experiments.minigrid_benchmark.run import HERE, WORK, say, write_report
from experiments.minigrid_benchmark.tasks import REWARDS, SEARCH_TASK, planned
from experiments.scheduling import Schedule, job_of
from experiments.studies import Run, study_parser

SEEDS = (100, 101)
#: The common weight first.
WEIGHTS = (1.0, 0.1, 0.03, 0.01)
#: Of episodic counts as they are: what never fades has, divided by a deviation, returns of ten deviations.
BETAS = (0.1, 0.03, 0.01, 0.003)
ENTROPY = (0.01, 0.003, 0.03)


def choices(reward: str) -> Iterator[dict[str, float]]:
    """What is tried, by setting."""
    name, values = {"none": ("entropy_coeff", ENTROPY), "count": ("intrinsic_reward.beta", BETAS)}.get(
        reward, ("intrinsic_reward.coeff", WEIGHTS)
    )
    yield from ({name: value} for value in values)


def searched(rewards: Sequence[str]) -> Iterator[Run]:
    """All settings of the first seed, then of the next."""
    for seed in SEEDS:
        for reward in rewards:
            (base,) = planned(["doorkey_8x8"], [reward], [seed], SEARCH_TASK.budget)
            for chosen in choices(reward):
                told = " ".join(f"{name.rpartition('.')[2]} {value:g}" for name, value in chosen.items())
                settings = (*base.settings, *(f"{name}={value}" for name, value in chosen.items()))
                yield dataclasses.replace(
                    base, study=report.SEARCH, variant=f"{reward} {told}", settings=settings, env=SEARCH_TASK.env
                )


def main() -> int:
    """Runs what is missing and writes the report; returns the exit code."""
    parser = study_parser(__doc__)
    parser.add_argument("--rewards", nargs="+", default=list(REWARDS), choices=list(REWARDS))
    parser.add_argument("--hours", type=float, default=math.inf, help="saves and stops after so many")
    parser.add_argument("--at-once", type=int, default=2, help="runs at a time, a core each")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of the runs under way")
    parser.add_argument("--study", type=Path, default=HERE, help="folder of search.csv and of the report")
    args = parser.parse_args()
    failed = False
    if not args.report_only:
        jobs = [job_of(run, args.work.resolve(), args.study, run.budget / KEPT_ROWS) for run in searched(args.rewards)]
        outcome = Schedule(jobs, args.at_once, 3600 * args.hours, CHECKPOINT_S, say).carry_out()
        failed = bool(outcome.failed)
    write_report(args.study)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
