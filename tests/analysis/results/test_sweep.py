"""The sweep in a report: its best configuration, which settings matter, the figure of all that was tried."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_rnd.analysis.results.content import Question, Section
from rllib_rnd.analysis.results.groups import grouped
from rllib_rnd.analysis.results.report import Report, write
from rllib_rnd.analysis.results.run import Run
from rllib_rnd.analysis.results.sweep import Setting, importance, sweeps_of
from rllib_rnd.analysis.results.sweep_sections import sweep_sections
from rllib_rnd.analysis.results.tables import number
from tests.analysis.results.made_up import made_up_run

image = pytest.importorskip("matplotlib.image")


def run(number: int, final: float, **config: object) -> Run:
    return made_up_run("x", number, final, rows=4, experiment="swept", config={"seed": number, **config})


def drawn(count: int = 24) -> list[Run]:
    """The learning rate decides; the bonus's weight and the memory do nothing."""
    rng = np.random.default_rng(0)
    runs = []
    for i in range(count):
        lr, coeff = (float(10.0 ** rng.uniform(*ends)) for ends in ((-5, -2), (-1, 1)))
        config = {"lr": lr, "intrinsic_reward.coeff": coeff, "backbone.memory_size": int(rng.choice([32, 64, 128]))}
        runs.append(run(i, np.log10(lr) + 0.01 * rng.standard_normal(), **config))
    return runs


def section(runs: list[Run]) -> Section:
    (found,) = sweep_sections(grouped(runs), Question())
    return found


def test_the_setting_that_decides_has_all_importance() -> None:
    runs = drawn()
    found = section(runs)
    settings, best = found.tables
    assert settings.columns == ("setting", "best", "drawn", "importance")
    assert settings.rows[0][0] == "lr"
    shares = {str(row[0]): float(row[3]) for row in settings.rows}  # type: ignore[arg-type]
    assert shares["lr"] > 0.95 and sum(shares.values()) == pytest.approx(1.0)
    first = max(runs, key=lambda one: one.final("return_mean"))
    assert settings.rows[0][1] == first.config["lr"]
    assert dict((row[0], row[2]) for row in settings.rows)["backbone.memory_size"] == "32, 64, 128"
    ranked = sorted((one.final("return_mean") for one in runs), reverse=True)[:5]
    assert [row[1].mean for row in best.rows] == pytest.approx(ranked)  # type: ignore[union-attr]
    assert [row[0] for row in best.rows] == [1, 2, 3, 4, 5]
    assert "range that was drawn" in " ".join(found.lines) and "other seeds" in found.lines[-1]
    assert re.search(r"explains 9\d% of the differences between runs that it has not seen", " ".join(found.lines))


def test_a_setting_of_words_can_decide() -> None:
    rng = np.random.default_rng(1)
    scores = {"rollout": 1.0, "minibatch": 0.2, None: 0.0}
    runs = [
        run(i, scores[norm], normalize_advantages=norm, lr=float(rng.uniform(0.001, 0.002)))
        for i, norm in enumerate([*scores] * 5)
    ]
    found = section(runs)
    assert found.tables[0].rows[0] == (
        "normalize_advantages",
        "rollout",
        "minibatch, null, rollout",
        pytest.approx(1, abs=0.05),
    )
    assert [row[0] for row in found.tables[1].rows] == [1] * 5, "equal scores share a place"
    assert "as 4 more" in found.lines[0]


def test_chance_is_called_chance() -> None:
    rng = np.random.default_rng(2)
    names = ("lr", "gamma", "entropy_coeff", "clip_param")
    runs = [run(i, float(rng.uniform()), **{n: float(rng.uniform(0.1, 0.9)) for n in names}) for i in range(10)]
    assert any(line.startswith("Do not believe the importance") for line in section(runs).lines)


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        (drawn(5), "5 runs have a score, and it takes 8"),
        ([run(i, float(i), lr=0.001 * 2**i) for i in range(9)], "only one setting differs"),
    ],
)
def test_no_importance_says_why(runs: list[Run], reason: str) -> None:
    (sweep,) = sweeps_of(grouped(runs), "return_mean")
    assert importance(sweep, 0).shares == {}
    found = section(runs)
    assert f"No importance of settings: {reason}." in found.lines
    assert found.tables[0].columns == ("setting", "best", "drawn") and found.charts


def test_of_equal_scores_none_is_best() -> None:
    runs = [run(i, 0.0, lr=0.001 * (1 + i), gamma=0.9 + 0.01 * (i % 3)) for i in range(9)]
    (sweep,) = sweeps_of(grouped(runs), "return_mean")
    assert importance(sweep, 0).reason == "all runs have the same score"
    found = section(runs)
    assert "All 9 variants" in found.lines[0] and "none is best" in found.lines[0]
    assert (found.lines[1:], found.tables, found.charts) == ((), (), ())


def test_what_is_no_sweep_has_no_such_section() -> None:
    two = [run(i, 0.1 * i, lr=0.001 * (1 + i % 2)) for i in range(6)]
    seeds = [run(i, 0.1 * i, lr=0.001) for i in range(6)]
    others = [
        made_up_run(name, 0, experiment=name, config={"lr": lr}) for name, lr in zip("abc", (1, 2, 3), strict=True)
    ]
    for runs in (two, seeds, others):
        assert sweep_sections(grouped(runs), Question()) == ()


def test_runs_without_a_score_are_left_out_and_seeds_are_averaged() -> None:
    runs = [run(10 * i + seed, float(i + seed), lr=0.001 * (1 + i)) for i in range(3) for seed in range(3)]
    unborn = made_up_run("x", 99, experiment="swept", config={"seed": 99, "lr": 0.1}, metrics={})
    found = section([*runs, unborn])
    assert "Left out: 1 without a value of return_mean." in found.lines
    assert [(row[0], row[1].mean, row[2]) for row in found.tables[1].rows] == [(1, 3.0, 3), (2, 2.0, 3), (3, 1.0, 3)]  # type: ignore[union-attr]
    assert not any("other seeds" in line for line in found.lines)


def test_two_sweeps_have_tables_and_figures_of_their_own() -> None:
    runs = [run(i, float(i), lr=0.001 * (1 + i)) for i in range(4)]
    other = [
        made_up_run("y", i, 1.0 + i, task="other", experiment="two", config={"lr": 0.1 * (1 + i)}) for i in range(4)
    ]
    found = section([*runs, *other])
    assert [t.name for t in found.tables] == ["sweep_settings_1", "sweep_best_1", "sweep_settings_2", "sweep_best_2"]
    assert [chart.name for chart in found.every_chart()] == ["sweep_1", "sweep_2"]


def test_values_that_span_decades_are_seen_by_their_logarithm() -> None:
    assert Setting("lr", (1e-5, 1e-3)).log and not Setting("gamma", (0.9, 0.999)).log
    assert not Setting("shift", (-1.0, 100.0)).log and not Setting("norm", ("a", "b")).log
    assert Setting("size", ("default", "128", "64")).different() == ["64", "128", "default"]


def test_values_of_a_grid_are_named_and_draws_are_a_range() -> None:
    runs = [run(i, float(i), lr=0.001 * (1 + i), gamma=(0.9, 0.99)[i % 2]) for i in range(8)]
    assert {row[0]: row[2] for row in section(runs).tables[0].rows} == {"lr": "0.001 to 0.008", "gamma": "0.9, 0.99"}


def test_lines_through_equal_values_meet_at_the_height_of_their_mark() -> None:
    chosen = [(0.1, "a"), (1.0, "a"), (1.0, "b"), (10.0, "b"), (0.1, "b"), (10.0, "a")]
    runs = [run(i, float(i), coeff=coeff, norm=norm, lr=0.001 * (1 + i)) for i, (coeff, norm) in enumerate(chosen)]
    (chart,) = section(runs).every_chart()
    figure: Any = chart.draw()  # type: ignore[union-attr]
    (axes,) = figure.axes
    marks = {(int(text.xy[0]), text.get_text()): text.xy[1] for text in axes.texts if hasattr(text, "xy")}
    names = [text.get_text() for text in axes.texts if not hasattr(text, "xy")]
    variants = [np.asarray(line.get_ydata()) for line in axes.lines if len(line.get_xdata()) == 4]
    variants.sort(key=lambda heights: float(heights[-1]))
    coeff, norm = names.index("coeff (log)"), names.index("norm")
    for heights, (weight, word) in zip(variants, chosen, strict=True):
        assert heights[coeff] == pytest.approx(marks[coeff, number(weight)])
        assert heights[norm] == pytest.approx(marks[norm, word])
    assert "Equal values meet at one height" in chart.caption, "lines may lie on each other"


def test_the_same_runs_make_the_same_files_in_the_colours_of_the_page(tmp_path: Path) -> None:
    found, again = section(drawn(12)), section(drawn(12))
    assert found.tables == again.tables and found.lines == again.lines
    (chart,), (other,) = found.every_chart(), again.every_chart()
    assert chart.files() == other.files()
    picture = image.imread(io.BytesIO(chart.files()["sweep.png"]))
    assert picture[0, 0].tolist() == [1.0] * 4, "white, and nothing of what is behind it"
    write(Report("Results", {}, (), (), (found,)), tmp_path / "r.html")
    tables = {f"sweep_{name}.{kind}" for name in ("best", "settings") for kind in ("csv", "tex")}
    assert {path.name for path in (tmp_path / "r_files").rglob("*sweep*")} == {"sweep.svg", "sweep.png", *tables}
    kept = json.loads((tmp_path / "r_files" / "numbers.json").read_text())["sections"]["sweep"]["tables"]
    assert kept["sweep_settings"]["rows"][0]["importance"] == found.tables[0].rows[0][3]
    svg = re.search(r"<svg.*?</svg>", (tmp_path / "r.html").read_text(), re.DOTALL)
    assert svg and "(log)" in svg[0] and "memory_size" in svg[0]
    assert set(re.findall(r"#[0-9a-f]{6}\b", svg[0])) <= {"#ffffff", "#000000"}, "all colours are the page's"
