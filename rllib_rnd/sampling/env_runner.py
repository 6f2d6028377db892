"""The environment runner: RLlib's dialect around `Play`.

Training rollouts leave as one `Rollout` per call, by object reference from remote runners. Evaluation plays through
`Play` too, so that it cannot differ, and leaves as RLlib's own episodes, so that evaluation settings, callbacks and
metrics work as RLlib users expect.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import ray
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.annotations import override
from ray.rllib.utils.framework import get_device
from ray.rllib.utils.metrics import ENV_STEP_TIMER, SAMPLE_TIMER, WEIGHTS_SEQ_NO
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger
from ray.util import log_once

from rllib_rnd.envs.makers import env_name
from rllib_rnd.modules.accelerate import accelerate, worker_compile_options
from rllib_rnd.modules.compiler import compiler_left_out
from rllib_rnd.modules.layers import noisy_layers
from rllib_rnd.rollout import Rollout
from rllib_rnd.sampling.answers import RunnerFailure, RunnerSample, failure_or
from rllib_rnd.sampling.attempts import Attempts
from rllib_rnd.sampling.episodes import EpisodeSummary, EpisodeTracker
from rllib_rnd.sampling.evaluation import play_episodes, shares
from rllib_rnd.sampling.play import Play, make_play
from rllib_rnd.sampling.policy import Policy
from rllib_rnd.sampling.random_play import RandomPlay
from rllib_rnd.sampling.seeds import ResetSeeds, derived_seed, runner_seed
from rllib_rnd.sampling.standing import Standing
from rllib_rnd.sampling.stock_episodes import EPISODE_CALLBACKS, StockEpisodes, defines_episode_callbacks
from rllib_rnd.sampling.time_limit import told_where
from rllib_rnd.signals import outlive_sigterm
from rllib_rnd.threads import plan_threads
from rllib_rnd.transport import PackedRollout, pack, packs

logger = logging.getLogger(__name__)

T = TypeVar("T")


class RolloutEnvRunner(SingleAgentEnvRunner):
    """Samples `Rollout` arrays for training and stock episodes for evaluation.

    Attributes:
        play: the training environments and where they stand.
        policy: how they are played.
        seeds: of resets.
        attempts: what happens where environments fail.
        random: play beside that of training.
        has_weights: its process has got some, besides those it was made with.
    """

    env: Any
    metrics: MetricsLogger
    play: Play
    policy: Policy
    seeds: ResetSeeds
    attempts: Attempts
    random: RandomPlay

    @override(SingleAgentEnvRunner)
    def __init__(self, *, config: AlgorithmConfig, worker_index: int | None = None, **kwargs: object) -> None:
        outlive_sigterm()
        self._num_threads = plan_threads(config).runner
        # Two streams: one the environments are reset with, one that actions are drawn from.
        self.seeds = ResetSeeds(runner_seed(config.seed, worker_index or 0, config.in_evaluation))
        self.attempts, self.random, self._standing = Attempts(self), RandomPlay(self), Standing(self)
        self.has_weights = False
        self._finished: list[EpisodeSummary] = []
        with compiler_left_out():
            super().__init__(config=config, worker_index=worker_index, **kwargs)
        if self.worker_index == 0 and config.num_learners == 0 and not config.in_evaluation:
            # RLlib keeps the local runner on the CPU; beside a learner on a GPU it had better use that.
            self._device = get_device(config, config.num_gpus_per_learner)
            self.module.to(self._device)
        self.policy = self._make_policy()

    @override(SingleAgentEnvRunner)
    def apply(self, func: Callable[..., T], *args: object, **kwargs: object) -> T:
        """RLlib's: calls a function with this runner. Its error is the caller's at once.

        RLlib's own sleeps for ``delay_between_env_runner_restarts_s``, ends the process and says nothing to anybody.
        """
        return func(self, *args, **kwargs)

    @override(SingleAgentEnvRunner)
    def set_state(self, state: Mapping[str, Any]) -> None:
        """RLlib's: takes weights and counters."""
        super().set_state(state)
        self.has_weights = self.has_weights or COMPONENT_RL_MODULE in state

    def begin_anew(self, state: Mapping[str, Any], seeds: tuple[int, ...]) -> bool:
        """Takes weights and, in a process that has had none, seeds that no process before it had.

        Evaluation keeps its seeds: it asks the same every time.

        Returns:
            Whether it is a new process.
        """
        new = not self.has_weights
        if new and not self.config.in_evaluation:
            self.seeds.first = derived_seed(self.config.seed, self.worker_index, 0, *seeds)
            self.seeds.used = 0
            self._seed_generator(self.policy.generator)
        self.set_state(state)
        return new

    def _seed_generator(self, generator: torch.Generator) -> None:
        if self.seeds.first is not None:
            generator.manual_seed(self.seeds.first)
        else:
            generator.seed()

    def _make_policy(self) -> Policy:
        generator, module = torch.Generator(), self.module
        self._seed_generator(generator)
        compile_options = worker_compile_options(self.config, self._device)
        return Policy(
            accelerate(module.policy_and_values, self._device, self.config.autocast, compile_options),
            module.distribution,
            generator,
            self._device,
            module.backbone.state_size,
            module.backbone.max_seq_len,
            1 + len(self.config.intrinsic_reward_specs()),
            deterministic=not self.config.explore,
        )

    # --- environments ------------------------------------------------------------------------------------------------

    @override(SingleAgentEnvRunner)
    def make_env(self) -> None:
        """(Re-)creates the vector environment through the project's registry."""
        tracker = None
        if self.env is not None:  # the old ones have failed, or the configuration has been changed
            tracker = self.play.tracker
            self.attempts.close(self.play)
        self.num_envs = self.config.num_envs_per_env_runner
        with self.attempts.limited("made"):
            self.play = self.new_play(tracker)
        self.env = self.play.env
        functions = [getattr(self.config, f"callbacks_{name}") for name in EPISODE_CALLBACKS]
        if self.config.in_evaluation or defines_episode_callbacks(self._callbacks, functions):
            self.play.watcher = StockEpisodes(self.play, self._notify)
        self._needs_initial_reset = True
        self._run_callback(
            "on_environment_created", env_runner=self, env=self.env.unwrapped, env_context=self._context()
        )

    def new_play(self, tracker: EpisodeTracker | None = None) -> Play:
        """Play in environments that are made for it; ``tracker`` as of `Play`."""
        return make_play(self.config, self.num_envs, self.seeds, self._num_threads, tracker, self._context())

    def _context(self) -> EnvContext:
        return EnvContext(dict(self.config.env_config), worker_index=self.worker_index, num_workers=self.num_workers)

    @property
    def _stock(self) -> StockEpisodes:
        """The episodes of what is played: there in evaluation, and where callbacks want them."""
        assert isinstance(self.play.watcher, StockEpisodes)
        return self.play.watcher

    # --- playing -----------------------------------------------------------------------------------------------------

    @override(SingleAgentEnvRunner)
    def sample(self, **kwargs: object) -> Rollout | list[SingleAgentEpisode]:
        """Samples T agent steps of every environment.

        Returns:
            A `Rollout`; in evaluation a list of episodes.

        Raises:
            ValueError: RLlib's ``num_episodes`` or ``num_timesteps`` of a runner that trains.
        """
        if self.config.in_evaluation:
            if self.worker_index == 0:  # to which RLlib does not hand it
                kwargs.setdefault("force_reset", self.config.evaluation_force_reset_envs_before_iteration)
            return super().sample(**kwargs)  # type: ignore[no-any-return]
        if kwargs.get("num_episodes") or kwargs.get("num_timesteps"):
            raise ValueError("A runner of training samples rollouts; evaluation has runners of its own.")
        with self.metrics.log_time(SAMPLE_TIMER):
            rollout = self._sample_rollout()
        self.metrics.log_value(WEIGHTS_SEQ_NO, self._weights_seq_no, window=1)
        self._run_callback("on_sample_end", env_runner=self, samples=rollout)
        return rollout

    def _sample_rollout(self) -> Rollout:
        """T agent steps of each of the N environments under the current policy."""
        self.module.eval()
        steps = self.config.get_rollout_fragment_length(self.worker_index)
        rollout = self.attempts.until_it_works(
            lambda: self.play.rollout(self.policy, steps, page_locked=self.page_locked), self.make_env
        )
        # Once per rollout: RLlib's own way, in every step, takes longer than the steps of a small environment.
        self.metrics.log_value(ENV_STEP_TIMER, self.play.step_seconds / steps, reduce="ema")
        self._log_env_steps(metric=self._metrics_num_try_env_step, num_steps=steps)
        finished = self.play.tracker.take_finished()
        self._increase_sampled_metrics(int((~rollout.is_first[1:]).sum()), len(finished))
        self._finished += finished
        self._log_broken()
        if self.play.watcher is not None:
            self._stock.take_finished()  # callbacks have had them
        return rollout

    def _log_broken(self) -> None:
        if self.play.intake.num_broken:
            self.metrics.log_value("broken_observations", self.play.intake.num_broken, reduce="lifetime_sum")
            self.play.intake.num_broken = 0

    @override(SingleAgentEnvRunner)
    def _sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool,
        random_actions: bool = False,
        force_reset: bool = False,
    ) -> list[SingleAgentEpisode]:
        """Plays episodes (each environment its share of them), or steps, for evaluation.

        Returns:
            Episodes that have ended; of a number of steps also what there is of those that go on.
        """
        self.module.eval()
        for layer in noisy_layers(self.module):
            layer.silence()
        policy = None if random_actions else replace(self.policy, deterministic=not explore)
        ended: list[SingleAgentEpisode] = []
        parts: list[SingleAgentEpisode] = []
        if num_episodes is not None:
            self.seeds.used = 0  # each evaluation is asked the same
            left = shares(num_episodes, self.num_envs)
            self.attempts.until_it_works(lambda: self._play_episodes(policy, left, ended), self.make_env)
            self._needs_initial_reset, num_steps = True, sum(map(len, ended))
        else:
            if force_reset:
                self._needs_initial_reset = True
            wanted = num_timesteps or 0
            num_steps = self.attempts.until_it_works(lambda: self._play_steps(policy, wanted, ended), self.make_env)
            parts = self._stock.take_unfinished(self.config.episode_lookback_horizon)
        self._log_broken()
        self._done_episodes_for_metrics.extend(ended)
        for part in parts:
            self._ongoing_episodes_for_metrics[part.id_].append(part)
        self._log_env_steps(metric=self._metrics_num_env_steps_sampled, num_steps=num_steps)
        self._increase_sampled_metrics(num_steps, len(ended))
        return [episode.to_numpy() if self.episodes_to_numpy else episode for episode in [*ended, *parts]]

    def _play_episodes(self, policy: Policy | None, left: list[int], ended: list[SingleAgentEpisode]) -> None:
        """Plays the episodes that are ``left`` to play into ``ended``."""
        limit = self.config.max_evaluation_steps
        for summary in play_episodes(self.play, policy, left, limit):
            ended += self._stock.take_finished()
            if summary.cut:
                self.metrics.log_value("episodes_cut", 1, reduce="sum")
                if log_once("max_evaluation_steps"):
                    logger.warning(
                        "env: %r has not ended an episode within max_evaluation_steps = %d agent steps. The "
                        "episode counts as truncated there; the metric episodes_cut counts such.",
                        env_name(self.config.env),
                        limit,
                    )

    def _play_steps(self, policy: Policy | None, wanted: int, ended: list[SingleAgentEpisode]) -> int:
        """Plays on for the ``wanted`` agent steps, all environments together, or a few more; returns how many."""
        if self._needs_initial_reset:
            self._ongoing_episodes_for_metrics.clear()
            self.play.reset()
            self._needs_initial_reset = False
        num_steps = 0
        for step in self.play.steps(policy):
            num_steps += int((~step.before.done).sum())
            ended += self._stock.take_finished()
            if num_steps >= wanted:
                break
        self.play.tracker.take_finished()
        return num_steps

    @property
    def page_locked(self) -> bool:
        """Whether the learner is in this process and copies to a GPU while it does other things."""
        return bool(self._device.type == "cuda" and self.worker_index == 0)

    def sample_all(self) -> RunnerSample:
        """Samples one rollout, with all that belongs to it."""
        rollout = self.sample()
        finished, self._finished = self._finished, []
        visits, notes = self.play.tracker.take_visits(), self.attempts.take_notes()
        return RunnerSample(rollout, self.get_metrics(), finished, visits, notes)

    def sample_for_driver(
        self, learner_nodes: Collection[str] = ()
    ) -> tuple[RunnerSample | RunnerFailure | None, Rollout | PackedRollout | None]:
        """As `sample_all`, with the rollout apart, so that it can travel to learners by itself.

        Args:
            learner_nodes: where the learners are, for ``compress_rollouts``.

        Returns:
            The sample without its rollout, and the rollout. None and None of a process that has no weights yet: it
            has taken the place of one that died.
        """
        if not self.has_weights:
            return None, None
        if self.config.overlap_sampling:
            self._standing.note_rollout()
        with told_where(self.attempts.limit_s), self._standing.older_weights():
            result = failure_or(self.sample_all)
        if isinstance(result, RunnerFailure):
            return result, None
        rollout, here = result.rollout, ray.get_runtime_context().get_node_id()
        if rollout is not None and packs(self.config.compress_rollouts, here, learner_nodes):
            return result._replace(rollout=None), pack(rollout)
        return result._replace(rollout=None), rollout

    def random_play(self, num_steps: int) -> Rollout:
        """The next ``num_steps`` vector steps at random; see `RandomPlay.rollout`."""
        return self.random.rollout(num_steps)

    def first_random_play(self, num_steps: int) -> Rollout:
        """The first rollout of random play; after a resume it is played once more, and later ones go on from there."""
        return self._standing.first_random_play(num_steps)

    def end_random_play(self) -> None:
        """Closes the environments of random play, if they are its own."""
        self.random.end()

    def idle_metrics(self) -> dict[str, Any]:
        """Metrics of an iteration without steps of training: random play does not count."""
        self._increase_sampled_metrics(0, 0)
        return self.get_metrics()  # type: ignore[no-any-return]

    # --- checkpoints -------------------------------------------------------------------------------------------------

    def play_state(self) -> dict[str, Any]:
        """All that decides how play goes on, as plain data, for checkpoints; see `Standing.state`."""
        return self._standing.state()

    def restore_play(self, state: Mapping[str, Any]) -> str | None:
        """Goes on where `play_state` was taken, or begins new episodes; returns why, as far as the environment says."""
        return self._standing.restore(state)

    def generators(self) -> dict[str, Any]:
        """This runner's index and its random generators."""
        return self._standing.generators()

    def restore_generators(self, state: Mapping[str, Any]) -> None:
        """Takes `generators` back; see `Standing.restore_generators`."""
        self._standing.restore_generators(state)

    # --- callbacks ---------------------------------------------------------------------------------------------------

    def _notify(self, event: str, episode: SingleAgentEpisode, env_index: int) -> None:
        """Tells callbacks of an episode, with RLlib's arguments. Episodes are whole here: there are no chunks of it."""
        chunks: dict[str, Any] = {"prev_episode_chunks": []} if event == "on_episode_end" else {}
        self._run_callback(
            event,
            episode=episode,
            env_runner=self,
            env=self.env.unwrapped,
            env_index=env_index,
            rl_module=self.module,
            **chunks,
        )

    def _run_callback(self, name: str, **kwargs: object) -> None:
        make_callback(
            name,
            callbacks_objects=self._callbacks,
            callbacks_functions=getattr(self.config, f"callbacks_{name}"),
            kwargs={"metrics_logger": self.metrics, **kwargs},
        )
