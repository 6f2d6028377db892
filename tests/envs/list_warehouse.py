"""The Warehouse as its rules are told, item by item, and random streams that follow a script."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rllib_rnd.envs.warehouse_rules import MOVES, WarehouseVariant

MINI, SECOND, MEMORY = (f"rllib_rnd/{name}-v0" for name in ("MiniWarehouse", "Warehouse2", "WarehouseMemory"))
UP, DOWN, LEFT, RIGHT = range(4)


@dataclass
class ListWarehouse:
    """One warehouse written down as the rules are told: a list of items, one after the other."""

    task: WarehouseVariant
    robot: tuple[int, int] = (0, 0)
    items: list[list[Any]] = field(default_factory=list)  # [cell, waiting time], in order of creation
    steps: int = 0

    def reset(self, draws: np.ndarray) -> np.ndarray:
        self.robot, self.items, self.steps = (self.task.size // 2,) * 2, [], 0
        self.spawn(draws, [])
        return self.observe()

    def step(self, action: int, draws: np.ndarray) -> tuple[np.ndarray, float, bool]:
        self.move(action)
        for item in self.items:
            item[1] += 1
        reward = self.reward()
        before = [cell for cell, _ in self.items]
        self.remove()
        self.spawn(draws, [cell for cell in before if cell not in [c for c, _ in self.items]])
        self.steps += 1
        return self.observe(), reward, self.steps >= self.task.episode_length

    def move(self, action: int) -> None:
        (row, column), last = self.robot, self.task.size - 1
        if not self.task.walks_along_border:
            if action in (UP, DOWN) and column in (0, last):
                return
            if action in (LEFT, RIGHT) and row in (0, last):
                return
        row, column = row + MOVES[action][0], column + MOVES[action][1]
        if 0 <= row <= last and 0 <= column <= last:
            self.robot = (row, column)

    def reward(self) -> float:
        reward = 0.0
        for cell, waited in self.items:
            if cell == self.robot:
                longest = max(waiting for _, waiting in self.items)
                worth = waited / longest if self.task.reward_by_waiting else 1.0
                reward += worth * self.task.reward_scale
        return reward

    def remove(self) -> None:
        # Going through the list itself while it shrinks is the bug; going through a copy is how to avoid it.
        for item in self.items if self.task.removal_bug else list(self.items):
            if item[0] == self.robot or item[1] >= self.task.lifetime:
                self.items.remove(item)

    def spawn(self, draws: np.ndarray, emptied: list[Any]) -> None:
        numbers = iter(draws.tolist())
        for cells in self.task.spawn_passes:
            occupied = [cell for cell, _ in self.items]
            for cell in cells:
                wanted = next(numbers) < self.task.spawn_prob and cell not in occupied
                if not self.task.refills_at_once and cell in emptied:
                    wanted = False
                if self.task.max_items is not None and len(self.items) >= self.task.max_items:
                    wanted = False
                if wanted:
                    self.items.append([cell, 0])

    def observe(self) -> np.ndarray:
        size = self.task.size
        robots = [(row, column) == self.robot for row in range(size) for column in range(size)]
        occupied = [cell for cell, _ in self.items]
        return np.array(robots + [site in occupied for site in self.task.sites], dtype=np.uint8)


class Script:
    """A random stream with given numbers; 1 (no item) where nothing is said."""

    def __init__(self, *steps: dict[int, float]) -> None:
        self.steps = list(steps)

    def random(self, shape: tuple[int, int]) -> np.ndarray:
        draws = np.ones(shape)
        for index, value in (self.steps.pop(0) if self.steps else {}).items():
            draws[:, index] = value
        return draws
