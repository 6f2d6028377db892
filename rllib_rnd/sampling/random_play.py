"""Random play of a runner, for the statistics of intrinsic rewards and for pre-training, beside its training."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import Any, Protocol

from rllib_rnd.rollout import Rollout
from rllib_rnd.sampling.attempts import Attempts
from rllib_rnd.sampling.play import Play, play_in
from rllib_rnd.sampling.seeds import ResetSeeds


class Runner(Protocol):
    """What is used of a `RolloutEnvRunner` here."""

    config: Any
    play: Play
    seeds: ResetSeeds
    attempts: Attempts

    @property
    def page_locked(self) -> bool:
        """See `Rollout.empty`."""

    def new_play(self) -> Play:
        """Play in other environments."""

    def make_env(self) -> None:
        """Makes the environments of training anew."""


class RandomPlay:
    """Plays at random in environments of its own, or in those of training where they say that they will not notice.

    Args:
        runner: the one.

    Attributes:
        current: that which the next rollout goes on with, if it has begun.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.current: Play | None = None
        self._failures = 0

    def rollout(self, num_steps: int) -> Rollout:
        """Plays ``num_steps`` vector steps.

        Its environments are made by the first call, and again by the first one after `end`; or they are those of
        training, where it has not begun.

        Raises:
            Exception: as of `Attempts.until_it_works`.
        """

        def play() -> Rollout:
            if self.current is None:
                self.current = self._begun()
            return self.current.rollout(None, num_steps, page_locked=self._runner.page_locked)

        return self._runner.attempts.until_it_works(play, self._make_anew)

    def end(self) -> None:
        """Closes its environments, if they are its own."""
        if self.current is not None and not self._is_lent:
            self._runner.attempts.close(self.current)
        elif self.current is not None and self._runner.seeds.first is None:
            # Training's first reset will not be one that leaves no trace. They may have failed.
            with suppress(Exception):
                self.current.env.reset(seed=secrets.randbits(31))
        self.current = None

    @property
    def _is_lent(self) -> bool:
        """Whether it is in the environments of training."""
        return self.current is not None and self.current.env is self._runner.play.env

    def _begun(self) -> Play:
        runner, seed = self._runner, self._runner.seeds.first
        play = play_in(runner.play.env, runner.config, runner.seeds) if runner.play.can_be_lent else runner.new_play()
        play.env.action_space.seed(None if seed is None else seed + 1 + self._failures)
        return play

    def _make_anew(self) -> None:
        lent = self._is_lent
        self.end()
        if lent:
            self._runner.make_env()
        self._failures += 1  # the same actions might fail again
