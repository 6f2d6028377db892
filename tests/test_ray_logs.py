"""From Python nothing is logged that a user cannot act on."""

from __future__ import annotations

import logging
import os
import re
import warnings
from pathlib import Path

import pytest

import rllib_rnd
from rllib_rnd.ray_logs import (
    _NOISE,
    _ONLY_ERRORS,
    _TOLD_OTHERWISE,
    drop_noise,
    environment,
    only_errors,
    quiet_tune,
)
from tests.conftest import small_config


@pytest.mark.parametrize("name", _NOISE)
def test_noise_is_dropped_and_all_else_is_heard(name: str) -> None:
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    try:
        drop_noise()
        logger.error("xx %s xx", _NOISE[name])
        logger.error("something else")
    finally:
        logger.removeHandler(handler)
    assert heard == ["something else"]


def test_commands_hear_errors_alone() -> None:
    loggers = [logging.getLogger(name) for name in (*_ONLY_ERRORS, *_TOLD_OTHERWISE)]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        try:
            only_errors()
            said = [logger.isEnabledFor(logging.WARNING) for logger in loggers]
            failed = [logging.getLogger(name).isEnabledFor(logging.ERROR) for name in ("ray.tune", "ray.tune.tune")]
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
    assert not any(said) and failed == [True, False]


@pytest.mark.usefixtures("ray_session")
@pytest.mark.filterwarnings("default")
def test_building_and_training_warns_of_nothing(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    caplog.set_level(logging.WARNING)
    config = small_config()
    config.debugging(log_level="WARN")
    algorithm = config.build_algo()
    try:
        algorithm.train()
    finally:
        algorithm.stop()
    assert [(r.name, r.getMessage()) for r in caplog.records if r.levelno >= logging.WARNING] == []
    assert [str(w.message) for w in recwarn] == []


def test_the_environment_is_what_it_was_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a variable that was set, and of one that was not; also after an error."""
    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "1")
    monkeypatch.delenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", raising=False)
    before = dict(os.environ)
    with pytest.raises(KeyError), quiet_tune():
        assert os.environ["RAY_AIR_NEW_OUTPUT"] == "0" and os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] == "1"
        raise KeyError
    assert dict(os.environ) == before
    with environment({"RAY_AIR_NEW_OUTPUT": "2"}):
        del os.environ["RAY_AIR_NEW_OUTPUT"]  # whoever else takes it away
    assert dict(os.environ) == before


#: Who may write to the environment for longer than a `with environment`, and why it harms nothing that comes after.
LASTING = {
    "envs/mario.py": "puts back what an import has changed",
    "envs/pixels.py": "no sound: nothing that is learned",
    "analysis/player.py": "neither screen nor sound: nothing that is learned",
    "cli/runtime.py": "of a command, whose process ends with it",
    "cli/surroundings.py": "Ray's secret, of a command",
    "training/network.py": "of a learner's process, which has no other use",
    "modules/compiler.py": "what torch's own setting of determinism would set, were the compiler there",
    "tracking/mlflow_logger.py": "the same in every training of this package",
}


def test_nobody_else_changes_the_environment_for_good() -> None:
    """What stays set changes what the process does next: a training without results, for one."""
    root = Path(rllib_rnd.__file__).parent
    writes = re.compile(r"os\.environ(\[[^]]+\] *=[^=]|\.(setdefault|update|pop|clear)\()|putenv\(|del os\.environ")
    found = {p.relative_to(root).as_posix() for p in root.rglob("*.py") if writes.search(p.read_text("utf-8"))}
    assert found - {"ray_logs.py"} == set(LASTING)
