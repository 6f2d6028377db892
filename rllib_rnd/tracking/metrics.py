"""One table of metrics: where each stands in a training result, what it is called, and how it is shown.

The display, the MLflow logger, the summary after training and the ``stop`` section of experiment files all
read this table, so a metric has one name everywhere.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_LEARNER = "learners/default_policy/"
_RUNNERS = "env_runners/"
#: Where intrinsic rewards and auxiliary losses report, each under its own names.
PLUGINS = _LEARNER + "plugins"


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: short name, used in MLflow and allowed in ``stop``.
        paths: places in the result, ``/`` separated; the first that holds a number counts. The ones after the
            first are where RLlib's own PPO keeps the same quantity.
        help: meaning and unit.
        style: ``count`` (12,345), ``number`` (4 significant digits), ``seconds``, ``rate`` (per second).
    """

    name: str
    paths: tuple[str, ...]
    help: str
    style: str = "number"


METRICS: tuple[Metric, ...] = (
    Metric("iteration", ("training_iteration",), "training iterations", "count"),
    Metric("time_total_s", ("time_total_s",), "seconds of training, over all resumes", "seconds"),
    Metric(
        "agent_steps",
        (_RUNNERS + "num_env_steps_sampled_lifetime", "num_env_steps_sampled_lifetime"),
        "agent steps since the start (1 agent step = 4 frames in Atari)",
        "count",
    ),
    Metric("agent_steps_per_s", ("throughput/agent_steps_per_s",), "agent steps per second", "rate"),
    Metric(
        "sample_s",
        ("timers/sample_s", "timers/env_runner_sampling_timer"),
        "sampling, s/iteration",
        "seconds",
    ),
    Metric("learn_s", ("timers/learn_s", "timers/learner_update_timer"), "learning, s/iteration", "seconds"),
    Metric("sync_s", ("timers/sync_s", "timers/synch_weights"), "weight transport, s/iteration", "seconds"),
    Metric("learner_threads", (_LEARNER + "threads",), "threads of each learner", "count"),
    Metric("return_mean", (_RUNNERS + "episode_return_mean",), "mean raw return of recent episodes"),
    Metric("return_max", (_RUNNERS + "episode_return_max",), "best raw return of recent episodes"),
    Metric("episode_len_mean", (_RUNNERS + "episode_len_mean",), "mean length of recent episodes, agent steps"),
    Metric("episodes", (_RUNNERS + "num_episodes",), "episodes finished in this iteration", "count"),
    Metric(
        "env_failures",
        (_RUNNERS + "num_env_step_failures",),
        "errors of environments that were made anew, since the start",
        "count",
    ),
    Metric(
        "hanging_env_runners",
        (_RUNNERS + "hanging_env_runners",),
        "runners that were started anew because their environment hung",
        "count",
    ),
    Metric(
        "env_runner_restarts",
        (_RUNNERS + "env_runner_restarts",),
        "runners that came back as new processes, after a crash or a hang",
        "count",
    ),
    Metric(
        "broken_observations",
        (_RUNNERS + "broken_observations",),
        "observations with NaN, infinity or numbers beyond 1e18, since the start; around them nothing is learned",
        "count",
    ),
    Metric("rooms_visited", (_RUNNERS + "rooms_visited",), "different rooms seen since the start", "count"),
    Metric("rooms_per_episode_mean", (_RUNNERS + "rooms_per_episode_mean",), "mean rooms per episode"),
    Metric("positions_visited", (_RUNNERS + "positions_visited",), "different positions seen since the start", "count"),
    Metric("positions_per_episode_mean", (_RUNNERS + "positions_per_episode_mean",), "mean positions per episode"),
    Metric("progress_mean", (_RUNNERS + "progress_mean",), "mean of the farthest progress per episode (Mario: x)"),
    Metric("progress_max", (_RUNNERS + "progress_max",), "farthest progress of recent episodes"),
    Metric("intrinsic_reward_mean", (_LEARNER + "intrinsic_reward_mean",), "raw intrinsic reward, mean"),
    Metric("intrinsic_reward_max", (_LEARNER + "intrinsic_reward_max",), "raw intrinsic reward, largest"),
    Metric(
        "intrinsic_reward_normalized_mean",
        (_LEARNER + "intrinsic_reward_normalized_mean",),
        "intrinsic reward after division by the running std of its return",
    ),
    Metric("intrinsic_return_std", (_LEARNER + "intrinsic_return_std",), "the running std that divides"),
    Metric("pretraining_rollouts", (_LEARNER + "pretraining_rollouts",), "rollouts pre-trained on", "count"),
    Metric("pretraining_loss", (_LEARNER + "pretraining_loss",), "auxiliary losses on the rollout held out from them"),
    Metric("total_loss", (_LEARNER + "total_loss",), "sum of all losses"),
    Metric("policy_loss", (_LEARNER + "policy_loss",), "clipped surrogate loss"),
    Metric("vf_loss_extrinsic", (_LEARNER + "vf_loss_extrinsic", _LEARNER + "vf_loss"), "extrinsic value loss"),
    Metric("vf_loss_intrinsic", (_LEARNER + "vf_loss_intrinsic",), "intrinsic value loss"),
    Metric(
        "explained_variance_extrinsic",
        (_LEARNER + "explained_variance_extrinsic", _LEARNER + "vf_explained_var"),
        "explained variance of the extrinsic value head",
    ),
    Metric(
        "explained_variance_intrinsic",
        (_LEARNER + "explained_variance_intrinsic",),
        "explained variance of the intrinsic value head",
    ),
    Metric("entropy", (_LEARNER + "entropy",), "policy entropy, nats"),
    Metric("approx_kl", (_LEARNER + "approx_kl", _LEARNER + "mean_kl_loss"), "approximate KL of the update"),
    Metric("clip_fraction", (_LEARNER + "clip_fraction",), "share of samples whose ratio was clipped"),
    Metric("grad_norm", (_LEARNER + "grad_norm",), "gradient norm"),
    Metric(
        "learning_rate",
        (_LEARNER + "learning_rate", _LEARNER + "default_optimizer_learning_rate"),
        "learning rate now",
    ),
    Metric(
        "nonfinite_updates",
        (_LEARNER + "nonfinite_updates",),
        "skipped updates with NaN or infinity",
        "count",
    ),
    Metric(
        "evaluation_return_mean",
        ("evaluation/env_runners/episode_return_mean",),
        "mean raw return of the evaluation episodes",
    ),
    Metric(
        "evaluation_episodes_cut",
        ("evaluation/env_runners/episodes_cut",),
        "evaluation episodes that had not ended after max_evaluation_steps, in this evaluation",
        "count",
    ),
)
BY_NAME: dict[str, Metric] = {m.name: m for m in METRICS}

# Result keys of RLlib and Tune that are useful in `stop` and have no short name here.
_OTHER_STOP_PATHS = (
    "time_since_restore",
    "iterations_since_restore",
    _RUNNERS + "episode_return_min",
    _RUNNERS + "num_episodes_lifetime",
    _RUNNERS + "num_env_steps_sampled",
    "evaluation/env_runners/episode_return_max",
    "evaluation/env_runners/episode_len_mean",
)

# Quantities that grow steadily, so that the distance to them gives progress and a time to go.
STEADY_PATHS = frozenset(
    {
        "training_iteration",
        "time_total_s",
        "time_since_restore",
        "iterations_since_restore",
        _RUNNERS + "num_env_steps_sampled_lifetime",
        _RUNNERS + "num_episodes_lifetime",
        "num_env_steps_sampled_lifetime",
    }
)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What RLlib and Tune report besides the table; all else in a result is of a user's callback.
_RLLIBS = _names(
    """
    config done trial_id date timestamp time_this_iter_s pid hostname node_ip episodes_total timesteps_total
    training_iteration time_total_s time_since_restore iterations_since_restore experiment_tag checkpoint_dir_name
    should_checkpoint num_training_step_calls_per_iteration num_env_steps_sampled_lifetime
    timers fault_tolerance env_runner_group perf learners throughput info hist_stats
    """
)
_KNOWN_OF_RUNNERS = _names(
    """
    num_episodes num_episodes_lifetime num_module_steps_sampled num_module_steps_sampled_lifetime
    num_agent_steps_sampled num_agent_steps_sampled_lifetime num_env_steps_sampled num_env_steps_sampled_lifetime
    num_env_steps_sampled_lifetime_throughput num_env_step_failures sample weights_seq_no env_step_timer
    env_reset_timer rlmodule_inference_timer episode_return_mean episode_return_min episode_return_max
    episode_len_mean episode_len_min episode_len_max episode_duration_sec_mean agent_episode_return_mean
    module_episode_return_mean env_to_module_sum_episodes_length_in env_to_module_sum_episodes_length_out
    env_to_module_connector module_to_env_connector
    rooms_visited positions_visited hanging_env_runners env_runner_restarts broken_observations episodes_cut
    rooms_per_episode_mean positions_per_episode_mean
    progress_mean progress_min progress_max
    num_env_step_failures_lifetime time_between_sampling connector_pipeline_timer
    """
)
_KNOWN_OF_EVALUATION = _names(
    """
    num_healthy_workers actor_manager_num_outstanding_async_reqs num_remote_worker_restarts
    num_env_runners_dropped_lifetime
    """
)


def known_stop_keys(own: bool = True) -> list[str]:
    """Returns every name that ``stop`` and the metric of a search may use: short names and result paths.

    Args:
        own: of this package's algorithms; else also where RLlib's own keep the same quantities.
    """
    paths = [path for metric in METRICS for path in (metric.paths[:1] if own else metric.paths)]
    return sorted({*BY_NAME, *paths, *_OTHER_STOP_PATHS})


def is_known(name: str, own: bool = True) -> bool:
    """Whether ``stop`` and the metric of a search may use a name: one of `known_stop_keys`, or a plug-in's path."""
    return name in known_stop_keys(own) or name.startswith(PLUGINS + "/")


def full_path(name: str) -> str:
    """Returns the result path of a short name; a path is returned as it is."""
    return BY_NAME[name].paths[0] if name in BY_NAME else name


def short_name(path: str) -> str:
    """Returns the short name of a result path, or its last part if it has none."""
    for metric in METRICS:
        if path in metric.paths:
            return metric.name
    return path.rpartition("/")[2]


def lookup(result: Mapping[str, Any], path: str) -> float | None:
    """Reads one number out of a nested result; None if it is absent, not a number or NaN."""
    if path in result:
        return _number(result[path])
    value: Any = result
    for part in path.split("/"):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return _number(value)


def find(result: Mapping[str, Any], path: str) -> float | None:
    """Reads what a stop condition is about: a path of the table, wherever the algorithm keeps it, or a user's metric.

    A user's metric may be named as `user_metrics` names it: without ``env_runners/``, and with ``evaluation_`` where
    it is of evaluation.
    """
    places = next((metric.paths for metric in METRICS if path in metric.paths), (path, _RUNNERS + path))
    if path.startswith("evaluation_"):
        inner = path.removeprefix("evaluation_")
        places += ("evaluation/" + _RUNNERS + inner, "evaluation/" + inner)
    return next((value for place in places if (value := lookup(result, place)) is not None), None)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not hasattr(value, "__float__"):  # numbers, arrays and tensors of one
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return None if math.isnan(number) else number


def read(result: Mapping[str, Any], name: str) -> float | None:
    """Reads the metric with the short name ``name``.

    Where an algorithm reports no throughput (RLlib's own PPO), it is the steps over the iteration's seconds.
    """
    for path in BY_NAME[name].paths:
        value = lookup(result, path)
        if value is not None:
            return value
    if name == "agent_steps_per_s":
        steps, seconds = (
            lookup(result, _RUNNERS + "num_env_steps_sampled"),
            lookup(result, "time_this_iter_s"),
        )
        if steps is not None and seconds:
            return steps / seconds
    return None


def curated(result: Mapping[str, Any]) -> dict[str, float]:
    """Returns every metric of the table that the result holds, by short name, and what plug-ins and callbacks report.

    Metrics of further intrinsic rewards carry their number, ``intrinsic_reward_mean_1`` for the second.
    """
    values = {metric.name: read(result, metric.name) for metric in METRICS}
    for metric in METRICS:
        for i in itertools.count(1):
            value = lookup(result, f"{metric.paths[0]}_{i}")
            if value is None:
                break
            values[f"{metric.name}_{i}"] = value
    found = {name: value for name, value in values.items() if value is not None}
    return user_metrics(result) | plugin_metrics(result) | found


def plugin_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """Returns what intrinsic rewards and auxiliary losses report of themselves: losses, drift, collapse."""
    prefix = PLUGINS + "/"
    names = [key.removeprefix(prefix) for key in result if key.startswith(prefix)]
    section: Any = result
    for part in PLUGINS.split("/"):
        section = section.get(part) if isinstance(section, Mapping) else None
    names += list(section) if isinstance(section, Mapping) else []
    values = {name: lookup(result, prefix + name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def user_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """Returns the numbers that callbacks of the user report, by name: logged with a ``metrics_logger`` or put there.

    Those of runners stand without ``env_runners/``; those of evaluation begin with ``evaluation_``.
    """
    values = {}
    for path, value in _flat(result):
        first, _, rest = path.partition("/")
        name = path
        if first == "env_runners":
            name = "" if rest.partition("/")[0] in _KNOWN_OF_RUNNERS else rest
        elif first == "evaluation":
            part, _, inner = rest.partition("/")
            inside = part == "env_runners"
            known = inner.partition("/")[0] in _KNOWN_OF_RUNNERS if inside else part in _KNOWN_OF_EVALUATION
            name = "" if known else f"evaluation_{inner if inside else rest}"
        elif first in _RLLIBS:
            name = ""
        number = _number(value) if name and isinstance(value, (int, float, np.number, np.ndarray)) else None
        if number is not None:
            values[name] = number
    return values


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if prefix or key not in _RLLIBS:  # large sections without anything of a user's
            if isinstance(value, Mapping):
                yield from _flat(value, f"{prefix}{key}/")
            else:
                yield f"{prefix}{key}", value


def time_split(result: Mapping[str, Any]) -> dict[str, float]:
    """Returns the shares (0..1) of sampling, learning and weight transport in an iteration."""
    parts = {"sampling": "sample_s", "learning": "learn_s", "sync": "sync_s"}
    seconds = {label: read(result, name) for label, name in parts.items()}
    total = sum(value for value in seconds.values() if value is not None)
    if total <= 0:
        return {}
    return {label: value / total for label, value in seconds.items() if value is not None}


def show(name: str, value: float | None) -> str:
    """Formats one metric for people."""
    if value is None:
        return "-"
    style = BY_NAME[name].style if name in BY_NAME else "number"
    if style == "count":
        return f"{value:,.0f}"
    if style == "rate":
        return f"{value:,.0f}/s"
    if style == "seconds":
        return duration(value)
    return f"{value:.4g}"


def duration(seconds: float) -> str:
    """Formats seconds as ``40ms``, ``42s``, ``3m 20s`` or ``5h 07m``."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    return f"{minutes // 60}h {minutes % 60:02d}m"
