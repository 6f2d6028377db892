"""The settings of a run: flat, with dotted keys; which of them are its task, and which its seed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

from rllib_rnd.envs import env_config_class
from rllib_rnd.errors import ConfigError, in_words, join, same
from rllib_rnd.options import default_of
from rllib_rnd.presets import ALGORITHMS
from rllib_rnd.settings import ALIASES, PUBLIC_NAMES, SETTINGS
from rllib_rnd.tracking.labels import trial_label

#: Settings that are drawn anew for each seed.
SEEDS = frozenset({"seed", "env_config.mapping_seed"})
# What says where and how fast a task is played, not which.
_PLACE = frozenset({"env_config.backend"})
# What this package adds to the settings of a trial that goes on from a checkpoint.
_OF_A_RESUME = "callbacks_on_algorithm_init"
# Written as a name or as a mapping with ``type``; without one they have this type.
_TYPED = {"backbone": "auto", "intrinsic_reward": "none", "auxiliary_loss": "none"}
_LONGEST_WHOLE = 1e15  # floats above are not written as whole numbers


def flat_settings(config: Mapping[str, object]) -> dict[str, object]:
    """Returns nested settings by dotted key, as experiment files name them; whole numbers without a point.

    ``{"lambda_": 1.0, "backbone": {"type": "mlp"}}`` gives ``{"lambda": 1, "backbone.type": "mlp"}``.
    """
    flat: dict[str, object] = {}
    for key, value in config.items():
        if key == _OF_A_RESUME:
            continue
        if key in _TYPED and isinstance(value, str):
            value = {"type": value}
        _flatten(PUBLIC_NAMES.get(str(key), str(key)), value, flat)
    return flat


def _flatten(path: str, value: object, flat: dict[str, object]) -> None:
    if isinstance(value, Mapping) and value:
        for key, child in value.items():
            _flatten(join(path, str(key)), child, flat)
    elif isinstance(value, (list, tuple)) and any(isinstance(part, Mapping) for part in value):
        for index, child in enumerate(value):
            _flatten(f"{path}[{index}]", child, flat)
    else:
        flat[path] = _whole(value)


def _whole(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return [_whole(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < _LONGEST_WHOLE else value


def compared(config: Mapping[str, object], algorithm: str) -> dict[str, object]:
    """The settings that make a variant: without seeds, without the task, without what says only where it ran.

    A setting that is written with its default is as one that is not written; RND is IntrinsicPPO with other defaults.
    """
    full = {**_preset(algorithm), **config}
    if "intrinsic_reward" in config or any(key.startswith("intrinsic_reward[") for key in config):
        full = {key: value for key, value in full.items() if key in config or not key.startswith("intrinsic_reward.")}
    kept = {key: value for key, value in full.items() if _counts(key) and not same(value, default_value(key))}
    family = "IntrinsicPPO" if algorithm in ALGORITHMS else algorithm
    return {"algorithm": family, **kept} if family else kept


def _counts(key: str) -> bool:
    return key not in SEEDS and key != "env" and not key.startswith("env_config.") and not _only_where(key)


def _only_where(key: str) -> bool:
    """Whether a setting says only where and how fast a run was made."""
    setting = SETTINGS.get(ALIASES.get(key, key))
    return key in _PLACE or (setting is not None and not setting.logged)


def labels_of(configs: Sequence[Mapping[str, object]]) -> list[str]:
    """What tells each of these settings from the others, seeds and tasks among it; "" where nothing does."""
    told = [{key: value for key, value in config.items() if not _only_where(key)} for config in configs]
    keys = telling_settings(told)
    return [label_of(own, keys) for own in told]


@functools.cache
def _preset(algorithm: str) -> Mapping[str, object]:
    """What a preset sets besides IntrinsicPPO's defaults."""
    if algorithm not in ALGORITHMS:
        return {}
    own, plain = (vars(ALGORITHMS[name].get_default_config()) for name in (algorithm, "IntrinsicPPO"))
    return flat_settings({key: own[key] for key in SETTINGS if not same(own[key], plain[key])})


def default_value(key: str, config: Mapping[str, object] | None = None) -> object:
    """What a setting is where it is not written; "default" where that is not known here.

    Args:
        key: dotted.
        config: the other settings; options of a plug-in that is not there are "-".
    """
    root, _, rest = key.partition(".")
    if root in _TYPED and rest:
        if rest == "type":
            return _TYPED[root]
        missing = config is not None and f"{root}.type" not in config and root != "backbone"
        return "-" if missing else "default"
    setting = SETTINGS.get(ALIASES.get(key, key))
    default = "default" if setting is None else _whole(setting.default)
    return default if default is None or isinstance(default, (bool, int, float, str)) else "default"


def differing_settings(configs: Sequence[Mapping[str, object]]) -> list[str]:
    """The keys whose values are not the same in all of these, sorted."""
    keys = sorted({key for config in configs for key in config})
    absent = object()
    return [key for key in keys if len({repr(config.get(key, absent)) for config in configs}) > 1]


def telling_settings(configs: Sequence[Mapping[str, object]]) -> list[str]:
    """The fewest keys (found greedily) whose values tell these apart as well as all keys do, sorted."""
    keys = differing_settings(configs)
    words = {key: [repr(config.get(key, default_value(key, config))) for config in configs] for key in keys}
    wanted = len(set(zip(*words.values(), strict=True)))
    chosen: list[str] = []
    while len(set(zip(*(words[key] for key in chosen), strict=True))) < wanted:
        rest = [key for key in keys if key not in chosen]
        chosen.append(max(rest, key=lambda key: len(set(zip(*(words[k] for k in [*chosen, key]), strict=True)))))
    return sorted(chosen)


def label_of(settings: Mapping[str, object], keys: Sequence[str] | None = None) -> str:
    """Names a few settings shortly: ``lr=0.001, seed=2``.

    Args:
        settings: by dotted key.
        keys: those to name, with their defaults where they are not written; None: all.
    """
    shown = settings if keys is None else {key: settings.get(key, default_value(key, settings)) for key in keys}
    return trial_label({key.replace(".", "/").replace("[", "/").replace("]", ""): v for key, v in shown.items()})


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
        name: value for name, value in options.items() if name not in defaults or not same(defaults[name], value)
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
