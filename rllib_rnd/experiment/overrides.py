"""What the command line changes in every experiment that it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass
class Overrides:
    """What the command line changes in every experiment it runs.

    Attributes:
        settings: ``key.path=value`` texts for ``config``.
        stop: ``key=value`` texts for ``stop``.
        seed: replaces ``config.seed``.
        seeds: one trial for each replaces it too.
    """

    settings: Sequence[str] = ()
    stop: Sequence[str] = ()
    seed: int | None = None
    seeds: Sequence[int] = ()
