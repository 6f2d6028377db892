"""What ``rllib train`` tells the stores of runs: whose run it is, and how a trial has ended."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from rllib_rnd.cli.runtime import say
from rllib_rnd.cli.train_options import TrainOptions
from rllib_rnd.experiment.file import Experiment
from rllib_rnd.tracking.identity import RunIdentity
from rllib_rnd.tracking.metrics import short_name
from rllib_rnd.tracking.mlflow_logger import MLflowLogger
from rllib_rnd.tracking.mlflow_store import store_uri
from rllib_rnd.tracking.stopping import Conditions, Interrupt, reached
from rllib_rnd.tracking.wandb_logger import WandbLogger, wandb_options

Status = Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True)
class Stores:
    """The stores that a run is logged to, besides its folder.

    Attributes:
        mlflow: None where there is no place for it.
        wandb: None where it was not asked for.
    """

    mlflow: MLflowLogger | None
    wandb: WandbLogger | None

    @property
    def callbacks(self) -> list[tune.Callback]:
        """Those of Tune that write into them."""
        return [logger for logger in (self.mlflow, self.wandb) if logger is not None]

    def close(self, status: str, parent: str = "", patience_s: float = 60.0) -> None:
        """Closes all runs that are still open as ``status``, and that of a sweep as ``parent``."""
        if self.wandb is not None:
            self.wandb.close(status)
        if self.mlflow is not None:
            self.mlflow.close(status, parent, patience_s)


def open_stores(identity: RunIdentity, experiment: Experiment, options: TrainOptions, status: Status) -> Stores:
    """Opens what a run is logged to; a store out of reach costs a printed line."""
    wandb, logger = wandb_options(options.wandb), None
    if wandb is not None:
        folder = None if "://" in options.storage else Path(options.storage_path) / identity.name
        logger = WandbLogger(wandb, identity, folder, experiment.trial_config, say, status)
    return Stores(_open_mlflow(identity, experiment, options, status), logger)


def _open_mlflow(
    identity: RunIdentity, experiment: Experiment, options: TrainOptions, status: Status
) -> MLflowLogger | None:
    uri = store_uri(options.storage_path)
    if uri is None:
        say("MLflow: no MLFLOW_TRACKING_URI and the storage is no local folder; training goes on without it.")
        return None
    if "://" not in options.storage:
        Path(options.storage_path).mkdir(parents=True, exist_ok=True)
    logger = MLflowLogger(
        uri=uri,
        experiment=experiment.name if options.name is None else options.name,
        algorithm=experiment.algorithm_name,
        make_config=experiment.trial_config,
        identity=identity,
        say=say,
        status=status,
    )
    if "://" not in options.storage:
        logger.place = shlex.quote(f"{options.storage_path}/{identity.name}")
    logger.open(wait=False)
    return logger


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
