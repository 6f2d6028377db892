"""TensorBoard files: the curated metrics against agent steps, in place of Tune's own."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune.logger import TBXLoggerCallback
from ray.tune.utils.callback import _create_default_callbacks

from rllib_rnd.tracking.tensorboard import TensorBoardLogger


@dataclass(eq=False)
class Trial:
    local_path: str
    evaluated_params: dict[str, Any]

    def init_local_path(self) -> None:
        Path(self.local_path).mkdir(exist_ok=True)


def result(steps: int) -> dict[str, Any]:
    runners = {"num_env_steps_sampled_lifetime": steps, "episode_return_mean": 2.0, "sample": 1}
    plugins = {"rnd_loss": 0.5}
    return {
        "env_runners": runners,
        "learners": {"default_policy": {"plugins": plugins, "module_trainable": 9}},
        "training_iteration": steps // 100,
    }


def points(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], set[str]]:
    """The curves in a folder, and the plug-ins that the other entries are for (length, checksum, data, checksum)."""
    from tensorboardX.proto.event_pb2 import Event

    curves: dict[str, list[tuple[int, float]]] = {}
    others = set()
    (file,) = folder.glob("events.out.tfevents.*")
    data, place = file.read_bytes(), 0
    while place < len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        event = Event.FromString(data[place + 12 : place + 12 + length])
        place += 16 + length
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name:
                others.add(value.metadata.plugin_data.plugin_name)
            else:
                curves.setdefault(value.tag, []).append((event.step, value.simple_value))
    return curves, others


def test_curves_are_the_curated_ones_by_agent_steps(tmp_path: Path) -> None:
    trial: Any = Trial(
        local_path=str(tmp_path / "trial"), evaluated_params={"lr": 0.5, "intrinsic_reward": {"type": "rnd"}}
    )
    logger = TensorBoardLogger()
    logger.log_trial_start(trial)
    logger.on_trial_result(trial=trial, result=result(100))
    logger.on_trial_result(trial=trial, result=result(200))
    logger.log_trial_end(trial)
    logger.log_trial_end(trial)  # as Tune does for a trial that fails while it ends
    curves, others = points(tmp_path / "trial")
    assert set(curves) == {"agent_steps", "iteration", "return_mean", "rnd_loss"}
    assert curves["return_mean"] == [(100, 2.0), (200, 2.0)]
    assert others == {"hparams"}  # the table of settings


def test_tune_adds_no_logger_of_its_own_beside_it_and_does_elsewhere() -> None:
    ours = _create_default_callbacks([TensorBoardLogger()], air_verbosity=None)
    assert [type(c) for c in ours if isinstance(c, TBXLoggerCallback)] == [TensorBoardLogger]
    assert any(type(c) is TBXLoggerCallback for c in _create_default_callbacks([], air_verbosity=None))
