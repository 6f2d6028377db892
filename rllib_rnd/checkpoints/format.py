"""The number of the format that checkpoints have, and the one sentence that refuses those of another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rllib_rnd.checkpoints.manifest import MANIFEST, read_manifest
from rllib_rnd.checkpoints.pickles import read_inert
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
