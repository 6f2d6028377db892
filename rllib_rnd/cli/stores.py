"""What ``rllib train file`` tells the stores of runs: whose run it is, and how a trial has ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rllib_rnd.experiment.file import Experiment
from rllib_rnd.tracking.identity import RunIdentity
from rllib_rnd.tracking.metrics import short_name
from rllib_rnd.tracking.stopping import Conditions, Interrupt, reached


def identity_of(
    experiment: Experiment, folder: str, key: str, provenance: Mapping[str, str], command: str, started_from: str = ""
) -> RunIdentity:
    """Returns what stores are told of a run.

    Args:
        experiment: that it trains.
        folder: its name in the storage.
        key: in its record.
        provenance: commit, versions, hardware.
        command: that runs it.
        started_from: the checkpoint it starts from; "" if from none.
    """
    tags = {
        "experiment_file": str(experiment.source),
        "experiment": experiment.name,
        "folder": folder,
        "command": command,
        "stop": json.dumps({short_name(path): target for path, target in experiment.stop.items()}),
        **provenance,
    }
    if started_from:
        tags["started_from"] = started_from
    return RunIdentity(folder, key, not experiment.single, experiment.source.resolve(), tags)


def status_of(result: Mapping[str, Any], conditions: Conditions, interrupt: Interrupt) -> str:
    """Returns how a trial without an error has ended, in MLflow's words: FINISHED, KILLED or FAILED."""
    if reached(result, conditions.stop) is not None:
        return "FINISHED"
    if interrupt.requested:
        return "KILLED"
    return "FAILED" if conditions.problem else "FINISHED"
