"""Draws where runs have been: timelines of new places, and maps of rooms or of the cells of a grid.

Numbers are agent steps (in Atari 1 agent step = 4 frames). All is drawn on a bare matplotlib `Figure`: pyplot, its
backend and its open figures are left alone. matplotlib is imported by the functions that draw (extra ``[plots]``).
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rllib_rnd.analysis.extras import import_extra
from rllib_rnd.envs.info import PLACES, POSITION, ROOM
from rllib_rnd.sampling.episodes import PlaceHistory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import ColorType

MONTEZUMA = ("ALE/MontezumaRevenge-v5", "MontezumaRevengeNoFrameskip-v4")
PYRAMID = (range(0, 3), range(3, 8), range(8, 15), range(15, 24))  # the rooms of level 1, from the top
START_ROOM = 1

WALL_COLOUR = "#4a4a4a"
START_COLOUR = "#d62728"
_HOLLOW_COLOUR = "#b0b0b0"  # edges and numbers of rooms never visited
_ROOM_SIDE = 0.9  # of a room's square; the rest is the gap to the next
_MOST_TICKS = 20  # room numbers below a bar chart
_NOTE_WIDTH = 80  # characters of a line below a map
# Lines of equal timelines lie on each other: what is below is seen through gaps, and beside lines that are thinner.
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 1.5, 1.5, 1.5)))
_LINE_WIDTHS = (2.6, 1.5, 0.8)  # of the first runs, as many as there are dashes, of the next, of all others
_MOST_IDS = 4  # places first seen in the same iteration that one label names


@dataclass(frozen=True)
class RunPlaces:
    """Where one run has been.

    Attributes:
        name: what the legend calls it.
        agent_steps: of the whole run.
        places: history by kind of place, ``room`` or ``position``.
    """

    name: str
    agent_steps: int
    places: Mapping[str, PlaceHistory]


@dataclass(frozen=True)
class CellGrid:
    """The grid that an environment's ``info["position"]`` counts through, row by row.

    Attributes:
        shape: (rows, columns).
        walls: ``[rows, columns]`` bool, cells that nobody can be in; None if not known.
    """

    shape: tuple[int, int]
    walls: np.ndarray | None = None

    def same(self, other: CellGrid) -> bool:
        """Whether both have the same cells and walls."""
        return self.shape == other.shape and np.array_equal(self._solid(), other._solid())

    def num_cells(self) -> int:
        """Cells that are not walls."""
        return int(np.count_nonzero(~self._solid()))

    def _solid(self) -> np.ndarray:
        return np.zeros(self.shape, dtype=bool) if self.walls is None else self.walls


def kinds_of(runs: Iterable[RunPlaces]) -> list[str]:
    """Returns the kinds of places that any of the runs has visited, rooms first."""
    runs = list(runs)
    return [kind for kind in PLACES if any(kind in run.places and run.places[kind].visits for run in runs)]


def first_visits(history: PlaceHistory) -> list[tuple[int, list[int]]]:
    """Returns (agent steps, ids first seen then), earliest first."""
    groups: dict[int, list[int]] = {}
    for place, agent_steps in history.first_visit.items():
        groups.setdefault(agent_steps, []).append(place)
    return [(agent_steps, sorted(groups[agent_steps])) for agent_steps in sorted(groups)]


def exploration_figure(runs: Sequence[RunPlaces], env_id: str, grid: CellGrid | None = None) -> Figure:
    """Draws for each kind of place a timeline with one line per run, and beside it a map of all runs' visits summed.

    The map is the pyramid for Montezuma's Revenge, bars for the rooms of other games, and a heat map for positions
    with a known grid; positions without one have a timeline only.

    Args:
        runs: at least one, of the same environment; at least one of them has visited a place.
        env_id: the environment's name.
        grid: what positions count through, or None if it is not known.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    import_extra("matplotlib.figure", "pictures", "plots")
    from matplotlib.figure import Figure

    kinds = kinds_of(runs)
    figure = Figure(figsize=(14.0, 5.0 * len(kinds)), layout="constrained")
    name = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    figure.suptitle(f"{env_id}: {name}")
    cells = figure.add_gridspec(len(kinds), 2, width_ratios=(1.0, 1.1))
    for row, kind in enumerate(kinds):
        with_map = kind == ROOM or grid is not None
        # Subfigures, so that a colour bar beside or below a map takes no room from the timeline.
        draw_timeline(figure.add_subfigure(cells[row, 0] if with_map else cells[row, :]).subplots(), runs, kind)
        if not with_map:
            continue
        axes, visits = figure.add_subfigure(cells[row, 1]).subplots(), summed_visits(runs, kind)
        if kind == POSITION and grid is not None:
            draw_grid(axes, visits, grid)
        elif env_id in MONTEZUMA:
            draw_pyramid(axes, visits)
        else:
            draw_bars(axes, visits)
    _hide_overlapping_labels(figure)
    return figure


def summed_visits(runs: Iterable[RunPlaces], kind: str) -> dict[int, int]:
    """Returns the agent steps that all runs together spent at each place of a kind."""
    total: Counter[int] = Counter()
    for run in runs:
        if kind in run.places:
            total.update(run.places[kind].visits)
    return dict(total)


def draw_timeline(axes: Axes, runs: Sequence[RunPlaces], kind: str) -> None:
    """Draws the number of different places seen against the agent steps of the run, one step line per run.

    New rooms are labelled with their ids; ids of positions say nothing to a reader and are left out.
    """
    from matplotlib.ticker import EngFormatter, MaxNLocator

    for i, run in enumerate(runs):
        groups = first_visits(run.places[kind]) if kind in run.places else []
        steps = [0, *(agent_steps for agent_steps, _ in groups), run.agent_steps]
        counts = np.cumsum([0, *(len(ids) for _, ids in groups), 0])
        turn, dashes = divmod(i, len(_DASHES))
        width = _LINE_WIDTHS[min(turn, len(_LINE_WIDTHS) - 1)]
        (line,) = axes.step(steps, counts, where="post", label=run.name, linewidth=width, linestyle=_DASHES[dashes])
        if kind == ROOM:
            _label_new_rooms(axes, groups, line.get_color())
    axes.set_title(f"different {kind}s seen")
    axes.set_xlabel("agent steps")
    axes.set_ylabel(f"{kind}s")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.03, y=0.08)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    if len(runs) > 1:
        axes.legend(loc="lower right", fontsize=8, handlelength=4)


def _label_new_rooms(axes: Axes, groups: Sequence[tuple[int, list[int]]], colour: ColorType) -> None:
    count = 0
    for agent_steps, ids in groups:
        count += len(ids)
        label = axes.annotate(
            _id_label(ids),
            (agent_steps, count),
            xytext=(-2, 1),  # up and to the left of the corner, where the line never comes by
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=8,
            color=colour,
        )
        label.set_in_layout(False)


def _id_label(ids: Sequence[int]) -> str:
    shown = ", ".join(str(place) for place in ids[:_MOST_IDS])
    return shown if len(ids) <= _MOST_IDS else f"{shown} +{len(ids) - _MOST_IDS}"


def _hide_overlapping_labels(figure: Figure) -> None:
    """Keeps of the timelines' labels those that fit: none over an earlier one, none beyond its axes."""
    from matplotlib.text import Annotation

    figure.draw_without_rendering()  # sizes are known after the layout only
    for axes in figure.axes:
        kept: list[Any] = []
        frame = axes.get_window_extent()
        for label in [text for text in axes.texts if isinstance(text, Annotation)]:
            box = label.get_window_extent()
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in kept):
                kept.append(box)
            else:
                label.remove()


def draw_pyramid(axes: Axes, visits: Mapping[int, int]) -> None:
    """Draws level 1 of Montezuma's Revenge: visited rooms coloured, the others hollow, the start room marked.

    Args:
        axes: to draw on.
        visits: room -> agent steps spent there; rooms that are not of this level are listed in a note.
    """
    from matplotlib.patches import Rectangle

    colours = _colours(visits)
    for y, rooms in enumerate(PYRAMID):
        for x, room in enumerate(rooms, start=-(len(rooms) // 2)):
            steps = visits.get(room, 0)
            fill = colours.to_rgba(steps) if steps else "none"
            corner = (x - _ROOM_SIDE / 2, y - _ROOM_SIDE / 2)
            is_start = room == START_ROOM
            axes.add_patch(
                Rectangle(
                    corner,
                    _ROOM_SIDE,
                    _ROOM_SIDE,
                    facecolor=fill,
                    edgecolor=START_COLOUR if is_start else _HOLLOW_COLOUR if not steps else "black",
                    linewidth=2.5 if is_start else 1.0,
                    gid=f"room {room}",  # its id in an SVG
                )
            )
            text_colour = _readable_on(fill) if steps else _HOLLOW_COLOUR
            axes.text(x, y, str(room), ha="center", va="center", color=text_colour, fontsize=11)
            if is_start:
                axes.text(x, y + 0.3, "start", ha="center", va="center", color=text_colour, fontsize=7)
    widest = len(PYRAMID[-1]) / 2
    axes.set(xlim=(-widest, widest), ylim=(len(PYRAMID) - 0.5, -0.5), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    known = {room for rooms in PYRAMID for room in rooms}
    axes.set_title(f"{len(known & set(visits))} of {len(known)} rooms of level 1")
    axes.set_xlabel(_note("other rooms", {room: steps for room, steps in visits.items() if room not in known}))
    _colour_bar(axes, colours, "horizontal")


def draw_bars(axes: Axes, visits: Mapping[int, int]) -> None:
    """Draws the agent steps spent in each room (log scale), by room id."""
    rooms = sorted(visits)
    axes.bar(range(len(rooms)), [visits[room] for room in rooms], color="tab:blue")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.5)  # a room seen for one step has a bar too
    every = -(-len(rooms) // _MOST_TICKS)
    axes.set_xticks(range(0, len(rooms), every), [str(room) for room in rooms[::every]])
    axes.set_title(f"{len(rooms)} rooms visited")
    axes.set_xlabel("room")
    axes.set_ylabel("agent steps spent there")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def draw_grid(axes: Axes, visits: Mapping[int, int], grid: CellGrid) -> None:
    """Draws the cells coloured by agent steps spent there (log scale), blank where never, walls dark.

    Args:
        axes: to draw on.
        visits: cell (row * columns + column) -> agent steps spent there; cells beyond the grid are listed in a note.
        grid: its shape and walls.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.ticker import MaxNLocator

    rows, columns = grid.shape
    inside = {cell: steps for cell, steps in visits.items() if cell < rows * columns}
    steps_in = np.zeros(rows * columns)
    steps_in[list(inside)] = list(inside.values())
    if grid.walls is not None:
        axes.imshow(np.ma.masked_equal(grid.walls, False), cmap=ListedColormap([WALL_COLOUR]))
    colours = _colours(inside)
    axes.imshow(np.ma.masked_equal(steps_in.reshape(grid.shape), 0), cmap=colours.cmap, norm=colours.norm)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(f"coverage: {len(inside)} of {grid.num_cells()} cells")
    axes.set_ylabel("row")
    outside = _note("positions beyond the grid", {cell: visits[cell] for cell in visits if cell not in inside})
    axes.set_xlabel(f"column\n{outside}" if outside else "column")
    _colour_bar(axes, colours, "vertical")


def _colours(visits: Mapping[int, int]) -> Any:
    """A log scale from the fewest agent steps to the most; its lowest colour is lighter than walls, darker than blank.

    It spans a factor of two at least, so that places of nearly the same number are of nearly the same colour.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    colours = LinearSegmentedColormap.from_list("visits", colormaps["viridis"](np.linspace(0.2, 1.0, 256)))
    most = max(visits.values(), default=1)
    return ScalarMappable(LogNorm(min([most / 2, *visits.values()]), most), colours)


def _colour_bar(axes: Axes, colours: object, orientation: str) -> None:
    from matplotlib.ticker import LogFormatterSciNotation

    figure: Any = axes.get_figure()
    bar = figure.colorbar(colours, ax=axes, orientation=orientation, label="agent steps spent there", shrink=0.8)
    # A scale of a decade or two would have one number: marks between powers of ten get theirs, too.
    bar.minorformatter = LogFormatterSciNotation(minor_thresholds=(2.0, 0.5))


def _readable_on(colour: Any) -> str:
    """Black or white, whichever stands out from an RGBA colour."""
    luminance = float(np.dot(colour[:3], (0.299, 0.587, 0.114)))
    return "black" if luminance > 0.5 else "white"


def _note(what: str, visits: Mapping[int, int]) -> str:
    """Lists places that a map has no cell for, with their agent steps; empty if there are none."""
    listed = ", ".join(f"{place} ({steps:,})" for place, steps in sorted(visits.items()))
    return textwrap.fill(f"{what} (agent steps): {listed}", _NOTE_WIDTH) if listed else ""
