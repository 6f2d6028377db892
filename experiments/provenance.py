"""Where and by which command a study's data was measured: kept beside the data, in ``provenance.json``.

A report is drawn again and again, on other machines; what it says about the measurement comes from here.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

import torch

NAME = "provenance.json"


@functools.cache  # what was imported is the code of the first call
def commit() -> str:
    """The version of the code, as git names it."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    folder = Path(__file__).parent
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def hardware() -> str:
    """This machine in words."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{os.cpu_count()} cores ({platform.machine()}), {gpu}, torch {torch.__version__}"


def note(folder: Path, anew: bool = False) -> None:
    """Keeps that the command that is running measures data in a folder, on this machine.

    Args:
        folder: the study's.
        anew: whether nothing is left of what was measured before.
    """
    measurement = {"command": f"python {shlex.join(sys.orig_argv[1:])}", "hardware": hardware()}
    known = [] if anew else measurements(folder)
    if measurement not in known:
        (folder / NAME).write_text(json.dumps([*known, measurement], indent=1) + "\n")


def measurements(folder: Path) -> list[dict[str, str]]:
    """What is known of a folder's data: ``command`` and ``hardware`` of each measurement, in order of time."""
    path = folder / NAME
    found: list[dict[str, str]] = json.loads(path.read_text()) if path.exists() else []
    return found
