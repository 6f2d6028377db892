"""TensorBoard: the curated metrics under their short names, against agent steps."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ray.tune.experiment import Trial
from ray.tune.logger import TBXLoggerCallback

from rllib_rnd.tracking.labels import short_value, trial_label
from rllib_rnd.tracking.metrics import curated, read

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

_AT_THE_END = ("return_mean", "return_max", "agent_steps", "time_total_s")  # of what trials are compared by


class TensorBoardLogger(TBXLoggerCallback):
    """Writes each trial's event file.

    It is a Tune logger of the kind that it stands in for: Tune adds its own, of every number in a result against
    iterations, only where it finds none of that class.
    """

    def on_trial_result(self, *, trial: Trial, result: dict[str, Any], **_: object) -> None:
        """Writes one point of every metric."""
        if trial not in self._trial_writer:
            self.log_trial_start(trial)
        writer, step = self._trial_writer[trial], int(read(result, "agent_steps") or 0)
        values = curated(result)
        for name, value in values.items():
            writer.add_scalar(name, value, global_step=step)
        self._trial_result[trial] = values
        writer.flush()

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """Closes the file; trials that drew settings and did not fail are rows of TensorBoard's table of settings."""
        writer = self._trial_writer.pop(trial, None)
        values: Mapping[str, float] = self._trial_result.pop(trial, {})
        if writer is None:
            return
        compared = {name: values[name] for name in _AT_THE_END if name in values}
        if trial.evaluated_params and compared and not failed:
            self._write_settings(writer, trial, compared)
        writer.close()

    @staticmethod
    def _write_settings(writer: SummaryWriter, trial: Trial, values: Mapping[str, float]) -> None:
        from tensorboardX.summary import hparams

        drawn = {
            trial_label({path: value}).partition("=")[0]: value
            if isinstance(value, (bool, int, float, str))
            else short_value(value)
            for path, value in trial.evaluated_params.items()
        }
        try:
            for summary in hparams(hparam_dict=drawn, metric_dict=dict(values)):
                writer.file_writer.add_summary(summary)
        except (TypeError, ValueError) as error:  # the curves are there
            logging.getLogger(__name__).warning("TensorBoard takes no table of settings: %s", error)
