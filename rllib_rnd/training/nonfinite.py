"""Updates that were skipped because something was not finite, and the end of a run that has too many of them."""

from __future__ import annotations

from dataclasses import dataclass


class NonFiniteTrainingError(RuntimeError):
    """Losses or gradients stayed non-finite for too many updates in a row."""


class NonFiniteRewardError(RuntimeError):
    """Intrinsic rewards of a rollout are not finite: nothing is learned from it. The message names them."""


@dataclass
class NonFiniteUpdates:
    """Counts skipped updates.

    Attributes:
        limit: skipped updates in a row at which training ends.
        total: skipped updates since the start.
        in_a_row: those since the last finite update.
    """

    limit: int
    total: int = 0
    in_a_row: int = 0

    def applied(self) -> None:
        """An update was finite: the row of skipped ones, if any, is at its end."""
        self.in_a_row = 0

    def skipped(self, cause: str) -> None:
        """Counts one more.

        Args:
            cause: names of what was not finite.

        Raises:
            NonFiniteTrainingError: it is the last one allowed.
        """
        self.total += 1
        self.in_a_row += 1
        if self.in_a_row >= self.limit:
            skipped = "1 update was" if self.in_a_row == 1 else f"{self.in_a_row} updates in a row were"
            raise NonFiniteTrainingError(
                f"{skipped} not finite and skipped; not finite: {cause}. "
                "The weights are still those of the last finite update. A lower lr, a grad_clip or a check of the "
                "environment's observations and rewards usually helps."
            )
