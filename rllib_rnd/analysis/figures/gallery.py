"""One page that shows what was found out about an agent: pictures, curves and words in a single HTML file.

It needs no network, no script and no other file; links to the PNG and MP4 files beside it are all it refers to.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from rllib_rnd.analysis.explanation import LIKE_UNTRAINED
from rllib_rnd.analysis.figures.pages import page_environment

TEMPLATE = "gallery.html.jinja"
_CURVE = (132, 62)  # size of a curve, in pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 6, 6, 6, 14  # room around its lines


@dataclass(frozen=True)
class Unit:
    """What a map has a number for: a pixel of a picture, an element of a vector.

    Attributes:
        one, a, many: in words.
    """

    one: str
    a: str
    many: str

    def of(self, text: str) -> str:
        """A text on pixels, on these instead."""
        text = re.sub(r"\b(a) pixel\b", lambda found: _like(found[1], self.a), text, flags=re.IGNORECASE)
        return re.sub(
            r"\bpixels?\b",
            lambda found: _like(found[0], self.many if found[0].endswith("s") else self.one),
            text,
            flags=re.IGNORECASE,
        )


def _like(before: str, word: str) -> str:
    """A word with a capital letter, if what it stands in place of has one."""
    return word[:1].upper() + word[1:] if before[:1].isupper() else word


PIXEL, ELEMENT = Unit("pixel", "a pixel", "pixels"), Unit("element", "an element", "elements")


@dataclass(frozen=True)
class Picture:
    """A picture in the page.

    Attributes:
        png: the bytes of its file.
        alt: what is on it, for those who cannot see it.
        caption: below it.
        width: in pixels as shown; narrower where there is no room.
        smooth: mixes neighbouring pixels where it is enlarged; else they stay squares.
    """

    png: bytes
    alt: str
    caption: str = ""
    width: int = 168
    smooth: bool = False

    @property
    def uri(self) -> str:
        """The picture itself in place of an address."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


@dataclass(frozen=True)
class Curve:
    """How far a number moves when pixels are blanked.

    Attributes:
        shares: of pixels, each from 0 to 1, growing.
        by_map: mean change when those are blanked that the map ranks first; of an intrinsic reward how far it falls,
            below zero where it rises.
        by_random: when as many random ones are.
        better: the map finds pixels that matter more than random ones, over all states; None: that cannot be told.
        why: it cannot be told.
        here: so it does at this state alone; None: the curve is of all states.
        untrained: rank correlation of the map with that of untrained weights; NaN if it is not known.
        unit: what is blanked.
    """

    shares: Sequence[float]
    by_map: Sequence[float]
    by_random: Sequence[float]
    better: bool | None
    here: bool | None = None
    untrained: float = math.nan
    why: str = ""
    unit: Unit = PIXEL

    @property
    def like_untrained(self) -> bool:
        """Whether the map shows the picture and the architecture rather than what was learned."""
        return self.untrained >= LIKE_UNTRAINED

    @property
    def words(self) -> str:
        """The verdict."""
        if self.better is None:
            return f"no verdict: {self.unit.of(self.why)}"
        random = f"better than random {self.unit.many}"
        if not self.better:
            return f"no {random}"
        if self.like_untrained:
            return f"{random}, but like untrained ({self.untrained:.2f})"
        return random + (", not so at this state" if self.here is False else "")

    @property
    def svg(self) -> Markup:
        """The drawing: both start at no change for no pixel."""
        width, height = _CURVE
        every = [0.0, *self.by_map, *self.by_random]
        low, span = min(every), max(max(every) - min(every), 1e-12)
        end = max(self.shares)

        def row(change: float) -> float:
            return height - _BOTTOM - (change - low) / span * (height - _TOP - _BOTTOM)

        def points(changes: Sequence[float]) -> str:
            pairs = [(0.0, 0.0), *zip(self.shares, changes, strict=True)]
            places = [(_LEFT + share / end * (width - _LEFT - _RIGHT), row(change)) for share, change in pairs]
            return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)

        words = ", ".join(
            f"{share:.0%}: {a:.3g} against {b:.3g}"
            for share, a, b in zip(self.shares, self.by_map, self.by_random, strict=True)
        )
        return Markup(
            '<svg class="curve" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" aria-label="{label}">'
            "<title>{label}</title>"
            '<line class="axis" x1="{left}" y1="{base}" x2="{right}" y2="{base}"/>'
            '<polyline class="random" points="{random}"/><polyline class="map" points="{map}"/>'
            '<text x="{left}" y="{low}">0</text><text x="{right}" y="{low}" text-anchor="end">{end}</text></svg>'
        ).format(
            w=width,
            h=height,
            label=f"Change when {self.unit.many} are blanked, by the map against random. {words}",
            left=_LEFT,
            right=width - _RIGHT,
            base=f"{row(0.0):.1f}",
            low=height - 3,
            random=points(self.by_random),
            map=points(self.by_map),
            end=f"{end:.0%}",
        )


@dataclass(frozen=True)
class ShownMap:
    """One map of one state, as every agent has it.

    Attributes:
        title: of the map.
        target: the number that it explains; "" of attention and feature maps.
        pictures: the overlays, by agent.
        curve: of the agent; None where there is none.
    """

    title: str
    target: str
    pictures: Mapping[str, Picture]
    curve: Curve | None = None


@dataclass(frozen=True)
class ShownState:
    """One observation and everything that was found about it.

    Attributes:
        name: of it.
        facts: label -> text.
        pictures: the game, and what the agent sees.
        maps: of it.
    """

    name: str
    facts: Mapping[str, str]
    pictures: Sequence[Picture]
    maps: Sequence[ShownMap]

    @property
    def targets(self) -> dict[str, list[ShownMap]]:
        """The maps by the number they explain."""
        found: dict[str, list[ShownMap]] = {}
        for shown in self.maps:
            found.setdefault(shown.target, []).append(shown)
        return found


@dataclass(frozen=True)
class Strip:
    """The frames around an event.

    Attributes:
        title: what happened, and when.
        pictures: in the order of time.
        moment: index of the one at which it happened.
    """

    title: str
    pictures: Sequence[Picture]
    moment: int


@dataclass(frozen=True)
class MethodText:
    """What a method is.

    Attributes:
        name: for ``--methods``.
        title, shows, cannot, source: see `Method`.
        files: name -> path of its PNG grids.
    """

    name: str
    title: str
    shows: str
    cannot: str
    source: str
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """The deletion curve of one map over all states.

    Attributes:
        title: of the map.
        target: the number that was watched.
        curve: means over states; ``better`` of all states together.
        wins_random, wins_moved: how often the map's pixels change the number more than random ones, and more than the
            same shape elsewhere: mean, lower and upper end of the 95 % interval over states.
        untrained: rank correlation with the map of the untrained network; NaN: not known.
    """

    title: str
    target: str
    curve: Curve
    wins_random: tuple[float, float, float]
    wins_moved: tuple[float, float, float]
    untrained: float

    @property
    def wins(self) -> list[str]:
        """Both shares in words; "-" where there is no verdict, for nothing was compared that could give one."""
        if self.curve.better is None:
            return ["-", "-"]
        return [f"{mean:.0%} ({low:.0%} to {high:.0%})" for mean, low, high in (self.wins_random, self.wins_moved)]

    @property
    def likeness(self) -> str:
        """The rank correlation in words."""
        return "-" if math.isnan(self.untrained) else f"{self.untrained:.2f}"

    @property
    def pairs(self) -> list[tuple[float, float]]:
        """Change by the map, change by random pixels; for each share."""
        return list(zip(self.curve.by_map, self.curve.by_random, strict=True))


@dataclass(frozen=True)
class Before:
    """A change of the game itself and what it did to the agent's outputs.

    Attributes:
        title: what was changed.
        pictures: before, after.
        changes: name of the output, before, after.
    """

    title: str
    pictures: Sequence[Picture]
    changes: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Figure:
    """A large picture.

    Attributes:
        title: above it.
        picture: itself.
        file: path of its file, or "".
    """

    title: str
    picture: Picture
    file: str = ""


@dataclass(frozen=True)
class Gallery:
    """What the page shows, in its order.

    Attributes:
        title: of the page.
        facts: of the agent and of what was played, label -> text.
        notes: what does not apply, each with its reason.
        verdicts: which maps can be believed.
        rule: when a map counts as better than random, and what pixels are blanked with.
        strips: of the events.
        states: that were looked into.
        agents: whose maps stand side by side, the agent first.
        counterfactuals: of the game.
        figures: projections and spectra.
        methods: used.
        videos: name -> path.
        scales: pictures of the two colour scales, unsigned and signed.
        unfinished: what Ctrl-C left out, or "".
        unit: what the maps have numbers for.
    """

    title: str
    facts: Mapping[str, str]
    agents: Sequence[str]
    scales: Sequence[Picture]
    notes: Sequence[str] = ()
    verdicts: Sequence[Verdict] = ()
    rule: str = ""
    strips: Sequence[Strip] = ()
    states: Sequence[ShownState] = ()
    counterfactuals: Sequence[Before] = ()
    figures: Sequence[Figure] = ()
    methods: Sequence[MethodText] = ()
    videos: Mapping[str, str] = field(default_factory=dict)
    unfinished: str = ""
    unit: Unit = PIXEL


def render(gallery: Gallery) -> str:
    """The page as HTML."""
    return page_environment().get_template(TEMPLATE).render(gallery=gallery)
