"""Pages of this package in a real browser, and as a parser sees them."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDTHS = (400, 900, 1600)


class Tags(HTMLParser):
    """Every tag with its attributes; complains of what is not closed in its turn."""

    VOID = ("meta", "img", "br", "line", "polyline", "input")

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
