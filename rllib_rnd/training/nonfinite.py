"""What is not finite teaches nothing: it is counted, all that it has touched is put back, too much of it ends a run."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rllib_rnd.modules.distributed import all_reduce_sum, rank
from rllib_rnd.modules.environment_rows import EnvironmentRows

logger = logging.getLogger(__name__)

# Buffers of more numbers are tables and memories, which are written when statistics are updated and by nothing else.
_LARGEST_STATISTIC = 2**16


class NonFiniteTrainingError(RuntimeError):
    """Losses or gradients stayed non-finite for too many updates in a row."""


class NonFiniteRewardError(RuntimeError):
    """Rewards or advantages of a rollout are not finite: nothing is learned from it. The message names them."""


@dataclass
class NonFiniteUpdates:
    """Counts skipped updates.

    Attributes:
        limit: skipped updates in a row at which training ends.
        total: skipped updates since the start.
        in_a_row: those since the last finite update.
        own: the user's own classes in what is trained, for the advice.
    """

    limit: int
    total: int = 0
    in_a_row: int = 0
    own: Sequence[str] = ()

    def applied(self) -> None:
        """An update was finite: the row of skipped ones, if any, is at its end."""
        self.in_a_row = 0

    def skipped(self, cause: str) -> None:
        """Counts one more; the first of a run is said.

        Args:
            cause: names of what was not finite.

        Raises:
            NonFiniteTrainingError: it is the last one allowed.
        """
        if self.total == 0 and rank() == 0:
            logger.warning(
                "An update is skipped, because this is not finite: %s. Nothing of it stays; the metric "
                "nonfinite_updates counts those that are skipped.",
                cause,
            )
        self.total += 1
        self.in_a_row += 1
        if self.in_a_row >= self.limit:
            skipped = "1 update was" if self.in_a_row == 1 else f"{self.in_a_row} updates in a row were"
            raise NonFiniteTrainingError(
                f"{skipped} not finite and skipped; not finite: {cause}. "
                f"The weights are still those of the last finite update. {self._advice()}"
            )

    def _advice(self) -> str:
        usual = "a lower lr, a grad_clip or a check of the environment's observations and rewards usually helps."
        if not self.own:
            return usual.capitalize()
        named = ", ".join(self.own[:3]) + (", ..." if len(self.own) > 3 else "")
        return f"Look for a division by zero, or a root or logarithm of zero, in your own code ({named}). Else {usual}"


def not_finite(parts: Sequence[tuple[str, Tensor]], elsewhere: str) -> str:
    """Names those of ``parts`` that hold a number that is not finite; "" if none does, on any learner.

    All learners must call it, and all hear of it together.

    Args:
        parts: tensors, each with what it is called.
        elsewhere: what to call them where they are finite here and not on another learner.
    """
    bad = [name for name, part in parts if part.is_floating_point() and not bool(torch.isfinite(part).all())]
    if float(all_reduce_sum(torch.tensor(float(len(bad)), device=parts[0][1].device))) == 0.0:
        return ""
    return ", ".join(bad) or elsewhere


class StepStatistics:
    """What forward passes move in networks besides their weights, such as the statistics of batch normalisation.

    A step that is skipped has moved them too, and of NaN they never recover: an average keeps it.

    Args:
        modules: the networks.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        found = {id(b): b for module in modules for _, b in _statistics(module)}
        self._buffers = list(found.values())
        self._kept = [buffer.clone() for buffer in self._buffers]

    @torch.no_grad()
    def keep(self) -> None:
        """Remembers them as they are now."""
        for kept, buffer in zip(self._kept, self._buffers, strict=True):
            kept.copy_(buffer)

    @torch.no_grad()
    def put_back(self) -> None:
        """Makes them what they were at the last `keep`."""
        for kept, buffer in zip(self._kept, self._buffers, strict=True):
            buffer.copy_(kept)


@contextmanager
def unchanged_if_nonfinite(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Puts all that modules remember back as it was if the block raises `NonFiniteRewardError`.

    That is their small buffers and their rows of single environments, of any size: a copy once per rollout, where the
    rollout itself goes through them at every step. Tables and memories that are not rows are left alone.
    """
    modules = list(modules)
    small = [(b, b.clone()) for module in modules for _, b in _statistics(module)]
    rows = [
        (part, name, part.get_buffer(name).clone()) for part in _parts_with_rows(modules) for name in part.row_names()
    ]
    try:
        yield
    except NonFiniteRewardError:
        with torch.no_grad():
            for buffer, kept in small:
                buffer.copy_(kept)
            for part, name, kept in rows:
                setattr(part, name, kept)
        raise


@torch.no_grad()
def forget_ended_episodes(modules: Iterable[nn.Module], is_first: Tensor) -> None:
    """After a rollout that nothing is learned from: what is remembered of episodes that ended in it is forgotten.

    Else the memory of an episode would go on into another one, whose beginning nobody has seen. Sums over all of the
    past (the scale of rewards) go on.

    Args:
        modules: with rows of single environments.
        is_first: ``[T + 1, N]`` bool of that rollout.
    """
    ended = is_first[:-1].any(dim=0)
    for part in _parts_with_rows(list(modules)):
        if part.belongs_to_episode and all(len(part.get_buffer(name)) == len(ended) for name in part.row_names()):
            part.renew_rows(ended)


def _statistics(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    rows = {id(part.get_buffer(name)) for part in _parts_with_rows([module]) for name in part.row_names()}
    for name, buffer in module.named_buffers():
        if id(buffer) not in rows and buffer.numel() <= _LARGEST_STATISTIC:
            yield name, buffer


def _parts_with_rows(modules: Iterable[nn.Module]) -> list[EnvironmentRows]:
    return [part for module in modules for part in module.modules() if isinstance(part, EnvironmentRows)]
