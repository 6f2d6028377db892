"""Where a result comes from: the commit of the code, the versions and the hardware that it was made with."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

_PACKAGES = ("ray", "torch", "rllib_rnd")
_PATIENCE_S = 5.0  # a folder on a network drive that hangs is no reason to wait for git


def provenance(source: Path, cluster_cores: float | None = None) -> dict[str, str]:
    """Returns what is known of the code and the machine; a key is absent where something is not known.

    Args:
        source: the experiment's file. The commit is that of its repository, or of this package's if it is in none.
        cluster_cores: CPU cores of the Ray cluster, where it is not this machine alone.

    Returns:
        ``commit``, ``dirty`` (``true`` or ``false``: tracked files differ from it, or the file is not in it),
        ``python``, ``ray``, ``torch``, ``rllib_rnd``, ``hardware`` and ``cores``.
    """
    found = commit_of(source) or commit_of(Path(__file__)) or {}
    found["python"] = platform.python_version()
    found |= {name: version for name in _PACKAGES if (version := installed_version(name))}
    if cluster_cores is None:
        return {**found, "hardware": hardware(), "cores": str(cores())}
    return {**found, "hardware": f"Ray cluster, driver on {hardware()}", "cores": f"{cluster_cores:g}"}


def commit_of(path: Path) -> dict[str, str] | None:
    """Returns the commit that a file belongs to and whether the code differs from it; None if it is in no repository.

    A file that its repository ignores (of an environment with packages in it) does not belong to it.
    """
    path = path.resolve()
    commit = _git(path.parent, "rev-parse", "HEAD")
    if commit is None or _git(path.parent, "check-ignore", "-q", str(path)) is not None:
        return None
    changed = _git(path.parent, "status", "--porcelain", "--untracked-files=no")
    tracked = _git(path.parent, "ls-files", "--error-unmatch", str(path)) is not None
    return {"commit": commit, "dirty": "true" if changed or not tracked else "false"}


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints in a folder; None if it fails or there is none."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def installed_version(package: str) -> str | None:
    """Returns the version of an installed package, which is not imported for it; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # run out of its folder
        return None


def cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def hardware() -> str:
    """Returns the processor and the GPUs of this machine: ``AMD EPYC 7763; 2 x NVIDIA H100``."""
    return "; ".join([_processor(), *counted(_gpus())])


def counted(names: Sequence[str]) -> list[str]:
    """Returns each name once, with its number where there are several: ``2 x NVIDIA H100``."""
    return [name if names.count(name) == 1 else f"{names.count(name)} x {name}" for name in dict.fromkeys(names)]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _gpus() -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []
