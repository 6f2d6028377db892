"""The video with maps over the picture: one scale in all frames, no colours where nothing differs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch

from rllib_rnd import IntrinsicPPOConfig
from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.controls import DeletionCurve, Effects
from rllib_rnd.analysis.explanation import NOT_JUDGED, Found
from rllib_rnd.analysis.figures.drawing import Pen
from rllib_rnd.analysis.figures.insight_video import (
    MOST_MAPS,
    believable_maps,
    maps_of_tapes,
    recordings,
    time_panel,
    usual_maps,
    write_insight_video,
)
from rllib_rnd.analysis.figures.pictures import Scale, colours
from rllib_rnd.analysis.figures.video import Overlay, Painter, Recording
from rllib_rnd.analysis.maps import METHODS, Map, Method
from rllib_rnd.analysis.methods import attention_maps
from rllib_rnd.analysis.methods.attention_maps import over_time
from rllib_rnd.analysis.pixels import mean_frame
from rllib_rnd.analysis.player import Player, PlayOptions
from rllib_rnd.analysis.states import States
from rllib_rnd.analysis.tape import Tape
from rllib_rnd.analysis.targets import Target, targets_of
from rllib_rnd.errors import ConfigError
from tests.analysis.agents import make_agent
from tests.analysis.attentive_agents import IAM, VIT

CATCH = gym.spaces.Box(0, 255, (40, 40), np.uint8)
CARTPOLE = gym.spaces.Box(-5.0, 5.0, (4,), np.float32)
EXPLORATIVE = {"type": "vit_explorative", **VIT, "patch_size": 8}


def player_of(backbone: dict[str, Any], size: int = 10) -> Player:
    """In Catch, whose pictures have ``4 size`` pixels and whose episodes ``size - 1`` steps; size 0: in CartPole."""
    config, options = IntrinsicPPOConfig(), PlayOptions(max_steps=12)
    if not size:
        config.environment("CartPole-v1")
        return Player(
            replace(make_agent(CARTPOLE, gym.spaces.Discrete(2), backbone, frame_stack=1), config=config), options
        )
    config.environment("rllib_rnd/Catch-v0", env_config={"size": size})
    space = gym.spaces.Box(0, 255, (4 * size, 4 * size), np.uint8)
    return Player(replace(make_agent(space, gym.spaces.Discrete(3), backbone, frame_stack=1), config=config), options)


@pytest.fixture
def player() -> Iterator[Player]:
    player = player_of(EXPLORATIVE)
    yield player
    player.close()


def frames_of(path: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    reader = pytest.importorskip("imageio_ffmpeg").read_frames(str(path))
    meta = next(reader)
    width, height = meta["size"]
    return meta, [np.frombuffer(data, np.uint8).reshape(height, width, 3).astype(int) for data in reader]


class Ramp(Method):
    """State t of an episode has a ramp from 0 to t; a state without steps the same number everywhere."""

    name: ClassVar[str] = "ramp"
    title = source = shows = cannot = "ramp"

    def missing(self, agent: Agent) -> str | None:
        return None

    def maps(self, agent: Agent, states: States, targets: Sequence[Target]) -> dict[str, Map]:
        ramp = np.broadcast_to(np.linspace(0.0, 1.0, 5), (len(states), 5, 5))
        values = np.where(states.step[:, None, None] == 0, 3.0, ramp * states.step[:, None, None])
        return {
            "ramp": Map(values, "a ramp", group="ramps"),
            "doubled": Map(2.0 * values, "the same, doubled", group="ramps"),
            "signed": Map(values - 2.0, "about two", signed=True),
            "off": Map(values, "no place", on_frame=False),
            "flat": Map(np.full_like(values, 0.25), "flat"),
        }


@pytest.fixture
def ramp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS._classes, "ramp", Ramp)


def painted(player: Player, tapes: Sequence[Tape], chosen: dict[str, list[str]], folder: Path) -> list[Recording]:
    maps = maps_of_tapes(player.agent, tapes, chosen, [], folder)
    return list(recordings(player, tapes, maps))


# --- maps -------------------------------------------------------------------------------------------------------


def test_maps_of_chunks_are_those_of_the_whole(player: Player, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rllib_rnd.analysis.figures.insight_video.CHUNK", 4)
    tapes, told = [player.play(seed) for seed in (0, 1)], []
    names = ["attention-explore.rollout", "attention-exploit.blocks.1", "attention-difference-blocks.2"]
    shown = maps_of_tapes(player.agent, tapes, {"attention": names}, [], tmp_path, lambda *done: told.append(done))
    states = States.join([States.of_tape(tape, i) for i, tape in enumerate(tapes)])
    whole = METHODS.resolve("attention")().maps(player.agent, states, [])
    for one, name in zip(shown, names, strict=True):
        np.testing.assert_allclose(one.values, whole[name].values, atol=1e-6)
    assert told == [(4, 18), (8, 18), (9, 18), (13, 18), (17, 18), (18, 18)]


def test_a_strip_over_time_does_not_end_where_a_chunk_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rllib_rnd.analysis.figures.insight_video.CHUNK", 2)
    player = player_of({"type": "iam", **IAM}, 15)
    tape = player.play(0)
    player.close()
    (shown,) = maps_of_tapes(player.agent, [tape], {"attention_over_time": []}, [], tmp_path)
    (whole,) = attention_maps.AttentionOverTime().maps(player.agent, States.of_tape(tape), []).values()
    np.testing.assert_allclose(shown.values, whole.values, atol=1e-6)


class Blanks(Method):
    """Shows what it is to blank with, at every state."""

    name: ClassVar[str] = "blanks"
    title = source = shows = cannot = "blanks"

    def maps(self, agent: Agent, states: States, targets: Sequence[Target]) -> dict[str, Map]:
        return {"blanks": Map(np.broadcast_to(self.blank_of(agent, states), states.obs.shape), "blanks")}


def test_what_is_blanked_is_the_mean_frame_of_its_episode_in_every_chunk(
    player: Player, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rllib_rnd.analysis.figures.insight_video.CHUNK", 4)
    monkeypatch.setitem(METHODS._classes, "blanks", Blanks)
    tapes = [player.play(seed) for seed in (0, 1)]
    (shown,) = maps_of_tapes(player.agent, tapes, {"blanks": []}, [], tmp_path)
    for values, tape in zip(np.split(shown.values, [len(tapes[0].action)]), tapes, strict=True):
        wanted = mean_frame(player.agent, States.of_tape(tape))
        np.testing.assert_array_equal(values, np.broadcast_to(wanted, values.shape))


def test_saliency_of_chunks_is_that_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rllib_rnd.analysis.figures.insight_video.CHUNK", 4)
    player = player_of({"type": "nature_cnn", "hidden_sizes": [8]})
    tape, value = player.play(0), targets_of(player.agent)[1:2]
    player.close()
    (shown,) = maps_of_tapes(player.agent, [tape], {"integrated_gradients": []}, value, tmp_path)
    (whole,) = METHODS.resolve("integrated_gradients")().maps(player.agent, States.of_tape(tape), value).values()
    np.testing.assert_allclose(shown.values, whole.values, atol=1e-4 * np.abs(whole.values).max())


# --- what is shown ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        (EXPLORATIVE, {"attention": [f"attention-{n}rollout" for n in ("explore.", "exploit.", "difference-")]}),
        ({"type": "self_attention", "variant": "CWRCA"}, {"attention": ["attention-rows", "attention-columns"]}),
        ({"type": "self_attention", "norm_softmax": False}, {"attention_values": ["attention_values"]}),
        ({"type": "nature_cnn", "hidden_sizes": [8]}, {"feature_maps": ["feature_maps-convs.5"]}),
        ({"type": "mlp"}, {}),
    ],
)
def test_what_is_shown_unless_told_otherwise(backbone: dict[str, Any], expected: dict[str, list[str]]) -> None:
    assert usual_maps(make_agent(CATCH, backbone=backbone, frame_stack=1)) == expected


def found(name: str, better: bool | None, untrained: float = 0.0) -> Found:
    """A map with its verdict; of one without any, that blanking changes too little."""
    nothing = Effects((), (), ())
    even, none = (0.5, 0.0, 1.0), np.zeros((1, 0))
    curve = DeletionCurve((), nothing, nothing, nothing, even, even, better, ("too little",), none, none)
    return Found(Ramp(), name, {"agent": Map(np.zeros((1, 1, 1)), name)}, curve, "action", untrained)


ROLLOUTS = [f"attention-{name}rollout" for name in ("explore.", "exploit.", "difference-")]


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ({}, {"attention": ROLLOUTS}),
        ({name: (True, 0.0) for name in ROLLOUTS}, {"attention": ROLLOUTS}),
        ({ROLLOUTS[0]: (False, 0.0), ROLLOUTS[2]: (None, 0.0)}, {"attention": ROLLOUTS[1:]}),
        ({ROLLOUTS[0]: (True, 0.95), ROLLOUTS[1]: (False, 0.0)}, {"attention": ROLLOUTS[2:]}),
        ({name: (False, 0.0) for name in ROLLOUTS}, {"attention": ROLLOUTS}),
        (
            {**{name: (False, 0.0) for name in ROLLOUTS}, "gradcam-action": (True, 0.1), "occlusion-action": (True, 0)},
            {"gradcam": ["gradcam-action"]},
        ),
        (
            {**{name: (True, 0.9) for name in ROLLOUTS}, "gradcam-action": (True, 0.95), "occlusion-action": (True, 0)},
            {"occlusion": ["occlusion-action"]},
        ),
        ({**{name: (False, 0.0) for name in ROLLOUTS}, "gradcam-action": (None, 0.0)}, {"attention": ROLLOUTS}),
    ],
)
def test_a_map_that_its_controls_speak_against_is_not_shown_if_another_may_be(
    player: Player, verdicts: dict[str, tuple[bool | None, float]], expected: dict[str, list[str]]
) -> None:
    def judge(method: str) -> dict[str, Found]:
        return {name: found(name, *of) for name, of in verdicts.items() if name.startswith(f"{method}-")}

    assert believable_maps(player.agent, judge) == expected


def test_every_map_has_its_verdict_below_it(player: Player, tmp_path: Path) -> None:
    tape = player.play(0)
    maps = maps_of_tapes(player.agent, [tape], {"attention": ROLLOUTS[:2]}, [], tmp_path)
    verdicts = {ROLLOUTS[0]: found("x", False, 0.95).verdict}
    assert verdicts == {ROLLOUTS[0]: "no better than random; like untrained (0.95)"}
    (recording,) = recordings(player, [tape], maps, verdicts)
    assert [one.verdict for one in recording.overlays] == [verdicts[ROLLOUTS[0]], NOT_JUDGED]
    painter = Painter(recording, 480)
    bare = [replace(one, verdict="") for one in recording.overlays]
    told, silent = (next(painter.frames(replace(recording, overlays=o))).copy() for o in (recording.overlays, bare))
    for box in painter.overlay_boxes:
        below = np.s_[box.y + box.height + 2 * painter.pen.px(17) :, box.x : box.x + box.width]
        assert (told[below] != silent[below]).any()
    assert painter.verdict_rows and not Painter(replace(recording, overlays=bare), 480).verdict_rows


def test_verdicts_in_words() -> None:
    words = {of: found("x", *of).verdict for of in ((True, 0.1), (False, 0.1), (True, 0.93), (None, float("nan")))}
    assert list(words.values()) == [
        "better than random",
        "no better than random",
        "better than random; like untrained (0.93)",
        "no verdict: too little",
    ]
    matrix = Found(Ramp(), "x", {"agent": Map(np.zeros((1, 2, 2)), "x", on_frame=False)}, None, "", 0.2)
    assert matrix.verdict == "no verdict: it is not of pixels" and not matrix.marked
    flat = Found(Ramp(), "x", {"agent": Map(np.zeros((1, 2, 2)), "x")}, None, "", float("nan"))
    assert flat.verdict == "the same everywhere" and flat.marked


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"atention": []}, "Did you mean 'attention'"),
        ({"attention": ["attention-explore.rolout"]}, r"Did you mean 'attention-explore.rollout'"),
        ({"attention_values": []}, "not vit_explorative"),
        ({"attention": ["attention-explore.rollout"] * 10}, "no room for the 10 maps"),
    ],
)
def test_maps_that_cannot_be_shown_are_refused(
    player: Player, tmp_path: Path, chosen: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        write_insight_video(tmp_path / "x.mp4", player, [player.play(0)], chosen)


def test_a_method_that_makes_more_maps_than_fit_shows_its_first(player: Player, tmp_path: Path) -> None:
    tapes = [player.play(0)]
    shown = maps_of_tapes(player.agent, tapes, {"attention": [], "feature_maps": []}, [], tmp_path)
    titles = [
        found.title
        for found in METHODS.resolve("attention")().maps(player.agent, States.of_tape(tapes[0]), []).values()
    ]
    assert len(titles) == 12 and [one.title for one in shown] == titles[:MOST_MAPS]
    assert [title.endswith("rollout") for title in titles] == 3 * [True] + 9 * [False]


# --- colours ----------------------------------------------------------------------------------------------------


def overlays_by_title(recording: Recording) -> dict[str, Overlay]:
    return {overlay.title: overlay for overlay in recording.overlays}


@pytest.mark.usefixtures("ramp")
def test_one_scale_for_all_frames_episodes_and_maps_of_a_group(player: Player, tmp_path: Path) -> None:
    tapes = [player.play(seed) for seed in (0, 1)]
    for recording in painted(player, tapes, {"ramp": []}, tmp_path):
        shown = overlays_by_title(recording)
        assert (shown["a ramp"].low, shown["a ramp"].high) == ("0", "16")  # twice the eight of the last step
        assert (shown["the same, doubled"].low, shown["the same, doubled"].high) == ("0", "16")
        assert (shown["about two"].low, shown["about two"].high) == ("-6", "6")  # zero in the middle
        # A number has the same colour in every frame: 4 ends the ramp of step 4 and is in the middle of step 8's.
        off = shown["no place"]
        assert (off.low, off.high) == ("0", "8")
        np.testing.assert_array_equal(off.pictures(4)[0, 4], off.pictures(8)[0, 2])
        np.testing.assert_array_equal(off.pictures(4)[0, 4], off.colours[128])
        assert off.notes(4) == "now 0 to 4"


@pytest.mark.usefixtures("ramp")
def test_a_constant_map_has_no_colours_and_says_so(player: Player, tmp_path: Path) -> None:
    (recording,) = painted(player, [player.play(0)], {"ramp": []}, tmp_path)
    shown = overlays_by_title(recording)
    for title, t in (("a ramp", 0), ("about two", 0), ("flat", 5)):
        picture = shown[title].pictures(t).astype(int)
        assert (picture == picture[..., :1]).all()  # grey
        assert shown[title].notes(t).startswith("constant: ")
    assert shown["flat"].notes(5) == "constant: 0.25 everywhere" and shown["flat"].high == "constant 0.25"
    coloured = shown["a ramp"].pictures(5).astype(int)
    assert (coloured != coloured[..., :1]).any()
    end = shown["a ramp"].pictures(9).astype(int)  # nothing was done there
    assert (end == end[..., :1]).all() and "end" in shown["a ramp"].notes(9)


@pytest.mark.usefixtures("ramp")
def test_decoded_frames_have_the_same_scale_and_grey_where_constant(player: Player, tmp_path: Path) -> None:
    chosen, tape = {"ramp": ["ramp"]}, player.play(0)
    facts = write_insight_video(tmp_path / "x.mp4", player, [tape], chosen, height=240, fps=5)
    meta, frames = frames_of(tmp_path / "x.mp4")
    assert meta["size"] == facts.size and len(frames) == facts.frames == 10 + 5
    (recording,) = painted(player, [tape], chosen, tmp_path)
    painter = Painter(recording, 240)
    (box,) = painter.overlay_boxes
    scale = [frame[box.y + box.height + 1 : box.y + box.height + 8, box.x : box.x + box.width] for frame in frames]
    wanted = colours(np.linspace(0.0, 1.0, 256)[None], False)[0].astype(int)
    for part in scale:
        assert np.abs(part - scale[0]).mean() < 5.0  # the codec's noise
        middle = part[4, part.shape[1] // 2]
        assert np.abs(middle - wanted[128]).max() < 40
    drawn = [frame[box.y : box.y + box.height, box.x : box.x + box.width] for frame in frames]
    spread = [float((part.max(axis=2) - part.min(axis=2)).mean()) for part in drawn]
    assert spread[0] < 3.0 < 20.0 < spread[8]  # no colour, much colour
    assert spread[9] < 3.0


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    files = []
    for name in ("a.mp4", "b.mp4"):
        player = player_of(EXPLORATIVE)
        write_insight_video(tmp_path / name, player, [player.play(3)], height=240)
        player.close()
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]


# --- layout -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("ramp")
@pytest.mark.parametrize("names", [["ramp"], ["ramp", "flat"], ["ramp", "flat", "off", "signed", "doubled"]])
@pytest.mark.parametrize("height", [240, 480])
def test_overlays_do_not_overlap_anything(player: Player, tmp_path: Path, names: list[str], height: int) -> None:
    (recording,) = painted(player, [player.play(0)], {"ramp": names}, tmp_path)
    painter = Painter(recording, height)
    assert painter.picture_box is not None
    row = painter.pen.px(17)
    for i, box in enumerate(painter.overlay_boxes):
        assert box.x > painter.picture_box.x + painter.picture_box.width
        assert box.x + box.width < painter.middle.x
        assert box.y - 2 * row >= painter.pen.px(10) + row  # below the line on the scale
        below = 2 + painter.verdict_rows
        assert below > 2 and box.height > row
        assert box.y + box.height + below * row <= painter.size[1] - painter.pen.px(6)
        for other in painter.overlay_boxes[:i]:
            apart_x = box.x >= other.x + other.width or other.x >= box.x + box.width
            apart_y = box.y - 2 * row >= other.y + other.height + below * row
            assert apart_x or apart_y
    for frame in painter.frames(recording):
        assert frame.shape == (painter.size[1], painter.size[0], 3)


def test_lines_are_broken_at_spaces() -> None:
    pen = Pen(1.0)
    assert pen.wrapped("exploration token, rollout", 10_000, 2) == ["exploration token, rollout"]
    lines = pen.wrapped("exploration token, rollout", pen.width("exploration token,"), 2)
    assert lines == ["exploration token,", "rollout"]
    assert pen.wrapped("a b c d", 1, 2) == ["a", "b c d"]


# --- memories and vectors ---------------------------------------------------------------------------------------


def test_the_attention_of_a_memory_is_plotted_over_time(tmp_path: Path) -> None:
    player = player_of({"type": "iam", **IAM}, 0)
    tape = player.play(0)
    panel = time_panel(player.agent, tape, 0)
    assert panel is not None and len(panel.lines) == 3
    states = States.of_tape(tape)
    weights = over_time(player.agent, states)["d_set"]
    assert str(weights.mean(axis=0).argmin()) not in panel.lines  # of four entries
    for entry, line in panel.lines.items():
        np.testing.assert_allclose(line[:-1], weights[:, int(entry)], atol=1e-6)
        assert np.isnan(line[-1])
    (recording,) = painted(player, [tape], usual_maps(player.agent), tmp_path)
    assert recording.panels[-1].title == "attention to"
    (overlay,) = recording.overlays
    assert overlay.pictures(0).shape == (1, 4, 3)  # the cells of the vector
    for frame in Painter(recording, 240).frames(recording):
        assert frame.any()
    player.close()


def test_without_maps_it_is_the_video_of_the_episode(tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    player = player_of({"type": "mlp"}, 0)
    facts = write_insight_video(tmp_path / "x.mp4", player, [player.play(0)], height=240)
    player.close()
    assert facts.maps == [] and (tmp_path / "x.mp4").stat().st_size > 1000


def test_a_scale_of_files_is_that_of_their_numbers(tmp_path: Path) -> None:
    file = np.memmap(tmp_path / "x", dtype=np.float32, mode="w+", shape=(3, 2, 2))
    file[1, 0, 1], file[2] = -1.5, 0.5
    assert Scale.of([file], signed=False) == Scale(-1.5, 0.5, False, False)
    assert torch.from_numpy(np.asarray(file)).shape == (3, 2, 2)
