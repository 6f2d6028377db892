"""The one error a user's mistake produces, and how it finds the name that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ConfigError(ValueError):
    """A setting that cannot be used. The message names the field, the value and what is allowed."""


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Returns the known name most like ``name``, or None if nothing is similar."""
    matches = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.5)
    return matches[0] if matches else None


def unknown_name_error(kind: str, name: str, known: Iterable[str], where: str = "") -> ConfigError:
    """Builds the error for a name that is not in a closed set.

    Args:
        kind: what the name should be ("key", "backbone", "environment").
        name: the name as the user wrote it.
        known: every allowed name.
        where: the place in the configuration, for example ``config.backbone``.
    """
    names = sorted({str(k) for k in known})
    nearest = nearest_name(name, names)
    place = f"{where}: " if where else ""
    hint = f" Did you mean {nearest!r}?" if nearest else ""
    listed = ", ".join(names) if len(names) <= 40 else f"{len(names)} names"
    return ConfigError(f"{place}unknown {kind} {name!r}.{hint} Allowed: {listed or 'none yet'}.")
