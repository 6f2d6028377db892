"""Callbacks in experiment files: classes and functions by their import paths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ray.rllib.callbacks.callbacks import RLlibCallback

from rllib_rnd.errors import ConfigError, at, in_words
from rllib_rnd.experiment.search import is_expression
from rllib_rnd.own_code import check_function, import_path, name_of, takes_functions
from rllib_rnd.rllib_settings import REFUSED

_CLASSES = "callbacks_class"


def import_callbacks(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns ``config`` with what ``callbacks`` and the settings that take functions name in place of the names.

    Args:
        config: by attribute; a name, a list of names or a sampling expression of them; also in ``evaluation_config``.

    Raises:
        ConfigError: a path that does not import, or leads to something else.
    """
    imported = dict(config)
    for key, value in config.items():
        if key == _CLASSES:
            imported[key] = _each(value, key, _callback_class)
        elif takes_functions(key) and key not in REFUSED:
            imported[key] = _each(value, key, _function)
        elif key == "evaluation_config" and isinstance(value, Mapping) and not is_expression(value):
            with at(key):
                imported[key] = import_callbacks(value)
    return imported


def _each(value: object, where: str, read: Callable[[object, str], object]) -> object:
    """Reads a name, the members of a list of names, or the values of a sampling expression."""
    if isinstance(value, Mapping) and is_expression(value):
        return {
            key: _each(member, f"{where}.{key}", read) if key != "tune" else member for key, member in value.items()
        }
    if isinstance(value, list | tuple):
        return [_each(member, f"{where}[{i}]", read) for i, member in enumerate(value)]
    return None if value is None else read(value, where)


def _callback_class(value: object, where: str) -> object:
    found = import_path(value, where) if isinstance(value, str) else value
    # RLlib takes any maker of callbacks from Python; a file can name classes only.
    if isinstance(value, str) and not (isinstance(found, type) and issubclass(found, RLlibCallback)):
        raise ConfigError(
            where, f"{in_words(value)} is no class of callbacks", f"a subclass of {name_of(RLlibCallback)}"
        )
    if not callable(found):
        raise ConfigError(where, f"{in_words(value)} names no class", "module:Class, or a list of such")
    return found


def _function(value: object, where: str) -> object:
    found = import_path(value, where) if isinstance(value, str) else value
    check_function(found, where, value if isinstance(value, str) else None)
    return found
