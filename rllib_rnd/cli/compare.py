"""``rllib compare``: what differs between variants and which came out ahead, in the terminal."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from rich.table import Table

from rllib_rnd.analysis.results.comparison import Lead, Side, lead, sides
from rllib_rnd.analysis.results.groups import Variant, check_comparable, grouped, once, remarks, truncated_to_shortest
from rllib_rnd.analysis.results.runs import Run, runs_by_place
from rllib_rnd.analysis.results.scores import more_is_better
from rllib_rnd.analysis.results.statistics import FEWEST_SEEDS
from rllib_rnd.cli.runtime import be_quiet, say
from rllib_rnd.cli.summary import print_table
from rllib_rnd.errors import ConfigError
from rllib_rnd.tracking.labels import short_value
from rllib_rnd.tracking.metrics import show

_BESIDE = ("return_max", "rooms_visited", "positions_visited", "agent_steps", "time_total_s")
_HEADINGS = {
    "return_max": "best",
    "rooms_visited": "rooms",
    "positions_visited": "positions",
    "agent_steps": "agent steps",
    "time_total_s": "time",
}
_MOST_SETTINGS = 20  # rows of settings


def compare(places: Sequence[str], metric: str = "return_mean", by: Sequence[str] = (), truncate: bool = False) -> None:
    """Prints a comparison for each task that two variants or more have played.

    Args:
        places: as of `load_runs`.
        metric: by its short name.
        by: settings that tell variants apart; () for all but seeds.
        truncate: cut all runs to where the shortest ends.

    Raises:
        ConfigError: nothing to compare, or what must not be compared.
    """
    be_quiet(verbose=False)
    tasks = variants_of(places, by, metric, _BESIDE)
    several = {task: variants for task, variants in tasks.items() if len(variants) > 1}
    if not several:
        found = "; ".join(f"{variants[0].name} plays {task}" for task, variants in tasks.items())
        raise ConfigError("", f"nothing to compare: {found}", "two variants or more of the same task")
    for variants in several.values():  # all are refused or none
        check_comparable(variants, metric, ranked=True, truncated=truncate)
    for task, variants in several.items():
        print_task(task, variants, metric, truncate)
    for task, variants in tasks.items():
        if task not in several:
            say(f"\n{task}: {variants[0].name} alone, nothing to compare")


def variants_of(
    places: Sequence[str], by: Sequence[str], metric: str, more: Sequence[str] = ()
) -> dict[str, list[Variant]]:
    """Variants by task. Two places whose runs have the same settings are two variants: they were named one by one.

    Args:
        places: as of `load_runs`.
        by: settings that tell variants apart; () for all but seeds.
        metric: that is read; if no run has it all are, so that the nearest name is known.
        more: metrics that are read too.
    """
    loaded = runs_by_place(places, (metric, *more))
    if not any(metric in run.metrics for group in loaded.values() for run in group):
        loaded = runs_by_place(places)
    tasks = grouped([run for group in loaded.values() for run in group], by)
    homes = {run.source: place for place, group in loaded.items() for run in group}
    if by or len(loaded) < 2:
        return tasks
    return {task: [part for one in variants for part in _parts(one, homes)] for task, variants in tasks.items()}


def _parts(variant: Variant, homes: dict[str, str]) -> list[Variant]:
    places: dict[str, list[Run]] = {}
    for run in (*variant.runs, *variant.again):
        places.setdefault(homes[run.source], []).append(run)
    if len(places) == 1:
        return [variant]
    names = [f"{variant.name} ({place.rstrip('/').rpartition('/')[2]})" for place in places]
    unique = names if len(set(names)) == len(names) else list(places)
    return [
        dataclasses.replace(variant, name=name, runs=counted, again=again)
        for name, (counted, again) in zip(unique, map(once, places.values()), strict=True)
    ]


def print_task(task: str, variants: Sequence[Variant], metric: str, truncate: bool) -> None:
    """Prints settings, results and who is ahead."""
    notes = remarks(variants)
    say(f"\n{task}")
    if truncate:
        variants, steps = truncated_to_shortest(variants)
        say(f"all runs cut to the shortest: {steps:,} agent steps")
    ranked = sides(variants, metric)
    by_name = {variant.name: variant for variant in variants}
    ordered = [by_name[side.name] for side in ranked]
    print_settings(ordered)
    print_results(ranked, ordered, metric)
    for line in notes:
        say(f"note: {line}")
    scored = [side for side in ranked if len(side.scores)]
    for other in scored[1:]:
        say(sentence(lead(scored[0], other), metric, min(len(scored[0].scores), len(other.scores))))


def print_settings(variants: Sequence[Variant]) -> None:
    """A row per setting that differs."""
    keys = list(dict.fromkeys(key for variant in variants for key in variant.settings))
    keys = [key for key in keys if len({repr(variant.settings.get(key)) for variant in variants}) > 1]
    if not keys:
        say("no setting differs")
        return
    table = _table("settings that differ", variants)
    for key in keys[:_MOST_SETTINGS]:
        table.add_row(key, *(short_value(variant.settings.get(key, "-")) for variant in variants))
    print_table(table)
    if len(keys) > _MOST_SETTINGS:
        say(f"... and {len(keys) - _MOST_SETTINGS} more settings")


def _table(heading: str, variants: Sequence[Variant]) -> Table:
    table = Table(box=None)
    table.add_column(heading, overflow="fold", min_width=12)
    for variant in variants:
        table.add_column(variant.name, justify="right", overflow="fold")
    return table


def print_results(ranked: Sequence[Side], variants: Sequence[Variant], metric: str) -> None:
    """A row per variant: the metric with its interval, or the points of few seeds; means of what else tells a story."""
    beside = [name for name in _BESIDE if name != metric and any(finals(one, name) for one in variants)]
    table = Table(box=None)
    table.add_column("results", overflow="fold", min_width=8)
    for heading in ("seeds", metric, *(_HEADINGS.get(name, name) for name in beside)):
        table.add_column(heading, justify="right", overflow="fold")
    for side, variant in zip(ranked, variants, strict=True):
        seeds = f"{len(side.scores)} of {len(variant.runs)}" if side.missing else str(len(side.scores))
        means = [sum(values) / len(values) if (values := finals(variant, name)) else None for name in beside]
        numbers = (show(name, number) for name, number in zip(beside, means, strict=True))
        table.add_row(side.name, seeds, result(side), *numbers)
    print_table(table)


def finals(variant: Variant, metric: str) -> list[float]:
    """The last values of the runs that have one."""
    return [last for run in variant.runs if not math.isnan(last := run.final(metric))]


def result(side: Side) -> str:
    """The mean with its interval; fewer seeds than that takes have their points."""
    if not len(side.scores):
        return "-"
    if len(side.scores) < FEWEST_SEEDS:
        return ", ".join(f"{score:.4g}" for score in side.scores)
    return str(side.result)


def sentence(found: Lead, metric: str, seeds: int) -> str:
    """Who is ahead, and whether that says anything."""
    if found.by.value == 0.0:
        return f"{found.ahead} and {found.behind} have the same {metric}"
    if found.shown is None:
        points = f"{found.ahead} is above {found.behind} by {found.by.value:.4g} in {metric}"
        return f"{points}: fewer than {FEWEST_SEEDS} seeds, points only, which shows nothing yet"
    chance = f"probability of improvement {found.probability}"
    if found.shown and more_is_better(metric):
        return f"{found.ahead} is better than {found.behind} by {found.by} in {metric}; {chance}"
    words = f"{found.ahead} is above {found.behind} by {found.by} in {metric}"
    return f"{words}; {chance}" if found.shown else f"{words}, which {seeds} seeds do not show; {chance}"
