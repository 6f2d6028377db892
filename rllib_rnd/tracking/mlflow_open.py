"""One run of an MLflow store while it is written: what the store has of it, and what is to follow."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllib_rnd.tracking.metrics import read
from rllib_rnd.tracking.mlflow_gaps import rows_between, write_rows
from rllib_rnd.tracking.mlflow_runs import SETTING, changed_settings, set_params, set_tags
from rllib_rnd.tracking.parameters import number_of

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
    from mlflow.tracking import MlflowClient


@dataclass
class OpenRun:
    """One run of the store that is being written.

    Attributes:
        run_id: in the store; "" until it is there.
        iteration: the last one that the store has; each is logged once, also where a run goes on from before.
        step: agent steps at the last row.
        folders: with the results of the run so far.
        params: those that the store has.
        changed: what some of these settings have become since.
        config: the trial's configuration now; a scheduler may give it another.
        texts: its settings as parameters.
        result: the trial's newest.
    """

    run_id: str = ""
    iteration: float = 0.0
    step: int = 0
    folders: list[Path] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    changed: dict[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)

    def goes_on_from(self, found: Run) -> None:
        """It is this run of the store, with all that is there of it."""
        self.run_id, self.params, self.changed = found.info.run_id, dict(found.data.params), changed_settings(found)
        self.iteration = found.data.metrics.get("iteration", 0.0)
        self.step = int(found.data.metrics.get("agent_steps", 0.0))

    def write_settings(self, client: MlflowClient, values: Mapping[str, str]) -> None:
        """Writes the settings that it began with, and those that have become others since."""
        new = {key: value for key, value in values.items() if key not in self.params}
        set_params(client, self.run_id, new)
        self.params |= new
        self.write_changes(client, values)

    def write_changes(self, client: MlflowClient, values: Mapping[str, str]) -> None:
        """Writes settings that differ from the run's parameters, or did: numbers as curves, all else as tags."""
        from mlflow.entities import Metric

        now, metrics, tags = int(time.time() * 1000), [], {}
        for key, value in values.items():
            first = self.params.get(key, value)
            old, number = number_of(first), number_of(value)
            before = self.changed.get(key, first)
            if value == before or (number is not None and number == number_of(before)):
                continue
            if old is None or number is None:
                tags[SETTING + key] = value
            else:
                if key not in self.changed:
                    metrics.append(Metric(SETTING + key, old, now, 0))
                metrics.append(Metric(SETTING + key, number, now, self.step))
            self.changed[key] = value
        if metrics:
            client.log_batch(self.run_id, metrics=metrics)
        set_tags(client, self.run_id, tags)

    def write_row(self, client: MlflowClient, metrics: list[Metric], result: Mapping[str, Any]) -> None:
        """Writes the metrics of a result, once, after those of results before it that the store has not taken."""
        reached = read(result, "iteration")
        if reached is not None and reached <= self.iteration:
            return
        if (reached or 0.0) > self.iteration + 1:  # what is missing in between is in the run's folder
            missed = rows_between(self.folders, self.iteration, reached or 0.0)
            write_rows(missed, lambda older, newest: self._log(client, older, newest))
        self._log(client, metrics, result)

    def _log(self, client: MlflowClient, metrics: list[Metric], newest: Mapping[str, Any]) -> None:
        client.log_batch(self.run_id, metrics)
        self.iteration = read(newest, "iteration") or self.iteration
        self.step = int(read(newest, "agent_steps") or 0)
