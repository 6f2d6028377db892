"""What is heard of Ray: nothing that nobody who uses this package can act on, and in commands its errors alone."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Mapping

# Logger and what the line holds.
_NOISE = {
    "ray._private.authentication.authentication_token_setup": "Token authentication is enabled",
    "ray._common.deprecation": "RLModule(config=[RLModuleConfig object])",  # RLlib calls its own old constructor
    "ray.tune.utils.util": "Install gputil",
    "ray.tune.trainable.trainable": "consider setting reuse_actors=True",
}

_ONLY_ERRORS = ("ray", "ray.rllib", "ray.tune", "ray.air", "ray.train", "gymnasium", "tensorboardX")
# Failed trials, and a full disk, are reported in the summary of a run.
_TOLD_OTHERWISE = (
    "ray.tune.execution.tune_controller",
    "ray.tune.execution.experiment_state",
    "ray.tune.tune",
)


def _is_heard(record: logging.LogRecord) -> bool:
    return _NOISE[record.name] not in record.getMessage()


def drop_noise() -> None:
    """Has Ray's loggers leave those lines out; may be called twice."""
    for name in _NOISE:
        logging.getLogger(name).addFilter(_is_heard)


def only_errors() -> None:
    """Silences what Ray and its company say short of errors; anew after ``ray.init()``, which sets its loggers up."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"ray|gymnasium|torch")
    for name in _ONLY_ERRORS:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in _TOLD_OTHERWISE:
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextlib.contextmanager
def nothing_of_processes() -> Iterator[None]:
    """While it is open Ray prints no paragraphs of its own on processes that died, nodes that fill up and the like.

    (It does so whatever ``log_to_driver`` is.) What matters of it commands say themselves, in a line.
    """
    from ray._private import worker

    before, worker._worker_logs_enabled = worker._worker_logs_enabled, False
    try:
        yield
    finally:
        worker._worker_logs_enabled = before


def keep_keys_out() -> None:
    """Has Tune pass no AWS keys on to its trials in a runtime environment, which Ray writes into its logs.

    On this machine trials inherit them; nodes of a cluster have their own.
    """
    from ray.tune.execution.class_cache import ENV_VARS_TO_PROPAGATE

    ENV_VARS_TO_PROPAGATE.difference_update({name for name in ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")})


# Of Tune: its panel, and each trial's own CSV, JSON and TensorBoard files.
_QUIET_TUNE = {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables for a while; afterwards they are what they were before, or gone.

    What a command leaves in the environment changes what the process does next: with Tune's loggers switched off, the
    trainings after it would write no results.
    """
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def quiet_tune() -> contextlib.AbstractContextManager[None]:
    """While it is open Tune shows nothing and writes no trial's logs: for searches that are part of something else."""
    return environment(_QUIET_TUNE)
