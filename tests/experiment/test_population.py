"""Population based training with Ray: copies train on with other settings, and the store takes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ray import tune

from rllib_rnd.cli.sweep import tune_config
from rllib_rnd.experiment.file import load_experiments
from rllib_rnd.tracking.identity import RunIdentity
from rllib_rnd.tracking.mlflow_logger import MLflowLogger
from rllib_rnd.tracking.stopping import Conditions
from rllib_rnd.tracking.tensorboard import TensorBoardLogger

pytestmark = pytest.mark.usefixtures("ray_session")

POPULATION = """\
x:
  run: IntrinsicPPO
  env: rllib_rnd/DeepSea-v0
  env_config: {size: 5}
  stop: {iteration: 4}
  num_samples: 2
  scheduler: {type: pbt, metric: return_mean, perturbation_interval: 2, quantile_fraction: 0.5, resample_probability: 0}
  config:
    seed: 3
    num_envs_per_env_runner: 4
    rollout_fragment_length: 16
    num_epochs: 1
    num_minibatches: 2
    torch_threads: 1
    backbone: {type: mlp, hidden_sizes: [8]}
    lr: {tune: loguniform, args: [1.0e-4, 1.0e-2]}
"""


def test_a_population_trains_and_its_changes_are_curves(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    (tmp_path / "x.yaml").write_text(POPULATION, encoding="utf-8")
    (experiment,) = load_experiments(tmp_path / "x.yaml")
    said: list[str] = []
    uri = f"sqlite:///{tmp_path}/mlruns.db"
    identity, make = RunIdentity("x", "k", sweep=True), experiment.trial_config
    logger = MLflowLogger(uri, "x", "IntrinsicPPO", make, identity, said.append, lambda result: "FINISHED")
    logger.open()
    results = tune.Tuner(
        experiment.algorithm_class,
        param_space=experiment.param_space(),
        tune_config=tune_config(experiment, Conditions(experiment.stop)),
        run_config=tune.RunConfig(
            name="x", storage_path=str(tmp_path / "results"), callbacks=[TensorBoardLogger(), logger], verbose=0
        ),
    ).fit()
    logger.close()
    assert results.num_errors == 0 and said == []
    client = MlflowClient(tracking_uri=uri)
    found = client.search_runs([client.get_experiment_by_name("x").experiment_id])
    assert [run.info.status for run in found] == ["FINISHED"] * 3
    trials = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    rows = {run.info.run_id: client.get_metric_history(run.info.run_id, "iteration") for run in trials}
    assert [[int(row.value) for row in history] for history in rows.values()] == [[1, 2, 3, 4]] * 2
    (copy,) = [run for run in trials if "setting/lr" in run.data.metrics]
    curve = sorted((m.step, m.value) for m in client.get_metric_history(copy.info.run_id, "setting/lr"))
    assert str(curve[0][1]) == copy.data.params["lr"] and len(curve) == 2
    last = json.loads((Path(copy.data.tags["trial_folder"]) / "result.json").read_text().splitlines()[-1])
    donor = next(float(run.data.params["lr"]) for run in trials if run is not copy)
    assert last["config"]["lr"] == curve[1][1] and curve[1][1] / donor == pytest.approx(1.2, abs=0.41)
    assert last["learners"]["default_policy"]["learning_rate"] == pytest.approx(curve[1][1])  # it is in force
    assert last["config"]["seed"] == int(copy.data.tags["seed"])  # not the donor's
