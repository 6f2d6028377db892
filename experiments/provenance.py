"""Where and by which command a study's data was measured: kept beside the data, in ``provenance.json``.

A report is drawn again and again, on other machines; what it says about the measurement comes from here.
"""

from __future__ import annotations

import functools
import json
import shlex
import sys
from pathlib import Path

from rllib_rnd.tracking.provenance import commit_of, provenance

NAME = "provenance.json"
_DIGITS = 7  # of a commit: enough to find it


@functools.cache  # what was imported is the code of the first call
def commit() -> str:
    """The version of the code, as git names it; ``unknown`` outside a repository."""
    known = commit_of(Path(__file__))
    return known["commit"][:_DIGITS] if known is not None else "unknown"


def machine() -> str:
    """This machine in words."""
    known = provenance(Path(__file__))
    return f"{known['cores']} cores ({known['hardware']}), torch {known['torch']}"


def note(folder: Path, anew: bool = False) -> None:
    """Keeps that the command that is running measures data in a folder, on this machine.

    Args:
        folder: the study's.
        anew: whether nothing is left of what was measured before.
    """
    measurement = {"command": f"python {shlex.join(sys.orig_argv[1:])}", "hardware": machine()}
    known = [] if anew else measurements(folder)
    if measurement not in known:
        (folder / NAME).write_text(json.dumps([*known, measurement], indent=1) + "\n")


def measurements(folder: Path) -> list[dict[str, str]]:
    """What is known of a folder's data: ``command`` and ``hardware`` of each measurement, in order of time."""
    path = folder / NAME
    found: list[dict[str, str]] = json.loads(path.read_text()) if path.exists() else []
    return found
