"""Pickles of checkpoints, read without what they name: none of it, arrays alone, or what is still there."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

from rllib_rnd.errors import ConfigError

# Of whose names the class and function of a pickle may really be taken: those that make arrays.
_MAKES_ARRAYS = {
    "numpy._core.multiarray": ("_reconstruct", "scalar"),
    "numpy.core.multiarray": ("_reconstruct", "scalar"),
    "numpy._core.numeric": ("_frombuffer",),
    "numpy.core.numeric": ("_frombuffer",),
    "numpy": ("ndarray", "dtype"),
    "collections": ("OrderedDict",),
    "_codecs": ("encode",),
}


class _StandIn:
    """Takes the place of whatever a pickle names and nobody is to run."""

    def __new__(cls, *_args: object, **_kwargs: object) -> _StandIn:
        return super().__new__(cls)

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        """Takes any arguments."""

    def __setstate__(self, state: object) -> None:
        """Takes any state."""

    def __setitem__(self, key: object, value: object) -> None:
        """Takes any entry."""

    def append(self, value: object) -> None:
        """Takes any member."""

    def extend(self, values: object) -> None:
        """Takes any members."""


class _Inert(pickle.Unpickler):
    """Reads mappings, lists, numbers and words, and runs nothing."""

    def find_class(self, _module: str, _name: str) -> Callable[..., object]:
        """Returns a stand-in, whatever is named."""
        return _StandIn


class _Arrays(pickle.Unpickler):
    """Reads numpy's arrays too."""

    def find_class(self, module: str, name: str) -> Callable[..., object]:
        """Returns what makes arrays, or the stand-in."""
        if name in _MAKES_ARRAYS.get(module, ()) or module == "numpy.dtypes":
            return super().find_class(module, name)  # type: ignore[no-any-return]
        return _StandIn


class _Tolerant(pickle.Unpickler):
    """Reads pickles that name classes which are no longer where they were."""

    def find_class(self, module: str, name: str) -> Callable[..., object]:
        """Returns the class or function, or a stand-in."""
        try:
            return super().find_class(module, name)  # type: ignore[no-any-return]
        except (ImportError, AttributeError):
            return _StandIn


def read_inert(path: Path) -> object:
    """What is plain in a pickle; all else is a stand-in. No code of it runs.

    Raises:
        ConfigError: it cannot be read.
    """
    return _read(path, _Inert)


def read_arrays(path: Path) -> object:
    """What is plain in a pickle, and arrays; all else is a stand-in. No code of it runs.

    Raises:
        ConfigError: it cannot be read.
    """
    return _read(path, _Arrays)


def read_tolerant(path: Path) -> object:
    """What a pickle of an older version holds; stand-ins for what this version does not have. **Code of it runs.**

    Raises:
        ConfigError: it cannot be read.
    """
    return _read(path, _Tolerant)


def _read(path: Path, reader: type[pickle.Unpickler]) -> object:
    try:
        with path.open("rb") as file:
            return reader(file).load()
    except Exception as error:  # a damaged pickle may raise any
        raise ConfigError(f"checkpoint {path.parent}", f"{path.name} cannot be read ({error})") from error
