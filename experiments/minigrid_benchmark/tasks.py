"""What is played, by whom, and for how long: the tasks and rewards of the MiniGrid benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from experiments.studies import Run


@dataclass(frozen=True)
class Task:
    """A task in its published setting: layouts drawn anew, views of 7 x 7, all actions, the task's reward and clock.

    Attributes:
        title: of its section and its figure.
        env: its id.
        budget: agent steps of every run.
        threshold: the mean return that agent steps are counted to.
        settings: of the environment, beside those of the example.
        planned: whether it belongs to the study as it stands; the others are run when they are named.
    """

    title: str
    env: str
    budget: int
    threshold: float
    settings: tuple[str, ...] = ()
    planned: bool = True


_MULTI_ROOM_N7 = "MiniGrid-MultiRoom-N7-S4-v0"
TASKS = {
    "doorkey_8x8": Task("DoorKey-8x8", "MiniGrid-DoorKey-8x8-v0", 1_000_000, 0.8),
    "keycorridor_s3r2": Task("KeyCorridorS3R2", "MiniGrid-KeyCorridorS3R2-v0", 5_000_000, 0.8),
    "keycorridor_s3r3": Task("KeyCorridorS3R3", "MiniGrid-KeyCorridorS3R3-v0", 5_000_000, 0.8),
    "multiroom_n7_s4": Task("MultiRoom-N7-S4", _MULTI_ROOM_N7, 5_000_000, 0.5),
    "multiroom_n7_s4_tv": Task(
        "MultiRoom-N7-S4 with a noisy TV", _MULTI_ROOM_N7, 5_000_000, 0.5, ("env_config.noisy_tv=true",)
    ),
    "multiroom_n7_s8": Task("MultiRoom-N7-S8", "MiniGrid-MultiRoom-N7-S8-v0", 5_000_000, 0.5, planned=False),
    "multiroom_n10_s4": Task("MultiRoom-N10-S4", "MiniGrid-MultiRoom-N10-S4-v0", 5_000_000, 0.5, planned=False),
    "obstructedmaze_2dlh": Task(
        "ObstructedMaze-2Dlh", "MiniGrid-ObstructedMaze-2Dlh-v0", 10_000_000, 0.8, planned=False
    ),
}
#: Not of the table: what is searched for on it has not seen the table's layouts.
SEARCH_TASK = Task("DoorKey-6x6", "MiniGrid-DoorKey-6x6-v0", 300_000, 0.8)
#: By the name of its example's end.
REWARDS = {
    "none": "ppo",
    "count": "count",
    "rnd": "rnd",
    "icm": "icm",
    "ride": "ride",
    "noveld": "noveld",
    "ngu": "ngu",
    "e3b": "e3b",
}
#: All are to have these in the end; the first three come first.
SEEDS = (0, 1, 2, 3, 4)
_ONE_THREAD = ("torch_threads=1",)
#: Never ends a run: all are as long.
_ENOUGH = 2.0


def example_of(reward: str) -> str:
    """The tuned example of a reward; other tasks than DoorKey change its environment alone."""
    return f"minigrid/doorkey_8x8_{REWARDS[reward]}"


def planned(
    tasks: Sequence[str], rewards: Sequence[str], seeds: Sequence[int], budget: int | None = None
) -> Iterator[Run]:
    """Task by task, all rewards of the first seed, then of the next: what is cut is still balanced.

    Args:
        tasks: names of `TASKS`.
        rewards: names of `REWARDS`.
        seeds: of each.
        budget: agent steps in place of the tasks' own.
    """
    for name in tasks:
        task = TASKS[name]
        settings = (*_ONE_THREAD, *task.settings)
        for seed in seeds:
            for reward in rewards:
                own = budget or task.budget
                yield Run(name, reward, example_of(reward), seed, own, _ENOUGH, settings=settings, env=task.env)
