"""What a fault that was placed on purpose came to: a row of the table in ``docs/reliability.md``."""

from __future__ import annotations

from typing import NamedTuple


class Outcome(NamedTuple):
    """What a fault came to.

    Attributes:
        seen: what the user sees, in one line.
        seconds: from the fault until training goes on, or until the command ends.
        lost: in words; "nothing" if nothing is.
    """

    seen: str
    seconds: float
    lost: str
