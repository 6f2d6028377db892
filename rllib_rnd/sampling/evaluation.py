"""Whole episodes for evaluation: a fixed share for each environment, and none without an end."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rllib_rnd.sampling.episodes import EpisodeSummary
from rllib_rnd.sampling.play import Play
from rllib_rnd.sampling.policy import Policy


def shares(num_episodes: int, num_envs: int) -> list[int]:
    """Episodes of each environment: taking whichever end first would favour short ones."""
    return [num_episodes // num_envs + (i < num_episodes % num_envs) for i in range(num_envs)]


def play_episodes(game: Play, policy: Policy | None, left: list[int], max_steps: int) -> Iterator[EpisodeSummary]:
    """Plays so many episodes in each environment, and tells of each when it ends.

    Vector environments cannot reset a single one of them. So one whose episode is cut waits until the others have
    played theirs, and then all are reset.

    Args:
        game: reset here.
        policy: None plays at random.
        left: episodes wanted of each environment; counted down as they end.
        max_steps: agent steps after which an episode is cut.

    Raises:
        EnvironmentFailedError: the environment raised an error.
    """
    while any(left):
        game.reset()
        waiting = [i for i, episodes in enumerate(left) if episodes]
        for i in set(range(game.num_envs)).difference(waiting):
            game.retire(i)
        for step in game.steps(policy):
            over = step.after.done & ~game.tracker.goes_on
            endless = ~over & np.isin(np.arange(game.num_envs), waiting) & (game.tracker.length >= max_steps)
            if not (over | endless).any():
                continue
            for i in waiting:
                if endless[i]:
                    game.cut(i)
            for summary in game.tracker.take_finished():
                i = summary.env_index
                if i in waiting:
                    left[i] -= 1
                    if summary.cut or not left[i]:
                        waiting.remove(i)
                        game.retire(i)
                    yield summary
            if not waiting:
                break
