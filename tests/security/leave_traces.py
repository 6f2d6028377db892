"""Trains, reports, exports and asks for help with whatever secrets the environment holds; a process of its own.

python -m tests.security.leave_traces FOLDER
"""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

from typer.testing import CliRunner

from rllib_rnd.cli.app import app
from rllib_rnd.tracking.identity import RunIdentity
from rllib_rnd.tracking.mlflow_logger import MLflowLogger

EXPERIMENT = """
planted:
  run: RND
  env: rllib_rnd/DeepSea-v0
  stop: {iteration: 2}
  checkpoint_config: {checkpoint_frequency: 1, checkpoint_at_end: true}
  config:
    env_config: {size: 4}
    num_envs_per_env_runner: 4
    rollout_fragment_length: 8
    num_epochs: 1
    warmup_steps: 8
    intrinsic_reward: {type: rnd, feature_dim: 8, hidden_sizes: [8]}
    torch_threads: 1
"""


def main() -> None:
    """Everything that a user might do with a run."""
    folder = Path(sys.argv[1])
    file, results = folder / "planted.yaml", str(folder / "results")
    file.write_text(EXPERIMENT)
    run = f"{results}/planted"
    runner, server = CliRunner(), os.environ.pop("MLFLOW_TRACKING_URI")
    for arguments in (
        ["train", "file", str(file), "--storage", results],
        ["runs", results],
        ["report", run, "--out", str(folder / "report.html")],
        ["export", run, "--out", str(folder / "policy")],
        ["evaluate", run, "--episodes", "1", "--json", str(folder / "evaluation.json")],
    ):
        done = runner.invoke(app, arguments, catch_exceptions=True)
        print(f"{arguments[0]}: {done.exit_code}\n{done.output}", flush=True)
    os.environ["MLFLOW_TRACKING_URI"] = server
    for arguments in (["report", server, "--out", str(folder / "other.html")], ["runs", server]):
        print(f"{arguments[0]} of a server: {runner.invoke(app, arguments).output}", flush=True)
    logger = MLflowLogger(server, "planted", "RND", dict, RunIdentity("x", "k", False, file, {}), print, str)
    logger.open()
    (folder / "logger.pkl").write_bytes(pickle.dumps(logger))
    logger.close()


if __name__ == "__main__":
    main()
