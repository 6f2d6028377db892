"""The work of ``rllib explain``, piece by piece, so that what is finished can be shown whenever it ends."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.counterfactual import counterfactuals, why_none
from rllib_rnd.analysis.events import Event, find_events
from rllib_rnd.analysis.explanation import (
    AGENT,
    BASELINE,
    Explanation,
    Found,
    Moment,
    Onlooker,
    choose,
    onlooker_of_episodes,
    onlooker_of_observations,
)
from rllib_rnd.analysis.figures.gallery import Before, Figure, Gallery, Picture, Strip, render
from rllib_rnd.analysis.figures.gallery_content import (
    StatesOnPage,
    scale_pictures,
    shown_change,
    strip,
    unit_of,
)
from rllib_rnd.analysis.figures.insight_video import believable_maps, write_insight_video
from rllib_rnd.analysis.figures.pictures import png
from rllib_rnd.analysis.maps import Method
from rllib_rnd.analysis.methods.making import make_method, missing_of
from rllib_rnd.analysis.player import Player, PlayOptions
from rllib_rnd.analysis.projection import Method as Projection
from rllib_rnd.analysis.projection import projections
from rllib_rnd.analysis.states import States
from rllib_rnd.analysis.tape import Tape
from rllib_rnd.analysis.tape_file import save_tape
from rllib_rnd.analysis.targets import Target, broken, trouble_with
from rllib_rnd.cli.gallery_folder import GalleryFolder
from rllib_rnd.cli.work_bar import WorkBar
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
        video_methods: whose maps are in it; none: what `believable_maps` names.
        layer: see `make_method`.
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
    layer: str | None = None


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


class Work:
    """Everything that is looked into, in order; `write` shows what there is at any time.

    Args:
        agents: by `AGENT`, `UNTRAINED` and, if there is one, `BASELINE`.
        targets: of each, that maps explain.
        plan: how much.
        out: where to.
        bar: is told how far it is.
        facts: about the agent, for the page.

    Attributes:
        failures: of methods and rewards; everything else is on the page.
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
        self.agents, self.targets, self.plan, self.out, self.bar = agents, dict(targets), plan, out, bar
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
        self.failures: list[ConfigError] = []

    # --- what is looked into ------------------------------------------------------------------------------------

    def check_targets(self) -> None:
        """Finds rewards that fail before anything takes long.

        Those whose gradients alone do are explained without gradients, the others not at all.
        """
        for who, agent in self.agents.items():
            sound = []
            for target in self.targets[who]:
                fault = broken(agent, target)
                if fault is not None:
                    if str(fault) not in map(str, self.failures):
                        self._fail(target.name, fault)
                    continue
                trouble = trouble_with(agent, target)
                if trouble is not None:
                    target = replace(target, differentiable=False)
                    if str(trouble) not in map(str, self.failures):
                        self._fail(f"{target.name}, methods with gradients", trouble)
                sound.append(target)
            self.targets[who] = sound

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
        try:
            self.events = find_events(self.agent, self.tapes)
        except ConfigError as error:  # of an intrinsic reward; all else that happened is there
            self._fail("Events of intrinsic rewards", error)
            self.events = find_events(self.agent, self.tapes, with_rewards=False)
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

    def _fail(self, what: str, error: ConfigError) -> None:
        """Notes what failed: all else is there and worth showing."""
        self.failures.append(error)
        self._note(f"{what}: {error}")

    # --- what is found ------------------------------------------------------------------------------------------

    def look(self, methods: Sequence[Method]) -> None:
        """Has every method that applies look at the states."""
        explanation = self._explanation
        self.bar.plan(sum(weight_of(method) for method in methods) + _ELSEWHERE + _DRAWING)
        for method in methods:
            before = len(explanation.notes)
            self.bar.begin(method.title)
            try:
                if explanation.missing(method) is None:
                    found = explanation.look(method, lambda what: self.bar.begin(what))
                    self.bar.say(f"{method.title}: {count(len(found), 'map')}")
            except ConfigError as error:
                self._fail(method.title, error)
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
        try:
            charts = projections(self.agent, self.tapes, self.plan.seed, self.plan.projection, baseline)
        except ConfigError as error:
            self._fail("Projections", error)
            charts = []
        for chart in charts:
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
        judge = functools.cache(self._judged)
        self.bar.begin("filming")
        try:
            chosen: dict[str, list[str]] = {method: [] for method in self.plan.video_methods}
            chosen = chosen or believable_maps(self.agent, judge)
            unit = unit_of(self.agent)
            verdicts = {name: unit.of(one.verdict) for method in chosen for name, one in judge(method).items()}
            with contextlib.closing(self._player()) as player:
                facts = write_insight_video(
                    *(self.out.path(name), player, self.tapes, chosen),
                    targets=self.targets[AGENT],
                    verdicts=verdicts,
                    layer=self.plan.layer,
                )
        except ConfigError as error:
            self._fail("Video", error)
            return
        maps = "; ".join(f"{title} ({verdict})" for title, verdict in facts.maps)
        title = f"{len(self.tapes)} episodes" if len(self.tapes) > 1 else "Episode 1"
        self.videos[f"{title}, with {maps}" if maps else title] = name
        self.bar.say(f"video: {facts.frames:,} frames, {facts.size[0]} x {facts.size[1]}")

    def _judged(self, name: str) -> dict[str, Found]:
        """The agent's maps of a method with their controls, by name; of one that is not on the page too."""
        explanation, method = self._explanation, make_method(name, "--video-methods", self.plan.layer)
        found = [one for one in explanation.found if type(one.method) is type(method)]
        if not found and missing_of(method, self.agent) is None:
            self.bar.begin(f"{method.title}, for the video")
            found = Explanation(explanation.onlookers, self.plan.seed).look(method)
        return {one.name: one for one in found if AGENT in one.maps}

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
