"""``rllib list``: what can be named in an experiment file, a line each; and one of them with all that it takes."""

from __future__ import annotations

import importlib.util
import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from rllib_rnd.cli import sources
from rllib_rnd.cli.examples import description, example_files, examples_path
from rllib_rnd.cli.runtime import console, say
from rllib_rnd.errors import ConfigError, at, unknown_name_error
from rllib_rnd.options import options_table

_MAX_WIDTH = 100  # of text that is read
_NAME_WIDTH = 24  # of names beside such text; longer ones reach into it
_ENDLESS = 2000  # columns of a file or a pipe, which nobody looks at through a window

#: What is registered where, by the folder of the package and the registry in it.
_REGISTRIES = {
    "backbones": ("modules", "BACKBONES"),
    "rewards": ("intrinsic", "INTRINSIC_REWARDS"),
    "losses": ("auxiliary", "AUXILIARY_LOSSES"),
}
_BASE_ALGORITHM = "IntrinsicPPO"


def own_algorithms() -> list[sources.Plugin]:
    """Returns this package's algorithms."""
    presets = sources.subclasses("rllib_rnd.presets", _BASE_ALGORITHM)
    own = [sources.plugin("rllib_rnd.algorithm", _BASE_ALGORITHM)]
    return own + [sources.plugin("rllib_rnd.presets", preset) for preset in presets]


def rllib_algorithms() -> list[str]:
    """Returns the names of RLlib's algorithms."""
    ray = importlib.util.find_spec("ray")  # which is not imported for it
    places = (ray.submodule_search_locations or []) if ray is not None else []
    files = [Path(place) / "rllib" / "algorithms" / "registry.py" for place in places]
    return sorted(name for file in files if file.is_file() for name in sources.keys_of(file, "ALGORITHMS"))


def settings() -> dict[str, str]:
    """Returns the settings of ``config``, by their names in files, and what they mean."""
    classes = [sources.value("rllib_rnd.settings", name) for name in ("RLlibSettings", "Settings")]
    aliases = sources.value("rllib_rnd.settings", "PUBLIC_NAMES")
    assert isinstance(aliases, dict)
    return {
        aliases.get(field.name, field.name): field.metadata["help"]
        for cls in classes
        for field in fields(cls)  # type: ignore[arg-type]
    }


def list_algorithms() -> None:
    """Prints this package's algorithms and the names of RLlib's."""
    _print_lines([(each.name, each.description) for each in own_algorithms()])
    _print_wrapped(f"RLlib's own run too: {', '.join(rllib_algorithms())}", "    ")


def list_settings() -> None:
    """Prints the settings of ``config``."""
    _print_lines(list(settings().items()))


def list_backbones() -> None:
    """Prints the backbones."""
    _print_lines([("auto", "nature_cnn for images, mlp for the rest", "", ""), *_lines_of("backbones")])


def list_rewards() -> None:
    """Prints the intrinsic rewards."""
    _print_lines(_lines_of("rewards"))


def list_losses() -> None:
    """Prints the auxiliary losses."""
    _print_lines(_lines_of("losses"))


def list_environments() -> None:
    """Prints the families of environments."""
    from rllib_rnd.envs import list_environments as families

    _print_lines([(family.pattern, family.description) for family in families()])


def list_examples() -> None:
    """Prints the tuned examples, which `rllib train NAME` finds from any folder."""
    _print_lines([(str(path.relative_to(examples_path())), description(path)) for path in example_files()])


def _lines_of(kind: str) -> list[tuple[str, ...]]:
    return [(each.name, each.description, each.source, each.cost) for each in sources.registered(*_REGISTRIES[kind])]


def show_plugin(kind: str, name: str) -> None:
    """Prints one backbone, reward or loss with its options.

    Raises:
        ConfigError: there is none of that name.
    """
    known = {each.name: each for each in sources.registered(*_REGISTRIES[kind])}
    if name not in known:
        raise unknown_name_error(kind.removesuffix("s"), name, known, f"list {kind}")
    one = known[name]
    _print_one(name, one.description, one.options, source=one.source, cost=one.cost)


def show_algorithm(name: str) -> None:
    """Prints one of this package's algorithms.

    Raises:
        ConfigError: there is none of that name.
    """
    known = {each.name: each for each in own_algorithms()}
    if name not in known and name not in rllib_algorithms():
        raise unknown_name_error("algorithm", name, [*known, *rllib_algorithms()], "list algorithms")
    said = known[name].description if name in known else "RLlib's own."
    _print_wrapped(f"{name}: {said} Its settings: `rllib list settings`", "  ")


def show_setting(name: str) -> None:
    """Prints one setting with its default (which RLlib is asked for), what is allowed and what it means.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in settings():
        from rllib_rnd.config_checks import unknown_setting_error

        with at("list settings"):
            raise unknown_setting_error("setting", name, settings(), {})
    from rllib_rnd.presets import settings_table

    _print_options([row for row in settings_table() if row[0] == name])


def show_environment(name: str) -> None:
    """Prints the family that an environment belongs to, with its options.

    Raises:
        ConfigError: it belongs to none.
    """
    from rllib_rnd.envs import list_environments as families

    known = families()
    family = next((f for f in known if f.pattern == name), None) or next(f for f in known if f.owns(name))
    if family.require is not None and name != family.pattern:
        with at("list environments"):
            family.require(name)
    _print_one(family.pattern, family.description, family.options_class)


def _examples() -> dict[str, Path]:
    return {str(path.relative_to(examples_path()).with_suffix("")): path for path in example_files()}


def show_example(name: str) -> None:
    """Prints a tuned example, to be copied.

    Raises:
        ConfigError: there is none of that name.
    """
    known = _examples()
    short = name.removesuffix(".yaml")
    if short not in known:
        raise unknown_name_error("example", short, known, "list examples")
    say(known[short].read_text(encoding="utf-8").rstrip())


#: Kind -> what prints all of it, and what prints one of it.
KINDS: dict[str, tuple[Callable[[], None], Callable[[str], None]]] = {
    "algorithms": (list_algorithms, show_algorithm),
    "settings": (list_settings, show_setting),
    "backbones": (list_backbones, lambda name: show_plugin("backbones", name)),
    "rewards": (list_rewards, lambda name: show_plugin("rewards", name)),
    "losses": (list_losses, lambda name: show_plugin("losses", name)),
    "environments": (list_environments, show_environment),
    "examples": (list_examples, show_example),
}


def _unknown_list(kind: str) -> ConfigError:
    """The error for a list that there is not; what a list holds is found there."""
    error = unknown_name_error("list", kind, KINDS)
    if error.nearest is None:  # as of an abbreviation
        error.nearest = next((name for name in KINDS if name.startswith(kind.rstrip("s") or kind)), None)
    if error.nearest is not None:
        return error
    held = [
        plural for plural in _REGISTRIES if kind in {each.name for each in sources.registered(*_REGISTRIES[plural])}
    ]
    held += [plural for plural, known in (("settings", settings()), ("examples", _examples())) if kind in known]
    if held:
        return ConfigError("", f"unknown list {kind!r}", " or ".join(f"rllib list {plural} {kind}" for plural in held))
    return error


def print_list(kind: str | None, name: str | None = None) -> None:
    """Prints one kind, one of a kind, or all.

    Raises:
        ConfigError: there is no such kind, or none of that name.
    """
    if kind is not None and kind not in KINDS:
        raise _unknown_list(kind)
    if kind is not None and name is not None:
        KINDS[kind][1](name)
        return
    for each in KINDS if kind is None else [kind]:
        if kind is None:
            say(f"\n{each}\n{'-' * len(each)}")
        KINDS[each][0]()
    if sys.stdout.isatty():
        say(f"\nMore of one of them: rllib list {kind or 'KIND'} NAME")


def names_of(kind: str) -> list[str]:
    """Returns what `print_list` takes as the name of one of a kind; empty of an unknown kind."""
    from rllib_rnd.envs import list_environments as families

    if kind in _REGISTRIES:
        return [each.name for each in sources.registered(*_REGISTRIES[kind])]
    return {
        "algorithms": lambda: [*(each.name for each in own_algorithms()), *rllib_algorithms()],
        "settings": lambda: list(settings()),
        "environments": lambda: [env_id for family in families() for env_id in family.own_ids or (family.pattern,)],
        "examples": lambda: list(_examples()),
    }.get(kind, list)()


def _width() -> int:
    """Columns to print into: those of the terminal, or as many as a line needs where there is none."""
    return console().width if sys.stdout.isatty() or "COLUMNS" in os.environ else _ENDLESS


def _print_lines(rows: Sequence[Sequence[str]]) -> None:
    """Prints a line each, in columns; where they do not fit, name and text over as many lines as that takes."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    if sum(widths) + 2 * (len(widths) - 1) <= _width():
        for row in rows:
            say("  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip())
        return
    margin = min(widths[0], _NAME_WIDTH)
    for name, *rest in rows:
        text = "; ".join(part.removesuffix(".") for part in rest if part)
        line = f"{name:{margin}}  {text}"
        say(textwrap.fill(line, _width(), subsequent_indent=" " * (margin + 2), break_on_hyphens=False))


def _print_one(name: str, meaning: str, options: type | None, **more: str) -> None:
    """Prints what something is, what else is known of it by label, and its options."""
    _print_wrapped(f"{name}: {meaning}", "  ")
    for label, text in more.items():
        if text:
            _print_wrapped(f"{label}: {text}", "  ")
    if options is not None:
        _print_options(options_table(options))


def _print_options(rows: Iterable[tuple[str, str, str, str]]) -> None:
    """Prints for each option its name, default and what is allowed, and below that its meaning."""
    lines = list(rows)
    names = max((len(name) for name, *_ in lines), default=0)
    for name, default, allowed, meaning in lines:
        _print_wrapped(f"  {name:{names}}  {default}  ({allowed})", " " * (names + 4))
        _print_wrapped(f"      {meaning}", " " * 6)


def _print_wrapped(line: str, margin: str) -> None:
    width = max(40, min(console().width, _MAX_WIDTH))
    say(textwrap.fill(line, width, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False))
