"""``rllib --version``: what a report of a mistake begins with."""

from __future__ import annotations

import sys
from pathlib import Path

from rllib_rnd.tracking.provenance import commit_of, installed_version


def version_line() -> str:
    """Returns ``rllib_rnd 0.1.0 (commit 1234567890ab), ray 2.60.0, torch 2.13.0``."""
    found = commit_of(Path(__file__))
    commit = ""
    if found is not None:
        commit = f" (commit {found['commit'][:12]}{', changed' if found['dirty'] == 'true' else ''})"
    package = sys.modules[__name__.partition(".")[0]]  # whose version stands in the code that runs
    others = [f"{name} {installed_version(name) or 'not installed'}" for name in ("ray", "torch")]
    return ", ".join([f"rllib_rnd {package.__version__}{commit}", *others])
