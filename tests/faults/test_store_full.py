"""Ray's object store without room: one line that says what helps; nothing is counted, nothing saved in part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray import exceptions
from ray.rllib.algorithms.ppo import PPO

from rllib_rnd.checkpoints import checkpoints_in
from rllib_rnd.checkpoints.saving import TrialSaver
from rllib_rnd.resources import StoreFullError, is_full_store, told_of_full_store
from tests.checkpoints.test_saving import storage_in
from tests.conftest import small_config
from tests.faults.placing import Fault, placed

pytestmark = pytest.mark.usefixtures("ray_session")

FULL = exceptions.ObjectStoreFullError("Failed to put object")
OF_ANOTHER_PROCESS = exceptions.RayTaskError(
    "update_from_rollouts", "Traceback ...", exceptions.OutOfDiskError("no room")
)
SYNC = "rllib_rnd.sampling.runners:Runners.sync_weights"


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (FULL, True),
        (exceptions.OutOfDiskError("no room"), True),
        (OF_ANOTHER_PROCESS, True),
        (OF_ANOTHER_PROCESS.as_instanceof_cause(), True),  # as Ray hands it on
        (exceptions.RayTaskError("f", "Traceback ...", ValueError("wrong")), False),
        (exceptions.RayActorError(error_msg="it died"), False),
        (OSError(28, "No space left on device"), False),
    ],
)
def test_rays_errors_of_a_full_store_are_known(error: Exception, full: bool) -> None:
    assert is_full_store(error) is full
    with pytest.raises(StoreFullError if full else type(error)) as caught, told_of_full_store():
        raise error
    if full:
        assert "num_envs_per_env_runner" in str(caught.value) and "\n" not in str(caught.value)


def test_weights_that_do_not_fit_end_the_iteration_in_one_line() -> None:
    algorithm = small_config().build_algo()
    algorithm.train()
    with placed(Fault(SYNC, act="raise", error="ray.exceptions:ObjectStoreFullError")), pytest.raises(StoreFullError):
        algorithm.train()
    assert algorithm.iteration == 1
    algorithm.stop()


def test_a_state_that_does_not_fit_is_not_saved_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OF_ANOTHER_PROCESS

    algorithm = small_config().build_algo()
    monkeypatch.setattr(PPO, "get_state", full)
    saver = TrialSaver(storage_in(tmp_path))
    assert saver.save(algorithm._write_checkpoint, {}).checkpoint is None
    assert saver.problem.startswith("Ray's object store is full") and not checkpoints_in(tmp_path)
    monkeypatch.undo()
    assert saver.save(algorithm._write_checkpoint, {}).checkpoint is not None and not saver.problem
    algorithm.stop()
