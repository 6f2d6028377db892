"""The commands that the end of a run suggests."""

import sys
from pathlib import Path

import pytest

from rllib_rnd.cli.summary import Report, further, relative, typed

STEPS = "env_runners/num_env_steps_sampled_lifetime"
RETURN = "env_runners/episode_return_mean"


def report(command: str, stop: dict[str, float], interrupted: bool = False) -> Report:
    return Report("x", "/r/x", command, None, interrupted, stop)


def test_a_finished_run_goes_on_with_its_condition_doubled() -> None:
    result = {STEPS: 1000}
    command = "rllib train file x.yaml --stop agent_steps=1e3 --stop iteration=9 --resume"
    expected = "rllib train file x.yaml --stop iteration=9 --resume --stop agent_steps=2000"
    assert further(report(command, {STEPS: 1000.0}), result) == expected


def test_nothing_is_suggested_where_nothing_can_be_doubled() -> None:
    assert further(report("c", {RETURN: 5.0}), {RETURN: 6.0}) == ""
    assert further(report("c", {STEPS: 5.0}), {STEPS: 4}) == ""
    assert further(report("c", {STEPS: 5.0}, interrupted=True), {STEPS: 6}) == ""


def test_paths_are_shortened_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert relative(str(tmp_path / "results" / "c")) == "results/c"
    assert relative("/elsewhere/c") == "/elsewhere/c"


def test_commands_can_be_typed_as_they_are_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bin_folder = tmp_path / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    for name in ("python", "rllib"):
        (bin_folder / name).touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(bin_folder / "python"))
    monkeypatch.setenv("PATH", "/usr/bin")
    assert typed("rllib evaluate c") == ".venv/bin/rllib evaluate c"
    assert typed("mlflow ui") == "mlflow ui"  # not installed here: nothing better is known
    monkeypatch.setenv("PATH", str(bin_folder))
    assert typed("rllib evaluate c") == "rllib evaluate c"
