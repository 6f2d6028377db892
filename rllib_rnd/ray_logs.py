"""Lines of Ray's log that nobody who uses this package can act on; they are left out."""

from __future__ import annotations

import logging

# Logger and what the line holds.
_NOISE = {
    "ray._private.authentication.authentication_token_setup": "Token authentication is enabled",
    "ray._common.deprecation": "RLModule(config=[RLModuleConfig object])",  # RLlib calls its own old constructor
    "ray.tune.utils.util": "Install gputil",
    "ray.tune.trainable.trainable": "consider setting reuse_actors=True",
}


def _is_heard(record: logging.LogRecord) -> bool:
    return _NOISE[record.name] not in record.getMessage()


def drop_noise() -> None:
    """Has Ray's loggers leave those lines out; may be called twice."""
    for name in _NOISE:
        logging.getLogger(name).addFilter(_is_heard)
