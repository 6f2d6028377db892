"""The number of the format that checkpoints have, and the one sentence that refuses those of another."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rllib_rnd.checkpoints.manifest import MANIFEST, read_manifest
from rllib_rnd.errors import ConfigError

#: Of the checkpoints that this version writes and reads. Those without a number are 1.
CHECKPOINT_FORMAT = 4
#: Older ones, which are brought up to it when they are read.
MIGRATED = (3,)
#: Our part of RLlib's algorithm state.
OWN_STATE = "intrinsic_ppo"

#: Of checkpoints of format 3 and of RLlib's own algorithms.
STATE_FILE = "algorithm_state.pkl"


def check_format(state: Mapping[str, Any], checkpoint: str | Path = "") -> None:
    """Refuses an algorithm's state of another format; states of RLlib's own algorithms have none.

    Args:
        state: as of ``Algorithm.get_state()``.
        checkpoint: the folder, for the message.

    Raises:
        ConfigError: its format is not `CHECKPOINT_FORMAT`.
    """
    if OWN_STATE not in state:
        return
    found = state[OWN_STATE].get("format", 1)
    if found != CHECKPOINT_FORMAT:
        raise _refusal(found, checkpoint)


def check_checkpoint(folder: str | Path) -> None:
    """Refuses a checkpoint in a local folder whose format can neither be read nor brought up to the current one.

    Nothing of it is unpickled. Checkpoints of RLlib's own algorithms have no format and pass.

    Raises:
        ConfigError: the format is another one, or the state cannot be read at all.
    """
    found = format_of(Path(folder))
    if found in (None, CHECKPOINT_FORMAT, *MIGRATED):
        return
    by = ""
    if (Path(folder) / MANIFEST).is_file():
        versions = read_manifest(folder).versions
        by = "".join(f", {name} {versions[name]}" for name in ("rllib_rnd", "ray") if name in versions)
    raise _refusal(found, folder, by)


def format_of(folder: Path) -> int | None:
    """The number of a checkpoint's format, 1 where it has a state of this package without one; None: of RLlib's own.

    Raises:
        ConfigError: the state cannot be read at all.
    """
    if (folder / MANIFEST).is_file():
        return read_manifest(folder).format
    if not (folder / STATE_FILE).is_file():
        return None
    state = read_inert(folder / STATE_FILE)
    if not isinstance(state, dict) or OWN_STATE not in state:
        return None
    own = state[OWN_STATE]
    return int(own.get("format", 1)) if isinstance(own, dict) else 1


def _refusal(found: object, checkpoint: str | Path, by: str = "") -> ConfigError:
    return ConfigError(
        f"checkpoint {checkpoint}".strip(),
        f"its format is {found}, of another version of rllib_rnd{by}",
        f"{CHECKPOINT_FORMAT}: train anew, or use the version that wrote it",
    )


class _Gone:
    """Stands in for whatever a checkpoint names and this version does not have, or does not want to run."""

    def __new__(cls, *_args: object, **_kwargs: object) -> _Gone:
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


class _Tolerant(pickle.Unpickler):
    """Reads pickles that name classes which are no longer where they were."""

    def find_class(self, module: str, name: str) -> Callable[..., object]:
        """Returns the class or function, or a stand-in."""
        try:
            return super().find_class(module, name)  # type: ignore[no-any-return]
        except (ImportError, AttributeError):
            return _Gone


class _Inert(pickle.Unpickler):
    """Reads the plain data of a pickle (mappings, lists, numbers, words) and runs nothing that it names."""

    def find_class(self, _module: str, _name: str) -> Callable[..., object]:
        """Returns a stand-in, whatever is named."""
        return _Gone


def read_inert(path: Path) -> object:
    """What is plain in a pickle; all else is a stand-in. No code of it runs.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return _Inert(file).load()
    except Exception as error:  # a damaged pickle may raise any
        raise ConfigError(f"checkpoint {path.parent}", f"its state cannot be read ({error})") from error


def read_tolerant(path: Path) -> object:
    """What a pickle of an older version holds; stand-ins for what this version does not have. **Code of it runs.**

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return _Tolerant(file).load()
    except Exception as error:
        raise ConfigError(f"checkpoint {path.parent}", f"{path.name} cannot be read ({error})") from error
