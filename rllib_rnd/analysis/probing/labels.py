"""Labels: what is true of a state, read from the environment itself, for probes of what features know of it.

An environment's own state comes first (`_OWN`): console memory of Atari games, ages of Warehouse's items, pose of a
MiniGrid agent, positions of the small tasks. Numbers of ``info`` come after it, an environment of one's own among them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from rllib_rnd.envs.atari import AtariEnv
from rllib_rnd.envs.atari_options import atari_games
from rllib_rnd.envs.atari_ram import KINDS, RAM, Kind, decode
from rllib_rnd.envs.catch import CatchEnv
from rllib_rnd.envs.deep_sea import DeepSeaEnv
from rllib_rnd.envs.info import EPISODE_FRAME_NUMBER, GAME_GOES_ON, LIVES, POSITION, POSITION_SHAPE, ROOM
from rllib_rnd.envs.point_maze import PointMazeEnv
from rllib_rnd.envs.warehouse import WarehouseEnv
from rllib_rnd.envs.warehouse_rules import EMPTY
from rllib_rnd.errors import unknown_name_error

#: What is read of one state: label -> value, NaN where there is none.
Values = dict[str, float]

# Entries of ``info`` that are counts of the bookkeeping, not of the world.
_BOOKKEEPING = {EPISODE_FRAME_NUMBER, GAME_GOES_ON, "TimeLimit.truncated"}

# A label must be known in so many states on either side of the split, and each of its categories in so many.
MIN_STATES, MIN_OF_CATEGORY = 30, 8


@dataclass
class Labels:
    """Labels of B states.

    Attributes:
        values: label -> ``[B]`` float64, NaN where it is not known. Categories are numbers too.
        kinds: label -> number or category.
        left_out: label -> why it was left out.
    """

    values: dict[str, np.ndarray] = field(default_factory=dict)
    kinds: dict[str, Kind] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


# --- what an environment says of itself ----------------------------------------------------------------------------


def _atari(env: AtariEnv) -> tuple[Values, dict[str, Kind]]:
    rom = atari_games()[env.game]
    return (decode(rom, env.ale.getRAM()), dict(KINDS[rom])) if rom in RAM else ({}, {})


def _warehouse(env: WarehouseEnv) -> tuple[Values, dict[str, Kind]]:
    """Steps since the item of each site appeared, NaN where there is none; and of the oldest item."""
    ages = env.clone_state()["waiting"][0]
    values = {f"age_{site}": float(age) if age > EMPTY else math.nan for site, age in enumerate(ages)}
    oldest = float(ages.max()) if ages.max() > EMPTY else math.nan
    return {"oldest_age": oldest, **values}, {}


def _catch(env: CatchEnv) -> tuple[Values, dict[str, Kind]]:
    state = env.clone_state()
    return {
        "ball_row": float(state["row"][0]),
        "ball_column": float(state["ball"][0]),
        "paddle_column": float(state["paddle"][0]),
    }, {}


def _deep_sea(env: DeepSeaEnv) -> tuple[Values, dict[str, Kind]]:
    state = env.clone_state()
    return {"row": float(state["row"][0]), "column": float(state["column"][0])}, {}


def _point_maze(env: PointMazeEnv) -> tuple[Values, dict[str, Kind]]:
    state = env.clone_state()
    (x, y), (speed_x, speed_y) = state["place"][0].tolist(), state["velocity"][0].tolist()
    return {"x": x, "y": y, "velocity_x": speed_x, "velocity_y": speed_y}, {}


class _MiniGridTask(Protocol):
    """A task of the package minigrid, which need not be installed."""

    agent_pos: tuple[int, int]
    agent_dir: int
    carrying: object


def _minigrid(task: _MiniGridTask) -> tuple[Values, dict[str, Kind]]:
    x, y = task.agent_pos
    values = {
        "x": float(x),
        "y": float(y),
        "direction": float(task.agent_dir),
        "carrying": float(task.carrying is not None),
    }
    return values, {"direction": "category", "carrying": "category"}


_OWN: list[tuple[type[gym.Env], Callable[..., tuple[Values, dict[str, Kind]]]]] = [
    (AtariEnv, _atari),
    (WarehouseEnv, _warehouse),
    (CatchEnv, _catch),
    (DeepSeaEnv, _deep_sea),
    (PointMazeEnv, _point_maze),
]


def _minigrid_task(env: gym.Env) -> _MiniGridTask | None:
    """The MiniGrid task that an environment is or is made of, or None."""
    candidate: Any = env
    for _ in range(4):
        if all(hasattr(candidate, name) for name in ("agent_pos", "agent_dir", "carrying")):
            task: _MiniGridTask = candidate
            return task
        inner = getattr(candidate, "inner", None) or getattr(candidate, "env", None)
        if inner is None:
            return None
        candidate = getattr(inner, "unwrapped", inner)
    return None


def labels_of_state(env: gym.Env, info: Mapping[str, Any]) -> tuple[Values, dict[str, Kind]]:
    """Reads all that is known of the state that an environment is in.

    Args:
        env: a single environment after ``reset`` or ``step``.
        info: what it returned.

    Returns:
        Values by label, and their kinds.
    """
    inner = env.unwrapped
    values: Values = {}
    kinds: dict[str, Kind] = {}
    read = next((read for own, read in _OWN if isinstance(inner, own)), None)
    if read is not None:
        values, kinds = read(inner)
    elif (task := _minigrid_task(inner)) is not None:
        values, kinds = _minigrid(task)
    _add_info(values, kinds, info, getattr(inner, POSITION_SHAPE, None))
    return values, {name: kinds.get(name, "number") for name in values}


def _add_info(values: Values, kinds: dict[str, Kind], info: Mapping[str, Any], shape: tuple[int, int] | None) -> None:
    """Adds the numbers of ``info`` that are not known yet; a position in a grid as its row and column."""
    for name, value in info.items():
        if (
            name in _BOOKKEEPING
            or name.startswith("_")
            or not isinstance(value, (bool, int, float, np.number, np.bool_))
        ):
            continue
        if name == POSITION:
            if shape is not None and not values.keys() & {"x", "y", "row", "column", "ball_row"}:
                row, column = divmod(int(value), shape[1])
                inside = int(value) >= 0
                values["row"], values["column"] = (float(row), float(column)) if inside else (math.nan, math.nan)
            elif shape is None:
                values[name], kinds[name] = float(value) if value >= 0 else math.nan, "category"
        elif name in values or (name == LIVES and value <= 0):
            continue
        elif name == ROOM:
            values[name], kinds[name] = float(value) if value >= 0 else math.nan, "category"
        else:
            values[name] = float(value)
            if isinstance(value, (bool, np.bool_)):
                kinds[name] = "category"


class LabelledEnv(gym.Wrapper):
    """An environment that keeps the labels of the state it is in, and cuts its games.

    Args:
        env: a single environment.
        max_steps: agent steps after which a game is truncated, lives that end within it included.

    Attributes:
        labels: of the state that it is in.
        kinds: of all labels so far.
        goes_on: the episode that ended last was one life of a game that goes on.
    """

    def __init__(self, env: gym.Env, max_steps: int) -> None:
        super().__init__(env)
        self.labels: Values = {}
        self.kinds: dict[str, Kind] = {}
        self.goes_on = False
        self._max_steps, self._steps = max_steps, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As the environment's own."""
        obs, info = self.env.reset(seed=seed, options=options)
        if not self.goes_on or seed is not None:
            self._steps = 0
        self._read(info)
        return obs, info

    def step(self, action: object) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """As the environment's own, but for the cut."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        self._steps += 1
        self.goes_on = bool(info.get(GAME_GOES_ON, False)) and bool(terminated)
        if self._steps >= self._max_steps:
            truncated, self.goes_on = True, False
        self._read(info)
        return obs, reward, terminated, truncated, info

    def _read(self, info: Mapping[str, Any]) -> None:
        self.labels, kinds = labels_of_state(self.env, info)
        self.kinds |= kinds


# --- which of them can be probed -----------------------------------------------------------------------------------


def usable(labels: Labels, train: np.ndarray, wanted: tuple[str, ...], most: int) -> Labels:
    """Leaves out what cannot be probed, and says why.

    Args:
        labels: of B states.
        train: ``[B]`` bool, the states that probes are fitted on; they are measured on the others.
        wanted: labels to look at; none: all, the best known first.
        most: how many at most, where none are named.

    Raises:
        ConfigError: a label that is wanted is not there.
    """
    check_variables(labels, wanted)
    kept = Labels(left_out=dict(labels.left_out))
    best_known = sorted(labels.values, key=lambda name: int(np.isnan(labels.values[name]).sum()))  # ties as told
    for name in wanted or best_known:
        kind = labels.kinds[name]
        values = labels.values[name].copy()
        if kind == "category":
            _drop_rare(values, train)
        reason = _obstacle(values, kind, train)
        if reason is None:
            same = next((other for other, seen in kept.values.items() if _equal(seen, values)), None)
            reason = f"the same as {same}" if same is not None else None
        if reason is not None:
            kept.left_out[name] = reason
        elif not wanted and len(kept.values) >= most:
            kept.left_out[name] = f"more than {most} variables; name those you want with --variables"
        else:
            kept.values[name], kept.kinds[name] = values, kind
    return kept


def check_variables(labels: Labels, wanted: tuple[str, ...]) -> None:
    """Refuses names that no label has.

    Raises:
        ConfigError: there is one such.
    """
    for name in wanted:
        if name not in labels.values:
            raise unknown_name_error("variable", name, sorted(labels.values), "--variables")


def _drop_rare(values: np.ndarray, train: np.ndarray) -> None:
    """Makes NaN of categories that either side of the split has seen too rarely."""
    for category in np.unique(values[~np.isnan(values)]):
        of_it = values == category
        if min((of_it & train).sum(), (of_it & ~train).sum()) < MIN_OF_CATEGORY:
            values[of_it] = np.nan


def _obstacle(values: np.ndarray, kind: Kind, train: np.ndarray) -> str | None:
    """Why a label cannot be probed, or None."""
    known = ~np.isnan(values)
    fewest = int(min((known & train).sum(), (known & ~train).sum()))
    different = [len(np.unique(values[known & side])) for side in (train, ~train)]
    if known.any() and len(np.unique(values[known])) == 1:
        rare = " (other values are too rare)" if kind == "category" and (~known).any() else ""
        return f"the same in all states{rare}"
    if fewest < MIN_STATES:
        return f"known in {fewest} states of one side of the split, {MIN_STATES} are needed: more --episodes"
    if min(different) < 2:
        return "the same in all states of one side of the split"
    return None


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two labels say the same wherever they are known."""
    return bool(np.array_equal(a, b, equal_nan=True))


def rotated(values: np.ndarray, episode: np.ndarray, seed: int) -> np.ndarray:
    """Labels of other moments: a control that keeps how labels change in time, and breaks what they have to do with.

    Each episode gets the labels of another one (a random derangement), begun at a random place of it and repeated
    or cut to its length. Shuffling single states would make an easier control, whose labels do not vary slowly.

    Args:
        values: ``[B]`` in order of episodes and of time within them.
        episode: ``[B]`` int.
        seed: of the draws.

    Returns:
        ``[B]``.
    """
    random = np.random.default_rng(seed)
    names = np.unique(episode)
    order = random.permutation(len(names))
    # The next one in a random circle: nobody keeps its own.
    source = {int(names[order[i]]): int(names[order[(i + 1) % len(names)]]) for i in range(len(names))}
    result = np.empty_like(values)
    for name in names:
        rows = np.flatnonzero(episode == name)
        other = values[episode == source[int(name)]]
        begin = int(random.integers(len(other)))
        result[rows] = other[(begin + np.arange(len(rows))) % len(other)]
    return result
