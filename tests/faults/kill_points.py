"""Kills the driver of ``rllib train file`` at named points, goes on at once with ``--resume``, and says what was lost.

``python -m tests.faults.kill_points [--out FILE.json] [POINT...]`` takes a minute for each point; the table goes into
docs/reliability.md. Two of the points are tests too (test_killed_driver.py).
"""

from __future__ import annotations

import argparse
import json
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rllib_rnd.checkpoints import iteration_of, newest_valid, results_of
from tests.faults.placing import DRIVER, Command, Fault

ITERATIONS, EVERY = 9, 3
EXPERIMENT = f"""\
deep_sea:
  run: RND
  env: rllib_rnd/DeepSea-v0
  stop: {{iteration: {ITERATIONS}}}
  checkpoint_config: {{checkpoint_frequency: {EVERY}}}
  config:
    callbacks: tests.faults.placing:Place
    seed: 0
    env_config: {{size: 5}}
    num_envs_per_env_runner: 4
    rollout_fragment_length: 16
    warmup_steps: 16
    torch_threads: 1
"""
_ATOMIC, _SAVING = "rllib_rnd.checkpoints.atomic", "rllib_rnd.checkpoints.saving"
#: What is said of a point -> where it is. Iteration 5 is trained, or checkpoint 2 (iteration 6) written.
POINTS = {
    "while the first iteration samples": Fault("rllib_rnd.sampling.runners:Runners.collect", 1, victim=DRIVER),
    "while sampling": Fault("rllib_rnd.sampling.runners:Runners.collect", 5, victim=DRIVER),
    "between learning and the sync of weights": Fault(
        "rllib_rnd.sampling.runners:Runners.sync_weights", 5, victim=DRIVER
    ),
    "inside the write of a checkpoint": Fault("rllib_rnd.checkpointed:seal", 2, victim=DRIVER),
    "between its write and its rename": Fault(f"{_ATOMIC}:_put", 2, victim=DRIVER),
    "after the rename, before Tune knows of it": Fault(f"{_SAVING}:save_at", 2, victim=DRIVER, after=True),
    "before a row is logged": Fault("rllib_rnd.tracking.result_files:ResultLogger.log_trial_result", 5, place="driver"),
    "inside a commit of MLflow": Fault("mlflow.tracking.client:MlflowClient.log_batch", 5, place="driver"),
    "inside Tune's snapshot": Fault("ray.tune.execution.tune_controller:TuneController.save_to_dir", 2, place="driver"),
}


@dataclass
class Outcome:
    """What a kill at one point did.

    Attributes:
        point: where the driver was killed.
        trained: iterations logged before.
        kept: iteration of the newest valid checkpoint.
        went_on_at: first iteration after ``--resume``.
        seconds: from the start of the resume to its first result.
        left_s: seconds until the last process of the killed run had gone by itself.
        code: exit code of the resume.
        rows: iterations logged in all, one after the other.
        in_mlflow: iterations in the MLflow run.
        runs: MLflow runs there are.
    """

    point: str
    trained: int
    kept: int
    went_on_at: int
    seconds: float
    left_s: float
    code: int
    rows: list[int]
    in_mlflow: list[int]
    runs: int


def mlflow_iterations(results: Path) -> tuple[list[int], int]:
    """Returns the iterations of the only MLflow run of a storage, in the order of their logging, and how many runs."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{results / 'mlruns.db'}")
    runs = [run for e in client.search_experiments() for run in client.search_runs([e.experiment_id])]
    found = client.get_metric_history(runs[0].info.run_id, "iteration") if runs else []
    return [int(metric.value) for metric in found], len(runs)


def rows_of(run: Path) -> list[list[int]]:
    """Returns the iterations that each trial folder of a run logged, oldest folder first."""
    folders = sorted(run.glob("RND_*"), key=lambda path: path.name[-19:])
    return [[row["training_iteration"] for row in results_of(folder)] for folder in folders]


def kill_and_resume(folder: Path, point: str, fault: Fault) -> Outcome:
    """Starts a run that is killed at a point, goes on with it at once, and looks at what is there."""
    (folder / "x.yaml").write_text(EXPERIMENT, encoding="utf-8")
    run = folder / "results" / "deep_sea"
    first = Command(["train", "file", "x.yaml", "--quiet"], folder, [fault])
    code = first.wait()
    assert code == -signal.SIGKILL, f"{point}: {code}\n{first.output}"
    trained = [iteration for rows in rows_of(run) for iteration in rows]
    started, began = time.time(), time.monotonic()
    second = Command(["train", "file", "x.yaml", "--resume", "--quiet"], folder)
    newest = newest_valid(run)
    kept = 0 if newest is None else iteration_of(newest) or 0
    left_s = 0.0
    while first.processes() and time.monotonic() - began < 60:
        left_s = time.monotonic() - began
        time.sleep(0.2)
    code = second.wait()
    assert code == 0, second.output
    left = second.clean_up() + first.clean_up()
    assert not left, left
    newest_folder = max(run.glob("RND_*"), key=lambda path: path.name[-19:])
    new = [row for row in results_of(newest_folder) if row["timestamp"] >= int(started)]
    logged, runs = mlflow_iterations(folder / "results")
    return Outcome(
        point,
        max(trained, default=0),
        kept,
        new[0]["training_iteration"],
        new[0]["timestamp"] - started,
        left_s,
        code,
        [iteration for rows in rows_of(run) for iteration in rows],
        logged,
        runs,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("points", nargs="*", help="parts of their names; all without")
    parser.add_argument("--out", type=Path, help="also as JSON")
    options = parser.parse_args(arguments)
    chosen = {p: f for p, f in POINTS.items() if not options.points or any(part in p for part in options.points)}
    outcomes = []
    print("| the driver was killed | iterations trained | newest checkpoint | went on with | after | rows lost |")
    print("|---|---|---|---|---|---|", flush=True)
    for point, fault in chosen.items():
        with tempfile.TemporaryDirectory() as folder:
            o = kill_and_resume(Path(folder), point, fault)
        lost = sorted(set(range(1, ITERATIONS + 1)) - (set(o.in_mlflow) & set(o.rows)))
        outcomes.append(asdict(o))
        row = (point, o.trained, o.kept, o.went_on_at, f"{o.seconds:.0f} s", lost or "none")
        print("| " + " | ".join(map(str, row)) + " |", flush=True)
        if options.out:
            options.out.write_text(json.dumps(outcomes, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
