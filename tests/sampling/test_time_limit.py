"""Limits within limits: each still holds when another has ended."""

from __future__ import annotations

import threading
import time

import pytest

from rllib_rnd.sampling.time_limit import HangError, time_limit, told_where

TOLD = "Timeout (0:"


def test_what_takes_long_is_told_after_a_limit_within_it_has_ended(capfd: pytest.CaptureFixture[str]) -> None:
    with told_where(0.3):
        with time_limit(60.0, "inner"):
            pass
        time.sleep(0.6)
    assert TOLD in capfd.readouterr().err


def test_what_ends_in_time_is_not_told(capfd: pytest.CaptureFixture[str]) -> None:
    with told_where(0.2), time_limit(0.2, "inner"):
        pass
    time.sleep(0.4)
    assert not capfd.readouterr().err


def test_blocks_of_threads_end_in_any_order(capfd: pytest.CaptureFixture[str]) -> None:
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with told_where(60.0):
            entered.set()
            leave.wait(10.0)

    thread = threading.Thread(target=other)
    with told_where(0.3):
        thread.start()
        assert entered.wait(10.0)
        leave.set()
        thread.join()
        time.sleep(0.6)
    assert TOLD in capfd.readouterr().err


def test_a_limit_within_a_limit_raises_and_the_outer_one_still_does() -> None:
    with pytest.raises(HangError, match="outer"), time_limit(0.5, "outer"):
        with pytest.raises(HangError, match="inner"), time_limit(0.1, "inner"):
            time.sleep(5.0)
        time.sleep(5.0)
