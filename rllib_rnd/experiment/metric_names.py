"""Names of metrics in an experiment: which its results will hold, and the conditions that ``stop`` makes of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_rnd.errors import ConfigError, KeyPath, at, unknown_name_error
from rllib_rnd.experiment.search import SearchSpace
from rllib_rnd.experiment.yaml_file import ExperimentError, Places, parse_scalar
from rllib_rnd.options import Limits, check_value
from rllib_rnd.tracking.metrics import BY_NAME, STEADY_PATHS, full_path, is_known, known_stop_keys, short_name

T = TypeVar("T")

# Setting without which metrics are not reported -> how their paths begin, and what to say. The value loss of no
# intrinsic streams is reported, as 0.
REPORTED_WITH: dict[str, tuple[tuple[str, ...], str]] = {
    "evaluation_interval": (("evaluation/", "evaluation_"), "evaluation_interval is null"),
    "intrinsic_reward": (
        ("learners/default_policy/intrinsic_", "learners/default_policy/explained_variance_intrinsic"),
        "there is no intrinsic_reward",
    ),
    "pretraining": (("learners/default_policy/pretraining_",), "there is no pretraining"),
}


@dataclass(frozen=True)
class MetricNames:
    """What a name of a metric may be in one experiment.

    Attributes:
        own: the algorithm is one of this package's, whose results are known.
        open: code of the user's, a callback or an algorithm, may report more.
        declared: what ``metrics`` says that the user's code reports.
        absent: how paths begin that this configuration does not report, and why.
    """

    own: bool
    open: bool
    declared: tuple[str, ...]
    absent: Mapping[str, str]

    def check(self, name: str) -> str:
        """Returns the result path that a name stands for.

        Raises:
            ConfigError: nothing of that name can be reported; with the nearest name.
        """
        if not is_known(name, self.own) and name not in self.declared and not self.open:
            error = unknown_name_error("metric", name, [*known_stop_keys(self.own), *self.declared])
            if error.nearest is None:
                error.allowed = f"one of {len(error.allowed)} names (docs/metrics.md)"
            error.problem += f" (what your callbacks report is declared under metrics: [{name}])"
            raise error
        path = full_path(name)
        reason = next((reason for start, reason in self.absent.items() if path.startswith(start)), "")
        if reason and name not in self.declared:
            raise ConfigError("", f"{name!r} is not reported: {reason}")
        return path


def metric_names(
    block: Mapping[str, Any], space: SearchSpace, default: AlgorithmConfig, top: KeyPath, places: Places
) -> MetricNames:
    """Returns what the configuration and the user's code can report.

    Args:
        block: the experiment.
        space: its ``config``.
        default: configuration that it starts from.
        top: where it stands in the file.
        places: the places of its values.

    Raises:
        ConfigError: ``metrics`` is no list of names.
    """
    with places.at(*top):
        declared = check_value(block.get("metrics", []), list[str], "metrics")
    module, varied = type(default).__module__, {where[0] for where, _ in space.alternatives}
    values = {**vars(default), **space.sample}
    callbacks = [name for name in values if name.startswith("callbacks_")]
    plain = vars(AlgorithmConfig())
    own = module.startswith("rllib_rnd.")
    open_ = not own and not module.startswith("ray.rllib.")
    open_ |= any(values[name] != plain.get(name) for name in callbacks)
    absent: dict[str, str] = {}
    for setting, (starts, reason) in REPORTED_WITH.items():
        if own and setting not in varied and not values[setting]:
            absent |= dict.fromkeys(starts, reason)
    return MetricNames(own, open_, tuple(declared), absent)


def read_stop(
    stop: object, top: KeyPath, places: Places, overrides: Sequence[str], names: MetricNames
) -> dict[str, float]:
    """Returns ``stop`` by result path, with what the command line changes.

    Args:
        stop: the section.
        top: where its experiment stands in the file.
        places: the places of its values.
        overrides: ``key=value`` texts.
        names: what metrics may be called.

    Raises:
        ConfigError: a metric that nothing reports, or a value that it cannot reach.
    """
    path = (*top, "stop")
    if stop is not None and not isinstance(stop, Mapping):
        raise places.error(path, f"{stop!r} is not a mapping of metric to value")
    merged = {str(key): value for key, value in (stop or {}).items()}
    for text in overrides:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise ExperimentError(f"--stop {text}", "", "expected key=value")
        for same in [known for known in merged if full_path(known) == full_path(key)]:
            del merged[same]
        with Places(f"--stop {text}").at():
            merged[key] = parse_scalar(value)
        places.set((*path, key), f"--stop {text}")
    result: dict[str, float] = {}
    for key, value in merged.items():
        try:
            name = names.check(key)
            result[name] = check_value(value, float, limits=_limits(name))
        except ConfigError as error:  # whose path cannot be looked up: names of metrics hold dots
            raise places.error((*path, key), error.problem, error.allowed, error.nearest) from error
    return result


def _limits(path: str) -> Limits:
    """Counts, seconds and rates only reach what is above zero; others may end a run below it."""
    metric = BY_NAME.get(short_name(path))
    return Limits(above=0.0) if path in STEADY_PATHS or (metric and metric.style != "number") else Limits()


def with_full_metrics(options: T, names: MetricNames, fields: Sequence[str]) -> T:
    """Resolves the short names of metrics in some options and checks that the metrics exist.

    Raises:
        ConfigError: an unknown metric, at the option's name.
    """
    changes: dict[str, Any] = {}
    for name in fields:
        value = getattr(options, name, None)
        if value is None:
            continue
        with at(name):
            changes[name] = names.check(value)
    return dataclasses.replace(options, **changes)  # type: ignore[type-var]
