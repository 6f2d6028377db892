"""What an experiment may be called: its name is that of a folder, too."""

from __future__ import annotations

from rllib_rnd.errors import ConfigError


def check_folder_name(name: str, where: str) -> None:
    """Refuses a name under which no folder of its own can be made in the storage.

    Args:
        name: of an experiment or a run.
        where: it was written.

    Raises:
        ConfigError: it is empty, hidden, or leads to another folder.
    """
    if not name.strip() or name.startswith(".") or "/" in name or "\\" in name or not name.isprintable():
        allowed = "the name of one folder: not empty, no / or \\, no dot at its beginning"
        raise ConfigError(where, f"{name!r} names no folder of its own in the storage", allowed)
