"""MultiRoom of MiniGrid, N at a time in numpy arrays: layouts by the Python package, play by tables.

envpool lays MultiRoom out by another rule, and the Python package steps it 60 times slower than a network learns. Here
a layout is made by the package's own code, with the random stream that the single environment of that seed would have;
so observations, rewards, ends and infos are those of `MiniGridOneHotEnv`, frame by frame.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding

from rllib_rnd.envs.array_env import ArrayVectorEnv, VectorOfOne
from rllib_rnd.envs.info import POSITION, ROOM
from rllib_rnd.envs.minigrid_rules import (
    BALL,
    CHANNELS,
    COLORS,
    DOOR,
    EMPTY,
    GOAL,
    HEADINGS,
    NUM_ACTIONS,
    TABLE,
    WALL,
    allowed_actions,
    make_task,
    parse_minigrid_options,
)
from rllib_rnd.envs.vector import Seed, environment_seeds

#: What the names of its tasks begin with.
MULTI_ROOM = "MiniGrid-MultiRoom-"
#: The largest view whose rows of bits make a table of all masks by all obstacles.
LARGEST_VIEW = 7

LEFT, RIGHT, FORWARD, _, DROP, TOGGLE, _ = range(NUM_ACTIONS)
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # x and y of a step: right, down, left, up

# What a cell holds, by one number: nothing, not seen, a wall, the goal, then doors (closed, open) and televisions by
# their colours.
_NOTHING, _UNSEEN, _WALL, _GOAL, _FIRST_DOOR = range(5)
_FIRST_TV = _FIRST_DOOR + 2 * COLORS


def _cell_bits() -> np.ndarray:
    """The 20 bits of each number that a cell can be, ``[22, 20]`` uint8."""
    doors = [TABLE[DOOR, color, state] for color in range(COLORS) for state in (1, 0)]
    televisions = [TABLE[BALL, color, 0] for color in range(COLORS)]
    return np.stack([TABLE[EMPTY, 0, 0], TABLE[0, 0, 0], TABLE[WALL, 0, 0], TABLE[GOAL, 0, 0], *doors, *televisions])


_BITS = _cell_bits()
_IS_DOOR = np.zeros(len(_BITS), bool)
_IS_DOOR[_FIRST_DOOR:_FIRST_TV] = True
_IS_OPEN = _IS_DOOR & ((np.arange(len(_BITS)) - _FIRST_DOOR) % 2 == 1)
_SEEN_THROUGH = ~_IS_DOOR | _IS_OPEN
_SEEN_THROUGH[_WALL] = False
_WALKED_ON = _IS_OPEN.copy()
_WALKED_ON[[_NOTHING, _GOAL]] = True
_WALKED_ON[_FIRST_TV:] = True  # as an obstacle it would close rooms of four cells


@functools.cache
def _sight(size: int) -> tuple[np.ndarray, np.ndarray]:
    """How sight spreads in one row of a view, by the cells that are seen and those that can be seen through.

    Both are numbers of ``size`` bits, bit i for column i. Returns the cells of this row and of the next one, farther
    away, that are seen then: ``[2 ** size, 2 ** size]`` each. From a cell that is seen and seen through, sight goes to
    its neighbours to the side, ahead, and ahead to that side; first from left to right, then from right to left.
    """
    seen, through = np.meshgrid(np.arange(2**size), np.arange(2**size), indexing="ij")
    row, ahead = seen.copy(), np.zeros_like(seen)
    for columns, side in ((range(size - 1), 1), (range(size - 1, 0, -1), -1)):
        for i in columns:
            spreads = (row & through) >> i & 1
            row |= spreads << (i + side)
            ahead |= spreads << (i + side) | spreads << i
    return row.astype(np.uint8), ahead.astype(np.uint8)


@functools.cache
def _masks(size: int) -> np.ndarray:
    """The bits of each number, ``[2 ** size, size]`` bool."""
    return (np.arange(2**size)[:, None] >> np.arange(size) & 1).astype(bool)


class MultiRoomVectorEnv(ArrayVectorEnv):
    """N MultiRoom tasks with partial views (NEXT_STEP autoreset); see `MiniGridOneHotEnv`.

    Observations are ``[N, V * V * 20 + 4]`` uint8, ``info["position"]`` and ``info["room"]`` ``[N]`` int64;
    ``position_shape`` is (rows, columns) of the grid. Environment i draws its layouts from a generator of its own, as
    the single environment with that seed does.

    Args:
        num_envs: N.
        env_id: a MultiRoom task.
        render_mode: None; pictures are drawn by `MiniGridOneHotEnv`.
        **env_config: see `MiniGridOptions`; views of side 7 or less.

    Raises:
        ConfigError: MiniGrid is not installed, or an unknown render mode or option.
    """

    STATE: ClassVar[tuple[str, ...]] = ("grid", "rooms", "place", "heading", "steps")

    def __init__(
        self,
        num_envs: int = 1,
        env_id: str = MULTI_ROOM + "N6-v0",
        render_mode: str | None = None,
        **env_config: object,
    ) -> None:
        self.options = options = parse_minigrid_options(env_config)
        self.env_id, self._view = env_id, options.agent_view_size
        self._allowed_actions = np.array(allowed_actions(options))
        length = self._view**2 * CHANNELS + len(HEADINGS)
        space = spaces.Box(0, 1, (length,), np.uint8)
        super().__init__(num_envs, render_mode, space, spaces.Discrete(len(self._allowed_actions)))
        self._task: Any = make_task(env_id, options)
        self.position_shape = (self._task.height, self._task.width)
        self._max_steps: int = self._task.max_steps
        # A view reaches beyond the grid, where all is wall: so it has a border of walls here.
        self._border = self._view - 1
        self._columns = self._task.width + 2 * self._border
        cells = (self._task.height + 2 * self._border) * self._columns
        self._grid = np.full((num_envs, cells), _WALL, np.uint8)
        self._rooms = np.zeros((num_envs, self._task.height * self._task.width), np.int8)
        self._place, self._heading, self._steps = (np.zeros(num_envs, np.int64) for _ in range(3))
        self._ahead = np.array([dy * self._columns + dx for dx, dy in _STEPS])
        self._seen_cells = self._offsets_of_views()
        self._generators = [seeding.np_random()[0] for _ in range(num_envs)]

    def _offsets_of_views(self) -> np.ndarray:
        """From the agent's cell to each cell of its view, by heading: ``[4, V * V]``, column by column.

        The agent stands in the middle of the last row and looks to the first.
        """
        columns, rows = np.meshgrid(np.arange(self._view), np.arange(self._view), indexing="ij")
        forward, right = self._view - 1 - rows, columns - self._view // 2
        offsets = [(forward * dy + right * dx) * self._columns + forward * dx - right * dy for dx, dy in _STEPS]
        return np.stack(offsets).reshape(len(_STEPS), -1)

    def reset(self, *, seed: Seed = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode in every environment, in i with ``seed + i``; without a seed the random streams go on."""
        for i, own in enumerate(environment_seeds(seed, self.num_envs)):
            if own is not None:
                self._generators[i] = seeding.np_random(own)[0]
        return super().reset(options=options)

    def _begin_all(self) -> None:
        for i in range(self.num_envs):
            self._lay_out(i)

    def _lay_out(self, i: int) -> None:
        """A new episode of environment i: the package's own code draws it, and what it drew is read off."""
        task, fixed = self._task, self.options.fixed_layout_seed
        task.np_random = self._generators[i] if fixed is None else seeding.np_random(fixed)[0]
        task._gen_grid(task.width, task.height)
        grid = self._grid[i].reshape(-1, self._columns)
        inside = grid[self._border : -self._border, self._border : -self._border]
        inside[:] = _NOTHING
        self._rooms[i] = -1
        rooms = self._rooms[i].reshape(self.position_shape)
        for room in task.rooms:
            (x, y), (width, height) = room.top, room.size
            inside[y, x : x + width] = inside[y + height - 1, x : x + width] = _WALL
            inside[y : y + height, x] = inside[y : y + height, x + width - 1] = _WALL
        for number, room in reversed(list(enumerate(task.rooms))):  # a door belongs to the first of its two rooms
            (x, y), (width, height) = room.top, room.size
            rooms[y : y + height, x : x + width] = number
            if number > 0:
                column, row = room.entryDoorPos
                inside[row, column] = _FIRST_DOOR + 2 * task.grid.get(column, row).encode()[1]
        column, row = task.goal_pos
        inside[row, column] = _GOAL
        if self.options.noisy_tv:
            column, row = task.place_obj(None, task.rooms[0].top, task.rooms[0].size)
            inside[row, column] = _FIRST_TV + self._generators[i].integers(COLORS)
        column, row = task.agent_pos
        self._place[i] = (row + self._border) * self._columns + column + self._border
        self._heading[i], self._steps[i] = task.agent_dir, 0

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One agent step of every environment: ``obs [N, V * V * 20 + 4]``, then ``[N]`` arrays, then infos."""
        action = self._allowed_actions[np.asarray(actions)]
        resetting = np.flatnonzero(self._needs_reset)
        action[resetting] = -1
        front = self._place + self._ahead[self._heading]
        holds = self._grid[self._envs, front]
        goes = (action == FORWARD) & _WALKED_ON[holds]
        toggled = np.flatnonzero((action == TOGGLE) & _IS_DOOR[holds])
        self._grid[toggled, front[toggled]] = (holds[toggled] - _FIRST_DOOR ^ 1) + _FIRST_DOOR
        if self.options.noisy_tv:
            for i in np.flatnonzero(action == DROP).tolist():
                self._grid[i, self._grid[i] >= _FIRST_TV] = _FIRST_TV + self._generators[i].integers(COLORS)
        self._place = np.where(goes, front, self._place)
        self._heading = (self._heading + (action == RIGHT) - (action == LEFT)) % len(_STEPS)
        self._steps = self._steps + 1
        terminated = goes & (holds == _GOAL)
        paid = 1.0 if self.options.reward == "sparse_one" else 1 - 0.9 * (self._steps / self._max_steps)
        reward = np.where(terminated, paid, 0.0)
        for i in resetting.tolist():
            self._lay_out(i)
        truncated = ~terminated & (self._steps >= self._max_steps)
        self._needs_reset = terminated | truncated
        return self._observe(), reward, terminated, truncated, self._info()

    def _observe(self) -> np.ndarray:
        size = self._view
        cells = self._grid[self._envs[:, None], self._place[:, None] + self._seen_cells[self._heading]]
        through = _SEEN_THROUGH[cells].reshape(-1, size, size)  # [N, column, row]
        through_bits = (through << np.arange(size)[:, None]).sum(axis=1)  # [N, row]
        spread, ahead = _sight(size)
        seen = np.empty((self.num_envs, size), np.uint8)
        row = np.full(self.num_envs, 1 << size // 2)
        for j in range(size - 1, -1, -1):
            seen[:, j], row = spread[row, through_bits[:, j]], ahead[row, through_bits[:, j]]
        visible = _masks(size)[seen].transpose(0, 2, 1).reshape(self.num_envs, -1)
        cells[:, size // 2 * size + size - 1] = _NOTHING  # where the agent stands, it sees what it carries
        bits = _BITS[np.where(visible, cells, _UNSEEN)].reshape(self.num_envs, -1)
        return np.concatenate([bits, HEADINGS[self._heading]], axis=1)

    def _cells(self) -> np.ndarray:
        row, column = np.divmod(self._place, self._columns)
        return (row - self._border) * self.position_shape[1] + column - self._border

    def _info(self) -> dict[str, Any]:
        info = super()._info()
        room = self._rooms[self._envs, info[POSITION]].astype(np.int64)
        return info | {ROOM: room, f"_{ROOM}": np.ones(self.num_envs, dtype=bool)}

    def _made_with(self) -> dict[str, Any]:
        return {**super()._made_with(), "env_id": self.env_id}

    def clone_state(self) -> dict[str, Any]:
        """Saves all that decides the future, and what the environment was made with; the result can be pickled."""
        return super().clone_state() | {"generators": [own.bit_generator.state for own in self._generators]}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Goes back to a saved state, also in another process; raises as `ArrayVectorEnv.restore_state`."""
        super().restore_state(state)
        for own, saved in zip(self._generators, state["generators"], strict=True):
            own.bit_generator.state = saved


class MultiRoomEnv(VectorOfOne[MultiRoomVectorEnv]):
    """One MultiRoom task in arrays, for ``noisy_tv``, which the Python package has not; see `MultiRoomVectorEnv`.

    Args:
        env_id: a MultiRoom task.
        render_mode: None.
        **env_config: see `MiniGridOptions`.

    Raises:
        ConfigError: as `MultiRoomVectorEnv`.
    """

    metadata = MultiRoomVectorEnv.single_metadata()

    def __init__(
        self, env_id: str = MULTI_ROOM + "N6-v0", render_mode: str | None = None, **env_config: object
    ) -> None:
        super().__init__(MultiRoomVectorEnv(1, env_id, render_mode, **env_config))
