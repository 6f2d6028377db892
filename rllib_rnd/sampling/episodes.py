"""Returns, lengths and places of the episodes that pass through a vector environment (NEXT_STEP autoreset)."""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rllib_rnd.envs.info import GAME_GOES_ON, PLACES, PROGRESS, ROOM

logger = logging.getLogger(__name__)

Visits = dict[str, dict[int, int]]  # kind of place -> id -> agent steps spent there


@dataclass
class EpisodeSummary:
    """One finished episode.

    Attributes:
        env_index: the environment inside its runner's vector.
        raw_return: undiscounted sum of raw rewards.
        length: agent steps.
        places: per kind of place the ids visited; kinds that the environment does not tell are absent.
        progress: the largest progress reached, or None if the environment tells none.
        cut: it did not end, but was given up.
    """

    env_index: int
    raw_return: float
    length: int
    places: dict[str, set[int]] = field(default_factory=dict)
    progress: float | None = None
    cut: bool = False

    @property
    def rooms(self) -> set[int]:
        """Ids of the rooms visited."""
        return self.places.get(ROOM, set())

    def state(self) -> dict[str, Any]:
        """Itself as plain data, for checkpoints."""
        return {**vars(self), "places": {kind: sorted(ids) for kind, ids in self.places.items()}}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> EpisodeSummary:
        """The episode that `state` is of."""
        return cls(**{**state, "places": {kind: set(ids) for kind, ids in state["places"].items()}})

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
        """Mean, least and largest return and length by RLlib's names, mean numbers of places, progress.

        Empty without episodes; what the environment does not tell is left out.
        """
        if not self._episodes:
            return {}
        columns: dict[str, list[float]] = {
            "episode_return": [e.get_return() for e in self._episodes],
            "episode_len": [float(len(e)) for e in self._episodes],
        }
        progress = [e.progress for e in self._episodes if e.progress is not None]
        if progress:
            columns[PROGRESS] = progress
        values: dict[str, float] = {}
        for name, numbers in columns.items():
            values[f"{name}_mean"] = sum(numbers) / len(numbers)
            values[f"{name}_min"], values[f"{name}_max"] = min(numbers), max(numbers)
        for kind in PLACES:
            counts = [len(e.places[kind]) for e in self._episodes if kind in e.places]
            if counts:
                values[f"{kind}s_per_episode_mean"] = sum(counts) / len(counts)
        return values


class EpisodeTracker:
    """Accumulates per-environment sums step by step and collects finished episodes.

    Places are only written down at each step and evaluated together, once per rollout.
    """

    def __init__(self, num_envs: int) -> None:
        self._num_envs = num_envs
        self._return = np.zeros(num_envs)
        self._length = np.zeros(num_envs, dtype=np.int64)
        self._progress: np.ndarray | None = None
        self._goes_on = np.zeros(num_envs, dtype=bool)
        self._episode = np.zeros(num_envs, dtype=np.int64)  # episodes begun since the last evaluation
        self._log: dict[str, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
        self._ignored: set[str] = set()  # names of what was told and is of no use
        self._open: dict[str, list[set[int]]] = {}  # places of the episodes that go on
        self._finished: list[tuple[EpisodeSummary, int]] = []
        self._visits: Visits = {}

    def start(self, infos: Mapping[str, Any]) -> None:
        """Begins an episode in every environment."""
        everywhere = np.ones(self._num_envs, dtype=bool)
        self._begin(everywhere)
        self._locate(infos, everywhere)

    def step(self, reward: np.ndarray, done: np.ndarray, reset_step: np.ndarray, infos: Mapping[str, Any]) -> None:
        """Adds one vector step.

        Args:
            reward: ``[N]``.
            done: ``[N]`` bool, the episode ended with this step.
            reset_step: ``[N]`` bool, the step only reset; it begins an episode and counts nothing.
            infos: of the vector environment.
        """
        begins = reset_step & ~self._goes_on
        if begins.any():
            self._begin(begins)
        self._return += reward
        self._length += ~reset_step
        self._locate(infos, begins)
        if GAME_GOES_ON in infos or self._goes_on.any():
            told = self._told(GAME_GOES_ON, infos, whole=True) if GAME_GOES_ON in infos else None
            self._goes_on = np.where(done, told == 1, self._goes_on & ~reset_step)
        for i in np.flatnonzero(done & ~self._goes_on):
            self.end(int(i))

    @property
    def goes_on(self) -> np.ndarray:
        """``[N]`` bool: what ended with the newest step was one life of a game that goes on."""
        return self._goes_on

    @property
    def length(self) -> np.ndarray:
        """``[N]``: agent steps of the episodes that go on, or ended with the newest step."""
        return self._length

    def end(self, i: int, cut: bool = False) -> None:
        """The episode of environment ``i`` is over: it has ended, or it is given up here (``cut``)."""
        told = None if self._progress is None or np.isnan(self._progress[i]) else float(self._progress[i])
        summary = EpisodeSummary(
            i, float(self._return[i]), int(self._length[i]), {kind: set() for kind in self._log}, told, cut
        )
        self._finished.append((summary, int(self._episode[i])))

    def take_finished(self) -> list[EpisodeSummary]:
        """Returns the episodes finished since the last call."""
        places = self._evaluate_places()
        for summary, number in self._finished:
            for kind in summary.places:
                summary.places[kind] = places[kind][summary.env_index, number]
        finished, self._finished = [summary for summary, _ in self._finished], []
        return finished

    def take_visits(self) -> Visits:
        """Returns the agent steps spent at each place since the last call, as far as episodes were taken."""
        visits, self._visits = self._visits, {}
        return visits

    def state(self) -> dict[str, Any]:
        """All of it as plain data, for checkpoints.

        ``rows`` holds an entry per environment in each of its values; ``log`` and ``finished`` are empty right after
        `take_finished`.
        """
        nothing: list[set[int]] = [set()] * self._num_envs
        rows: dict[str, Any] = {
            "return": self._return.copy(),
            "length": self._length.copy(),
            "goes_on": self._goes_on.copy(),
            "episode": self._episode.copy(),
            "progress": np.full(self._num_envs, np.nan) if self._progress is None else self._progress.copy(),
        }
        rows |= {f"{kind}s": [sorted(places) for places in self._open.get(kind, nothing)] for kind in PLACES}
        log = {kind: [[p.copy(), e.copy()] for p, e in entries] for kind, entries in self._log.items() if entries}
        return {
            "rows": rows,
            "kinds": list(self._log),
            "tells_progress": self._progress is not None,
            "ignored": sorted(self._ignored),
            "log": log,
            "finished": [[summary.state(), number] for summary, number in self._finished],
            "visits": {kind: [[*visit] for visit in visits.items()] for kind, visits in self._visits.items()},
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> EpisodeTracker:
        """A tracker that goes on where `state` was taken."""
        rows, kinds = state["rows"], state["kinds"]
        tracker = cls(len(rows["return"]))
        tracker._return, tracker._length = np.array(rows["return"]), np.array(rows["length"])
        tracker._goes_on, tracker._episode = np.array(rows["goes_on"]), np.array(rows["episode"])
        tracker._progress = np.array(rows["progress"]) if state["tells_progress"] else None
        tracker._ignored = set(state["ignored"])
        for kind in kinds:
            tracker._log[kind] = [(np.array(p), np.array(e)) for p, e in state["log"].get(kind, [])]
            tracker._open[kind] = [set(places) for places in rows[f"{kind}s"]]
        tracker._finished = [(EpisodeSummary.of_state(summary), number) for summary, number in state["finished"]]
        tracker._visits = {kind: {place: steps for place, steps in pairs} for kind, pairs in state["visits"].items()}
        return tracker

    def _begin(self, where: np.ndarray) -> None:
        self._return[where] = 0.0
        self._length[where] = 0
        self._episode[where] += 1

    def _locate(self, infos: Mapping[str, Any], fresh: np.ndarray) -> None:
        for kind in PLACES:
            if kind in infos:
                place = self._told(kind, infos, whole=True)
                if place is not None:
                    self._log[kind].append((place, self._episode.copy()))
        progress = self._told(PROGRESS, infos, whole=False) if PROGRESS in infos else None
        if self._progress is None:
            self._progress = progress
        elif progress is not None or fresh.any():
            # Where nothing is told, an episode's progress stays what it was; fmax takes the number beside a NaN.
            now = np.full(self._num_envs, np.nan) if progress is None else progress
            self._progress = np.where(fresh, now, np.fmax(now, self._progress))

    def _told(self, name: str, infos: Mapping[str, Any], *, whole: bool) -> np.ndarray | None:
        """What environments tell under a name, ``[N]``: whole numbers, -1 where none, or numbers, NaN where none.

        What is no such number is ignored with one warning. None: nothing of it is of use.
        """
        values, known = np.asarray(infos[name]), infos.get(f"_{name}")  # gymnasium's mask of the environments that tell
        if known is None:
            known = np.ones(self._num_envs, dtype=bool)
        if values.shape != (self._num_envs,):
            self._warn(name, values[0] if values.size and values.ndim else values, whole)
            return None
        nothing, dtype = (-1, np.int64) if whole else (np.nan, np.float64)
        if values.dtype.kind in "biu":
            return np.where(known, values, nothing).astype(dtype)
        numbers = values.astype(np.float64) if values.dtype.kind == "f" else np.array([_number(v) for v in values])
        usable = np.isfinite(numbers)
        if whole:
            usable &= np.floor(numbers) == numbers
        if (known & ~usable).any():
            self._warn(name, values[known & ~usable][0], whole)
            if not (known & usable).any():
                return None
        return np.where(known & usable, numbers, nothing).astype(dtype)

    def _warn(self, name: str, value: object, whole: bool) -> None:
        if name not in self._ignored:
            self._ignored.add(name)
            what = "whole number" if whole else "finite number"
            logger.warning("info[%r] is %r, which is no %s: such entries are ignored.", name, value, what)

    def _evaluate_places(self) -> dict[str, dict[tuple[int, int], set[int]]]:
        """Per kind, the places of each (environment, episode) since the last evaluation; forgets the log."""
        found: dict[str, dict[tuple[int, int], set[int]]] = {}
        for kind, log in self._log.items():
            sets: dict[tuple[int, int], set[int]] = defaultdict(set)
            for i, places in enumerate(self._open.get(kind, [])):
                sets[i, 0] = places
            if log:
                place, episode = np.stack([p for p, _ in log]), np.stack([e for _, e in log])
                env = np.broadcast_to(np.arange(self._num_envs), place.shape)
                known = place >= 0
                ids, index, steps = np.unique(place[known], return_inverse=True, return_counts=True)
                # One number for (environment, episode, place): sorting numbers is faster than sorting triples.
                per_env = int(episode.max()) + 1
                code = np.unique((env[known] * per_env + episode[known]) * max(1, len(ids)) + index)
                which, where = np.divmod(code, max(1, len(ids)))
                for i, number, visited in zip(
                    *(a.tolist() for a in (*np.divmod(which, per_env), ids[where])), strict=True
                ):
                    sets[i, number].add(visited)
                counts = self._visits.setdefault(kind, {})
                for visited, count in zip(ids.tolist(), steps.tolist(), strict=True):
                    counts[visited] = counts.get(visited, 0) + count
            found[kind] = sets
            self._open[kind] = [sets[i, int(self._episode[i])] for i in range(self._num_envs)]
            log.clear()
        self._episode[:] = 0
        return found


def _number(value: object) -> float:
    """A number of any type as a float; NaN for what is none."""
    return float(value) if isinstance(value, int | float | np.number | np.bool_) else np.nan


class PlaceHistory:
    """Since the start of a run, over all runners and resumes: steps spent at each place, and when it was first seen.

    Attributes:
        visits: id -> agent steps spent there.
        first_visit: id -> agent steps of the whole run when it was first seen (to the iteration).
    """

    def __init__(self, visits: Mapping[int, int] | None = None, first_visit: Mapping[int, int] | None = None) -> None:
        self.visits: dict[int, int] = dict(visits or {})
        self.first_visit: dict[int, int] = dict(first_visit or {})

    def add(self, visits: Mapping[int, int], agent_steps: int) -> None:
        """Adds what one runner counted in the iteration that ended at ``agent_steps``."""
        for place, steps in visits.items():
            self.visits[place] = self.visits.get(place, 0) + steps
            self.first_visit.setdefault(place, agent_steps)
