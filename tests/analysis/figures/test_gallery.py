"""The page: complete, self-contained, and readable at every width, in light and in dark."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

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

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDTHS = (400, 900, 1600)
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
            Verdict(long, "action", GOOD, (0.9, 0.8, 1.01), (0.8, 0.7, 0.9), 0.12),
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


class Tags(HTMLParser):
    """Every tag with its attributes; complains of what is not closed in its turn."""

    VOID = ("meta", "img", "br", "line", "polyline")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another"


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

# Of every frame: how wide its content is, and the least contrast of a text with what is behind it (WCAG 2.2).
MEASURE = """
const levels = text => text.match(/[\\d.]+/g).map(Number);
const linear = x => x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4;
const light = c => { const [r, g, b] = c.map(x => linear(x / 255));
  return .2126 * r + .7152 * g + .0722 * b; };
function behind(element) {
  for (; element; element = element.parentElement) {
    const c = levels(getComputedStyle(element).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c;
  }
  return [255, 255, 255];
}
function measure(frame) {
  const page = frame.contentDocument, texts = [];
  for (const details of page.querySelectorAll("details")) details.open = true;
  for (const element of page.body.querySelectorAll("*")) {
    if (![...element.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    if (element.matches("title")) continue;
    const style = getComputedStyle(element);
    const [a, b] = [levels(element.closest("svg") ? style.fill : style.color), behind(element)].map(light);
    texts.push([(Math.max(a, b) + .05) / (Math.min(a, b) + .05), element.textContent.slice(0, 40)]);
  }
  const wide = [...page.querySelectorAll("body *")].filter(e => !e.closest(".scroll") || e.matches(".scroll"))
    .filter(e => e.getBoundingClientRect().right > frame.clientWidth + 0.5).map(e => e.outerHTML.slice(0, 80));
  return {width: frame.clientWidth, content: page.documentElement.scrollWidth, wide: wide.slice(0, 3),
    texts: texts.length, contrast: texts.reduce((x, y) => y[0] < x[0] ? y : x), page: light(behind(page.body)),
    loaded: [...page.images].every(i => i.complete && i.naturalWidth > 0), images: page.images.length};
}
onload = () => { document.title = "measured";
  document.querySelector("pre").textContent = JSON.stringify([...document.querySelectorAll("iframe")].map(measure)); };
"""


def measured(text: str, folder: Path, dark: bool) -> list[dict[str, Any]]:
    """The page in a real browser at all widths."""
    frames = "".join(
        f'<iframe srcdoc="{html.escape(text)}" style="border:0;width:{w}px;height:900px"></iframe>' for w in WIDTHS
    )
    path = folder / "measure.html"
    path.write_text(
        "<meta charset=utf-8><style>:root{color-scheme:light dark}</style>"
        f"<pre></pre>{frames}<script>{MEASURE}</script>"
    )
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    options += " --disable-component-update --disable-sync --hide-scrollbars --window-size=1700,1000"
    options += " --virtual-time-budget=5000 --blink-settings=preferredColorScheme=" + ("0" if dark else "1")
    command = [str(CHROMIUM), *options.split(), f"--user-data-dir={folder / 'profile'}", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r"<pre>(.+?)</pre>", done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    return json.loads(html.unescape(found[1]))


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
