"""The moments of played episodes that matter, found without anyone watching: a few of each kind, the chief ones first.

Kinds, in the order of their weight when two fall together: ``room`` (the first visit of a room) or ``position`` (of a
cell, where an environment tells no rooms), ``reward`` (the extrinsic, where it is unusual), ``life`` (one is lost),
``end``, ``bonus: NAME`` (the largest intrinsic rewards) and ``disagreement: NAME`` (the extrinsic critic and that of an
intrinsic reward).

An event lies at an observation that the policy acted on, so that `States.of_tape` holds it: the one whose action was
paid or cost the life, and the one that a bonus was paid for reaching.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.tape import Tape, intrinsic_rewards
from rllib_rnd.envs.atari import FAMILY as ATARI
from rllib_rnd.threads import count

#: Events of each kind, at most.
LIMIT = 4
#: A reward is unusual if no larger share of all agent steps brings one as far from their median as it is.
UNUSUAL = 0.25
#: Agent steps within which two peaks of one kind are one.
APART = 8
#: Agent steps within which events of different kinds are one.
TOGETHER = 2
#: Agent steps after which an Atari console has drawn the room that its memory names.
SETTLED = 2


@dataclass(frozen=True)
class Event:
    """A moment of a tape.

    Attributes:
        kind: see above.
        t: the observation, counted through the tape from 0 on.
        episode: the tape, counted from 0 on.
        text: what happened, one line.
        strength: how much of it, comparable within a kind.
        first, last: observations of the tape between which there is no reset.
    """

    kind: str
    t: int
    episode: int
    text: str
    strength: float
    first: int
    last: int


class _Found(NamedTuple):
    """A moment before it is ranked."""

    t: int
    episode: int
    text: str
    strength: float


class _Seen(NamedTuple):
    """A tape and what was computed of it: raw intrinsic rewards ``[T, S - 1]`` (NaN on reset steps)."""

    tape: Tape
    bonus: np.ndarray

    @property
    def value(self) -> np.ndarray:
        """``[T, S]``, NaN where the episode was over and the step after only reset."""
        return np.where(self.tape.valid[:, None], np.stack(self.tape.value)[:-1].astype(np.float64), np.nan)


def _rank(moment: _Found) -> tuple[float, int, int]:
    """The strongest first, of equal ones the earliest."""
    return -moment.strength, moment.episode, moment.t


def find_events(agent: Agent, tapes: Sequence[Tape], limit: int = LIMIT, with_rewards: bool = True) -> list[Event]:
    """Finds the events of episodes; the same ones every time.

    Args:
        agent: whose values the tapes hold, and whose intrinsic rewards are computed.
        tapes: one for each episode.
        limit: of events of each kind, 1 or more.
        with_rewards: False: without those of intrinsic rewards, which then are not computed.

    Returns:
        The first of each kind, then the second of each, and so on; kinds as listed above.
    """
    seen = []
    for tape in filter(lambda tape: tape.action, tapes):
        bonus = np.full((len(tape.action), len(agent.reward_names)), np.nan)
        seen.append(_Seen(tape, intrinsic_rewards(agent.module, tape.rollout())[0] if with_rewards else bonus))
    numbers = [i for i, tape in enumerate(tapes) if tape.action]
    settled = SETTLED if ATARI.owns(agent.env) else 0
    ranked: list[tuple[int, int, Event]] = []
    for order, (kind, found) in enumerate(_all_kinds(agent, seen, limit, settled).items()):
        chief = sorted(found, key=_rank)
        for rank, (t, i, text, strength) in enumerate(chief[:limit]):
            first, last = segment(seen[i].tape, t)
            ranked.append((rank, order, Event(kind, t, numbers[i], text, strength, first, last)))
    return [event for _, _, event in sorted(_merged(ranked), key=lambda entry: entry[:2])]


def around(event: Event, before: int = 2, after: int = 2) -> list[int]:
    """The observations of an event's strip, itself among them: fewer at the ends of an episode or a life."""
    return list(range(max(event.first, event.t - before), min(event.last, event.t + after) + 1))


def segment(tape: Tape, t: int) -> tuple[int, int]:
    """The first and the last observation around ``t`` between which there is no reset."""
    starts = np.flatnonzero([True, *tape.is_first[1:]])
    ends = np.append(starts[1:], len(tape.is_first)) - 1
    here = int(np.searchsorted(starts, t, side="right")) - 1
    return int(starts[here]), int(ends[here])


def _all_kinds(agent: Agent, seen: Sequence[_Seen], limit: int, settled: int) -> dict[str, list[_Found]]:
    found: dict[str, list[_Found]] = {}
    if any(tape.rooms_visited is not None for tape, _ in seen):
        found["room"] = _first_visits(seen, lambda tape: tape.rooms, "room", settled)
    else:
        found["position"] = _thinned(_first_visits(seen, lambda tape: tape.positions, "position"), limit)
    found |= {
        "reward": _apart(_rewards(seen)),
        "life": _lives_lost(seen),
        "end": _ends(seen),
    }
    names = agent.reward_names
    for i, (name, reward) in enumerate(zip(names, agent.module.rewards(), strict=True)):
        found[f"bonus: {name}"] = _apart(_bonuses(seen, i, name, int(reward.options.reward_on == "next")))
    for i, name in enumerate(names):
        found[f"disagreement: {name}"] = _apart(_disagreements(seen, 1 + i, name))
    return found


def _first_visits(
    seen: Sequence[_Seen], places: Callable[[Tape], list[int | None]], what: str, settled: int = 0
) -> list[_Found]:
    """First visits over all episodes, ``settled`` steps later if the agent is still there; later ones count more."""
    found: list[_Found] = []
    known: set[int] = set()
    for i, (tape, _) in enumerate(seen):
        visited = places(tape)[:-1]  # the policy does not act on the last observation
        for t, place in enumerate(visited):
            if place is None or place < 0 or place in known:
                continue
            known.add(place)
            stays = 0
            for later in range(t + 1, min(t + settled + 1, len(visited))):
                if visited[later] != place or tape.is_first[later]:
                    break
                stays += 1
            before = f", after {count(len(known) - 1, 'other')}" if len(known) > 1 else ""
            text = f"first visit of {what} {place}{before}"
            found.append(_Found(t + stays, i, text, float(len(known))))
    return found


def _thinned(visits: list[_Found], limit: int) -> list[_Found]:
    """Of many cells a few, evenly over the order in which they were found; the last one counts most."""
    if len(visits) <= limit:
        return visits
    return [visits[i] for i in np.linspace(0, len(visits) - 1, limit).round().astype(int)]


def _rewards(seen: Sequence[_Seen]) -> list[_Found]:
    """Unusual rewards, the strangest first: where rewards are rare each, of +1 in every step none; see `UNUSUAL`."""
    rewards = [np.array(tape.reward, dtype=np.float64) for tape, _ in seen]
    every = np.sort(np.concatenate([np.empty(0), *(r[tape.valid] for r, (tape, _) in zip(rewards, seen, strict=True))]))
    if not len(every):
        return []
    usual = every[len(every) // 2]  # one that was really paid
    distances = np.sort(np.abs(every - usual))
    most = max(UNUSUAL * len(every), 1.0)  # that of an episode of three steps is one
    found = []
    for i, (tape, _) in enumerate(seen):
        away = np.abs(rewards[i] - usual)
        rare = len(distances) - np.searchsorted(distances, away) <= most
        for t in np.flatnonzero(tape.valid & (away > 0.0) & rare):
            text = f"extrinsic reward {rewards[i][t]:+.6g}" + (f", usually {usual:+.6g}" if usual else "")
            found.append(_Found(int(t), i, text, float(away[t])))
    return found


def _lives_lost(seen: Sequence[_Seen]) -> list[_Found]:
    """Lives lost, the last ones first: fewer are left."""
    found = []
    for i, (tape, _) in enumerate(seen):
        for t in np.flatnonzero(tape.valid):
            before, after = (tape.lives[t], tape.lives[t + 1]) if tape.lives else (None, None)
            counted = before is not None and after is not None and after < before
            if counted or tape.life_lost[t + 1]:
                left = f", {after} left" if after is not None else ""
                found.append(_Found(int(t), i, f"life lost{left}", 1.0 / (2 + max(after or 0, 0))))
    return found


def _ends(seen: Sequence[_Seen]) -> list[_Found]:
    """Ends of episodes, the largest returns (in size) first."""
    found = []
    for i, (tape, _) in enumerate(seen):
        how = "cut" if not tape.finished else "end of the episode" if tape.terminated[-1] else "end by the time limit"
        total = float(np.sum(tape.reward))
        text = f"{how} after {tape.valid.sum():,} agent steps, return {total:.6g}"
        found.append(_Found(len(tape.action) - 1, i, text, abs(total)))
    return found


def _bonuses(seen: Sequence[_Seen], stream: int, name: str, later: int) -> list[_Found]:
    """Peaks of an intrinsic reward, each at the observation that it was paid for: ``later`` than its step by 0 or 1."""
    # Nothing led to the first observation; the last is not acted on.
    rewards = [np.concatenate([[np.nan] * later, bonus[: len(bonus) - later, stream]]) for _, bonus in seen]
    scores = _standardised(rewards)
    return [
        _Found(t, i, f"{name}: intrinsic reward {rewards[i][t]:.4g}, {_deviations(scores[i][t])}", float(rewards[i][t]))
        for i, t in _peaks(rewards)
    ]


def _disagreements(seen: Sequence[_Seen], stream: int, name: str) -> list[_Found]:
    """Peaks of the distance between two critics, each standardised over all tapes."""
    extrinsic = _standardised([episode.value[:, 0] for episode in seen])
    intrinsic = _standardised([episode.value[:, stream] for episode in seen])
    distance = [np.abs(a - b) for a, b in zip(extrinsic, intrinsic, strict=True)]
    return [
        _Found(
            t,
            i,
            f"critics disagree: extrinsic value {_deviations(extrinsic[i][t])}, that of {name} "
            f"{_deviations(intrinsic[i][t])}",
            float(distance[i][t]),
        )
        for i, t in _peaks(distance)
    ]


def _deviations(score: float) -> str:
    return f"{abs(score):.1f} standard deviations {'above' if score >= 0 else 'below'} its mean"


def _standardised(signals: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Less their common mean, over their common standard deviation; what never changes becomes 0, NaN stays NaN."""
    if _is_flat(signals):
        return [np.where(np.isnan(signal), signal, 0.0) for signal in signals]
    every = np.concatenate(signals)
    # Rounded: what is as far apart must not be ranked by the last bits of floats.
    return [((signal - np.nanmean(every)) / np.nanstd(every)).round(6) for signal in signals]


def _is_flat(signals: Sequence[np.ndarray]) -> bool:
    """Whether signals are the same everywhere, to the precision of single floats, or hold no number."""
    every = np.concatenate([np.empty(0), *signals])
    every = every[~np.isnan(every)]
    return not len(every) or bool(np.ptp(every) <= 1e-6 * np.abs(every).max())


def _peaks(signals: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """(episode, t) of local maxima, of a plateau its first step; none of a signal that is the same everywhere."""
    if _is_flat(signals):
        return []
    peaks = []
    for i, signal in enumerate(signals):
        levels = np.concatenate([[-np.inf], np.where(np.isnan(signal), -np.inf, signal), [-np.inf]])
        changes = np.flatnonzero(levels[1:] != levels[:-1])  # plateau j begins at observation changes[j]
        for j in range(len(changes) - 1):
            before, level, after = levels[[changes[j], changes[j] + 1, changes[j + 1] + 1]]
            if before < level > after:
                peaks.append((i, int(changes[j])))
    return peaks


def _apart(found: list[_Found]) -> list[_Found]:
    """The strongest, and of the others those that are more than `APART` from all stronger ones of their episode."""
    kept: list[_Found] = []
    taken: set[tuple[int, int]] = set()
    for moment in sorted(found, key=_rank):
        if (moment.episode, moment.t) not in taken:
            kept.append(moment)
            taken.update((moment.episode, t) for t in range(moment.t - APART, moment.t + APART + 1))
    return kept


def _merged(ranked: list[tuple[int, int, Event]]) -> list[tuple[int, int, Event]]:
    """Events of different kinds that fall together become the one of the first kind, with the texts of all."""
    merged: list[tuple[int, int, Event]] = []
    for rank, order, event in sorted(ranked, key=lambda entry: (entry[1], entry[0])):
        for place, (other_rank, other_order, other) in enumerate(merged):
            same_life = (other.episode, other.first) == (event.episode, event.first)
            if same_life and abs(other.t - event.t) <= TOGETHER:
                text = f"{other.text}; {event.text}"
                merged[place] = (min(rank, other_rank), other_order, replace(other, text=text))
                break
        else:
            merged.append((rank, order, event))
    return merged
