"""The results of a soaked run, read while they are written, and what must be true of them."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rllib_rnd.tracking.metrics import find, read

_LEARNED = "learners", "default_policy"
_UNKNOWN = {"num_trainable_parameters", "num_non_trainable_parameters"}  # RLlib reports them as NaN


@dataclass(frozen=True)
class Row:
    """One result.

    Attributes:
        iteration: its number.
        agent_steps: since the start of the run.
        sampled: agent steps of this iteration.
        since: iterations since the process of the trial began or was restored; 1 begins a life.
        moments: samples in all running statistics.
        broken: names of metrics that are NaN or infinite.
        ended: when, in seconds of the clock (whole ones).
        took: seconds that the iteration took.
        folder: of the trial.
    """

    iteration: int
    agent_steps: float
    sampled: float
    since: int
    moments: float = math.nan
    broken: tuple[str, ...] = ()
    ended: float = 0.0
    took: float = 0.0
    folder: str = ""


def row_of(result: Mapping[str, Any], folder: str = "") -> Row:
    """The row that a result of RLlib makes."""
    return Row(
        iteration=int(result["training_iteration"]),
        agent_steps=read(result, "agent_steps") or 0.0,
        sampled=find(result, "env_runners/num_env_steps_sampled") or 0.0,
        since=int(result["iterations_since_restore"]),
        moments=_number(result, "soak/moments"),
        broken=tuple(_broken(result.get(_LEARNED[0], {}).get(_LEARNED[1], {}))),
        ended=float(result.get("timestamp", 0.0)),
        took=float(result.get("time_this_iter_s", 0.0)),
        folder=folder,
    )


def _number(result: Mapping[str, Any], path: str) -> float:
    value = find(result, path)
    return math.nan if value is None else float(value)


def _broken(section: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from _broken(value, f"{prefix}{name}/")
        elif isinstance(value, float) and not math.isfinite(value) and name not in _UNKNOWN:
            yield prefix + name


@dataclass
class Results:
    """All results of an experiment's folder in the order in which they were written.

    Attributes:
        folder: of the experiment.
        rows: so far.
    """

    folder: Path
    rows: list[Row] = field(default_factory=list)
    _read: dict[Path, int] = field(default_factory=dict)

    def update(self) -> list[Row]:
        """Reads what is new; a line that is still being written, or was cut short by a kill, is no row."""
        new: list[Row] = []
        for path in sorted(self.folder.glob("*/result.json"), key=lambda p: p.stat().st_ctime_ns):
            start = self._read.get(path, 0)
            if path.stat().st_size == start:
                continue
            with path.open("rb") as file:
                file.seek(start)
                data = file.read()
            whole = data.rfind(b"\n") + 1
            self._read[path] = start + whole
            for line in data[:whole].splitlines():
                try:
                    new.append(row_of(json.loads(line), path.parent.name))
                except (ValueError, KeyError):
                    continue
        if not self.rows:  # of a run that is taken up: trial folders have the time of their start in their names
            new.sort(key=lambda row: row.folder[-19:])
        self.rows += new
        return new

    @property
    def last(self) -> int:
        """The newest row's iteration; 0 before the first."""
        return self.rows[-1].iteration if self.rows else 0


@dataclass(frozen=True)
class Recovery:
    """How a training came back from a fault; None is what has not happened yet.

    Attributes:
        last: the last iteration before the fault, or before the new beginning that it caused.
        next_s: seconds from the fault to the end of the next iteration.
        back_s: to the end of the first iteration beyond ``last``.
        full_s: to the end of the first iteration that began after the fault and sampled as much as is usual.
        lost: iterations that are trained again.
    """

    last: int
    next_s: float | None = None
    back_s: float | None = None
    full_s: float | None = None
    lost: int = 0


def recovery(rows: Sequence[Row], fault: float, begins_anew: bool) -> Recovery:
    """How far the training has come back.

    Args:
        rows: in the order in which they were written.
        fault: when it was placed, in seconds of the clock.
        begins_anew: it ends the trial: iterations count that came after it was restored.
    """
    # Ends are told in whole seconds, rounded down: what is counted as after the fault certainly is.
    hit = next((i for i, row in enumerate(rows) if row.ended >= fault), len(rows))
    if begins_anew:
        hit = next((i for i in range(hit, len(rows)) if rows[i].since == 1), len(rows))
    before, after = rows[:hit], rows[hit:]
    last = max((row.iteration for row in before), default=0)
    usual = 0.9 * max((row.sampled for row in before[-20:]), default=0.0)

    def seconds(found: Iterator[Row]) -> float | None:
        row = next(found, None)
        return None if row is None else max(0.0, row.ended - fault)

    return Recovery(
        last,
        seconds(iter(after)),
        seconds(row for row in after if row.iteration > last),
        seconds(row for row in after if row.ended - row.took >= fault and row.sampled >= usual),
        max(0, last - (after[0].iteration - 1)) if after else 0,
    )


def problems_of_rows(rows: Sequence[Row], floors: Mapping[int, int] | None = None) -> list[str]:
    """What is wrong with rows in the order in which they were written.

    Args:
        rows: of all lives of a run.
        floors: number of a life (from 1 for the first that was restored) -> the iteration that it must not begin
            before: that of the newest good checkpoint.
    """
    found: list[str] = []
    known: dict[int, Row] = {}
    life = 0
    previous: Row | None = None
    for row in rows:
        what = f"iteration {row.iteration} (life {life})"
        if row.broken and row.sampled:  # of nothing RLlib makes means that are no numbers
            found.append(f"{what}: not finite: {', '.join(row.broken)}")
        if previous is None:
            if row.iteration != 1:
                found.append(f"the first row is of iteration {row.iteration}")
        elif row.since == 1:
            life += 1
            what = f"life {life} begins with iteration {row.iteration}"
            if row.iteration - 1 not in known and row.iteration > 1:
                found.append(f"{what}, but no row says how iteration {row.iteration - 1} ended")
            if row.iteration - 1 > previous.iteration:
                found.append(f"{what}, beyond the last row ({previous.iteration})")
            if row.iteration - 1 < (floors or {}).get(life, 0):
                found.append(f"{what}, though iteration {(floors or {})[life]} was saved")
        elif row.iteration != previous.iteration + 1:
            found.append(f"{what}: follows iteration {previous.iteration}")
        before = known.get(row.iteration - 1)
        if before is not None and previous is not None:
            if row.agent_steps != before.agent_steps + row.sampled:
                told = f"{before.agent_steps:g} + {row.sampled:g}"
                found.append(f"{what}: {row.agent_steps:g} agent steps, not {told}")
            if row.sampled and row.moments <= before.moments:
                found.append(f"{what}: statistics of {row.moments:g} samples after {before.moments:g}")
        known[row.iteration] = row
        previous = row
    idle = sorted({row.iteration for row in rows if not row.sampled})
    if idle:
        found.append(f"nothing was sampled in iterations {_ranges(idle)}")
    return found


def problems_of_iterations(name: str, iterations: Collection[float], until: int | None = None) -> list[str]:
    """What is wrong with the iterations that a place holds: each must be there once, from the first on.

    Args:
        name: of the place, for the message.
        iterations: as they lie there.
        until: the last that must be there; None: the largest of them.
    """
    counts = Counter(int(i) for i in iterations)
    twice = sorted(i for i, count in counts.items() if count > 1)
    last = max(counts, default=0) if until is None else until
    missing = sorted(set(range(1, last + 1)) - set(counts))
    found = []
    if twice:
        found.append(f"{name}: more than once: iterations {_ranges(twice)}")
    if missing:
        found.append(f"{name}: missing: iterations {_ranges(missing)}")
    return found


def _ranges(numbers: Sequence[int]) -> str:
    parts = []
    for _, group in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        parts.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
    return ", ".join(parts[:20]) + (f" and {len(parts) - 20} more" if len(parts) > 20 else "")
