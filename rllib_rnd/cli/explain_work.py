"""The work of ``rllib explain``, piece by piece, so that what is finished can be shown whenever it ends."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.counterfactual import counterfactuals, why_none
from rllib_rnd.analysis.events import Event, find_events
from rllib_rnd.analysis.explanation import (
    AGENT,
    BASELINE,
    Explanation,
    Moment,
    Onlooker,
    choose,
    onlooker_of_episodes,
    onlooker_of_observations,
)
from rllib_rnd.analysis.figures.gallery import Before, Figure, Gallery, Picture, Strip, render
from rllib_rnd.analysis.figures.gallery_content import StatesOnPage, scale_pictures, shown_change, strip, unit_of
from rllib_rnd.analysis.figures.insight_video import write_insight_video
from rllib_rnd.analysis.figures.pictures import png
from rllib_rnd.analysis.maps import Method
from rllib_rnd.analysis.player import Player, PlayOptions
from rllib_rnd.analysis.projection import Method as Projection
from rllib_rnd.analysis.projection import projections
from rllib_rnd.analysis.states import States
from rllib_rnd.analysis.tape import Tape
from rllib_rnd.analysis.tape_file import save_tape
from rllib_rnd.analysis.targets import Target
from rllib_rnd.cli.gallery_folder import GalleryFolder
from rllib_rnd.cli.runtime import console, say
from rllib_rnd.envs import frame_stack
from rllib_rnd.errors import ConfigError
from rllib_rnd.threads import count

PAGE = "index.html"


@dataclass(frozen=True)
class Plan:
    """How much is looked at, and how.

    Attributes:
        states: with all maps, at most.
        strips: of events, at most.
        max_steps: agent steps of an episode.
        edited: moments of an episode at which the game is changed, at most.
        episodes: that are played.
        seed: of the first episode, the untrained weights, the pixels blanked at random and the points projected.
        deterministic: the most likely action instead of a draw.
        projection: pca or tsne.
        video: write an MP4 file too.
        video_methods: whose maps are in it; none: what `usual_maps` names.
    """

    states: int
    strips: int
    max_steps: int
    edited: int
    episodes: int = 1
    seed: int = 0
    deterministic: bool = False
    projection: Projection = "pca"
    video: bool = False
    video_methods: Sequence[str] = ()


# About how long a method takes, against others: those that perturb observations take longest.
_LONG = {"occlusion": 8.0, "integrated_gradients": 3.0}


_ELSEWHERE, _DRAWING = 4.0, 2.0  # the same of counterfactuals with projections and videos, and of the page


def weight_of(method: Method) -> float:
    """About how long a method takes, in units of a quick one."""
    return _LONG.get(method.name, 1.0)


FULL, QUICK = Plan(12, 16, 4500, 4), Plan(4, 6, 400, 1)


@dataclass(frozen=True)
class Recorded:
    """What was recorded before: episodes, or observations alone.

    Attributes:
        tapes: as the agent sees them.
        obs: ``[B, *obs_shape]``, or None.
        origins: where each of them is from.
    """

    tapes: Sequence[Tape]
    obs: np.ndarray | None
    origins: Sequence[str]


class WorkBar:
    """A progress bar with the time left; in a pipe, the lines alone."""

    def __init__(self) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %")
        self._progress = Progress(
            *columns,
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=console(),
            transient=True,
            disable=not sys.stdout.isatty(),
        )
        self._task = self._progress.add_task("starting", total=None)

    def __enter__(self) -> WorkBar:
        """Shows it."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Removes it."""
        self._progress.stop()

    def plan(self, units: float) -> None:
        """Says how much there is to do in all."""
        self._progress.update(self._task, total=units)

    def begin(self, what: str) -> None:
        """Says what is being done."""
        self._progress.update(self._task, description=what)

    def done(self, units: float) -> None:
        """Moves on."""
        self._progress.advance(self._task, units)

    def say(self, line: str) -> None:
        """Prints a line above it."""
        if self._progress.disable:
            say(line)
        else:
            self._progress.console.print(line, markup=False)


class Work:
    """Everything that is looked into, in order; `write` shows what there is at any time.

    Args:
        agents: by `AGENT`, `UNTRAINED` and, if there is one, `BASELINE`.
        targets: of each, that maps explain.
        plan: how much.
        out: where to.
        bar: is told how far it is.
        facts: about the agent, for the page.
    """

    def __init__(
        self,
        agents: Mapping[str, Agent],
        targets: Mapping[str, Sequence[Target]],
        plan: Plan,
        out: GalleryFolder,
        bar: WorkBar,
        facts: Mapping[str, str],
    ) -> None:
        self.agents, self.targets, self.plan, self.out, self.bar = agents, targets, plan, out, bar
        self.agent = agents[AGENT]
        self.facts = dict(facts)
        self.newest_first = frame_stack(self.agent.config.env, dict(self.agent.config.env_config)).newest_first
        self.tapes: list[Tape] = []
        self.events: list[Event] = []
        self.moments: list[Moment] = []
        self.explanation: Explanation | None = None
        self.notes: list[str] = []
        self.counterfactuals: list[Before] = []
        self.figures: list[Figure] = []
        self.videos: dict[str, str] = {}

    # --- what is looked into ------------------------------------------------------------------------------------

    def observe(self, recorded: Recorded | None) -> None:
        """Plays, or takes what was recorded; finds events and chooses states."""
        if recorded is not None and recorded.obs is not None:
            onlookers = self._of_observations(recorded.obs, recorded.origins)
        else:
            onlookers = self._of_episodes(recorded)
        self.explanation = Explanation(onlookers, self.plan.seed)

    def _of_episodes(self, recorded: Recorded | None) -> dict[str, Onlooker]:
        self.tapes = self._play() if recorded is None else list(recorded.tapes)
        self.bar.begin("finding events")
        self.events = find_events(self.agent, self.tapes)
        self.moments = choose(self.events, self.tapes, self.plan.states)
        steps = sum(int(tape.valid.sum()) for tape in self.tapes)
        episodes = count(len(self.tapes), "episode")
        what = "played" if recorded is None else "taken from files"
        self.facts["observations"] = f"{episodes} {what}, {steps:,} agent steps"
        self.bar.say(
            f"{self.facts['observations']}: {count(len(self.events), 'event')}, {count(len(self.moments), 'state')}"
        )
        return {
            who: onlooker_of_episodes(agent, self.tapes, self.moments, self.targets[who], who == AGENT)
            for who, agent in self.agents.items()
        }

    def _player(self) -> Player:
        plan = self.plan
        return Player(self.agent, PlayOptions(plan.seed, plan.max_steps, plan.deterministic), self._note)

    def _play(self) -> list[Tape]:
        tapes = []
        with contextlib.closing(self._player()) as player:
            for i in range(self.plan.episodes):
                self.bar.begin(f"playing episode {i + 1} of {self.plan.episodes}")
                tape = player.play(self.plan.seed + i)
                tapes.append(tape)
                save_tape(self.out.path(f"tapes/episode_{i + 1}.npz"), tape, self.agent)
                cut = "" if tape.finished else " (cut there by --max-steps)"
                self.bar.say(f"episode {i + 1}: return {sum(tape.reward):g}, {tape.valid.sum():,} agent steps{cut}")
        return tapes

    def _of_observations(self, obs: np.ndarray, origins: Sequence[str]) -> dict[str, Onlooker]:
        limit = min(self.plan.states, len(obs))
        index = ((np.arange(limit) + 0.5) / limit * len(obs)).astype(int)
        self.moments = [Moment(int(i), 0, origins[i]) for i in index]
        self.facts["observations"] = f"{limit} of {len(obs)} recorded"
        self._note("Events, projections, counterfactuals: only of episodes, and --states has observations alone")
        states = States.of_observations(obs[index], self.agent)
        return {who: onlooker_of_observations(agent, states, self.targets[who]) for who, agent in self.agents.items()}

    def _note(self, line: str) -> None:
        self.notes.append(line)
        self.bar.say(line)

    # --- what is found ------------------------------------------------------------------------------------------

    def look(self, methods: Sequence[Method]) -> None:
        """Has every method that applies look at the states."""
        explanation = self._explanation
        self.bar.plan(sum(weight_of(method) for method in methods) + _ELSEWHERE + _DRAWING)
        for method in methods:
            before = len(explanation.notes)
            self.bar.begin(method.title)
            if explanation.missing(method) is None:
                found = explanation.look(method, lambda what: self.bar.begin(what))
                self.bar.say(f"{method.title}: {count(len(found), 'map')}")
            for note in explanation.notes[before:]:
                self._note(note)
            self.bar.done(weight_of(method))

    def look_elsewhere(self) -> None:
        """What is found of whole episodes: counterfactuals, projections of features, and the video."""
        if not self.tapes:
            return
        self._edit()
        self.bar.begin("projecting features")
        baseline = self.agents.get(BASELINE)
        for chart in projections(self.agent, self.tapes, self.plan.seed, self.plan.projection, baseline):
            name = f"features/{chart.name}"
            self.out.write(f"{name}.png", chart.png)
            self.out.write(f"{name}.svg", chart.svg)
            picture = Picture(chart.png, chart.title, width=1100, smooth=True)
            self.figures.append(Figure(chart.title, picture, f"{name}.svg"))
        if self.plan.video:
            self._film()
        self.bar.done(_ELSEWHERE)

    def _edit(self) -> None:
        """Changes the game where its memory is known."""
        reason = why_none(self.agent)
        if reason is not None:
            self._note(f"Counterfactuals: {reason}")
            return
        self.bar.begin("changing the game")
        for i, tape in enumerate(self.tapes):
            events = [event for event in self.events if event.episode == i]
            try:
                found = counterfactuals(self.agent, tape, events, limit=self.plan.edited)
            except ConfigError as error:  # all else is there and worth showing
                self._note(f"Counterfactuals of episode {i + 1}: {error}")
                continue
            self.counterfactuals += [shown_change(one, self.agent, self.newest_first) for one in found]
        if not self.counterfactuals:
            self._note("Counterfactuals: at no event was there anything that could be changed")
        self.bar.say(f"Counterfactuals: {len(self.counterfactuals)}")

    def _film(self) -> None:
        name = "videos/episodes.mp4"
        chosen: dict[str, list[str]] | None = {method: [] for method in self.plan.video_methods} or None
        self.bar.begin("filming")
        try:
            with contextlib.closing(self._player()) as player:
                facts = write_insight_video(
                    self.out.path(name), player, self.tapes, chosen, targets=self.targets[AGENT]
                )
        except ConfigError as error:  # all else is there and worth showing
            self._note(f"Video: {error}")
            return
        maps = f", with {', '.join(facts.maps)}" if facts.maps else ""
        self.videos[f"{len(self.tapes)} episodes{maps}" if len(self.tapes) > 1 else f"Episode 1{maps}"] = name
        self.bar.say(f"video: {facts.frames:,} frames, {facts.size[0]} x {facts.size[1]}")

    # --- what is shown ------------------------------------------------------------------------------------------

    def write(self, unfinished: str = "") -> str:
        """Writes the page and the PNG files of what there is.

        Args:
            unfinished: what the page says of work that was cut short.

        Returns:
            A line on the page.
        """
        self.bar.begin("drawing")
        gallery = Gallery(
            title=f"What the agent of {self.agent.env} attends to",
            facts=self.facts,
            agents=list(self.agents),
            scales=scale_pictures(),
            notes=self.notes,
            strips=[self._strip(event) for event in self.events[: self.plan.strips]],
            counterfactuals=self.counterfactuals,
            figures=self.figures,
            videos=self.videos,
            unfinished=unfinished,
            unit=unit_of(self.agent),
        )
        report: dict[str, Any] = {"facts": self.facts, "notes": self.notes, "unfinished": bool(unfinished)}
        if self.explanation is not None and self.explanation.found:
            content = StatesOnPage(self.explanation, self.moments, self.tapes, self.newest_first)
            files = {}
            for path, title, picture in content.grids():
                self.out.write(path, png(picture, None))
                files[path] = title
            gallery = replace(
                gallery,
                states=content.states(),
                verdicts=content.verdicts(),
                rule=content.rule,
                methods=content.methods(files),
                notes=[*self.notes, *content.notes],
            )
            report["maps"] = content.report()
        page = render(gallery).encode()
        self.out.write(PAGE, page)
        self.out.finish(report)
        maps = len(self.explanation.found) if self.explanation is not None else 0
        what = f"{count(len(self.moments), 'state')}, {count(maps, 'map')}"
        return f"{self.out.root / PAGE}: {what}, {len(page) / 1e6:.1f} MB"

    def _strip(self, event: Event) -> Strip:
        return strip(event, self.tapes[event.episode], self.agent, self.newest_first)

    @property
    def _explanation(self) -> Explanation:
        assert self.explanation is not None, "observe() comes first"
        return self.explanation
