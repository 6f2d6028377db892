"""From Python nothing is logged that a user cannot act on."""

from __future__ import annotations

import logging
import warnings

import pytest

from rllib_rnd.ray_logs import _NOISE, _ONLY_ERRORS, _TOLD_OTHERWISE, drop_noise, only_errors
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
