"""What ``rllib train`` prints when an experiment has ended."""

from __future__ import annotations

import contextlib
import math
import shlex
import shutil
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune import Result, ResultGrid
from rich.table import Table

from rllib_rnd.checkpoints import find_checkpoint
from rllib_rnd.cli.runtime import console, say
from rllib_rnd.cli.surroundings import advice_in
from rllib_rnd.envs.info import PLACES
from rllib_rnd.errors import ConfigError
from rllib_rnd.own_code import cause_of
from rllib_rnd.tracking.labels import label_of_folder, without_seed
from rllib_rnd.tracking.metrics import STEADY_PATHS, full_path, lookup, read, short_name, show
from rllib_rnd.tracking.mlflow_store import charts_link
from rllib_rnd.tracking.stopping import reached

_ROWS = (
    ("mean return", "return_mean"),
    ("best return", "return_max"),
    ("rooms visited", "rooms_visited"),
    ("rooms per episode", "rooms_per_episode_mean"),
    ("positions visited", "positions_visited"),
    ("farthest progress", "progress_max"),
    ("intrinsic reward (raw mean)", "intrinsic_reward_mean"),
    ("pre-training rollouts", "pretraining_rollouts"),
    ("held-out loss", "pretraining_loss"),
    ("agent steps", "agent_steps"),
    ("agent steps/s", "agent_steps_per_s"),
    ("time", "time_total_s"),
)
_SHOWN_TRIALS = 20
_FEW_SEEDS = 3  # of fewer there is no mean worth the name


@dataclass
class Report:
    """What the summary needs besides the results.

    Attributes:
        name: folder name of the experiment.
        folder: its full path.
        resume_command: continues it.
        mlflow_uri: the store that it was logged to, or None.
        mlflow_experiment: its MLflow experiment's id there.
        wandb_command: sends what was logged offline; "" if there is nothing to send.
        interrupted: what stopped it, Ctrl-C or SIGTERM; "" if nothing did.
        stop: the stop conditions by result path.
        best: the best checkpoint of a trial's folder with its score, where the best are kept.
        score: the metric that is best by.
    """

    name: str
    folder: str
    resume_command: str
    mlflow_uri: str | None
    interrupted: str
    stop: Mapping[str, float]
    best: Callable[[str], tuple[str, float] | None] | None = None
    score: str = ""
    mlflow_experiment: str = ""
    wandb_command: str = ""


def print_report(report: Report, results: ResultGrid | None, crash: Exception | None) -> None:
    """Prints returns, rooms, intrinsic reward, speed, the checkpoint and the next commands.

    Args:
        report: names and commands.
        results: Tune's ``ResultGrid``, or None after a crash.
        crash: what Tune itself raised.
    """
    trials = list(results) if results is not None else []
    if report.interrupted:
        say(f"\n{report.name}: stopped by {report.interrupted}.")
    if crash is not None:
        cause = cause_of(crash)
        say(f"\n{report.name}: failed. {cause}" + (f" ({advice_in(cause)})" if advice_in(cause) else ""))
    first: Result | None = None
    if len(trials) == 1:
        _print_one(report, trials[0])
        first = trials[0]
    elif trials:
        first = _print_several(report, trials)
    for trial in trials:
        if trial.error is not None:
            cause = cause_of(trial.error)
            say(f"failed: {cause}")
            if advice_in(cause):
                say(f"        {advice_in(cause)}")
            say(f"        the whole error: {relative(str(Path(trial.path) / 'error.txt'))}")
    failed = crash is not None or any(trial.error is not None for trial in trials)
    _print_commands(report, first, trials[0].metrics or {} if len(trials) == 1 else {}, failed)
    if len(trials) > 1 and any(trial.metrics for trial in trials):
        say(f"report       {typed(f'rllib report {shlex.quote(relative(report.folder))}')}")


def _print_one(report: Report, trial: Result) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    for label, name in _ROWS:
        if name == "agent_steps_per_s" and not _value(trial, "agent_steps"):
            continue  # pre-training plays, but none of its steps count
        value = _value(trial, name)
        if value is not None:
            table.add_row(label, show(name, value))
        elif name == "return_mean" and trial.metrics:
            table.add_row(label, "- (no episode has ended)")
    met = None if report.interrupted or trial.error is not None else reached(trial.metrics or {}, report.stop)
    if met is not None:
        table.add_row("ended at", f"{short_name(met[0])} >= {met[1]:,.15g}")
    say(f"\n{report.name}")
    console().print(table)


def _print_several(report: Report, trials: list[Result]) -> Result:
    """Prints the trials, best return first, and what seeds come to; returns the best one that has a checkpoint."""
    ranked = sorted(trials, key=_score, reverse=True)
    columns = {
        "return_mean": "return",
        "return_max": "best",
        "intrinsic_reward_mean": "intrinsic",
        "agent_steps": "agent steps",
        "time_total_s": "time",
    }
    shown = {
        name: heading for name, heading in columns.items() if any(_value(trial, name) is not None for trial in trials)
    }
    say(f"\n{report.name}: {len(trials)} trials, best return first")
    table = trial_table(list(shown.values()))
    for trial in ranked[:_SHOWN_TRIALS]:
        table.add_row(label_of_folder(trial.path), *(show(name, _value(trial, name)) for name in shown))
    print_table(table)
    if len(ranked) > _SHOWN_TRIALS:
        say(f"... and {len(ranked) - _SHOWN_TRIALS} more")
    _print_over_seeds(ranked)
    return next((trial for trial in ranked if checkpoint_path(trial)), ranked[0])


def _value(trial: Result, name: str) -> float | None:
    return read(trial.metrics or {}, name)


def _score(trial: Result) -> float:
    value = _value(trial, "return_mean")
    return float("-inf") if value is None else value


def over_seeds(trials: Sequence[Result]) -> dict[str, list[float]]:
    """Returns the mean returns of trials that differ only in their seeds, by what they have in common, best first.

    Empty where no two trials are alike. A trial that failed or has no return is left out.
    """
    groups: dict[str, list[float]] = {}
    for trial in trials:
        label, value = label_of_folder(trial.path), _value(trial, "return_mean")
        if without_seed(label) != label and value is not None and trial.error is None:
            groups.setdefault(without_seed(label), []).append(value)
    if all(len(returns) < 2 for returns in groups.values()):
        return {}
    return dict(sorted(groups.items(), key=lambda item: statistics.fmean(item[1]), reverse=True))


def _print_over_seeds(trials: Sequence[Result]) -> None:
    """Prints mean, standard error and best of the returns over seeds; too few seeds have their points alone."""
    groups = over_seeds(trials)
    if not groups:
        return
    if all(len(returns) < _FEW_SEEDS for returns in groups.values()):
        say(f"fewer than {_FEW_SEEDS} seeds: no mean over them")
        return
    say("\nreturn over seeds")
    table = trial_table(["seeds", "mean", "std. error", "best"])
    for label, returns in groups.items():
        mean: float | None = None
        error: float | None = None
        if len(returns) >= _FEW_SEEDS:
            mean, error = statistics.fmean(returns), statistics.stdev(returns) / math.sqrt(len(returns))
        numbers = (show("return_mean", value) for value in (mean, error, max(returns)))
        table.add_row(label or "all trials", str(len(returns)), *numbers)
    print_table(table)


def trial_table(headings: Sequence[str]) -> Table:
    """A table whose first column names trials: a long name takes more lines, the numbers stay whole."""
    table = Table(box=None)
    table.add_column("trial", overflow="fold", min_width=8)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def print_table(table: Table) -> None:
    """Prints a table in the width of the terminal."""
    console().print(table, soft_wrap=False)


def checkpoint_path(trial: Result) -> str | None:
    """Returns the newest checkpoint of a trial."""
    return None if trial.checkpoint is None else str(trial.checkpoint.path)


def further(report: Report, result: Mapping[str, Any]) -> str:
    """Returns the command that takes a finished run further, its last condition doubled; "" if there is none."""
    met = reached(result, report.stop)
    if report.interrupted or met is None or met[0] not in STEADY_PATHS:
        return ""
    return raised(report.resume_command, met)


def raised(resume: str, met: tuple[str, float], value: float | None = None) -> str:
    """Returns the command that resumes a run with the stop condition doubled that it has met.

    Args:
        resume: resumes it as it is.
        met: path and target of the condition.
        value: that the run has come to, where that may be beyond the target.
    """
    path, target = met
    return f"{without_stop(resume, path)} --stop {short_name(path)}={2 * max(target, value or 0.0):.15g}"


def without_stop(command: str, path: str) -> str:
    """Returns the command without its ``--stop`` of that path."""
    words = shlex.split(command)
    old = [i for i, word in enumerate(words) if word == "--stop" and full_path(_key(words[i + 1])) == path]
    return shlex.join([word for i, word in enumerate(words) if i not in old and i - 1 not in old])


def _key(assignment: str) -> str:
    return assignment.partition("=")[0].strip()


def _shortest(checkpoint: str, run: str) -> str:
    """The run's folder, where commands find this very checkpoint in it, else the checkpoint."""
    with contextlib.suppress(ConfigError, OSError):
        if "://" not in run and find_checkpoint(run) == Path(checkpoint).resolve():
            return run
    return checkpoint


def relative(path: str) -> str:
    """Returns the path as seen from the working folder, if it lies in it."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def typed(command: str) -> str:
    """Returns a command as it must be typed here: with a path where this environment's programs are not on PATH."""
    name, _, rest = command.partition(" ")
    program = Path(sys.executable).with_name(name)
    on_path = shutil.which(name)
    if not program.exists() or (on_path and Path(on_path).resolve() == program.resolve()):
        return command
    return f"{shlex.quote(relative(str(program)))} {rest}"


def _print_commands(report: Report, trial: Result | None, result: Mapping[str, Any], failed: bool) -> None:
    checkpoint = None if trial is None else checkpoint_path(trial)
    say(f"\ncheckpoint   {relative(checkpoint) if checkpoint else 'none was written'}")
    if trial is not None and checkpoint:
        best = report.best(trial.path) if report.best is not None else None
        if best is not None:
            checkpoint, score = best
            name = short_name(report.score)
            say(f"best         {relative(checkpoint)} ({name} {show(name, score)})")
        path = shlex.quote(relative(_shortest(checkpoint, report.folder)))
        say(f"evaluate     {typed(f'rllib evaluate {path}')}")
        if lookup(result, "timers/sample_s") is not None:  # RLlib's own algorithms cannot be recorded
            say(f"watch        {typed(f'rllib record {path}')}")
        if any(read(result, f"{kind}s_visited") is not None for kind in PLACES):
            say(f"map          {typed(f'rllib map {path}')}")
        command = further(report, result)
        if command or report.interrupted or failed:
            say(f"resume       {typed(command or report.resume_command)}")
    elif failed:
        say(f"again        {typed(report.resume_command)}")
    if report.mlflow_uri:
        local = report.mlflow_uri.startswith("sqlite")
        command = f"mlflow ui --backend-store-uri {shlex.quote(report.mlflow_uri)}"
        link = charts_link(report.mlflow_uri, report.mlflow_experiment)
        say(f"compare      {typed(command) if local else link}")
        if local:
            say(f"             then open {link}")
    if report.wandb_command:
        say(f"send         {typed(report.wandb_command)}")
