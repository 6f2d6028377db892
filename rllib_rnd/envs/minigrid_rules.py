"""What the MiniGrid backends share: options, tasks, rooms, and the one-hot code of what is seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from rllib_rnd.errors import ConfigError
from rllib_rnd.options import option, parse_options

if TYPE_CHECKING:
    from minigrid.minigrid_env import MiniGridEnv

NUM_ACTIONS = 7
# MultiRoom tasks of the literature that MiniGrid has no ids for: rooms, and the longest side of one (RIDE, Raileanu and
# Rocktäschel 2020, arXiv:2002.12292).
_MULTI_ROOMS = {
    f"MiniGrid-MultiRoom-N{rooms}-S{size}-v0": (rooms, size)
    for rooms, size in ((7, 4), (7, 8), (10, 4), (10, 10), (12, 10))
}
# MiniGrid's codes; the first object is "unseen", the second "empty".
OBJECTS, COLORS, DOOR_STATES = 11, 6, 3
EMPTY, WALL, DOOR, BALL, GOAL, AGENT = 1, 2, 4, 6, 8, 10
_COLORED = (3, 4, 5, 6, 7)  # floor, door, key, ball, box: the objects whose colour differs
CHANNELS = OBJECTS + COLORS + DOOR_STATES


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
        high=NUM_ACTIONS - 1,
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
        "layouts; arrays: numpy, for MultiRoom, with partial views of side 7 or less; auto: the fastest that is "
        "installed and can do what the options ask",
        choices=("auto", "minigrid", "envpool", "arrays"),
    )
    noisy_tv: bool = option(
        False,
        "MultiRoom: in the first room stands a ball whose colour changes at random when the agent drops (action 4); it "
        "can be walked through",
    )


def parse_minigrid_options(env_config: Mapping[str, Any] | None) -> MiniGridOptions:
    """Checks ``env_config``.

    Raises:
        ConfigError: unknown key, wrong type, value out of range, repeated or no actions, or ``compact`` without a fixed
            layout.
    """
    options = parse_options(MiniGridOptions, env_config)
    check_minigrid_options(options)
    return options


def check_minigrid_options(options: MiniGridOptions) -> None:
    """Checks what options must be together.

    Raises:
        ConfigError: repeated or no actions, or ``compact`` without a fixed layout.
    """
    allowed = allowed_actions(options)
    if not allowed or len(set(allowed)) != len(allowed):
        raise ConfigError("actions", f"{allowed} must name at least one action, each once")
    if options.observation == "compact" and options.fixed_layout_seed is None:
        raise ConfigError("observation", "'compact' needs a fixed_layout_seed; allowed without: partial, full")


def allowed_actions(options: MiniGridOptions) -> list[int]:
    """MiniGrid's number of each of the agent's actions."""
    return list(range(NUM_ACTIONS)) if options.actions is None else list(options.actions)


def make_task(env_id: str, options: MiniGridOptions, render_mode: str | None = None) -> MiniGridEnv:
    """Makes a task of the Python package, with the options that are its own.

    Raises:
        ConfigError: MiniGrid is not installed.
    """
    import_minigrid()
    task: Any = gym.make(env_id, render_mode=render_mode, disable_env_checker=True).unwrapped
    task.agent_view_size = options.agent_view_size
    if options.max_steps is not None:
        task.max_steps = options.max_steps
    return task


def _onehot_table() -> np.ndarray:
    """Bits of each (object, colour, state) code, ``[11, 6, 4, 20]``; the latter two only where they count."""
    table = np.zeros((OBJECTS, COLORS, 4, CHANNELS), dtype=np.uint8)
    for kind in range(OBJECTS):
        table[kind, :, :, kind] = 1
    for kind in _COLORED:
        for color in range(COLORS):
            table[kind, color, :, OBJECTS + color] = 1
    for state in range(DOOR_STATES):
        table[DOOR, :, state, OBJECTS + COLORS + state] = 1
    return table


TABLE = _onehot_table()
HEADINGS = np.eye(4, dtype=np.uint8)


def encode_view(codes: np.ndarray, heading: np.ndarray | int) -> np.ndarray:
    """Returns the ``partial`` observation, ``[..., V * V * 20 + 4]`` uint8.

    Args:
        codes: object, colour and state of each cell of the view, ``[..., V, V, 3]`` uint8.
        heading: ``[...]``; 0 right, 1 down, 2 left, 3 up.
    """
    bits = TABLE[codes[..., 0], codes[..., 1], codes[..., 2]]
    return np.concatenate([bits.reshape(*codes.shape[:-3], -1), HEADINGS[heading]], axis=-1)


def find_room(inner: MiniGridEnv, x: int, y: int) -> int | None:
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
            "", f'MiniGrid environments need an extra ({error}). Install it: pip install "rllib_rnd[minigrid]"'
        ) from error
    for name, (rooms, size) in _MULTI_ROOMS.items():
        if name not in gym.registry:
            sizes = {"minNumRooms": rooms, "maxNumRooms": rooms, "maxRoomSize": size}
            gym.register(name, entry_point="minigrid.envs:MultiRoomEnv", kwargs=sizes)
