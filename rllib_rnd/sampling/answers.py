"""What runners answer: a sample, or a failure that can travel between processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import ray

from rllib_rnd.errors import ConfigError
from rllib_rnd.own_code import cause_of
from rllib_rnd.rollout import Rollout
from rllib_rnd.sampling.episodes import EpisodeSummary, Visits
from rllib_rnd.sampling.intake import EnvironmentFailedError

T = TypeVar("T")


class RunnerSample(NamedTuple):
    """What a runner hands to the algorithm each iteration.

    Attributes:
        rollout: the arrays; None where they travel apart.
        metrics: the runner's reduced metrics.
        episodes: the training episodes finished since the last sample.
        visits: agent steps that this rollout spent at each place.
        notes: failures of environments that were made anew since the last sample, in words.
        environments: who played, each with a name of its own that nobody had before a restart.
        reference: of a remote runner's rollout, for learners in other processes.
    """

    rollout: Rollout | None
    metrics: dict[str, Any]
    episodes: list[EpisodeSummary]
    visits: Visits
    notes: list[str]
    environments: tuple[tuple[int, ...], ...] = ()
    reference: ray.ObjectRef | None = None


class RunnerFailure(NamedTuple):
    """What a runner in another process answers instead of raising: nothing is wrong with the process.

    Attributes:
        error: one that can travel between processes.
    """

    error: Exception


def failure_or(function: Callable[[], T]) -> T | RunnerFailure:
    """Calls a function; its error becomes its result."""
    try:
        return function()
    except (ConfigError, EnvironmentFailedError) as error:
        return RunnerFailure(error)
    except Exception as error:
        return RunnerFailure(RuntimeError(cause_of(error)))
