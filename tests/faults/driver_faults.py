"""Faults of the driver and of Ray beneath it, each with a run of its own, and what came of them: `FAULTS`."""

from __future__ import annotations

import dataclasses
import functools
import re
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rllib_rnd.checkpoints import checkpoints_in, iteration_of, newest_valid, results_of
from tests.faults.kill_points import EXPERIMENT, ITERATIONS, POINTS, kill_and_resume, mlflow_iterations, rows_of
from tests.faults.outcome import Outcome
from tests.faults.placing import DRIVER, GROUP, SMALL_DISK, Command, Fault

_SAMPLING = "rllib_rnd.sampling.runners:Runners.collect"
_ORPHANS_S = 90.0  # in which processes of an ended run must have gone by themselves
_LONGEST_S = 120.0  # that the end of a command may take on a busy machine
_ALL = list(range(1, ITERATIONS + 1))
#: Iteration 5 samples for ever.
ENDLESS = Fault(_SAMPLING, 5, act="block")
#: Two trials, one after the other.
SWEEP = EXPERIMENT.replace("seed: 0", "seed: {grid_search: [0, 1]}").replace(
    "  config:", "  tune_config: {max_concurrent_trials: 1}\n  config:"
)


def killed(point: str) -> Outcome:
    """SIGKILL of the driver at a point of `POINTS`, then ``--resume``: seconds until the resume's first result."""
    with tempfile.TemporaryDirectory() as folder:
        found = kill_and_resume(Path(folder), point, POINTS[point])
    assert found.went_on_at == found.kept + 1, found
    assert sorted(set(found.rows)) == _ALL and sorted(found.in_mlflow) == _ALL and found.runs == 1, found
    again = found.trained - found.kept
    lost = "nothing" if again < 1 else f"{again} iteration{'s' * (again > 1)} trained again, of {found.trained}"
    return Outcome(f"exit code 137; --resume goes on with iteration {found.went_on_at}", found.seconds, lost)


def _ours_alone(output: str) -> bool:
    """No stack of Python or of C++, and no line that Ray begins with the name of its process."""
    return not re.search(r"Traceback|Stack trace|^\W*(\[\d+m)?\(raylet\b", output, re.MULTILINE)


def _ended(faults: Sequence[Fault], code: int, experiment: str = EXPERIMENT, says: str = "") -> Outcome:
    """The command ends while iteration 5 of a trial samples: seconds until it has.

    Args:
        faults: the last one strikes first.
        code: that it has to end with.
        experiment: what is trained.
        says: what it has to say besides how to go on.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, marker = Path(name), Path(name) / "struck"
        (folder / "x.yaml").write_text(experiment, encoding="utf-8")
        placed = [*faults[:-1], dataclasses.replace(faults[-1], marker=str(marker))]
        command = Command(["train", "file", "x.yaml", "--quiet"], folder, placed)
        found = command.wait()
        seconds = time.time() - marker.stat().st_mtime
        until = time.monotonic() + _ORPHANS_S
        while command.processes() and time.monotonic() < until:
            time.sleep(0.2)
        output, left = command.output, command.clean_up()
        assert found == code and says in " ".join(output.split()), (found, output)
        assert _ours_alone(output), output
        assert not left and seconds < _LONGEST_S, (left, seconds, output)
        resume = next(line[line.index("rllib train") :] for line in output.splitlines() if "--resume" in line)
        newest = newest_valid(folder / "results" / "deep_sea")
        kept = 0 if newest is None else iteration_of(newest) or 0
    again = 5 - kept
    lost = "nothing" if again < 1 else f"{again} iteration{'s are' if again > 1 else ' is'} trained again"
    return Outcome(f"exit code {code}; the command that goes on: {resume.strip(' `.)')}", seconds, lost)


def _at_5(victim: str = DRIVER, number: int = signal.SIGTERM, **more: Any) -> Fault:
    return Fault(_SAMPLING, 5, victim=victim, signal=number, **more)


def told_twice() -> Outcome:
    """SIGTERM to the whole group in an iteration that does not end, and again: stopped at once."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "x.yaml").write_text(EXPERIMENT, encoding="utf-8")
        command = Command(["train", "file", "x.yaml", "--quiet"], folder, [ENDLESS, _at_5(GROUP)])
        command.wait_for("once more to stop now")
        time.sleep(1.5)  # what comes sooner is the same one, as ``timeout`` and Slurm send it twice
        started = time.monotonic()
        command.signal(signal.SIGTERM, group=True)
        code, seconds = command.wait(), time.monotonic() - started
        until = time.monotonic() + _ORPHANS_S
        while command.processes() and time.monotonic() < until:
            time.sleep(0.2)
        output, left = command.output, command.clean_up()
        assert code == 143 and not left and seconds < _LONGEST_S, (code, left, seconds, output)
        assert "Stopped now; nothing more was saved." in output and "(iteration 3)" in output, output
    return Outcome("exit code 143; Stopped now; nothing more was saved", seconds, "2 iterations are trained again")


def sweep_told() -> Outcome:
    """SIGTERM to the whole group while a sweep trains: each trial that runs is saved, and goes on from there."""
    with tempfile.TemporaryDirectory() as name:
        folder, marker = Path(name), Path(name) / "struck"
        (folder / "x.yaml").write_text(SWEEP, encoding="utf-8")
        told = dataclasses.replace(_at_5(GROUP), marker=str(marker))
        ended = Command(["train", "file", "x.yaml", "--quiet"], folder, [told])
        code = ended.wait()
        seconds, run = time.time() - marker.stat().st_mtime, folder / "results" / "deep_sea"
        assert code == 143 and "deep_sea: stopped by SIGTERM." in ended.output, (code, ended.output)
        for trial in run.glob("RND_*"):
            rows, newest = [row["training_iteration"] for row in results_of(trial)], newest_valid(trial)
            assert not rows or (newest is not None and iteration_of(newest) == rows[-1] == len(rows)), (rows, newest)
        resumed = Command(["train", "file", "x.yaml", "--resume", "--quiet"], folder)
        assert resumed.wait() == 0, resumed.output
        assert rows_of(run) == [_ALL] * 2, resumed.output
        left = ended.clean_up() + resumed.clean_up()
        assert not left, left
    return Outcome(
        "exit code 143, each trial saved after its iteration; --resume goes on with the next", seconds, "nothing"
    )


def disk_full() -> Outcome:
    """The storage, of a whole run, is full from iteration 5 to 8: checkpoint 6 is missing, all rows are there."""
    with tempfile.TemporaryDirectory() as name:
        folder, filler = Path(name), str(Path(name) / "results" / "filler")
        (folder / "x.yaml").write_text(EXPERIMENT, encoding="utf-8")
        fill = Fault(_SAMPLING, 5, act="fill", release=filler)
        room = Fault(_SAMPLING, 8, act="free", release=filler, marker=str(folder / "room"))
        command = Command(["train", "file", "x.yaml", "--quiet"], folder, [fill, room], within=SMALL_DISK)
        code = command.wait()
        output, left = command.output, command.clean_up()
        run = folder / "kept" / "deep_sea"
        rows, (logged, _) = rows_of(run), mlflow_iterations(folder / "kept")
        assert code == 0 and not left and "Traceback" not in output, (code, left, output)
        assert rows == [_ALL] and sorted(logged) == _ALL, (rows, logged, output)
        assert [iteration_of(path) for path in checkpoints_in(run)] == [3, 9], output
        warnings = [line for line in output.splitlines() if "the checkpoint was not saved" in line]
        assert len(warnings) == 1 and "No space left on device" in warnings[0], output
        assert output.count("Checkpoints are saved again.") == 1, output
        (trial,) = run.glob("RND_*")
        found = {row["training_iteration"]: row["timestamp"] for row in results_of(trial)}
    seen = warnings[0].partition("warning: ")[2].partition(",")[0]
    return Outcome(f"{seen}; Checkpoints are saved again", float(found[9] - found[8]), "nothing; one checkpoint less")


def store_full() -> Outcome:
    """Rollouts do not fit into Ray's object store, and the disk below it takes none: how it is with its real errors."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "x.yaml").write_text(_LARGE, encoding="utf-8")
        small = {
            "RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES": str(80 * 2**20),
            "RAY_local_fs_capacity_threshold": "0.0001",
        }
        command = Command(["train", "file", "x.yaml", "--quiet"], folder, variables=small)
        code = command.wait()
        output, left = command.output, command.clean_up()
        said = [line for line in output.splitlines() if "Ray's object store is full" in line and "failed:" in line]
        assert code == 1 and len(said) == 1 and not left and "--resume" in output, (code, left, output)
        assert _ours_alone(output), output
    return Outcome(f"exit code 1, {said[0].strip()}", command.seconds, "what came after the last checkpoint")


#: Each rollout has more bytes than the object store.
_LARGE = """\
large:
  run: IntrinsicPPO
  env: tests.faults.faulty:Large
  stop: {iteration: 3}
  config:
    num_env_runners: 1
    num_envs_per_env_runner: 8
    rollout_fragment_length: 64
    num_epochs: 1
    num_consecutive_env_runner_failures_tolerance: 2
    backbone: {type: mlp, hidden_sizes: [4]}
    torch_threads: 1
"""

FAULTS: list[tuple[str, Callable[[], Outcome]]] = [
    *((f"driver killed {point}", functools.partial(killed, point)) for point in POINTS),
    ("SIGTERM while sampling", functools.partial(_ended, [_at_5()], 143)),
    ("SIGTERM to the whole process group while sampling", functools.partial(_ended, [_at_5(GROUP)], 143)),
    (
        "SIGTERM in an iteration that does not end",
        functools.partial(_ended, [ENDLESS, _at_5()], 143, says="The iteration did not end in time after"),
    ),
    ("SIGTERM twice, in an iteration that does not end", told_twice),
    ("SIGTERM to the process group of a sweep", sweep_told),
    (
        "Ray's control process killed while sampling",
        functools.partial(_ended, [_at_5("gcs_server", signal.SIGKILL)], 1),
    ),
    ("raylet killed while sampling", functools.partial(_ended, [_at_5("raylet/raylet", signal.SIGKILL)], 1)),
    ("storage full for a while, whole run", disk_full),
    ("object store and the disk below it full", store_full),
]
