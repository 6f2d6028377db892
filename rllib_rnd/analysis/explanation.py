"""What every method shows of an agent's states, with the controls that say how far it can be believed.

The agent never stands alone: an untrained twin, and a baseline if there is one, look at the same observations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.controls import DeletionCurve, deletion, similarity
from rllib_rnd.analysis.events import TOGETHER, Event
from rllib_rnd.analysis.maps import Map, Method, in_words
from rllib_rnd.analysis.methods.making import maps_of, missing_of
from rllib_rnd.analysis.replay import replay
from rllib_rnd.analysis.states import States, states_between
from rllib_rnd.analysis.tape import Tape
from rllib_rnd.analysis.targets import Target, targets_of
from rllib_rnd.errors import ConfigError
from rllib_rnd.own_code import name_of

AGENT, UNTRAINED, BASELINE = "agent", "untrained", "baseline"
#: What the deletion curve of a map watches that is of no target.
WATCHED = "action"
#: Rank correlation from which a map counts as that of untrained weights.
LIKE_UNTRAINED = 0.9
#: What is said of a map that no control has looked at.
NOT_JUDGED = "no verdict: not compared with random pixels"
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
        before: state -> the states that came before it in its episode, the last ones, so many at most, and itself.
    """

    agent: Agent
    states: States
    targets: Sequence[Target]
    before: Callable[[int, int], States]

    def maps(self, method: Method) -> dict[str, Map]:
        """The maps of a method that applies, each state with what the method wants to know of those before it."""
        if not method.context:
            return maps_of(method, self.agent, self.states, self.targets)
        count, past = len(self.states), method.context
        rows = [maps_of(method, self.agent, self.before(b, past), self.targets) for b in range(count)]
        return {
            name: replace(made, values=np.concatenate([row[name].values[-1:] for row in rows]))
            for name, made in rows[0].items()
        }


def onlooker_of_episodes(
    agent: Agent, tapes: Sequence[Tape], moments: Sequence[Moment], targets: Sequence[Target], played: bool
) -> Onlooker:
    """Whoever looks at moments of episodes, with a memory of its own.

    Args:
        agent: its networks.
        tapes: the episodes.
        moments: in the order of time.
        targets: that maps explain.
        played: the tapes have this agent's memory already.
    """
    if not played:
        size = agent.module.backbone.state_size
        blank = np.zeros(0, dtype=np.float32)
        tapes = [replay(agent, t) if size else replace(t, memory=[blank] * len(t.is_first)) for t in tapes]

    def before(b: int, count: int) -> States:
        moment = moments[b]
        return states_between(tapes[moment.episode], max(0, moment.t - count), moment.t + 1, moment.episode)

    return Onlooker(agent, States.join([before(b, 0) for b in range(len(moments))]), targets, before)


def onlooker_of_observations(agent: Agent, states: States, targets: Sequence[Target]) -> Onlooker:
    """Whoever looks at observations of which nothing else is known; its memory is empty."""
    memory = np.zeros((len(states), agent.module.backbone.state_size), dtype=np.float32)
    states = replace(states, memory=memory)
    return Onlooker(agent, states, targets, lambda b, _: states.select([b]))


@dataclass(frozen=True)
class Found:
    """One map of all states, as everyone has it.

    Attributes:
        method: that made it.
        name: of the map, safe for files.
        maps: by onlooker; one whose networks have no such map is missing.
        curve: deletion curve of the agent's (of the baseline's, if only that has such a map); None where the map is
            not of pixels, or constant.
        target: the number that the curve watches.
        untrained: how alike the map and that of the untrained twin are: rank correlation, mean over states; NaN where
            one of them is missing, or has too few different numbers everywhere.
    """

    method: Method
    name: str
    maps: Mapping[str, Map]
    curve: DeletionCurve | None
    target: str
    untrained: float

    @property
    def title(self) -> str:
        """Of the map, for people."""
        return in_words(self.first.title)

    @property
    def like_untrained(self) -> bool:
        """Whether the map shows the picture and the architecture rather than what was learned."""
        return self.untrained >= LIKE_UNTRAINED

    @property
    def marked(self) -> bool:
        """Whether the controls speak against the map."""
        better = self.curve.better if self.curve is not None else not self.first.on_frame
        return better is False or self.like_untrained

    @property
    def verdict(self) -> str:
        """What the controls say of the map, in a few words."""
        if self.curve is None:
            words = "the same everywhere" if self.first.on_frame else "no verdict: it is not of pixels"
        elif self.curve.better is None:
            words = f"no verdict: {self.curve.reason}"
        else:
            words = "better than random" if self.curve.better else "no better than random"
        return f"{words}; like untrained ({self.untrained:.2f})" if self.like_untrained else words

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
        reasons = {who: missing_of(method, o.agent) for who, o in self.onlookers.items() if who != UNTRAINED}
        for reason in dict.fromkeys(reasons.values()):
            if reason is not None:
                whose = [who for who, other in reasons.items() if other == reason]
                self.notes.append(f"{method.title}: {reason}" + (f" ({whose[0]})" if len(whose) < len(reasons) else ""))
        return reasons[AGENT] if all(reasons.values()) else None

    def look(self, method: Method, tell: Callable[[str], object] = str) -> list[Found]:
        """Has everyone's maps of one method made, and their deletion curves.

        Args:
            method: that applies to the agent or the baseline.
            tell: is told of each piece of work once it is done.

        Raises:
            ConfigError: the method or a reward fails, or makes a map with the name of another method's.
        """
        known = {one.name: one.method for one in self.found}
        by_name: dict[str, dict[str, Map]] = {}
        for who, onlooker in self.onlookers.items():
            if missing_of(method, onlooker.agent) is None:
                for name, made in onlooker.maps(method).items():
                    if name in known:
                        raise ConfigError(
                            "", f"{name_of(type(method))} and {name_of(type(known[name]))} both make a map {name!r}"
                        )
                    by_name.setdefault(name, {})[who] = made
            tell(f"{method.title}, {who}")
        found = [self._controlled(method, name, maps) for name, maps in by_name.items()]
        tell(f"{method.title}, blanked")
        self.found += found
        return found

    def _controlled(self, method: Method, name: str, maps: Mapping[str, Map]) -> Found:
        who = AGENT if AGENT in maps else BASELINE
        onlooker, made = self.onlookers[who], maps[who]
        alike = similarity(made, maps[UNTRAINED]) if UNTRAINED in maps and who == AGENT else np.full(1, np.nan)
        untrained = float(alike[~np.isnan(alike)].mean()) if not np.isnan(alike).all() else float("nan")
        if not made.on_frame or made.constant.all():
            if made.on_frame:
                self.notes.append(f"{in_words(made.title)}: the same everywhere at every state, no deletion curve")
            return Found(method, name, maps, None, "", untrained)
        target = next(t for t in targets_of(onlooker.agent) if t.name == (made.target or WATCHED))
        curve = deletion(onlooker.agent, onlooker.states, made, target, seed=self.seed)
        return Found(method, name, maps, curve, target.name, untrained)
