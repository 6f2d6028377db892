"""A user's own code: found by its import path, called with arguments that it takes, named where it fails."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from rllib_rnd.errors import ConfigError, in_words, nearest_name, unknown_name_error

_PACKAGE = Path(__file__).parent
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")

# --- import paths ---------------------------------------------------------------------------------------------------


def is_import_path(name: object) -> bool:
    """Whether a name is written like ``package.module:Name`` or ``package.module.Name``."""
    return isinstance(name, str) and (":" in name or _DOTTED.fullmatch(name) is not None)


def import_path(path: str, where: str = "") -> Any:
    """Imports ``package.module:Name`` or ``package.module.Name``; what stands in a class is ``module:Class.Name``.

    Raises:
        ConfigError: the module or the name in it does not exist, or the module raises when it is imported.
    """
    module_name, colon, attribute = path.partition(":")
    if not colon:
        module_name, _, attribute = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a user's file raises is the user's to read
        raise ConfigError(where, f"cannot import {path!r} ({cause_of(error)})") from error
    try:
        return functools.reduce(getattr, attribute.split("."), module)
    except AttributeError as error:
        nearest = nearest_name(attribute, _offered(module, True)) or nearest_name(attribute, _offered(module, False))
        raise ConfigError(
            where,
            f"cannot import {path!r} (there is no {attribute!r} in {module_name!r})",
            nearest=f"{module_name}{colon or '.'}{nearest}" if nearest else None,
        ) from error


def _offered(module: ModuleType, own: bool) -> list[str]:
    """Names of a module's classes and functions, of those that it defines or of those that it imports."""
    return [
        name
        for name, found in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(found) or inspect.isroutine(found))
        and (getattr(found, "__module__", None) == module.__name__) is own
    ]


def import_name(found: object) -> str | None:
    """The import path of a class or function, if it leads to it in every process; else None.

    It does not for what is defined in ``__main__``, in a function, or in a module that Ray pickles by value.
    """
    from ray import cloudpickle

    module, qualified = getattr(found, "__module__", None), getattr(found, "__qualname__", None)
    if not module or not qualified or "<" in qualified or module == "__main__":
        return None
    by_value = cloudpickle.list_registry_pickle_by_value()
    if any(module == name or module.startswith(f"{name}.") for name in by_value):
        return None
    path = f"{module}:{qualified}"
    try:
        return path if import_path(path) is found else None
    except ConfigError:
        return None


def name_of(found: object) -> str:
    """What a class, function or other object is called in messages: ``module:Name`` where it has a name."""
    name = getattr(found, "__qualname__", None)
    return repr(found) if name is None else f"{getattr(found, '__module__', '?')}:{name}"


#: How the settings of RLlib begin that take a function or several, and the one that takes one.
CALLBACK_FUNCTIONS, EVALUATION_FUNCTION = "callbacks_on_", "custom_evaluation_function"


def takes_functions(setting: str) -> bool:
    """Whether a setting, by attribute, takes functions of the user's."""
    return setting.startswith(CALLBACK_FUNCTIONS) or setting == EVALUATION_FUNCTION


def check_function(found: object, where: str, written: object = None) -> None:
    """Refuses what RLlib cannot call as a function.

    Args:
        found: what a setting was given.
        where: the setting.
        written: its import path, if it was given by that.

    Raises:
        ConfigError: it is a class, which a call would only make an object of, or nothing to call.
    """
    shown_as = in_words(written or (name_of(found) if isinstance(found, type) else found))
    if isinstance(found, type):
        callback = where.startswith(CALLBACK_FUNCTIONS)
        raise ConfigError(where, f"{shown_as} is a class", "a function" + "; callbacks: takes classes" * callback)
    if not callable(found):
        allowed = "module:function" if where == EVALUATION_FUNCTION else "module:function, or a list of such"
        raise ConfigError(where, f"{shown_as} is no function", allowed)


def check_functions(settings: Mapping[str, Any]) -> None:
    """Refuses what is no function in any of the settings, by attribute, that take functions.

    Raises:
        ConfigError: as of `check_function`.
    """
    for name in filter(takes_functions, settings):
        given = settings[name]
        for found in given if isinstance(given, list | tuple) else [given]:
            if found is not None:
                check_function(found, name)


def own_classes(parts: Iterable[object]) -> list[str]:
    """The classes, by name and each once, of what is neither this package's nor installed."""
    classes = dict.fromkeys(type(part) for part in parts)
    return [name_of(cls) for cls in classes if _is_users(_file_of(cls))]


def _file_of(cls: type) -> str:
    try:
        return inspect.getfile(cls)
    except (OSError, TypeError):  # of a notebook or a prompt, or written in C
        return cls.__module__ if cls.__module__ == "__main__" else "<unknown>"


# --- arguments ------------------------------------------------------------------------------------------------------


def check_arguments(
    maker: Callable[..., object], keywords: Mapping[str, Any], name: str, positional: Sequence[object] = ()
) -> None:
    """Refuses arguments that a class or function does not take.

    Args:
        maker: the class or function.
        keywords: what a user chose, by name.
        name: what it is called in the message.
        positional: what it is handed besides.

    Raises:
        ConfigError: naming the keyword and the nearest that exists, or an argument that is missing.
    """
    try:
        signature = inspect.signature(maker)
    except (TypeError, ValueError):
        return
    kinds = list(signature.parameters.values())
    if not any(p.kind is p.VAR_KEYWORD for p in kinds):
        names = [p.name for p in kinds if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)][len(positional) :]
        for key in keywords:
            if key not in names:
                raise unknown_name_error("key", key, names, key)
    try:
        signature.bind(*positional, **keywords)
    except TypeError as error:
        raise ConfigError("", f"{name} cannot be made with {dict(keywords)} ({error})") from error


# --- failures -------------------------------------------------------------------------------------------------------


@contextmanager
def failures_of(plugin: object, method: str) -> Iterator[None]:
    """Makes one `ConfigError` of whatever a plug-in raises in the block: its class and method, the cause, its line.

    Args:
        plugin: the plug-in or its class.
        method: that the block calls.
    """
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError("", f"{method_of(plugin, method)} failed: {cause_of(error)}") from error


def method_of(plugin: object, method: str, with_line: bool = False) -> str:
    """``module:Class.method()``, and with its line ``module:Class.method() (file.py:12)``."""
    cls = plugin if isinstance(plugin, type) else type(plugin)
    text = f"{name_of(cls)}.{method}()"
    code = getattr(inspect.unwrap(getattr(cls, method, cls)), "__code__", None)
    return f"{text} ({shown(code.co_filename)}:{code.co_firstlineno})" if with_line and code else text


def shown(file: str) -> str:
    """A file's path as seen from the working folder, if it lies in it."""
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else file


def cause_of(error: BaseException) -> str:
    """What went wrong, in one line, with the line of the user's own file that it came from; see `cause_in`."""
    return cause_in("".join(traceback.format_exception(error)))


_DIRECT_CAUSE = "The above exception was the direct cause"
_COLOUR = re.compile(r"\x1b\[\d*m")
_FRAME = re.compile(r'\s*File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>.+)')
# What an exception's line looks like where no frames have told that it must be one, and where they have.
_RAISED = re.compile(
    r"(?:[\w.]+\.)?(?P<type>\w*(?:Error|Exception|Interrupt|Exit)(?:\(\w+\))?)(?:: (?P<text>.*))?", re.DOTALL
)
_RAISED_IN_FRAMES = re.compile(r"(?:[\w.<>]+\.)?(?P<type>[A-Za-z_]\w*(?:\(\w+\))?)(?:: (?P<text>.*))?")
_BEGINS = re.compile(r"(Traceback|During handling|The above exception|ray::)")


def cause_in(report: str) -> str:
    """The exception at the end of a traceback in text, also one that came from another process, in one line.

    ``KeyError: 'weights' (my_reward.py:12, in compute)``: the place is the innermost one in files that are neither
    this package's nor installed. A `ConfigError` speaks for itself. An exception without a message and a place gives
    way to the one before it; one that does not tell of its first cause is followed by it.
    """
    found = _exceptions_in(report)
    for kind, message, where in reversed(found):
        if kind == ConfigError.__name__ and message:
            return message
        if message or where or len(found) == 1:
            text = (f"{kind}: {message}" if message else kind) + (f" ({where})" if where else "")
            first = f"{found[0][0]}: {found[0][1]}" if found[0][1] else found[0][0]
            return text if _DIRECT_CAUSE not in report or first in text else f"{text}, from {first}"
    return found[-1][0] if found else next((line.strip() for line in reversed(report.splitlines()) if line.strip()), "")


def refusal_in(report: str) -> str | None:
    """The text of the `ConfigError` that a traceback in text ends with; None where it ends with something else."""
    kind, message, _ = (_exceptions_in(report) or [("", "", "")])[-1]
    return message if kind == ConfigError.__name__ and message else None


def _exceptions_in(report: str) -> list[tuple[str, str, str]]:
    """Type, message and place (empty where it is not in a user's file) of every exception in a traceback in text.

    An exception is the first line without indentation after its frames; those that follow belong to its message.
    """
    found: list[tuple[str, str, str]] = []
    place, has_frames, has_begun = "", False, True
    for line in _COLOUR.sub("", report).splitlines():
        frame = _FRAME.fullmatch(line)
        if frame:
            has_frames = has_begun = True
            if _is_users(frame["file"]):
                place = f"{shown(frame['file'])}:{frame['line']}, in {frame['name']}"
        elif _BEGINS.match(line):
            has_begun, has_frames = True, False
        elif has_begun and line.strip() and not line.startswith(" "):
            raised = (_RAISED_IN_FRAMES if has_frames else _RAISED).fullmatch(line.strip())
            if raised:
                found.append((raised["type"], (raised["text"] or "").strip(), place))
                place, has_begun, has_frames = "", False, False
    return found


def _is_users(file: str) -> bool:
    installed = "/site-packages/" in file or "/dist-packages/" in file or re.search(r"/lib/python\d", file)
    return not (installed or file.startswith("<") or Path(file).is_relative_to(_PACKAGE))
