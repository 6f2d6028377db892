"""The number of the format that checkpoints have, and the one sentence that refuses those of another.

Checkpoints name classes by their place in the package, and hold state that only the version that wrote them can read.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rllib_rnd.errors import ConfigError

#: Of the checkpoints that this version writes and reads. Those without a number are 1.
CHECKPOINT_FORMAT = 3
#: Our part of RLlib's algorithm state.
OWN_STATE = "intrinsic_ppo"

_STATE_FILE = "algorithm_state.pkl"


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
        raise ConfigError(
            f"checkpoint {checkpoint}".strip(),
            f"its format is {found}, of another version of rllib_rnd",
            f"{CHECKPOINT_FORMAT}: train anew, or use the version that wrote it",
        )


def check_checkpoint(folder: str | Path) -> None:
    """As `check_format`, of a checkpoint in a local folder, whatever classes it names; not if it has no such state.

    Raises:
        ConfigError: the format is another one, or the state cannot be read at all.
    """
    path = Path(folder) / _STATE_FILE
    if not path.is_file():
        return
    try:
        with path.open("rb") as file:
            state = _Tolerant(file).load()
    except Exception as error:  # a damaged pickle may raise any
        raise ConfigError(f"checkpoint {folder}", f"its state cannot be read ({error})") from error
    if isinstance(state, dict):
        check_format(state, folder)


class _Gone:
    """Stands in for whatever a checkpoint names and this version does not have."""

    def __new__(cls, *_args: object, **_kwargs: object) -> _Gone:
        return super().__new__(cls)

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        """Takes any arguments."""

    def __setstate__(self, state: object) -> None:
        """Takes any state."""


class _Tolerant(pickle.Unpickler):
    """Reads pickles that name classes which are no longer where they were."""

    def find_class(self, module: str, name: str) -> Callable[..., object]:
        """Returns the class or function, or a stand-in."""
        try:
            return super().find_class(module, name)  # type: ignore[no-any-return]
        except (ImportError, AttributeError):
            return _Gone
