"""Play: a vector environment, where it stands, and the episodes that pass through it.

Training, random play, ``rllib record`` and ``rllib evaluate`` all take their steps here: observation -> policy ->
action in the environment's range -> step -> episode tracker.
"""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from gymnasium.vector import VectorEnv
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.env.env_context import EnvContext

from rllib_rnd.envs import frame_stack, make_vector_env
from rllib_rnd.envs.family import FrameStack
from rllib_rnd.envs.makers import env_name
from rllib_rnd.envs.saving import why_vector_not_saved
from rllib_rnd.modules.actions import from_environment, to_environment
from rllib_rnd.own_code import cause_of
from rllib_rnd.rollout import Rollout, action_dtype, shapes_of
from rllib_rnd.sampling.episodes import EpisodeTracker
from rllib_rnd.sampling.intake import Intake, failures_in
from rllib_rnd.sampling.policy import Decision, Policy
from rllib_rnd.sampling.seeds import ResetSeeds

Infos = Mapping[str, Any]  # of a vector environment: arrays by name


class Position(NamedTuple):
    """Where N environments stand between two steps.

    Attributes:
        obs: ``[N, *obs_shape]``.
        is_first: ``[N]`` bool, the observation begins an episode.
        done: ``[N]`` bool, the episode is over: the next step only resets.
        memory: ``[N, F]``, the policy's before it sees ``obs``.
        broken: ``[N]`` bool, the observation held numbers that are none, now 0.
    """

    obs: np.ndarray
    is_first: np.ndarray
    done: np.ndarray
    memory: np.ndarray
    broken: np.ndarray


class Step(NamedTuple):
    """One step of N environments.

    Attributes:
        before: where they stood.
        after: where they stand now. An environment may by then have written over ``before.obs``.
        action: ``[N, ...]`` the policy's, before it is brought into the environment's range.
        decision: all that the policy said, or None without one.
        reward: ``[N]``, raw.
        terminated, truncated: ``[N]`` bool.
        infos: that came with the observation after the step.
    """

    before: Position
    after: Position
    action: np.ndarray
    decision: Decision | None
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    infos: Infos


class Watcher(Protocol):
    """Who is told of all that happens in a `Play`."""

    def before_reset(self) -> None:
        """All environments are about to be reset."""

    def restored(self) -> None:
        """Play goes on from a checkpoint, in the middle of other episodes than those seen so far."""

    def after_reset(self, position: Position, infos: Infos) -> None:
        """All environments have been reset."""

    def step(self, step: Step, tracker: EpisodeTracker) -> None:
        """All environments have made a step; ``tracker`` knows of it."""

    def cut(self, i: int) -> None:
        """The episode of environment ``i`` is given up."""

    def retire(self, i: int) -> None:
        """What environment ``i`` does before the next reset of all is not wanted."""


class Play:
    """N environments, where they stand between two calls, and their episodes.

    Args:
        name: the environment's, for messages.
        env: a vector environment that resets in the NEXT_STEP manner.
        stack: how its observations hold their frames.
        to_env: a batch of the policy's actions -> the environment's.
        from_env: its inverse, for actions that the environment's space has drawn.
        seeds: of resets.
        tracker: of episodes played elsewhere so far, by environments that have failed; None: a new one.

    Attributes:
        env: the environment.
        tracker: the episodes.
        step_seconds: what the environment's ``step`` took in the newest rollout.
        intake: checks what the environment returns.
        watcher: who is told of every step besides the tracker, or None.
    """

    def __init__(
        self,
        name: str,
        env: VectorEnv,
        stack: FrameStack,
        to_env: Callable[[np.ndarray], np.ndarray],
        from_env: Callable[[np.ndarray], np.ndarray],
        seeds: ResetSeeds,
        tracker: EpisodeTracker | None = None,
    ) -> None:
        self.env: Any = env  # some can save and restore their state besides
        self.stack, self.to_env, self.from_env = stack, to_env, from_env
        self.tracker = tracker or EpisodeTracker(env.num_envs)
        self.step_seconds, self.intake = 0.0, Intake(name, env)
        self.watcher: Watcher | None = None
        self._name, self._seeds = name, seeds
        self._position: Position | None = None
        self._action_dtype: npt.DTypeLike = action_dtype(env.single_action_space)

    @property
    def position(self) -> Position:
        """Where the environments stand.

        Raises:
            RuntimeError: nothing has been played.
        """
        if self._position is None:
            raise RuntimeError("Nothing has been played: reset() or rollout() comes first.")
        return self._position

    @property
    def can_be_lent(self) -> bool:
        """Whether somebody else may play in the environments until the first reset, which leaves no trace of that."""
        return self._position is None and bool(getattr(self.env, "reusable", False))

    @property
    def num_envs(self) -> int:
        """N."""
        return int(self.env.num_envs)

    def reset(self, seed: int | None = None) -> Infos:
        """Begins an episode in every environment.

        Args:
            seed: None takes the next of the reset seeds.

        Returns:
            The infos of the first observations.

        Raises:
            EnvironmentFailedError: the environment raised an error.
            ConfigError: its observations are not as its space says.
        """
        if self.watcher is not None:
            self.watcher.before_reset()
        with failures_in("reset", self._name):
            result = self.env.reset(seed=self._seeds.next if seed is None else seed)
            obs, broken, infos = self.intake.reset(result)
        self._seeds.used += seed is None
        first = np.ones(self.num_envs, dtype=bool)
        self._position = Position(obs, first, ~first, np.zeros((self.num_envs, 0), dtype=np.float32), broken)
        self.tracker.start(infos)
        if self.watcher is not None:
            self.watcher.after_reset(self.position, infos)
        return infos

    def cut(self, i: int) -> None:
        """Gives up the episode of environment ``i``; it goes on until the next reset, which is the caller's to do."""
        self.tracker.end(i, cut=True)
        if self.watcher is not None:
            self.watcher.cut(i)

    def retire(self, i: int) -> None:
        """What environment ``i`` does before the next reset is not wanted."""
        if self.watcher is not None:
            self.watcher.retire(i)

    def steps(self, policy: Policy | None) -> Iterator[Step]:
        """Plays on, one step of all environments at a time, for as long as it is asked to.

        Args:
            policy: None plays at random.

        Raises:
            EnvironmentFailedError: the environment raised an error. Of this object only the tracker is of use then.
        """
        while True:
            before = self._begin(policy)
            if policy is None:
                decision, memory, sent = None, before.memory, self.env.action_space.sample()
                action = self.from_env(sent).astype(self._action_dtype, copy=False)
            else:
                decision = policy.decide(before.obs, before.memory, before.is_first, before.broken)
                action = decision.action.astype(self._action_dtype, copy=False)
                memory, sent = decision.memory, self.to_env(action)
            started = time.perf_counter()
            with failures_in("step", self._name):
                result = self.env.step(sent)
            self.step_seconds += time.perf_counter() - started
            with failures_in("step", self._name):
                obs, broken, reward, terminated, truncated, infos = self.intake.step(result)
            done = terminated | truncated
            self.tracker.step(reward, done, before.done, infos)
            self._position = after = Position(obs, before.done, done, memory, broken)
            step = Step(before, after, action, decision, reward, terminated, truncated, infos)
            if self.watcher is not None:
                self.watcher.step(step, self.tracker)
            yield step

    def _begin(self, policy: Policy | None) -> Position:
        """Where the environments stand, reset if they have to be, with a memory of the policy's size."""
        if self._position is None:
            self.reset()
        position = self.position
        if policy is not None and position.memory.shape[1] != policy.memory_size:
            self._position = position = position._replace(memory=policy.empty_memory(self.num_envs))
        return position

    def rollout(self, policy: Policy | None, num_steps: int, page_locked: bool = False) -> Rollout:
        """Plays ``num_steps`` agent steps of every environment into arrays.

        Args:
            policy: None plays at random: no log-probabilities, values and memory then.
            num_steps: T.
            page_locked: see `Rollout.empty`.

        Raises:
            EnvironmentFailedError: as `steps`.
        """
        obs, k, newest_first = self._begin(policy).obs, self.stack.size, self.stack.newest_first
        rollout, self.step_seconds = self._empty(policy, num_steps, page_locked), 0.0
        if k == 1:
            rollout.frames[0] = obs
        else:
            # The environment's own stacks, not the last K frames: those may belong to the previous episode.
            rollout.frames[:k] = np.swapaxes(obs[:, ::-1] if newest_first else obs, 0, 1)
        for t, step in enumerate(itertools.islice(self.steps(policy), num_steps)):
            obs = step.after.obs
            rollout.frames[t + k] = obs if k == 1 else obs[:, 0 if newest_first else -1]
            rollout.is_first[t], rollout.action[t] = step.before.is_first, step.action
            rollout.broken[t] = step.before.broken
            if policy is not None and step.decision is not None:
                rollout.logp[t], rollout.value[t] = step.decision.logp, step.decision.value
                if t % policy.sequence_length == 0:
                    rollout.memory[t // policy.sequence_length] = step.before.memory
            rollout.reward[t], rollout.terminated[t], rollout.truncated[t] = (
                step.reward,
                step.terminated,
                step.truncated,
            )
        end = self.position
        rollout.is_first[num_steps], rollout.broken[num_steps] = end.is_first, end.broken
        if policy is not None:
            rollout.value[num_steps] = policy.look(end.obs, end.memory, end.is_first).value
        return rollout

    def _empty(self, policy: Policy | None, num_steps: int, page_locked: bool) -> Rollout:
        """The arrays of a rollout."""
        recorded: dict[str, Any] = {}
        if policy is not None:
            recorded = {
                "num_streams": policy.num_streams,
                "memory_size": policy.memory_size,
                "sequence_length": policy.sequence_length,
            }
        return Rollout.empty(
            num_steps,
            self.num_envs,
            **shapes_of(self.env.single_observation_space, self.env.single_action_space, self.stack.size),
            newest_first=self.stack.newest_first,
            page_locked=page_locked,
            **recorded,
        )

    def state(self) -> dict[str, Any]:
        """All that decides how play goes on, as plain data, for checkpoints; nothing that is played later changes it.

        Environments that cannot save their state (see `why_not_saved`) are left out: they begin new episodes after
        `restore`, with seeds that were not used before.
        """
        state: dict[str, Any] = {"num_envs": self.num_envs, "resets": self._seeds.used, "env": None}
        state["first_seed"] = self._seeds.first  # another one after the runner's process has been another
        state["why_not_saved"] = self.why_not_saved
        if self._position is not None and state["why_not_saved"] is None:
            state |= {
                "env": copy.deepcopy(self.env.clone_state()),
                # The names of the entries that have a row per environment, which other vectors may go on with.
                "env_rows": list(getattr(self.env, "state_rows", ())),
                "position": {name: array.copy() for name, array in self._position._asdict().items()},
                "episodes": self.tracker.state(),
            }
        return state

    def restore(self, state: Mapping[str, Any]) -> str | None:
        """Goes on where `state` was taken; where that cannot be, new episodes begin, with seeds that were not used.

        Returns:
            Why new episodes begin, as far as it is the environment's doing; None: they do not, or there were none yet.
        """
        self._seeds.used, self._seeds.first = state["resets"], state.get("first_seed", self._seeds.first)
        self._position, self.tracker = None, EpisodeTracker(self.num_envs)
        if self.watcher is not None:
            self.watcher.restored()
        why = self.why_not_saved or state["why_not_saved"]
        if state["env"] is None or why is not None or state["num_envs"] != self.num_envs:
            return why
        state = copy.deepcopy(state)  # what comes through Ray is read-only
        try:
            # Gymnasium's environments want a first reset, whatever comes after.
            self.env.reset(seed=self._seeds.first)
            self.env.restore_state(state["env"])
        except Exception as error:  # whatever a user's environment raises
            return f"its state was not taken back: {cause_of(error)}"
        self._position, self.tracker = Position(**state["position"]), EpisodeTracker.of_state(state["episodes"])
        return None

    @property
    def why_not_saved(self) -> str | None:
        """Why the environments cannot save their state, in words; None: they can."""
        return why_vector_not_saved(self.env)

    def close(self) -> None:
        """Closes the environments."""
        self.env.close()


def make_play(
    config: AlgorithmConfig,
    num_envs: int,
    seeds: ResetSeeds,
    num_threads: int | None = None,
    tracker: EpisodeTracker | None = None,
    context: EnvContext | None = None,
) -> Play:
    """Play in the environments that a configuration names.

    Args:
        config: environment, its options, and how actions are brought into its range.
        num_envs: N.
        seeds: of resets.
        num_threads: of environments in C++; None: all cores.
        tracker: see `Play`.
        context: the options with what RLlib's environments are told of their runner; None: there is no runner.

    Raises:
        ConfigError: the environment cannot be made.
    """
    env_config = dict(config.env_config) if context is None else context
    env = make_vector_env(config.env, num_envs, env_config, num_threads)
    return play_in(env, config, seeds, tracker)


def play_in(env: VectorEnv, config: AlgorithmConfig, seeds: ResetSeeds, tracker: EpisodeTracker | None = None) -> Play:
    """Play in environments that are there; arguments as of `make_play`."""
    stack = frame_stack(config.env, dict(config.env_config))
    to_env = to_environment(env.single_action_space, config.normalize_actions, config.clip_actions)
    from_env = from_environment(env.single_action_space, config.normalize_actions)
    return Play(env_name(config.env), env, stack, to_env, from_env, seeds, tracker)
