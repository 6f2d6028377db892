"""From what was found to what the page and the PNG grids show: overlays with their scales, strips, words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.controls import BLANK, RULE, DeletionCurve
from rllib_rnd.analysis.counterfactual import Counterfactual
from rllib_rnd.analysis.events import Event, around
from rllib_rnd.analysis.explanation import AGENT, UNTRAINED, Explanation, Found, Moment
from rllib_rnd.analysis.figures.gallery import (
    ELEMENT,
    PIXEL,
    Before,
    Curve,
    MethodText,
    Picture,
    ShownMap,
    ShownState,
    Strip,
    Unit,
    Verdict,
)
from rllib_rnd.analysis.figures.pictures import (
    SIDE,
    Cell,
    Scale,
    alone,
    colours,
    enlarged,
    grid,
    in_cells,
    observation_pictures,
    overlay,
    png,
)
from rllib_rnd.analysis.figures.video import decode_picture
from rllib_rnd.analysis.maps import Map, file_name, in_words
from rllib_rnd.analysis.pixels import frame_stack, layout_of
from rllib_rnd.analysis.player import make_single
from rllib_rnd.analysis.tape import Tape, action_names
from rllib_rnd.analysis.targets import targets_of
from rllib_rnd.errors import ConfigError

PAGE_SIDE = 126  # pixels of a picture in the page: Atari's frames as they are, small ones enlarged
MOST_PICTURES = 2_000  # overlays in a page, which then has about 12 MB
_BEYOND = 0.005  # of a signed map's numbers, see `Scale.of`
_SEEN = "what the agent sees"
_GAME_SIDE = 210  # pixels of the game's picture: Atari's height
_MOST_ACTIONS = 3  # whose probabilities a counterfactual tells
_STRIP_WIDTH = 92
_BEFORE, _AFTER = 3, 3  # frames of a strip around the event


class StatesOnPage:
    """The chosen states with everything that was found about them, as the page and the PNG grids show them.

    Args:
        explanation: what was found.
        moments: what the states are.
        tapes: the episodes; none of observations that came without, which have no step and no episode.
        newest_first: how a stack of frames is ordered.

    Attributes:
        unit: what the maps have numbers for.
        notes: what is not on the page for want of room.
    """

    def __init__(
        self, explanation: Explanation, moments: Sequence[Moment], tapes: Sequence[Tape], newest_first: bool
    ) -> None:
        self._explanation, self._moments = explanation, moments
        onlooker = explanation.onlookers[AGENT]
        agent, self._states = onlooker.agent, onlooker.states
        space = agent.module.backbone.observation_space
        self._frames = observation_pictures(self._states.obs, space, frame_stack(agent), newest_first)
        self._games = [picture_at(tapes, moment) for moment in moments]
        self._of_episodes = bool(tapes)
        self.unit = unit_of(agent)
        self._smooth = self.unit is PIXEL
        which = ["newest frame"] if frame_stack(agent) > 1 else []
        which += [] if self._smooth else ["elements row by row"]
        self._shown = f" ({', '.join(which)})" if which else ""
        self._scales = scales_of(explanation.found)
        self._names = names_of_actions(agent)
        self.notes: list[str] = []

    def states(self) -> list[ShownState]:
        """The states of the page, all maps of each; fewer where they would make it too large."""
        each = max(1, sum(len(one.maps) for one in self._explanation.found))
        count = max(1, min(len(self._states), MOST_PICTURES // each))
        if count < len(self._states):
            self.notes.append(f"states {count + 1} to {len(self._states)}: too many maps for a page; see the PNG files")
        facts = self._facts()
        return [self._state(b, facts[b]) for b in range(count)]

    def _state(self, b: int, facts: Mapping[str, str]) -> ShownState:
        why, game = self._moments[b].why, self._games[b]
        name = f"State {b + 1}" + (f": {why}" if why else "")
        seen = enlarged(self._frames[b])
        pictures = [Picture(png(seen), f"{name}, {_SEEN}", f"{_SEEN}{self._shown}")]
        if game is not None:
            pictures.insert(0, Picture(png(enlarged(game, _GAME_SIDE)), f"{name}, the game", "the game", smooth=True))
        maps = []
        for one in self._explanation.found:
            by_who = {}
            for who in one.maps:
                drawn, scale = self._draw(one, who, b, PAGE_SIDE)
                by_who[who] = Picture(png(drawn), f"{one.title}, {who}, {name}", f"{who}: {scale}")
            curve = curve_of(one, b, self.unit)
            maps.append(ShownMap(one.title, in_words(one.first.target), by_who, curve))
        return ShownState(name, facts, pictures, maps)

    def _facts(self) -> list[dict[str, str]]:
        """Label -> text, of each state: when and where it was, what was done, and what everyone makes of it."""
        states, told = self._states, self._explanation.onlookers.items()
        facts = []
        for b in range(len(states)):
            action = states.action[b]
            text = self._names[int(action)] if self._names else " ".join(f"{x:.3g}" for x in np.ravel(action))
            when = {"episode": str(states.episode[b] + 1), "agent step": f"{states.step[b]:,}"}
            when = when if self._of_episodes else {}
            room = {"room": str(states.room[b])} if states.room[b] >= 0 else {}
            facts.append({**when, **room, "action": text})
        for who, onlooker in told:
            if who == UNTRAINED:
                continue
            for target in targets_of(onlooker.agent):
                try:
                    numbers = target.measure(onlooker.agent, onlooker.states, onlooker.states.obs)
                except ConfigError:  # a reward that fails, which has been told
                    continue
                label = in_words(target.name).replace("action", "log-probability of it")
                for b, number in enumerate(numbers):
                    facts[b][label if who == AGENT else f"{label} ({who})"] = f"{number:.4g}"
        return facts

    def verdicts(self) -> list[Verdict]:
        """Of every map that has a deletion curve."""
        return [verdict_of(one, one.curve, self.unit) for one in self._explanation.found if one.curve is not None]

    @property
    def rule(self) -> str:
        """When a map counts as better than random, and what is blanked with what."""
        blank = BLANK if self.unit is PIXEL else "their means over the states"
        return f"{sentence(self.unit.of(RULE))}. {sentence(self.unit.many)} are blanked with {blank}."

    def methods(self, files: Mapping[str, str]) -> list[MethodText]:
        """What the methods are that found something, with the PNG files of their maps.

        Args:
            files: path -> what it is.
        """
        texts: dict[str, MethodText] = {}
        for one in self._explanation.found:
            method, path = one.method, f"maps/{one.name}.png"
            before = texts[method.name].files if method.name in texts else {}
            shows, cannot = self.unit.of(method.shows), self.unit.of(method.cannot)
            texts[method.name] = MethodText(
                method.name, method.title, shows, cannot, method.source, {**before, files[path]: path}
            )
        return list(texts.values())

    def report(self) -> list[dict[str, Any]]:
        """The numbers of the deletion curves, for programs."""
        rows = []
        for one in self._explanation.found:
            row: dict[str, Any] = {"map": one.name, "method": one.method.name, "target": one.first.target}
            if one.curve is not None:
                row |= {"watched": one.target} | rounded(one.curve)
            if not math.isnan(one.untrained):
                row["rank correlation with untrained"] = float(f"{one.untrained:.4g}")
            rows.append(row)
        return rows

    # --- pictures -----------------------------------------------------------------------------------------------

    def _draw(self, one: Found, who: str, b: int, side: int) -> tuple[np.ndarray, str]:
        """One map of state ``b``, about ``side`` pixels large, and its scale in words."""
        scale, made = self._scales[who, one.name][b], one.maps[who]
        if not made.on_frame:
            return enlarged(alone(made.values[b], scale), side), scale.text
        frame = enlarged(self._frames[b], side)
        return overlay(frame, in_cells(made.values[b]), scale, self._smooth), scale.text

    def _labels(self) -> list[str]:
        """A few lines on each state, for the rows of a grid."""
        states, lines = self._states, []
        for b, moment in enumerate(self._moments):
            if not self._of_episodes:
                lines.append(f"state {b + 1}\n" + moment.why.replace(", ", "\n"))
                continue
            room = f"\nroom {states.room[b]}" if states.room[b] >= 0 else ""
            lines.append(f"state {b + 1}\nepisode {states.episode[b] + 1}\nstep {states.step[b]:,}{room}")
        return lines

    def grids(self) -> Iterator[tuple[str, str, np.ndarray]]:
        """All PNG grids; rows are states.

        Yields:
            The file, what it is, the picture. One for each map, whose columns are the agents; one for each target (and
            for each method without targets), whose columns are the agent's maps.
        """
        frames, labels = [Cell(enlarged(frame)) for frame in self._frames], self._labels()
        people = list(self._explanation.onlookers)

        def cell(one: Found, who: str, b: int) -> Cell | None:
            return Cell(*self._draw(one, who, b, SIDE)) if who in one.maps else None

        for one in self._explanation.found:
            rows = [[frame, *(cell(one, who, b) for who in people)] for b, frame in enumerate(frames)]
            title = one.title
            yield f"maps/{one.name}.png", title, grid(title, [_SEEN, *people], labels, rows)
        together: dict[str, list[Found]] = {}
        for one in self._explanation.found:
            if AGENT in one.maps:
                together.setdefault(one.first.target or one.method.name, []).append(one)
        for name, members in together.items():
            columns = [_SEEN, *(one.title for one in members)]
            rows = [[frame, *(cell(one, AGENT, b) for one in members)] for b, frame in enumerate(frames)]
            title = f"All maps of the agent: {in_words(name)}"
            yield f"grids/{file_name(name)}.png", title, grid(title, columns, labels, rows)


def scales_of(found: Sequence[Found]) -> dict[tuple[str, str], list[Scale]]:
    """The scale of each map, by onlooker and name, for each state: maps of a group share it.

    A map that is constant by itself is constant in its group too.
    """
    groups: dict[tuple[str, str, str], list[tuple[str, Map]]] = {}
    for one in found:
        for who, made in one.maps.items():
            group = f"group {made.group}" if made.group else f"map {one.name}"
            groups.setdefault((who, one.method.name, group), []).append((one.name, made))
    scales: dict[tuple[str, str], list[Scale]] = {}
    for (who, _, _), members in groups.items():
        signed = any(made.signed for _, made in members)
        for name, made in members:
            scales[who, name] = []
            for b in range(len(made.values)):
                own = Scale.of([made.values[b]], signed)
                shared = Scale.of([other.values[b] for _, other in members], signed, _BEYOND)
                scales[who, name].append(own if own.constant else shared)
    return scales


def picture_at(tapes: Sequence[Tape], moment: Moment) -> np.ndarray | None:
    """The game's picture of a moment, or None where there is none."""
    if not tapes or not tapes[moment.episode].pictures:
        return None
    return decode_picture(tapes[moment.episode].pictures[moment.t])


def tape_pictures(tape: Tape, index: Sequence[int], agent: Agent, newest_first: bool) -> list[np.ndarray]:
    """The game at some observations of a tape, or what the agent sees where the environment gives no pictures."""
    if tape.pictures:
        return [decode_picture(tape.pictures[t]) for t in index]
    obs = tape.rollout().to_torch().obs(torch.tensor(index)).numpy()
    return observation_pictures(obs, agent.module.observation_space, frame_stack(agent), newest_first)


def strip(event: Event, tape: Tape, agent: Agent, newest_first: bool) -> Strip:
    """The frames around an event."""
    index = around(event, _BEFORE, _AFTER)
    steps = np.concatenate([[0], np.cumsum(tape.valid)])
    when = f"episode {event.episode + 1}, agent step {steps[event.t]:,}"
    pictures = [
        Picture(
            png(enlarged(picture, SIDE)),
            f"{event.text}, {t - event.t:+d} agent steps",
            f"{t - event.t:+d}" if t != event.t else "here",
            width=_STRIP_WIDTH,
            smooth=bool(tape.pictures),
        )
        for t, picture in zip(index, tape_pictures(tape, index, agent, newest_first), strict=True)
    ]
    return Strip(f"{sentence(event.text)} ({when})", pictures, index.index(event.t))


def shown_change(one: Counterfactual, agent: Agent, newest_first: bool) -> Before:
    """A change of the game, with what the agent made of it before and after."""
    space = agent.module.backbone.observation_space
    seen = observation_pictures(np.stack([one.obs, one.obs_edited]), space, frame_stack(agent), newest_first)
    when = ("before", "after")
    pictures = [
        Picture(png(enlarged(game, _GAME_SIDE)), f"the game {word}", f"the game {word}", smooth=True)
        for game, word in zip((one.picture, one.picture_edited), when, strict=True)
    ]
    pictures += [
        Picture(png(enlarged(frame)), f"what the agent sees {word}", f"what the agent sees {word}")
        for frame, word in zip(seen, when, strict=True)
    ]
    changes = [
        (in_words(name).replace("action", "log-probability of the action"), f"{a:.4g}", f"{b:.4g}")
        for name, (a, b) in one.targets.items()
    ]
    most = np.argsort(-np.abs(one.policy - one.policy_edited), kind="stable")[:_MOST_ACTIONS]
    changes += [
        (f"probability of {one.actions[i]}", f"{one.policy[i]:.3f}", f"{one.policy_edited[i]:.3f}") for i in most
    ]
    changes += [("policies apart (total variation)", "", f"{one.policy_change:.3f}")]
    changes += [("share of the observation that changed", "", f"{one.changed:.2%}")]
    kind = {"thing": "", "beside": " (beside the game)", "control": " (control: cannot be seen)"}[one.edit.purpose]
    title = f"{sentence(one.edit.text)}{kind}, at: {one.event.text} (episode {one.event.episode + 1})"
    return Before(title, pictures, changes)


# --- controls -------------------------------------------------------------------------------------------------------


def unit_of(agent: Agent) -> Unit:
    """What maps of an agent's observations have numbers for."""
    return ELEMENT if layout_of(agent) is None else PIXEL


def curve_of(one: Found, b: int, unit: Unit) -> Curve | None:
    """The deletion curve of state ``b`` alone, with what was found over all states; None where there is none."""
    curve = one.curve
    if curve is None or one.first.constant[b]:
        return None
    by_map, by_random = curve.state_by_map[b], curve.state_by_random[b]
    here, why = bool(by_map.mean() > by_random.mean()), curve.reasons[b] or curve.reason
    better = None if why else curve.better
    return Curve(curve.shares, by_map.tolist(), by_random.tolist(), better, here, one.untrained, why, unit)


def verdict_of(one: Found, curve: DeletionCurve, unit: Unit) -> Verdict:
    """The deletion curve of all states together."""
    together = Curve(
        curve.shares, curve.by_map, curve.by_random, curve.better, untrained=one.untrained, why=curve.reason, unit=unit
    )
    return Verdict(one.title, in_words(one.target), together, curve.wins_random, curve.wins_moved, one.untrained)


# --- words ----------------------------------------------------------------------------------------------------------


def rounded(curve: DeletionCurve) -> dict[str, Any]:
    """A curve's numbers for a file, with as many digits as mean something."""

    def numbers(of: Iterable[float]) -> list[float]:
        return [float(f"{x:.4g}") for x in of]

    changes = {
        f"{name} {kind}": numbers(getattr(effects, kind))
        for name, effects in (("target", curve.target), ("policy", curve.policy), ("value", curve.value))
        for kind in ("by_map", "by_random", "by_moved")
    }
    wins = {"wins_random": numbers(curve.wins_random), "wins_moved": numbers(curve.wins_moved)}
    why = {"no verdict": curve.reason} if curve.reason else {}
    return {"shares": list(curve.shares), **changes, **wins, "better": curve.better, **why}


def names_of_actions(agent: Agent) -> list[str]:
    """Names of discrete actions; none of other actions, or where the environment cannot be made here."""
    if not isinstance(agent.module.action_space, gym.spaces.Discrete):
        return []
    try:
        env = make_single(agent.config)
    except ConfigError:
        return [str(i) for i in range(int(agent.module.action_space.n))]
    try:
        return action_names(env)
    finally:
        env.close()


def sentence(text: str) -> str:
    """A text with a capital letter at its beginning, unless it begins with a name."""
    return text if ":" in text.split(" ")[0] else text[:1].upper() + text[1:]


def scale_pictures() -> list[Picture]:
    """The colours of unsigned and of signed maps."""
    ramp = np.broadcast_to(np.linspace(0.0, 1.0, 168), (14, 168))
    words = "what counts: little to much", "two-coloured: against it (blue), for it (red)"
    return [
        Picture(png(colours(ramp, signed), None), f"colours: {text}", text, smooth=True)
        for signed, text in zip((False, True), words, strict=True)
    ]
