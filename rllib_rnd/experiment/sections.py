"""Which section of an experiment an option belongs to, for one that stands in another."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from rllib_rnd.errors import ConfigError


def check_section(
    keys: Collection[object], section: str, known: Collection[str], homes: Mapping[str, Collection[str]]
) -> None:
    """Refuses an option that stands in the wrong section; names that are known nowhere are left to others.

    Args:
        keys: what stands in the section.
        section: its name; "" is the experiment itself.
        known: what may stand in it.
        homes: the options of every section, by its name.

    Raises:
        ConfigError: where it belongs.
    """
    for key in keys:
        if key in known:
            continue
        for home, names in homes.items():
            if home != section and key in names:
                here = f"{section} takes" if section else "the experiment itself takes"
                problem = f"is nothing that {here}; write it into the file"
                problem += f" under {home}" if home else " beside config, not below it"
                raise ConfigError(str(key), problem + (" (--set changes config alone)" if section == "config" else ""))
