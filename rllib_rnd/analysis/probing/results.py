"""What probes come to: `ProbeRow`, `Probed`, and whether a score is better than that of its own shuffled labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from rllib_rnd.envs.atari_ram import Kind

TRUE, SHUFFLED = "true", "shuffled"
#: Verdicts on a score. A row without a control has none.
BETTER, NO_BETTER = "better than shuffled", "no better than shuffled"


@dataclass(frozen=True)
class ProbeRow:
    """What one probe came to.

    Attributes:
        agent: whose layer: a name, ``untrained`` or ``pixels`` (nobody's: the observation itself).
        layer: which.
        variable: what it predicts.
        kind: number or category.
        model: linear or mlp.
        labels: true, or shuffled (those of other moments).
        metric: r2 or balanced_accuracy.
        score: of the states of games that it was not fitted on; NaN where labels do not vary in them.
        low, high: 95 % interval of the score over those games; NaN where one game alone tells it.
        chance: score of knowing nothing.
        states: that it was measured on.
        games: they are from.
        inputs: numbers that it reads.
        settings: hyperparameters that were best in cross-validation.
        verdict: `BETTER` or `NO_BETTER`; "" of shuffled labels, and without them.
    """

    agent: str
    layer: str
    variable: str
    kind: Kind
    model: str
    labels: str
    metric: str
    score: float
    low: float
    high: float
    chance: float
    states: int
    games: int
    inputs: int
    settings: str
    verdict: str = ""

    def as_dict(self) -> dict[str, object]:
        """Column -> value; None for an unknown score or bound."""
        columns = asdict(self)
        return columns | {name: None for name in ("score", "low", "high") if math.isnan(columns[name])}


@dataclass(frozen=True)
class Probed:
    """All that was found.

    Attributes:
        rows: a probe each.
        left_out: variable or "agent / layer" -> why it was left out.
        train_games, test_games: how many.
        train_states, test_states: how many.
    """

    rows: list[ProbeRow]
    left_out: dict[str, str]
    train_games: int
    test_games: int
    train_states: int
    test_states: int


def judged(rows: Sequence[ProbeRow]) -> list[ProbeRow]:
    """The same rows with a verdict where there is a control.

    A score is better than shuffled if its whole interval lies above that of the same probe of shuffled labels, and
    above chance: a control that is worse than chance proves nothing. An unknown bound is never better.
    """
    controls = {_probe_of(row): row for row in rows if row.labels == SHUFFLED}
    return [
        replace(row, verdict=_verdict(row, controls[_probe_of(row)]))
        if row.labels == TRUE and _probe_of(row) in controls
        else row
        for row in rows
    ]


def _probe_of(row: ProbeRow) -> tuple[str, ...]:
    return row.agent, row.layer, row.variable, row.model


def _verdict(row: ProbeRow, control: ProbeRow) -> str:
    return BETTER if row.low > row.chance and row.low > control.high else NO_BETTER


def in_a_line(left_out: Mapping[str, str]) -> str:
    """What was left out, grouped by reason."""
    reasons: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        reasons.setdefault(reason, []).append(name)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items()) or "nothing is told"
