"""How much is there to see in the first room? A tour of MiniGrid's task that repeats no state and leaves no room.

    python -m experiments.bonus_check.tour

A bonus that knows the current episode alone pays most to who sees a different state in every step. If the first room
has enough of them for all of an episode, it gives no reason to open a door.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from experiments.bonus_check.run import TASKS
from rllib_rnd.envs.info import ROOM
from rllib_rnd.envs.minigrid import MiniGridOneHotEnv
from rllib_rnd.envs.minigrid_rules import MiniGridOptions

STEPS = 60  # of an episode of the task
_WIDTH = 300  # tours that are kept at a time
_HEADINGS = ((1, 0), (0, 1), (-1, 0), (0, -1))


def make_task() -> MiniGridOneHotEnv:
    """The task of the study: left, right, forward, toggle."""
    options = MiniGridOptions(
        observation="compact", fixed_layout_seed=1, actions=[0, 1, 2, 5], max_steps=STEPS, reward="sparse_one"
    )
    return MiniGridOneHotEnv(str(TASKS["minigrid"].env), options)


@dataclass(frozen=True)
class State:
    """Where the agent stands, where it looks, and which doors are open."""

    x: int
    y: int
    heading: int
    opened: frozenset[tuple[int, int]] = frozenset()


class Room:
    """The first room of the task as a graph of states."""

    def __init__(self) -> None:
        env = make_task()
        env.reset(seed=0)
        inner = env.inner
        (left, top), (width, height) = inner.rooms[0].top, inner.rooms[0].size
        self._inside = {(x, y) for x in range(left, left + width) for y in range(top, top + height)}
        things = {cell: inner.grid.get(*cell) for cell in self._inside}
        self._doors = {cell for cell, thing in things.items() if thing is not None and thing.type == "door"}
        self._walls = {cell for cell, thing in things.items() if thing is not None and thing.type == "wall"}
        self.start = State(int(inner.agent_pos[0]), int(inner.agent_pos[1]), int(inner.agent_dir))

    def after(self, state: State) -> Iterator[tuple[int, State]]:
        """Actions that keep to the room, and where they lead."""
        yield 0, State(state.x, state.y, (state.heading - 1) % 4, state.opened)
        yield 1, State(state.x, state.y, (state.heading + 1) % 4, state.opened)
        dx, dy = _HEADINGS[state.heading]
        front = state.x + dx, state.y + dy
        if front in self._inside - self._walls and (front not in self._doors or front in state.opened):
            yield 2, State(*front, state.heading, state.opened)
        if front in self._doors:
            yield 3, State(state.x, state.y, state.heading, state.opened ^ {front})


def longest_tour(steps: int = STEPS, width: int = _WIDTH) -> list[int]:
    """Actions of a tour that repeats no state, as long as a beam search finds, at most ``steps``."""
    room, draw = Room(), random.Random(0)
    tours: list[tuple[State, frozenset[State], list[int]]] = [(room.start, frozenset([room.start]), [])]
    for _ in range(steps):
        longer = {
            (new, seen | {new}): [*actions, action]
            for state, seen, actions in tours
            for action, new in room.after(state)
            if new not in seen
        }
        if not longer:
            break
        # Corners first: a state with few ways on cannot be reached later.
        ways = {tour: sum(new not in tour[1] for _, new in room.after(tour[0])) for tour in longer}
        order = sorted(longer, key=lambda tour: (ways[tour], draw.random()))
        tours = [(*tour, longer[tour]) for tour in order[:width]]
    return tours[0][2]


def play(actions: list[int]) -> tuple[int, set[int]]:
    """How many different observations the task shows on a tour, the first one included, and in which rooms."""
    env = make_task()
    obs, info = env.reset(seed=0)
    shown, rooms = {obs.tobytes()}, {int(info[ROOM])}
    for action in actions:
        obs, _, _, _, info = env.step(action)
        shown.add(obs.tobytes())
        rooms.add(int(info[ROOM]))
    return len(shown), rooms


def main() -> None:
    """Prints what there is to see."""
    actions = longest_tour()
    shown, rooms = play(actions)
    print(f"{len(actions)} steps show {shown - 1} states that differ from each other and the first, in rooms {rooms}")


if __name__ == "__main__":
    main()
