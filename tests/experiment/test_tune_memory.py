"""Tune's driver holds no result of a trial once it has been dealt with."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.air.execution import FixedResourceManager, ResourceRequest
from ray.air.execution._internal import RayActorManager

from rllib_rnd.experiment.conduct import Plan, build_scheduler
from rllib_rnd.experiment.search import AshaOptions, MedianOptions
from rllib_rnd.experiment.tune_memory import forget_results

pytestmark = pytest.mark.usefixtures("ray_session")


class Answers:
    def at_once(self) -> bytes:
        return bytes(1000)

    def later(self, file: str) -> str:
        while not Path(file).exists():
            time.sleep(0.02)
        return "late"


def wait_for(manager: RayActorManager, answers: list[object], count: int) -> None:
    while len(answers) < count:
        assert manager.next(timeout=120.0)


def test_answered_calls_are_forgotten_and_those_under_way_are_not(tmp_path: Path) -> None:
    manager, answers = RayActorManager(resource_manager=FixedResourceManager({"CPU": 1})), list[object]()
    actor = manager.add_actor(Answers, {}, resource_request=ResourceRequest([{"CPU": 0.01}]))
    assert manager.next(timeout=120.0) and manager.is_actor_started(actor)
    for i in range(3):
        manager.schedule_actor_task(actor, "at_once", on_result=lambda _, answer: answers.append(answer))
        wait_for(manager, answers, i + 1)
    noted: Any = manager._tracked_actors_to_task_futures
    assert len(noted[actor]) == 3, "Tune has mended this itself: forget_results() can go"
    manager.schedule_actor_task(
        actor, "later", kwargs={"file": str(tmp_path / "go")}, on_result=lambda _, answer: answers.append(answer)
    )
    forget_results(SimpleNamespace(_actor_manager=manager))  # type: ignore[arg-type]
    assert len(noted[actor]) == 1
    (tmp_path / "go").touch()
    wait_for(manager, answers, 4)
    assert answers == [bytes(1000)] * 3 + ["late"]
    forget_results(SimpleNamespace(_actor_manager=manager))  # type: ignore[arg-type]
    assert not noted[actor]
    manager.remove_actor(actor, kill=True)
    manager.cleanup()


@pytest.mark.parametrize(
    "options",
    [
        None,
        AshaOptions(metric="m", mode="max", time_attr="training_iteration", max_t=9, grace_period=1),
        MedianOptions(metric="m", mode="max", time_attr="training_iteration"),
    ],
)
def test_every_scheduler_forgets_with_each_result(options: Any) -> None:
    events = SimpleNamespace(get_futures=lambda: {"under way"})
    noted = {"actor": {"answered", "under way"}}
    manager = SimpleNamespace(_actor_task_events=events, _tracked_actors_to_task_futures=noted)
    controller: Any = SimpleNamespace(
        _tune_controller=SimpleNamespace(_actor_manager=manager, checkpoint=lambda **_: None)
    )
    scheduler = build_scheduler(options, Plan())
    trial: Any = SimpleNamespace(trial_id="a", config={}, stopping_criterion={})
    scheduler.on_trial_result(controller, trial, {"training_iteration": 1})  # without the metric: passed over
    assert noted == {"actor": {"under way"}}
