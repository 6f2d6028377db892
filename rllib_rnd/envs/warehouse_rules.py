"""The tasks of the Warehouse family: grids, item sites, chances, rewards; where moves lead; and how it looks."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from rllib_rnd.errors import unknown_name_error

Cell = tuple[int, int]  # row from the top, column from the left

WAREHOUSE = "rllib_rnd/Warehouse-v0"
MOVES: tuple[Cell, ...] = ((-1, 0), (1, 0), (0, -1), (0, 1))  # actions 0 to 3: up, down, left, right
EMPTY = -1  # the waiting time of a site without an item
PIXELS = 32  # side of a cell in a rendered image


def _cells(rows: Iterable[int], columns: Iterable[int]) -> tuple[Cell, ...]:
    return tuple(itertools.product(rows, columns))


@dataclass(frozen=True)
class WarehouseVariant:
    """One task of the family. The robot starts each episode in the middle of the grid.

    Attributes:
        size: rows and columns of the grid.
        sites: cells where items can be, in the order of the observation.
        spawn_passes: cells tried for a new item, in order; a cell in two passes is tried twice.
        spawn_prob: chance that one try puts an item on an empty site.
        lifetime: waiting time, in steps, at which an item is removed.
        episode_length: steps of an episode.
        reward_scale: reward of an item, or of the longest waiting one where ``reward_by_waiting``.
        reward_by_waiting: an item is worth its waiting time / the longest waiting time present.
        max_items: no more items than this at once; None for no limit.
        walks_along_border: whether the robot may go from one border cell to the next.
        refills_at_once: whether a site emptied in a step may get a new item in that step.
        removal_bug: what ``WarehouseOptions.removal_bug`` is by default.
    """

    size: int
    sites: tuple[Cell, ...]
    spawn_passes: tuple[tuple[Cell, ...], ...]
    spawn_prob: float = 0.05
    lifetime: int = 8
    episode_length: int = 100
    reward_scale: float = 1.0
    reward_by_waiting: bool = False
    max_items: int | None = None
    walks_along_border: bool = True
    refills_at_once: bool = True
    removal_bug: bool = True

    @property
    def num_cells(self) -> int:
        """Cells of the grid, and index of the first item entry of an observation."""
        return self.size * self.size

    @property
    def obs_size(self) -> int:
        """Entries of one observation (not stacked)."""
        return self.num_cells + len(self.sites)

    @property
    def site_cells(self) -> np.ndarray:
        """Cell index of each site, ``[S]``."""
        return np.array([row * self.size + column for row, column in self.sites])


_BIG = WarehouseVariant(
    size=7,
    sites=_cells((0, 6), range(7)) + _cells(range(1, 6), (0, 6)),
    spawn_passes=(_cells((0, 6), range(7)), _cells(range(7), (0, 6))),  # the corners are in both
)
_MINI_SITES = _cells((0, 4), range(1, 4)) + _cells(range(1, 4), (0, 4))
_MINI = WarehouseVariant(
    size=5,
    sites=_MINI_SITES,
    spawn_passes=(tuple(sorted(_MINI_SITES)),),
    walks_along_border=False,
    refills_at_once=False,
    removal_bug=False,  # the authors' later code, which has this grid, removes items from a copy of the list
)
# The authors' settings for the last two have 37 observation entries and the d-set 25 to 36: the 5 x 5 grid.
VARIANTS: dict[str, WarehouseVariant] = {
    WAREHOUSE: _BIG,
    "rllib_rnd/MiniWarehouse-v0": _MINI,
    "rllib_rnd/Warehouse2-v0": replace(_MINI, spawn_prob=0.04, reward_by_waiting=True),
    "rllib_rnd/WarehouseMemory-v0": replace(
        _MINI, lifetime=16, episode_length=96, max_items=4, reward_by_waiting=True, reward_scale=0.25
    ),
}


def find_variant(env_id: str) -> WarehouseVariant:
    """Looks a task up in `VARIANTS`.

    Raises:
        ConfigError: no such task.
    """
    if env_id not in VARIANTS:
        raise unknown_name_error("variant", env_id, VARIANTS, "variant")
    return VARIANTS[env_id]


@functools.cache
def next_cells(variant: WarehouseVariant) -> np.ndarray:
    """The cell that each action leads to, ``[num_cells, 4]``; a move that is not possible stays put."""
    last = variant.size - 1
    table = np.empty((variant.num_cells, len(MOVES)), dtype=np.int64)
    for cell, action in np.ndindex(table.shape):
        row, column = divmod(cell, variant.size)
        down, right = MOVES[action]
        across = column if down else row  # border cells are left inwards, and entered from inside, only
        if variant.walks_along_border or across not in (0, last):
            row, column = min(max(row + down, 0), last), min(max(column + right, 0), last)
        table[cell, action] = row * variant.size + column
    table.flags.writeable = False  # one table for all callers
    return table


def draw_warehouse(variant: WarehouseVariant, position: int, waiting: np.ndarray) -> np.ndarray:
    """Draws one warehouse, ``[size * 32 + 1, size * 32 + 1, 3]`` uint8.

    Floor white, corners without a shelf grey, grid lines light grey, a dark line between floor and shelves. Items are
    squares, from yellow (new) to red (about to vanish); the robot is a blue disc.

    Args:
        variant: grid and sites.
        position: the robot's cell index.
        waiting: waiting time of the item on each site, ``[S]``, `EMPTY` where there is none.
    """
    side = variant.size * PIXELS
    image = np.full((side + 1, side + 1, 3), 255, dtype=np.uint8)
    inside = [slice(i * PIXELS + 5, (i + 1) * PIXELS - 4) for i in range(variant.size)]  # a cell without its margin
    image[::PIXELS] = image[:, ::PIXELS] = 210
    for line in (PIXELS, side - PIXELS):
        across, along = slice(line - 1, line + 2), slice(PIXELS - 1, side - PIXELS + 2)
        image[across, along] = image[along, across] = 40
    for row, column in set(_cells((0, variant.size - 1), (0, variant.size - 1))) - set(variant.sites):
        image[inside[row], inside[column]] = 160
    for (row, column), waited in zip(variant.sites, waiting, strict=True):
        if waited > EMPTY:
            green = round(220 * (1 - min(waited / variant.lifetime, 1)))
            image[inside[row], inside[column]] = (230, green, 40)
    row, column = divmod(position, variant.size)
    y, x = np.mgrid[-11:12, -11:12]  # the cell's pixels from its middle
    image[inside[row], inside[column]][y**2 + x**2 <= 64] = (30, 80, 220)
    return image
