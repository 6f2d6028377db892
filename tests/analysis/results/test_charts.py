"""The charts of a report: intervals within their axes, and lines that lie on each other and are all seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rllib_rnd.analysis.results.content import Question
from rllib_rnd.analysis.results.curves import Curve
from rllib_rnd.analysis.results.figures.chart import LIGHT, line_style
from rllib_rnd.analysis.results.figures.charts import (
    Panel,
    aggregates_chart,
    curves_chart,
    improvement_chart,
    survival_chart,
)
from rllib_rnd.analysis.results.score_sections import improvements, overall_section
from rllib_rnd.analysis.results.scores import ScoreTable
from rllib_rnd.analysis.results.statistics import Estimate, survival
from rllib_rnd.analysis.results.verdict import verdict

pytest.importorskip("matplotlib")

WIDE, CERTAIN, ALONE = Estimate(0.66, -0.01, 1.0), Estimate(0.99, 0.99, 0.99), Estimate(0.5)


def drawn(chart: Any) -> list[Any]:
    """The axes of a chart, laid out; matplotlib's types say too little of what they hold."""
    figure = chart.draw()
    figure.draw_without_rendering()
    return list(figure.axes)


def lines(axes: Any, marker: str) -> list[Any]:
    return [line for line in axes.lines if line.get_marker() == marker]


def style(line: Any) -> tuple[object, ...]:
    return line.get_color(), str(line._unscaled_dash_pattern)


# --- intervals ------------------------------------------------------------------------------------------------------


def test_intervals_lie_within_the_axes_with_room_on_both_sides() -> None:
    (axes,) = drawn(aggregates_chart("a", "", {"iqm": {"ppo": WIDE, "rnd": CERTAIN}}, ["ppo", "rnd"]))
    low, high = axes.get_xlim()
    assert low < -0.05 and high > 1.05
    assert not axes.patches, "a bar would read as a quantity that begins at the axis"


def test_every_value_is_a_point_and_an_interval_without_width_has_ends() -> None:
    found = {"iqm": {"ppo": WIDE, "rnd": CERTAIN, "few": ALONE}}
    (axes,) = drawn(aggregates_chart("a", "", found, ["ppo", "rnd", "few"]))
    points = {float(line.get_ydata()[0]): float(line.get_xdata()[0]) for line in lines(axes, "o")}
    assert points == {0: 0.66, 1: 0.99, 2: 0.5}
    ends = {float(line.get_ydata()[0]): list(line.get_xdata()) for line in lines(axes, "|")}
    assert ends == {0: [-0.01, 1.0], 1: [0.99, 0.99]}, "too few seeds have no interval"
    assert all(line.get_markersize() > 10 for line in lines(axes, "|"))
    assert all(line.get_markersize() > 4 for line in lines(axes, "o"))


def test_intervals_of_equal_scores_alone_are_in_the_middle_of_their_axes() -> None:
    (axes,) = drawn(aggregates_chart("a", "", {"iqm": {"rnd": CERTAIN}}, ["rnd"]))
    low, high = axes.get_xlim()
    assert low < 0.99 < high and 0.2 < (0.99 - low) / (high - low) < 0.8


def test_a_certain_improvement_is_not_cut_at_the_edge() -> None:
    (axes,) = drawn(improvement_chart("i", "", {"a > b": Estimate(1.0, 1.0, 1.0)}))
    (point,) = lines(axes, "o")
    box = point.get_window_extent()
    assert box.x1 < axes.get_window_extent().x1 and list(point.get_xdata()) == [1.0]


# --- pairs ----------------------------------------------------------------------------------------------------------


def pairs_of(table: ScoreTable, question: Question) -> tuple[list[str], list[tuple[str, str]]]:
    """Pairs as the figure names them, and as the table does."""
    found = overall_section(table, question)
    (chart,) = (chart for chart in found.every_chart() if chart.name == "improvement")
    (rows,) = (table.rows for table in found.tables if table.name == "improvement")
    (axes,) = drawn(chart)
    return [label.get_text() for label in axes.get_yticklabels()], [(str(row[0]), str(row[1])) for row in rows]


@pytest.mark.parametrize("count", [2, 4, 8])
@pytest.mark.parametrize("baseline", [None, "v1"])
def test_the_verdicts_pair_stands_in_figure_and_table_the_same_way_round(count: int, baseline: str | None) -> None:
    """The later variants are the better ones."""
    scores = {f"v{i}": np.array([0.0, 0.1, 0.2]) + 0.15 * i for i in range(count)}
    table, question = ScoreTable("score", {"task": scores}), Question("score", None, baseline)
    (sentence,) = (words for words in verdict(table, question) if words.startswith("Probability"))
    named, rows = pairs_of(table, question)
    one, other = sentence.removeprefix("Probability of improvement of ").split(":")[0].split(" over ")
    assert (one, other) in rows and f"{one} > {other}" in named
    assert named == [f"{a} > {b}" for a, b in rows]
    if baseline is None:
        assert all(int(a[1:]) > int(b[1:]) for a, b in rows), "the better one first"
        assert len(rows) == {2: 1, 4: 6, 8: 7}[count]
    else:
        assert len(rows) == count - 1 and {b for _, b in rows} == {baseline}
    (value,) = (found for pair, found in zip(rows, found_of(table, question), strict=True) if pair == (one, other))
    assert f": {value}" in sentence, "the same number with the same interval"


def found_of(table: ScoreTable, question: Question) -> list[object]:
    return [row[2] for t in overall_section(table, question).tables if t.name == "improvement" for row in t.rows]


def test_pairs_are_in_the_order_they_are_asked_in() -> None:
    """As of studies, whose variants have an order of their own."""
    worse, better = [np.zeros(3)], [np.ones(3)]
    assert list(improvements({"worse": worse, "better": better}, Question())) == ["worse > better"]


# --- lines on each other --------------------------------------------------------------------------------------------


def test_styles_differ_and_neighbours_in_dashes_too() -> None:
    styles = [line_style(i) for i in range(24)]
    assert len(set(styles)) == 24 and [colour for colour, _ in styles[:8]] == list(LIGHT)
    assert len({dashes for _, dashes in styles[:5]}) == 5 and styles[0][1] == "-"


def test_variants_that_never_arrive_are_all_seen_and_named_as_they_are_drawn() -> None:
    never = {name: survival([1000.0] * 3, [False] * 3) for name in ("a", "b", "c")}
    chart = survival_chart("s", "", {"task": never}, list(never), "")
    figure: Any = chart.draw()
    shown = [line for line in figure.axes[0].lines if len(line.get_xdata())]
    assert [line.get_ydata().tolist() for line in shown] == [[1.0, 1.0]] * 3, "they lie on each other"
    assert len({str(line._unscaled_dash_pattern) for line in shown}) == 3
    assert [style(handle) for handle in figure.legends[0].legend_handles] == [style(line) for line in shown]


def test_single_runs_behind_a_mean_are_not_dashed() -> None:
    x, y = np.arange(3.0), np.zeros(3)
    several = Curve("a", ((x, y),) * 3, (x, y, y))
    (axes,) = drawn(curves_chart("c", "", [Panel("task", "hours", "return_mean", (several, several))], ["a", "b"]))
    shown = [line for line in axes.lines if len(line.get_xdata())]
    assert [line.get_linestyle() for line in shown] == [*["-"] * 4, *["-"] * 3, "--"]
