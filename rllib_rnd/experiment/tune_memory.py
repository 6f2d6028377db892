"""What Ray Tune keeps in the driver for no use, and would keep for as long as a trial lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController


def forget_results(controller: TuneController) -> None:
    """Drops what Tune holds of calls that have been answered.

    Tune notes each call of a trial, so as to give up those under way when the trial ends, and takes none off its list
    when it is answered. With the note stays the answer: every result of a run, 15 kB each, a gigabyte after 70,000
    iterations.
    """
    manager = controller._actor_manager
    waited_for = manager._actor_task_events.get_futures()
    for noted in manager._tracked_actors_to_task_futures.values():
        noted &= waited_for
