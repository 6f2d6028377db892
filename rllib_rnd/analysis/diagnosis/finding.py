"""One finding of a check."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "problem"]
LEVELS: tuple[Level, ...] = ("ok", "note", "warning", "problem")


@dataclass(frozen=True)
class Finding:
    """What a check has found.

    Attributes:
        level: ``ok``; ``note``, good to know; ``warning``, may hurt; ``problem``, does hurt.
        what: was looked at.
        detail: what was found.
        what_to_do: in one sentence; "" only where all is well.

    Raises:
        ValueError: something is not well, and nothing is said of what to do.
    """

    level: Level
    what: str
    detail: str
    what_to_do: str = ""

    def __post_init__(self) -> None:
        """A finding that leaves its reader alone is none."""
        if self.level != "ok" and not self.what_to_do:
            raise ValueError(f"{self.what}: {self.detail}: what is to be done?")


def worst(findings: Iterable[Finding]) -> Level:
    """The highest level among them; ``ok`` of none."""
    return max((finding.level for finding in findings), key=LEVELS.index, default="ok")
