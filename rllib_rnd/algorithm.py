"""IntrinsicPPO: PPO with one critic per return stream; with ``intrinsic_reward=None`` plain PPO."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPO
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    LEARNER_RESULTS,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
)
from ray.tune import Checkpoint

from rllib_rnd.checkpoint_format import CHECKPOINT_FORMAT, OWN_STATE, check_checkpoint, check_format
from rllib_rnd.config import IntrinsicPPOConfig
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.sampling.env_runner import RunnerSample
from rllib_rnd.sampling.episodes import PlaceHistory, RecentEpisodes
from rllib_rnd.sampling.runners import Runners
from rllib_rnd.training.learner import IntrinsicPPOLearner
from rllib_rnd.training.learners import foreach_learner


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
        self.pretrained = config.pretraining is None
        self._held_out = False
        self.warmed_up = False
        self.places: dict[str, PlaceHistory] = {}
        self.recent_episodes = RecentEpisodes(config.metrics_num_episodes_for_smoothing)
        super().setup(config)

    @functools.cached_property
    def runners(self) -> Runners:
        """The training runners."""
        return Runners(self.env_runner_group, self.config)

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
        if not samples:
            return
        self._log_samples(samples)
        sampled = time.perf_counter()
        timesteps = {NUM_ENV_STEPS_SAMPLED_LIFETIME: self._agent_steps()}
        rollouts = [sample.rollout for sample in samples]
        results = foreach_learner(self.learner_group, "update_from_rollouts", rollouts, timesteps)
        self.metrics.aggregate(results, key=LEARNER_RESULTS)
        learned = time.perf_counter()
        self.runners.sync_weights(self.learner_group)
        self._log_times(sampled - started, learned - sampled, time.perf_counter() - learned)

    def _pretrain(self) -> None:
        """One rollout of random play for the auxiliary losses alone; the very first is held out."""
        steps = self.config.get_rollout_fragment_length()
        if not self._held_out:  # also after a resume
            foreach_learner(self.learner_group, "hold_out", self.runners.random_play(steps))
            self._held_out = True
        started = time.perf_counter()
        rollouts = self.runners.random_play(steps)
        played = time.perf_counter()
        results = foreach_learner(self.learner_group, "pretrain", rollouts)
        self.metrics.aggregate([metrics for metrics, _ in results], key=LEARNER_RESULTS)
        learned = time.perf_counter()
        self.pretrained = results[0][1]
        if self.pretrained:
            self.runners.end_random_play()
            self.runners.sync_weights(self.learner_group)
        self.metrics.aggregate(self.runners.idle_metrics(), key=ENV_RUNNER_RESULTS)
        self._log_times(played - started, learned - played, time.perf_counter() - learned)

    def _warm_up(self) -> None:
        """Random play in separate environments for the first statistics (Burda et al. 2018, section 2.4)."""
        steps = self.config.get_rollout_fragment_length()
        left = self.config.warmup_steps if self.config.intrinsic_reward_specs() else 0
        while left > 0:
            rollouts = self.runners.random_play(min(steps, left))
            foreach_learner(self.learner_group, "update_statistics", rollouts)
            left -= steps
        self.runners.end_random_play()
        self.warmed_up = True

    def _agent_steps(self) -> int:
        """Agent steps of all runners since the start of the run."""
        return int(self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME)))

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
        if self.runners.replaced:
            values["hanging_env_runners"] = self.runners.replaced
        for name, value in values.items():
            self.metrics.log_value((ENV_RUNNER_RESULTS, name), value, window=1)

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
        state: dict[str, Any] = super().get_state(*args, **kwargs)
        state[OWN_STATE] = {
            "format": CHECKPOINT_FORMAT,
            "pretrained": self.pretrained,
            "warmed_up": self.warmed_up,
            "places": {kind: vars(history) for kind, history in self.places.items()},
            "recent_episodes": self.recent_episodes.episodes(),
            "play": self.runners.play_states(),
        }
        return state

    @override(PPO)
    def set_state(self, state: dict[str, Any]) -> None:
        """Restores `get_state`.

        Raises:
            ConfigError: the state is of a version with another checkpoint format.
        """
        check_format(state)
        super().set_state(state)
        own = state.get(OWN_STATE)
        if own is None:  # of some components only
            return
        self.pretrained, self.warmed_up = own["pretrained"], own["warmed_up"]
        self.places = {kind: PlaceHistory(**history) for kind, history in own["places"].items()}
        self.recent_episodes.add(own["recent_episodes"])
        self.runners.restore_play(own["play"])

    @classmethod
    @override(PPO)
    def from_checkpoint(cls, path: str | Path | Checkpoint, *args: Any, **kwargs: Any) -> IntrinsicPPO:
        """RLlib's: a new algorithm that goes on from a checkpoint.

        Raises:
            ConfigError: the checkpoint is of a version with another format.
        """
        # First: it names classes that this version may not have.
        check_checkpoint(path.path if isinstance(path, Checkpoint) else path)
        return super().from_checkpoint(path, *args, **kwargs)  # type: ignore[no-any-return]

    @override(PPO)
    def restore_from_path(self, path: str | Path, *args: Any, **kwargs: Any) -> None:
        """RLlib's: goes on from a checkpoint.

        Raises:
            ConfigError: the checkpoint is of a version with another format.
        """
        check_checkpoint(path)
        super().restore_from_path(path, *args, **kwargs)
