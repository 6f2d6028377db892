"""One figure in three forms: inline SVG in the colours of the page around it, an SVG file, and a PNG file.

The same data makes the same bytes: no date, no random ids.
"""

from __future__ import annotations

import base64
import functools
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from rllib_rnd.analysis.extras import import_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colours of lines on a light and on a dark page, in pairs that are as easy to tell apart on either.
LIGHT = ("#0b62a8", "#b3400e", "#17683a", "#7a3e9d", "#8a6d00", "#a3195b", "#00707a", "#5a6270")
DARK = ("#7cbcf5", "#f5a15f", "#7bd69c", "#cda2ee", "#e6cf5a", "#f48bbd", "#5fd3de", "#a3abb9")
Dashes = str | tuple[float, tuple[float, ...]]
_DOT = (1.5, 1.5)
DASHES: tuple[Dashes, ...] = ("-", (0, (5, 2)), (0, _DOT), (0, (5, 1.5, *_DOT)), (0, (5, 1.5, *_DOT, *_DOT)))
TEXT, GRID = "#1c2024", "#c9ced6"  # letters and axes; lines behind the data
_DPI = 130
_FAST = {"compress_level": 3}  # a few kB more in half of the time
_CSS_PIXELS = 4.0 / 3.0  # of a point
_LEAST = 0.75  # of its width, down to which a figure shrinks; narrower screens scroll
# The page's own colours, which are known where it is read only.
_VARIABLES = {TEXT: "var(--text)", GRID: "var(--grid)"} | {c: f"var(--line-{i})" for i, c in enumerate(LIGHT)}


def line_style(index: int) -> tuple[str, Dashes]:
    """Colour and dashes of the variant with this number; neighbours differ in both.

    Dashes, since lines of equal values lie on each other: what is below is seen through the gaps of what is above.
    """
    return LIGHT[index % len(LIGHT)], DASHES[index % len(DASHES)]


@dataclass(frozen=True)
class Chart:
    """A figure that is still to be drawn.

    Attributes:
        name: of its files, without a suffix; different for each chart of a page.
        alt: what is on it, for those who cannot see it.
        draw: draws it, in `LIGHT`, `TEXT` and `GRID` alone.
        caption: below it.
    """

    name: str
    alt: str
    draw: Callable[[], Figure]
    caption: str = ""

    @functools.cached_property
    def _drawn(self) -> tuple[str, bytes]:
        """SVG without a background, and PNG on white."""
        figure, svg, png = self.draw(), io.StringIO(), io.BytesIO()
        with settled():
            engine = figure.get_layout_engine()
            if engine is not None:
                engine.execute(figure)
            figure.set_layout_engine("none")  # all is in its place, and need not be put there twice
            figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
            figure.patch.set_alpha(1.0)  # which `facecolor` leaves as it is
            figure.savefig(
                png, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None}, pil_kwargs=_FAST
            )
        return svg.getvalue(), png.getvalue()

    @property
    def inline(self) -> Markup:
        """For the page: SVG whose colours are the page's."""
        text = self._drawn[0]
        text = text[text.index("<svg") :]
        for colour, variable in _VARIABLES.items():
            text = text.replace(colour, variable)
        # Ids are of one page: those of its other figures must be others.
        text = re.sub(r'((?<=\bid=")|(?<=url\(#)|(?<=href="#))', f"{self.name}-", text)
        text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
        text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
        found = re.search(r'width="([\d.]+)pt"', text)
        width = float(found[1]) * _CSS_PIXELS if found else 0.0
        text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
        size = f"max-width:{width:.0f}px;min-width:{_LEAST * width:.0f}px"
        head = f'<svg class="chart" role="img" aria-label="{escape(self.alt)}" style="{size}"'
        return Markup(text.replace("<svg", head, 1).strip())

    def files(self) -> dict[str, bytes]:
        """Name -> bytes of an SVG and a PNG file, both on white."""
        svg, png = self._drawn
        svg = svg.replace("<svg", '<svg style="background:white"', 1)
        return {f"{self.name}.svg": svg.encode(), f"{self.name}.png": png}


@dataclass(frozen=True)
class Picture:
    """A picture that is drawn already, on white.

    Attributes:
        name: of its file, without a suffix.
        alt: what is on it.
        png: the bytes of its file.
        caption: below it.
    """

    name: str
    alt: str
    png: bytes
    caption: str = ""

    @property
    def inline(self) -> Markup:
        """For the page: the picture itself in place of an address."""
        code = base64.b64encode(self.png).decode()
        return Markup('<img src="data:image/png;base64,{}" alt="{}">').format(code, self.alt)

    def files(self) -> dict[str, bytes]:
        """Name -> bytes of a PNG file."""
        return {f"{self.name}.png": self.png}


@contextmanager
def settled() -> Iterator[None]:
    """Settings of matplotlib by which the same figure has the same bytes, whatever a user has set.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    import_extra("matplotlib.figure", "pictures", "plots")
    import matplotlib as mpl

    with mpl.rc_context(), mpl.rc_context({"svg.hashsalt": "rllib_rnd", "svg.fonttype": "none", "font.size": 9.0}):
        yield


def blank(width: float, height: float) -> Figure:
    """A figure of so many inches, see-through.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    with settled():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0.0)
    return figure


def dress(axes: Axes) -> None:
    """Gives axes the colours of figures and a quiet frame; call it when all is drawn."""
    axes.set_facecolor("none")
    for side, spine in axes.spines.items():
        spine.set_color(TEXT)
        spine.set_visible(side in ("left", "bottom"))
    axes.tick_params(colors=TEXT, which="both")
    axes.grid(color=GRID, linewidth=0.6, alpha=0.7)
    axes.set_axisbelow(True)
    for label in (axes.xaxis.label, axes.yaxis.label, axes.title, axes.xaxis.offsetText, axes.yaxis.offsetText):
        label.set_color(TEXT)


def name_panel(axes: Axes, title: str) -> None:
    """A small title at the left."""
    axes.set_title(title, fontsize=9.5, loc="left", color=TEXT)


def legend(figure: Figure, axes: Axes, most: int = 28) -> None:
    """Names of what is drawn, outside at the right, where long ones are cut in the middle."""
    handles, names = axes.get_legend_handles_labels()
    if not handles:
        return
    figure.legend(
        handles, [short(name, most) for name in names], loc="outside right upper", frameon=False,
        labelcolor=TEXT, fontsize=8.5, handlelength=2.6,
    )  # fmt: skip


def short(name: str, most: int = 28) -> str:
    """A name of at most so many letters: the beginning and the end of a longer one."""
    if len(name) <= most:
        return name
    end = (most - 1) // 3
    return f"{name[: most - 1 - end]}…{name[-end:]}"
