"""Trials, results and loggers for the tests of MLflow."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rllib_rnd import RNDConfig
from rllib_rnd.tracking.identity import RunIdentity
from rllib_rnd.tracking.mlflow_logger import MLflowLogger


class Trial(SimpleNamespace):
    def __str__(self) -> str:
        return f"trial_{self.trial_id}"


def trial(name: str = "a", folder: str = "/storage/study/trial_a", **config: object) -> Trial:
    return Trial(
        trial_id=name,
        config={"lr": 0.5, "seed": 7, **config},
        evaluated_params={},
        checkpoint=SimpleNamespace(path=f"{folder}/checkpoint_000001"),
        local_path="/tmp/staging/study/trial_a",
        path=folder,
    )


def result(steps: int) -> dict[str, Any]:
    """One iteration is 100 agent steps."""
    runners = {"num_env_steps_sampled_lifetime": steps, "episode_return_mean": 2.0, "sample": 1, "env_step_timer": 2}
    return {"env_runners": runners, "config": {"x": 1}, "training_iteration": max(1, steps // 100)}


def make(
    uri: str, said: list[str], status: str = "FINISHED", sweep: bool = False, key: str = "k", source: Path | None = None
) -> MLflowLogger:
    logger = MLflowLogger(
        uri=uri,
        experiment="study",
        algorithm="RND",
        make_config=lambda values: RNDConfig().update_from_dict(dict(values)),
        identity=RunIdentity("study_2", key, sweep, source, {"folder": "study_2", "commit": "abc", "dirty": "true"}),
        say=said.append,
        status=lambda result: status,
    )
    logger.open()
    if logger._writer is not None:
        logger._writer._first_pause_s = 0.01
        if logger.active:
            assert logger._writer.drain(30.0) == 0  # what is done to the store first
    return logger


def runs(uri: str) -> list[Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("study")
    return list(client.search_runs([experiment.experiment_id])) if experiment else []
