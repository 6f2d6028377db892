"""IntrinsicPPO: PPO with one critic per return stream; with ``intrinsic_reward=None`` plain PPO."""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPO
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    LEARNER_RESULTS,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
)

from rllib_rnd.config import IntrinsicPPOConfig
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.rollout import Rollout
from rllib_rnd.sampling.env_runner import RolloutEnvRunner, RunnerSample
from rllib_rnd.sampling.episodes import EpisodeSummary, PlaceHistory, RecentEpisodes
from rllib_rnd.training.learner import IntrinsicPPOLearner

logger = logging.getLogger(__name__)

_ROLLOUTS = "rollouts"  # the tag of requests for them


class IntrinsicPPO(PPO):
    """PPO with an extrinsic critic and one critic per intrinsic reward."""

    @classmethod
    @override(PPO)
    def get_default_config(cls) -> IntrinsicPPOConfig:
        """The defaults."""
        return IntrinsicPPOConfig()

    @override(PPO)
    def setup(self, config: AlgorithmConfig) -> None:
        """Builds runners and learners."""
        self._pretrained = config.pretraining is None
        self._held_out = False
        self._warmed_up = False
        self._hanging_runners = 0
        self.places: dict[str, PlaceHistory] = {}
        self._recent = RecentEpisodes(config.metrics_num_episodes_for_smoothing)
        super().setup(config)

    @override(PPO)
    def training_step(self) -> None:
        """One iteration: sample, update, sync weights; before the first such, pre-training if asked for."""
        if not self._pretrained:
            self._pretrain()
            return
        if not self._warmed_up:
            self._warm_up()
        started = time.perf_counter()
        rollouts = self._sample()
        if not rollouts:
            return
        sampled = time.perf_counter()
        timesteps = {NUM_ENV_STEPS_SAMPLED_LIFETIME: self._agent_steps()}
        results = self._foreach_learner("update_from_rollouts", rollouts, timesteps)
        self.metrics.aggregate(results, key=LEARNER_RESULTS)
        learned = time.perf_counter()
        self._sync_weights()
        self._log_times(sampled - started, learned - sampled, time.perf_counter() - learned)

    def _sample(self) -> list[Any]:
        """Rollouts (local runner) or references to them (remote runners); metrics are aggregated."""
        results = self._collect()
        if results:
            self.metrics.aggregate([result.metrics for result in results], key=ENV_RUNNER_RESULTS)
        agent_steps = self._agent_steps() if results else 0
        for result in results:
            for kind, visits in result.visits.items():
                self.places.setdefault(kind, PlaceHistory()).add(visits, agent_steps)
        self._log_episodes([episode for result in results for episode in result.episodes])
        return [result.rollout for result in results]

    def _agent_steps(self) -> int:
        """Agent steps of all runners since the start of the run."""
        return int(self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME)))

    def _collect(self) -> list[RunnerSample]:
        """What the runners played, in their order; with ``overlap_sampling`` they then play on at once."""
        runners = self.env_runner_group
        if runners.num_remote_env_runners() == 0:
            return [self.env_runner.sample_all()]
        # A runner with a rollout under way gets no second request: with overlap this starts only those that have none,
        # all of them the first time and later a restarted one.
        runners.foreach_env_runner_async("sample_ref", tag=_ROLLOUTS)
        limit = self.config.sample_timeout_s
        finished = dict(runners.fetch_ready_async_reqs(tags=_ROLLOUTS, timeout_seconds=limit))
        self._replace_hanging_runners(finished)
        if self.config.overlap_sampling:
            runners.foreach_env_runner_async("sample_ref", tag=_ROLLOUTS)
        return [finished[runner] for runner in sorted(finished)]

    def _replace_hanging_runners(self, finished: dict[int, RunnerSample]) -> None:
        """Starts runners anew that are alive but did not answer in time; the others' rollouts are used.

        Raises:
            RuntimeError: there are such runners and ``restart_failed_env_runners`` is off.
        """
        manager = self.env_runner_group._worker_manager
        late = [runner for runner in manager.healthy_actor_ids() if runner not in finished]
        if not late:
            return
        message = (
            f"Env runners {late} have not finished a rollout within sample_timeout_s = "
            f"{self.config.sample_timeout_s} s: the environment {self.config.env!r} hangs in reset() or step(), or the "
            "limit is too short."
        )
        restart = self.config.restart_failed_env_runners
        for runner in late:  # also if training ends here: else stopping would wait for them
            ray.kill(manager.actors()[runner], no_restart=not restart)
        if not restart:
            raise RuntimeError(message)
        logger.error("%s They are started anew.", message)
        # Their requests now end with an error, which takes them out of service until RLlib has restored them.
        self.env_runner_group.fetch_ready_async_reqs(tags=_ROLLOUTS, timeout_seconds=10.0)
        self._hanging_runners += len(late)

    def _log_episodes(self, finished: list[EpisodeSummary]) -> None:
        self._recent.add(finished)
        values = self._recent.summary()
        for kind, history in self.places.items():
            values[f"{kind}s_visited"] = len(history.visits)
        if self._hanging_runners:
            values["hanging_env_runners"] = self._hanging_runners
        for name, value in values.items():
            self.metrics.log_value((ENV_RUNNER_RESULTS, name), value, window=1)

    def _sync_weights(self) -> None:
        """Sends the learner's weights to all runners.

        A runner whose previous weights are not acknowledged gets none: RLlib drops the call without a word, and the
        runner plays on with a policy that is one more update old. Hence the wait for the acknowledgement. The weights
        were set before the rollout that has just been learned from, or right after it, so it is there at once.
        """
        self.env_runner_group.sync_weights(
            from_worker_or_learner_group=self.learner_group,
            inference_only=True,
            timeout_seconds=self.config.sample_timeout_s,
        )

    def _foreach_runner(self, function: Callable[[Any], Any]) -> list[Any]:
        """Calls a function with every training runner: the remote ones, or the local one if there are none."""
        local = self.env_runner_group.num_remote_env_runners() == 0
        results: list[Any] = self.env_runner_group.foreach_env_runner(function, local_env_runner=local)
        return results

    def _foreach_learner(self, method: str, *args: Any) -> list[Any]:
        """Calls a method of every learner with the same arguments.

        Raises:
            Exception: whatever a learner raised.
        """
        if self.learner_group.is_remote:
            args = tuple(
                [r if isinstance(r, ray.ObjectRef) else ray.put(r) for r in a] if isinstance(a, list) else a
                for a in args
            )
        results = self.learner_group.foreach_learner(lambda learner, _a=args: getattr(learner, method)(*_a))
        return [result.get() if result.ok else _raise(result.get()) for result in results]

    def _pretrain(self) -> None:
        """One rollout of random play for the auxiliary losses alone; the very first is held out."""
        steps = self.config.get_rollout_fragment_length()
        if not self._held_out:  # also after a resume, with the same play if there is a seed
            rollouts = self._foreach_runner(functools.partial(_random_play, num_steps=steps, call=0))
            self._foreach_learner("hold_out", rollouts)
            self._held_out = True
        started = time.perf_counter()
        rollouts = self._foreach_runner(functools.partial(_random_play, num_steps=steps, call=1))
        played = time.perf_counter()
        results = self._foreach_learner("pretrain", rollouts)
        self.metrics.aggregate([metrics for metrics, _ in results], key=LEARNER_RESULTS)
        learned = time.perf_counter()
        self._pretrained = results[0][1]
        if self._pretrained:
            self._foreach_runner(lambda runner: runner.end_random_play())
            self._sync_weights()
        idle = self._foreach_runner(lambda runner: runner.idle_metrics())
        self.metrics.aggregate(idle, key=ENV_RUNNER_RESULTS)
        self._log_times(played - started, learned - played, time.perf_counter() - learned)

    def _warm_up(self) -> None:
        """Random play in separate environments for the first statistics (Burda et al. 2018, section 2.4)."""
        steps = self.config.get_rollout_fragment_length()
        calls = math.ceil(self.config.warmup_steps / steps) if self.config.intrinsic_reward_specs() else 0
        for call in range(calls):
            length = min(steps, self.config.warmup_steps - call * steps)
            rollouts = self._foreach_runner(functools.partial(_random_play, num_steps=length, call=call))
            self._foreach_learner("update_statistics", rollouts)
        self._foreach_runner(lambda runner: runner.end_random_play())
        self._warmed_up = True

    def _log_times(self, sample_s: float, learn_s: float, sync_s: float) -> None:
        for name, value in {"sample_s": sample_s, "learn_s": learn_s, "sync_s": sync_s}.items():
            self.metrics.log_value(("timers", name), value, window=1)
        rate = self.config.samples_per_iteration() / (sample_s + learn_s + sync_s)
        self.metrics.log_value(("throughput", "agent_steps_per_s"), rate, window=1)

    def local_learner(self) -> IntrinsicPPOLearner:
        """The learner that is in this process.

        Raises:
            RuntimeError: ``num_learners`` is 1 or more, and so all learners are in processes of their own.
        """
        if self.learner_group.is_remote:
            raise RuntimeError(
                f"With num_learners = {self.config.num_learners} no learner is in this process: take num_learners = 0, "
                "or reach the learners with learner_group.foreach_learner."
            )
        (learner,) = self.learner_group.foreach_learner(lambda learner: learner)
        return learner.get()

    def learner_module(self) -> IntrinsicPPOModule:
        """The module that the learner of this process trains, with all its plug-ins.

        Raises:
            RuntimeError: as of `local_learner`.
        """
        return self.local_learner().trained_module

    @override(PPO)
    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """RLlib's algorithm state plus warm-up flag, places visited, and where every runner's play stands."""
        state = super().get_state(*args, **kwargs)
        state["intrinsic_ppo"] = {
            "pretrained": self._pretrained,
            "warmed_up": self._warmed_up,
            "places": {kind: vars(history) for kind, history in self.places.items()},
            "recent_episodes": self._recent.episodes(),
            "play": dict(self._foreach_runner(lambda runner: (runner.worker_index, runner.play_state()))),
        }
        return state

    @override(PPO)
    def set_state(self, state: dict[str, Any]) -> None:
        """Restores `get_state`."""
        super().set_state(state)
        own = state.get("intrinsic_ppo", {})
        self._pretrained = own.get("pretrained", self._pretrained)
        self._warmed_up = own.get("warmed_up", self._warmed_up)
        self.places = {kind: PlaceHistory(**history) for kind, history in own.get("places", {}).items()}
        self._recent.add(own.get("recent_episodes", []))
        if "play" in own:
            self._foreach_runner(functools.partial(_restore_play, states=own["play"]))


def _random_play(runner: RolloutEnvRunner, num_steps: int, call: int) -> Rollout:
    return runner.random_play(num_steps, call)


def _restore_play(runner: RolloutEnvRunner, states: dict[int, dict[str, Any]]) -> None:
    runner.restore_play(states)


def _raise(error: Exception) -> Any:
    raise error
