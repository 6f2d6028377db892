"""``rllib probe`` on a tiny checkpoint: tables, files, MLflow, and mistakes in one line."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rllib_rnd.cli.app import app
from tests.conftest import small_config


@pytest.fixture(scope="module")
def checkpoint(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one iteration of DeepSea 5 x 5, where a run has its folders."""
    folder = tmp_path_factory.mktemp("storage") / "run" / "trial" / "checkpoint_000000"
    algorithm = small_config("RND").build_algo()
    algorithm.train()
    algorithm.save(str(folder))
    algorithm.stop()
    return folder


@pytest.fixture
def keep_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command uses the Ray of these tests instead of one of its own."""
    import contextlib

    @contextlib.contextmanager
    def running(cpus: float) -> Iterator[None]:
        assert cpus > 0
        yield

    monkeypatch.setattr("rllib_rnd.cli.probe.ray_session", running)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["probe", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output + (result.stderr or "")


def test_a_checkpoint_is_probed(
    checkpoint: Path, keep_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the agent is can be read off DeepSea's features; the scores are in the files and in the run's MLflow."""
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    store = f"sqlite:///{checkpoint.parents[2] / 'mlruns.db'}"
    client = MlflowClient(tracking_uri=store)
    tags = {"trial_folder": str(checkpoint.parent)}
    own = client.create_run(client.create_experiment("probes"), tags=tags).info.run_id
    code, output = run(str(checkpoint), "--quick", "--episodes", "40", "--out", str(tmp_path / "out"))
    assert code == 0, output
    with (tmp_path / "out" / "probe.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    document = json.loads((tmp_path / "out" / "probe.json").read_text())
    assert [float(row["score"]) for row in rows] == [row["score"] for row in document["probes"]]
    assert document["fitted_on"]["games"] + document["measured_on"]["games"] == 40
    assert {row["agent"] for row in rows} == {document["probes"][0]["agent"], "untrained", "pixels"}
    assert {row["variable"] for row in rows} == {"row", "column"} and {row["model"] for row in rows} == {"linear"}
    found = {(r["agent"], r["layer"], r["variable"], r["labels"]): float(r["score"]) for r in rows}
    assert found["pixels", "pixels", "row", "true"] > 0.9
    assert max(score for key, score in found.items() if key[3] == "shuffled") < 0.3
    assert (tmp_path / "out" / "probe.png").stat().st_size > 5_000
    metrics = client.get_run(own).data.metrics
    assert metrics["probe/linear/pixels/row"] == found["pixels", "pixels", "row", "true"]
    assert len(metrics) == len(rows) and "metrics in MLflow" in output
    # A training that this process starts next logs its trials again.
    assert "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS" not in os.environ


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--episodes", "3"], "--episodes: 3 games are too few to split"),
        (["--variables", ","], "--variables: ',' names nothing"),
        (["--baseline", "untraned"], "--baseline: 'untraned' is no folder"),
        (["--variables", "rwo", "--episodes", "6"], "Did you mean 'row'"),
        (["--layers", "polcy", "--episodes", "40"], "Did you mean 'policy'"),
    ],
)
def test_mistakes_are_one_line(
    checkpoint: Path, keep_ray: None, tmp_path: Path, arguments: list[str], said: str
) -> None:
    code, output = run(str(checkpoint), "--out", str(tmp_path / "out"), *arguments)
    assert code == 2 and said in output and "Traceback" not in output


def test_no_store_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rllib_rnd.analysis.probing.probes import Probed
    from rllib_rnd.cli.probe import log_to_mlflow

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    line = log_to_mlflow(tmp_path / "run" / "trial" / "checkpoint_000000", Probed([], {}, 0, 0, 0, 0))
    assert line.startswith("no MLflow store beside the run") and "\n" not in line
    assert not (tmp_path / "mlruns.db").exists()


def test_a_run_is_found_by_its_folder_or_its_name(tmp_path: Path) -> None:
    """Stores of before name the folder that Ray staged the trial in."""
    from mlflow.tracking import MlflowClient

    from rllib_rnd.cli.probe import _run_of

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlruns.db'}")
    experiment = client.create_experiment("probes")
    trial = tmp_path / "run" / "RND_x_00000"
    staged = client.create_run(experiment, tags={"trial_folder": f"/tmp/ray/session/run/{trial.name}"}).info.run_id
    client.create_run(experiment, tags={"trial_folder": "/tmp/ray/session/run/RND_x_00001"})
    found = _run_of(client, trial)
    assert found is not None and found.info.run_id == staged
    own = client.create_run(experiment, tags={"trial_folder": str(trial)}, start_time=0).info.run_id
    found = _run_of(client, trial)
    assert found is not None and found.info.run_id == own
    assert _run_of(client, tmp_path / "run" / "other") is None
