"""Sweeps: starting one with Ray Tune, and going on with one after a stop, a change of settings or a move."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import ResumeConfig, TuneConfig
from ray.tune.search.sample import Domain

from rllib_rnd.errors import ConfigError, KeyPath, dotted, in_words
from rllib_rnd.experiment.conduct import Plan, build_scheduler, build_search, ends_early
from rllib_rnd.experiment.file import Experiment
from rllib_rnd.experiment.search import SectionOptions, is_expression
from rllib_rnd.tracking.stopping import Conditions

# What a sweep keeps as it was begun with, because Tune brings it back with the trials.
_KEPT = ("run", "num_samples", "search", "checkpoint_config", "tune_config", "max_failures")
_ABSENT = object()
TUNER_FILE = "tuner.pkl"  # what Tune restores a sweep from


def describe(experiment: Experiment) -> dict[str, Any]:
    """Returns what an experiment is, in what JSON can hold; two that are alike have the same description."""

    def section(options: SectionOptions | None) -> dict[str, Any] | None:
        return None if options is None else {"type": type(options).__name__, **dataclasses.asdict(options)}

    description = {
        "run": experiment.algorithm_name,
        "single": experiment.single,
        "config": _plain(experiment.space.space),
        "stop": experiment.stop,
        "num_samples": experiment.num_samples,
        "search": section(experiment.search),
        "scheduler": section(experiment.scheduler),
        "checkpoint_config": dataclasses.asdict(experiment.checkpoint),
        "tune_config": dataclasses.asdict(experiment.tune),
        "max_failures": experiment.max_failures,
    }
    return dict(json.loads(json.dumps(description)))


def _plain(value: object) -> object:
    if isinstance(value, Domain):
        options = {name: _plain(part) for name, part in vars(value).items() if name != "sampler"}
        sampler = getattr(value, "sampler", None)
        return {"tune": type(value).__name__, **options, "sampler": type(sampler).__name__, **_options(sampler)}
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}:{named.__qualname__}"


def _options(sampler: object) -> dict[str, Any]:
    return {f"sampler.{name}": _plain(part) for name, part in vars(sampler).items()} if sampler is not None else {}


def is_sweep(description: Mapping[str, Any]) -> bool:
    """Whether a described experiment has several trials."""
    return description.get("single") is False


def plan_of(experiment: Experiment, conditions: Conditions) -> Plan:
    """Returns what is done to every trial of an experiment."""
    restarts = experiment.max_failures is None
    early = ends_early(experiment.scheduler)
    return Plan(conditions, experiment.first_seed, experiment.space.grids, early=early, restarts=restarts)


def tune_config(experiment: Experiment, conditions: Conditions) -> TuneConfig:
    """Returns Tune's settings of a sweep, whose trials end by these conditions."""
    return TuneConfig(
        num_samples=experiment.num_samples,
        scheduler=build_scheduler(experiment.scheduler, plan_of(experiment, conditions), experiment.space.mutations),
        search_alg=build_search(experiment.search, experiment.tune.max_concurrent_trials),
        time_budget_s=experiment.tune.time_budget_s,
    )


def restore(
    experiment: Experiment,
    folder: Path,
    changes: list[tuple[KeyPath, Any]],
    callbacks: list[tune.Callback],
    conditions: Conditions,
    param_space: Mapping[str, Any],
) -> tune.Tuner:
    """Returns a tuner that goes on with the sweep in a folder, wherever the folder is now.

    Tune brings back its own snapshot of all trials, which may be older than they are: the plan sets each trial to what
    its folder holds.

    Args:
        experiment: as it is now; its scheduler counts.
        folder: of the sweep.
        changes: to the configuration of every trial that goes on, as `changes_since` gives them.
        callbacks: in place of those of the first start, which the snapshot holds too.
        conditions: what ends its trials now.
        param_space: of which trials that are still to be made take what no snapshot can hold, as callback classes.
    """
    resume = ResumeConfig.ResumeType.RESUME
    # A trial that a scheduler has ended is not begun again. Others ended by their stop conditions, and go on if those
    # have been raised: the plan ends the ones that are where they should be.
    finished = ResumeConfig.ResumeType.SKIP if ends_early(experiment.scheduler) else resume
    tuner = tune.Tuner.restore(
        str(folder),
        trainable=experiment.algorithm_class,
        _resume_config=ResumeConfig(finished=finished, unfinished=resume, errored=resume),
    )
    local = tuner._local_tuner
    local.param_space = dict(param_space)  # `Tuner.restore` would refuse one that has a setting more
    plan = dataclasses.replace(plan_of(experiment, conditions), changes=changes, home=folder)
    local._tune_config.scheduler = build_scheduler(experiment.scheduler, plan, experiment.space.mutations)
    run_config = local.get_run_config()
    run_config.callbacks, run_config.stop = callbacks, None
    return tuner


def changes_since(experiment: Experiment, begun: Mapping[str, Any]) -> list[tuple[KeyPath, Any]]:
    """Compares an experiment with what its sweep was begun with.

    Args:
        experiment: as it is now.
        begun: the description in the record of the sweep.

    Returns:
        (place, value) for all that has changed and can be applied to trials that go on.

    Raises:
        ConfigError: something changed that cannot: what is drawn, the seed, or how the sweep is run.
    """
    now = describe(experiment)
    for key in _KEPT:
        if key in begun and _as_kept(key, now[key]) != _as_kept(key, begun[key]):
            raise _cannot_change(experiment, (key,), begun[key], now[key])
    changes: list[tuple[KeyPath, Any]] = []
    for where, old, new in _differences(begun.get("config", {}), now["config"], ()):
        removed = new is _ABSENT
        if where == ("seed",) or _is_drawn(old) or _is_drawn(new) or (removed and len(where) > 1):
            raise _cannot_change(experiment, ("config", *where), old, new)
        if removed:
            changes.append((where, getattr(experiment.sample_config(), str(where[0]))))
        else:
            changes.append((where, _value_at(experiment.space.space, where)))
    return changes


def _as_kept(key: str, value: object) -> object:
    """A part of a description without what may differ: how often is saved in time is no matter of Tune's."""
    if key == "checkpoint_config" and isinstance(value, Mapping):
        return {name: part for name, part in value.items() if name != "checkpoint_every_s"}
    return value or 0 if key == "max_failures" else value  # 0 was its default once


def _differences(old: object, new: object, where: KeyPath) -> Iterator[tuple[KeyPath, object, object]]:
    """(place, old value, new value) of what differs; apart from the top, only what holds draws is looked into."""
    if old == new:
        return
    look_inside = (not where or _is_drawn(old) or _is_drawn(new)) and not (_is_expression(old) or _is_expression(new))
    if look_inside and isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _differences(old.get(key, _ABSENT), new.get(key, _ABSENT), (*where, key))
    elif look_inside and isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _differences(before, after, (*where, index))
    else:
        yield where, old, new


def _is_expression(value: object) -> bool:
    return isinstance(value, Mapping) and is_expression(value)


def _is_drawn(value: object) -> bool:
    """Whether there is an expression in a described value."""
    if isinstance(value, Mapping):
        return _is_expression(value) or any(map(_is_drawn, value.values()))
    return isinstance(value, list) and any(map(_is_drawn, value))


def _value_at(config: Mapping[str, Any], where: KeyPath) -> object:
    value: Any = config
    for part in where:
        value = value[part]
    return value


def _cannot_change(experiment: Experiment, where: KeyPath, old: object, new: object) -> ConfigError:
    before, after = ("absent" if value is _ABSENT else in_words(value) for value in (old, new))
    problem = (
        f"cannot change when a sweep goes on: it was begun with {before}, not {after}. Its trials keep what they draw, "
        "their seeds and how they are run; start a new sweep for another"
    )
    return experiment.places.error((experiment.name, *where), f"{dotted(where[-1:])} {problem}")
