"""Options of plug-ins: dataclasses that check names, types and ranges, and the registries that hold plug-ins.

A plug-in (backbone, intrinsic reward, auxiliary loss, environment family) declares its options once::

    @dataclass(frozen=True)
    class RNDOptions(IntrinsicOptions):
        update_proportion: float = option(0.25, "share of samples the predictor trains on", low=0.0, high=1.0)

and is written by users as ``{type: rnd, update_proportion: 0.5}`` in YAML, Python and Tune alike.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from rllib_rnd.errors import ConfigError, unknown_name_error

T = TypeVar("T")


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[Any] | None = None,
) -> Any:
    """A dataclass field with its documentation and its allowed values.

    Args:
        default: the value when the user says nothing.
        help: effect, usual range, source; printed by ``rllib list`` and the docs.
        low: smallest allowed number (inclusive).
        high: largest allowed number (inclusive).
        choices: closed set of allowed values.
    """
    metadata = {"help": help, "low": low, "high": high, "choices": choices}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def parse_options(cls: type[T], mapping: Mapping[str, Any] | None, where: str) -> T:
    """Builds the dataclass ``cls`` from a user's mapping.

    Raises:
        ConfigError: for an unknown key, a wrong type or a value outside its range; the message names the place.
    """
    if mapping is None:
        mapping = {}
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{where}: expected a mapping of options, got {mapping!r}.")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value in mapping.items():
        if key not in fields:
            raise unknown_name_error("key", key, fields, where)
        values[key] = check_value(value, hints[key], f"{where}.{key}", fields[key].metadata)
    return cls(**values)


def check_value(value: Any, hint: Any, where: str, limits: Mapping[str, Any] | None = None) -> Any:
    """Checks one value against a type annotation and limits; returns it, with ints widened to floats.

    Raises:
        ConfigError: naming the place, the value and what is allowed.
    """
    limits = limits or {}
    value = _check_type(value, hint, where)
    choices = limits.get("choices")
    if choices is not None and value not in choices:
        if isinstance(value, str):
            raise unknown_name_error("value", value, [c for c in choices if c is not None], where)
        raise ConfigError(f"{where}: {value!r} is not one of {list(choices)}.")
    low, high = limits.get("low"), limits.get("high")
    for number in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            below, above = low is not None and number < low, high is not None and number > high
            if below or above or not math.isfinite(number):
                raise ConfigError(f"{where}: {value!r} is out of range; {_range_text(low, high)}.")
    return value


def _range_text(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"allowed is {low} to {high}"
    if low is not None:
        return f"allowed is {low} or more"
    if high is not None:
        return f"allowed is {high} or less"
    return "a finite number is needed"


def _check_type(value: Any, hint: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        for member in typing.get_args(hint):
            try:
                return _check_type(value, member, where)
            except ConfigError:
                continue
        raise ConfigError(f"{where}: {value!r} has the wrong type; allowed is {_type_name(hint)}.")
    if hint is type(None):
        if value is None:
            return None
    elif origin is typing.Literal:
        if value in typing.get_args(hint):
            return value
        allowed = [str(a) for a in typing.get_args(hint)]
        if isinstance(value, str):
            raise unknown_name_error("value", value, allowed, where)
    elif origin in (list, tuple):
        if isinstance(value, (list, tuple)):
            member = (typing.get_args(hint) or (Any,))[0]
            checked = [_check_type(v, member, f"{where}[{i}]") for i, v in enumerate(value)]
            return tuple(checked) if origin is tuple else checked
    elif hint is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    elif hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif isinstance(value, origin or hint):
        return value
    raise ConfigError(f"{where}: {value!r} has the wrong type; allowed is {_type_name(hint)}.")


def _type_name(hint: Any) -> str:
    args = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(_type_name(a) for a in args)
    if typing.get_origin(hint) is typing.Literal:
        return " | ".join(repr(a) for a in args)
    if typing.get_origin(hint) in (list, tuple):
        return f"a list of {_type_name(args[0])}" if args else "a list"
    if hint is type(None):
        return "null"
    return getattr(hint, "__name__", str(hint))


class Registry(Generic[T]):
    """Named plug-ins of one kind. A user's own class is named by its import path, ``package.module:Class``."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._classes: dict[str, type[T]] = {}

    def register(self, name: str, cls: type[T]) -> type[T]:
        """Adds a plug-in under its YAML name; the class must carry its options dataclass as ``Options``."""
        self._classes[name] = cls
        return cls

    def names(self) -> list[str]:
        """Returns every registered name, sorted."""
        return sorted(self._classes)

    def items(self) -> list[tuple[str, type[T]]]:
        """Returns (name, class) pairs, sorted by name."""
        return sorted(self._classes.items())

    def resolve(self, name: str, where: str) -> type[T]:
        """Returns the class for a registered name or an import path.

        Raises:
            ConfigError: unknown name (with the nearest one) or an import path that does not import.
        """
        if name in self._classes:
            return self._classes[name]
        if isinstance(name, str) and ":" in name:
            return import_path(name, where)
        raise unknown_name_error(self.kind, name, self._classes, where)

    def parse(self, spec: Mapping[str, Any] | str, where: str) -> tuple[type[T], Any]:
        """Splits ``{type: name, **options}`` into the plug-in's class and its checked options.

        Raises:
            ConfigError: no ``type``, unknown type, or options the plug-in does not accept.
        """
        if isinstance(spec, str):
            spec = {"type": spec}
        if not isinstance(spec, Mapping) or "type" not in spec:
            raise ConfigError(f"{where}: expected a mapping with a 'type' key, got {spec!r}. Types: {self.names()}.")
        cls = self.resolve(spec["type"], f"{where}.type")
        options = {k: v for k, v in spec.items() if k != "type"}
        options_class: Any = getattr(cls, "Options")  # noqa: B009 - T carries no static Options attribute
        return cls, parse_options(options_class, options, where)


def import_path(path: str, where: str) -> Any:
    """Imports ``package.module:Name``.

    Raises:
        ConfigError: if the module or the name in it does not exist.
    """
    module_name, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{where}: cannot import {path!r} ({error}).") from error


def numbered(name: str, i: int) -> str:
    """Metric names of the first plug-in are plain; further ones carry their number."""
    return name if i == 0 else f"{name}_{i}"
