"""Tables and pictures of the bonus check."""

from __future__ import annotations

from pathlib import Path


def write_report(folder: Path, variants: list[str], rules: dict[str, tuple[int, float]]) -> None:
    """Writes results.md."""
