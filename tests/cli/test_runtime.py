"""Ray of the command line: a start that fails is one line, whatever Ray raises."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray
from ray._private import worker
from typer.testing import CliRunner

from rllib_rnd.cli import app
from rllib_rnd.cli.runtime import RayDoesNotStartError, ray_session
from rllib_rnd.errors import ConfigError

LATE = "The current node timed out during startup. This could happen because ..."


@pytest.mark.parametrize(
    "error", [Exception(f"{LATE}\nmore"), ConnectionError(LATE), KeyError(LATE)]
)  # Ray's own class
@pytest.mark.parametrize(
    ("address", "kind", "tries"), [(None, RayDoesNotStartError, 2), ("auto", ConfigError, 1)], ids=["here", "cluster"]
)
def test_a_start_that_fails_is_one_line(
    error: Exception, address: str | None, kind: type[Exception], tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[object] = []

    def fails(**options: object) -> None:
        tried.append(options)
        raise error

    monkeypatch.setattr(ray, "init", fails)
    with pytest.raises(kind) as caught, ray_session(1.0, address):
        pytest.fail("it has not started")
    assert "timed out during startup" in str(caught.value) and "\n" not in str(caught.value)
    assert len(tried) == tries


def test_a_ray_that_starts_the_second_time_is_good_enough(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[object] = []

    def at_last(**options: object) -> None:
        tried.append(options)
        if len(tried) == 1:
            raise RuntimeError(LATE)

    monkeypatch.setattr(ray, "init", at_last)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with ray_session(1.0):
        assert len(tried) == 2 and tried[0] == tried[1]
    assert "Ray did not start (The current node timed out" in capsys.readouterr().out


def test_a_ray_that_does_not_start_is_no_mistake_of_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(**_: object) -> None:
        raise RuntimeError(LATE)

    monkeypatch.setattr(ray, "init", fails)
    done = CliRunner().invoke(
        app, ["train", "file", "deep_sea_rnd", "--storage", str(tmp_path), "--stop", "iteration=1"]
    )
    assert done.exit_code == 1 and "Ray does not start on this machine" in done.output, done.output
    assert not any(tmp_path.iterdir())


def test_paragraphs_of_ray_are_for_the_verbose(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(worker, "_worker_logs_enabled", True)  # as Ray has it, which the tests' Ray has not
    for verbose in (False, True):
        with ray_session(1.0, verbose=verbose):
            died = {"lines": [f"A worker died {verbose}"], "pid": "raylet", "is_err": False}  # as Ray itself prints it
            worker.print_to_stdstream(died, ignore_prefix=False)
    said = capsys.readouterr().out
    assert "A worker died True" in said and "A worker died False" not in said


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_command_ends_it(error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(**_: object) -> None:
        raise error

    monkeypatch.setattr(ray, "init", ends)
    with pytest.raises(error), ray_session(1.0):
        pytest.fail("it has not started")
