"""What cannot be interrupted ends its process, and says where it was; what can is interrupted."""

from __future__ import annotations

import signal
import threading
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rllib_rnd.sampling import time_limit as limits
from rllib_rnd.sampling.crew import Crew
from rllib_rnd.sampling.time_limit import HangError, time_limit
from tests.faults import sampling_faults as faults


def test_a_process_that_nothing_interrupts_ends_with_code_1_and_tells_where_it_is() -> None:
    outcome = faults.hangs_for_good_in_the_main_process()
    assert "env: 'tests.faults.faulty:Faulty' hangs: it is not done within sample_timeout_s = 2.0 s" in outcome.seen


@pytest.mark.parametrize("wait", [threading.Event().wait, lambda: time.sleep(60), threading.Semaphore(0).acquire])
def test_waiting_is_interrupted_and_the_handler_of_before_is_back(wait: Any) -> None:
    before = signal.getsignal(limits._SIGNAL)
    with pytest.raises(HangError, match="the game hangs"), time_limit(0.05, "the game hangs"):
        wait()
    assert signal.getsignal(limits._SIGNAL) == before


def test_nothing_happens_to_what_comes_back_in_time_or_has_no_limit() -> None:
    with time_limit(0.05, "never"):
        pass
    with time_limit(None, "never"):
        time.sleep(0.1)


def test_runners_that_rllib_itself_asked_are_ended_when_they_do_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, tuple[str, int]] = {"old": ("tag", 2)}
    group = cast(Any, SimpleNamespace(_worker_manager=SimpleNamespace(_in_flight_req_to_actor_id=asked)))
    crew = Crew(group, cast(Any, SimpleNamespace(limit=1e-9)), "limit", dict)
    ended: list[list[int]] = []
    monkeypatch.setattr(crew, "_stop_hanging", ended.append)
    crew.stop_stuck()
    assert not ended
    asked["new"] = ("tag", 1)
    crew.stop_stuck()
    assert ended == [[2]]
