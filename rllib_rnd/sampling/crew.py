"""Remote runners as a crew: those in service are asked, those that fail leave it, and come back with new weights.

RLlib asks its runners without a limit, waits for those that are away in every iteration, never makes one again whose
constructor failed, and lets one that was started anew between two requests play with the weights it was born with.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, ActorUnavailableError, ObjectLostError, OutOfMemoryError, RayError
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from rllib_rnd.envs.makers import env_name
from rllib_rnd.own_code import cause_of
from rllib_rnd.resources import FULL_STORE, is_full_store
from rllib_rnd.sampling.answers import RunnerFailure, failure_or
from rllib_rnd.sampling.env_runner import RolloutEnvRunner

logger = logging.getLogger(__name__)

T = TypeVar("T")

_POLL_S = 0.1  # between two looks whether a runner is back
_STOP_S = 10.0  # that runners have for closing their environments; they may be in the middle of a rollout


def weights_of(learners: LearnerGroup) -> dict[str, Any]:
    """What runners need of the learners' state."""
    name = f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}"
    state = learners.get_state(components=[name], inference_only=True)[COMPONENT_LEARNER]
    return {key: state[key] for key in (COMPONENT_RL_MODULE, WEIGHTS_SEQ_NO)}


class Crew:
    """The remote runners of a group.

    Args:
        group: RLlib's.
        config: of the group.
        limit: the setting that says how many seconds an answer may take.
        weights: gives the current ones, see `weights_of`.

    Attributes:
        hanging: runners started anew because they hung, so far.
        restarts: runners that came back as new processes, so far.
        lives: of these runners, how often each has come back.
    """

    def __init__(
        self, group: EnvRunnerGroup, config: AlgorithmConfig, limit: str, weights: Callable[[], dict[str, Any]]
    ) -> None:
        self._group, self._config, self._limit, self._weights = group, config, limit, weights
        self._manager = group._worker_manager
        self.hanging = self.restarts = 0
        self.lives: dict[int, int] = {}
        self._failures = 0  # in a row of the whole crew, without an answer between
        self._last_failure = ""
        self._remade: dict[int, int] = {}  # actors made again, which Ray does not count
        self._tried: dict[int, float] = {}  # when, the last time
        self._away_since: dict[int, float] = {}
        self._pings: dict[int, ray.ObjectRef] = {}
        self._back: list[int] = []
        self._in_flight: dict[ray.ObjectRef, float] = {}  # requests of RLlib's own, since when

    # --- asking ------------------------------------------------------------------------------------------------------

    @property
    def in_service(self) -> list[int]:
        """Indices of the runners that can be asked."""
        return sorted(self._manager.healthy_actor_ids())

    def start(
        self, function: Callable[..., Any], runners: list[int], num_returns: int = 1, **arguments: object
    ) -> dict[int, Any]:
        """Has runners call a function with themselves; gives the references of their answers."""
        return {
            runner: self._actor(runner).apply.options(num_returns=num_returns).remote(function, **arguments)
            for runner in runners
        }

    def answers(self, requests: Mapping[int, ray.ObjectRef]) -> dict[int, Any]:
        """What the runners answered, by index; those that died, hang or lost it leave the service.

        Raises:
            Exception: the error that a runner answered with, see `failure_or`.
            RuntimeError: a runner died or hangs, and the settings allow no loss.
        """
        if not requests:
            return {}
        limit = getattr(self._config, self._limit)
        _, late = ray.wait([*requests.values()], num_returns=len(requests), timeout=limit)
        found = {}
        for runner in sorted(set(requests) - {i for i, request in requests.items() if request in late}):
            try:
                found[runner] = ray.get(requests[runner])
            except RayError as error:
                self.lost(runner, told(error), lives=is_full_store(error))
        if late:
            self._stop_hanging([runner for runner, request in requests.items() if request in late])
        for answer in found.values():
            if isinstance(answer, RunnerFailure):
                raise answer.error
        return found

    def ask(self, function: Callable[[RolloutEnvRunner], T], at_least: int = 1) -> dict[int, T]:
        """Asks all in service, and those that come back, until enough have answered.

        Raises:
            Exception: as of `answers` and `wait_for_one`.
        """
        found: dict[int, T] = {}
        while True:
            asked = [runner for runner in self.in_service if runner not in found]
            found |= self.answers(self.start(_careful(function), asked))
            if found:
                self.has_answered()
            if len(found) >= at_least:
                return dict(sorted(found.items()))
            self.wait_for_one(found)

    # --- losses and returns ------------------------------------------------------------------------------------------

    def lost(self, runner: int, cause: str, lives: bool = False) -> None:
        """Takes a runner out of service.

        Args:
            runner: its index.
            cause: in words.
            lives: its process is well; only what it answered is lost.

        Raises:
            RuntimeError: the settings allow no loss.
        """
        self._manager.set_actor_state(runner, healthy=False)
        self._away_since.setdefault(runner, time.monotonic())
        self._last_failure = f"env runner {runner}: {cause}"
        if lives and self._config.restart_failed_env_runners:
            logger.warning("The rollout of env runner %d is lost: %s. It plays another.", runner, cause)
        elif self._config.restart_failed_env_runners:
            logger.warning("Env runner %d is lost: %s. It is started anew.", runner, cause)
        elif self._config.ignore_env_runner_failures:
            logger.warning("Env runner %d is lost: %s. The others go on (ignore_env_runner_failures).", runner, cause)
        else:
            raise RuntimeError(
                f"env: {self._env!r}: env runner {runner} is lost: {cause}. With restart_failed_env_runners = true it "
                "would be started anew."
            )

    def _stop_hanging(self, runners: list[int]) -> None:
        """Ends the processes of runners that did not answer in time.

        Raises:
            RuntimeError: ``restart_failed_env_runners`` is off.
        """
        restart = self._config.restart_failed_env_runners
        message = (
            f"Env runners {runners} have not finished within {self._limit} = {getattr(self._config, self._limit)} s: "
            f"the environment {self._env!r} hangs in reset() or step(), or the limit is too short"
        )
        for runner in runners:  # also if training ends here: else stopping would wait for them
            ray.kill(self._actor(runner), no_restart=not restart)
        if not restart:
            raise RuntimeError(f"{message}.")
        self.hanging += len(runners)
        for runner in runners:
            self.lost(runner, message)

    def stop_stuck(self) -> None:
        """Ends the processes of runners that RLlib itself has asked, and that have not answered in time.

        Raises:
            RuntimeError: ``restart_failed_env_runners`` is off.
        """
        asked, now = self._manager._in_flight_req_to_actor_id, time.monotonic()
        self._in_flight = {request: self._in_flight.get(request, now) for request in asked}
        limit = getattr(self._config, self._limit) or float("inf")
        late = {asked[request][1] for request, since in self._in_flight.items() if now - since > limit}
        if late:
            self._stop_hanging(sorted(late))

    def restore(self) -> None:
        """Takes back into service who is there again, with current weights; waits for nobody."""
        away = [runner for runner in self._manager.actor_ids() if not self._manager.is_actor_healthy(runner)]
        if not away or not self._config.restart_failed_env_runners:
            return
        for runner in away:  # also such as RLlib has taken out of service
            self._away_since.setdefault(runner, time.monotonic())
            if runner not in self._pings:
                self._pings[runner] = self._actor(runner).ping.remote()
        answered, _ = ray.wait([*self._pings.values()], num_returns=len(self._pings), timeout=_POLL_S)
        here = []
        for runner in [runner for runner, ping in self._pings.items() if ping in answered]:
            try:
                ray.get(self._pings.pop(runner))
                here.append(runner)
            except ActorDiedError as error:
                self._make_again(runner, error)
            except RayError:  # on its way
                continue
        if here:
            self._take_back(here)

    def _take_back(self, runners: list[int]) -> None:
        """Sends weights to runners, and puts those in service that have taken them."""
        state = self._weights()
        # Updates are counted over all resumes: no process gets the seeds of another.
        seeds = (int(state[WEIGHTS_SEQ_NO]), self.restarts + 1)
        answers = self.answers(self.start(_begin_anew, runners, state=ray.put(state), seeds=seeds))
        if len(answers) < len(runners):
            self._count_failure()
        for runner, new in answers.items():
            self._manager.set_actor_state(runner, healthy=True)
            self.restarts += new
            # Also of a process that was only out of reach: what it has played meanwhile nobody has seen.
            self.lives[runner] = self.lives.get(runner, 0) + 1
            self._back.append(runner)
            away, episodes = time.monotonic() - self._away_since.pop(runner), " and new episodes" if new else ""
            logger.warning("Env runner %d is back after %.1f s, with current weights%s.", runner, away, episodes)

    def _make_again(self, runner: int, error: ActorDiedError) -> None:
        """A new actor in place of one that Ray has given up, as it does where a constructor raises."""
        before = self._tried.get(runner)
        if before is not None and time.monotonic() - before < self._config.delay_between_env_runner_restarts_s:
            return
        self._tried[runner] = time.monotonic()
        self._remade[runner] = self._remade.get(runner, 0) + 1
        if self._remade[runner] > self._config.max_num_env_runner_restarts:
            return
        if error.actor_init_failed:
            self._last_failure = f"env runner {runner}: {told(error)}"
            logger.warning("Env runner %d does not start: %s. It is tried again.", runner, told(error))
            self._count_failure()
        self._manager._actors[runner] = self._group._make_worker(
            env_creator=self._group._env_creator,
            validate_env=None,
            worker_index=runner,
            num_workers=self._manager.num_actors(),
            recreated_worker=True,
            config=self._group._remote_config_obj_ref,
        )

    def wait_for_one(self, besides: Mapping[int, object]) -> None:
        """Returns when a runner is in service that is not among ``besides``; a round without an answer is behind.

        Raises:
            RuntimeError: it was one round too many, nobody comes back in time, or nobody may.
        """
        self._count_failure()
        started, said = time.monotonic(), False
        limit = self._config.env_runner_restore_timeout_s
        while not set(self.in_service) - set(besides):
            if not self._config.restart_failed_env_runners:
                raise RuntimeError(
                    f"env: {self._env!r}: no env runner is left; the last one lost was {self._last_failure}."
                )
            if time.monotonic() - started > limit:
                raise RuntimeError(
                    f"env: {self._env!r}: no env runner has come back within env_runner_restore_timeout_s = {limit} s; "
                    f"the last one lost was {self._last_failure}."
                )
            if not said:
                said = True
                logger.warning("Training waits for env runners to come back: too few are left.")
            time.sleep(_POLL_S)
            self.restore()

    def _count_failure(self) -> None:
        """Counts a round without an answer.

        Raises:
            RuntimeError: there were too many in a row.
        """
        self._failures += 1
        tolerated = self._config.num_consecutive_env_runner_failures_tolerance
        if self._failures > tolerated:
            raise RuntimeError(
                f"env: {self._env!r}: env runners failed {self._failures} times in a row without finishing a rollout "
                f"(num_consecutive_env_runner_failures_tolerance = {tolerated}); the last was {self._last_failure}. "
                "What their processes said last is in Ray's logs, worker-*.err."
            )

    def has_answered(self) -> None:
        """Failures before do not count any more."""
        self._failures = 0

    def take_returned(self) -> list[int]:
        """The runners that have come back since the last call."""
        back, self._back = self._back, []
        return back

    def stop(self) -> None:
        """Closes environments and ends all processes, also such as hang."""
        requests = [*self.start(lambda runner: runner.stop(), self.in_service).values()]
        if requests:
            ray.wait(requests, num_returns=len(requests), timeout=_STOP_S)
        self._manager.clear()

    def _actor(self, runner: int) -> ActorHandle:
        return self._manager.actors()[runner]

    @property
    def _env(self) -> str:
        return env_name(self._config.env)


def _careful(function: Callable[[RolloutEnvRunner], T]) -> Callable[[RolloutEnvRunner], T | RunnerFailure]:
    return lambda runner: failure_or(lambda: function(runner))


def _begin_anew(runner: RolloutEnvRunner, state: Mapping[str, Any], seeds: tuple[int, ...]) -> bool:
    return runner.begin_anew(state, seeds)


def told(error: RayError) -> str:
    """What has happened to a runner, in one line."""
    if isinstance(error, ActorDiedError) and error.actor_init_failed:
        return f"it cannot be made ({cause_of(error)})"
    if is_full_store(error):
        return FULL_STORE
    if isinstance(error, OutOfMemoryError):
        return "Ray ended its process for want of memory"
    if isinstance(error, ActorDiedError | ActorUnavailableError):
        return "its process has ended (killed, or ended by the environment)"
    if isinstance(error, ObjectLostError):
        return "its rollout is lost, with the node that held it"
    return cause_of(error)
