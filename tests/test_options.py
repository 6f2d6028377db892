"""Options: what a value may be, by its annotation and its limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import pytest

from rllib_rnd.errors import ConfigError
from rllib_rnd.options import (
    Limits,
    Registry,
    as_yaml,
    check_value,
    describe_allowed,
    option,
    options_table,
    parse_options,
    plugin_specs,
)


@dataclass(frozen=True)
class Some:
    rate: float = option(0.5, "a rate", low=0.0, high=1.0)
    size: int | None = option(None, "a size", low=1)
    sizes: tuple[int, ...] = option((8,), "sizes", low=1)
    kind: Literal["a", "b"] = option("a", "a kind")
    more: dict[str, Any] = option({"x": 1}, "more")


@pytest.mark.parametrize(
    ("value", "hint", "limits", "expected"),
    [
        (1, float, Limits(), 1.0),
        (1e3, int, Limits(), 1000),
        (1e3, int | None, Limits(low=1), 1000),
        (2, int | float, Limits(low=0), 2),
        (0.5, int | float, Limits(low=0), 0.5),
        (None, int | None, Limits(low=1), None),
        ("auto", int | Literal["auto"], Limits(low=1), "auto"),
        ([1, 2.0], tuple[int, ...], Limits(low=1), (1, 2)),
        (("a", "b"), list, Limits(), ["a", "b"]),
        (MappingProxyType({"type": "rnd"}), dict | str | list | None, Limits(), {"type": "rnd"}),
        ([[0, 1], [1e2, 0.0]], float, Limits(above=0.0, schedule=True), [[0, 1.0], [100, 0.0]]),
        (object, Any, Limits(), object),
    ],
)
def test_allowed_values_are_normalised(value: Any, hint: Any, limits: Limits, expected: Any) -> None:
    checked = check_value(value, hint, "x", limits)
    assert checked == expected and type(checked) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint", "limits", "message"),
    [
        (True, int, Limits(), "x: true has the wrong type; allowed is int."),
        (2.5, int, Limits(), "x: 2.5 has the wrong type; allowed is int."),
        ("1", float, Limits(), "x: '1' has the wrong type; allowed is float."),
        (
            "fast",
            float,
            Limits(schedule=True),
            "allowed is float or a schedule [[0, value], [agent_step, value], ...].",
        ),
        (None, float, Limits(), "x: null has the wrong type; allowed is float."),
        ("foo", int | Literal["auto"], Limits(), "x: 'foo' has the wrong type; allowed is int or 'auto'."),
        (0, float, Limits(above=0.0), "x: 0 is out of range; allowed is more than 0."),
        (float("nan"), float, Limits(), "x: nan is out of range; allowed is a finite number."),
        (float("inf"), float, Limits(above=0.0), "x: inf is out of range; allowed is a finite number."),
        (-1, int, Limits(low=0, high=3), "x: -1 is out of range; allowed is 0 to 3."),
        ([3, 0], list[int], Limits(low=1), "x: [3, 0] is out of range; allowed is 1 or more."),
        ("c", Literal["a", "b"], Limits(), "x: unknown value 'c'. Allowed: a, b."),
        ("aa", str, Limits(choices=("a", "b")), "x: unknown value 'aa'. Did you mean 'a'? Allowed: a, b."),
        ([[0, 1.0], [5]], float, Limits(schedule=True), "x[1]: [5] is no point of a schedule; allowed is [agent_step"),
        ([[0, 1.0], [5, -1]], float, Limits(above=0.0, schedule=True), "x[1]: -1 is out of range; allowed is 0.0 or"),
        ([[0, 1.0]], float, Limits(schedule=True), "x: [[0, 1.0]] is no schedule; allowed is a number, or [[0, value]"),
        ([[1, 1.0], [2, 1.0]], float, Limits(schedule=True), "x: [[1, 1.0], [2, 1.0]] is no schedule"),
        ([[0, 1.0], [5, 1.0], [5, 2.0]], float, Limits(schedule=True), "is no schedule"),
    ],
)
def test_other_values_are_refused(value: Any, hint: Any, limits: Limits, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_value(value, hint, "x", limits)
    assert message in str(caught.value)


def test_a_mapping_becomes_options_with_defaults() -> None:
    assert parse_options(Some, {"rate": 1, "sizes": [4, 2]}) == Some(rate=1.0, sizes=(4, 2))
    first, second = parse_options(Some, None), parse_options(Some, {})
    assert first == second == Some() and first.more is not second.more


@pytest.mark.parametrize(
    ("mapping", "path"),
    [({"rat": 1}, "a.b.rat"), ({"rate": 2}, "a.b.rate"), ({"sizes": ["x"]}, "a.b.sizes[0]"), ([], "a.b")],
)
def test_a_mistake_in_a_mapping_has_its_path(mapping: Any, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_options(Some, mapping, "a.b")
    assert caught.value.path == path


def test_the_table_says_what_is_allowed() -> None:
    rows = {name: (default, allowed) for name, default, allowed, _ in options_table(Some)}
    assert rows == {
        "rate": ("0.5", "0.0 to 1.0"),
        "size": ("null", "1 or more, null"),
        "sizes": ("[8]", "a list of int"),
        "kind": ("a", "a, b"),
        "more": ("{x: 1}", "mapping"),
    }


@pytest.mark.parametrize(
    ("hint", "limits", "words"),
    [
        (float, Limits(above=0.0, schedule=True), "more than 0, schedule"),
        (float | None, Limits(low=0.0), "0.0 or more, null"),
        (int | float | Literal["auto"], Limits(low=0), "0 or more, auto"),
        (float, Limits(above=0.0, high=1.0), "more than 0, at most 1"),
        (bool, Limits(), "true, false"),
        (dict | str | list | None, Limits(), "mapping, name, list, null"),
        (float, Limits(), "any number"),
        (str | None, Limits(choices=(None, "a", "b")), "null, a, b"),
    ],
)
def test_what_is_allowed_in_words(hint: Any, limits: Limits, words: str) -> None:
    assert describe_allowed(hint, limits) == words


def test_values_as_yaml_has_them() -> None:
    assert as_yaml({"type": "auto", "x": [None, True, 1e-8, 2.0]}) == "{type: auto, x: [null, true, 1e-08, 2]}"


def test_specifications_of_plug_ins_and_their_paths() -> None:
    assert plugin_specs("r", None) == []
    assert plugin_specs("r", "rnd") == [("r", {"type": "rnd"})]
    assert plugin_specs("r", {"type": "rnd"}) == [("r", {"type": "rnd"})]
    assert plugin_specs("r", ["rnd", {"type": "icm"}]) == [("r[0]", {"type": "rnd"}), ("r[1]", {"type": "icm"})]


class Base:
    name = "base"
    Options = Some


def test_a_plug_in_is_registered_under_a_name_of_its_own() -> None:
    registry: Registry[Base] = Registry("thing", Base)

    @registry.register
    class Mine(Base):
        name = "mine"

    assert registry.names() == ["mine"] and registry.resolve("mine") is Mine
    assert registry.parse({"type": "mine", "rate": 1}) == (Mine, Some(rate=1.0))
    with pytest.raises(ValueError, match="needs a name of its own"):
        registry.register(type("Inherited", (Mine,), {}))
    with pytest.raises(ValueError, match="needs a name of its own"):
        registry.register(type("Again", (Base,), {"name": "mine"}))
    with pytest.raises(ConfigError, match=r"^x\.type: unknown thing 'mone'. Did you mean 'mine'\?"):
        registry.parse({"type": "mone"}, "x")


def test_a_plain_field_of_a_dataclass_needs_no_limits() -> None:
    @dataclass(frozen=True)
    class Plain:
        values: list[int] = field(default_factory=list)

    assert parse_options(Plain, {"values": [1]}).values == [1]
