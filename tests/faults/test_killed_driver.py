"""Runs whose driver is killed, whose Ray dies, that are told to end: in real processes, at named points.

More points are in kill_points.py, which is no test.
"""

from __future__ import annotations

import re
import signal
from pathlib import Path

from rllib_rnd.checkpoints import iteration_of, newest_valid, results_of
from tests.faults.kill_points import EXPERIMENT, POINTS, mlflow_iterations, rows_of
from tests.faults.placing import Command, Fault

STEP = "rllib_rnd.algorithm:IntrinsicPPO.training_step"
SWEEP = EXPERIMENT.replace("seed: 0", "seed: {grid_search: [0, 1, 2]}").replace(
    "  config:", "  tune_config: {max_concurrent_trials: 1}\n  config:"
)
RESUME = "train x.yaml --name deep_sea --resume"


def newest(run: Path) -> int:
    found = newest_valid(run)
    assert found is not None
    return iteration_of(found) or 0


def test_a_run_outlives_its_driver_its_ray_and_the_end_of_its_time(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(EXPERIMENT, encoding="utf-8")
    run = tmp_path / "results" / "deep_sea"

    killed = Command(["train", "file", "x.yaml", "--quiet"], tmp_path, [POINTS["between its write and its rename"]])
    assert killed.wait() == -signal.SIGKILL, killed.output
    # Of iteration 6 there is a folder that nobody takes for a checkpoint, unless the trial's process, which outlives
    # its driver by a moment, still gives it its name.
    assert newest(run) in (3, 6)

    # At once, while Ray's processes of the first run may still be there. Its own Ray dies before the next checkpoint.
    lost = Command(["train", "file", "x.yaml", "--resume"], tmp_path, [Fault(STEP, 2, victim="gcs_server")])
    assert lost.wait() == 1, lost.output
    assert "rllib: Ray's control process (GCS) has ended; training cannot go on." in lost.output
    assert RESUME in lost.output and "Traceback" not in lost.output
    begun = re.findall(r"\(iteration (\d+)", lost.output)[0]
    assert begun in ("3", "6") and rows_of(run)[1][0] == int(begun) + 1

    # Slurm's end of the time: all processes get SIGTERM, Ray's too.
    ended = Command(["train", "file", "x.yaml", "--resume", "--stop", "iteration=100000"], tmp_path)
    ended.wait_for(" agent steps/s")
    ended.signal(signal.SIGTERM, group=True)
    assert ended.wait() == 143, ended.output
    assert "deep_sea: stopped by SIGTERM." in ended.output
    assert "rllib train x.yaml --stop iteration=100000 --name deep_sea --resume" in ended.output
    assert "Traceback" not in ended.output and "Stack trace" not in ended.output
    assert [command.clean_up() for command in (killed, lost, ended)] == [[], [], []]
    rows = rows_of(run)[2]
    # From a checkpoint (every third iteration) no older than the last start's; its trial may have saved another one.
    assert rows[0] % 3 == 1 and rows[0] > int(begun) and newest(run) == rows[-1]
    logged, runs = mlflow_iterations(tmp_path / "results")
    assert runs == 1 and logged == list(range(1, max(6, rows[-1]) + 1))  # none lost, none twice


def test_a_killed_sweep_repeats_no_trial_and_begins_none_anew(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(SWEEP.replace("iteration: 9", "iteration: 5"), encoding="utf-8")
    # The first trial logs five rows; the fifth of the second is not logged any more.
    fault = Fault("rllib_rnd.tracking.result_files:ResultLogger.log_trial_result", 10, place="driver")
    killed = Command(["train", "file", "x.yaml", "--quiet"], tmp_path, [fault])
    assert killed.wait() == -signal.SIGKILL, killed.output
    run = tmp_path / "results" / "deep_sea"
    assert sorted(rows_of(run)) == [[1, 2, 3, 4], [1, 2, 3, 4, 5]]

    resumed = Command(["train", "file", "x.yaml", "--resume", "--quiet"], tmp_path)
    assert resumed.wait() == 0, resumed.output
    assert sorted(rows_of(run)) == [[1, 2, 3, 4, 4, 5], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]], resumed.output
    assert [command.clean_up() for command in (killed, resumed)] == [[], []]
    for folder in run.glob("RND_*"):
        assert newest(folder) == results_of(folder)[-1]["training_iteration"] == 5
