"""Options of plug-ins: dataclasses that check names, types and ranges, and the registries that hold plug-ins.

A plug-in (backbone, intrinsic reward, auxiliary loss, environment family) declares its options once::

    @dataclass(frozen=True)
    class RNDOptions(IntrinsicOptions):
        update_proportion: float = option(0.25, "share of samples the predictor trains on", low=0.0, high=1.0)

and is written by users as ``{type: rnd, update_proportion: 0.5}`` in YAML, Python and Tune alike.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rllib_rnd.errors import ConfigError, at, in_words, unknown_name_error
from rllib_rnd.own_code import import_name, import_path, is_import_path

T = TypeVar("T")
C = TypeVar("C")


def option(
    default: object,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: Sequence[Any] | None = None,
    schedule: bool = False,
    logged: bool = True,
) -> Any:
    """A dataclass field with its documentation and its allowed values.

    Args:
        default: the value when the user says nothing.
        help: effect, usual range, source; printed by ``rllib list`` and the docs.
        low: smallest allowed number (inclusive).
        high: largest allowed number (inclusive).
        above: number that is too small itself, but anything above it is allowed.
        choices: closed set of allowed values.
        schedule: a list ``[[agent_step, value], ...]`` is allowed too.
        logged: MLflow keeps the value among a run's parameters.
    """
    limits = Limits(low, high, above, tuple(choices) if choices is not None else None, schedule)
    metadata = {"help": help, "limits": limits, "logged": logged}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Limits:
    """What a value may be besides its type; see `option`."""

    low: float | None = None
    high: float | None = None
    above: float | None = None
    choices: tuple[Any, ...] | None = None
    schedule: bool = False

    def describe(self) -> str:
        """The allowed numbers in words; empty without limits."""
        if self.above is not None:
            return f"more than {self.above:g}" + (f", at most {self.high:g}" if self.high is not None else "")
        if self.low is not None and self.high is not None:
            return f"{self.low} to {self.high}"
        if self.low is not None:
            return f"{self.low} or more"
        return f"{self.high} or less" if self.high is not None else ""

    def admit(self, number: float) -> bool:
        """Whether a number is finite and within the limits."""
        return (
            math.isfinite(number)
            and (self.low is None or number >= self.low)
            and (self.high is None or number <= self.high)
            and (self.above is None or number > self.above)
        )


def parse_options(cls: type[T], mapping: Mapping[str, Any] | None, where: str = "") -> T:
    """Builds the dataclass ``cls`` from a user's mapping.

    Args:
        cls: a dataclass made with `option`.
        mapping: option by name; None for the defaults.
        where: path of the mapping, for errors.

    Raises:
        ConfigError: for an unknown key, a wrong type or a value outside its range.
    """
    if mapping is None:
        mapping = {}
    if not isinstance(mapping, Mapping):
        raise ConfigError(where, f"expected a mapping of options, got {in_words(mapping)}")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    with at(where):
        for key, value in mapping.items():
            if key not in fields:
                raise unknown_name_error("key", key, fields, str(key))
            values[key] = check_value(value, hints[key], str(key), fields[key].metadata.get("limits"))
    return cls(**values)


def check_value(value: object, hint: object, where: str = "", limits: Limits | None = None) -> Any:
    """Checks one value against a type annotation and limits.

    Args:
        value: as the user wrote it.
        hint: the annotation.
        where: path of the value, for errors.
        limits: what it may be besides its type.

    Returns:
        The value, with whole numbers widened to floats or narrowed to ints (counts are often written 1e6).

    Raises:
        ConfigError: naming the value and what is allowed.
    """
    limits = limits or Limits()
    if limits.schedule and isinstance(value, (list, tuple)):
        return _check_schedule(value, where, limits)
    written = value
    try:
        value = _check_type(value, hint, where)
    except ConfigError as error:
        if limits.schedule:
            error.allowed = f"{error.allowed} or a schedule [[0, value], [agent_step, value], ...]"
        raise
    if limits.choices is not None and value not in limits.choices:
        if isinstance(value, str):
            raise unknown_name_error("value", value, [c for c in limits.choices if c is not None], where)
        raise ConfigError(where, f"{in_words(value)} is not one of {in_words(limits.choices)}")
    for number in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(number, (int, float)) and not isinstance(number, bool) and not limits.admit(number):
            allowed = limits.describe() if math.isfinite(number) else "a finite number"
            raise ConfigError(where, f"{in_words(written)} is out of range", allowed)
    return value


def _check_schedule(points: Sequence[Any], where: str, limits: Limits) -> list[list[float]]:
    """RLlib's schedules: at least two points, the first at agent step 0, linear between them."""
    steps = []
    for i, point in enumerate(points):
        place = f"{where}[{i}]"
        if not isinstance(point, (list, tuple)) or len(point) != 2:
            raise ConfigError(place, f"{in_words(point)} is no point of a schedule", "[agent_step, value]")
        steps.append(check_value(point[0], int, place, Limits(low=0)))
        # Zero may be the end also where a constant must be above it: a learning rate that is annealed away.
        check_value(point[1], float, place, Limits(low=0.0, high=limits.high))
    if len(points) < 2 or steps[0] != 0 or steps != sorted(set(steps)):
        raise ConfigError(
            where,
            f"{in_words(points)} is no schedule",
            "a number, or [[0, value], [agent_step, value], ...] with rising agent steps",
        )
    return [[step, float(point[1])] for step, point in zip(steps, points, strict=True)]


def _check_type(value: object, hint: object, where: str) -> object:
    origin = typing.get_origin(hint)
    wrong = ConfigError(where, f"{in_words(value)} has the wrong type", _type_name(hint))
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        for member in typing.get_args(hint):
            try:
                return _check_type(value, member, where)
            except ConfigError:
                continue
        raise wrong
    if hint is type(None):
        if value is None:
            return None
    elif origin is typing.Literal:
        if value in typing.get_args(hint):
            return value
        if isinstance(value, str):
            raise unknown_name_error("value", value, map(str, typing.get_args(hint)), where)
    elif origin in (list, tuple):
        if isinstance(value, (list, tuple)):
            member = (typing.get_args(hint) or (Any,))[0]
            checked = [_check_type(v, member, f"{where}[{i}]") for i, v in enumerate(value)]
            return tuple(checked) if origin is tuple else checked
    elif hint in (int, float):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if hint is float:
                return float(value)
            if isinstance(value, int) or value.is_integer():
                return int(value)
    elif hint is list and isinstance(value, tuple):
        return list(value)
    elif hint is dict and isinstance(value, Mapping):
        return dict(value)
    elif isinstance(value, typing.cast(type, origin or hint)):
        return value
    raise wrong


def default_of(field: dataclasses.Field[Any]) -> object:
    """The default of a dataclass field, made anew where it is made."""
    made = field.default_factory
    return field.default if made is dataclasses.MISSING else made()


def options_table(cls: type) -> list[tuple[str, str, str, str]]:
    """Name, default, what is allowed and meaning of every option, as text."""
    hints = typing.get_type_hints(cls)
    return [
        (
            f.name,
            as_yaml(default_of(f)),
            describe_allowed(hints[f.name], f.metadata.get("limits", Limits())),
            f.metadata.get("help", ""),
        )
        for f in dataclasses.fields(cls)
    ]


def describe_allowed(hint: object, limits: Limits) -> str:
    """What a value may be, in a few words for tables: ``more than 0, schedule``, ``1 or more, null``."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if limits.choices is not None or origin is typing.Literal:
        return ", ".join(map(as_yaml, limits.choices or args))
    if origin in (typing.Union, types.UnionType):
        # An int is allowed where a float is: one word for both.
        members = [a for a in args if not (a is int and float in args)]
        return ", ".join(describe_allowed(member, limits) for member in members)
    if hint in (int, float):
        words = limits.describe() or "any number"
        return f"{words}, schedule" if limits.schedule else words
    if origin in (list, tuple):
        return f"a list of {_type_name(args[0])}" if args else "list"
    words_of: dict[object, str] = {
        Callable: "class or function",
        bool: "true, false",
        dict: "mapping",
        str: "name",
        list: "list",
        type(None): "null",
    }
    return words_of.get(origin or hint, str(getattr(hint, "__name__", "")))


def as_yaml(value: object) -> str:
    """A value as one writes it in YAML: without quotes, numbers short."""
    return in_words(value, lambda scalar: f"{scalar:g}" if isinstance(scalar, float) else str(scalar))


def _type_name(hint: object) -> str:
    args = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(_type_name(a) for a in args)
    if typing.get_origin(hint) is typing.Literal:
        return " | ".join(repr(a) for a in args)
    if typing.get_origin(hint) in (list, tuple):
        return f"a list of {_type_name(args[0])}" if args else "a list"
    named: dict[object, str] = {
        Callable: "a class or function",
        type(None): "null",
        bool: "true or false",
        dict: "a mapping",
        list: "a list",
    }
    return named.get(typing.get_origin(hint) or hint, str(getattr(hint, "__name__", hint)))


class Registry(Generic[T]):
    """Named plug-ins of one kind. A user's own class is named by its import path, ``package.module:Class`` (or with a
    dot).

    Args:
        kind: what the plug-ins are called in errors.
        base: class that a user's own one must be derived from, with all that is abstract in it; None: not checked.
    """

    def __init__(self, kind: str, base: type | None = None) -> None:
        self.kind = kind
        self.base = base
        self._classes: dict[str, type[T]] = {}

    def register(self, cls: type[C]) -> type[C]:
        """Class decorator: adds a plug-in under its class attribute ``name``.

        Raises:
            ValueError: the name belongs to another class, as where a subclass has none of its own.
        """
        name: str = vars(cls).get("name", "")
        if not name or name in self._classes:
            raise ValueError(f"{cls.__name__} needs a name of its own to be registered, and has {name!r}.")
        self._classes[name] = typing.cast("type[T]", cls)
        return cls

    def names(self) -> list[str]:
        """Returns every registered name, sorted."""
        return sorted(self._classes)

    def items(self) -> list[tuple[str, type[T]]]:
        """Returns (name, class) pairs, sorted by name."""
        return sorted(self._classes.items())

    def resolve(self, name: str, where: str = "") -> type[T]:
        """Returns the class for a registered name or an import path.

        Raises:
            ConfigError: unknown name (with the nearest one), an import path that does not import, or what it names
                is no such plug-in.
        """
        if not isinstance(name, str):
            nearest = import_name(name) if isinstance(name, type) else None
            raise ConfigError(where, f"{in_words(name)} is no name", [*self.names(), "module:Class"], nearest)
        if name in self._classes:
            return self._classes[name]
        if is_import_path(name):
            found = import_path(name, where)
            self._check_contract(found, name, where)
            return found
        raise unknown_name_error(self.kind, name, self._classes, where)

    def _check_contract(self, found: object, path: str, where: str) -> None:
        """Refuses what a user named by its import path, if it is no plug-in or an unfinished one."""
        if self.base is None:
            return
        expected = f"{self.base.__module__}:{self.base.__qualname__}"
        if not (isinstance(found, type) and issubclass(found, self.base)):
            raise ConfigError(where, f"{path!r} is no {self.kind}", f"a subclass of {expected}")
        missing = sorted(getattr(found, "__abstractmethods__", ()))
        missing += [] if hasattr(found, "name") else ["name"]
        if missing:
            raise ConfigError(
                where, f"{path!r} lacks {', '.join(missing)}", f"a class with all that {expected} asks for"
            )
        name = getattr(found, "name", None)
        if not (isinstance(name, str) and re.fullmatch(r"[a-z][a-z0-9_]*", name)):
            raise ConfigError(where, f"{path!r} has name = {name!r}", "lower-case letters, digits and underscores")
        base, options = getattr(self.base, "Options", object), getattr(found, "Options", None)
        if not (isinstance(options, type) and issubclass(options, base) and "__dataclass_fields__" in vars(options)):
            allowed = f"a subclass of {base.__module__}:{base.__qualname__} under @dataclass(frozen=True)"
            raise ConfigError(where, f"{path!r} has Options = {getattr(options, '__name__', options)}", allowed)

    def parse(self, spec: Mapping[str, Any] | str, where: str = "") -> tuple[type[T], Any]:
        """Splits ``{type: name, **options}`` into the plug-in's class and its checked options.

        Raises:
            ConfigError: no ``type``, unknown type, or options the plug-in does not accept.
        """
        if isinstance(spec, str):
            spec = {"type": spec}
        if not isinstance(spec, Mapping) or "type" not in spec:
            raise ConfigError(where, f"expected a mapping with a 'type' key, got {spec!r}", self.names())
        with at(where):
            cls = self.resolve(spec["type"], "type")
            options = {k: v for k, v in spec.items() if k != "type"}
            options_class: Any = getattr(cls, "Options")  # noqa: B009 - T carries no static Options attribute
            return cls, parse_options(options_class, options)


def numbered(name: str, i: int) -> str:
    """Metric names of the first plug-in are plain; further ones carry their number."""
    return name if i == 0 else f"{name}_{i}"


def plugin_specs(key: str, value: object) -> list[tuple[str, Any]]:
    """Path and specification of each plug-in under ``key``: None, a name, a mapping, or a list of them."""
    if value is None:
        return []
    if isinstance(value, (list, tuple)):
        return [(f"{key}[{i}]", _as_mapping(spec)) for i, spec in enumerate(value)]
    return [(key, _as_mapping(value))]


def _as_mapping(spec: object) -> object:
    return {"type": spec} if isinstance(spec, str) else dict(spec) if isinstance(spec, Mapping) else spec


def plugin_path(key: str, i: int, count: int) -> str:
    """Where a user wrote plug-in ``i`` of ``count``: a single one usually stands there as it is, not in a list."""
    return key if count == 1 else f"{key}[{i}]"
