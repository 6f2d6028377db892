"""What ``rllib train file`` prints when an experiment has ended."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune import Result, ResultGrid
from rich.table import Table

from rllib_rnd.cli.runtime import console, say
from rllib_rnd.cli.surroundings import advice_in
from rllib_rnd.envs.info import PLACES
from rllib_rnd.tracking.metrics import STEADY_PATHS, full_path, lookup, read, short_name, show
from rllib_rnd.tracking.stopping import reached

_ROWS = (
    ("mean return", "return_mean"),
    ("best return", "return_max"),
    ("rooms visited", "rooms_visited"),
    ("rooms per episode", "rooms_per_episode_mean"),
    ("positions visited", "positions_visited"),
    ("farthest progress", "progress_max"),
    ("intrinsic reward (raw mean)", "intrinsic_reward_mean"),
    ("agent steps", "agent_steps"),
    ("agent steps/s", "agent_steps_per_s"),
    ("time", "time_total_s"),
)
_SHOWN_TRIALS = 20


@dataclass
class Report:
    """What the summary needs besides the results.

    Attributes:
        name: folder name of the experiment.
        folder: its full path.
        resume_command: continues it.
        mlflow_uri: the store that it was logged to, or None.
        interrupted: it was stopped by Ctrl-C.
        stop: the stop conditions by result path.
    """

    name: str
    folder: str
    resume_command: str
    mlflow_uri: str | None
    interrupted: bool
    stop: Mapping[str, float]


def print_report(report: Report, results: ResultGrid | None, crash: Exception | None) -> None:
    """Prints returns, rooms, intrinsic reward, speed, the checkpoint and the next commands.

    Args:
        report: names and commands.
        results: Tune's ``ResultGrid``, or None after a crash.
        crash: what Tune itself raised.
    """
    trials = list(results) if results is not None else []
    if report.interrupted:
        say(f"\n{report.name}: stopped by Ctrl-C.")
    if crash is not None:
        cause = one_line(crash)
        say(f"\n{report.name}: failed. {cause}" + (f" ({advice_in(cause)})" if advice_in(cause) else ""))
    checkpoint = None
    if len(trials) == 1:
        _print_one(report, trials[0])
        checkpoint = checkpoint_path(trials[0])
    elif trials:
        checkpoint = _print_several(report, trials)
    for trial in trials:
        if trial.error is not None:
            cause = one_line(trial.error)
            say(f"failed: {cause}")
            if advice_in(cause):
                say(f"        {advice_in(cause)}")
            say(f"        the whole error: {relative(str(Path(trial.path) / 'error.txt'))}")
    failed = crash is not None or any(trial.error is not None for trial in trials)
    _print_commands(report, checkpoint, trials[0].metrics or {} if len(trials) == 1 else {}, failed)


def _print_one(report: Report, trial: Result) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    for label, name in _ROWS:
        value = read(trial.metrics or {}, name)
        if value is not None:
            table.add_row(label, show(name, value))
    say(f"\n{report.name}")
    console().print(table)


def _print_several(report: Report, trials: list[Result]) -> str | None:
    """Prints the trials, best return first; returns the best one's checkpoint."""

    def score(trial: Result) -> float:
        value = read(trial.metrics or {}, "return_mean")
        return float("-inf") if value is None else value

    ranked = sorted(trials, key=score, reverse=True)
    columns = {
        "return_mean": "return",
        "return_max": "best",
        "intrinsic_reward_mean": "intrinsic",
        "agent_steps": "agent steps",
        "time_total_s": "time",
    }
    table = Table(box=None, title=f"{report.name}: {len(trials)} trials, best return first", title_justify="left")
    table.add_column("trial", no_wrap=True, overflow="ignore", min_width=max(map(len, map(trial_label, ranked))))
    for heading in columns.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for trial in ranked[:_SHOWN_TRIALS]:
        table.add_row(
            trial_label(trial),
            *(show(name, read(trial.metrics or {}, name)) for name in columns),
        )
    console().print()
    console().print(table)
    if len(ranked) > _SHOWN_TRIALS:
        say(f"... and {len(ranked) - _SHOWN_TRIALS} more")
    return next((path for path in map(checkpoint_path, ranked) if path), None)


def trial_label(trial: Result) -> str:
    """Returns what tells a trial from the others: its draws, out of the name of its folder; else that name."""
    name = Path(trial.path).name
    draws = re.search(r"_\d{5}_\d+_(.+)_\d{4}-\d{2}-\d{2}_", name)
    return draws[1].replace(",", ", ") if draws else name


def checkpoint_path(trial: Result) -> str | None:
    """Returns the newest checkpoint of a trial."""
    return None if trial.checkpoint is None else str(trial.checkpoint.path)


def further(report: Report, result: Mapping[str, Any]) -> str:
    """Returns the command that takes a finished run further, its last condition doubled; "" if there is none."""
    met = reached(result, report.stop)
    if report.interrupted or met is None or met[0] not in STEADY_PATHS:
        return ""
    words = shlex.split(report.resume_command)
    old = [i for i, word in enumerate(words) if word == "--stop" and full_path(_key(words[i + 1])) == met[0]]
    kept = [word for i, word in enumerate(words) if i not in old and i - 1 not in old]
    return shlex.join([*kept, "--stop", f"{short_name(met[0])}={2 * met[1]:.15g}"])


def _key(assignment: str) -> str:
    return assignment.partition("=")[0].strip()


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


def _print_commands(report: Report, checkpoint: str | None, result: Mapping[str, Any], failed: bool) -> None:
    say(f"\ncheckpoint   {relative(checkpoint) if checkpoint else 'none was written'}")
    if checkpoint:
        path = shlex.quote(relative(checkpoint))
        say(f"evaluate     {typed(f'rllib evaluate {path}')}")
        if lookup(result, "timers/sample_s") is not None:  # RLlib's own algorithms cannot be recorded
            say(f"watch        {typed(f'rllib record {path}')}")
        if any(read(result, f"{kind}s_visited") is not None for kind in PLACES):
            say(f"map          {typed(f'rllib map {path}')}")
        command = further(report, result)
        if command or report.interrupted or failed:
            say(f"resume       {typed(command or report.resume_command)}")
    if report.mlflow_uri:
        local = report.mlflow_uri.startswith("sqlite")
        command = f"mlflow ui --backend-store-uri {shlex.quote(report.mlflow_uri)}"
        say(f"compare      {typed(command) if local else report.mlflow_uri}")


def one_line(error: BaseException) -> str:
    """Returns the cause of a failed trial: the last line of the remote traceback that names an exception."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if line.partition(":")[0].endswith(("Error", "Exception", "Interrupt"))]
    return (named or lines or [type(error).__name__])[-1]
