"""Secrets of the user's are in nothing that a run prints or writes; what would write them is refused."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rllib_rnd import RNDConfig
from rllib_rnd.cli.surroundings import check_storage
from rllib_rnd.cli.train_options import TrainOptions, resume_command, start_command
from rllib_rnd.errors import ConfigError
from rllib_rnd.redaction import has_password, secrets_in, without_password

ROOT = Path(__file__).resolve().parents[2]

#: One in each place that users keep them in; the URI's are of a server that does not answer.
PLANTED = {
    "WANDB_API_KEY": "planted0wandb0key0",
    "AWS_SECRET_ACCESS_KEY": "planted0aws0key000",
    "HF_TOKEN": "planted0hub0token0",
    "MLFLOW_TRACKING_PASSWORD": "planted0mlflow0pw0",
    "MLFLOW_TRACKING_TOKEN": "planted0mlflow0tok",
    "RAY_AUTH_TOKEN": "planted0ray0token0" * 2,
    "MLFLOW_TRACKING_URI": "http://planted0user:planted0uri0pw000@127.0.0.1:9/api?token=planted0query0000",
}
NEEDLES = sorted({*(value for name, value in PLANTED.items() if "URI" not in name)})
NEEDLES += ["planted0uri0pw000", "planted0query0000"]


@dataclass(frozen=True)
class Traces:
    """What is left of some commands.

    Attributes:
        output: what they printed.
        folder: where all their files are, Ray's logs too.
    """

    output: str
    folder: Path


@pytest.fixture(scope="module")
def traces() -> Iterator[Traces]:
    """A run with all secrets in its environment, in a folder with a short name, as Ray's sockets need it."""
    with tempfile.TemporaryDirectory(prefix="s", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        environment = {**os.environ, **PLANTED, "HOME": f"{name}/home", "RAY_TMPDIR": f"{name}/r"}
        for made in ("home", "r"):
            (folder / made).mkdir()
        done = subprocess.run(
            [sys.executable, "-m", "tests.security.leave_traces", name],
            cwd=ROOT,
            env={**environment, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        yield Traces(done.stdout + done.stderr, folder)


def test_all_was_done(traces: Traces) -> None:
    for command in ("train", "runs", "report", "export", "evaluate"):
        assert f"{command}: 0\n" in traces.output, traces.output
    assert "MLflow store http://***@127.0.0.1:9/" in traces.output  # it was tried, and told of
    names = {path.name for path in traces.folder.rglob("*")}
    assert {
        "result.json",
        "params.json",
        "run.json",
        "mlruns.db",
        "report.html",
        "evaluation.json",
        "policy",
        "logger.pkl",
    } <= names
    assert any(name.startswith("checkpoint_") for name in names)
    assert any(name.startswith("events.out") for name in names)
    assert any(name.startswith("raylet") for name in names)  # Ray's logs


@pytest.mark.parametrize("needle", NEEDLES)
def test_no_secret_is_printed(traces: Traces, needle: str) -> None:
    assert needle not in traces.output


@pytest.mark.parametrize("needle", NEEDLES)
def test_no_secret_is_in_any_file(traces: Traces, needle: str) -> None:
    files = [path for path in traces.folder.rglob("*") if path.is_file()]
    assert len(files) > 30
    found = [str(path) for path in files if needle.encode() in path.read_bytes()]
    assert not found


def test_the_search_would_find_one(traces: Traces) -> None:
    files = [
        path for path in traces.folder.rglob("*") if path.is_file() and b"rllib_rnd/DeepSea-v0" in path.read_bytes()
    ]
    assert {"run.json", "params.json", "result.json", "params.pkl"} <= {path.name for path in files}


@pytest.mark.parametrize(
    "uri", ["s3://KEY:planted0@bucket/runs", "s3://bucket/runs?secret_key=planted0", "gs://user@bucket"]
)
def test_a_storage_with_a_password_is_refused(uri: str) -> None:
    assert has_password(uri)
    with pytest.raises(ConfigError, match="--storage") as error:
        check_storage(uri, ["x"])
    assert "planted0" not in str(error.value)


@pytest.mark.parametrize(
    "uri", ["s3://bucket/runs", "gs://bucket/a@b", "results", "/a/user:name@host", "http://host:80/x"]
)
def test_others_have_none(uri: str) -> None:
    assert not has_password(uri)


def test_commands_that_are_kept_hold_no_password() -> None:
    options = TrainOptions(storage="s3://KEY:planted0@bucket/a", checkpoint="s3://bucket/b?token=planted0")
    for command in (start_command(["x.yaml"], options), resume_command(["x.yaml"], options, "x")):
        assert "planted0" not in command and "bucket" in command


def test_text_with_several_uris_loses_every_password() -> None:
    text = "tried http://a:planted0@h/x, then 'https://planted0@h?api_key=planted0&page=2'"
    assert without_password(text) == "tried http://***@h/x, then 'https://***@h?api_key=***&page=2'"


@pytest.mark.parametrize("name", ["token", "password", "db_password", "api_key", "apikey", "AWS_SECRET_ACCESS_KEY"])
def test_a_secret_among_an_environments_options_is_refused(name: str) -> None:
    config = RNDConfig().environment("CartPole-v1", env_config={"server": {name: "planted0"}})
    with pytest.raises(ConfigError, match=rf"env_config\.server\.{name}") as error:
        config.validate()
    assert "planted0" not in str(error.value)


def test_options_that_only_sound_like_one_are_none() -> None:
    options = {"key": "yellow", "tokens": "a", "pad_token": "<pad>", "token": "", "secrets": 3, "keys": {"door": "red"}}
    assert list(secrets_in(options, "env_config")) == []
