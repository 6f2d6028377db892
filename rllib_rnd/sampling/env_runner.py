"""The environment runner: RLlib's dialect around `Play`.

Training rollouts leave as one `Rollout` per call, by object reference from remote runners. Evaluation goes
through RLlib's stock episodes, so evaluation settings, callbacks and metrics work as RLlib users expect.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import ray
import torch
from gymnasium.wrappers.vector import DictInfoToList
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.env_errors import StepFailedRecreateEnvError
from ray.rllib.env.env_runner import NUM_ENV_STEP_FAILURES_LIFETIME
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.annotations import override
from ray.rllib.utils.framework import get_device
from ray.rllib.utils.metrics import ENV_STEP_TIMER, SAMPLE_TIMER, WEIGHTS_SEQ_NO

from rllib_rnd.modules.accelerate import accelerate, worker_compile_options
from rllib_rnd.rollout import Rollout
from rllib_rnd.sampling.episodes import EpisodeSummary, Visits
from rllib_rnd.sampling.play import EnvironmentFailedError, Play, failures_in, make_play
from rllib_rnd.sampling.policy import Policy
from rllib_rnd.sampling.seeds import ResetSeeds, runner_seed
from rllib_rnd.threads import plan_threads

logger = logging.getLogger(__name__)

T = TypeVar("T")

_MAX_RESTARTS = 10  # of environments that fail in one rollout or reset, before training stops


class RunnerSample(NamedTuple):
    """What a runner hands to the algorithm each iteration.

    Attributes:
        rollout: a `Rollout` or a reference to one.
        metrics: the runner's reduced metrics.
        episodes: the training episodes finished since the last sample.
        visits: agent steps that this rollout spent at each place.
    """

    rollout: Rollout | ray.ObjectRef
    metrics: dict[str, Any]
    episodes: list[EpisodeSummary]
    visits: Visits


class RolloutEnvRunner(SingleAgentEnvRunner):
    """Samples `Rollout` arrays for training and stock episodes for evaluation.

    Attributes:
        play: the training environments and where they stand.
        policy: how they are played.
    """

    env: Any
    play: Play
    policy: Policy

    @override(SingleAgentEnvRunner)
    def __init__(self, *, config: AlgorithmConfig, worker_index: int | None = None, **kwargs: object) -> None:
        self._num_threads = plan_threads(config).runner
        # Two streams: one the environments are reset with, one that actions are drawn from.
        self._seeds = ResetSeeds(runner_seed(config.seed, worker_index or 0, config.in_evaluation))
        self._random_play: Play | None = None
        self._failed_random_plays = 0
        self._finished: list[EpisodeSummary] = []
        super().__init__(config=config, worker_index=worker_index, **kwargs)
        self._seed = self._seeds.first  # that stock episodes reset with
        if self.worker_index == 0 and config.num_learners == 0 and not config.in_evaluation:
            # RLlib keeps the local runner on the CPU; beside a learner on a GPU it had better use that.
            self._device = get_device(config, config.num_gpus_per_learner)
            self.module.to(self._device)
        self.policy = self._make_policy()

    def _make_policy(self) -> Policy:
        generator, module = torch.Generator(), self.module
        if self._seeds.first is not None:
            generator.manual_seed(self._seeds.first)
        else:
            generator.seed()
        compile_options = worker_compile_options(self.config, self._device)
        return Policy(
            accelerate(module.policy_and_values, self._device, self.config.autocast, compile_options),
            module.distribution,
            generator,
            self._device,
            module.backbone.state_size,
            module.backbone.max_seq_len,
            1 + len(self.config.intrinsic_reward_specs()),
        )

    # --- environments ------------------------------------------------------------------------------------------------

    @override(SingleAgentEnvRunner)
    def make_env(self) -> None:
        """(Re-)creates the vector environment through the project's registry."""
        tracker = None
        if self.env is not None:  # the old ones have failed, or the configuration has been changed
            tracker = self.play.tracker
            with contextlib.suppress(Exception):
                self.play.close()
        self.num_envs = self.config.num_envs_per_env_runner
        context = self._context()
        self.play = make_play(self.config, self.num_envs, self._seeds, self._num_threads, tracker, context)
        self.env = DictInfoToList(self.play.env) if self.config.in_evaluation else self.play.env
        self._needs_initial_reset = True
        self._run_callback("on_environment_created", env_runner=self, env=self.env.unwrapped, env_context=context)

    def _context(self) -> EnvContext:
        return EnvContext(dict(self.config.env_config), worker_index=self.worker_index, num_workers=self.num_workers)

    @override(SingleAgentEnvRunner)
    def _try_env_reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Resets the environments of evaluation; failed ones are made anew as those of training are."""

        def reset() -> tuple[Any, Any]:
            with failures_in("reset", str(self.config.env)):
                obs, infos = self.env.reset(seed=seed, options=options)
            return obs, infos

        return self._until_it_works(reset, self.make_env)

    def _until_it_works(self, function: Callable[[], T], make_anew: Callable[[], None]) -> T:
        """Calls a function that plays; where restarts are allowed, failures are counted and it is tried again.

        Raises:
            EnvironmentFailedError: there was a failure and ``restart_failed_sub_environments`` is off.
            RuntimeError: the environment failed too often in a row.
        """
        for _ in range(_MAX_RESTARTS):
            try:
                return function()
            except EnvironmentFailedError as failure:
                self.metrics.log_value(NUM_ENV_STEP_FAILURES_LIFETIME, 1, reduce="lifetime_sum")
                if not self.config.restart_failed_sub_environments:
                    raise
                if not isinstance(failure.__cause__, StepFailedRecreateEnvError):  # which asks for just that
                    logger.exception("The environment failed in %s() and is made anew.", failure.where)
                last = failure
                make_anew()
        more = {
            "reset": f": {last.__cause__}",
            "step": ", each time within one rollout; its errors are in the log above.",
        }
        raise RuntimeError(
            f"env: {self.config.env!r} failed in {last.where}() {_MAX_RESTARTS} times in a row{more[last.where]}"
        ) from last

    # --- playing -----------------------------------------------------------------------------------------------------

    @override(SingleAgentEnvRunner)
    def sample(self, **kwargs: object) -> Rollout | list[SingleAgentEpisode]:
        """Samples T agent steps of every environment.

        Returns:
            A `Rollout`; in evaluation (or with RLlib's ``num_episodes`` / ``num_timesteps``) a list of episodes.
        """
        if self.config.in_evaluation:
            return super().sample(**kwargs)  # type: ignore[no-any-return]
        with self.metrics.log_time(SAMPLE_TIMER):
            rollout = self._sample_rollout()
        self.metrics.log_value(WEIGHTS_SEQ_NO, self._weights_seq_no, window=1)
        self._run_callback("on_sample_end", env_runner=self, samples=rollout)
        return rollout

    def _sample_rollout(self) -> Rollout:
        """T agent steps of each of the N environments under the current policy."""
        self.module.eval()
        steps = self.config.get_rollout_fragment_length(self.worker_index)
        rollout = self._until_it_works(
            lambda: self.play.rollout(self.policy, steps, page_locked=self._page_locked), self.make_env
        )
        # Once per rollout: RLlib's own way, in every step, takes longer than the steps of a small environment.
        self.metrics.log_value(ENV_STEP_TIMER, self.play.step_seconds / steps, reduce="ema")
        self._log_env_steps(metric=self._metrics_num_try_env_step, num_steps=steps)
        finished = self.play.tracker.take_finished()
        self._increase_sampled_metrics(int(rollout.valid.sum()), len(finished))
        self._finished += finished
        for episode in finished:
            self._run_callback(
                "on_episode_end",
                episode=episode,
                env_runner=self,
                env=self.env.unwrapped,
                env_index=episode.env_index,
                rl_module=self.module,
            )
        return rollout

    @property
    def _page_locked(self) -> bool:
        """Whether the learner is in this process and copies to a GPU while it does other things."""
        return bool(self._device.type == "cuda" and self.worker_index == 0)

    def sample_all(self) -> RunnerSample:
        """Samples one rollout, with all that belongs to it."""
        rollout = self.sample()
        finished, self._finished = self._finished, []
        return RunnerSample(rollout, self.get_metrics(), finished, self.play.tracker.take_visits())

    def sample_ref(self) -> RunnerSample:
        """As `sample_all`, but the arrays stay on this node and only their reference travels."""
        result = self.sample_all()
        return result._replace(rollout=ray.put(result.rollout))

    def random_play(self, num_steps: int) -> Rollout:
        """Plays ``num_steps`` vector steps at random, in environments of their own that later calls go on with.

        They are made by the first call, and again by the first one after `end_random_play`.
        """

        def rollout() -> Rollout:
            if self._random_play is None:
                self._random_play = make_play(
                    self.config, self.num_envs, self._seeds, self._num_threads, context=self._context()
                )
                seed = self._seeds.first
                self._random_play.env.action_space.seed(None if seed is None else seed + 1 + self._failed_random_plays)
            return self._random_play.rollout(None, num_steps, page_locked=self._page_locked)

        def anew() -> None:
            self.end_random_play()
            self._failed_random_plays += 1  # the same actions might fail again

        return self._until_it_works(rollout, anew)

    def end_random_play(self) -> None:
        """Closes the environments of `random_play`."""
        if self._random_play is not None:
            with contextlib.suppress(Exception):  # they may have failed
                self._random_play.close()
            self._random_play = None

    def idle_metrics(self) -> dict[str, Any]:
        """Metrics of an iteration without steps of training: random play does not count."""
        self._increase_sampled_metrics(0, 0)
        return self.get_metrics()  # type: ignore[no-any-return]

    # --- checkpoints -------------------------------------------------------------------------------------------------

    def play_state(self) -> dict[str, Any]:
        """All that decides how play goes on, for checkpoints; see `Play.state`."""
        return {"generator": self.policy.generator.get_state().numpy(), **self.play.state()}

    def restore_play(self, state: Mapping[str, Any] | None) -> None:
        """Goes on where `play_state` was taken; without a state, or with another number of environments, anew."""
        if state is not None and self.play.restore(state):
            self.policy.generator.set_state(torch.from_numpy(state["generator"].copy()))

    def _run_callback(self, name: str, **kwargs: object) -> None:
        make_callback(
            name,
            callbacks_objects=self._callbacks,
            callbacks_functions=getattr(self.config, f"callbacks_{name}"),
            kwargs={"metrics_logger": self.metrics, **kwargs},
        )
