"""Methods by their names, a user's own among them: made, asked and called, and named where they fail."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.maps import METHODS, Map, Method, file_name
from rllib_rnd.analysis.methods.gradcam import LayerMethod
from rllib_rnd.analysis.states import States
from rllib_rnd.analysis.targets import Target
from rllib_rnd.errors import ConfigError, at
from rllib_rnd.own_code import failures_of, method_of, name_of

_WORDS = ("name", "title", "source", "shows", "cannot")


def make_method(name: str, where: str, layer: str | None = None) -> Method:
    """Makes a method.

    Args:
        name: of a registered one, or an import path.
        where: it was named, for messages.
        layer: that methods which look into one layer (`LayerMethod`) look into.

    Raises:
        ConfigError: an unknown name, no such method, or one that cannot be made.
    """
    found: object = METHODS.resolve(name, where)
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise ConfigError(where, f"{name!r} is no explanation method", f"a subclass of {name_of(Method)}")
    lacking = [word for word in _WORDS if not isinstance(getattr(found, word, None), str)]
    lacking += sorted(getattr(found, "__abstractmethods__", ()))
    if lacking:
        raise ConfigError(where, f"{name!r} lacks {', '.join(lacking)}", f"all that {name_of(Method)} asks for")
    with at(where), failures_of(found, "__init__"):
        return found(layer) if layer is not None and issubclass(found, LayerMethod) else found()


def missing_of(method: Method, agent: Agent) -> str | None:
    """`Method.missing`.

    Raises:
        ConfigError: it fails, or returns something else.
    """
    with failures_of(method, "missing"):
        reason = method.missing(agent)
    if not (reason is None or isinstance(reason, str)):
        raise _wrong(method, "missing", reason, "a reason, or None")
    return reason


def maps_of(method: Method, agent: Agent, states: States, targets: Sequence[Target]) -> dict[str, Map]:
    """`Method.maps`, of a copy of the states: what a method writes into them, no other one sees.

    Raises:
        ConfigError: it fails, or returns something else.
    """
    with failures_of(method, "maps"):
        found = method.maps(agent, states.select(np.arange(len(states))), targets)
    if not isinstance(found, Mapping):
        raise _wrong(method, "maps", found, "maps by name")
    known = [None, *(target.name for target in targets)]
    for name, made in found.items():
        if not (isinstance(name, str) and re.fullmatch(r"\w[\w.-]*", name) and name == file_name(name)):
            raise ConfigError(
                "", _returned(method, f"a map named {name!r}"), "a name that is fit for files (file_name)"
            )
        if not isinstance(made, Map):
            raise _wrong(method, "maps", made, "maps by name")
        if len(made.values) != len(states):
            what = _returned(method, f"map {name!r} of {len(made.values)} states")
            raise ConfigError("", what, f"a map of all {len(states)} that it was given")
        if made.target not in known:
            raise ConfigError("", _returned(method, f"map {name!r} of the target {made.target!r}"), known[1:])
    return dict(found)


def _returned(method: Method, what: str, of: str = "maps") -> str:
    return f"{method_of(method, of, with_line=True)} returned {what}"


def _wrong(method: Method, of: str, value: object, allowed: str) -> ConfigError:
    return ConfigError("", _returned(method, f"type {type(value).__name__}", of), allowed)
