"""RLlib's own episode objects of what is played, for its evaluation and for callbacks on episodes.

A lost life of a game that goes on is no end here, as it is none in the returns that training reports.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_rnd.module import MEMORY
from rllib_rnd.sampling.episodes import EpisodeTracker
from rllib_rnd.sampling.play import Infos, Play, Position, Step

EPISODE_CALLBACKS = ("on_episode_created", "on_episode_start", "on_episode_step", "on_episode_end")

#: Is called with the name of a callback, an episode and the index of its environment.
Notify = Callable[[str, SingleAgentEpisode, int], None]


class StockEpisodes:
    """Watches a `Play` and keeps each environment's episode, whole until it ends.

    Args:
        play: what is watched.
        notify: of the four events of an episode.
    """

    def __init__(self, play: Play, notify: Notify) -> None:
        self._spaces = {
            "observation_space": play.env.single_observation_space,
            "action_space": play.env.single_action_space,
        }
        self._num_envs, self._notify = play.num_envs, notify
        self._episodes: list[SingleAgentEpisode | None] = [None] * play.num_envs
        self._finished: list[SingleAgentEpisode] = []
        self._begun = False

    def before_reset(self) -> None:
        """All environments are about to be reset: their episodes so far are dropped."""
        self._episodes = [self._new(i) for i in range(self._num_envs)]
        self._begun = True

    def restored(self) -> None:
        """Play goes on from a checkpoint: with the next step each environment has a new episode, from there on."""
        self._episodes = [None] * self._num_envs
        self._begun = False

    def after_reset(self, position: Position, infos: Infos) -> None:
        """All environments have been reset."""
        for i, info in enumerate(infos_by_env(infos, self._num_envs)):
            self._start(i, position.obs[i], info)

    def step(self, step: Step, tracker: EpisodeTracker) -> None:
        """All environments have made a step; ``tracker`` knows of it."""
        if not self._begun:  # play goes on from a checkpoint, in the middle of episodes
            self.before_reset()
            self.after_reset(step.before, {})
        for i, info in enumerate(infos_by_env(step.infos, self._num_envs)):
            episode = self._episodes[i]
            if episode is None:
                continue
            if not step.before.done[i]:
                ends = not tracker.goes_on[i]
                episode.add_env_step(
                    np.array(step.after.obs[i]),
                    step.action[i],
                    float(step.reward[i]),
                    info,
                    terminated=bool(step.terminated[i]) and ends,
                    truncated=bool(step.truncated[i]) and ends,
                    extra_model_outputs=_model_outputs(step, i),
                )
                self._notify("on_episode_step", episode, i)
                if episode.is_done:
                    self._end(i, episode)
                    self._episodes[i] = self._new(i)
            elif not episode.is_reset:  # else the step only began the next life
                self._start(i, step.after.obs[i], info)

    def cut(self, i: int) -> None:
        """Environment ``i``'s episode is given up as truncated; nothing more is kept of it before the next reset."""
        episode = self._episodes[i]
        if episode is not None and len(episode):
            episode.is_truncated = True
            self._end(i, episode)
        self.retire(i)

    def retire(self, i: int) -> None:
        """What environment ``i`` does before the next reset of all is not wanted."""
        self._episodes[i] = None

    def take_finished(self) -> list[SingleAgentEpisode]:
        """Returns the episodes finished since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def take_unfinished(self, lookback: int) -> list[SingleAgentEpisode]:
        """Returns what there is of the episodes that go on; they go on in successors with ``lookback`` old steps."""
        parts = [episode for episode in self._episodes if episode is not None and len(episode)]
        self._episodes = [
            episode.cut(len_lookback_buffer=lookback) if episode is not None and len(episode) else episode
            for episode in self._episodes
        ]
        return parts

    def _new(self, i: int) -> SingleAgentEpisode:
        episode = SingleAgentEpisode(**self._spaces)
        self._notify("on_episode_created", episode, i)
        return episode

    def _start(self, i: int, obs: np.ndarray, info: dict[str, Any]) -> None:
        episode = self._episodes[i]
        if episode is not None:
            episode.add_env_reset(np.array(obs), info)
            self._notify("on_episode_start", episode, i)

    def _end(self, i: int, episode: SingleAgentEpisode) -> None:
        self._notify("on_episode_end", episode, i)
        self._finished.append(episode)


def defines_episode_callbacks(callbacks: list[RLlibCallback], functions: list[object]) -> bool:
    """Whether somebody wants to know of episodes: a callback object that overrides a method, or a function."""
    own = (getattr(type(c), name) is not getattr(RLlibCallback, name) for c in callbacks for name in EPISODE_CALLBACKS)
    return any(functions) or any(own)


def infos_by_env(infos: Infos, num_envs: int) -> list[dict[Any, Any]]:
    """The infos of a vector environment, one dictionary per environment."""
    separate: list[dict[Any, Any]] = [{} for _ in range(num_envs)]
    for key, values in infos.items():
        if isinstance(key, str) and key.startswith("_") and key[1:] in infos:
            continue  # a mask
        mask = infos.get(f"_{key}")
        told = infos_by_env(values, num_envs) if isinstance(values, dict) else values
        for i in range(num_envs):
            if mask is None or mask[i]:
                separate[i][key] = told[i]
    return separate


def _model_outputs(step: Step, i: int) -> dict[str, Any]:
    if step.decision is None:
        return {}
    outputs = {
        Columns.ACTION_LOGP: step.decision.logp[i],
        Columns.ACTION_DIST_INPUTS: step.decision.dist_inputs[i],
    }
    if step.decision.memory.shape[1]:
        outputs[Columns.STATE_OUT] = {MEMORY: step.decision.memory[i]}
    return outputs
