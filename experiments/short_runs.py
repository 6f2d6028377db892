"""Runs of a minute on one core of a machine that has other work: no Ray, and CPU time in place of the clock's.

They end as soon as they are good enough, and are compared by the agent steps that they took.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from experiments.long_runs import without_ray
from experiments.run_report import METRIC, Columns, Task, blocks_of_runs
from experiments.studies import Row, Run, train
from rllib_rnd import IntrinsicPPO
from rllib_rnd.analysis.results.content import Question
from rllib_rnd.analysis.results.groups import Variant
from rllib_rnd.analysis.results.run import Run as FinishedRun
from rllib_rnd.analysis.results.score_sections import improvement_table, improvements
from rllib_rnd.analysis.results.statistics import FEWEST_SEEDS, estimate, iqm, steps_to
from rllib_rnd.analysis.results.tables import Table, markdown_lines


def train_here(run: Run) -> Iterator[Row]:
    """Trains in this process; ``seconds`` is the CPU time that it took, without the start of the process."""
    started = time.process_time()

    def seconds(_algorithm: IntrinsicPPO) -> Row:
        return {"seconds": round(time.process_time() - started, 2)}

    with without_ray():
        yield from train(run, seconds)


def steps_to_enough(run: FinishedRun, enough: float) -> float:
    """Agent steps to the first mean return that is enough; all of them where none was."""
    return steps_to(run.metrics["agent_steps"], run.metrics[METRIC], enough)[0]


def all_steps(task: Task, variants: Sequence[Variant]) -> dict[str, np.ndarray]:
    """Agent steps of every run, by variant."""
    assert task.enough is not None
    return {v.name: np.array([steps_to_enough(run, task.enough) for run in v.runs]) for v in variants}


def enough_seeds(variants: Sequence[Variant]) -> list[Variant]:
    """Those with seeds enough for an interval."""
    return [variant for variant in variants if len(variant.runs) >= FEWEST_SEEDS]


def steps_column(task: Task, variants: Sequence[Variant]) -> Columns:
    """Interquartile mean over seeds with its bootstrap interval; nothing of too few seeds for one."""
    steps = all_steps(task, enough_seeds(variants))
    return {"agent steps (IQM)": {name: estimate(iqm, [values]) for name, values in steps.items()}}


def sooner(task: Task, variants: Sequence[Variant], baseline: str) -> list[str]:
    """How probably a run of each variant is good enough after fewer agent steps than one of the baseline.

    Nothing while the baseline, or all others, have too few seeds for an interval.
    """
    fewer = {name: [-values] for name, values in all_steps(task, enough_seeds(variants)).items()}
    if baseline not in fewer or len(fewer) < 2:
        return []
    made = improvement_table(improvements(fewer, Question(baseline=baseline)))
    return markdown_lines(Table("", "", ("variant", "sooner than", "probability"), made.rows))


def blocks_of_short_runs(name: str, task: Task, variants: Sequence[Variant], baseline: str) -> list[list[str]]:
    """Tables, figure and origin of the runs of a task."""
    summary, *rest = blocks_of_runs(name, task, variants, extra=steps_column(task, variants))
    return [summary, *filter(None, [sooner(task, variants, baseline)]), *rest]
