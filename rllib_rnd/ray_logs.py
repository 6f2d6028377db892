"""What is heard of Ray: nothing that nobody who uses this package can act on, and in commands its errors alone."""

from __future__ import annotations

import logging
import warnings

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
