"""What cannot be interrupted ends its process, and says where it was; what can is interrupted."""

from __future__ import annotations

import signal
import threading
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
import ray
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from rllib_rnd.sampling import runners
from rllib_rnd.sampling import time_limit as limits
from rllib_rnd.sampling.crew import Crew
from rllib_rnd.sampling.env_runner import RolloutEnvRunner
from rllib_rnd.sampling.time_limit import HangError, time_limit
from tests.conftest import small_config
from tests.faults.environment_faults import hangs_for_good_in_the_main_process


def test_a_process_that_nothing_interrupts_ends_with_code_1_and_tells_where_it_is() -> None:
    outcome = hangs_for_good_in_the_main_process()
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


def test_a_process_in_anothers_place_takes_no_weights_before_it_begins_anew() -> None:
    """Ray may have it there before the weights of an iteration are sent; having got them it would pass for the old."""
    config = small_config(env="rllib_rnd/Catch-v0", warmup_steps=0).env_runners(rollout_fragment_length=4)
    config.validate()
    old, new = (RolloutEnvRunner(config=config, worker_index=1, num_workers=1) for _ in range(2))
    state = {**old.get_state(components="rl_module"), WEIGHTS_SEQ_NO: 7}
    runners._take_weights(new, state)
    assert new.sample_for_driver() == (None, None)  # by which it is noticed
    assert new.begin_anew(state, (7, 1)) and new.seeds.first != old.seeds.first and new.has_weights


def test_a_runner_that_was_only_out_of_reach_has_new_names_and_is_no_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it played meanwhile nobody has seen: what learners know of its episodes does not go on."""
    group = cast(Any, SimpleNamespace(_worker_manager=SimpleNamespace(set_actor_state=lambda *_, **__: None)))
    crew = Crew(group, cast(Any, None), "limit", lambda: {WEIGHTS_SEQ_NO: 1})
    monkeypatch.setattr(ray, "put", lambda state: state)
    monkeypatch.setattr(crew, "start", lambda *_, **__: {})
    monkeypatch.setattr(crew, "answers", lambda _: {2: False, 3: True})
    crew._away_since = {2: 0.0, 3: 0.0}
    crew._take_back([2, 3])
    assert crew.lives == {2: 1, 3: 1} and crew.restarts == 1


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
