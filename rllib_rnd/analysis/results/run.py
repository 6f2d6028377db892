"""One run: what it was asked to do, what it logged, how it ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

#: How a run may stand. ``unknown``: nothing tells (no result yet, or written on another machine some time ago).
STATES = ("finished", "stopped", "failed", "crashed", "running", "unknown")
#: Percent of the machine's memory that is in use, by all that runs on it.
MACHINE_MEMORY = "machine_memory_percent"


SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class Run:
    """One training, from wherever it is kept.

    Attributes:
        name: shortest label that is unique among the runs loaded.
        source: a folder, or ``store#run-id``, or ``file.csv``, as a user can type it again.
        experiment: its name.
        algorithm: its name, "" where unknown.
        seed: of the training, None where unknown.
        task: environment, with the entries of ``env_config`` that make it another task.
        frames_per_step: of the game, 4 in Atari; None: the task has no frames.
        config: settings by dotted key, as YAML writes them; what is not there has its default.
        state: one of `STATES`.
        metrics: by short name, float64 ``[rows]``, NaN where absent; ``agent_steps`` grows from row to row.
        resumed: how many times it was gone on with.
        budget: agent steps that were asked for, None where unknown.
        provenance: commit, dirty, command, created, hardware, cores, versions; what is not known is not there.
        written: when its last result was written, seconds since 1970, None where unknown.
        thinned: about one of so many rows was read; 1: all.
        unreadable: lines of its ``result.json`` that are damaged and left out.
        trials: the trial folders that it is made of, as ``experiment's folder/trial's folder``.
        cut_from: agent steps that it had come to before `cut`; None: it is whole.
    """

    name: str
    source: str
    experiment: str
    algorithm: str
    seed: int | None
    task: str
    frames_per_step: int | None
    config: Mapping[str, object]
    state: str
    metrics: Mapping[str, np.ndarray]
    resumed: int = 0
    budget: int | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)
    written: float | None = None
    thinned: int = 1
    unreadable: int = 0
    trials: tuple[str, ...] = ()
    cut_from: int | None = None

    @property
    def agent_steps(self) -> int:
        """That it has come to; 0 without a result."""
        steps = self.metrics.get("agent_steps")
        return int(steps[-1]) if steps is not None and len(steps) else 0

    @property
    def ended_at(self) -> int:
        """Agent steps at its end, also of one that is cut."""
        return self.agent_steps if self.cut_from is None else self.cut_from

    def final(self, metric: str) -> float:
        """The last value of a metric that is a finite number; NaN where there is none."""
        values = self.metrics.get(metric)
        present = np.empty(0) if values is None else values[np.isfinite(values)]
        return float(present[-1]) if len(present) else float("nan")

    def cut(self, agent_steps: float) -> Run:
        """The run as it stood after so many agent steps."""
        steps = self.metrics.get("agent_steps")
        if steps is None:
            return self
        kept = steps <= agent_steps
        metrics = {name: values[kept] for name, values in self.metrics.items()}
        return dataclasses.replace(self, metrics=metrics, cut_from=self.ended_at)


def finals(runs: Sequence[Run], metric: str) -> np.ndarray:
    """The last finite value of a metric in each run, ``[runs]``; NaN where there is none."""
    return np.array([run.final(metric) for run in runs])
