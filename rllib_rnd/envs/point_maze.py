"""PointMaze: a point mass finds its way through a walled maze; continuous control with a sparse reward.

The task idea is that of D4RL's mazes (Fu et al. 2020, arXiv:2004.07219): accelerate a ball towards a goal, with a
reward at the goal only. The dynamics are this project's own and simpler: no physics engine, so returns are not to
be compared with published ones. The mazes are its own, too.

Cells are squares of side 1. x grows to the right with the columns, y downwards with the rows; cell (row, column)
covers y from row to row + 1 and x from column to column + 1. One step of `DT` time units, semi-implicit Euler::

    v' = clip(v + DT * (ACCELERATION * action - DAMPING * v), -TOP_SPEED, TOP_SPEED)    each axis on its own
    p' = p + DT * v'

The body is a square of side 2 * RADIUS. It moves along x, then along y; where it would enter a wall it stops at
the wall and the velocity along that axis becomes 0. A step is shorter than the body, so no wall is jumped over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from rllib_rnd.envs.array_env import ArrayVectorEnv, VectorOfOne
from rllib_rnd.envs.family import EnvironmentFamily
from rllib_rnd.errors import ConfigError, unknown_name_error
from rllib_rnd.options import option, parse_options

POINT_MAZE = "rllib_rnd/PointMaze-v0"
Cell = tuple[int, int]  # row from the top, column from the left

DT = 0.1  # time units of one step
ACCELERATION = 3.0  # cells per time unit squared, for an action of 1
DAMPING = 1.0  # share of the velocity lost per time unit
TOP_SPEED = 2.0  # cells per time unit, along each axis
RADIUS = 0.25  # half the body's side; more than TOP_SPEED * DT
START_NOISE = 0.1  # largest distance from the start cell's centre along each axis
PIXELS = 32  # side of a cell in a rendered image
_GAP = 1e-6  # between body and wall after a hit: keeps rounding from putting the body's edge into the wall

LAYOUTS: dict[str, tuple[str, ...]] = {
    "u_maze": (
        "#######",
        "#S....#",
        "#####.#",
        "#G....#",
        "#######",
    ),
    "medium": (
        "##########",
        "#S.#.....#",
        "##.#.###.#",
        "#..#.#...#",
        "#.##.#.###",
        "#....#...#",
        "#.####.#.#",
        "#.#....#.#",
        "#...##.#G#",
        "##########",
    ),
    "corridor": (
        "##################",
        "#S..............G#",
        "##################",
    ),
    "spiral": (
        "#########",
        "#S......#",
        "#######.#",
        "#.....#.#",
        "#.###.#.#",
        "#.#G..#.#",
        "#.#####.#",
        "#.......#",
        "#########",
    ),
}


@dataclass(frozen=True)
class PointMazeOptions:
    """Options of PointMaze (``env_config``)."""

    layout: str | list[str] = option(
        "u_maze",
        f"{', '.join(LAYOUTS)}, or rows of equal length: # wall, . free, S start, G goal; walls all around",
    )
    max_steps: int = option(300, "steps after which an episode is truncated; 200 to 1000 usual", low=1)
    goal_radius: float = option(
        0.5,
        "distance from the goal cell's centre that counts as reached; half a cell at most, so that it is not "
        "reached through a wall",
        low=0.1,
        high=0.5,
    )
    reward: str = option(
        "sparse",
        "sparse: 1 on reaching the goal; dense: minus the distance to it (straight, in cells), for sanity checks",
        choices=("sparse", "dense"),
    )


@dataclass(frozen=True)
class Maze:
    """A checked layout."""

    layout: tuple[str, ...]  # its rows as text
    walls: np.ndarray  # [rows, columns] bool
    start: Cell
    goal: Cell


def parse_layout(layout: str | Sequence[str]) -> Maze:
    """Reads a layout: a key of `LAYOUTS`, or rows as in `PointMazeOptions`.

    Raises:
        ConfigError: an unknown name, rows of different lengths, another character, a border that is not closed, not
            exactly one start and one goal, or a goal that cannot be reached.
    """
    where = "layout"
    if isinstance(layout, str):
        if layout not in LAYOUTS:
            raise unknown_name_error("layout", layout, LAYOUTS, where)
        layout = LAYOUTS[layout]
    if len({len(row) for row in layout}) != 1:
        raise ConfigError(where, f"rows of length {[len(row) for row in layout]}", "one length for all")
    unknown = sorted(set("".join(layout)) - set("#.SG"))
    if unknown:
        raise ConfigError(where, f"unknown characters {unknown}", "# wall, . free, S start, G goal")
    cells = np.array([list(row) for row in layout])
    walls = cells == "#"
    if not (walls[0].all() and walls[-1].all() and walls[:, 0].all() and walls[:, -1].all()):
        raise ConfigError(where, "the border is not closed; the outermost cells must all be '#'")
    places = {}
    for character, name in (("S", "start"), ("G", "goal")):
        found = np.argwhere(cells == character)
        if len(found) != 1:
            raise ConfigError(where, f"{len(found)} cells are {character!r} ({name})", "exactly one")
        places[name] = (int(found[0, 0]), int(found[0, 1]))
    if walking_distances(walls, places["goal"])[places["start"]] < 0:
        raise ConfigError(where, "no way leads from the start S to the goal G")
    return Maze(tuple(layout), walls, places["start"], places["goal"])


def walking_distances(walls: np.ndarray, goal: Cell) -> np.ndarray:
    """Cells of the shortest walk (up, down, left, right) from each cell to ``goal``, ``[rows, columns]`` int64.

    -1 for walls and where no way leads. ``walls`` is ``[rows, columns]`` bool and closed all around.
    """
    distances = np.full(walls.shape, -1, dtype=np.int64)
    distances[goal] = 0
    queue = deque([goal])
    while queue:
        row, column = queue.popleft()
        for cell in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if not walls[cell] and distances[cell] < 0:
                distances[cell] = distances[row, column] + 1
                queue.append(cell)
    return distances


def in_wall(position: np.ndarray, walls: np.ndarray) -> np.ndarray:
    """Whether a corner of the body is in a wall, ``[N]`` bool, for centres ``position [N, 2]`` (x, y)."""
    # The border keeps every coordinate positive, so that this rounds down.
    low, high = (position - RADIUS).astype(np.int64), (position + RADIUS).astype(np.int64)
    left, top, right, bottom = low[:, 0], low[:, 1], high[:, 0], high[:, 1]
    return walls[top, left] | walls[top, right] | walls[bottom, left] | walls[bottom, right]


def point_maze_step(
    position: np.ndarray, velocity: np.ndarray, action: np.ndarray, walls: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The dynamics, for any number of bodies at once.

    Args:
        position: centres (x, y) in cells, ``[N, 2]`` float64, not in a wall.
        velocity: in cells per time unit, ``[N, 2]`` float64.
        action: ``[N, 2]``; values beyond -1 to 1 count as -1 or 1.
        walls: ``[rows, columns]`` bool, closed all around.

    Returns:
        The new position and the new velocity.
    """
    action = np.clip(np.asarray(action, dtype=np.float64), -1.0, 1.0)
    velocity = np.clip(velocity + DT * (ACCELERATION * action - DAMPING * velocity), -TOP_SPEED, TOP_SPEED)
    position = position.copy()
    for axis in (0, 1):
        position[:, axis] += DT * velocity[:, axis]
        hit = np.flatnonzero(in_wall(position, walls))
        if hit.size:
            reached = position[hit, axis]
            position[hit, axis] = np.where(
                velocity[hit, axis] > 0,
                np.floor(reached + RADIUS) - RADIUS - _GAP,
                np.floor(reached - RADIUS) + 1.0 + RADIUS + _GAP,
            )
            velocity[hit, axis] = 0.0
    return position, velocity


class PointMazeVectorEnv(ArrayVectorEnv):
    """N bodies, each in its own copy of the maze, in one set of arrays (NEXT_STEP autoreset).

    Observation ``[N, 4]`` float32: x and y from -1 to 1 over the maze, then the velocity along x and y divided by
    `TOP_SPEED`. Action ``[N, 2]`` float32 from -1 to 1: acceleration along x and y. The episode terminates when the
    centre comes within ``goal_radius`` of the goal cell's centre. ``info["position"]`` is the index of the body's
    cell (row * columns + column), ``[N]`` int64. An episode begins at rest, near the start cell's centre.

    ``maze`` is the layout in use, ``position_shape`` (rows, columns) the grid that ``info["position"]`` counts through.

    Args:
        num_envs: number of environments.
        render_mode: None or "rgb_array".
        **env_config: see `PointMazeOptions`.

    Raises:
        ConfigError: an unknown option or render mode, a bad layout, or ``num_envs`` below 1.
    """

    STATE = ("place", "velocity", "steps")
    metadata: dict[str, Any] = {  # noqa: RUF012 - as gymnasium
        **ArrayVectorEnv.metadata,
        "render_modes": ["rgb_array"],
        "render_fps": 20,
    }

    def __init__(self, num_envs: int = 1, render_mode: str | None = None, **env_config: object) -> None:
        self.options = parse_options(PointMazeOptions, env_config)
        self.maze = parse_layout(self.options.layout)
        observations, actions = (spaces.Box(-1.0, 1.0, (length,), np.float32) for length in (4, 2))
        super().__init__(num_envs, render_mode, observations, actions)
        rows, columns = self.maze.walls.shape
        self.position_shape: tuple[int, int] = (rows, columns)
        self._start, self._goal = _centre(self.maze.start), _centre(self.maze.goal)
        self._half_extent = np.array([columns, rows]) / 2
        self._place = np.tile(self._start, (num_envs, 1))  # x, y of the body's centre
        self._velocity = np.zeros((num_envs, 2))
        self._steps = np.zeros(num_envs, dtype=np.int64)

    def _begin_all(self) -> None:
        self._place, self._velocity = self._draw_starts(), np.zeros((self.num_envs, 2))
        self._steps = np.zeros(self.num_envs, dtype=np.int64)

    def _draw_starts(self) -> np.ndarray:
        """A place near the start for every environment, ``[N, 2]``.

        Drawn for all, needed or not: else one environment's start would depend on when another's episode ended.
        """
        return self._start + self._generator.uniform(-START_NOISE, START_NOISE, (self.num_envs, 2))

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of every environment: ``obs [N, 4]``, then ``[N]`` arrays, then infos."""
        resetting = self._needs_reset
        place, velocity = point_maze_step(self._place, self._velocity, actions, self.maze.walls)
        starts = self._draw_starts()
        place[resetting], velocity[resetting] = starts[resetting], 0.0
        self._place, self._velocity = place, velocity
        self._steps = np.where(resetting, 0, self._steps + 1)
        distance = np.hypot(*(place - self._goal).T)
        terminated = distance <= self.options.goal_radius  # never at a start: the centre is a cell away or more
        truncated = ~terminated & (self._steps >= self.options.max_steps)
        self._needs_reset = terminated | truncated
        if self.options.reward == "sparse":
            reward = terminated.astype(np.float64)
        else:
            reward = np.where(resetting, 0.0, -distance)
        return self._observe(), reward, terminated, truncated, self._info()

    def _observe(self) -> np.ndarray:
        obs = np.empty((self.num_envs, 4), dtype=np.float32)
        obs[:, :2] = self._place / self._half_extent - 1.0
        obs[:, 2:] = self._velocity / TOP_SPEED
        return obs

    def _cells(self) -> np.ndarray:
        column, row = self._place.astype(np.int64).T
        return row * self.position_shape[1] + column

    def _pictures(self) -> tuple[np.ndarray, ...]:
        return tuple(draw_point_maze(self.maze, place, self.options.goal_radius) for place in self._place)

    def _made_with(self) -> dict[str, Any]:
        return {**super()._made_with(), "layout": self.maze.layout}


class PointMazeEnv(VectorOfOne[PointMazeVectorEnv]):
    """One body, for `gymnasium.make`: a `PointMazeVectorEnv` of one, without the step that resets.

    Observation ``[4]``, action ``[2]``; ``info["position"]`` is the index of the body's cell in a grid of
    ``position_shape`` (rows, columns).

    Args:
        render_mode: None or "rgb_array".
        **env_config: see `PointMazeOptions`.

    Raises:
        ConfigError: an unknown option or render mode, or a bad layout.
    """

    metadata = PointMazeVectorEnv.single_metadata()

    def __init__(self, render_mode: str | None = None, **env_config: object) -> None:
        super().__init__(PointMazeVectorEnv(1, render_mode, **env_config))
        self.options, self.maze = self.vector.options, self.vector.maze


def _centre(cell: Cell) -> np.ndarray:
    """The (x, y) of a cell's middle."""
    return np.array([cell[1] + 0.5, cell[0] + 0.5])


def draw_point_maze(maze: Maze, place: np.ndarray, goal_radius: float) -> np.ndarray:
    """Draws one maze with the body's centre at ``place [2]`` (x, y), ``[rows * 32, columns * 32, 3]`` uint8.

    Walls dark grey, free cells white with light grey lines, the goal's disc green, the body a blue disc.
    """
    image = np.full((*(side * PIXELS for side in maze.walls.shape), 3), 255, dtype=np.uint8)
    image[::PIXELS] = image[:, ::PIXELS] = 225
    image[maze.walls.repeat(PIXELS, axis=0).repeat(PIXELS, axis=1)] = 70
    y, x = (np.mgrid[: image.shape[0], : image.shape[1]] + 0.5) / PIXELS
    for (centre_x, centre_y), radius, colour in (
        (_centre(maze.goal), goal_radius, (60, 180, 75)),
        (place, RADIUS, (30, 80, 220)),
    ):
        image[(x - centre_x) ** 2 + (y - centre_y) ** 2 <= radius**2] = colour
    return image


def _read(env_config: Mapping[str, Any]) -> PointMazeOptions:
    options = parse_options(PointMazeOptions, env_config)
    parse_layout(options.layout)
    return options


FAMILY = EnvironmentFamily(
    POINT_MAZE,
    "a point mass in a maze, continuous actions, sparse reward, vectorised",
    PointMazeOptions,
    own_ids=(POINT_MAZE,),
    read=_read,
    make=lambda wanted: PointMazeEnv(wanted.render_mode, **vars(wanted.options)),
    make_vector=lambda wanted: PointMazeVectorEnv(wanted.num_envs, **vars(wanted.options)),
)
