"""IntrinsicPPO: PPO with one critic per return stream; without intrinsic reward plain PPO."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPO
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    LEARNER_RESULTS,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
)
from ray.tune.result import TIME_THIS_ITER_S
from ray.tune.utils.util import UtilMonitor

from rllib_rnd.checkpointed import CheckpointedPPO
from rllib_rnd.config import IntrinsicPPOConfig
from rllib_rnd.envs import make_env
from rllib_rnd.envs.makers import EnvSpecifier, Maker
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.modules.compiler import compiler_left_out
from rllib_rnd.modules.generators import global_states, restore_global_states
from rllib_rnd.resources import check_actors, told_of_full_store
from rllib_rnd.sampling.answers import RunnerSample
from rllib_rnd.sampling.crew import Crew, weights_of
from rllib_rnd.sampling.episodes import PlaceHistory, RecentEpisodes
from rllib_rnd.sampling.evaluation_crew import evaluate_remotely
from rllib_rnd.sampling.runners import start_failure
from rllib_rnd.training.learner import IntrinsicPPOLearner
from rllib_rnd.training.learners import (
    bound_waits,
    foreach_learner,
    nodes_of,
    told_of_dead_learners,
    warn_without_warmup,
)


class IntrinsicPPO(CheckpointedPPO):
    """PPO with an extrinsic critic and one critic per intrinsic reward."""

    _monitor: UtilMonitor  # Tune's

    @classmethod
    @override(PPO)
    def get_default_config(cls) -> IntrinsicPPOConfig:
        """The defaults."""
        return IntrinsicPPOConfig()

    def __repr__(self) -> str:
        """RLlib's, also while there is no configuration: Ray asks for it where a trial's is refused."""
        return super().__repr__() if self.config is not None else type(self).__name__

    @staticmethod
    @override(PPO)
    def _get_env_id_and_creator(
        env_specifier: EnvSpecifier | None, _config: AlgorithmConfig
    ) -> tuple[EnvSpecifier | None, Maker]:
        """As the runners make environments: any name, class or function that they know."""
        return env_specifier, functools.partial(make_env, env_specifier)

    @override(PPO)
    def setup(self, config: AlgorithmConfig) -> None:
        """Builds runners and learners.

        Raises:
            ConfigError: the environment or the networks cannot be made.
        """
        self.pretrained = config.pretraining is None
        self._held_out = False
        self.warmed_up = False
        self._saved_evaluation = []
        self.places = {}
        self.recent_episodes = RecentEpisodes(config.metrics_num_episodes_for_smoothing)
        check_actors(config)
        try:
            with compiler_left_out():
                super().setup(config)
        except IndexError as error:  # RLlib has asked for the spaces of runners that did not live to tell them
            raise start_failure(config) from error
        bound_waits(self.learner_group)
        if self.runners.remote:
            self.runners.learner_nodes = nodes_of(self.learner_group)

    @override(PPO)
    def _before_evaluate(self) -> None:
        """Makes the environments of an evaluation that ``evaluation_interval`` did not announce."""
        if self.eval_env_runner_group is None:
            process = global_states()  # which RLlib seeds anew for each runner, and the learner may be in this process
            self.eval_env_runner_group = EnvRunnerGroup(
                env_creator=functools.partial(make_env, self.evaluation_config.env),
                config=self.evaluation_config,
                local_env_runner=True,
                logdir=self.logdir,
            )
            restore_global_states(process)
            self._restore_evaluation()

    @override(PPO)
    def step(self) -> dict[str, Any]:
        """RLlib's: one iteration. How long it took is told by a clock that nobody sets, and so is the total."""
        started = time.monotonic()
        with told_of_dead_learners(self.learner_group), told_of_full_store():
            result: dict[str, Any] = super().step()
        result[TIME_THIS_ITER_S] = time.monotonic() - started
        return result

    @override(PPO)
    def stop(self) -> None:
        """RLlib's, which waits for the thread that samples CPU and memory: that one sleeps for most of a second."""
        self._monitor.stop()  # it ends when it wakes, or with the process
        self._monitor = UtilMonitor(start=False)
        super().stop()

    @functools.cached_property
    def evaluation_crew(self) -> Crew:
        """The remote runners of evaluation."""
        group, learners = self.eval_env_runner_group, self.learner_group
        return Crew(group, self.evaluation_config, "evaluation_sample_timeout_s", lambda: weights_of(learners))

    @override(PPO)
    def restore_env_runners(self, env_runner_group: EnvRunnerGroup) -> list[int]:
        """RLlib's: brings runners back that were lost, without waiting for them."""
        training = env_runner_group is self.env_runner_group
        crew = self.runners.crew if training else self.evaluation_crew
        crew.restore()
        return crew.take_returned()

    @override(PPO)
    def _evaluate_with_fixed_duration(self) -> tuple[None, int, int, list[Any]]:
        steps = evaluate_remotely(self.evaluation_crew, self.config, self.metrics)
        return None, steps, steps, []

    @override(PPO)
    def _evaluate_with_auto_duration(self, parallel_train_future: Future[object]) -> tuple[None, int, int, list[Any]]:
        result = super()._evaluate_with_auto_duration(parallel_train_future)
        self.evaluation_crew.stop_stuck()
        return result  # type: ignore[no-any-return]

    @override(PPO)
    def cleanup(self) -> None:
        """RLlib's: ends all processes. Runners that do not answer are not waited for."""
        if getattr(self, "learner_group", None) is not None:  # else setup has failed
            self.runners.crew.stop()
            if self.eval_env_runner_group is not None:
                self.evaluation_crew.stop()
        super().cleanup()

    @override(PPO)
    def training_step(self) -> None:
        """One iteration: sample, update, sync weights; before the first such, pre-training if asked for."""
        if not self.pretrained:
            self._pretrain()
            return
        if not self.warmed_up:
            self._warm_up()
        started = time.perf_counter()
        samples = self.runners.collect()
        self._log_samples(samples)
        sampled = time.perf_counter()
        timesteps = {NUM_ENV_STEPS_SAMPLED_LIFETIME: self._agent_steps()}
        rollouts = [sample.reference or sample.rollout for sample in samples]
        environments = tuple(name for sample in samples for name in sample.environments)
        results = foreach_learner(self.learner_group, "update_from_rollouts", rollouts, timesteps, environments)
        self.metrics.aggregate(results, key=LEARNER_RESULTS)
        learned = time.perf_counter()
        self.runners.sync_weights()
        share = len(samples) / max(1, self.config.num_env_runners)
        self._log_times(sampled - started, learned - sampled, time.perf_counter() - learned, share)

    def _pretrain(self) -> None:
        """One rollout of random play for the auxiliary losses alone; the very first is held out."""
        steps = self.config.get_rollout_fragment_length()
        while not self._held_out:  # also after a resume
            self._held_out = foreach_learner(self.learner_group, "hold_out", self.runners.first_random_play(steps))[0]
        started = time.perf_counter()
        rollouts = self.runners.random_play(steps)
        played = time.perf_counter()
        results = foreach_learner(self.learner_group, "pretrain", rollouts)
        self.metrics.aggregate([metrics for metrics, _ in results], key=LEARNER_RESULTS)
        learned = time.perf_counter()
        self.pretrained = results[0][1]
        if self.pretrained:
            self.runners.end_random_play()
            self.runners.sync_weights()
        self.metrics.aggregate(self.runners.idle_metrics(), key=ENV_RUNNER_RESULTS)
        self._log_times(played - started, learned - played, time.perf_counter() - learned)

    def _warm_up(self) -> None:
        """Random play for the first statistics (Burda et al. 2018, section 2.4)."""
        steps = self.config.get_rollout_fragment_length()
        left = self.config.warmup_steps if self.config.intrinsic_reward_specs() else 0
        if not left:
            warn_without_warmup(self.learner_group)
        while left > 0:
            rollouts = self.runners.random_play(min(steps, left))
            foreach_learner(self.learner_group, "update_statistics", rollouts)
            left -= steps
        self.runners.end_random_play()
        self.warmed_up = True

    def _log_samples(self, samples: Sequence[RunnerSample]) -> None:
        """Metrics of what was sampled: the runners' own, recent episodes, places visited."""
        self.metrics.aggregate([sample.metrics for sample in samples], key=ENV_RUNNER_RESULTS)
        agent_steps = self._agent_steps()
        for sample in samples:
            self.recent_episodes.add(sample.episodes)
            for kind, visits in sample.visits.items():
                self.places.setdefault(kind, PlaceHistory()).add(visits, agent_steps)
        values = self.recent_episodes.summary()
        for kind, history in self.places.items():
            values[f"{kind}s_visited"] = len(history.visits)
        crew = self.runners.crew
        values |= {"hanging_env_runners": crew.hanging} if crew.hanging else {}
        values |= {"env_runner_restarts": crew.restarts} if crew.restarts else {}
        for name, value in values.items():
            self.metrics.log_value((ENV_RUNNER_RESULTS, name), value, window=1)

    def _log_times(self, sample_s: float, learn_s: float, sync_s: float, share: float = 1.0) -> None:
        """``share``: of the runners that played."""
        for name, value in {"sample_s": sample_s, "learn_s": learn_s, "sync_s": sync_s}.items():
            self.metrics.log_value(("timers", name), value, window=1)
        rate = share * self.config.samples_per_iteration() / (sample_s + learn_s + sync_s)
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


IntrinsicPPOConfig.builds = IntrinsicPPO
