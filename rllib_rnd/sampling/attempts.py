"""Environments that fail or hang: play in them is limited, and tried again in new ones, a number of times."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Protocol, TypeVar

from ray.rllib.env.env_errors import StepFailedRecreateEnvError
from ray.rllib.env.env_runner import NUM_ENV_STEP_FAILURES_LIFETIME
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_rnd.envs.makers import env_name
from rllib_rnd.errors import ConfigError
from rllib_rnd.sampling.intake import EnvironmentFailedError
from rllib_rnd.sampling.play import Play
from rllib_rnd.sampling.time_limit import HangError, time_limit

T = TypeVar("T")

_MAX_RESTARTS = 10  # of environments that fail in one rollout or reset, before training stops
_MAX_HANGS = 3  # likewise: each costs the whole limit
_CLOSE_S = 30.0  # that an environment may take which has failed


class Runner(Protocol):
    """What is used of a `RolloutEnvRunner` here."""

    worker_index: int
    config: Any
    metrics: MetricsLogger


class Attempts:
    """How often the environments of a runner may fail, how long play in them may take, and what there was of it.

    Args:
        runner: the one.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._notes: list[str] = []

    @property
    def _limit_name(self) -> str:
        return "evaluation_sample_timeout_s" if self._runner.config.in_evaluation else "sample_timeout_s"

    @property
    def limit_s(self) -> float | None:
        """Seconds that a rollout or an evaluation may take."""
        return getattr(self._runner.config, self._limit_name)  # type: ignore[no-any-return]

    @property
    def _env(self) -> str:
        return env_name(self._runner.config.env)

    def limited(self, done: str) -> AbstractContextManager[None]:
        """The limit of a block, after which the environment is not ``done``."""
        limit = f"{self._limit_name} = {self.limit_s} s"
        return time_limit(self.limit_s, f"env: {self._env!r} hangs: it is not {done} within {limit}.")

    def until_it_works(self, function: Callable[[], T], make_anew: Callable[[], None]) -> T:
        """Calls a function that plays; where restarts are allowed, failures are counted and it is tried again.

        Args:
            function: plays.
            make_anew: has other environments made for the next try.

        Raises:
            EnvironmentFailedError: there was a failure and ``restart_failed_sub_environments`` is off.
            RuntimeError: the environment failed too often in a row.
        """
        hung, last = 0, None
        for _ in range(_MAX_RESTARTS):
            try:
                if last is not None:
                    self._make_again(make_anew)
                # The process of a remote runner is watched from outside.
                with self.limited("done") if self._runner.worker_index == 0 else nullcontext():
                    return function()
            except EnvironmentFailedError as failure:
                last = failure
                self._runner.metrics.log_value(NUM_ENV_STEP_FAILURES_LIFETIME, 1, reduce="lifetime_sum")
                hung += isinstance(failure.__cause__, HangError)
                if hung == _MAX_HANGS or not self._runner.config.restart_failed_sub_environments:
                    raise
                if not isinstance(failure.__cause__, StepFailedRecreateEnvError):  # which asks for just that
                    self._notes.append(str(failure))
        assert last is not None
        raise RuntimeError(
            f"env: {last.env!r} failed in {last.where}() {_MAX_RESTARTS} times in a row, the last time: {last.reason}"
        ) from last

    def _make_again(self, make_anew: Callable[[], None]) -> None:
        """Makes environments anew that have failed.

        Raises:
            EnvironmentFailedError: it cannot be done. It could before, so that it is no mistake in the settings.
        """
        try:
            make_anew()
        except (ConfigError, HangError) as error:
            raise EnvironmentFailedError(self._env, "__init__", str(error)) from error

    def close(self, play: Play) -> None:
        """Closes environments that may have failed: what they raise now is no news, and they may not hang in it."""
        with suppress(Exception), time_limit(_CLOSE_S, f"env: {self._env!r} hangs in close()."):
            play.close()

    def take_notes(self) -> list[str]:
        """Returns the failures since the last call, in words."""
        notes, self._notes = self._notes, []
        return notes
