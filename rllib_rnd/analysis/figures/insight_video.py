"""The video of ``rllib explain``: an episode with maps laid over what the agent sees, values, bonus and room.

Maps are computed before anything is drawn, since colours shall mean the same in every frame: a few states at once, and
kept in a file in between, so that a long episode needs no more memory than a short one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.explanation import NOT_JUDGED, Found
from rllib_rnd.analysis.figures.drawing import PANEL, frame_pictures
from rllib_rnd.analysis.figures.pictures import Scale, ascii_text, colours, in_cells, overlay
from rllib_rnd.analysis.figures.video import Overlay, Panel, Recording, write_video
from rllib_rnd.analysis.maps import METHODS, Map, Method, in_words
from rllib_rnd.analysis.methods.attention_maps import over_time
from rllib_rnd.analysis.methods.making import make_method, maps_of, missing_of
from rllib_rnd.analysis.pixels import mean_frame_of_parts
from rllib_rnd.analysis.player import Player
from rllib_rnd.analysis.states import States, states_between
from rllib_rnd.analysis.tape import Tape, make_recording
from rllib_rnd.analysis.targets import Target
from rllib_rnd.errors import ConfigError, unknown_name_error

CHUNK = 64  # states at once
MOST_MAPS = 9  # there is no room for more
_ENTRIES = 3  # lines of the plot of attention over time, as many as have their names beside its title
_END = "the end: nothing was done here"
# Those that take long, for each of thousands of steps, last.
_IN_PLACE_OF_USUAL = (
    *("attention", "attention_values", "feature_maps"),
    *("gradcam", "gradcam_plus_plus", "integrated_gradients", "occlusion"),
)


class VideoFacts(NamedTuple):
    """What was written: the size (width, height) in pixels, the number of frames, and the maps: title, verdict."""

    size: tuple[int, int]
    frames: int
    maps: list[tuple[str, str]]


# --- which maps -----------------------------------------------------------------------------------------------------


def usual_maps(agent: Agent) -> dict[str, list[str]]:
    """What suits an agent's backbone: method -> names of its maps.

    Rollouts of attention and how those of two tokens differ, or all attention where there is a single layer; without
    attention weights the values, without those the last layer that has places; of vectors nothing.
    """
    attention, values, layers = (METHODS.resolve(name)() for name in ("attention", "attention_values", "feature_maps"))
    if missing_of(attention, agent) is None:
        names = list(maps_of(attention, agent, States.of_nothing(agent), []))
        rollouts = [name for name in names if name.endswith("rollout")]
        return {attention.name: rollouts or names[:4]}
    if missing_of(values, agent) is None:
        return {values.name: [values.name]}
    if missing_of(layers, agent) is None:
        return {layers.name: [list(maps_of(layers, agent, States.of_nothing(agent), []))[-1]]}
    return {}


def believable_maps(agent: Agent, judge: Callable[[str], Mapping[str, Found]]) -> dict[str, list[str]]:
    """What a video shows unless told otherwise: of `usual_maps` those that their controls do not speak against.

    If they speak against all of them, the first map of another method that is better than random; if there is none,
    the usual ones all the same.

    Args:
        agent: whose maps they are.
        judge: method -> its maps of the agent with their controls, by name.
    """
    usual = usual_maps(agent)
    for method, names in usual.items():
        judged = judge(method)
        kept = [name for name in names if name not in judged or not judged[name].marked]
        if kept:
            return {method: kept}
    for method in _IN_PLACE_OF_USUAL if usual else ():
        found = judge(method).items()
        better = [name for name, one in found if one.curve is not None and one.curve.better and not one.marked]
        if better:
            return {method: better[-1:] if method == "feature_maps" else better[:1]}
    return usual


def checked(agent: Agent, chosen: Mapping[str, Sequence[str]], layer: str | None = None) -> dict[str, Method]:
    """The methods by name.

    Raises:
        ConfigError: an unknown one, one that does not apply to the agent, or more maps than there is room for.
    """
    named = [name for names in chosen.values() for name in names]
    if len(named) > MOST_MAPS:
        raise ConfigError("video", f"has no room for the {len(named)} maps {', '.join(named)}", f"up to {MOST_MAPS}")
    methods = {name: make_method(name, "video", layer) for name in chosen}
    for name, method in methods.items():
        reason = missing_of(method, agent)
        if reason is not None:
            raise ConfigError("video", f"no maps of the method {name}: {reason}")
    return methods


# --- maps of whole episodes -----------------------------------------------------------------------------------------


@dataclass
class Shown:
    """One map of all states of all episodes, in a file.

    Attributes:
        name: of the map.
        title, signed, on_frame: as of the `Map`.
        group: of maps that share a scale.
        values: ``[states, h, w]`` float32.
        scale: of its colours, for the whole video.
    """

    name: str
    title: str
    signed: bool
    group: str
    on_frame: bool
    values: np.ndarray
    scale: Scale

    @classmethod
    def empty(cls, name: str, found: Map, count: int, folder: Path, group: str) -> Shown:
        """Room for ``count`` states."""
        shape = (count, *found.values.shape[1:])
        file = np.memmap(folder / name, dtype=np.float32, mode="w+", shape=shape)
        unknown = Scale(0.0, 0.0, found.signed, constant=True)  # until all values are there
        return cls(name, in_words(found.title), found.signed, group, found.on_frame, file, unknown)


def maps_of_tapes(
    agent: Agent,
    tapes: Sequence[Tape],
    chosen: Mapping[str, Sequence[str]],
    targets: Sequence[Target],
    folder: Path,
    progress: Callable[[int, int], object] | None = None,
    layer: str | None = None,
) -> list[Shown]:
    """Computes maps of all states that the policy acted on, episode after episode, and their scales.

    What is blanked is so with one frame in all of an episode, the mean of its own.

    Args:
        agent: whose maps they are.
        tapes: its episodes.
        chosen: method -> names of its maps; no names are all of them, as far as there is room.
        targets: of saliency.
        folder: for files as large as the maps.
        progress: is told how many states are done and how many there are.
        layer: see `make_method`.

    Raises:
        ConfigError: see `checked`; an unknown map; a method that fails.
    """
    methods = checked(agent, chosen, layer)
    explained = {name: list(targets) for name in methods}
    shown: dict[str, Shown] = {}
    total, done = sum(len(tape.action) for tape in tapes), 0
    for episode, tape in enumerate(tapes):
        blank = mean_frame_of_parts(agent, (states_between(tape, *piece) for piece in pieces(tape)))
        for start, stop in pieces(tape):
            for name, method in methods.items():
                method.blank = blank
                lead = min(method.context, start)
                states = states_between(tape, start - lead, stop, episode)
                wanted = _wanted(maps_of(method, agent, states, explained[name]), chosen[name], name)
                explained[name] = [t for t in targets if any(found.target == t.name for found in wanted.values())]
                for key, found in wanted.items():
                    if not done and not start and len(shown) < MOST_MAPS:
                        group = f"{name}: {found.group or key}"  # units are those of a method
                        shown[key] = Shown.empty(key, found, total, folder, group)
                    if key not in shown:
                        continue
                    shown[key].values[done : done + stop - start] = found.values[lead:]
            done += stop - start
            if progress is not None:
                progress(done, total)
    maps = list(shown.values())
    for one in maps:
        sharing = [other.values for other in maps if (other.group, other.signed) == (one.group, one.signed)]
        one.scale = Scale.of(sharing, one.signed)
    return maps


def pieces(tape: Tape) -> Iterator[tuple[int, int]]:
    """Where the pieces of an episode that are computed together begin and end."""
    for start in range(0, len(tape.action), CHUNK):
        yield start, min(start + CHUNK, len(tape.action))


def _wanted(found: Mapping[str, Map], names: Sequence[str], method: str) -> dict[str, Map]:
    for name in names:
        if name not in found:
            raise unknown_name_error(f"map of {method}", name, found, "video")
    return {name: found[name] for name in names or found}


# --- drawing --------------------------------------------------------------------------------------------------------


def make_overlays(
    recording: Recording, maps: Sequence[Shown], first: int, verdicts: Mapping[str, str] | None = None
) -> list[Overlay]:
    """What the video shows of the maps of one episode, whose states begin with number ``first``.

    ``verdicts`` are what controls say of the maps by their names. A map that is the same everywhere gets no colours,
    and says so. So does the last observation, after which the policy did nothing.
    """
    count = len(recording.steps) - 1
    vector = recording.frames(0)[-1].ndim == 1

    def seen(t: int) -> np.ndarray:
        planes = frame_pictures(recording.frames(t)[-1], recording.low, recording.high)
        return np.max(np.stack(planes), axis=0)

    def overlay_of(one: Shown) -> Overlay:
        def scale_at(t: int) -> Scale:
            if t == count:
                return replace(one.scale, constant=True)
            return replace(one.scale, constant=Scale.of([one.values[first + t]], one.signed).constant)

        def picture(t: int) -> np.ndarray:
            values, scale = one.values[first + min(t, count - 1)], scale_at(t)
            if one.on_frame:
                return overlay(seen(t), in_cells(values) if vector else values, scale, smooth=not vector)
            if scale.constant:
                return np.full((*values.shape, 3), PANEL, dtype=np.uint8)
            return colours(scale.share(values), one.signed)

        def note(t: int) -> str:
            if t == count:
                return _END
            values = one.values[first + t]
            if scale_at(t).constant:
                return f"constant: {float(values.flat[0]):.3g} everywhere"
            return f"now {values.min():.3g} to {values.max():.3g}"

        ends = ("", one.scale.text) if one.scale.constant else (f"{one.scale.low:.3g}", f"{one.scale.high:.3g}")
        bar = colours(np.linspace(0.0, 1.0, 256)[None], one.signed)[0]
        if one.scale.constant:
            bar = np.full_like(bar, PANEL)
        verdict = ascii_text((verdicts or {}).get(one.name, NOT_JUDGED))
        return Overlay(ascii_text(one.title), picture, note, bar, *ends, verdict)

    return [overlay_of(one) for one in maps]


def time_panel(agent: Agent, tape: Tape, episode: int) -> Panel | None:
    """A memory's attention over time: weights of the entries that get most of it, or None without such attention."""
    if missing_of(METHODS.resolve("attention_over_time")(), agent) is not None:
        return None
    parts = []
    for start, stop in pieces(tape):
        states = states_between(tape, start, stop, episode)
        parts.append(np.concatenate(list(over_time(agent, states).values()), axis=1))
    weights = np.concatenate(parts)
    weights = np.concatenate([weights, np.full_like(weights[:1], np.nan)])
    most = np.argsort(-np.nanmean(weights, axis=0), kind="stable")[:_ENTRIES]
    return Panel("attention to", {str(i): weights[:, i] for i in sorted(most)})


def recordings(
    player: Player, tapes: Sequence[Tape], maps: Sequence[Shown], verdicts: Mapping[str, str] | None = None
) -> Iterator[Recording]:
    """What the video shows, episode after episode."""
    agent, first = player.agent, 0
    for i, tape in enumerate(tapes):
        episode = f"{i + 1} of {len(tapes)}"
        recording = make_recording(
            tape, agent.module, player.single, player.game.to_env, agent.env, episode, agent.reward_names
        )
        panel = time_panel(agent, tape, i)
        panels = [*recording.panels, *([] if panel is None else [panel])]
        yield replace(recording, panels=panels, overlays=make_overlays(recording, maps, first, verdicts))
        first += len(tape.action)


def write_insight_video(
    path: Path,
    player: Player,
    tapes: Sequence[Tape],
    chosen: Mapping[str, Sequence[str]] | None = None,
    *,
    targets: Sequence[Target] = (),
    fps: float | None = None,
    height: int = 480,
    progress: Callable[[int, int], object] | None = None,
    verdicts: Mapping[str, str] | None = None,
    layer: str | None = None,
) -> VideoFacts:
    """Writes episodes into one MP4 file: game, maps over what the agent sees, values, bonus, room, policy.

    The colours of a map mean the same in all frames of the video, and the numbers at their ends are in the picture. So
    is below each map what its controls say of it.

    Args:
        path: of the file.
        player: of the agent's environment; it is not played in.
        tapes: the agent's episodes, one or more.
        chosen: method -> names of its maps, none: all of them as far as there is room; None: `usual_maps`.
        targets: what saliency is of.
        fps: frames per second; None: real time.
        height: of the video in pixels.
        progress: is told how many states have their maps and how many there are.
        verdicts: what controls say of maps, by their names; the others are `NOT_JUDGED`.
        layer: see `make_method`.

    Raises:
        ConfigError: unknown methods or maps, one that does not apply, too many of them; see also `video_file`.
    """
    chosen = usual_maps(player.agent) if chosen is None else chosen
    with tempfile.TemporaryDirectory(prefix="rllib_rnd-") as folder:
        maps = maps_of_tapes(player.agent, tapes, chosen, targets, Path(folder), progress, layer)
        size, frames = write_video(path, recordings(player, tapes, maps, verdicts), height, fps or player.fps)
    return VideoFacts(size, frames, [(one.title, (verdicts or {}).get(one.name, NOT_JUDGED)) for one in maps])
