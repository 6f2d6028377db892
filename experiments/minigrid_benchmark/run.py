"""Eight intrinsic rewards on procedurally generated MiniGrid, as published, with equal budgets.

    python -m experiments.minigrid_benchmark.run                        # five tasks, three seeds, two runs at a time
    python -m experiments.minigrid_benchmark.run --hours 8              # a night of it; the next call goes on
    python -m experiments.minigrid_benchmark.run --seeds 0 1 2 3 4 --tasks doorkey_8x8 --rewards rnd noveld
    python -m experiments.minigrid_benchmark.run --budget 20e6 --tasks multiroom_n7_s4 --rewards ride   # goes on, too
    python -m experiments.minigrid_benchmark.run --report-only          # results.md and figure of what is there

Writes a CSV file per task, curves.png and results.md; goes on where it was cut, within a run too. Runs under way are
in results/minigrid_benchmark, with a log each.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from experiments.long_runs import CHECKPOINT_S, KEPT_ROWS
from experiments.minigrid_benchmark import report
from experiments.minigrid_benchmark.tasks import REWARDS, SEEDS, TASKS, planned
from experiments.scheduling import ROOT, Schedule, job_of
from experiments.studies import study_parser
from rllib_rnd.signals import exit_code

HERE = Path(__file__).parent
WORK = ROOT / "results" / "minigrid_benchmark"


def results() -> str:
    """The text of results.md."""
    return report.results()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def say(text: str) -> None:
    """One line with the time of day."""
    print(time.strftime("%H:%M:%S"), text, flush=True)


def write_report(folder: Path = HERE) -> None:
    """Figure and results.md of what is there."""
    report.draw(folder)
    (folder / "results.md").write_text(report.results(folder))


def main() -> int:
    """Runs what is missing and writes the report; returns the exit code."""
    parser = study_parser(__doc__)
    now, rewards = [name for name, task in TASKS.items() if task.planned], list(REWARDS)
    parser.add_argument("--tasks", nargs="+", default=now, choices=list(TASKS), metavar="TASK", help=_listed(TASKS))
    parser.add_argument(
        "--rewards", nargs="+", default=rewards, choices=rewards, metavar="REWARD", help=", ".join(REWARDS)
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS[:3]), help="0 1 2 first, then 3 4")
    parser.add_argument("--budget", type=float, help="agent steps of every run in place of the tasks' own")
    parser.add_argument("--hours", type=float, default=math.inf, help="saves and stops after so many")
    parser.add_argument("--at-once", type=int, default=2, help="runs at a time, a core each")
    parser.add_argument("--checkpoint-s", type=float, default=CHECKPOINT_S, help="seconds between checkpoints of a run")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of the runs under way")
    parser.add_argument("--study", type=Path, default=HERE, help="folder of the CSV files and of the report")
    args = parser.parse_args()
    if args.report_only:
        write_report(args.study)
        return 0
    budget = None if args.budget is None else int(args.budget)
    jobs = [
        job_of(run, args.work.resolve(), args.study, TASKS[run.study].budget / KEPT_ROWS)
        for run in planned(args.tasks, args.rewards, args.seeds, budget)
    ]
    outcome = Schedule(jobs, args.at_once, 3600 * args.hours, args.checkpoint_s, say).carry_out()
    if outcome.done:
        write_report(args.study)
    say(f"{len(outcome.done)} runs done, {len(outcome.failed)} failed, {outcome.left} left for the next call")
    if outcome.signal:
        return exit_code(outcome.signal)
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    sys.exit(main())
