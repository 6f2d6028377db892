"""``rllib train file --profile``: traces with names of parts, memory by phase, flame graphs, and what is refused."""

from __future__ import annotations

import gzip
import json
import mmap
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rllib_rnd.cli import profiling
from rllib_rnd.cli.flames import Flames, place_of_process, py_spy
from rllib_rnd.cli.phase_memory import PhaseMemory
from rllib_rnd.cli.profiling import TRACED, Profile, TellProfile, check_profile
from rllib_rnd.cli.tracing import _labelled
from rllib_rnd.errors import ConfigError
from rllib_rnd.experiment.file import Overrides, load_experiments
from tests.conftest import small_config


def profiled(folder: Path, **runners_and_learners: int) -> tuple[Any, str]:
    """An algorithm that has been profiled, and the summary."""
    config = small_config(auxiliary_loss={"type": "byol", "augmentation": "none"})
    config.env_runners(num_env_runners=runners_and_learners.get("runners", 0))
    config.learners(num_learners=runners_and_learners.get("learners", 0))
    profile = Profile(str(folder), place_of_process(), seconds=1.0)
    algorithm = config.callbacks(on_algorithm_init=[profile]).build_algo()
    until = time.monotonic() + 240.0
    while not (folder / "summary.txt").is_file():
        algorithm.train()
        assert time.monotonic() < until
    return algorithm, (folder / "summary.txt").read_text()


def labels(path: Path) -> set[str]:
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    return {event["name"] for event in events if event.get("cat") == "user_annotation"}


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("remote", [0, 1])
def test_one_iteration_is_traced_and_all_processes_are_watched(remote: int, tmp_path: Path) -> None:
    algorithm, summary = profiled(tmp_path, runners=remote, learners=remote)
    assert {"rewards and advantages", "reward of rnd", "minibatch", "PPO's loss", "loss of byol"} <= labels(
        tmp_path / "trace_learner.json.gz"
    )
    assert labels(tmp_path / "trace_runner.json.gz") >= {"step of environments", "actions"}
    rows = {line.split("  ")[1].strip(): line.split()[-1] for line in summary.splitlines() if line.startswith("  ")}
    assert {"built", "random play", "sampling", "learning", "sending weights"} <= set(rows)
    others = {"runner 1", "learner 1"} if remote else set()
    head = next(line for line in summary.splitlines() if "main process" in line)
    assert all(name in head for name in others)
    expected = {"flames_main_process.svg", "flames_command.svg"} if py_spy() else set()
    expected |= {f"flames_{name.replace(' ', '_')}.svg" for name in others} if py_spy() else set()
    assert {path.name for path in tmp_path.glob("*.svg")} == expected
    # It leaves the algorithm as it would be, and goes on.
    assert not {"training_step", "cleanup", "evaluate"} & set(vars(algorithm))
    assert "collect" not in vars(algorithm.runners) and not algorithm.config.callbacks_on_algorithm_init
    assert algorithm.train()["training_iteration"] > TRACED
    algorithm.stop()


@pytest.mark.usefixtures("ray_session")
def test_a_run_that_ends_early_has_what_was_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "py_spy", lambda: None)
    config = small_config().callbacks(on_algorithm_init=Profile(str(tmp_path), place_of_process()))
    algorithm = config.build_algo()
    for _ in range(TRACED):
        algorithm.train()
    algorithm.stop()
    assert "The learner's operations" in (tmp_path / "summary.txt").read_text()
    assert len(list(tmp_path.glob("*.json.gz"))) == 2


def test_a_label_goes_as_it_came() -> None:
    class Base:
        def f(self) -> int:
            return 1

    class Heir(Base):
        pass

    own = Base.f
    with _labelled([(Heir, "f", "x"), (Base, "f", "y"), (Heir, "f", "x")]):
        assert Heir().f() == 1 and "f" in vars(Heir) and Base.f is not own
    assert "f" not in vars(Heir) and Base.f is own


def test_memory_is_that_of_the_phase_and_times_are_without_phases_inside() -> None:
    memory = PhaseMemory({"this": os.getpid(), "nobody": 2**22 + 1})
    with memory.phase("outer"):
        with memory.phase("inner"):
            held = mmap.mmap(-1, 80_000_000)  # from the system: what is freed of before may serve any other request
            for page in range(0, len(held), mmap.PAGESIZE):
                held[page] = 1
            time.sleep(0.1)
        held.close()
    memory.stop()
    assert memory.peaks["inner"]["this"] - memory.peaks["built"]["this"] > 60_000_000
    assert memory.peaks["inner"]["nobody"] == 0
    assert memory.seconds["inner"] >= 0.1 and set(memory.seconds) == {"inner", "outer"}
    assert memory.seconds["outer"] < memory.seconds["inner"]


def test_a_flame_graph_that_fails_says_why(tmp_path: Path) -> None:
    program = tmp_path / "py-spy"
    program.write_text("#!/bin/sh\necho 'Permission denied: try sudo' >&2\nexit 1\n")
    program.chmod(0o755)
    flames = Flames(str(program), {"main process": os.getpid()}, tmp_path, 1.0)
    while not flames.ended:
        time.sleep(0.01)
    assert flames.end() == {"main process": "Permission denied: try sudo"}


GRID = "deep_sea:\n  run: RND\n  env: rllib_rnd/DeepSea-v0\n  config: {lr: {grid_search: [1e-4, 1e-3]}}\n"
STOCK = "cartpole:\n  run: PPO\n  env: CartPole-v1\n"


@pytest.mark.parametrize(
    ("text", "storage", "message"),
    [
        (GRID, "results", "--profile: records one trial, and deep_sea has several"),
        (STOCK, "results", "--profile: knows the parts of IntrinsicPPO and its presets; PPO is none of them"),
        (STOCK, "s3://bucket/x", "--profile: needs --storage to be a folder"),
    ],
    ids=["a sweep", "another algorithm", "a store"],
)
def test_what_cannot_be_profiled_is_refused(text: str, storage: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        check_profile(load_experiments(tmp_path / "x.yaml", Overrides()), storage)


def test_without_py_spy_the_rest_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.yaml").write_text(GRID.replace("{grid_search: [1e-4, 1e-3]}", "1e-4"))
    monkeypatch.setattr(profiling, "py_spy", lambda: None)
    note = check_profile(load_experiments(tmp_path / "x.yaml", Overrides()), "results")
    assert note is not None and 'pip install "rllib_rnd[profile]"' in note


def test_the_command_says_once_where_the_profile_is(tmp_path: Path) -> None:
    said: list[str] = []
    tell = TellProfile(tmp_path, said.append)
    tell.on_step_end(iteration=1, trials=[])
    tell.on_experiment_end(trials=[SimpleNamespace()])
    assert said == [f"Nothing was profiled: the run has ended before the end of iteration {TRACED}."]
    (tmp_path / "summary.txt").touch()
    for _ in range(2):
        tell.on_step_end(iteration=2, trials=[])
    assert said[1:] == [f"Profile: {tmp_path / 'summary.txt'} (training goes on; Ctrl-C stops it)"]
