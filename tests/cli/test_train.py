"""Training through the command line, in real processes: run, Ctrl-C, resume, evaluate, sweep, failure."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from rllib_rnd.checkpoints import checkpoint_config, checkpoints_in, result_at, results_of
from rllib_rnd.cli.checkpoints import find_checkpoint
from rllib_rnd.cli.train_options import TrainOptions, resume_command
from rllib_rnd.experiment.file import Overrides
from rllib_rnd.tracking.stopping import NOTICE

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = ["-c", "from rllib_rnd.cli import main; main()"]

DEEP_SEA = """\
deep_sea:
  run: RND
  env: rllib_rnd/DeepSea-v0
  stop: {iteration: %s}
  checkpoint_config: {checkpoint_frequency: 0, checkpoint_at_end: %s}
  config:
    seed: 0
    env_config: {size: 5}
    num_envs_per_env_runner: 4
    rollout_fragment_length: 16
    warmup_steps: 16
    torch_threads: 1
    %s
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


def environment() -> dict[str, str]:
    paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    clean = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    return {**clean, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "COLUMNS": "200"}


def run_by(
    python: str | Path, arguments: Sequence[str], folder: Path, **surroundings: str
) -> subprocess.CompletedProcess[str]:
    command, variables = [str(python), *COMMAND, *arguments], environment() | surroundings
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=300)


@pytest.fixture
def run(quick_python: Path) -> Run:
    """`run_by` without the seconds of its imports and of its Ray's workers'."""
    return functools.partial(run_by, quick_python)


def run_and_interrupt(
    arguments: Sequence[str], folder: Path, times: int = 1, surroundings: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Sends SIGINT to the whole process group, as a terminal does, once the first result is shown."""
    process = subprocess.Popen(
        [sys.executable, *COMMAND, *arguments],
        cwd=folder,
        env=environment() | dict(surroundings or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    lines, sent = [], 0
    assert process.stdout is not None
    try:
        for line in process.stdout:
            lines.append(line)
            expected = " agent steps/s" if sent == 0 else NOTICE
            if sent < times and expected in line:
                sent += 1
                os.killpg(process.pid, signal.SIGINT)
        return process.wait(timeout=120), "".join(lines)
    finally:
        if process.poll() is None:
            process.kill()


def statuses(folder: Path) -> list[str]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'results' / 'mlruns.db'}")
    found = [r for e in client.search_experiments() for r in client.search_runs([e.experiment_id])]
    return sorted(r.info.status for r in found)


def test_interrupt_resume_and_evaluate(run: Run, tmp_path: Path) -> None:
    # No checkpoint is asked for at the end: Ctrl-C writes one all the same.
    (tmp_path / "x.yaml").write_text(DEEP_SEA % (100000, "false", "lr: 1e-4"), encoding="utf-8")
    key = "5eC4e7" + "0123456789abcdef" * 2 + "5e"
    wandb = {"WANDB_MODE": "offline", "WANDB_API_KEY": key, "WANDB_CACHE_DIR": str(tmp_path / "cache")}
    arguments = ["train", "file", "x.yaml", "--set", "gamma=0.9", "--wandb", "proj"]
    code, output = run_and_interrupt(arguments, tmp_path, surroundings=wandb)
    assert code == 130, output
    assert "Traceback" not in output
    assert "rllib train x.yaml --set gamma=0.9 --wandb proj --name deep_sea --resume" in output
    first = find_checkpoint(tmp_path / "results")
    reached = result_at(first)
    assert reached["training_iteration"] >= 1
    assert statuses(tmp_path) == ["KILLED"]

    target = reached["training_iteration"] + 2
    resumed = run([*arguments, "--resume", "--stop", f"iteration={target}"], tmp_path, **wandb)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert statuses(tmp_path) == ["FINISHED"]  # the same run
    record = json.loads((tmp_path / "results" / "deep_sea" / "run.json").read_text(encoding="utf-8"))
    assert set(record["provenance"]) >= {"python", "ray", "torch", "hardware", "cores"} and len(record["resumes"]) == 1
    stretches = list((tmp_path / "results" / "deep_sea" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(stretches) == 2 and len({path.name for path in stretches}) == 1
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 20 and not [path for path in written if key.encode() in path.read_bytes()]
    assert key not in output + resumed.stdout + resumed.stderr
    trials = sorted((tmp_path / "results" / "deep_sea").glob("RND_*"), key=lambda p: p.name[-19:])
    assert len(trials) == 2  # same experiment folder, a trial of its own
    results = results_of(trials[1])
    # Goes on exactly where it stopped: iteration, agent steps and seconds.
    assert [r["training_iteration"] for r in results] == [target - 1, target]
    steps = "num_env_steps_sampled_lifetime"
    assert results[0]["env_runners"][steps] > reached["env_runners"][steps]
    assert results[0]["time_total_s"] > reached["time_total_s"]

    played = run(
        ["evaluate", str(first), "--episodes", "3", "--seeds", "0,7", "--deterministic", "--json", "out.json"], tmp_path
    )
    assert played.returncode == 0, played.stdout + played.stderr
    data = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [e["seed"] for e in data["episodes"]] == [0] * 3 + [7] * 3
    assert all(e["length"] == 5 for e in data["episodes"])
    assert data["env"] == "rllib_rnd/DeepSea-v0" and data["deterministic"] is True


def test_a_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(DEEP_SEA % (100000, "true", "num_epochs: 200"), encoding="utf-8")
    code, output = run_and_interrupt(["train", "file", "x.yaml"], tmp_path, times=2)
    assert code == 130, output
    assert "Stopped now" in output
    assert statuses(tmp_path) == ["KILLED"]


def test_a_sweep_runs_all_trials_and_a_checkpoint_starts_another_run(run: Run, tmp_path: Path) -> None:
    draws = "lr: {grid_search: [1e-4, 1e-3]}"
    (tmp_path / "x.yaml").write_text(DEEP_SEA % (2, "true", draws), encoding="utf-8")
    done = run(["train", "file", "x.yaml", "--storage", "results", "--name", "study", "--quiet"], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 trials, best return first" in done.stdout
    assert "mlflow ui --backend-store-uri sqlite:///" in done.stdout
    assert " agent steps/s (" not in done.stdout  # --quiet
    assert statuses(tmp_path) == ["FINISHED"] * 3  # two trials in the run of their sweep
    assert "workflowType=machine_learning&compareRunsMode=CHART" in done.stdout
    trials = list((tmp_path / "results" / "study").glob("RND_*"))
    assert sorted(results_of(t)[-1]["config"]["lr"] for t in trials) == [1e-4, 1e-3]

    again = run(["train", "file", "x.yaml", "--checkpoint", "results/study", "--set", "lr=1e-4", "--quiet"], tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    said = re.findall(r"^best of 2 trials by return_mean: lr=0.00?01 \(.+\)$", again.stdout, re.MULTILINE)
    assert len(said) == 1, again.stdout
    (trial,) = (tmp_path / "results" / "deep_sea").glob("RND_*")
    assert results_of(trial)[0]["training_iteration"] == 3

    # The folder of the sweep is renamed and moved; it goes on where it is now, with what can be changed.
    (tmp_path / "results" / "study").rename(tmp_path / "renamed")
    options = ["--storage", ".", "--name", "renamed", "--resume", "--quiet"]
    on = run(["train", "file", "x.yaml", *options, "--stop", "iteration=3", "--set", "gamma=0.9"], tmp_path)
    assert on.returncode == 0, on.stdout + on.stderr
    for folder in (tmp_path / "renamed").glob("RND_*"):
        assert [result["training_iteration"] for result in results_of(folder)] == [1, 2, 3]
        assert checkpoint_config(checkpoints_in(folder)[-1]).gamma == 0.9


def test_a_failing_trial_exits_1_with_its_cause(run: Run, tmp_path: Path) -> None:
    text = """\
from rllib_rnd import RNDConfig

def fail(**kwargs):
    raise RuntimeError("the disk is full")

config = RNDConfig().environment("CartPole-v1").training(warmup_steps=0).callbacks(on_train_result=fail)
stop = {"training_iteration": 1}
"""
    (tmp_path / "x.py").write_text(text, encoding="utf-8")
    done = run(["train", "file", "x.py"], tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "failed: RuntimeError: the disk is full" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert statuses(tmp_path) == ["FAILED"]


def test_a_mistake_in_one_file_starts_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(DEEP_SEA % (1, "true", "lr: 1e-4"), encoding="utf-8")
    (tmp_path / "b.yaml").write_text(DEEP_SEA % (1, "true", "lrr: 1e-4"), encoding="utf-8")
    done = run(["train", "file", "*.yaml"], tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("rllib: b.yaml:13: deep_sea.config.lrr: unknown key 'lrr'. Did you mean 'lr'?")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()


def test_check_builds_and_trains_small_in_hostile_surroundings(tmp_path: Path) -> None:
    """Another Ray is named, there is no home, sockets have no room, and the output is ASCII."""
    experiment = DEEP_SEA.replace("deep_sea", "täuf") % (1, "true", "num_env_runners: 7")
    (tmp_path / "x.yaml").write_text(experiment, encoding="utf-8")
    hostile = {"RAY_ADDRESS": "127.0.0.1:1", "HOME": "/proc/nowhere", "PYTHONIOENCODING": "ascii"}
    done = run_by(sys.executable, ["check", "x.yaml"], tmp_path, TMPDIR=str(tmp_path / ("l" * 90)), **hostile)
    assert done.returncode == 0, done.stdout + done.stderr
    for text in (
        "t?uf: file, names",
        "observations  uint8 [25], 0 to 1",
        "intrinsic_rewards.0.predictor",
        "one small iteration",
        "448 agent steps",
    ):
        assert text in done.stdout


@pytest.mark.parametrize(
    ("folder", "overrides", "expected"),
    [
        ("deep_sea", Overrides(["a=[1, 2]"], seed=3), "--set 'a=[1, 2]' --seed 3 --name deep_sea --resume"),
        ("deep_sea_2", Overrides(seeds=(0, 2)), "--seeds 0,2 --name deep_sea_2 --resume"),
    ],
)
def test_the_resume_command_names_its_run(folder: str, overrides: Overrides, expected: str) -> None:
    options = TrainOptions(overrides=overrides, name="asked")
    assert resume_command(["x.yaml"], options, folder) == f"rllib train x.yaml {expected}"
