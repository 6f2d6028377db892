"""The settings of a run: flat, with dotted keys; which of them are its task, and which its seed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

from rllib_rnd.envs import env_config_class
from rllib_rnd.errors import ConfigError, in_words, join
from rllib_rnd.options import default_of
from rllib_rnd.settings import SETTINGS
from rllib_rnd.tracking.labels import trial_label

#: Settings that are drawn anew for each seed, or that say where and how fast, not what is learned.
SEEDS = frozenset({"seed", "env_config.mapping_seed"})
_PLACE = frozenset(
    {
        "torch_threads",
        "keep_freed_memory",
        "micro_batch_size",
        "sample_timeout_s",
        "callbacks_on_algorithm_init",
        "env_config.backend",
    }
)
# Written as a name or as a mapping with ``type``.
_TYPED = ("backbone", "intrinsic_reward", "auxiliary_loss")


def flat_settings(config: Mapping[str, object]) -> dict[str, object]:
    """Returns nested settings by dotted key: ``{"backbone": {"type": "mlp"}}`` -> ``{"backbone.type": "mlp"}``."""
    flat: dict[str, object] = {}
    for key, value in config.items():
        if key in _TYPED and isinstance(value, str):
            value = {"type": value}
        _flatten(str(key), value, flat)
    return flat


def _flatten(path: str, value: object, flat: dict[str, object]) -> None:
    if isinstance(value, Mapping) and value:
        for key, child in value.items():
            _flatten(join(path, str(key)), child, flat)
    elif isinstance(value, (list, tuple)) and any(isinstance(part, Mapping) for part in value):
        for index, child in enumerate(value):
            _flatten(f"{path}[{index}]", child, flat)
    else:
        flat[path] = value


def compared(config: Mapping[str, object]) -> dict[str, object]:
    """The settings that make a variant: without seeds, without the task, without what says only where it ran.

    A setting that is written with its default is as one that is not written.
    """
    return {
        key: value
        for key, value in config.items()
        if key not in SEEDS | _PLACE
        and key != "env"
        and not key.startswith("env_config.")
        and not _is_default(key, value)
    }


def _is_default(key: str, value: object) -> bool:
    return key in SETTINGS and in_words(SETTINGS[key].default) == in_words(value)


def differing_settings(configs: Sequence[Mapping[str, object]]) -> list[str]:
    """The keys whose values are not the same in all of these, sorted."""
    keys = sorted({key for config in configs for key in config})
    absent = object()
    return [key for key in keys if len({repr(config.get(key, absent)) for config in configs}) > 1]


def label_of(settings: Mapping[str, object]) -> str:
    """Names a few settings shortly: ``lr=0.001, seed=2``."""
    return trial_label({key.replace(".", "/").replace("[", "/").replace("]", ""): v for key, v in settings.items()})


def default_text(key: str) -> str:
    """The default of a setting in words; "default" where it is not known here."""
    if key in SETTINGS:
        default = SETTINGS[key].default
        if default is None or isinstance(default, (bool, int, float, str)):
            return in_words(default, str)
    return "default"


def task_of(config: Mapping[str, object]) -> tuple[str, int | None]:
    """Returns the task's name and the frames of one agent step (None: it has no frames).

    Args:
        config: flat settings; seeds, backend and frame skip are not part of a task's name, the other entries of
            ``env_config`` are where they differ from their defaults.
    """
    env = str(config.get("env") or "unknown task")
    options = {
        key.removeprefix("env_config."): value
        for key, value in config.items()
        if key.startswith("env_config.") and key not in SEEDS | _PLACE
    }
    defaults = _defaults(env)
    frames = options.pop("frame_skip", None) or defaults.get("frame_skip")
    differing = {
        name: value
        for name, value in options.items()
        if name not in defaults or in_words(defaults[name]) != in_words(value)
    }
    words = ", ".join(f"{name}={in_words(value, str)}" for name, value in sorted(differing.items()))
    return (f"{env} ({words})" if words else env), int(frames) if isinstance(frames, (int, float)) else None


@functools.cache
def _defaults(env: str) -> Mapping[str, object]:
    """Defaults of an environment's options; empty where it takes free arguments or is not known here."""
    try:
        options = env_config_class(env)
    except ConfigError:
        return {}
    return {} if options is None else {field.name: default_of(field) for field in dataclasses.fields(options)}
