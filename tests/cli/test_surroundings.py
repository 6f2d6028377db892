"""Hostile surroundings, through the command line: one sentence that says what to do, or it just works."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from typer.testing import CliRunner

from rllib_rnd.cli import app, surroundings
from rllib_rnd.cli.listing import KINDS
from rllib_rnd.cli.runtime import RayDoesNotStartError, console, ray_session
from rllib_rnd.cli.surroundings import advice_in, prepare_token, ray_folder
from rllib_rnd.errors import ConfigError

runner = CliRunner()
TRAIN = ["train", "file", "deep_sea_rnd"]


def refused(arguments: list[str]) -> str:
    """What a command says that must end with exit code 2 and one line, after those of what it waits for."""
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2, result.output
    lines = [line for line in result.output.strip().splitlines() if not line.endswith(" ...")]
    assert len(lines) == 1 and "Traceback" not in lines[0], result.output
    return result.output


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("file", "that is a file"),
        ("file/below", "a part of the path is a file"),
        ("x" * 300, "take a shorter one"),
        ("/proc/here", "write elsewhere"),
    ],
)
def test_a_storage_that_cannot_be_is_refused_before_anything_starts(tmp_path: Path, place: str, said: str) -> None:
    (tmp_path / "file").write_text("x")
    assert said in refused([*TRAIN, "--storage", str(tmp_path / place)])


def test_a_name_that_no_file_system_takes_is_refused(tmp_path: Path) -> None:
    assert "at most 255" in refused([*TRAIN, "--storage", str(tmp_path), "--name", "n" * 300])


@pytest.mark.parametrize("name", ["../x", "..", ".", "", " ", "a/b", "/tmp/a", "a\\b", ".hidden", "a\nb"])
@pytest.mark.parametrize("more", [[], ["--resume"]])
def test_a_name_that_is_no_folder_of_its_own_is_refused(tmp_path: Path, name: str, more: list[str]) -> None:
    storage = tmp_path / "results"
    said = refused([*TRAIN, "--storage", str(storage), "--name", name, *more])
    assert f"--name: {name!r} names no folder of its own" in said and not storage.exists()


@pytest.mark.parametrize("name", ["../x", ".", "", "a/b"])
@pytest.mark.parametrize("command", [["check"], ["train", "file"]])
def test_an_experiment_is_called_as_a_folder_may_be(tmp_path: Path, name: str, command: list[str]) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f'\n"{name}": {{run: RND, env: CartPole-v1}}\n')
    said = refused([*command, str(path)])
    assert f"{path}:2: " in said and f"{name!r} names no folder of its own" in said


@pytest.mark.parametrize("number", sorted(surroundings._ADVICE))
@pytest.mark.parametrize("where", ["tempfile.TemporaryFile", "rllib_rnd.cli.listing.print_list"])
def test_every_fault_of_the_system_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, where: str
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path))

    monkeypatch.setattr(where, fail)
    said = refused(["list"] if "list" in where else [*TRAIN, "--storage", str(tmp_path)])
    assert os.strerror(number) in said and surroundings._ADVICE[number] in said


def test_a_full_disk_is_known_by_its_text_too() -> None:
    assert "make room" in str(advice_in("OSError: [Errno 28] Error writing bytes to file. Detail: [errno 28] No space"))
    assert advice_in("ValueError: 28") is None


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What Ray is started with."""
    options: dict[str, Any] = {}
    monkeypatch.setattr(ray, "init", lambda **given: options.update(given))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0})
    yield options


def test_another_ray_on_this_machine_is_left_alone(started: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with ray_session(cpus=1.0):
        assert started["address"] == "local"


def test_training_joins_the_cluster_that_the_surroundings_name(
    started: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("rllib_rnd.cli.train._run", lambda *args: 0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert runner.invoke(app, [*TRAIN, "--storage", str(tmp_path)]).exit_code == 0
    assert started["address"] == address and "num_cpus" not in started


def test_a_cluster_that_does_not_answer_is_told_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    said = refused([*TRAIN, "--storage", str(tmp_path)])
    assert "cannot reach the cluster at 127.0.0.1:1" in said and "or local for a Ray of this machine" in said


@pytest.mark.parametrize("kind", [Exception, RuntimeError, ray.exceptions.RaySystemError])
def test_a_ray_that_does_not_start_is_one_sentence_and_leaves_no_process(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    begun: list[subprocess.Popen[bytes]] = []

    def init(**_: object) -> None:
        begun.append(subprocess.Popen(["sleep", "600"]))
        raise kind("The current node timed out during startup. This could happen because\nof much")

    monkeypatch.setattr(ray, "init", init)
    earlier = subprocess.Popen(["sleep", "600"])
    try:
        with (
            pytest.raises(
                RayDoesNotStartError, match=r"Ray does not start on this machine \(.*timed out.*\).*try again"
            ),
            ray_session(cpus=1.0),
        ):
            pytest.fail("Ray was not started")
        assert [process.wait(10.0) for process in begun] == [-signal.SIGKILL] * 2 and earlier.poll() is None
    finally:
        earlier.kill()
        earlier.wait()


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
@pytest.mark.parametrize("folder", ["/tmp/" + "l" * 90, "/proc/nowhere"])
def test_ray_gets_a_folder_that_holds_its_sockets(
    started: dict[str, Any], monkeypatch: pytest.MonkeyPatch, variable: str, folder: str
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv(variable, folder)
    with ray_session(cpus=1.0):
        chosen = started["_temp_dir"]
    assert len(chosen + surroundings._LONGEST_SOCKET) <= 107
    with tempfile.TemporaryFile(dir=chosen):
        pass


def test_no_folder_for_sockets_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "_can_write", lambda folder: False)
    with pytest.raises(
        ConfigError, match=r"TMPDIR: .* cannot hold Ray's sockets; allowed is a writable folder of at most"
    ):
        ray_folder()


@pytest.mark.parametrize("home", ["/proc/nowhere", "/dev/null", "writable"])
def test_ray_has_a_secret_with_and_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path) if home == "writable" else home)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    prepare_token()
    assert (len(os.environ.get("RAY_AUTH_TOKEN", "")) >= 32) == (home != "writable")


COMMANDS = [[], ["train"], ["train", "file"], ["evaluate"], ["record"], ["map"], ["list"], ["check"]]
PRINTING = [[*command, "--help"] for command in COMMANDS] + [["list", kind] for kind in KINDS]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_every_command_prints_where_characters_are_missing(arguments: list[str], encoding: str) -> None:
    result = CliRunner(charset=encoding).invoke(app, arguments)
    assert result.exit_code == 0, result.exception
    assert result.output


@pytest.mark.parametrize(
    "arguments", [["evaluate", "rün"], ["map", "漢"], ["check", "ü.yaml"], ["list", "ü"]], ids=" ".join
)
def test_errors_too(arguments: list[str]) -> None:
    result = CliRunner(charset="ascii").invoke(app, arguments)
    assert result.exit_code == 2 and result.output.startswith("rllib: ")


def test_printing_replaces_what_cannot_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    console().print("rün 漢 \udce4")
    assert raw.getvalue() == b"r?n ? ?\n"
