"""MiniGrid tasks (Chevalier-Boisvert et al. 2023) with one-hot vector observations for MLP networks.

The mission text is left out: tasks whose goal differs from episode to episode by its text only (GoToObject,
Fetch) cannot be told apart by such an observation.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rllib_rnd.errors import ConfigError
from rllib_rnd.options import option

_NUM_ACTIONS = 7
_OBJECTS, _COLORS, _DOOR_STATES = (
    11,
    6,
    3,
)  # MiniGrid's codes; the first object is "unseen", the second "empty"
_EMPTY, _WALL, _DOOR, _AGENT = 1, 2, 4, 10
_COLORED = (3, 4, 5, 6, 7)  # floor, door, key, ball, box: the objects whose colour differs
_CARRIED = {"key": 0, "ball": 1, "box": 2}
_CHANNELS = _OBJECTS + _COLORS + _DOOR_STATES
# What clone_state leaves out: fixed by the constructor, or not to be pickled.
_NOT_STATE = {
    "gen_obs",
    "observation_space",
    "action_space",
    "actions",
    "window",
    "clock",
    "spec",
    "render_mode",
}


@dataclass(frozen=True)
class MiniGridOptions:
    """Options of the MiniGrid family (``env_config``)."""

    observation: str = option(
        "partial",
        "partial: what the agent sees and its heading; full: the whole grid; compact: the whole grid less "
        "what never changes in a fixed layout (needs fixed_layout_seed; smallest and fastest)",
        choices=("partial", "full", "compact"),
    )
    agent_view_size: int = option(7, "side of the partial view, odd", choices=(3, 5, 7, 9, 11, 13, 15))
    fixed_layout_seed: int | None = option(
        None,
        "null: a new layout in each episode; a number: the layout (and start) of that seed in each",
        low=0,
    )
    actions: list[int] | None = option(
        None,
        "what the agent may do: 0 left, 1 right, 2 forward, 3 pick up, 4 drop, 5 toggle, 6 done; null = all",
        low=0,
        high=_NUM_ACTIONS - 1,
    )
    max_steps: int | None = option(None, "agent steps until truncation; null = the task's own", low=1)
    reward: str = option(
        "default",
        "default: 1 - 0.9 * steps / max_steps on success; sparse_one: 1 on success",
        choices=("default", "sparse_one"),
    )
    backend: str = option(
        "auto",
        "minigrid: the Python package; envpool: C++ threads, for most tasks, with partial views of side 7 and free "
        "layouts; auto: envpool where it is installed and can do what the options ask, else minigrid",
        choices=("auto", "minigrid", "envpool"),
    )


def _onehot_table() -> np.ndarray:
    """Bits of each (object, colour, state) code, ``[11, 6, 4, 20]``; the latter two only where they count."""
    table = np.zeros((_OBJECTS, _COLORS, 4, _CHANNELS), dtype=np.uint8)
    for kind in range(_OBJECTS):
        table[kind, :, :, kind] = 1
    for kind in _COLORED:
        for color in range(_COLORS):
            table[kind, color, :, _OBJECTS + color] = 1
    for state in range(_DOOR_STATES):
        table[_DOOR, :, state, _OBJECTS + _COLORS + state] = 1
    return table


_TABLE = _onehot_table()
_HEADINGS = np.eye(4, dtype=np.uint8)


def encode_view(codes: np.ndarray, heading: np.ndarray | int) -> np.ndarray:
    """Returns the ``partial`` observation, ``[..., V * V * 20 + 4]`` uint8.

    Args:
        codes: object, colour and state of each cell of the view, ``[..., V, V, 3]`` uint8.
        heading: ``[...]``; 0 right, 1 down, 2 left, 3 up.
    """
    bits = _TABLE[codes[..., 0], codes[..., 1], codes[..., 2]]
    return np.concatenate([bits.reshape(*codes.shape[:-3], -1), _HEADINGS[heading]], axis=-1)


class MiniGridOneHotEnv(gym.Env):
    """One MiniGrid task with a flat uint8 observation of zeros and ones.

    ``partial`` is ``[V * V * 20 + 4]``: 20 bits for each cell of the view, then the heading. ``full`` is
    ``[H * W * 20 + 4 + 18]``: 20 bits for each cell, heading, carried object (kind x colour). ``compact``
    has, for the cells within reach, the agent's place, open and locked doors, a plane for each kind and
    colour of object that can be carried, then heading and carried object. ``info["room"]`` is there for tasks
    made of rooms; ``info["position"]`` is the index of the agent's cell in a grid of ``position_shape`` (rows,
    columns).

    Args:
        env_id: for example "MiniGrid-MultiRoom-N4-S5-v1".
        options: see `MiniGridOptions`.
        render_mode: None or "rgb_array".

    Raises:
        ConfigError: MiniGrid is not installed, repeated or no actions, or ``compact`` without a fixed layout.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - as gymnasium

    def __init__(self, env_id: str, options: MiniGridOptions | None = None, render_mode: str | None = None) -> None:
        import_minigrid()
        self.options = options or MiniGridOptions()
        self.env_id, self.render_mode = env_id, render_mode
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"render_mode: {render_mode!r} is not one of [None, 'rgb_array'].")
        allowed = list(range(_NUM_ACTIONS)) if self.options.actions is None else list(self.options.actions)
        if not allowed or len(set(allowed)) != len(allowed):
            raise ConfigError(f"env_config.actions: {allowed} must name at least one action, each once.")
        self.allowed_actions = allowed
        inner: Any = gym.make(env_id, render_mode=render_mode, disable_env_checker=True).unwrapped
        self.inner = inner
        self.position_shape: tuple[int, int] = (inner.height, inner.width)
        self.inner.agent_view_size = self.options.agent_view_size
        if self.options.max_steps is not None:
            self.inner.max_steps = self.options.max_steps
        if self.options.observation != "partial":
            # The view is the costly part of a step, and these observations do not use it.
            self.inner.gen_obs = _no_view
        self._compact: _CompactLayout | None = None
        self._observe, length = self._make_observer()
        self.observation_space = spaces.Box(0, 1, (length,), np.uint8)
        self.action_space = spaces.Discrete(len(allowed))

    def _make_observer(self) -> tuple[Callable[[Any], np.ndarray], int]:
        if self.options.observation == "partial":
            return self._partial, self.options.agent_view_size**2 * _CHANNELS + 4
        if self.options.observation == "full":
            return self._full, self.inner.width * self.inner.height * _CHANNELS + 4 + len(_CARRIED) * _COLORS
        if self.options.fixed_layout_seed is None:
            raise ConfigError(
                "env_config.observation: 'compact' needs a fixed_layout_seed; allowed without: partial, full."
            )
        self.inner.reset(seed=self.options.fixed_layout_seed)
        layout = _CompactLayout(self.inner)
        return layout.observe, layout.length

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode. A fixed layout is the same under every seed; all else follows the seed."""
        super().reset(seed=seed)
        if self.options.fixed_layout_seed is None:
            self.inner.np_random = self.np_random
            raw, _ = self.inner.reset(options=options)
        else:
            raw, _ = self.inner.reset(seed=self.options.fixed_layout_seed, options=options)
            self.inner.np_random = self.np_random
        return self._observe(raw), self._info()

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One agent step; ``action`` indexes the allowed actions."""
        raw, reward, terminated, truncated, _ = self.inner.step(self.allowed_actions[action])
        if self.options.reward == "sparse_one" and reward > 0:
            reward = 1.0
        # A goal reached with the last allowed step is a goal reached: the episode did not go on.
        truncated = bool(truncated) and not terminated
        return self._observe(raw), float(reward), bool(terminated), truncated, self._info()

    def _info(self) -> dict[str, Any]:
        x, y = (int(v) for v in self.inner.agent_pos)
        info = {"position": y * self.inner.width + x}
        room = find_room(self.inner, x, y)
        if room is not None:
            info["room"] = room
        return info

    def _partial(self, raw: dict[str, Any]) -> np.ndarray:
        return encode_view(raw["image"], self.inner.agent_dir)

    def _full(self, raw: Any) -> np.ndarray:
        inner = self.inner
        codes = np.zeros((len(inner.grid.grid), 3), dtype=np.uint8)
        codes[:, 0] = _EMPTY
        for cell, thing in enumerate(inner.grid.grid):
            if thing is None:
                continue
            if thing.type == "wall":
                codes[cell, 0] = _WALL
            else:
                codes[cell] = thing.encode()
        bits = _TABLE[codes[:, 0], codes[:, 1], codes[:, 2]]
        bits[inner.agent_pos[1] * inner.width + inner.agent_pos[0], _AGENT] = 1
        rest = np.zeros(4 + len(_CARRIED) * _COLORS, dtype=np.uint8)
        rest[inner.agent_dir] = 1
        if inner.carrying is not None:
            rest[4 + _CARRIED[inner.carrying.type] * _COLORS + inner.carrying.encode()[1]] = 1
        return np.concatenate([bits.ravel(), rest])

    def render(self) -> Any:
        """The grid in colour, ``[H, W, 3]`` uint8, or None without a render mode."""
        return self.inner.render() if self.render_mode == "rgb_array" else None

    def clone_state(self) -> bytes:
        """Saves grid, agent, counters and random stream."""
        kept = {k: v for k, v in vars(self.inner).items() if k not in _NOT_STATE}
        return pickle.dumps((self.np_random, kept))

    def restore_state(self, state: bytes) -> None:
        """Goes back to a saved state (one that this program saved: it is a pickle)."""
        self.np_random, kept = pickle.loads(state)
        vars(self.inner).update(kept)
        self.inner.np_random = self.np_random

    def close(self) -> None:
        """Closes the task."""
        self.inner.close()


class _CompactLayout:
    """Where the bits of a compact observation are, for one layout."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        grid = inner.grid.grid
        cells = _reachable_cells(inner)
        self._doors = [i for i in cells if grid[i] is not None and grid[i].type == "door"]
        self._things = sorted({pair for thing in grid for pair in _carriable(thing)})
        self._place = {cell: i for i, cell in enumerate(cells)}
        self._open = len(cells)
        self._locked = self._open + len(self._doors)
        self._planes = self._locked + len(self._doors)
        self._heading = self._planes + len(self._things) * len(cells)
        self._carried = self._heading + 4
        self.length = self._carried + len(self._things)

    def observe(self, raw: Any) -> np.ndarray:
        inner, things = self._inner, self._things
        grid, place = inner.grid.grid, self._place
        obs = np.zeros(self.length, dtype=np.uint8)
        obs[place[inner.agent_pos[1] * inner.width + inner.agent_pos[0]]] = 1
        for i, cell in enumerate(self._doors):
            obs[self._open + i], obs[self._locked + i] = grid[cell].is_open, grid[cell].is_locked
        if things:
            for cell, i in place.items():
                thing = grid[cell]
                if thing is not None and thing.type in _CARRIED:
                    obs[self._planes + things.index((thing.type, thing.color)) * len(place) + i] = 1
        obs[self._heading + inner.agent_dir] = 1
        if inner.carrying is not None:
            obs[self._carried + things.index((inner.carrying.type, inner.carrying.color))] = 1
        return obs


def _reachable_cells(inner: Any) -> list[int]:
    """Cells the agent could ever come to, doors and obstacles taken as passable; in grid order."""
    grid, width = inner.grid.grid, inner.width
    found = {int(inner.agent_pos[1]) * width + int(inner.agent_pos[0])}
    border = list(found)
    while border:
        cell = border.pop()
        # Every MiniGrid task is closed in by walls, so no step can leave the grid or wrap around a row.
        for beside in (cell - 1, cell + 1, cell - width, cell + width):
            if beside not in found and (grid[beside] is None or grid[beside].type != "wall"):
                found.add(beside)
                border.append(beside)
    return sorted(found)


def _carriable(thing: Any) -> list[tuple[str, str]]:
    """Kind and colour of an object that can be carried, and of what is in it if it is a box."""
    if thing is None or thing.type not in _CARRIED:
        return []
    return [(thing.type, thing.color), *_carriable(getattr(thing, "contains", None))]


def _no_view() -> dict[str, Any]:
    return {}


def find_room(inner: Any, x: int, y: int) -> int | None:
    """Returns the room that a cell is in, for tasks made of rooms; in MultiRoom, how many rooms from the first."""
    if hasattr(inner, "room_from_pos"):
        side = inner.room_size - 1
        return min(y // side, inner.num_rows - 1) * inner.num_cols + min(x // side, inner.num_cols - 1)
    for index, room in enumerate(getattr(inner, "rooms", ())):
        if room.top[0] <= x < room.top[0] + room.size[0] and room.top[1] <= y < room.top[1] + room.size[1]:
            return index
    return None


def import_minigrid() -> None:
    """Imports MiniGrid, which registers its ids with gymnasium.

    Raises:
        ConfigError: it is not installed; the message has the command.
    """
    try:
        import minigrid  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f'MiniGrid environments need an extra ({error}). Install it: pip install "rllib_rnd[minigrid]"'
        ) from error
