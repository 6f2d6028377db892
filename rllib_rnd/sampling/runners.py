"""What the algorithm does with its environment runners: collect, replace, send weights, save and restore."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import ray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from rllib_rnd.envs.makers import env_name
from rllib_rnd.errors import ConfigError
from rllib_rnd.own_code import cause_of
from rllib_rnd.rollout import Rollout
from rllib_rnd.sampling.dealing import deal
from rllib_rnd.sampling.env_runner import RolloutEnvRunner, RunnerFailure, RunnerSample, failure_or

logger = logging.getLogger(__name__)

T = TypeVar("T")

_ROLLOUTS = "rollouts"  # the tag of requests for them


def _raised(result: T | RunnerFailure) -> T:
    """A runner's result, unless it is the error that stopped it."""
    if isinstance(result, RunnerFailure):
        raise result.error
    return result


class Runners:
    """The runners that play for training: the remote ones, or the local one if there are none.

    Args:
        group: RLlib's group of them.
        config: an `IntrinsicPPOConfig`.

    Attributes:
        replaced: how many hung and were started anew.
    """

    def __init__(self, group: EnvRunnerGroup, config: AlgorithmConfig) -> None:
        self._group, self._config = group, config
        self.replaced = 0

    @property
    def remote(self) -> bool:
        """Whether runners have processes of their own."""
        return bool(self._group.num_remote_env_runners() > 0)

    def foreach(self, function: Callable[[RolloutEnvRunner], T]) -> list[T]:
        """Calls a function with every runner; what it raises there is raised here."""
        if not self.remote:
            return [function(self._group.local_env_runner)]
        results = self._group.foreach_env_runner(
            lambda runner: failure_or(lambda: function(runner)), local_env_runner=False
        )
        return [_raised(result) for result in results]

    def collect(self) -> list[RunnerSample]:
        """What the runners played, in their order; with ``overlap_sampling`` they then play on at once.

        Raises:
            RuntimeError: a runner hangs and ``restart_failed_env_runners`` is off.
        """
        if not self.remote:
            return [self._group.local_env_runner.sample_all()]
        # A runner with a rollout under way gets no second request: with overlap this starts only those that have none,
        # all of them the first time and later a restarted one.
        self._group.foreach_env_runner_async("sample_ref", tag=_ROLLOUTS)
        limit = self._config.sample_timeout_s
        finished = dict(self._group.fetch_ready_async_reqs(tags=_ROLLOUTS, timeout_seconds=limit))
        self._replace_hanging(finished)
        samples = [_raised(finished[runner]) for runner in sorted(finished)]
        if self._config.overlap_sampling:
            self._group.foreach_env_runner_async("sample_ref", tag=_ROLLOUTS)
        return samples

    def _replace_hanging(self, finished: Mapping[int, RunnerSample]) -> None:
        """Starts runners anew that are alive but did not answer in time; the others' rollouts are used.

        Raises:
            RuntimeError: there are such runners and ``restart_failed_env_runners`` is off.
        """
        manager = self._group._worker_manager
        late = [runner for runner in manager.healthy_actor_ids() if runner not in finished]
        if not late:
            return
        env = env_name(self._config.env)
        message = (
            f"Env runners {late} have not finished a rollout within sample_timeout_s = "
            f"{self._config.sample_timeout_s} s: the environment {env!r} hangs in reset() or step(), or "
            "the limit is too short."
        )
        restart = self._config.restart_failed_env_runners
        for runner in late:  # also if training ends here: else stopping would wait for them
            ray.kill(manager.actors()[runner], no_restart=not restart)
        if not restart:
            raise RuntimeError(message)
        logger.error("%s They are started anew.", message)
        # Their requests now end with an error, which takes them out of service until RLlib has restored them.
        self._group.fetch_ready_async_reqs(tags=_ROLLOUTS, timeout_seconds=10.0)
        self.replaced += len(late)

    def sync_weights(self, learner_group: LearnerGroup) -> None:
        """Sends the learner's weights to all runners.

        A runner whose previous weights are not acknowledged gets none: RLlib drops the call without a word, and the
        runner plays on with a policy that is one more update old. Hence the wait for the acknowledgement. The weights
        were set before the rollout that has just been learned from, or right after it, so it is there at once.
        """
        self._group.sync_weights(
            from_worker_or_learner_group=learner_group,
            inference_only=True,
            timeout_seconds=self._config.sample_timeout_s,
        )

    def random_play(self, num_steps: int) -> list[Rollout]:
        """Random play of every runner, in environments of its own; see `RolloutEnvRunner.random_play`."""
        return self.foreach(lambda runner: runner.random_play(num_steps))

    def end_random_play(self) -> None:
        """Closes the environments of `random_play`."""
        self.foreach(lambda runner: runner.end_random_play())

    def idle_metrics(self) -> list[dict[str, Any]]:
        """Metrics of an iteration without steps of training."""
        return self.foreach(lambda runner: runner.idle_metrics())

    def first_random_play(self, num_steps: int) -> list[Rollout]:
        """As `random_play`, of the first rollout of it; see `RolloutEnvRunner.first_random_play`."""
        return self.foreach(lambda runner: runner.first_random_play(num_steps))

    def play_states(self) -> dict[str, Any]:
        """Where the play of every runner stands, in their order, and how many runners there are."""
        states = sorted(self.foreach(lambda runner: runner.play_state()), key=lambda state: int(state["runner"]))
        for state in states[1:]:  # all play with the same weights
            state.pop("weights", None)
        return {"num_runners": len(self._indices), "states": states}

    def restore_play(self, saved: Mapping[str, Any]) -> str | None:
        """Goes on where `play_states` were taken, by as many runners and environments or others; see `dealing`.

        Returns:
            What is to be said: which environments begin new episodes and why, or are dealt over other runners.
        """
        if self.remote:  # what is under way belongs to another run
            self._group.fetch_ready_async_reqs(tags=_ROLLOUTS, timeout_seconds=self._config.sample_timeout_s)
        states, envs = saved["states"], self._config.num_envs_per_env_runner
        dealt = deal(states, saved["num_runners"], self._indices, envs)
        shared = {"weights": states[0]["weights"]} if states and "weights" in states[0] else {}
        own = {r: {**state, **shared} if "weights_seq_no" in state else state for r, state in dealt.states.items()}
        reasons = self._foreach_with(own, lambda runner, state: runner.restore_play(state))
        why = next((reason for reason in reasons if reason is not None), None)
        return dealt.note if why is None else f"New episodes begin in {env_name(self._config.env)}: {why}."

    def generators(self) -> list[dict[str, Any]]:
        """The random generators of every runner, in their order."""
        return sorted(self.foreach(lambda runner: runner.generators()), key=lambda state: int(state["runner"]))

    def restore_generators(self, saved: Sequence[Mapping[str, Any]]) -> None:
        """Takes `generators` back; runners of which there are more than were saved keep theirs."""
        states = dict(zip(self._indices, saved, strict=False))
        self._foreach_with(states, lambda runner, state: runner.restore_generators(state))

    @property
    def _indices(self) -> list[int]:
        """Of all runners, also such as do not answer now."""
        return sorted(self._group._worker_manager.actor_ids()) if self.remote else [0]

    def _foreach_with(
        self, values: Mapping[int, Mapping[str, Any]], function: Callable[[RolloutEnvRunner, Mapping[str, Any]], T]
    ) -> list[T]:
        """Calls a function with every runner that answers and its own of the values; one without is left alone."""
        if not self.remote:
            return [function(self._group.local_env_runner, value) for value in values.values()]
        runners = sorted(set(values).intersection(self._group._worker_manager.healthy_actor_ids()))
        calls = [_bound(function, values[runner]) for runner in runners]
        results = self._group.foreach_env_runner(calls, local_env_runner=False, remote_worker_ids=runners)
        return [_raised(result) for result in results]


def _bound(
    function: Callable[[RolloutEnvRunner, Mapping[str, Any]], T], value: Mapping[str, Any]
) -> Callable[[RolloutEnvRunner], T | RunnerFailure]:
    """The call of a function with a runner and that value: what travels to the runner holds no other's."""
    return lambda runner: failure_or(lambda: function(runner, value))


def start_failure(config: AlgorithmConfig) -> ConfigError:
    """Why remote runners do not start: RLlib drops the error of their constructors and fails over what is missing."""
    runner = ray.remote(num_cpus=0)(config.env_runner_cls).remote(
        config=config, worker_index=1, num_workers=config.num_env_runners
    )
    cause = "their processes died"
    try:
        ray.get(runner.assert_healthy.remote())
    except ray.exceptions.RayError as error:
        cause = cause_of(error)
    ray.kill(runner)
    return ConfigError("", f"the environment runners do not start: {cause}")
