"""What a display knows of one trial, and how long it has still to go."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from rllib_rnd.tracking.labels import trial_label
from rllib_rnd.tracking.metrics import duration
from rllib_rnd.tracking.stopping import Progress


@dataclass
class TrialView:
    """What the display knows of one trial.

    Attributes:
        name: the trial's name.
        started: clock at its first result, and the progress it had then (for the time to go).
        first_share: see ``started``.
        result: its newest result.
        since: clock at that result, or when the trial began.
        status: ``starting``, ``training``, ``done``, ``stopped`` or ``failed``.
        values: the values it draws from the search space.
    """

    name: str
    started: float = 0.0
    first_share: float | None = None
    result: dict[str, Any] = field(default_factory=dict)
    since: float = 0.0
    status: str = "starting"
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What tells this trial from the others: its draws, or its name."""
        return trial_label(self.values) or self.name


def remaining_seconds(view: TrialView, now: float, state: Progress | None) -> float | None:
    """Returns the seconds to go from now at the pace since the first result, or None if that cannot be said yet."""
    if state is None:
        return None
    if state.share >= 1.0:
        return 0.0
    if state.path in ("time_total_s", "time_since_restore"):
        left = state.target - state.value
    elif view.first_share is None or state.share <= view.first_share or view.since <= view.started:
        return None
    else:
        left = (1.0 - state.share) * (view.since - view.started) / (state.share - view.first_share)
    return max(0.0, left - (now - view.since))


def time_left(seconds: float | None) -> str:
    """Returns ``3m 10s left`` in whole seconds; "" where there is nothing to say."""
    return f"{duration(math.ceil(seconds))} left" if seconds else ""
