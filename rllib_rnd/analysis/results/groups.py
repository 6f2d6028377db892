"""Variants: runs that differ in their seeds alone; and what may stand beside what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rllib_rnd.analysis.results.run import Run
from rllib_rnd.analysis.results.settings import compared, default_value, differing_settings, label_of, telling_settings
from rllib_rnd.errors import ConfigError, unknown_name_error


@dataclass(frozen=True)
class Variant:
    """Runs of one task that differ in their seeds alone.

    Attributes:
        name: what differs from the other variants, or the experiment.
        runs: one or more, by seed.
        settings: what differs from the other variants, by dotted key.
    """

    name: str
    runs: tuple[Run, ...]
    settings: Mapping[str, object]


def grouped(runs: Sequence[Run], by: Sequence[str] = ()) -> dict[str, list[Variant]]:
    """Returns variants by task; variants of the same settings have the same name in all tasks.

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
            found.setdefault(task, []).append(Variant(name, tuple(seeds), values))
    return found


def _settings(run: Run, by: Sequence[str]) -> dict[str, object]:
    if by:
        return {key: run.config.get(key, default_value(key, run.config)) for key in by}
    return compared(run.config, run.algorithm)


def _names(runs: Sequence[Run], settings: Sequence[Mapping[str, object]], by: Sequence[str]) -> list[str]:
    """A name per run, the same for the same settings and another for others.

    Of several experiments the experiment and what differs within it, where the settings stand in one experiment only;
    else what differs between all.
    """
    keys = [repr(sorted(own.items(), key=lambda item: item[0])) for own in settings]
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
        taken = [other for other, given in names.items() if given == name and other != key]
        names.setdefault(key, f"{name} #{len(taken) + 1}" if taken else name)
    return [names[key] for key in keys]


def check_comparable(
    variants: Sequence[Variant], metric: str, *, ranked: bool = False, truncated: bool = False
) -> None:
    """Refuses what would mislead in one curve or one ranking.

    Args:
        variants: that are to stand in it.
        metric: by its short name.
        ranked: the variants are put in an order, for which budgets must be equal.
        truncated: all runs are cut to the shortest.

    Raises:
        ConfigError: tasks or frame skips are mixed, a metric that nobody logged, or unequal budgets.
    """
    runs = [run for variant in variants for run in variant.runs]
    tasks = sorted({run.task for run in runs})
    if len(tasks) > 1:
        raise ConfigError("", f"runs of different tasks in one curve: {' and '.join(tasks)}", "one task")
    skips = sorted({str(run.frames_per_step) for run in runs})
    if len(skips) > 1:
        raise ConfigError("", f"runs of different frame skips in one curve: {' and '.join(skips)}", "one frame skip")
    known = {name for run in runs for name in run.metrics}
    if metric not in known:
        raise unknown_name_error("metric", metric, known, "--metric")
    budgets = sorted({run.budget if run.budget is not None else run.agent_steps for run in runs})
    if ranked and not truncated and budgets and budgets[-1] > 1.1 * budgets[0]:
        words = f"budgets from {budgets[0]:,} to {budgets[-1]:,} agent steps are ranked"
        raise ConfigError("", words, "runs of one budget, or --truncate-to-shortest")
