"""The environment runner: fills time-major arrays from a gymnasium vector environment.

Training rollouts leave as one `Rollout` per call, by object reference from remote runners. Evaluation goes
through RLlib's stock episodes, so evaluation settings, callbacks and metrics work as RLlib users expect.
"""

from __future__ import annotations

import contextlib
import copy
import logging
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import ray
import torch
from gymnasium.wrappers.vector import DictInfoToList
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.env_runner import ENV_STEP_FAILURE, NUM_ENV_STEP_FAILURES_LIFETIME
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.utils.annotations import override
from ray.rllib.utils.framework import get_device
from ray.rllib.utils.metrics import SAMPLE_TIMER, WEIGHTS_SEQ_NO

from rllib_rnd.envs import frame_stack, make_vector_env
from rllib_rnd.errors import ConfigError
from rllib_rnd.modules.accelerate import accelerate, worker_compile_options
from rllib_rnd.modules.actions import to_environment
from rllib_rnd.rollout import Rollout
from rllib_rnd.sampling.episodes import EpisodeSummary, EpisodeTracker, Visits
from rllib_rnd.threads import plan_threads

logger = logging.getLogger(__name__)

_MAX_RESTARTS = 10  # of environments that fail in one rollout or reset, before training stops


@dataclass
class _Position:
    """Where the runner's environments stand between two rollouts."""

    obs: np.ndarray  # [N, *obs_shape]
    is_first: np.ndarray  # [N] bool
    done: np.ndarray  # [N] bool: the next step is a reset step
    stack: np.ndarray | None  # [K, N, *frame_shape]: the last K frames, None if K = 1
    memory: np.ndarray  # [N, F]: the policy's, before it sees obs


class RunnerSample(NamedTuple):
    """What a runner hands to the algorithm each iteration.

    Attributes:
        rollout: a `Rollout` or a reference to one.
        metrics: the runner's reduced metrics.
        episodes: the training episodes finished since the last sample.
        visits: agent steps that this rollout spent at each place.
    """

    rollout: Any
    metrics: Any
    episodes: list[EpisodeSummary]
    visits: Visits


def runner_seed(seed: int | None, worker_index: int, in_evaluation: bool) -> int | None:
    """Derives a runner's own seed, so that no two runners (nor training and evaluation) share environments."""
    if seed is None:
        return None
    sequence = np.random.SeedSequence([seed, worker_index, int(in_evaluation)])
    return int(sequence.generate_state(1)[0] % (2**31 - 1))


class RolloutEnvRunner(SingleAgentEnvRunner):
    """Samples `Rollout` arrays for training and stock episodes for evaluation."""

    @override(SingleAgentEnvRunner)
    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        self.env: Any = None
        # Made with the environment and on its first reset.
        self._episodes: Any = None
        self._position: Any = None
        self._random_play: Any = None
        self._num_threads = plan_threads(config).runner
        self._finished: list[EpisodeSummary] = []
        super().__init__(config=config, **kwargs)
        if self.worker_index == 0 and config.num_learners == 0 and not config.in_evaluation:
            # RLlib keeps the local runner on the CPU; beside a learner on a GPU it had better use that.
            self._device = get_device(config, config.num_gpus_per_learner)
            self.module.to(self._device)
        self._policy_and_values = accelerate(
            self.module.policy_and_values, self._device, config.autocast, worker_compile_options(config, self._device)
        )
        # Two streams: one the environments are reset with, one that actions are drawn from.
        self._seed = runner_seed(config.seed, self.worker_index, config.in_evaluation)
        self._resets = 0
        self._generator = torch.Generator()
        if self._seed is not None:
            self._generator.manual_seed(self._seed)
        else:
            self._generator.seed()

    @override(SingleAgentEnvRunner)
    def make_env(self) -> None:
        """(Re-)creates the vector environment through the project's registry."""
        if self.env is not None:
            with contextlib.suppress(Exception):
                self.env.close()
        num_envs = self.config.num_envs_per_env_runner
        env_config = dict(self.config.env_config)
        vector_env = make_vector_env(self.config.env, num_envs, env_config, self._num_threads)
        self.frame_stack, self.newest_first = frame_stack(self.config.env, env_config)
        self.env = DictInfoToList(vector_env) if self.config.in_evaluation else vector_env
        self.num_envs = num_envs
        self._to_environment = to_environment(
            vector_env.single_action_space, self.config.normalize_actions, self.config.clip_actions
        )
        self._needs_initial_reset = True
        self._position = None
        self._episodes = self._episodes or EpisodeTracker(num_envs)
        context = EnvContext(env_config, worker_index=self.worker_index, num_workers=self.num_workers)
        self._run_callback("on_environment_created", env_runner=self, env=self.env.unwrapped, env_context=context)

    def play_state(self) -> dict[str, Any]:
        """All that decides how play goes on, for checkpoints.

        Environments that cannot save their state (no ``clone_state``) are left out: they begin new episodes after
        `restore_play`, with seeds that were not used before.
        """
        state: dict[str, Any] = {
            "num_envs": self.num_envs,
            "generator": self._generator.get_state().numpy(),
            "resets": self._resets,
            "env": None,
        }
        if self._position is not None and getattr(self.env, "can_clone_state", False):
            state |= {"env": self.env.clone_state(), "position": self._position, "episodes": self._episodes}
        return copy.deepcopy(state)

    def restore_play(self, states: dict[int, dict[str, Any]]) -> None:
        """Goes on where `play_state` was taken.

        Args:
            states: saved states by worker index; a runner without one, or with another number of environments, begins
                new episodes.
        """
        state = copy.deepcopy(states.get(self.worker_index))  # what comes through Ray is read-only
        if state is None or state["num_envs"] != self.num_envs:
            return
        self._generator.set_state(torch.from_numpy(state["generator"]))
        self._resets = state["resets"]
        if state["env"] is not None and getattr(self.env, "can_clone_state", False):
            self.env.reset(seed=self._seed)  # gymnasium's environments want a first reset, whatever comes after it
            self.env.restore_state(state["env"])
            self._position, self._episodes = state["position"], state["episodes"]

    @override(SingleAgentEnvRunner)
    def sample(self, **kwargs: Any) -> Any:
        """Samples T agent steps of every environment.

        Returns:
            A `Rollout`; in evaluation (or with RLlib's ``num_episodes`` / ``num_timesteps``) a list of episodes.
        """
        if self.config.in_evaluation:
            return super().sample(**kwargs)
        with self.metrics.log_time(SAMPLE_TIMER):
            rollout = self.sample_rollout()
        self.metrics.log_value(WEIGHTS_SEQ_NO, self._weights_seq_no, window=1)
        self._run_callback("on_sample_end", env_runner=self, samples=rollout)
        return rollout

    def sample_rollout(self) -> Rollout:
        """Samples T agent steps of each of the N environments under the current policy.

        Raises:
            RuntimeError: an environment failed and ``restart_failed_sub_environments`` is off.
        """
        for _ in range(_MAX_RESTARTS):
            rollout = self._try_rollout(random_actions=False)
            if rollout is not None:
                finished = self._episodes.take_finished()
                self._increase_sampled_metrics(int(rollout.valid.sum()), len(finished))
                self._end_episodes(finished)
                return rollout
        raise RuntimeError(
            f"env: {self.config.env!r} failed in step() {_MAX_RESTARTS} times in a row, each time within one rollout; "
            "its errors are in the log above."
        )

    @override(SingleAgentEnvRunner)
    def _try_env_reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Resets the environments; where restarts are allowed, failed ones are made anew, counted and tried again.

        Raises:
            Exception: what the environment raised, if restarts are off.
            RuntimeError: it failed too often in a row.
        """
        for _ in range(_MAX_RESTARTS):
            try:
                obs, infos = self.env.reset(seed=seed, options=options)
                return obs, infos
            except Exception as error:
                self.metrics.log_value(NUM_ENV_STEP_FAILURES_LIFETIME, 1, reduce="lifetime_sum")
                if not self.config.restart_failed_sub_environments:
                    raise
                logger.exception("The environment failed in reset() and is made anew.")
                last = error
                self.make_env()
        text = f"env: {self.config.env!r} failed in reset() {_MAX_RESTARTS} times in a row: {last}"
        raise RuntimeError(text) from last

    def _end_episodes(self, finished: list[EpisodeSummary]) -> None:
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

    def take_episodes(self) -> list[EpisodeSummary]:
        """Returns the training episodes that finished since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def sample_all(self) -> RunnerSample:
        """Samples one rollout, with all that belongs to it."""
        rollout = self.sample()
        return RunnerSample(rollout, self.get_metrics(), self.take_episodes(), self._episodes.take_visits())

    def idle_metrics(self) -> Any:
        """Metrics of an iteration without steps of training: random play does not count."""
        self._increase_sampled_metrics(0, 0)
        return self.get_metrics()

    def sample_ref(self) -> RunnerSample:
        """As `sample_all`, but the arrays stay on this node and only their reference travels."""
        result = self.sample_all()
        return result._replace(rollout=ray.put(result.rollout))

    def random_play(self, num_steps: int, seed_offset: int) -> Rollout:
        """Plays ``num_steps`` vector steps at random in separate environments (for the first statistics).

        Args:
            num_steps: agent steps per environment.
            seed_offset: call counter; the environments of call 0 are reset, later calls go on with them.
        """
        state = self.env, self._position, self._episodes
        try:
            if seed_offset == 0 or self._random_play is None:
                env_config = dict(self.config.env_config)
                env = make_vector_env(self.config.env, self.num_envs, env_config, self._num_threads)
                self._random_play = (env, None, EpisodeTracker(self.num_envs))
                env.action_space.seed(None if self._seed is None else self._seed + 1)
            self.env, self._position, self._episodes = self._random_play
            rollout = self._try_rollout(random_actions=True, num_steps=num_steps)
            self._random_play = (self.env, self._position, self._episodes)
        finally:
            self.env, self._position, self._episodes = state
        if rollout is None:
            raise RuntimeError("The environment failed during random play; see the log above for its error.")
        return rollout

    def end_random_play(self) -> None:
        """Closes the environments of `random_play`."""
        if self._random_play is not None:
            self._random_play[0].close()
            self._random_play = None

    def _try_rollout(self, random_actions: bool, num_steps: int | None = None) -> Rollout | None:
        """One rollout, or None if the environment failed and was created anew."""
        steps = num_steps or self.config.get_rollout_fragment_length(self.worker_index)
        if self._position is None:
            self._reset()
        position, arrays = self._position, self._allocate(steps)
        self.module.eval()
        k = self.frame_stack
        if k > 1:
            arrays.frames[:k] = position.stack
        for t in range(steps):
            arrays.is_first[t] = position.is_first
            if k == 1:
                arrays.frames[t] = position.obs
            action = self._act(arrays, t, position, random_actions)
            result = self._try_env_step(action)
            if isinstance(result, str) and result == ENV_STEP_FAILURE:
                return None
            obs, reward, terminated, truncated, infos = result
            arrays.reward[t], arrays.terminated[t], arrays.truncated[t] = reward, terminated, truncated
            self._episodes.step(reward, terminated | truncated, position.done, infos)
            position.obs, position.is_first, position.done = obs, position.done, terminated | truncated
            if k > 1:
                arrays.frames[t + k] = obs[:, 0 if self.newest_first else -1]
        arrays.is_first[steps] = position.is_first
        if k == 1:
            arrays.frames[steps] = position.obs
        else:
            # The environment's own stacks, not the last K frames: those may belong to the previous episode.
            position.stack = self._stack(position.obs)
        if not random_actions:
            arrays.value[steps] = self._forward(position)[1]
        return arrays

    def _reset_seed(self) -> int | None:
        """The seed of the next reset of all environments; after a restart it must not bring the same episodes again."""
        if self._seed is None or self._resets == 0:
            return self._seed
        return runner_seed(self._seed, self._resets, self.config.in_evaluation)

    def _reset(self) -> None:
        obs, infos = self._try_env_reset(seed=self._reset_seed())
        expected = self.env.observation_space.shape
        if np.shape(obs) != expected:
            raise ConfigError(
                f"env: {self.config.env!r} returned observations of shape {np.shape(obs)}; by its space and the number "
                f"of environments it is {expected}."
            )
        first = np.ones(self.num_envs, dtype=bool)
        stack = self._stack(obs) if self.frame_stack > 1 else None
        memory = np.zeros((self.num_envs, self.module.backbone.state_size), dtype=np.float32)
        self._position = _Position(obs, first, np.zeros(self.num_envs, dtype=bool), stack, memory)
        self._episodes.start(infos)
        self._resets += 1

    def _stack(self, obs: np.ndarray) -> np.ndarray:
        """``[N, K, ...]`` observations -> ``[K, N, ...]`` frames in time order."""
        return np.swapaxes(obs[:, ::-1] if self.newest_first else obs, 0, 1).copy()

    def _allocate(self, steps: int) -> Rollout:
        n, k, backbone = self.num_envs, self.frame_stack, self.module.backbone
        obs_space, act_space = self.env.single_observation_space, self.env.single_action_space
        frame_shape = obs_space.shape[1:] if k > 1 else obs_space.shape
        act_dtype = np.float32 if np.issubdtype(act_space.dtype, np.floating) else act_space.dtype
        streams = 1 + len(self.config.intrinsic_reward_specs())
        shape = (steps + (k if k > 1 else 1), n, *frame_shape)
        if self._device.type == "cuda" and self.worker_index == 0:
            # The learner is in this process and copies from page-locked memory while it does other things.
            dtype = torch.from_numpy(np.empty(0, dtype=obs_space.dtype)).dtype
            frames = torch.empty(shape, dtype=dtype, pin_memory=True).numpy()
        else:
            frames = np.empty(shape, dtype=obs_space.dtype)
        return Rollout(
            frames=frames,
            is_first=np.empty((steps + 1, n), dtype=bool),
            action=np.empty((steps, n, *act_space.shape), dtype=act_dtype),
            logp=np.zeros((steps, n), dtype=np.float32),
            value=np.zeros((steps + 1, n, streams), dtype=np.float32),
            reward=np.empty((steps, n), dtype=np.float32),
            terminated=np.empty((steps, n), dtype=bool),
            truncated=np.empty((steps, n), dtype=bool),
            memory=np.zeros((-(-steps // backbone.max_seq_len), n, backbone.state_size), dtype=np.float32),
            frame_stack=k,
            newest_first=self.newest_first,
        )

    def _act(self, arrays: Rollout, t: int, position: _Position, random_actions: bool) -> np.ndarray:
        if random_actions:
            arrays.action[t] = self.env.action_space.sample()
            return arrays.action[t]
        if t % self.module.backbone.max_seq_len == 0:
            arrays.memory[t // self.module.backbone.max_seq_len] = position.memory
        dist_inputs, arrays.value[t], position.memory = self._forward(position)
        action, logp = self.module.distribution.sample(dist_inputs, self._generator)
        arrays.action[t], arrays.logp[t] = action.numpy(), logp.numpy()
        return self._to_environment(arrays.action[t])

    def _forward(self, position: _Position) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
        """Inputs of the action distribution, values, and the memory that the policy has afterwards."""
        memory, is_first = None, None
        # Not RLlib's forward_exploration: that walks through all submodules, to eval mode and back, around every call.
        with torch.inference_mode():
            obs = torch.from_numpy(position.obs).to(self._device)
            if position.memory.shape[1]:
                memory = torch.from_numpy(position.memory).to(self._device)
                is_first = torch.from_numpy(position.is_first[None]).to(self._device)
            outputs = self._policy_and_values(obs, memory, is_first)
            parts = [part.float() for part in outputs if part is not None]
            both = torch.cat(parts, dim=1).cpu()  # one transfer
        first, second = parts[0].shape[1], parts[0].shape[1] + parts[1].shape[1]
        return both[:, :first], both[:, first:second].numpy(), both[:, second:].numpy()

    def _run_callback(self, name: str, **kwargs: Any) -> None:
        make_callback(
            name,
            callbacks_objects=self._callbacks,
            callbacks_functions=getattr(self.config, f"callbacks_{name}"),
            kwargs={"metrics_logger": self.metrics, **kwargs},
        )

    def gym_spaces(self) -> tuple[gym.Space, gym.Space]:
        """The spaces of a single environment."""
        return self.env.single_observation_space, self.env.single_action_space
