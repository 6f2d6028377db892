"""Warehouse, the memory test of influence-aware memory (Suau et al. 2022, arXiv:1911.07643), vectorised.

A robot on a small grid collects items that appear on shelves along the border and vanish after some steps. How
long an item has waited is hidden: a policy that remembers when it came knows how long it will stay. The paper's
7 x 7 task and three later ones on a 5 x 5 grid share these rules; `WarehouseVariant` says how they differ.

A step: the robot moves; every item's waiting time grows by 1; the item on the robot's cell is rewarded; items
on the robot's cell or at the end of their lifetime are removed; new items appear; the robot observes. An item
that appears under the robot counts only if the robot is still there after its next move.

Observation, zeros and ones: one-hot of the robot's cell (row by row), then one entry for each item site.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gymnasium import spaces

from rllib_rnd.envs.array_env import ArrayVectorEnv, VectorOfOne
from rllib_rnd.envs.family import EnvironmentFamily
from rllib_rnd.envs.warehouse_rules import (
    EMPTY,
    MOVES,
    VARIANTS,
    WAREHOUSE,
    WarehouseVariant,
    draw_warehouse,
    find_variant,
    next_cells,
)
from rllib_rnd.options import option, parse_options

_DTYPES: dict[str, Any] = {"uint8": np.uint8, "float32": np.float32}


@dataclass(frozen=True)
class WarehouseOptions:
    """Options of the Warehouse tasks (``env_config``)."""

    removal_bug: bool | None = option(
        None,
        "true: with each removal the next item, in order of creation, is passed over for that step, as in the "
        "published results; null: as in the original of the task (true for Warehouse-v0 only)",
    )
    spawn_prob: float | None = option(None, "chance of a new item per try; null: the task's own", low=0.0, high=1.0)
    lifetime: int | None = option(None, "steps until an item vanishes; null: the task's own", low=1, high=1000)
    episode_length: int | None = option(None, "steps of an episode; null: the task's own", low=1)
    num_stacked: int = option(
        1, "last n observations in one, newest first, zeros before the first; 8: the paper's FNN-8", low=1, high=64
    )
    dtype: str = option("uint8", "type of the observation", choices=("uint8", "float32"))


def skip_after_removal(removable: np.ndarray, waiting: np.ndarray, draw: np.ndarray, num_draws: int) -> np.ndarray:
    """Which items go when a list is shortened while it is gone through: each removal passes over the next item.

    The list holds the items in the order of their creation. So in each run of removable neighbours the first, third,
    fifth ... are removed.

    Args:
        removable: which sites hold an item that is due, ``[N, S]`` bool.
        waiting: waiting times, ``[N, S]``, `EMPTY` where there is no item.
        draw: which of a step's draws made the item, ``[N, S]``; 0 or more, also where there is none.
        num_draws: draws of one step.

    Returns:
        The items to remove, ``[N, S]`` bool.
    """
    # Older items first, those of one step by draw. Empty sites come last: EMPTY is newer than the newest item.
    order = np.argsort(draw - waiting.astype(np.int32) * num_draws, axis=1)
    in_list = np.take_along_axis(removable, order, axis=1)
    index = np.arange(in_list.shape[1])
    last_kept = np.maximum.accumulate(np.where(in_list, -1, index), axis=1)
    in_list &= (index - last_kept) % 2 == 1
    removed = np.empty_like(removable)
    np.put_along_axis(removed, order, in_list, axis=1)
    return removed


class WarehouseVectorEnv(ArrayVectorEnv):
    """N robots, each in its own warehouse, in one set of arrays (NEXT_STEP autoreset).

    Observation ``[N, num_stacked * obs_size]``; ``info["position"]`` is the index of the robot's cell in a grid of
    ``position_shape`` (rows, columns), ``[N]`` int64.

    Args:
        num_envs: number of environments.
        variant: a key of `VARIANTS`.
        render_mode: None or "rgb_array".
        **env_config: see `WarehouseOptions`.

    Raises:
        ConfigError: an unknown variant, render mode or option, or ``num_envs`` below 1.
    """

    STATE = ("position", "steps", "waiting", "draw", "past")
    metadata: dict[str, Any] = {  # noqa: RUF012 - as gymnasium
        **ArrayVectorEnv.metadata,
        "render_modes": ["rgb_array"],
        "render_fps": 2,
    }

    def __init__(
        self, num_envs: int = 1, variant: str = WAREHOUSE, render_mode: str | None = None, **env_config: object
    ) -> None:
        self.options = parse_options(WarehouseOptions, env_config)
        self.variant = _with_options(find_variant(variant), self.options)
        obs_size, dtype = self.options.num_stacked * self.variant.obs_size, _DTYPES[self.options.dtype]
        super().__init__(num_envs, render_mode, spaces.Box(0, 1, (obs_size,), dtype), spaces.Discrete(len(MOVES)))
        self._name = variant
        self.position_shape: tuple[int, int] = (self.variant.size, self.variant.size)
        self._next_cell = next_cells(self.variant)
        self._site_of_cell = np.full(self.variant.num_cells, -1)
        self._site_of_cell[self.variant.site_cells] = np.arange(len(self.variant.sites))
        self._passes: list[tuple[slice, np.ndarray]] = []  # columns of the draws, and the sites they are for
        self._num_draws = 0
        for cells in self.variant.spawn_passes:
            sites = np.array([self.variant.sites.index(cell) for cell in cells])
            self._passes.append((slice(self._num_draws, self._num_draws + len(sites)), sites))
            self._num_draws += len(sites)
        self._position = np.zeros(num_envs, dtype=np.int64)
        self._steps = np.zeros(num_envs, dtype=np.int64)
        self._waiting = np.full((num_envs, len(self.variant.sites)), EMPTY, dtype=np.int16)
        self._draw = np.zeros_like(self._waiting)  # with the waiting time it gives the order of creation
        past = obs_size - self.variant.obs_size  # of a stacked observation
        self._past = np.zeros((num_envs, past), dtype=dtype)

    def _begin_all(self) -> None:
        self._place(np.ones(self.num_envs, dtype=bool))
        self._spawn(None)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of every environment: ``obs [N, num_stacked * obs_size]``, ``[N]`` arrays, then infos."""
        resetting = self._needs_reset
        self._position = self._next_cell[self._position, np.asarray(actions)]
        self._waiting += self._waiting > EMPTY
        site = self._site_of_cell[self._position]
        found = np.where(site >= 0, self._waiting[self._envs, site], EMPTY)
        reward = self._reward(found)
        emptied = self._remove(site, found)
        self._steps += 1
        if resetting.any():
            self._place(resetting)
            reward[resetting], emptied[resetting] = 0.0, False
        self._spawn(None if self.variant.refills_at_once else emptied)
        truncated = self._steps >= self.variant.episode_length
        self._needs_reset, terminated = truncated.copy(), np.zeros(self.num_envs, dtype=bool)
        return self._observe(), reward, terminated, truncated, self._info()

    def _place(self, where: np.ndarray) -> None:
        """Robot in the middle, no items, nothing remembered, in the environments of the mask ``where [N]``."""
        self._position[where] = self.variant.num_cells // 2
        self._steps[where] = 0
        self._waiting[where] = EMPTY
        self._past[where] = 0

    def _reward(self, found: np.ndarray) -> np.ndarray:
        """Reward (float64) for the waiting time ``found [N]`` of the item on the robot's cell, or `EMPTY`."""
        if not self.variant.reward_by_waiting:
            return np.where(found > EMPTY, self.variant.reward_scale, 0.0)
        longest = np.maximum(self._waiting.max(axis=1), 1)  # 1: there are no items
        return np.where(found > EMPTY, found / longest * self.variant.reward_scale, 0.0)

    def _remove(self, site: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Removes collected and expired items; returns where, ``[N, S]`` bool."""
        removed = self._waiting >= self.variant.lifetime
        collected = np.flatnonzero(found > EMPTY)
        removed[collected, site[collected]] = True
        if self.variant.removal_bug:
            # With fewer than two items due none can be skipped: spares most environments the sorting.
            some = np.flatnonzero(np.count_nonzero(removed, axis=1) > 1)
            removed[some] = skip_after_removal(removed[some], self._waiting[some], self._draw[some], self._num_draws)
        np.copyto(self._waiting, EMPTY, where=removed)
        return removed

    def _spawn(self, blocked: np.ndarray | None) -> None:
        """Tries every site for a new item, save those in the mask ``blocked [N, S]``.

        All numbers are drawn, needed or not: else one environment's items would depend on another's.
        """
        hits = self._generator.random((self.num_envs, self._num_draws)) < self.variant.spawn_prob
        for columns, sites in self._passes:
            hit = hits[:, columns] & (self._waiting[:, sites] == EMPTY)
            if blocked is not None:
                hit &= ~blocked[:, sites]
            if self.variant.max_items is not None:
                room = self.variant.max_items - np.count_nonzero(self._waiting > EMPTY, axis=1)
                hit &= hit.cumsum(axis=1) <= room[:, None]
            env, index = np.nonzero(hit)
            self._waiting[env, sites[index]] = 0
            self._draw[env, sites[index]] = columns.start + index

    def _observe(self) -> np.ndarray:
        now = np.zeros((self.num_envs, self.variant.obs_size), dtype=self._past.dtype)
        now[self._envs, self._position] = 1
        now[:, self.variant.num_cells :] = self._waiting > EMPTY
        if not self._past.size:
            return now
        obs = np.concatenate([now, self._past], axis=1)
        self._past = obs[:, : self._past.shape[1]].copy()  # a caller may write into what it gets
        return obs

    def _cells(self) -> np.ndarray:
        return self._position.copy()

    def _made_with(self) -> dict[str, Any]:
        return {**super()._made_with(), "variant": self._name}

    def _pictures(self) -> tuple[np.ndarray, ...]:
        states = zip(self._position, self._waiting, strict=True)
        return tuple(draw_warehouse(self.variant, int(position), waiting) for position, waiting in states)


class WarehouseEnv(VectorOfOne[WarehouseVectorEnv]):
    """One warehouse, for `gymnasium.make`: a `WarehouseVectorEnv` of one, without the step that resets.

    Observation ``[num_stacked * obs_size]``; ``info["position"]`` is the index of the robot's cell in a grid of
    ``position_shape``.

    Args:
        variant: a key of `VARIANTS`.
        render_mode: None or "rgb_array".
        **env_config: see `WarehouseOptions`.

    Raises:
        ConfigError: an unknown variant, render mode or option.
    """

    metadata = WarehouseVectorEnv.single_metadata()

    def __init__(self, variant: str = WAREHOUSE, render_mode: str | None = None, **env_config: object) -> None:
        super().__init__(WarehouseVectorEnv(1, variant, render_mode, **env_config))
        self.options, self.variant = self.vector.options, self.vector.variant


def _with_options(variant: WarehouseVariant, options: WarehouseOptions) -> WarehouseVariant:
    """The variant with what the user set in place of its own values."""
    names = ("removal_bug", "spawn_prob", "lifetime", "episode_length")
    chosen = {name: getattr(options, name) for name in names}
    return replace(variant, **{name: value for name, value in chosen.items() if value is not None})


FAMILY = EnvironmentFamily(
    " or ".join(VARIANTS),
    "the warehouse of influence-aware memory and its variants, vectorised",
    WarehouseOptions,
    own_ids=tuple(VARIANTS),
    make=lambda wanted: WarehouseEnv(wanted.env_id, wanted.render_mode, **vars(wanted.options)),
    make_vector=lambda wanted: WarehouseVectorEnv(wanted.num_envs, wanted.env_id, **vars(wanted.options)),
)
