"""What the algorithm does with its environment runners: collect, send weights, save and restore."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from rllib_rnd.envs.makers import env_name
from rllib_rnd.errors import ConfigError
from rllib_rnd.own_code import cause_of
from rllib_rnd.resources import is_full_store
from rllib_rnd.rollout import Rollout
from rllib_rnd.sampling.answers import RunnerFailure, RunnerSample, failure_or
from rllib_rnd.sampling.crew import Crew, told, weights_of
from rllib_rnd.sampling.dealing import deal
from rllib_rnd.sampling.env_runner import RolloutEnvRunner
from rllib_rnd.transport import PackedRollout

logger = logging.getLogger(__name__)

T = TypeVar("T")

_MOST_NOTES = 20  # of failures that are told; all are counted


class Runners:
    """The runners that play for training: the remote ones, or the local one if there are none.

    Args:
        group: RLlib's group of them.
        config: an `IntrinsicPPOConfig`.
        learners: whose weights they play with.

    Attributes:
        crew: the remote ones.
        learner_nodes: the nodes that rollouts travel to; empty: nobody has said.
    """

    def __init__(self, group: EnvRunnerGroup, config: AlgorithmConfig, learners: LearnerGroup) -> None:
        self._group, self._config, self._learners = group, config, learners
        self.crew = Crew(group, config, "sample_timeout_s", lambda: weights_of(learners))
        self._playing: dict[int, list[ray.ObjectRef]] = {}  # what the sample and its rollout will be
        self.learner_nodes: tuple[str, ...] = ()
        self._told: set[str] = set()
        self._weights_taken: dict[int, ray.ObjectRef] = {}
        # Each learner gets an environment at least.
        self._needed = -(-max(1, config.num_learners) // config.num_envs_per_env_runner)

    @property
    def remote(self) -> bool:
        """Whether runners have processes of their own."""
        return bool(self._group.num_remote_env_runners() > 0)

    def foreach(self, function: Callable[[RolloutEnvRunner], T], at_least: int = 0) -> list[T]:
        """Calls a function with every runner in service; what it raises there is raised here.

        Args:
            function: called in the runner's process.
            at_least: so many have to answer; waits for runners to come back where fewer are left.
        """
        if not self.remote:
            return [function(self._group.local_env_runner)]
        return [*self.crew.ask(function, at_least).values()]

    def collect(self) -> list[RunnerSample]:
        """What the runners played, in their order; with ``overlap_sampling`` they then play on at once.

        Where runners are lost, those that are left suffice; where too few are left for the learners, it waits.

        Raises:
            Exception: the error that stopped a runner, as of an environment that fails.
            RuntimeError: runners are lost that the settings do not allow to lose, or again and again.
        """
        samples = self._collect_remote() if self.remote else [self._group.local_env_runner.sample_all()]
        for note in (note for sample in samples for note in sample.notes):
            if note not in self._told and len(self._told) < _MOST_NOTES:
                self._told.add(note)
                logger.warning("%s. It is made anew and the rollout begun again; env_failures counts such.", note)
        return samples

    def _collect_remote(self) -> list[RunnerSample]:
        self.crew.restore()
        samples: dict[int, RunnerSample] = {}
        while True:
            self._play(besides=samples)
            samples |= self._played()
            taken = {i: answer for i, answer in self._weights_taken.items() if i in self.crew.in_service}
            self.crew.answers(taken)  # each runner's were there before its next request
            self._weights_taken = {}
            if len(samples) >= self._needed:
                break
            self.crew.wait_for_one(samples)
        self.crew.has_answered()
        if self._config.overlap_sampling:
            self._play()
        return [samples[runner] for runner in sorted(samples)]

    def _play(self, besides: Mapping[int, object] | None = None) -> None:
        """Has all in service play a rollout, but those that do so already."""
        runners = [i for i in self.crew.in_service if i not in self._playing and i not in (besides or {})]
        self._playing |= self.crew.start(_sample_for_driver, runners, num_returns=2, learner_nodes=self.learner_nodes)

    def _played(self) -> dict[int, RunnerSample]:
        """What those brought that play, by index."""
        playing = {i: parts for i, parts in self._playing.items() if i in self.crew.in_service}
        self._playing = {}
        found = {}
        for runner, sample in self.crew.answers({i: parts[0] for i, parts in playing.items()}).items():
            if sample is None:
                self.crew.lost(runner, "its process has ended and another is there in its place")
                continue
            reference = playing[runner][1]
            try:  # the arrays are not copied, and here to stay, whatever becomes of the node they came from
                rollout = ray.get(reference)
                life = self.crew.lives.get(runner, 0)
                names = tuple((runner, life, i) for i in range(self._config.num_envs_per_env_runner))
                found[runner] = sample._replace(rollout=rollout, environments=names, reference=reference)
            except RayError as error:
                self.crew.lost(runner, told(error), lives=is_full_store(error))
        return found

    def sync_weights(self) -> None:
        """Sends the learners' weights to all runners in service, which take them before their next request.

        They were set before the rollout that has just been learned from is played on, or right after it.
        """
        state = weights_of(self._learners)
        if self.remote:
            self._weights_taken = self.crew.start(_take_weights, self.crew.in_service, state=ray.put(state))
        if self._group.local_env_runner is not None:
            self._group.local_env_runner.set_state(state)

    def random_play(self, num_steps: int) -> list[Rollout]:
        """Random play of every runner, in environments of its own; see `RolloutEnvRunner.random_play`."""
        return self.foreach(lambda runner: runner.random_play(num_steps), self._needed)

    def end_random_play(self) -> None:
        """Closes the environments of `random_play`."""
        self.foreach(lambda runner: runner.end_random_play())

    def idle_metrics(self) -> list[dict[str, Any]]:
        """Metrics of an iteration without steps of training."""
        return self.foreach(lambda runner: runner.idle_metrics(), at_least=1)

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
            self._played()
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
        runners = sorted(set(values).intersection(self.crew.in_service))
        calls = {runner: self.crew.start(_bound(function, values[runner]), [runner])[runner] for runner in runners}
        return [*self.crew.answers(calls).values()]


def _bound(
    function: Callable[[RolloutEnvRunner, Mapping[str, Any]], T], value: Mapping[str, Any]
) -> Callable[[RolloutEnvRunner], T | RunnerFailure]:
    """The call of a function with a runner and that value: what travels to the runner holds no other's."""
    return lambda runner: failure_or(lambda: function(runner, value))


def _sample_for_driver(
    runner: RolloutEnvRunner, learner_nodes: Sequence[str]
) -> tuple[object, Rollout | PackedRollout | None]:
    return runner.sample_for_driver(learner_nodes)


def _take_weights(runner: RolloutEnvRunner, state: dict[str, Any]) -> None:
    if runner.has_weights:  # else another process is there, which has to begin anew first
        runner.set_state(state)


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
