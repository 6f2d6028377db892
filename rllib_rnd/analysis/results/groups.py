"""Variants: runs that differ in their seeds alone; and what may stand beside what."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rllib_rnd.analysis.results.run import Run
from rllib_rnd.analysis.results.settings import compared, default_value, differing_settings, label_of, telling_settings
from rllib_rnd.errors import ConfigError, nearest_name, unknown_name_error
from rllib_rnd.tracking.labels import short_value

# Budgets that differ by less than this factor are the same: an iteration overshoots.
_SAME_BUDGET = 1.05


@dataclass(frozen=True)
class Variant:
    """Runs of one task that differ in their seeds alone.

    Attributes:
        name: what differs from the other variants, or the experiment.
        runs: one or more, by seed.
        settings: what differs from the other variants, by dotted key.
        again: other runs with the settings and the seed of one of them, which count for nothing.
    """

    name: str
    runs: tuple[Run, ...]
    settings: Mapping[str, object]
    again: tuple[Run, ...] = ()


def grouped(runs: Sequence[Run], by: Sequence[str] = ()) -> dict[str, list[Variant]]:
    """Returns variants by task; variants of the same settings have the same name in all tasks.

    Of runs with the same settings and the same seed the longest counts: a seed that was trained twice is one seed.

    Args:
        runs: of any tasks.
        by: settings (dotted keys) that alone tell variants apart; () for all but seeds.

    Raises:
        ConfigError: no run has a setting that is to tell variants apart.
    """
    known = {key for run in runs for key in run.config}
    for key in by:
        if key not in known:
            raise unknown_name_error("setting", key, known, "--by")
    settings = [_settings(run, by) for run in runs]
    names = _names(runs, settings, by)
    tasks: dict[str, dict[str, list[int]]] = {}
    for index, run in enumerate(runs):
        tasks.setdefault(run.task, {}).setdefault(names[index], []).append(index)
    found: dict[str, list[Variant]] = {}
    for task, variants in tasks.items():
        firsts = [settings[members[0]] for members in variants.values()]
        shown = list(by) or differing_settings(firsts)
        for (name, members), own in zip(variants.items(), firsts, strict=True):
            seeds = sorted((runs[i] for i in members), key=lambda run: (run.seed is None, run.seed or 0, run.name))
            values = {key: own.get(key, default_value(key, own)) for key in shown}
            counted, again = once(seeds)
            found.setdefault(task, []).append(Variant(name, counted, values, again))
    return found


def once(runs: Sequence[Run]) -> tuple[tuple[Run, ...], tuple[Run, ...]]:
    """Divides runs into those that count and those that repeat the settings and the seed of a longer one."""
    longest: dict[tuple[int, str], Run] = {}
    for run in runs:
        if run.seed is not None:
            key = run.seed, _as_key(compared(run.config, run.algorithm))
            longest[key] = max(longest.get(key, run), run, key=lambda run: run.agent_steps)
    counted = {id(run) for run in longest.values()}
    kept = tuple(run for run in runs if run.seed is None or id(run) in counted)
    return kept, tuple(run for run in runs if run.seed is not None and id(run) not in counted)


def _as_key(settings: Mapping[str, object]) -> str:
    return repr(sorted(settings.items(), key=lambda item: item[0]))


def _settings(run: Run, by: Sequence[str]) -> dict[str, object]:
    if by:
        return {key: run.config.get(key, default_value(key, run.config)) for key in by}
    return compared(run.config, run.algorithm)


def _names(runs: Sequence[Run], settings: Sequence[Mapping[str, object]], by: Sequence[str]) -> list[str]:
    """A name per run, the same for the same settings and another for others.

    Of several experiments the experiment and what differs within it, where the settings stand in one experiment only;
    else what differs between all.
    """
    keys = [_as_key(own) for own in settings]
    homes: dict[str, set[str]] = {}
    within: dict[str, list[Mapping[str, object]]] = {}
    for run, key, own in zip(runs, keys, settings, strict=True):
        homes.setdefault(key, set()).add(run.experiment)
        within.setdefault(run.experiment, []).append(own)
    several = not by and len(within) > 1
    inner = {experiment: telling_settings(configs) for experiment, configs in within.items()}
    between = by or telling_settings(settings)
    names: dict[str, str] = {}
    for run, key, own in zip(runs, keys, settings, strict=True):
        if several and len(homes[key]) == 1:
            name = ", ".join(filter(None, [run.experiment, label_of(own, inner[run.experiment])]))
        else:
            name = label_of(own, between)
        name = name or run.experiment
        alike = {other for other, given in names.items() if given == name or given.startswith(f"{name} #")} - {key}
        names.setdefault(key, f"{name} #{len(alike) + 1}" if alike else name)
    return [names[key] for key in keys]


def check_metric(runs: Sequence[Run], metric: str, option: str = "--metric") -> None:
    """Refuses a metric that no run has logged.

    Raises:
        ConfigError: with the nearest name that was logged.
    """
    known = {name for run in runs for name, values in run.metrics.items() if not np.isnan(values).all()}
    if metric not in known:
        problem = f"no run here has logged {metric!r}"
        raise ConfigError(f"{option} {metric}", problem, sorted(known), nearest_name(metric, known))


def check_comparable(
    variants: Sequence[Variant], metric: str, *, ranked: bool = False, truncated: bool = False
) -> None:
    """Refuses what would mislead in one curve or one ranking.

    Args:
        variants: that are to stand in it.
        metric: by its short name.
        ranked: the variants are put in an order, for which budgets must be equal as far as they are known.
        truncated: all runs are cut to the shortest.

    Raises:
        ConfigError: tasks or frame skips are mixed, a metric that nobody logged, or unequal budgets.
    """
    runs = [run for variant in variants for run in variant.runs]
    tasks = sorted({run.task for run in runs})
    if len(tasks) > 1:
        raise ConfigError("", f"these runs are of different tasks: {' and '.join(tasks)}", "one task in one curve")
    skips = sorted({run.frames_per_step for run in runs if run.frames_per_step is not None})
    if len(skips) > 1:
        counts = " and ".join(str(skip) for skip in skips)
        problem = f"these runs of {tasks[0]} have different frame skips: {counts} frames per agent step"
        raise ConfigError("", problem, "one frame skip in one curve")
    check_metric(runs, metric)
    budgets = {run.name: run.budget for run in runs if run.budget is not None}
    if ranked and not truncated and budgets:
        short, long = min(budgets, key=budgets.__getitem__), max(budgets, key=budgets.__getitem__)
        if budgets[long] > _SAME_BUDGET * budgets[short]:
            problem = f"unequal budgets: {budgets[short]:,} agent steps ({short}) and {budgets[long]:,} ({long})"
            raise ConfigError("", problem, "runs of one budget, or --truncate-to-shortest")


def truncated_to_shortest(variants: Sequence[Variant]) -> tuple[list[Variant], int]:
    """Cuts all runs to where the shortest ends; a run without results is left as it is.

    Returns:
        The variants, and the agent steps.
    """
    shortest = min((run.agent_steps for v in variants for run in v.runs if run.agent_steps), default=0)
    cut = [dataclasses.replace(v, runs=tuple(run.cut(shortest) for run in v.runs)) for v in variants]
    return cut, shortest


def remarks(variants: Sequence[Variant]) -> list[str]:
    """What is to be known of runs that are compared, a line each: those that did not end, were resumed, or differ."""
    lines = []
    for variant in variants:
        settings = [compared(run.config, run.algorithm) for run in variant.runs]
        for key in differing_settings(settings):
            values = sorted({short_value(own.get(key, default_value(key, own))) for own in settings})
            lines.append(f"{variant.name} holds runs of different {key}: {', '.join(values)}")
        for run in variant.again:
            lines.append(f"{run.name}: seed {run.seed} again, which counts once, by its longest run")
        for run in variant.runs:
            told = []
            if run.state not in ("finished", "unknown"):
                of = f" of {run.budget:,}" if run.budget is not None else ""
                told.append(f"{run.state} at {run.ended_at:,}{of} agent steps")
            elif not run.ended_at:
                told.append("no result yet")
            elif run.state == "unknown" and run.budget is not None and run.ended_at < run.budget:
                told.append(f"ends at {run.ended_at:,} of {run.budget:,} agent steps, for an unknown reason")
            if run.resumed:
                told.append(f"resumed {'once' if run.resumed == 1 else f'{run.resumed} times'}")
            if told:
                lines.append(f"{run.name}: {', '.join(told)}")
    return lines
