"""Exploration and representation learning for RLlib: PPO with two critics and pluggable intrinsic rewards."""

from __future__ import annotations

import gc
import importlib
from typing import TYPE_CHECKING

from rllib_rnd import signals

if TYPE_CHECKING:
    from rllib_rnd.algorithm import IntrinsicPPO
    from rllib_rnd.config import IntrinsicPPOConfig
    from rllib_rnd.errors import ConfigError
    from rllib_rnd.export.policy import load_policy
    from rllib_rnd.presets import RND, SND, RNDConfig, SNDConfig
    from rllib_rnd.rollout import Rollout

__version__ = "0.1.0"
__all__ = [
    "RND",
    "SND",
    "ConfigError",
    "IntrinsicPPO",
    "IntrinsicPPOConfig",
    "RNDConfig",
    "Rollout",
    "SNDConfig",
    "load_policy",
]

#: Where the names of this package are at home: they are imported when they are first asked for.
_HOMES = {
    "ConfigError": "errors",
    "IntrinsicPPO": "algorithm",
    "IntrinsicPPOConfig": "config",
    "RND": "presets",
    "RNDConfig": "presets",
    "Rollout": "rollout",
    "SND": "presets",
    "SNDConfig": "presets",
    "load_policy": "export.policy",
}


def __getattr__(name: str) -> object:
    """Imports what a name stands for, and with it the algorithms and environments that RLlib then knows by name."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if signals.is_command():  # answers in a blink: what it needs of Ray and torch it imports itself
    signals.end_while_importing()
else:  # a program may name algorithms and environments right after the import
    _collects = gc.isenabled()
    gc.disable()  # imports leave a million objects behind that all stay: looking through them is a fifth of the time
    try:
        importlib.import_module(f"{__name__}.presets")
    finally:
        if _collects:
            gc.enable()
