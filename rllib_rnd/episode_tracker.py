"""Returns, lengths and rooms of the episodes that pass through a vector environment (NEXT_STEP autoreset)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np


@dataclass
class EpisodeSummary:
    """One finished training episode, as handed to ``on_episode_end`` callbacks.

    Attributes:
        env_index: the environment inside its runner's vector.
        raw_return: undiscounted sum of raw rewards.
        length: agent steps.
        rooms: ids of the rooms visited (empty if the environment tells none).
    """

    env_index: int
    raw_return: float
    length: int
    rooms: set[int] = field(default_factory=set)

    def get_return(self) -> float:
        """Undiscounted raw return, by the name RLlib's own episodes use."""
        return self.raw_return

    def __len__(self) -> int:
        return self.length


class RecentEpisodes:
    """The last training episodes of all runners, and their means.

    RLlib's own window means would cover the episodes of the newest iteration only: its loggers forget the window
    whenever a runner's metrics are collected.

    Args:
        size: how many episodes count.
    """

    def __init__(self, size: int) -> None:
        self._episodes: deque[EpisodeSummary] = deque(maxlen=size)

    def add(self, finished: Iterable[EpisodeSummary]) -> None:
        """Adds episodes, oldest first; the oldest of all make room."""
        self._episodes.extend(finished)

    def episodes(self) -> list[EpisodeSummary]:
        """Returns the episodes that count now."""
        return list(self._episodes)

    def summary(self) -> dict[str, float]:
        """Mean, least and largest return and length, by RLlib's names, and mean rooms; empty without episodes."""
        if not self._episodes:
            return {}
        columns: dict[str, list[float]] = {
            "episode_return": [e.get_return() for e in self._episodes],
            "episode_len": [float(len(e)) for e in self._episodes],
        }
        values: dict[str, float] = {}
        for name, numbers in columns.items():
            values[f"{name}_mean"] = sum(numbers) / len(numbers)
            values[f"{name}_min"], values[f"{name}_max"] = min(numbers), max(numbers)
        rooms = [len(e.rooms) for e in self._episodes]
        if any(rooms):
            values["rooms_per_episode_mean"] = sum(rooms) / len(rooms)
        return values


class EpisodeTracker:
    """Accumulates per-environment sums step by step and collects finished episodes."""

    def __init__(self, num_envs: int) -> None:
        self._return = np.zeros(num_envs)
        self._length = np.zeros(num_envs, dtype=np.int64)
        self._rooms: list[set[int]] = [set() for _ in range(num_envs)]
        self._last_room: np.ndarray | None = None
        self._finished: list[EpisodeSummary] = []
        self.rooms_visited: set[int] = set()

    def start(self, room: np.ndarray | None) -> None:
        """Begins an episode in every environment; ``room`` is ``[N]`` or None."""
        everywhere = np.ones(len(self._rooms), dtype=bool)
        self._clear(everywhere)
        self._visit(room, everywhere)

    def step(self, reward: np.ndarray, done: np.ndarray, reset_step: np.ndarray, room: np.ndarray | None) -> None:
        """Adds one vector step: all arguments ``[N]``; ``reset_step`` marks steps that only reset."""
        if reset_step.any():
            self._clear(reset_step)
        self._return += reward
        self._length += ~reset_step
        self._visit(room, reset_step)
        for i in np.flatnonzero(done):
            summary = EpisodeSummary(int(i), float(self._return[i]), int(self._length[i]), self._rooms[i])
            self._finished.append(summary)

    def take_finished(self) -> list[EpisodeSummary]:
        """Returns the episodes finished since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def _clear(self, where: np.ndarray) -> None:
        self._return[where] = 0.0
        self._length[where] = 0
        for i in np.flatnonzero(where):
            self._rooms[i] = set()

    def _visit(self, room: np.ndarray | None, fresh: np.ndarray) -> None:
        if room is None:
            return
        # Sets are touched only where the room changes: a step with no change costs one comparison.
        changed = fresh if self._last_room is None else (room != self._last_room) | fresh
        for i in np.flatnonzero(changed):
            self._rooms[i].add(int(room[i]))
            self.rooms_visited.add(int(room[i]))
        self._last_room = np.array(room)
