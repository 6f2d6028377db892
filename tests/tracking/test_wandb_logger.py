"""Weights & Biases, offline: what is logged, a run that goes on, and that no key is ever written."""

from __future__ import annotations

import builtins
import importlib
import pickle
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rllib_rnd import RNDConfig
from rllib_rnd.errors import ConfigError
from rllib_rnd.tracking.identity import RunIdentity
from rllib_rnd.tracking.wandb_logger import WandbLogger, WandbOptions, wandb_options

wandb = pytest.importorskip("wandb", reason="the extra wandb is not installed")

KEY = "5eC4e7" + "0123456789abcdef" * 2 + "5e"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("WANDB_PROJECT", raising=False)


def records(file: Path) -> Iterator[Any]:
    """The entries of wandb's file: a header, then pieces (checksum, length, kind) in blocks of 32 KiB."""
    record_class: Any = importlib.import_module("wandb.proto.wandb_internal_pb2").Record
    data, place, whole = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole one, or the last piece
            record = record_class()
            record.ParseFromString(whole)
            whole = b""
            yield record


def trial(name: str = "a", **drawn: object) -> Any:
    config = {"lr": 0.5, **drawn}
    return SimpleNamespace(trial_id=name, config=config, evaluated_params=dict(drawn), path=f"/storage/run/{name}")


def result(steps: int) -> dict[str, Any]:
    runners = {"num_env_steps_sampled_lifetime": steps, "episode_return_mean": steps / 100}
    return {"env_runners": runners, "training_iteration": steps // 100}


def make(folder: Path, said: list[str], status: str = "FINISHED", sweep: bool = False) -> WandbLogger:
    options = wandb_options("proj")
    assert options == WandbOptions("proj", offline=True)
    return WandbLogger(
        options,
        RunIdentity("study", "k", sweep, None, {"commit": "abc"}),
        folder,
        lambda values: RNDConfig().update_from_dict(dict(values)),
        said.append,
        lambda result: status,
    )


def test_a_run_goes_on_as_the_same_one_and_no_key_is_written(tmp_path: Path) -> None:
    said: list[str] = []
    for name, steps in (("a", (100, 200, 300)), ("b", (300, 400))):  # the second began at the checkpoint of 200
        logger = make(tmp_path, said)
        logger.log_trial_start(trial(name))
        for count in steps:
            logger.on_trial_result(trial=trial(name), result=result(count))
        pickle.dumps(logger)  # as Tune does with all callbacks
        logger.log_trial_end(trial(name))
        assert logger.sync_command() == f"wandb sync {tmp_path}/wandb/offline-run-*"
    assert said == []
    wandb.teardown()  # its own process writes the files
    files = sorted(tmp_path.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    assert len(files) == 2 and len({path.name for path in files}) == 1  # two stretches of one run
    rows: list[dict[str, str]] = []
    for file in files:
        for record in records(file):
            if record.WhichOneof("record_type") == "history":
                rows.append({item.key or "/".join(item.nested_key): item.value_json for item in record.history.item})
            if record.WhichOneof("record_type") == "run":
                config = {item.key: item.value_json for item in record.run.config.update}
                assert (record.run.project, record.run.display_name) == ("proj", "study")
                assert config["lr"] == "0.5" and '"commit": "abc"' in config["run"].replace('":"', '": "')
    assert [(row["_step"], row["agent_steps"], row["return_mean"]) for row in rows] == [
        (str(i), str(100 * i), str(i)) for i in (1, 2, 3, 4)
    ]
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_trials_of_a_sweep_are_runs_of_their_own_and_settings_may_change(tmp_path: Path) -> None:
    said: list[str] = []
    logger = make(tmp_path, said, sweep=True)
    one, two = trial("a", lr=0.25), trial("b", lr=0.125)
    for each in (one, two):
        logger.log_trial_start(each)
        logger.on_trial_result(trial=each, result=result(100))
    one.config = {**one.config, "lr": 0.75}  # as population based training does
    logger.on_trial_result(trial=one, result=result(200))
    assert logger._runs["a"].config["lr"] == 0.75
    logger.log_trial_end(two, failed=True)
    logger.close("KILLED")
    assert said == [] and len(list(tmp_path.glob("wandb/offline-run-*"))) == 2


def test_a_fault_of_wandb_costs_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**kwargs: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("wandb.init", broken)
    said: list[str] = []
    logger = make(tmp_path, said)
    for name in ("a", "b"):
        logger.log_trial_start(trial(name))
        logger.on_trial_result(trial=trial(name), result=result(100))
        logger.log_trial_end(trial(name))
    assert said == ["Weights & Biases does not work (disk full); training goes on without it."]
    assert logger.sync_command() == ""


class Moody:
    """A run of wandb's that takes nothing while it is told so."""

    takes = True

    def __init__(self, **_: Any) -> None:
        self.rows: list[tuple[int, float]] = []

    def define_metric(self, *_: Any, **__: Any) -> None: ...

    def log(self, metrics: dict[str, float], step: int) -> None:
        if not Moody.takes:
            raise BrokenPipeError("its process is gone")
        self.rows.append((step, metrics["agent_steps"]))

    def finish(self, **_: Any) -> None: ...


def test_results_that_it_does_not_take_are_logged_later_once_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wandb.init", Moody)
    (tmp_path / "wandb").mkdir()
    said: list[str] = []
    logger, one = make(tmp_path, said), trial("a")
    logger.log_trial_start(one)
    run: Any = logger._runs["a"]
    for number in range(1, 7):
        monkeypatch.setattr(Moody, "takes", number not in (2, 3, 6))
        logger.on_trial_result(trial=one, result=result(100 * number))
        if number == 3:
            pickle.dumps(logger)
            assert [*make(tmp_path, [])._logged.values()] == [1]  # what a resume would go on from
    assert run.rows == [(number, 100.0 * number) for number in range(1, 6)]
    logger.log_trial_end(one)
    refused = "Weights & Biases takes no results (its process is gone); they are kept and logged later."
    again = "Weights & Biases takes results again; all that were kept are logged."
    assert said == [refused, again, refused, "1 results are not in Weights & Biases; result.json has them."]


def test_what_it_needs_is_asked_for_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wandb_options(None) is None
    monkeypatch.setenv("WANDB_PROJECT", "proj")
    assert wandb_options(None) == WandbOptions("proj", offline=True)
    with pytest.raises(ConfigError, match=r"--wandb: 'me/x' is no name of a project; an entity goes into WANDB_ENTITY"):
        wandb_options("me/x")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr("wandb.login", lambda prompt: False)
    with pytest.raises(ConfigError, match=r"WANDB_PROJECT: wandb .* has no key .*WANDB_MODE=offline"):
        wandb_options(None)

    def away(prompt: bool) -> bool:
        raise OSError("its server is away")

    monkeypatch.setattr("wandb.login", away)
    with pytest.raises(ConfigError, match=r"WANDB_PROJECT: wandb .* cannot log in \(its server is away\);"):
        wandb_options(None)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_options("x") is None
    monkeypatch.setenv("WANDB_MODE", "offline")
    real = builtins.__import__

    def no_wandb(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "wandb":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_wandb)
    with pytest.raises(ConfigError, match=r"pip install 'rllib_rnd\[wandb\]'"):
        wandb_options("x")
