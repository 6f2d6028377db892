"""TensorBoard: the curated metrics under their short names, against agent steps."""

from __future__ import annotations

import logging
import socket
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.tune.experiment import Trial
from ray.tune.logger import TBXLoggerCallback

from rllib_rnd.tracking.labels import short_value, trial_label
from rllib_rnd.tracking.metrics import curated, read
from rllib_rnd.tracking.patient_file import PatientFile, folder_of

if TYPE_CHECKING:
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary

logger = logging.getLogger(__name__)

_AT_THE_END = ("return_mean", "return_max", "agent_steps", "time_total_s")  # of what trials are compared by


class TensorBoardLogger(TBXLoggerCallback):
    """Writes each trial's event file.

    It is a Tune logger of the kind that it stands in for: Tune adds its own, of every number in a result against
    iterations, only where it finds none of that class. The writer of tensorboardX itself is left out: behind a disk
    that is full its thread ends and its queue, once it is full, holds the training up for ever.

    Args:
        tell: what a file, by its path, tells where it cannot be written, see `PatientFile`.
    """

    def __init__(self, tell: Callable[[Path], Callable[[str], None]] | None = None) -> None:
        super().__init__()
        self._tell = tell
        self._files: dict[Trial, PatientFile] = {}

    def log_trial_start(self, trial: Trial) -> None:
        """Begins a file."""
        if trial in self._files:
            self._files[trial].append()
        path = folder_of(trial) / f"events.out.tfevents.{time.time_ns() // 10**9}.{socket.gethostname()}"
        number = 0
        while path.exists():  # of this second
            number += 1
            path = path.with_name(f"{path.name.removesuffix(f'.{number - 1}')}.{number}")
        self._files[trial] = PatientFile(path, logger.warning if self._tell is None else self._tell(path), lines=False)
        self._trial_result[trial] = {}
        self._files[trial].append(_record(_event(file_version="brain.Event:2")))

    def on_trial_result(self, *, trial: Trial, result: dict[str, Any], **_: object) -> None:
        """Writes one point of every metric."""
        if trial not in self._files:
            self.log_trial_start(trial)
        values = self._trial_result[trial] = curated(result)
        step = int(read(result, "agent_steps") or 0)
        self._files[trial].append(b"".join(_record(_event(step=step, summary=point)) for point in _points(values)))

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """Closes the file; trials that drew settings and did not fail are rows of TensorBoard's table of settings."""
        file = self._files.pop(trial, None)
        values: Mapping[str, float] = self._trial_result.pop(trial, {})
        if file is None:
            return
        compared = {name: values[name] for name in _AT_THE_END if name in values}
        if trial.evaluated_params and compared and not failed:
            self._write_settings(file, trial, compared)
        file.append()

    @staticmethod
    def _write_settings(file: PatientFile, trial: Trial, values: Mapping[str, float]) -> None:
        from tensorboardX.summary import hparams

        drawn = {
            trial_label({path: value}).partition("=")[0]: value
            if isinstance(value, (bool, int, float, str))
            else short_value(value)
            for path, value in trial.evaluated_params.items()
        }
        try:
            for summary in hparams(hparam_dict=drawn, metric_dict=dict(values)):
                file.append(_record(_event(summary=summary)))
        except (TypeError, ValueError) as error:  # the curves are there
            logger.warning("TensorBoard takes no table of settings: %s", error)


def _points(values: Mapping[str, float]) -> list[Summary]:
    from tensorboardX.summary import scalar

    return [scalar(name, value) for name, value in values.items()]


def _event(step: int = 0, summary: Summary | None = None, file_version: str | None = None) -> Event:
    from tensorboardX.proto.event_pb2 import Event

    return Event(wall_time=time.time(), step=step, summary=summary, file_version=file_version)


def _record(event: Event) -> bytes:
    """An entry of an event file: length, checksum, data, checksum."""
    data = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    from tensorboardX.record_writer import masked_crc32c

    return struct.pack("<I", masked_crc32c(data))
