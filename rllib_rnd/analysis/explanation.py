"""What every method shows of an agent's states, with the controls that say how far it can be believed.

The agent never stands alone: an untrained twin, and a baseline if there is one, look at the same observations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.controls import DeletionCurve, deletion
from rllib_rnd.analysis.events import TOGETHER, Event
from rllib_rnd.analysis.maps import Map, Method
from rllib_rnd.analysis.replay import replay
from rllib_rnd.analysis.states import States
from rllib_rnd.analysis.tape import Tape
from rllib_rnd.analysis.targets import Target, targets_of

AGENT, UNTRAINED, BASELINE = "agent", "untrained", "baseline"
#: What the deletion curve of a map watches that is of no target.
WATCHED = "action"
#: Of the states that are looked into, the share that events have; the others are spread over time.
_OF_EVENTS = 2 / 3


@dataclass(frozen=True)
class Moment:
    """A state that was chosen.

    Attributes:
        episode: the tape.
        t: the observation in it.
        why: an event, or "".
    """

    episode: int
    t: int
    why: str = ""


def choose(events: Sequence[Event], tapes: Sequence[Tape], limit: int) -> list[Moment]:
    """Chooses states evenly over the kinds of events and, for the rest, over time; in the order of time.

    Args:
        events: the chief ones of each kind first, as `find_events` gives them.
        tapes: the episodes.
        limit: states at most.
    """
    share = limit - int(limit * (1.0 - _OF_EVENTS))
    chosen = [Moment(e.episode, e.t, e.text) for e in events if tapes[e.episode].valid[e.t]][:share]
    played = [(i, int(t)) for i, tape in enumerate(tapes) for t in np.flatnonzero(tape.valid)]
    left = limit - len(chosen)
    # The middles of as many equal pieces of what was played, moved on to where nothing was chosen.
    for place in (np.arange(left) + 0.5) / max(left, 1) * len(played):
        for i, t in [*played[int(place) :], *played[: int(place)]]:
            if all(m.episode != i or abs(m.t - t) > TOGETHER for m in chosen):
                chosen.append(Moment(i, t))
                break
    return sorted(chosen, key=lambda m: (m.episode, m.t))


@dataclass(frozen=True)
class Onlooker:
    """Who looks at the states.

    Attributes:
        agent: its networks.
        states: with the memory that these networks have of what was before.
        targets: that maps explain.
    """

    agent: Agent
    states: States
    targets: Sequence[Target]


def states_at(tapes: Sequence[Tape], moments: Sequence[Moment]) -> States:
    """The states of some moments, in the order of time, as whoever played them had them.

    Args:
        tapes: the episodes.
        moments: of them, in the order of time.
    """
    parts = []
    for episode in sorted({m.episode for m in moments}):
        index = [m.t for m in moments if m.episode == episode]
        parts.append(States.of_tape(tapes[episode], episode).select(index))
    return States.join(parts)


def remembered(states: States, agent: Agent, tapes: Sequence[Tape], moments: Sequence[Moment]) -> States:
    """The same states with the memory that another agent has of what was before.

    Args:
        states: of the moments.
        agent: whose memory.
        tapes: the episodes; none where nothing is known of what was before.
        moments: in the order of time.
    """
    memory = np.zeros((len(states), agent.module.backbone.state_size), dtype=np.float32)
    if memory.shape[1] and tapes:
        seen = {episode: replay(agent, tapes[episode]) for episode in {m.episode for m in moments}}
        memory = np.stack([seen[m.episode].memory[m.t] for m in moments]).astype(np.float32)
    return replace(states, memory=memory)


@dataclass(frozen=True)
class Found:
    """One map of all states, as everyone has it.

    Attributes:
        method: that made it.
        name: of the map, safe for files.
        maps: by onlooker; one whose networks have no such map is missing.
        curve: deletion curve of the agent's (of the baseline's, if only that has such a map); None where the map is
            not of pixels.
        target: the number that the curve watches.
    """

    method: Method
    name: str
    maps: Mapping[str, Map]
    curve: DeletionCurve | None
    target: str

    @property
    def first(self) -> Map:
        """The agent's, or else the baseline's."""
        return next(iter(self.maps.values()))


@dataclass
class Explanation:
    """What has been found so far; grows method by method.

    Attributes:
        onlookers: by `AGENT`, `UNTRAINED` and `BASELINE`, in this order.
        seed: of the random pixels that are blanked.
        found: the maps.
        notes: what does not apply, and why.
    """

    onlookers: Mapping[str, Onlooker]
    seed: int
    found: list[Found] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def missing(self, method: Method) -> str | None:
        """Why a method applies to nobody, or None; the reason is noted."""
        reasons = {who: method.missing(o.agent) for who, o in self.onlookers.items() if who != UNTRAINED}
        for who, reason in reasons.items():
            if reason is not None:
                self.notes.append(f"{method.title}: {reason}" + ("" if who == AGENT else f" ({who})"))
        return reasons[AGENT] if all(reasons.values()) else None

    def look(self, method: Method, tell: Callable[[str], object] = str) -> list[Found]:
        """Has everyone's maps of one method made, and their deletion curves.

        Args:
            method: that applies to the agent or the baseline.
            tell: is told of each piece of work once it is done.
        """
        by_name: dict[str, dict[str, Map]] = {}
        for who, onlooker in self.onlookers.items():
            if method.missing(onlooker.agent) is None:
                for name, made in method.maps(onlooker.agent, onlooker.states, onlooker.targets).items():
                    by_name.setdefault(name, {})[who] = made
            tell(f"{method.title}, {who}")
        found = [self._controlled(method, name, maps) for name, maps in by_name.items()]
        tell(f"{method.title}, pixels blanked")
        self.found += found
        return found

    def _controlled(self, method: Method, name: str, maps: Mapping[str, Map]) -> Found:
        who = AGENT if AGENT in maps else BASELINE
        onlooker, made = self.onlookers[who], maps[who]
        if not made.on_frame:
            return Found(method, name, maps, None, "")
        target = next(t for t in targets_of(onlooker.agent) if t.name == (made.target or WATCHED))
        curve = deletion(onlooker.agent, onlooker.states, made, target, seed=self.seed)
        return Found(method, name, maps, curve, target.name)
