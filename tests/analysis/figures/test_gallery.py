"""The page: complete, self-contained, and readable at every width, in light and in dark."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rllib_rnd.analysis.figures.gallery import (
    Before,
    Curve,
    Figure,
    Gallery,
    MethodText,
    Picture,
    ShownMap,
    ShownState,
    Strip,
    Verdict,
    render,
)
from rllib_rnd.analysis.figures.pictures import png
from tests.analysis.browser import CHROMIUM, WIDTHS, Tags, measured

GOOD = Curve((0.05, 0.1, 0.2), (0.3, 0.5, 0.6), (0.1, 0.1, 0.2), True)
BAD = Curve((0.05, 0.1, 0.2), (0.1, 0.1, 0.1), (0.1, 0.2, 0.2), False)


def picture(caption: str = "") -> Picture:
    rng = np.random.default_rng(0)
    return Picture(png(rng.integers(0, 255, (84, 84, 3), dtype=np.uint8)), f"noise {caption}", caption)


def page(agents: int = 3) -> Gallery:
    """One of everything, with names as long as they come."""
    people = ("agent", "untrained", "baseline")[:agents]
    long = "Integrated gradients of the intrinsic reward: a_plug_in_with_a_name_that_nobody_would_want_to_type_twice"
    pictures = {who: picture(f"{who}: -0.00123 to 0.00123") for who in people}
    maps = [ShownMap(long, "action", pictures, GOOD), ShownMap("Attention", "", pictures, BAD)]
    maps += [ShownMap("Softmax matrix", "", {"agent": picture("agent: constant 0.05")})]
    facts = {"episode": "1", "agent step": "1,234", "action": "RIGHTFIRE", "extrinsic value": "0.1234"}
    frames = [picture(f"{i:+d}") for i in range(-3, 4)]
    return Gallery(
        title="What the agent of ALE/MontezumaRevenge-v5 attends to <b>&",
        facts={"checkpoint": "run / variant=SWA, seed=0 / checkpoint_000012", "agent steps trained": "1,000,000"},
        agents=people,
        scales=[picture("little to much"), picture("against, for")],
        notes=["Attention: the backbone nature_cnn has none"],
        verdicts=[
            Verdict(long, "action", GOOD, (0.9, 0.8, 1.0), (0.8, 0.7, 0.9), 0.12),
            Verdict("Attention", "action", BAD, (0.5, 0.3, 0.7), (0.4, 0.2, 0.6), float("nan")),
        ],
        rule="Better than random: blanking what the map shows changes the target more often than not.",
        strips=[Strip("First visit of room 3 (episode 1, agent step 1,234)", frames, 3)],
        states=[ShownState(f"State {i}: first visit of room {i}", facts, frames[:2], maps) for i in (1, 2)],
        counterfactuals=[Before("The key taken away", frames[:2], [("extrinsic value", "0.12", "0.01")])],
        figures=[Figure("PCA of the features: policy", replace(picture(), width=1100), "features/pca.svg")],
        methods=[MethodText("gradcam", "Grad-CAM", "Regions.", "Detail.", "A paper", {"Grad-CAM": "maps/gradcam.png"})],
        videos={"Episode 1": "videos/episode_1.mp4"},
        unfinished="Stopped by Ctrl-C.",
    )


def test_the_page_is_whole_and_needs_nothing_but_the_files_it_links_to() -> None:
    text = render(page())
    tags = Tags(text).seen
    assert not {"script", "link", "iframe", "object", "embed"} & {tag for tag, _ in tags}
    assert not re.search(r"https?://|@import|url\(", text)
    sources = [attributes["src"] or "" for tag, attributes in tags if tag == "img"]
    assert len(sources) == 2 + 7 + 2 * (2 + 3 + 3 + 1) + 2 + 1
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert all(attributes.get("alt") for tag, attributes in tags if tag == "img")
    links = {attributes["href"] or "" for tag, attributes in tags if tag == "a"}
    files = {link for link in links if not link.startswith("#")}
    assert files == {"features/pca.svg", "maps/gradcam.png", "videos/episode_1.mp4"}
    ids = {attributes["id"] for _, attributes in tags if "id" in attributes}
    assert {link[1:] for link in links - files} <= ids
    assert "v5 attends to &lt;b&gt;&amp;" in text, "text is text"


def test_the_page_says_which_maps_are_no_better_than_random() -> None:
    state = replace(page().states[0], maps=page().states[0].maps[:2])
    text = render(replace(page(), states=[state], verdicts=[]))
    marks = re.findall(
        r"(Attention|Integrated gradients[^<]*)</div>.*?>(no better|better) than random", text, re.DOTALL
    )
    assert [mark for _, mark in marks] == ["better", "no better"]
    assert text.count("no better than random pixels</span>") == 1


def test_a_map_without_a_verdict_says_why() -> None:
    why = "blanking changes fewer than 20 pixels"
    row = replace(page().verdicts[1], curve=replace(BAD, better=None, why=why))
    text = render(replace(page(), states=[], verdicts=[row]))
    assert f'<span class="warn">no verdict: {why}</span>' in text and "than random pixels</span>" not in text


def test_a_page_of_almost_nothing_is_whole_too() -> None:
    bare = Gallery("Nothing", {}, ["agent"], [])
    tags = Tags(render(bare)).seen
    assert not [tag for tag, _ in tags if tag in ("img", "article")]


def test_curves_start_at_zero_and_share_one_scale() -> None:
    lines = {name: text for name, text in re.findall(r'polyline class="(\w+)" points="([^"]+)"', str(GOOD.svg))}
    places = {name: [tuple(map(float, p.split(","))) for p in text.split()] for name, text in lines.items()}
    assert places["map"][0] == places["random"][0]
    bottom, top = places["map"][0][1], places["map"][-1][1]
    np.testing.assert_allclose([(bottom - y) / (bottom - top) for _, y in places["map"]], [0, 0.5, 5 / 6, 1], atol=0.01)
    np.testing.assert_allclose(
        [(bottom - y) / (bottom - top) for _, y in places["random"]], [0, 1 / 6, 1 / 6, 1 / 3], atol=0.01
    )
    xs = [x for x, _ in places["map"]]
    np.testing.assert_allclose(np.diff(xs) / (xs[-1] - xs[0]), [0.25, 0.25, 0.5], atol=0.01)


def test_a_curve_below_zero_stays_below_the_line_of_no_change() -> None:
    drawn = str(Curve((0.1, 0.2), (1.0, 2.0), (-1.0, -2.0), True).svg)
    base = float(re.findall(r'class="axis" x1="[\d.]+" y1="([\d.]+)"', drawn)[0])
    for name, sign in (("map", 1.0), ("random", -1.0)):
        (text,) = re.findall(rf'class="{name}" points="([^"]+)"', drawn)
        heights = [base - float(point.split(",")[1]) for point in text.split()]
        np.testing.assert_allclose(heights, [0.0, sign * 10.5, sign * 21.0], atol=0.1)


# --- in a browser ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here to open the page in")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_overflows_and_everything_can_be_read_in_a_browser(tmp_path: Path, dark: bool) -> None:
    rows = measured(render(page()), tmp_path, dark)
    assert [row["width"] for row in rows] == list(WIDTHS)
    for row in rows:
        assert row["content"] <= row["width"] and not row["wide"], row
        assert row["contrast"][0] >= 4.5, row["contrast"]
        assert row["texts"] > 100 and row["loaded"] and row["images"] > 20
        assert (row["page"] < 0.1) == dark, "the page is as dark as the reader wants it"


def test_a_map_like_that_of_untrained_weights_is_marked_so() -> None:
    drawn = [replace(GOOD, untrained=likeness) for likeness in (0.95, 0.2)]
    assert [curve.like_untrained for curve in drawn] == [True, False]
    one, other = (render(replace(page(), verdicts=[replace(page().verdicts[0], curve=curve)])) for curve in drawn)
    assert "better than random pixels, but like untrained (0.95)" in one and "but like untrained" not in other
