"""MLflow: what is logged, how runs end, and that a broken store does not stop training."""

import builtins
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rllib_rnd import RNDConfig
from rllib_rnd.tracking.mlflow_logger import MLflowLogger, parameters, store_uri


class Trial(SimpleNamespace):
    def __str__(self) -> str:
        return f"trial_{self.trial_id}"


def trial(name: str = "a") -> Trial:
    return Trial(trial_id=name, config={"lr": 0.5}, local_path="/somewhere")


def result(steps: int) -> dict[str, Any]:
    runners = {"num_env_steps_sampled_lifetime": steps, "episode_return_mean": 2.0, "sample": 1, "env_step_timer": 2}
    return {"env_runners": runners, "config": {"x": 1}, "training_iteration": 1}


def make(uri: str, said: list[str], interrupted: bool = False) -> MLflowLogger:
    logger = MLflowLogger(
        uri=uri,
        experiment="study",
        algorithm="RND",
        make_config=lambda values: RNDConfig().update_from_dict(dict(values)),
        tags={"folder": "study_2"},
        say=said.append,
        interrupted=lambda: interrupted,
    )
    logger.open()
    return logger


def runs(uri: str) -> list[Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("study")
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def test_parameters_are_curated_and_dotted() -> None:
    config = RNDConfig().training(lr=0.5, intrinsic_reward=[{"type": "rnd", "gamma": 0.9}])
    config.environment("x", env_config={"size": 5})
    values = parameters(config)
    assert values["lr"] == "0.5"
    assert values["lambda"] == "0.95"
    assert values["intrinsic_reward.0.gamma"] == "0.9"
    assert values["env_config.size"] == "5"
    assert "num_gpus" not in values


@pytest.mark.parametrize(
    ("failed", "interrupted", "status"),
    [(False, False, "FINISHED"), (True, False, "FAILED"), (False, True, "KILLED")],
)
def test_a_run_holds_the_curated_set_and_its_end(tmp_path: Path, failed: bool, interrupted: bool, status: str) -> None:
    said: list[str] = []
    uri = f"sqlite:///{tmp_path / 'mlruns.db'}"
    logger = make(uri, said, interrupted)
    logger.log_trial_start(trial())
    logger.log_trial_result(1, trial(), result(100))
    logger.log_trial_result(2, trial(), result(200))
    logger.log_trial_end(trial(), failed=failed)
    (run,) = runs(uri)
    assert run.info.status == status
    assert run.data.metrics == {"agent_steps": 200.0, "return_mean": 2.0, "iteration": 1.0}
    assert (run.data.params["lr"], run.data.params["run"]) == ("0.5", "RND")
    assert run.data.tags["folder"] == "study_2"
    assert said == []
    from mlflow.tracking import MlflowClient

    history = MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, "return_mean")
    assert sorted(m.step for m in history) == [100, 200]  # the axis is agent steps


def test_open_runs_are_killed_after_a_hard_stop(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlruns.db'}"
    logger = make(uri, [])
    logger.log_trial_start(trial("a"))
    logger.log_trial_start(trial("b"))
    logger.log_trial_end(trial("a"))
    logger.close("KILLED")
    assert sorted(run.info.status for run in runs(uri)) == ["FINISHED", "KILLED"]


def test_mlflow_missing_costs_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def no_mlflow(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("mlflow"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", no_mlflow)
        logger = make(f"sqlite:///{tmp_path / 'x.db'}", said)
        logger.log_trial_start(trial())
        logger.log_trial_result(1, trial(), result(1))
        logger.log_trial_end(trial())
    assert said == ["MLflow is not installed; training goes on without it (pip install mlflow)."]
    assert not logger.active


def test_a_store_out_of_reach_costs_one_line() -> None:
    said: list[str] = []
    logger = make("sqlite:////proc/no/such/folder/x.db", said)
    logger.log_trial_start(trial())
    assert not logger.active
    assert len(said) == 1 and "training goes on without it" in said[0]


def test_a_store_that_fails_later_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    logger = make(f"sqlite:///{tmp_path / 'mlruns.db'}", said)
    logger.log_trial_start(trial())

    def broken(*args: Any, **kwargs: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(logger._client, "log_batch", broken)
    logger.log_trial_result(1, trial(), result(1))
    logger.log_trial_result(2, trial(), result(2))
    assert said == ["MLflow logging stopped (disk full); training goes on."]


def test_where_runs_are_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert store_uri(str(tmp_path)) == f"sqlite:///{tmp_path.resolve()}/mlruns.db"
    assert store_uri("s3://bucket/runs") is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert store_uri("s3://bucket/runs") == "http://host:5000"
