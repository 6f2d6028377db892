"""``rllib explain``: every file is there, the same seed gives the same bytes, nothing of the user's is lost."""

from __future__ import annotations

import html
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from typer.testing import CliRunner

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.events import Event
from rllib_rnd.analysis.explanation import AGENT, BASELINE, UNTRAINED, choose
from rllib_rnd.analysis.maps import Map, Method
from rllib_rnd.analysis.states import States
from rllib_rnd.analysis.tape import Tape
from rllib_rnd.analysis.tape_file import load_observations, save_tape
from rllib_rnd.analysis.targets import Target
from rllib_rnd.cli import app
from rllib_rnd.cli.explain import chosen_targets
from rllib_rnd.cli.explain_work import Work
from rllib_rnd.cli.gallery_folder import MARKER, GalleryFolder
from rllib_rnd.errors import ConfigError
from rllib_rnd.intrinsic import Traced
from rllib_rnd.intrinsic.rnd import RND
from tests.analysis.playing import agent_in, play
from tests.conftest import small_config

pytestmark = pytest.mark.usefixtures("ray_session")
runner = CliRunner()
METHODS = "attention,feature_maps,integrated_gradients"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RND on Catch's pictures, 40 x 40, with attention over rows."""
    config = small_config(env="rllib_rnd/Catch-v0", backbone={"type": "self_attention", "variant": "SWA"})
    algorithm = config.build_algo()
    try:
        return Path(algorithm.save_to_path(tmp_path_factory.mktemp("explain") / "trained"))
    finally:
        algorithm.stop()


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RND on DeepSea's vectors."""
    algorithm = small_config().build_algo()
    try:
        return Path(algorithm.save_to_path(tmp_path_factory.mktemp("deep_sea") / "trained"))
    finally:
        algorithm.stop()


def invoke(*arguments: object) -> Any:
    return runner.invoke(app, ["explain", *map(str, arguments)])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def gallery(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("galleries") / "new" / "gallery"
    result = invoke(checkpoint, "--out", out, "--quick", "--num-states", 2, "--methods", METHODS, "--seed", 3)
    assert result.exit_code == 0, result.output
    return out


def test_all_files_are_there_and_the_page_links_to_no_others(gallery: Path) -> None:
    files, page = contents(gallery), (gallery / "index.html").read_text()
    marker = json.loads(files[MARKER])
    assert sorted(marker["files"]) == sorted(files.keys() - {MARKER})
    maps = {row["map"] for row in marker["maps"]}
    assert {"attention-rows", "integrated_gradients-intrinsic_reward-rnd"} <= maps
    assert {f"maps/{name}.png" for name in maps} == {name for name in files if name.startswith("maps/")}
    assert {"grids/action.png", "grids/attention.png", "tapes/episode_1.npz", "features/spread.png"} <= files.keys()
    linked = {link for link in re.findall(r'(?:href|src)="([^"]+)"', page) if not link.startswith(("#", "data:"))}
    assert linked <= files.keys() and len(linked) > len(maps)
    assert "http" not in page and str(gallery) not in page


def test_controls_are_beside_every_map(gallery: Path) -> None:
    rows = json.loads((gallery / MARKER).read_text())["maps"]
    curves = [row for row in rows if "better" in row]
    assert len(curves) >= len(rows) - 1
    for row in curves:
        assert row["shares"] == [0.05, 0.1, 0.2] and len(row["target by_map"]) == 3
        assert -1.0 <= row.get("rank correlation with untrained", 0.0) <= 1.0
    page = (gallery / "index.html").read_text()
    assert page.count(">agent: ") == page.count(">untrained: ") >= 2 * len(rows)


def test_the_same_seed_gives_the_same_bytes_and_an_earlier_gallery_is_replaced(
    checkpoint: Path, gallery: Path, tmp_path: Path
) -> None:
    options = ("--quick", "--num-states", 2, "--seed", 3)
    out = tmp_path / "again"
    few = invoke(checkpoint, "--out", out, *options, "--methods", "gradcam", "--targets", "intrinsic_reward")
    assert few.exit_code == 0, few.output
    assert {path.name for path in (out / "maps").iterdir()} == {"gradcam-intrinsic_reward-rnd.png"}
    (out / "notes.txt").write_text("mine")
    again = invoke(checkpoint, "--out", out, *options, "--methods", METHODS)
    assert again.exit_code == 0, again.output
    files = contents(out)
    assert files.pop("notes.txt") == b"mine"
    assert files == contents(gallery)


def test_a_tape_and_a_baseline_show_what_was_played_before(checkpoint: Path, gallery: Path, tmp_path: Path) -> None:
    tape = gallery / "tapes" / "episode_1.npz"
    options = ("--tape", tape, "--baseline", checkpoint, "--methods", "attention", "--num-states", 2, "--quick")
    result = invoke(checkpoint, "--out", tmp_path / "x", *options)
    assert result.exit_code == 0, result.output
    page = (tmp_path / "x" / "index.html").read_text()
    own, other = (re.findall(rf">{who}: ([^<]+)<", page) for who in ("agent", "baseline"))
    assert own == other and own, "the same networks see the same"
    assert "taken from files" in page and not (tmp_path / "x" / "tapes").exists()


def test_observations_alone_are_enough(checkpoint: Path, gallery: Path, tmp_path: Path) -> None:
    obs = np.load(gallery / "tapes" / "episode_1.npz")["frames"][:4]
    np.save(tmp_path / "obs.npy", obs)
    result = invoke(checkpoint, "--out", tmp_path / "x", "--states", tmp_path / "obs.npy", "--methods", "attention")
    assert result.exit_code == 0, result.output
    assert "Events, projections, counterfactuals: only of episodes" in result.output
    page = (tmp_path / "x" / "index.html").read_text()
    assert page.count('id="state-') == 4 and "obs.npy, row 3" in page
    assert not re.search(r"episode|agent step<", page.partition('id="states"')[2]), "of which nothing is known"


DOC = re.search(r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs" / "insight.md").read_text(), re.DOTALL)


def test_the_documented_way_to_states_gives_what_the_agent_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = agent_in("ALE/MontezumaRevenge-v5", {"frame_size": 36})
    tape = play(agent, seed=0, max_steps=110)
    monkeypatch.chdir(tmp_path)
    path = Path("gallery/tapes/episode_1.npz")
    path.parent.mkdir(parents=True)
    save_tape(path, tape, agent)
    assert DOC is not None
    exec(DOC[1], {})
    obs, origins = load_observations(["states.npz"], agent)
    np.testing.assert_array_equal(obs, States.of_tape(tape, 0, [20, 60, 100]).obs)
    assert origins == [("states.npz", row) for row in range(3)]
    with pytest.raises(ConfigError, match=f"is a tape, which --states does not read; allowed is --tape {path}"):
        load_observations([str(path)], agent)


def test_a_vector_has_elements_and_no_pixels(vectors: Path, tmp_path: Path) -> None:
    options = ("--methods", "integrated_gradients,occlusion", "--targets", "action", "--num-states", 2)
    result = invoke(vectors, "--out", tmp_path / "x", *options)
    assert result.exit_code == 0, result.output
    page = (tmp_path / "x" / "index.html").read_text().partition("<body>")[2]
    assert "pixel" not in page and "random elements" in page and "What each element adds to the target" in page
    assert "what the agent sees (elements row by row)" in page
    assert "no verdict: blanking changes fewer than 20 elements" in page and "0% to 100%" not in page
    assert "An element that looks as" in page and "Elements are blanked with their means over the states" in page


class Broken(Method):
    """A user's own method with a mistake in it."""

    name: ClassVar[str] = "broken"
    title = source = shows = cannot = "broken"

    def maps(self, agent: Agent, states: States, targets: Sequence[Target]) -> dict[str, Map]:
        """Takes a target that is not there."""
        return {"broken": Map(states.obs, targets[99].name)}


def test_what_breaks_in_a_users_code_is_one_line_and_the_rest_of_the_page_is_written(
    checkpoint: Path, gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "obs.npy", np.load(gallery / "tapes" / "episode_1.npz")["frames"][:2])
    out, methods = tmp_path / "x", "tests.cli.test_explain:Broken,gradcam,integrated_gradients"

    def traced(self: RND) -> Traced:
        return Traced(lambda x: x / 255.0, lambda x: x[:, 99, 99, 99], ())

    monkeypatch.setattr(RND, "traced", traced)
    options = ("--states", tmp_path / "obs.npy", "--methods", methods, "--layer", "conv1.1")
    result = invoke(checkpoint, "--out", out, *options)
    assert result.exit_code == 2 and "Traceback" not in result.output
    lines = result.output.strip().splitlines()
    failed = r"rllib: .*RND.traced\(\) failed: IndexError: .*test_explain.py:\d+, in .*"
    assert re.fullmatch(failed, lines[-1]), lines[-1]
    broken = r"broken: tests.cli.test_explain:Broken.maps\(\) failed: IndexError: .*test_explain.py:\d+, in maps\)"
    assert [line for line in lines if re.search(broken, line)], result.output
    marker, page = json.loads((out / MARKER).read_text()), html.unescape((out / "index.html").read_text())
    maps = {row["map"] for row in marker["maps"]}
    assert maps == {
        f"{method}-{target}{layer}"
        for method, layer in (("gradcam", "-conv1.1"), ("integrated_gradients", ""))
        for target in ("action", "extrinsic_value", "intrinsic_value-rnd")
    }
    assert all(words in page for words in ("Broken.maps() failed", "RND.traced() failed", 'id="state-2"'))
    assert marker["unfinished"] is False


@pytest.mark.parametrize("played", [True, False])
def test_a_reward_that_fails_costs_nothing_but_itself(
    checkpoint: Path, gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, played: bool
) -> None:
    np.save(tmp_path / "obs.npy", np.load(gallery / "tapes" / "episode_1.npz")["frames"][:2])
    out, options = tmp_path / "x", [] if played else ["--states", tmp_path / "obs.npy"]

    def compute(self: RND, rollout: object) -> None:
        raise ValueError("no weights today")

    monkeypatch.setattr(RND, "compute", compute)
    result = invoke(checkpoint, "--out", out, "--quick", "--methods", "attention,occlusion", *options)
    assert result.exit_code == 2 and "Traceback" not in result.output
    assert re.search(r"rllib: .*RND.compute\(\) failed: ValueError: no weights today", result.output)
    maps = {row["map"] for row in json.loads((out / MARKER).read_text())["maps"]}
    rest = {f"occlusion-{name}" for name in ("action", "extrinsic_value", "intrinsic_value-rnd")}
    assert maps >= {"attention-rows", *rest} and not any("intrinsic_reward" in name for name in maps)
    page = html.unescape((out / "index.html").read_text())
    assert (
        "no weights today" in page
        and 'id="state-2"' in page
        and json.loads((out / MARKER).read_text())["unfinished"] is False
    )


def test_a_video_says_what_the_controls_say_of_its_maps(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    out = tmp_path / "x"
    options = ("--quick", "--num-states", 3, "--methods", "feature_maps", "--video", "--video-methods", "attention")
    result = invoke(checkpoint, "--out", out, *options)
    assert result.exit_code == 0, result.output
    page = html.unescape((out / "index.html").read_text())
    (caption,) = re.findall(r'<a href="videos/episodes.mp4">(.*?)</a>', page)
    words = r"Episode 1, with Attention: rows \((better than random|no better than random)(; like untrained \(.*\))?\)"
    assert re.fullmatch(words, caption), caption
    assert "attention-rows" not in {row["map"] for row in json.loads((out / MARKER).read_text())["maps"]}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--methods", "gradcan"], ["--methods", "'gradcan'", "Did you mean 'gradcam'"]),
        (["--methods", ","], ["--methods", "names nothing"]),
        (["--methods", "gradcam,gradcam"], ["--methods", "twice"]),
        (["--targets", "extrinsic_valu"], ["--targets", "Did you mean 'extrinsic_value'", "intrinsic_reward: rnd"]),
        (["--layer", "conv1.2"], ["--layer: unknown layer 'conv1.2'", "Did you mean 'conv1.1'", "conv2.1, image"]),
        (["--layer", "conv1.1", "--methods", "attention"], ["--layer", "gradcam, gradcam_plus_plus", "--methods"]),
        (["--methods", "attention,json:JSONDecoder"], ["--methods", "'json:JSONDecoder' is no explanation method"]),
        (["--projection", "tnse"], ["--projection", "Did you mean 'tsne'"]),
        (["--episodes", "2", "--states", "x.npy"], ["--states", "stands in place of --episodes"]),
        (["--states", "x.npy", "--video"], ["--video", "--states has none"]),
        (["--states", "nowhere.npy"], ["--states nowhere.npy", "there is no such file"]),
        (["--tape", "nowhere.npz"], ["--tape nowhere.npz", "there is no such file"]),
        (["--baseline", "nowhere"], ["--baseline nowhere: there is no such folder"]),
        (["--video-methods", "attention"], ["--video-methods", "--video"]),
        (["--video", "--video-methods", "attentoin"], ["--video-methods: ", "Did you mean 'attention'"]),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(
    checkpoint: Path, tmp_path: Path, options: list[str], words: list[str]
) -> None:
    result = invoke(checkpoint, "--out", tmp_path / "x", *options)
    assert result.exit_code == 2
    line = result.output.strip().splitlines()[-1]
    assert line.startswith("rllib: ") and all(word in line for word in words), line
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("package", "options", "said"),
    [
        ("openTSNE", ["--projection", "tsne"], '--projection: .*"rllib_rnd\\[insight\\]"'),
        ("matplotlib", [], '"rllib_rnd\\[plots\\]"'),
    ],
)
def test_an_extra_that_is_missing_is_told_before_anything_is_played(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, options: list[str], said: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    result = invoke(checkpoint, "--out", tmp_path / "x", *options)
    assert result.exit_code == 2 and len(result.output.strip().splitlines()) == 1
    assert re.search(said, result.output), result.output
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["intrinsic_reward", "intrinsic_value: rnd", "intrinsic_values"])
def test_targets_of_an_agent_without_an_intrinsic_reward(name: str) -> None:
    agent = agent_in("rllib_rnd/Catch-v0")
    line = f"--targets: {name!r} is of an intrinsic reward, and the agent has none. Allowed: action, extrinsic_value."
    with pytest.raises(ConfigError, match=f"^{re.escape(line)}$"):
        chosen_targets(name, {AGENT: agent, UNTRAINED: agent})
    with pytest.raises(ConfigError, match="neither the agent nor the baseline has one"):
        chosen_targets(name, {AGENT: agent, BASELINE: agent})


def test_a_layer_of_a_backbone_without_maps_is_one_line(vectors: Path, tmp_path: Path) -> None:
    result = invoke(vectors, "--out", tmp_path / "x", "--layer", "conv1")
    assert result.exit_code == 2 and "--layer: the backbone mlp has no layer whose output is a map" in result.output


def test_a_baseline_with_other_observations_is_refused(checkpoint: Path, vectors: Path, tmp_path: Path) -> None:
    result = invoke(checkpoint, "--out", tmp_path / "x", "--baseline", vectors)
    assert result.exit_code == 2 and f"--baseline {vectors}: its observation space is" in result.output


def test_a_folder_with_other_files_is_refused_and_left_alone(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    result = invoke(checkpoint, "--out", tmp_path, "--quick")
    assert result.exit_code == 2 and "thesis.tex" in result.output and "no earlier gallery" in result.output
    assert contents(tmp_path) == {"thesis.tex": b"years of work"}


def test_a_gallery_never_writes_over_a_file_that_is_not_its_own(tmp_path: Path) -> None:
    GalleryFolder(tmp_path).write("index.html", b"page")
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "mine.png").write_bytes(b"mine")
    folder = GalleryFolder(tmp_path)
    with pytest.raises(ConfigError, match="is of no gallery"):
        folder.write("maps/mine.png", b"other")
    folder.write("index.html", b"new page")
    folder.finish({})
    assert (tmp_path / "maps" / "mine.png").read_bytes() == b"mine"


def test_a_marker_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    out = tmp_path / "out"
    out.mkdir()
    (out / MARKER).write_text(json.dumps({"made_by": "rllib explain", "files": ["../precious"]}))
    GalleryFolder(out).finish({})
    assert (tmp_path / "precious").exists()


def test_ctrl_c_leaves_what_is_finished(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: Work) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Work, "look_elsewhere", stop)
    result = invoke(checkpoint, "--out", tmp_path / "x", "--quick", "--methods", "attention", "--num-states", 1)
    assert result.exit_code == 130 and "stopped: " in result.output
    page = (tmp_path / "x" / "index.html").read_text()
    assert "Stopped by Ctrl-C" in page and 'id="state-1"' in page
    assert json.loads((tmp_path / "x" / MARKER).read_text())["unfinished"] is True


def tape(length: int) -> Tape:
    return Tape(1, False, is_first=[True, *[False] * length])


def test_states_are_those_of_events_and_evenly_over_time() -> None:
    events = [Event("reward", t, 0, f"event {t}", 1.0, 0, 100) for t in (90, 10, 50)]
    chosen = choose(events, [tape(100), tape(20)], 6)
    assert [(m.episode, m.t) for m in chosen if m.why] == [(0, 10), (0, 50), (0, 90)]
    others = [(m.episode, m.t) for m in chosen if not m.why]
    assert len(others) == 3 and [i for i, _ in others] == [0, 0, 1]
    assert len(choose(events, [tape(100)], 2)) == 2
    assert len(choose([], [tape(3)], 12)) < 12, "no state twice"
