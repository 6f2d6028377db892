"""YAML text to plain data plus the place of every value, so that an error can name file and line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from rllib_rnd.errors import ConfigError, KeyPath, dotted, parse_dotted


class ExperimentError(ConfigError):
    """A mistake in an experiment file or in an override; ``str()`` is the one line a user reads.

    Args:
        place: file and line, or the option of the command line.
        path, problem, allowed, nearest: as of `ConfigError`; the path begins with the experiment's name.
    """

    def __init__(
        self, place: str, path: str, problem: str, allowed: str | Sequence[Any] = "", nearest: object = None
    ) -> None:
        super().__init__(path, problem, allowed, nearest)
        self.args = (place, path, problem, allowed, nearest)  # what unpickling calls the class with
        self.place = place

    def __str__(self) -> str:
        return f"{self.place}: {super().__str__()}"


class Places:
    """Remembers where each value came from: ``file.yaml:12`` or the command-line option that set it.

    Args:
        default: the place of what has none of its own: the file.
    """

    def __init__(self, default: str) -> None:
        self.default = default
        self._places: dict[KeyPath, str] = {}
        self._written: dict[KeyPath, KeyPath] = {}

    def set(self, path: KeyPath, place: str) -> None:
        """Records the place of the value at ``path``; what lay under it before is forgotten."""
        for known in [p for p in self._places if p[: len(path)] == path]:
            del self._places[known]
        self._places[path] = place

    def add(self, path: KeyPath, place: str) -> None:
        """Records the place of one value without touching the values under it."""
        self._places[path] = place

    def rename(self, path: KeyPath, written: KeyPath) -> None:
        """The value that was written at ``written`` is called ``path`` from now on; errors say what was written."""
        self._written[path] = written

    def of(self, path: KeyPath) -> str:
        """Returns the place of ``path`` or of its nearest recorded parent."""
        for length in range(len(path), 0, -1):
            for known in (path[:length], self.as_written(path[:length])):
                if known in self._places:
                    return self._places[known]
        return self.default

    def as_written(self, path: KeyPath) -> KeyPath:
        """The path in the words of the file."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._written:
                return self.as_written(self._written[path[:length]] + path[length:])
        return path

    def error(
        self, path: KeyPath, problem: str, allowed: str | Sequence[Any] = "", nearest: object = None
    ) -> ExperimentError:
        """Builds the error about the value at ``path``, whose first part is the experiment's name."""
        return ExperimentError(self.of(path), dotted(self.as_written(path)), problem, allowed, nearest)

    def located(self, path: KeyPath, error: ConfigError) -> ExperimentError:
        """Gives an error about something under ``path`` its place."""
        inner = parse_dotted(error.path)
        return self.error((*path, *inner), error.problem, error.allowed, error.nearest)

    @contextmanager
    def at(self, *path: str | int) -> Iterator[None]:
        """Gives a `ConfigError` that comes out of the block its place under ``path``."""
        try:
            yield
        except ExperimentError:
            raise
        except ConfigError as error:
            raise self.located(path, error) from error


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, except that ``1e-4`` is a number (PyYAML alone makes it a string)."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*(?:\.[\d_]*)?|\.[\d_]+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def parse_scalar(text: str) -> Any:
    """Reads one YAML value, as ``--set key=value`` needs it.

    Raises:
        ConfigError: if the text is not YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError("", f"{text!r} is not a YAML value ({_reason(error)})") from error


def load_yaml(path: Path) -> tuple[Any, Places]:
    """Reads one YAML file.

    Returns:
        The data, and the places of every key and list item in it.

    Raises:
        ExperimentError: unreadable file, broken YAML, or a key written twice in one mapping.
    """
    places = Places(str(path))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentError(str(path), "", f"cannot be read ({error})") from error
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        data = None if node is None else _construct(loader, node, (), places)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ExperimentError(f"{path}{line}", "", f"not valid YAML ({_reason(error)})") from error
    finally:
        loader.dispose()
    return data, places


def _reason(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or error).split("\n")[0]


_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


def _construct(loader: _Loader, node: yaml.Node, path: KeyPath, places: Places) -> Any:
    if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN_TAGS:
        problem = f"the tag {node.tag!r} is not allowed"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    if isinstance(node, yaml.MappingNode):
        _refuse_duplicates(node, path, places)
        loader.flatten_mapping(node)  # resolves `<<: *anchor`
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node, deep=True)
            if not isinstance(key, (str, int, float, bool)):
                where = f"{places.default}:{key_node.start_mark.line + 1}"
                raise ExperimentError(where, "", f"{key!r} cannot be a key")
            child = (*path, str(key))
            places.add(child, f"{places.default}:{key_node.start_mark.line + 1}")
            mapping[key] = _construct(loader, value_node, child, places)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, value_node in enumerate(node.value):
            places.add((*path, index), f"{places.default}:{value_node.start_mark.line + 1}")
            items.append(_construct(loader, value_node, (*path, index), places))
        return items
    return loader.construct_object(node, deep=True)


def _refuse_duplicates(node: yaml.MappingNode, path: KeyPath, places: Places) -> None:
    seen: dict[str, int] = {}
    for key_node, _ in node.value:
        name, line = str(key_node.value), key_node.start_mark.line + 1
        if name in seen and name != "<<":
            problem = f"written twice; the first is in line {seen[name]}"
            raise ExperimentError(f"{places.default}:{line}", dotted((*path, name)), problem)
        seen[name] = line


def walk(value: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yields every (path, value) below ``value``, itself included, parents first."""
    yield path, value
    if isinstance(value, Mapping):
        for key, child in value.items():
            yield from walk(child, (*path, str(key)))
    elif isinstance(value, (list, tuple)):
        for index, child in enumerate(value):
            yield from walk(child, (*path, index))
