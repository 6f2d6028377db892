"""The one error that a user's mistake produces: its place, what is wrong, what is allowed, what was probably meant."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rllib_rnd.former_names import successor, successors

#: A place in a configuration, part by part: ``("intrinsic_reward", 1, "gamma")``.
KeyPath = tuple[str | int, ...]

# Share of letters in common from which a name may have been meant; one of two letters is enough (v3: v2).
_SIMILAR, _SIMILAR_SHORT = 0.6, 0.5
# More names than this are counted instead of listed.
_MAX_LISTED = 40


def _in_one_line(value: object) -> str:
    if isinstance(value, type) or inspect.isroutine(value):  # a user knows it by its name, not by its address
        return f"{value.__module__}.{value.__qualname__}"
    return repr(value) if isinstance(value, str) else " ".join(repr(value).split())  # arrays take several


def in_words(value: object, scalar: Callable[[object], str] = _in_one_line) -> str:
    """A value as a user may write it, in YAML's words: ``true``, ``null``, ``'name'``, ``{type: 'rnd'}``.

    Args:
        value: of a setting.
        scalar: writes all that has no word of its own.
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {in_words(item, scalar)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(in_words(item, scalar) for item in value)}]"
    return scalar(value)


def briefly(value: object) -> str:
    """As `in_words`, cut after 80 characters, behind a whole word where there is one."""
    text = in_words(value)
    if len(text) <= 80:
        return text
    words = text[:77].rpartition(" ")[0]
    return f"{words} ..." if len(words) > 40 else f"{text[:77]}..."


def same(value: object, other: object) -> bool:
    """Whether two values of a setting are equal, arrays and whatever a user's objects make of ``==`` among them."""
    if value is other:
        return True
    if isinstance(value, Mapping) and isinstance(other, Mapping):
        return value.keys() == other.keys() and all(same(value[key], other[key]) for key in value)
    if isinstance(value, (list, tuple)) and isinstance(other, (list, tuple)):
        alike = isinstance(value, list) == isinstance(other, list) and len(value) == len(other)
        return alike and all(map(same, value, other))
    try:
        if getattr(value, "shape", ()) != getattr(other, "shape", ()):  # else arrays would be broadcast
            return False
        equal = value == other
        every = getattr(equal, "all", None)
        return bool(equal if every is None else every())
    except Exception:
        return False


class ConfigError(ValueError):
    """A setting that cannot be used.

    Whoever finds the mistake knows where it is in its own options only; each caller that knows more puts its own
    part of the path in front with `at`.

    Args:
        path: where it stands, as a user types it: ``patch_size``, ``intrinsic_reward[1].gamma``, ``--out a.avi``; ""
            is the whole thing.
        problem: the value and what is wrong with it, without a full stop.
        allowed: completes "allowed is ..."; or the members of a closed set.
        nearest: the allowed value that was probably meant.
    """

    def __init__(self, path: str, problem: str, allowed: str | Sequence[object] = "", nearest: object = None) -> None:
        super().__init__(path, problem, allowed, nearest)
        self.path, self.problem, self.allowed, self.nearest = path, problem, allowed, nearest

    @property
    def reason(self) -> str:
        """All but the path, as a sentence."""
        text = self.problem.rstrip(" .")
        if isinstance(self.allowed, str):
            text += f"; allowed is {self.allowed.removesuffix('.')}." if self.allowed else "."
            return text if self.nearest is None else f"{text} Nearest: {in_words(self.nearest)}."
        hint = "" if self.nearest is None else f" Did you mean {in_words(self.nearest)}?"
        names = [name if isinstance(name, str) else in_words(name) for name in self.allowed]
        listed = ", ".join(names) if len(names) <= _MAX_LISTED else f"{len(names)} names"
        return f"{text}.{hint} Allowed: {listed or 'none yet'}."

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.path else self.reason


@contextmanager
def at(path: str) -> Iterator[None]:
    """Puts ``path`` in front of the path of a `ConfigError` that comes out of the block."""
    try:
        yield
    except ConfigError as error:
        error.path = join(path, error.path)
        raise


def join(path: str, rest: str) -> str:
    """``a`` and ``b[0]`` make ``a.b[0]``; either may be empty."""
    separator = "." if path and rest and not rest.startswith("[") else ""
    return path + separator + rest


def dotted(path: KeyPath) -> str:
    """Returns ``a.b[0].c`` for ``("a", "b", 0, "c")``."""
    text = ""
    for part in path:
        text = join(text, f"[{part}]" if isinstance(part, int) else str(part))
    return text


def parse_dotted(text: str) -> KeyPath:
    """Inverse of `dotted` for names and ``[i]`` indices."""
    found = re.findall(r"([^.\[\]]+)|\[(\d+)\]", text)
    return tuple(int(index) if index else name for name, index in found)


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Returns the known name that was probably meant: by meaning, or the one most like it; None if nothing is similar.

    Args:
        name: as a user wrote it, whatever its case.
        known: every allowed name.
    """
    by_case = {str(k).lower(): str(k) for k in known}
    same = successor(str(name), set(by_case.values()))
    if successors(str(name)) == ():  # known, and nothing here does its work
        return None
    cutoff = _SIMILAR_SHORT if len(str(name)) == 2 else _SIMILAR
    matches = difflib.get_close_matches(str(name).lower(), by_case, n=1, cutoff=cutoff)
    return same or (by_case[matches[0]] if matches else None)


def unknown_name_error(kind: str, name: str, known: Iterable[str], path: str = "") -> ConfigError:
    """Builds the error for a name that is not in a closed set.

    Args:
        kind: what the name should be ("key", "backbone", "environment").
        name: the name as the user wrote it.
        known: every allowed name.
        path: the place of the name; of an unknown key, the key itself.
    """
    names = sorted({str(k) for k in known})
    return ConfigError(path, f"unknown {kind} {name!r}", names, nearest_name(name, names))
