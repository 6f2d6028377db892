"""What is asked of probes: `ProbeOptions`, and who is told how far they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from rllib_rnd.analysis.probing.probe_states import PlayPlan

MODELS = ("linear", "mlp")
#: Of games: a split of fewer says nothing.
LEAST_GAMES = 6


@dataclass(frozen=True)
class ProbeOptions:
    """How probes are made.

    Attributes:
        play: the games.
        models: of `MODELS`.
        variables: labels to predict; none: all that can be, `most_variables` at most.
        layers: to read; none: all.
        untrained: also read the same networks with weights drawn anew.
        components: principal components that are read of a layer of more than 256 numbers.
        trials: draws of the MLP's hyperparameters.
        shuffled: also predict labels of other moments, to judge scores by.
        most_variables: see ``variables``.
    """

    play: PlayPlan = field(default_factory=PlayPlan)
    models: tuple[str, ...] = MODELS
    variables: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    untrained: bool = True
    components: int = 64
    trials: int = 6
    shuffled: bool = True
    most_variables: int = 12

    def quick(self) -> ProbeOptions:
        """The same in under a minute: fewer and shorter games, fewer components, linear probes only."""
        own = self.play
        play = replace(own, max_steps=min(own.max_steps, 200), states=min(own.states, 1200), least_games=24)
        return replace(self, play=play, models=("linear",), components=32, most_variables=8)


def _nobody(*_: object) -> None:
    """Is told, and does nothing."""


@dataclass(frozen=True)
class Progress:
    """Who is told how far it is: ``begin(what, total)`` and ``advance(count)``."""

    begin: Callable[[str, int], object] = _nobody
    advance: Callable[[int], object] = _nobody
