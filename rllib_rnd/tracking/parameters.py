"""The curated settings of a run as stores of runs hold them: flat, dotted, as a user writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_rnd.errors import in_words
from rllib_rnd.settings import SETTINGS


def parameters(config: AlgorithmConfig) -> dict[str, str]:
    """Returns the curated settings of one configuration object; nested ones dotted."""
    flat: dict[str, str] = {}
    for setting in SETTINGS.values():
        if setting.logged and setting.name in vars(config):
            _flatten(setting.key, getattr(config, setting.name), flat)
    return flat


def _flatten(name: str, value: object, flat: dict[str, str]) -> None:
    if isinstance(value, Mapping):
        for key, child in value.items():
            _flatten(f"{name}.{key}", child, flat)
    elif isinstance(value, (list, tuple)) and any(isinstance(v, Mapping) for v in value):
        for index, child in enumerate(value):
            _flatten(f"{name}.{index}", child, flat)
    else:
        flat[name] = in_words(value, str)  # numbers with all their digits


def number_of(value: str) -> float | None:
    """Returns the finite number that a setting is; None if it is none."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
