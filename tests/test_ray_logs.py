"""From Python nothing is logged that a user cannot act on."""

from __future__ import annotations

import logging

import pytest

from rllib_rnd.ray_logs import _NOISE, drop_noise
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
