"""``rllib runs``: what is in a storage."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence

from rich.table import Table

from rllib_rnd.analysis.results.groups import check_metric
from rllib_rnd.analysis.results.runs import Run, differences, load_runs
from rllib_rnd.cli.runtime import be_quiet, console, say
from rllib_rnd.tracking.metrics import duration, show

_RESULT = "return_mean"
_PIPE = 240  # columns where there is no terminal
_SHOWN = ("agent_steps", "iteration", "time_total_s")


def print_runs(places: Sequence[str], best: str | None = None, as_json: bool = False) -> None:
    """Prints a row per run.

    Args:
        places: as of `load_runs`.
        best: a metric; the largest comes first. None: by experiment, the newest last.
        as_json: print a JSON list instead.

    Raises:
        ConfigError: no runs there, or a metric that none has logged.
    """
    be_quiet(verbose=False)
    metric = best or _RESULT
    runs = load_runs(places, metrics=None if best else (metric, *_SHOWN))
    if best is not None:
        check_metric(runs, best, "--best")
        runs = sorted(
            runs, key=lambda run: -math.inf if math.isnan(run.final(metric)) else run.final(metric), reverse=True
        )
    labels = differences(runs)
    if as_json:
        say(json.dumps([record(run, metric, label) for run, label in zip(runs, labels, strict=True)], indent=1))
        return
    print_list(table_of(runs, labels, metric))


def table_of(runs: Sequence[Run], labels: Sequence[str], metric: str) -> Table:
    """A row per run; what is the same for all of them stands above, or nowhere."""
    tasks = {run.task for run in runs}
    table = Table(box=None, title=tasks.pop() if len(tasks) == 1 else None, title_justify="left", title_style="")
    columns = {
        "run": [folder(run) for run in runs],
        "task": [run.task for run in runs] if tasks else [],
        "what differs": list(labels) if any(labels) else [],
        "agent steps": [f"{run.agent_steps:,}" for run in runs],
        metric: [show(metric, value(run, metric)) for run in runs],
        "state": [state(run) for run in runs],
        "age": [age(run) for run in runs],
    }
    shown = {heading: cells for heading, cells in columns.items() if cells}
    for heading in shown:
        number = heading in ("agent steps", metric, "age")
        table.add_column(heading, justify="right" if number else "left", no_wrap=number, overflow="fold")
    for row in zip(*shown.values(), strict=True):
        table.add_row(*row)
    return table


def print_list(table: Table) -> None:
    """In the width of the terminal; into a file or a pipe one line per run."""
    out = console()
    if not out.is_terminal:
        out.width = _PIPE
    out.print(table, soft_wrap=False)


def folder(run: Run) -> str:
    """Name of the folder that commands take; of a run that has none here, its experiment's."""
    return run.trials[0].partition("/")[0] if run.trials else run.experiment


def value(run: Run, metric: str) -> float | None:
    """The last value, None where there is none."""
    last = run.final(metric)
    return None if math.isnan(last) else last


def state(run: Run) -> str:
    """The state, how far it came where that is not the end, and whether it was resumed."""
    told = run.state
    if not run.agent_steps:
        told += ", no result"
    elif run.budget and run.state != "finished":
        told += f" at {run.agent_steps / run.budget:.0%}"
    return told + (f", resumed {run.resumed}x" if run.resumed else "")


def age(run: Run) -> str:
    """Time since the last result."""
    return "-" if run.written is None else duration(max(0.0, time.time() - run.written))


def record(run: Run, metric: str, label: str) -> dict[str, object]:
    """A run for other programs."""
    return {
        "name": run.name,
        "source": run.source,
        "folder": folder(run),
        "experiment": run.experiment,
        "algorithm": run.algorithm,
        "task": run.task,
        "seed": run.seed,
        "differs": label,
        "state": run.state,
        "resumed": run.resumed,
        "agent_steps": run.agent_steps,
        "budget": run.budget,
        "metric": metric,
        "result": value(run, metric),
        "written": run.written,
        "settings": dict(run.config),
        "provenance": dict(run.provenance),
    }
