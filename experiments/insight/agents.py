"""The trained agents that the insight studies look into, and what several of those studies do with them."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from gymnasium import spaces

from experiments.provenance import note
from experiments.report import commits
from experiments.studies import Row, append
from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.maps import Map
from rllib_rnd.analysis.methods import METHODS
from rllib_rnd.analysis.player import Player, PlayOptions, make_single
from rllib_rnd.analysis.states import States
from rllib_rnd.analysis.tape import Tape
from rllib_rnd.analysis.targets import Target
from rllib_rnd.checkpoints import checkpoints_in, result_at
from rllib_rnd.tracking.metrics import read

HERE = Path(__file__).parent
#: Observations of Breakout: every study ends within a quarter of an hour on two cores.
NUM_STATES = 128


@dataclass(frozen=True)
class Found:
    """A checkpoint.

    Attributes:
        path: its folder.
        agent_steps: of training.
        return_mean: of the episodes before it, NaN if there were none.
    """

    path: Path
    agent_steps: int
    return_mean: float = math.nan

    def load(self) -> Agent:
        """The agent."""
        return Agent.load(self.path.resolve(), "explain")  # RLlib takes a relative path for an address


def checkpoints(storage: Path, run: str) -> dict[Path, list[Found]]:
    """The complete checkpoints of an experiment by trial folder, in order of time."""
    trials: dict[Path, list[Found]] = {}
    for path in checkpoints_in(storage / run) if (storage / run).is_dir() else []:
        result = result_at(path)
        steps, return_mean = read(result, "agent_steps"), read(result, "return_mean")
        if steps is not None:
            found = Found(path, int(steps), math.nan if return_mean is None else return_mean)
            trials.setdefault(path.parent, []).append(found)
    return trials


def newest(storage: Path, run: str, file: str) -> list[Found]:
    """The newest checkpoint of each trial; says what would train them if there is none."""
    found = [trial[-1] for trial in checkpoints(storage, run).values()]
    if not found:
        tell_missing(storage, run, file)
    return found


def nearest(storage: Path, run: str, file: str, agent_steps: int) -> Found | None:
    """The checkpoint nearest to a number of agent steps; says so if it is far from it, or what would train one."""
    every = [found for trial in checkpoints(storage, run).values() for found in trial]
    if not every:
        tell_missing(storage, run, file)
        return None
    best = min(every, key=lambda found: abs(found.agent_steps - agent_steps))
    if abs(best.agent_steps - agent_steps) > 0.05 * agent_steps:
        print(f"{run}: nearest to {agent_steps:,} agent steps is {best.agent_steps:,}", flush=True)
    return best


def tell_missing(storage: Path, run: str, file: str) -> None:
    """One line: what is left out, and the command that would train it."""
    command = f"rllib train experiments/insight/{file}.yaml --storage {storage}"
    print(f"{run}: no checkpoint in {storage / run}, left out; {command} trains it", flush=True)


# --- rows of measurements ----------------------------------------------------------------------------------------


class Sheet:
    """A CSV file of measurements that goes on where it was cut.

    Args:
        path: of the file.
        key: columns that tell what was measured of what.
    """

    def __init__(self, path: Path, key: Sequence[str]) -> None:
        self.path, self.key = path, key
        self._known: set[tuple[str, ...]] = set()
        if path.exists():
            with path.open() as file:
                self._known = {tuple(row[name] for name in key) for row in csv.DictReader(file)}

    def has(self, **key: str | int) -> bool:
        """Whether it has been measured."""
        return tuple(str(key[name]) for name in self.key) in self._known

    def add(self, rows: list[Row]) -> None:
        """Adds what was measured of one thing, at once: a cut run leaves no half of it behind."""
        append(rows, self.path)
        self._known |= {tuple(str(row[name]) for name in self.key) for row in rows}
        note(self.path.parent)
        print(*(rows[0][name] for name in self.key), f"{len(rows)} rows", flush=True)


def newest_rows(frame: pd.DataFrame, key: Sequence[str]) -> pd.DataFrame:
    """Of what has been measured at several numbers of agent steps only the rows of the largest.

    Args:
        frame: with a column ``agent_steps``.
        key: columns that tell whose rows are of the same agent.
    """
    return frame[frame.agent_steps == frame.groupby(list(key)).agent_steps.transform("max")]


def seeds_line(frame: pd.DataFrame, group: str) -> list[str]:
    """Seeds, agent steps and commit, a paragraph to each value of a column, of a frame with ``seed`` and ``commit``."""
    lines = []
    for name, of in frame.groupby(group, sort=False):
        seeds = ", ".join(str(seed) for seed in sorted(of.seed.unique()))
        least, most = int(of.agent_steps.min()), int(of.agent_steps.max())
        steps = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        lines += ["", f"Seeds: {seeds} of {name}; trained for {steps} agent steps; code: commit {commits(of)}."]
    return lines[1:]


#: Fewer seeds than these have no interval: of two or three it reaches far beyond what was seen.
LEAST_SEEDS = 5


def interval(values: Iterable[float], digits: int = 2) -> str:
    """Mean over seeds with the half width of its 95 % confidence interval (Student's t), of few seeds with the range.

    ``0.50 ± 0.02``, of fewer than five seeds ``0.50 (0.48 to 0.52)``, the mean alone of one seed.
    """
    from scipy.stats import t

    known = np.array([value for value in values if np.isfinite(value)])
    if len(known) == 0:
        return "-"
    if len(known) == 1:
        return f"{known[0]:.{digits}f}"
    if len(known) < LEAST_SEEDS:
        return f"{known.mean():.{digits}f} ({known.min():.{digits}f} to {known.max():.{digits}f})"
    half = t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known))
    return f"{known.mean():.{digits}f} ± {half:.{digits}f}"


# --- states and maps ---------------------------------------------------------------------------------------------


def play(agent: Agent, episodes: int, max_steps: int, seed: int = 0) -> list[Tape]:
    """Episodes of an agent; the same seed plays the same."""
    player = Player(agent, PlayOptions(seed=seed, max_steps=max_steps))
    try:
        return [player.play(seed + i) for i in range(episodes)]
    finally:
        player.close()


def random_play(agent: Agent, count: int, seed: int = 0) -> np.ndarray:
    """Observations ``[count, *obs_shape]`` that actions drawn at random lead to, 20 to 100 steps apart."""
    env, random = make_single(agent.config), np.random.default_rng(seed)
    actions = spaces.flatdim(env.action_space)
    obs, _ = env.reset(seed=seed)
    kept: list[np.ndarray] = []
    while len(kept) < count:
        for _ in range(int(random.integers(20, 100))):
            obs, _, terminated, truncated, _ = env.step(int(random.integers(actions)))
            if terminated or truncated:
                obs, _ = env.reset()
        kept.append(np.array(obs))
    env.close()
    return np.stack(kept)


def spread_over(states: States, count: int) -> States:
    """At most so many states, evenly over time."""
    return states.select(np.unique(np.linspace(0, len(states) - 1, min(count, len(states))).astype(int)))


def first_visits(rooms: np.ndarray, window: int = 4) -> np.ndarray:
    """Indices of the states in which a room is first seen in an episode, and of the few after them in that room.

    The room that the episode begins in is none of them.

    Args:
        rooms: ``[T]``, in order of time.
        window: states per room.
    """
    found = []
    for room in set(rooms[rooms >= 0].tolist()) - {int(rooms[0])}:
        first = int(np.flatnonzero(rooms == room)[0])
        found += [t for t in range(first, min(first + window, len(rooms))) if rooms[t] == room]
    return np.array(sorted(found), dtype=int)


def maps_of(method: str, agent: Agent, states: States, targets: Sequence[Target] = ()) -> dict[str, Map]:
    """The maps of a method by its name; none where it does not apply."""
    explain = METHODS.resolve(method)()
    return {} if explain.missing(agent) is not None else explain.maps(agent, states, targets)


def twins(agent: Agent, seed: int) -> Iterator[tuple[int, Agent]]:
    """The agent as trained (1), and the same networks untrained (0)."""
    yield 1, agent
    yield 0, agent.untrained(seed)


# --- boards of cells ---------------------------------------------------------------------------------------------


def catch_boards(size: int, cell: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All observations of Catch with the ball in the air that can be reached.

    Args:
        size: rows and columns.
        cell: side of a cell in pixels.

    Returns:
        Observations ``[B, side, side]`` uint8, and the cells (row, column) of ball and paddle, ``[B, 2]`` each.
    """
    places = [
        (row, ball, paddle)
        for row in range(size - 1)
        for ball in range(size)
        for paddle in range(size)
        if abs(paddle - size // 2) <= row
    ]
    row, ball, paddle = np.array(places).T
    boards = np.zeros((len(places), size, size), dtype=np.uint8)
    boards[np.arange(len(places)), row, ball] = 255
    boards[:, size - 1][np.arange(len(places)), paddle] = 255
    cells = np.stack([row, ball], axis=1), np.stack([np.full_like(row, size - 1), paddle], axis=1)
    return boards.repeat(cell, axis=1).repeat(cell, axis=2), *cells


def sea_boards(size: int, cell: int) -> tuple[np.ndarray, np.ndarray]:
    """All observations of DeepSea in pixels, and the diver's cells ``[B, 2]``; arguments as of `catch_boards`."""
    cells = np.array([(row, column) for row in range(size) for column in range(row + 1)])
    boards = np.zeros((len(cells), size, size), dtype=np.uint8)
    boards[np.arange(len(cells)), cells[:, 0], cells[:, 1]] = 255
    return boards.repeat(cell, axis=1).repeat(cell, axis=2), cells


def percentile(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """How hot places are: the share of places that are colder (equal ones count half), mean over places meant.

    Args:
        values: ``[B, P]``.
        where: ``[B, P]`` bool, at least one in each row.

    Returns:
        ``[B]``: 1/2 for places like any other, near 1 for the hottest.
    """
    below = (values[:, None, :] < values[:, :, None]).sum(axis=2)
    equal = (values[:, None, :] == values[:, :, None]).sum(axis=2) - 1
    shares = (below + 0.5 * equal) / (values.shape[1] - 1)
    return np.where(where, shares, 0.0).sum(axis=1) / where.sum(axis=1)


def covers(cells: np.ndarray, cell: int, places: int, size: int, stride: int) -> np.ndarray:
    """Which places of a map along one axis see a cell.

    Args:
        cells: ``[B]`` index of the cell along the axis.
        cell: side of a cell in pixels.
        places: of the map.
        size: pixels that a place sees.
        stride: pixels between places.

    Returns:
        ``[B, places]`` bool.
    """
    start = np.arange(places)[None] * stride
    return (start < (cells[:, None] + 1) * cell) & (start + size > cells[:, None] * cell)
