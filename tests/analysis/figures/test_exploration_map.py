"""The pictures hold what they should: lines, labels, rooms and cells coloured or not, notes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_rnd.analysis.figures.exploration_map import (
    MONTEZUMA,
    START_COLOUR,
    CellGrid,
    RunPlaces,
    exploration_figure,
    first_visits,
    kinds_of,
    summed_visits,
)
from rllib_rnd.errors import ConfigError
from rllib_rnd.sampling.episodes import PlaceHistory

colors: Any = pytest.importorskip("matplotlib.colors")

ROOMS = PlaceHistory({1: 9000, 0: 300, 2: 40, 7: 1}, {1: 1000, 0: 1000, 2: 4000, 7: 8000})


def run(history: PlaceHistory, kind: str = "room", name: str = "a", agent_steps: int = 10_000) -> RunPlaces:
    return RunPlaces(name, agent_steps, {kind: history})


def panels(*arguments: Any) -> list[Any]:
    """The axes of a figure; matplotlib's types say too little of what they hold."""
    return list(exploration_figure(*arguments).axes)


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def room_patches(axes: Any) -> dict[int, Any]:
    return {int(patch.get_gid().split()[1]): patch for patch in axes.patches}


def test_histories_in_order_and_summed() -> None:
    assert first_visits(ROOMS) == [(1000, [0, 1]), (4000, [2]), (8000, [7])]
    other = RunPlaces("b", 5, {"room": PlaceHistory({1: 5, 9: 2}, {1: 5, 9: 5}), "position": PlaceHistory()})
    assert summed_visits([run(ROOMS), other], "room") == {0: 300, 1: 9005, 2: 40, 7: 1, 9: 2}
    assert kinds_of([other]) == ["room"]  # nothing was seen of the other kind
    assert kinds_of([run(ROOMS, "position"), other]) == ["room", "position"]


@pytest.mark.parametrize("env_id", MONTEZUMA)
def test_the_pyramid(env_id: str) -> None:
    timeline, pyramid, colour_bar = panels([run(ROOMS)], env_id)
    (line,) = timeline.lines
    assert line.get_xdata().tolist() == [0, 1000, 4000, 8000, 10_000]
    assert line.get_ydata().tolist() == [0, 2, 3, 4, 4]
    assert texts(timeline) == ["0, 1", "2", "7"]

    patches = room_patches(pyramid)
    assert sorted(patches) == list(range(24))
    assert {room for room, patch in patches.items() if patch.get_facecolor()[3] == 1} == {0, 1, 2, 7}
    assert all(patches[room].get_facecolor()[3] == 0 for room in (3, 23))
    colours = {patches[room].get_facecolor() for room in (0, 1, 2, 7)}
    assert len(colours) == 4 and patches[1].get_facecolor() == pytest.approx(colors.to_rgba("#fde725"), abs=0.01)
    marked = [room for room, patch in patches.items() if patch.get_edgecolor() == colors.to_rgba(START_COLOUR)]
    assert marked == [1] and texts(pyramid).count("start") == 1
    assert [text for text in texts(pyramid) if text != "start"] == [str(room) for room in range(24)]
    middles = {room: np.round(patch.get_center(), 6).tolist() for room, patch in patches.items()}
    assert middles[1] == [0, 0] and middles[5] == [0, 1] and middles[11] == [0, 2] and middles[19] == [0, 3]
    assert middles[3] == [-2, 1] and middles[7] == [2, 1] and middles[15] == [-4, 3] and middles[23] == [4, 3]
    assert pyramid.get_title() == "4 of 24 rooms of level 1" and pyramid.get_xlabel() == ""
    assert colour_bar.get_xlabel() == "agent steps spent there" and colour_bar.get_xscale() == "log"


def test_rooms_of_another_level_are_listed() -> None:
    history = PlaceHistory({1: 10, 24: 3, 200: 4000}, {1: 5, 24: 6, 200: 7})
    pyramid = panels([run(history)], MONTEZUMA[0])[1]
    assert pyramid.get_title() == "1 of 24 rooms of level 1"
    assert pyramid.get_xlabel() == "other rooms (agent steps): 24 (3), 200 (4,000)"


def test_other_games_have_bars() -> None:
    _, bars = panels([run(ROOMS)], "ALE/Venture-v5")
    assert [patch.get_height() for patch in bars.patches] == [300, 9000, 40, 1]
    assert [label.get_text() for label in bars.get_xticklabels()] == ["0", "1", "2", "7"]
    assert bars.get_yscale() == "log" and bars.get_ylim()[0] < 1


def test_many_rooms_get_few_labels_that_do_not_overlap() -> None:
    rooms = range(140)
    history = PlaceHistory(dict.fromkeys(rooms, 5), {room: 100 * room + 100 for room in rooms})
    timeline, bars = panels([run(history, agent_steps=20_000)], "ALE/Pitfall-v5")
    assert len(bars.patches) == 140 and bars.get_xticks().tolist() == list(range(0, 140, 7))
    boxes = [text.get_window_extent() for text in timeline.texts]
    assert 5 < len(boxes) < 100
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_several_runs_share_a_timeline_and_sum_in_the_map() -> None:
    other = PlaceHistory({1: 1000, 3: 20}, {1: 2000, 3: 2000})
    runs = [run(ROOMS, name="first"), run(other, name="second", agent_steps=3000)]
    timeline, pyramid, _ = panels(runs, MONTEZUMA[0])
    assert [line.get_xdata()[-1] for line in timeline.lines] == [10_000, 3000]
    legend: Any = timeline.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["first", "second"]
    assert len({line.get_color() for line in timeline.lines}) == 2
    assert pyramid.get_title() == "5 of 24 rooms of level 1"
    _, bars = panels(runs, "ALE/Venture-v5")
    assert [patch.get_height() for patch in bars.patches] == [300, 10_000, 40, 20, 1]


def test_the_grid() -> None:
    walls = np.array([[True, True, True], [False, False, True]])
    history = PlaceHistory({3: 500, 4: 1, 6: 7}, {3: 10, 4: 10, 6: 30})
    timeline, heat, colour_bar = panels([run(history, "position")], "x", CellGrid((2, 3), walls))
    assert texts(timeline) == []  # indices of cells tell a reader nothing
    dark, visits = (image.get_array() for image in heat.images)
    assert (~np.ma.getmaskarray(dark)).tolist() == walls.tolist()
    assert np.ma.getmaskarray(visits).tolist() == [[True] * 3, [False, False, True]]
    assert visits[1, :2].tolist() == [500, 1]
    assert heat.images[1].norm(visits)[1, :2].tolist() == [1.0, 0.0]
    assert heat.get_title() == "coverage: 2 of 2 cells"
    assert heat.get_xlabel() == "column\npositions beyond the grid (agent steps): 6 (7)"
    assert colour_bar.get_yscale() == "log"


def test_runs_with_the_same_timeline_are_all_seen() -> None:
    runs = [run(ROOMS, name=str(i)) for i in range(8)]
    timeline = panels(runs, MONTEZUMA[0])[0]
    assert len({tuple(line.get_ydata()) for line in timeline.lines}) == 1, "they lie on each other"
    drawn = [(line.get_linewidth(), str(line._unscaled_dash_pattern)) for line in timeline.lines]
    assert len(set(drawn)) == 8
    widths = [width for width, _ in drawn]
    assert widths == sorted(widths, reverse=True), "what is drawn later, above, is no wider"
    handles = timeline.get_legend().legend_handles
    assert [(line.get_linewidth(), str(line._unscaled_dash_pattern)) for line in handles] == drawn


def test_the_scale_of_colours_begins_at_the_fewest_steps() -> None:
    """Else a grid that has been walked through for long is of one colour."""
    history = PlaceHistory({0: 40, 1: 200, 2: 1000}, dict.fromkeys(range(3), 10))
    _, heat, colour_bar = panels([run(history, "position")], "x", CellGrid((2, 2)))
    (image,) = heat.images
    assert image.norm(image.get_array()).compressed() == pytest.approx([0.0, 0.5, 1.0])
    assert image.get_array().mask.tolist() == [[False, False], [False, True]], "never visited is blank, not the lowest"
    assert colour_bar.get_ylim() == pytest.approx((40, 1000))
    named = [label for label in colour_bar.get_yticklabels(which="both") if label.get_text()]
    assert len(named) > 2, "one power of ten alone would be no scale"


@pytest.mark.parametrize(("visits", "scale"), [({0: 50}, (25, 50)), ({0: 50, 1: 48}, (25, 50)), ({9: 5}, (0.5, 1))])
def test_numbers_that_hardly_differ_are_of_hardly_different_colours(
    visits: dict[int, int], scale: tuple[float, float]
) -> None:
    history = PlaceHistory(visits, dict.fromkeys(visits, 10))
    colour_bar = panels([run(history, "position")], "x", CellGrid((2, 2)))[2]
    assert colour_bar.get_ylim() == pytest.approx(scale)


def test_a_grid_without_known_walls_counts_every_cell() -> None:
    history = PlaceHistory({0: 1}, {0: 1})
    heat = panels([run(history, "position")], "x", CellGrid((2, 3)))[1]
    assert len(heat.images) == 1 and heat.get_title() == "coverage: 1 of 6 cells"
    walls = np.zeros((2, 3), dtype=bool)
    assert CellGrid((2, 3)).same(CellGrid((2, 3), walls)) and not CellGrid((2, 3)).same(CellGrid((3, 2)))
    walls[0, 0] = True
    assert not CellGrid((2, 3)).same(CellGrid((2, 3), walls))


def test_positions_without_a_grid_have_a_timeline_only() -> None:
    assert len(panels([run(ROOMS, "position")], "x")) == 1
    both = RunPlaces("a", 10_000, {"room": ROOMS, "position": ROOMS})
    titles = [axes.get_title() for axes in panels([both], "x")]
    assert titles == ["different rooms seen", "4 rooms visited", "different positions seen"]


def test_drawing_leaves_pyplot_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    exploration_figure([run(ROOMS)], MONTEZUMA[0]).savefig(tmp_path / "map.png")
    assert "matplotlib.pyplot" not in sys.modules


def test_without_matplotlib_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r'pip install "rllib_rnd\[plots\]"'):
        exploration_figure([run(ROOMS)], MONTEZUMA[0])
