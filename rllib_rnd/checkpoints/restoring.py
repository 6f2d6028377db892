"""What a checkpoint holds against what it is restored into: settings that may have changed, and those that may not.

All settings are applied again after a restore. Only what the saved state itself depends on must be as it was: tensors
that would not fit, an optimizer of another kind, phases of a run that lie in the past.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rllib_rnd.errors import ConfigError, in_words, same
from rllib_rnd.options import plugin_path, plugin_specs
from rllib_rnd.settings import PUBLIC_NAMES, SETTINGS

#: Shapes of a module's tensors by name; -1 is any number of environments.
Shapes = Mapping[str, tuple[int, ...]]

# What tensors belong to -> the settings that may have changed them, likeliest first.
_OWNERS = {
    "backbone": ("backbone", "env", "env_config"),
    "policy_head": ("heads", "backbone", "env", "env_config"),
    "log_std": ("env", "env_config"),
    "critics": ("heads", "backbone", "intrinsic_reward"),
    "intrinsic_rewards": ("intrinsic_reward", "backbone", "env", "env_config"),
    "auxiliary_losses": ("auxiliary_loss", "backbone", "env", "env_config"),
}
# Settings that decide which environments are played, and how they are drawn.
_OF_PLAY = ("env", "env_config", "seed")


@dataclass(frozen=True)
class Saved:
    """What a checkpoint says of the run that wrote it.

    Attributes:
        settings: by attribute; empty if the checkpoint does not say.
        shapes: of the module's tensors; empty likewise.
        pretrained, warmed_up: phases that lie behind it.
    """

    settings: Mapping[str, Any]
    shapes: Shapes
    pretrained: bool
    warmed_up: bool


def settings_of(config: object) -> dict[str, Any]:
    """The values of all settings, by attribute, for checkpoints."""
    return {name: value for name, value in vars(config).items() if name in SETTINGS and name != "evaluation_config"}


def saved_in_state(state: Mapping[str, Any], own: Mapping[str, Any]) -> Saved:
    """What an algorithm's state holds, with its learners or without.

    Args:
        state: as of ``Algorithm.get_state()``.
        own: this package's part of it.
    """
    module = state.get("learner_group", {}).get("learner", {}).get("rl_module", {}).get("default_policy", {})
    return Saved(own.get("settings", {}), _shapes(module), own["pretrained"], own["warmed_up"])


def _shapes(module: Mapping[str, Any]) -> Shapes:
    return {name: tuple(value.shape) for name, value in module.items()}


def plays_on(saved: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether environments and generators go on where they were: not with another seed or other environments."""
    return all(same(saved[name], settings[name]) for name in _OF_PLAY if name in saved)


def plays_in_same(saved: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether both have the same environments."""
    return all(same(saved[name], settings[name]) for name in ("env", "env_config") if name in saved)


def may_not_fit(saved: Saved, settings: Mapping[str, Any]) -> bool:
    """Whether settings differ that decide which tensors there are."""
    return any(_differs(saved, settings, name) for owner in _OWNERS.values() for name in owner)


def changes(saved: Saved, settings: Mapping[str, Any]) -> Iterator[tuple[str, object, object]]:
    """Settings that are not those saved, as (path, its value, the value now); of mappings the keys that differ."""
    for name in settings:
        if not _differs(saved, settings, name):
            continue
        was, now = saved.settings[name], settings[name]
        if name in ("intrinsic_reward", "auxiliary_loss"):
            paths = list(_differing_options(was, now, name, None))
        else:
            paths = _differing_keys(was, now, name)
        for path in paths:
            public = PUBLIC_NAMES.get(name, name) + path.removeprefix(name)
            yield public, _value(saved.settings, path), _value(settings, path)


def check_restorable(saved: Saved, settings: Mapping[str, Any], shapes: Shapes) -> None:
    """Refuses a checkpoint that the present settings cannot go on from.

    Args:
        saved: the checkpoint.
        settings: the present ones, by attribute.
        shapes: of the present module's tensors.

    Raises:
        ConfigError: naming the settings that differ and may not.
    """
    _check_phases(saved, settings)
    fixed = [name for name in ("optimizer_type", "freeze_backbone") if _differs(saved, settings, name)]
    fixed += [path for key in ("intrinsic_reward", "auxiliary_loss") for path in _other_types(saved, settings, key)]
    fixed += [path for owner in _misfits(saved.shapes, shapes) for path in _to_blame(saved, settings, owner)]
    if not fixed:
        return
    paths = list(dict.fromkeys(fixed))
    was, now = _value(saved.settings, paths[0]), _value(settings, paths[0])
    given = "its default" if now is None and "." in paths[0] else in_words(now)
    problem = f"{given} differs from the checkpoint, whose state would not fit"
    if len(paths) > 1:
        problem += f"; so do {', '.join(paths[1:])}"
    allowed = "what it was trained with" if not saved.settings else "its default" if was is None else in_words(was)
    raise ConfigError(paths[0], problem, f"{allowed}, or a run without the checkpoint")


def _check_phases(saved: Saved, settings: Mapping[str, Any]) -> None:
    """Warm-up and pre-training: no more may be asked for what is over, and nothing less of what is under way."""
    before, now = saved.settings.get("warmup_steps"), settings["warmup_steps"]
    if saved.warmed_up and before is not None and now not in (0, before):
        raise ConfigError(
            "warmup_steps", f"{now} comes too late: the checkpoint has its warm-up behind it", f"{before}"
        )
    before, now = saved.settings.get("pretraining"), settings["pretraining"]
    if saved.pretrained and now is not None and saved.settings and not same(now, before):
        allowed = f"{in_words(before)}, or null"
        raise ConfigError("pretraining", f"{in_words(now)} comes too late: the checkpoint has it behind it", allowed)
    if not saved.pretrained and saved.settings and not same(now, before):
        problem = f"{in_words(now)} differs, and the checkpoint is in the midst of it"
        raise ConfigError("pretraining", problem, in_words(before))


def _differs(saved: Saved, settings: Mapping[str, Any], name: str) -> bool:
    return name in saved.settings and not same(saved.settings[name], settings[name])


def _other_types(saved: Saved, settings: Mapping[str, Any], key: str) -> Iterator[str]:
    """Plug-ins that are of another class, or more or fewer, even if their tensors would fit."""
    if key not in saved.settings:
        return
    was, now = (plugin_specs(key, values[key]) for values in (saved.settings, settings))
    if len(was) != len(now):
        yield key
        return
    for i, ((_, old), (_, new)) in enumerate(zip(was, now, strict=True)):
        if not same(old.get("type"), new.get("type")):
            yield f"{plugin_path(key, i, len(now))}.type"


def _misfits(saved: Shapes, present: Shapes) -> list[str]:
    """Parts of the module, two levels deep, that have other tensors than those saved."""
    if not saved:
        return []
    names = [name for name in sorted({*saved, *present}) if not _fits(saved.get(name), present.get(name))]
    return list(dict.fromkeys(".".join(name.split(".")[:2]) for name in names))


def _fits(saved: tuple[int, ...] | None, present: tuple[int, ...] | None) -> bool:
    if saved is None or present is None or len(saved) != len(present):
        return False
    return all(own in (-1, other) for other, own in zip(saved, present, strict=True))


def _to_blame(saved: Saved, settings: Mapping[str, Any], part: str) -> list[str]:
    """The settings that have changed and may be why a part of the module has other tensors."""
    owner, _, number = part.partition(".")
    for key in _OWNERS.get(owner, ()):
        if _differs(saved, settings, key):
            if key in ("intrinsic_reward", "auxiliary_loss"):
                which = int(number) if owner != "critics" and number.isdigit() else None
                return list(_differing_options(saved.settings[key], settings[key], key, which))
            return _differing_keys(saved.settings[key], settings[key], PUBLIC_NAMES.get(key, key))
    return list(_OWNERS.get(owner, ("rl_module_spec",))[:1])


def _differing_options(was: object, now: object, key: str, which: int | None) -> Iterator[str]:
    old, new = plugin_specs(key, was), plugin_specs(key, now)
    if len(old) != len(new):
        yield key
        return
    for i, ((_, a), (_, b)) in enumerate(zip(old, new, strict=True)):
        if not same(a, b) and which in (None, i):
            yield from _differing_keys(a, b, plugin_path(key, i, len(new)))


def _differing_keys(was: object, now: object, path: str) -> list[str]:
    if not (isinstance(was, Mapping) and isinstance(now, Mapping)):
        return [path]
    types = was.get("type"), now.get("type")
    if types[0] != types[1] and "auto" not in types:
        return [f"{path}.type"]
    changed = [key for key in sorted({*was, *now}) if key != "type" and not same(was.get(key), now.get(key))]
    return [f"{path}.{key}" for key in changed] or [f"{path}.type" if types[0] != types[1] else path]


def _value(settings: Mapping[str, Any], path: str) -> object:
    """The value at a path such as ``intrinsic_reward[1].feature_dim``; None where a default is meant."""
    key, _, rest = path.partition(".")
    name, _, index = key.partition("[")
    value: Any = settings.get(name)
    if index and isinstance(value, (list, tuple)):
        value = value[int(index.rstrip("]"))]
    if isinstance(value, str) and rest == "type":
        return value
    return value.get(rest) if rest and isinstance(value, Mapping) else value
