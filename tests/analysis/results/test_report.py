"""The report: its verdict, its tables, its marks, its files, and the page in a browser."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_rnd.analysis.results.content import Question
from rllib_rnd.analysis.results.groups import Variant, remarks, truncated_to_shortest
from rllib_rnd.analysis.results.health import bonus_left
from rllib_rnd.analysis.results.references import packaged
from rllib_rnd.analysis.results.report import Report, numbers, page, report_of_runs, write
from rllib_rnd.analysis.results.run import MACHINE_MEMORY, Run
from rllib_rnd.analysis.results.run_sections import survivals, threshold_of
from rllib_rnd.analysis.results.tables import Table
from tests.analysis.browser import CHROMIUM, WIDTHS, Tags, measured
from tests.analysis.results.made_up import STEP, made_up_run

pytest.importorskip("matplotlib")

DEEP = "rllib_rnd/DeepSea-v0 (size=20)"
BREAKOUT = "ALE/Breakout-v5"


def variant(name: str, finals: list[float], **changes: Any) -> Variant:
    runs = tuple(made_up_run(name, seed, final, **changes) for seed, final in enumerate(finals))
    return Variant(name, runs, {"variant": name, "lr": 0.001 if name == "rnd" else 0.01})


def two() -> dict[str, list[Variant]]:
    """rnd solves it with every seed, ppo with none."""
    return {DEEP: [variant("rnd", [0.95, 0.99, 0.97, 0.96, 0.98]), variant("ppo", [0.0, -0.01, 0.0, 0.01, 0.0])]}


def lean() -> dict[str, list[Variant]]:
    """As `two`, of runs that logged their returns and nothing else."""
    kept = ("agent_steps", "time_total_s", "return_mean")

    def of(run: Run) -> Run:
        return dataclasses.replace(run, metrics={name: run.metrics[name] for name in kept})

    return {task: [dataclasses.replace(v, runs=tuple(map(of, v.runs))) for v in group] for task, group in two().items()}


def tables(report: Report) -> dict[str, Table]:
    return {table.name: table for section in report.sections for table in section.every_table()}


def row_of(table: Table, *key: str) -> dict[str, Any]:
    (row,) = (row for row in table.rows if row[: len(key)] == key)
    return dict(zip(table.columns, row, strict=True))


def everything() -> Report:
    """Two tasks, runs that crashed, still run, were resumed and have no result, long names."""
    long = "intrinsic_reward.type=a_name_that_nobody_would_want_to_type_twice, lr=0.000123"
    tasks = two()
    tasks[DEEP].append(variant(long, [0.5, 0.4, 0.6]))
    runs = list(tasks[DEEP][2].runs)
    runs[0] = dataclasses.replace(runs[0], state="crashed").cut(20 * STEP)
    runs[0] = dataclasses.replace(runs[0], cut_from=None)
    runs[1] = dataclasses.replace(runs[1], state="running", resumed=2)
    runs[2] = dataclasses.replace(runs[2], metrics={}, state="failed")
    tasks[DEEP][2] = dataclasses.replace(tasks[DEEP][2], runs=tuple(runs))
    tasks[BREAKOUT] = [variant(name, [20.0, 30.0, 40.0], task=BREAKOUT) for name in ("rnd", "ppo", long)]
    return report_of_runs(tasks, Question(threshold=0.9), packaged())


# --- verdict --------------------------------------------------------------------------------------------------------


def test_the_verdict_is_made_of_the_numbers() -> None:
    report = report_of_runs(two(), Question(threshold=0.9), {})
    assert report.verdict == (
        "return_mean of 0.9: rnd reaches it with 5 of 5 seeds, ppo with 0 of 5.",
        "Probability of improvement of rnd over ppo: 1.00 [1.00, 1.00].",
        "5 seeds each, 40,000 agent steps played of a budget of 40,000.",
    )
    assert report.marks == ()
    assert "ppo" in report_of_runs(two(), Question(baseline="ppo"), {}).facts["baseline"]


def test_two_seeds_have_points_only_and_the_page_says_so() -> None:
    tasks = {DEEP: [variant("rnd", [0.9, 1.0]), variant("ppo", [0.0, 0.1])]}
    report = report_of_runs(tasks, Question(), {})
    assert "without an interval: too few seeds" in report.verdict[1] and "[" not in " ".join(report.verdict)
    assert "fewer than 3 seeds are shown as points" in report.verdict[-1]
    mean = row_of(tables(report)["scores"], DEEP, "rnd")["mean"]
    assert mean.mean == pytest.approx(0.95) and math.isnan(mean.error)
    assert tables(report)["improvement"].rows[0][2].low is None  # type: ignore[union-attr]


def test_ties_are_named() -> None:
    tasks = {DEEP: [variant("a", [1.0] * 3), variant("b", [1.0] * 3)]}
    report = report_of_runs(tasks, Question(), {})
    assert report.verdict[0] == "a and b are tied for the best return_mean (1)."
    assert "does not tell them apart" in report.verdict[1]
    assert row_of(tables(report)["tasks"], DEEP)["winner"] == "a = b"


def test_a_task_of_one_variant_is_won_by_nobody() -> None:
    tasks = {DEEP: [variant("rnd", [0.9] * 3), variant("ppo", [0.5] * 3)], "other": [variant("ppo", [1.0] * 3)]}
    report = report_of_runs(tasks, Question(), {})
    assert report.verdict[0] == "rnd wins 1 of 1 task (ppo 0)."
    assert [row[1:] for row in tables(report)["wins"].rows] == [(1, 0, 1), (0, 0, 1)]
    assert row_of(tables(report)["tasks"], "other")["winner"] == "-"
    apart = report_of_runs({DEEP: [variant("rnd", [0.9] * 3)], "other": [variant("ppo", [1.0] * 3)]}, Question(), {})
    assert apart.verdict[0] == "No task has scores of two variants: there is nothing to compare."
    tied = {DEEP: [variant("a", [0.9] * 3), variant("b", [0.9] * 3)], "other": [variant("c", [1.0] * 3)]}
    told = report_of_runs(tied, Question(), {}).verdict
    assert told[0] == "Of 1 task none is won by one variant alone."
    assert told[1].startswith("Probability of improvement of a over b"), "c has met nobody"
    nothing = [variant("ppo", [math.nan] * 3), variant("rnd", [0.9] * 3)]
    assert report_of_runs({DEEP: nothing}, Question(), {}).verdict[0] == "Of rnd alone there is a return_mean: 0.9 ± 0."


def test_the_verdict_says_what_it_leaves_out_and_what_speaks_against_it() -> None:
    many = {DEEP: [variant(name, [i] * 3) for i, name in enumerate("abcdef")]}
    first = report_of_runs(many, Question(), {}).verdict[0]
    assert first == "f has the best return_mean: 5 ± 0, e 4 ± 0, d 3 ± 0, c 2 ± 0, and 2 more in the table."
    games = {f"game {i}": group for i, group in enumerate(many.values())} | {"last": many[DEEP]}
    told = report_of_runs(games, Question(), {}).verdict[0]
    assert told == "f wins 2 of 2 tasks (e 0, d 0, c 0, and 2 more in the table)."
    lucky = {DEEP: [variant("lucky", [0.0] * 9 + [100.0]), variant("steady", [1.0] * 10)]}
    assert report_of_runs(lucky, Question(), {}).verdict[1].endswith("]: most of its runs score less.")


# --- tables ---------------------------------------------------------------------------------------------------------


def test_normalised_scores_and_wins_over_tasks() -> None:
    random, human = packaged()["Breakout"]["random"], packaged()["Breakout"]["human"]
    tasks = {BREAKOUT: [variant("rnd", [random, human, human], task=BREAKOUT), variant("ppo", [random] * 3)]}
    tasks |= {"ALE/Pong-v5": [variant(name, [3.0 - i] * 3) for i, name in enumerate(("rnd", "ppo"))]}
    found = tables(report_of_runs(tasks, Question(), packaged()))
    assert row_of(found["scores"], BREAKOUT, "rnd")["normalised"].mean == pytest.approx(2 / 3)
    assert row_of(found["wins"], "rnd") == {"variant": "rnd", "wins": 2, "ties": 0, "tasks": 2}
    gap = row_of(found["aggregates"], "ppo")["optimality_gap"]
    pong = (2.0 - packaged()["Pong"]["random"]) / (packaged()["Pong"]["human"] - packaged()["Pong"]["random"])
    assert gap.value == pytest.approx(1 - (0 + pong) / 2)


def test_tasks_without_references_have_no_aggregates_but_an_improvement() -> None:
    tasks = two() | {"other": [variant("rnd", [1.0] * 3), variant("ppo", [2.0] * 3)]}
    found = tables(report_of_runs(tasks, Question(), {}))
    assert "aggregates" not in found and found["improvement"].rows[0][2].value == 0.5  # type: ignore[union-attr]


def test_steps_to_a_threshold_count_unsolved_runs() -> None:
    (group,) = two().values()
    found = survivals(group, "return_mean", 0.485)
    assert (found["rnd"].reached, found["ppo"].reached, found["ppo"].watched) == (5, 0, 40 * STEP)
    assert found["rnd"].median is not None and 18 * STEP <= found["rnd"].median <= 22 * STEP
    unborn = dataclasses.replace(group[0].runs[0], metrics={})
    later = survivals([Variant("rnd", (unborn, unborn, group[0].runs[0]), {})], "return_mean", 0.485)["rnd"]
    assert (later.runs, later.low) == (1, None), "a run without a result was never watched"
    assert threshold_of(group, Question(threshold=0.3)) == 0.3
    assert threshold_of(group, Question()) == pytest.approx(0.5 * 0.97, abs=0.02)
    assert math.isnan(threshold_of([variant("none", [0.0] * 3, metrics={})], Question()))


def test_health_tells_of_a_spent_bonus_and_what_it_cost() -> None:
    (alive, other) = two()[DEEP]
    spent = dataclasses.replace(other.runs[0], metrics=dict(other.runs[0].metrics))
    dead = np.where(spent.metrics["agent_steps"] < 20 * STEP, 1.0, 0.0)
    spent.metrics["intrinsic_reward_mean"] = dead  # type: ignore[index]
    assert bonus_left(spent) == 0.0 and bonus_left(alive.runs[0]) == pytest.approx(math.exp(-5.4), rel=0.2)
    report = report_of_runs({DEEP: [alive, Variant("ppo", (spent,), {})]}, Question(), {})
    (health,) = (section for section in report.sections if section.name == "health")
    assert "ppo 0 times (spent)" in health.lines[0] and "rnd 0.00" in health.lines[0]
    cost = row_of(tables(report)["cost"], "rnd")
    assert cost["hours"] == pytest.approx(5 * 280 / 3600) and cost["core-hours"] == pytest.approx(2 * cost["hours"])
    assert cost["sample / learn / sync"] == "75% / 25% / 0%" and cost["steps/s"] == pytest.approx(40 * STEP / 280)
    assert row_of(tables(report)["health"], "snd_target_drift")["rnd"] == pytest.approx(0.1)


def test_only_what_differs_is_listed_and_where_runs_come_from() -> None:
    found = tables(report_of_runs(two(), Question(), {}))
    assert found["settings"].columns == ("setting", "rnd", "ppo")
    assert [row[0] for row in found["settings"].rows] == ["variant", "lr"]
    assert row_of(found["provenance"], "rnd, seed=0")["commit"] == "abc1234"


def test_runs_that_are_not_as_they_should_be_are_marked() -> None:
    marks = "\n".join(everything().marks)
    told = ("crashed at 20,000 of 40,000", "running at 40,000 of 40,000 agent steps, resumed 2 times", "failed at 0")
    for words in told:
        assert words in marks
    assert "unequal lengths: 20,000" in marks


def test_what_is_cut_to_the_shortest_is_marked_where_it_ended_and_other_scores_than_numbers_are_none() -> None:
    short, long = variant("rnd", [0.9]), variant("ppo", [0.5])
    run = dataclasses.replace(long.runs[0], state="crashed")
    cut, _ = truncated_to_shortest(
        [dataclasses.replace(short, runs=(short.runs[0].cut(10 * STEP),)), dataclasses.replace(long, runs=(run,))]
    )
    assert f"crashed at {run.agent_steps:,} of" in remarks(cut)[0]
    values = run.metrics["return_mean"].copy()
    values[-2:] = math.inf, math.nan
    assert dataclasses.replace(run, metrics={**run.metrics, "return_mean": values}).final("return_mean") == values[-3]


def test_what_nobody_counted_is_no_zero() -> None:
    costs = [row_of(tables(report_of_runs(tasks(), Question(), {}))["cost"], "rnd") for tasks in (two, lean)]
    assert [cost["skipped updates"] for cost in costs] == [0, None]


def test_peak_memory_is_the_machines_and_not_a_plugins() -> None:
    (run, *_) = two()[DEEP][0].runs
    more = {MACHINE_MEMORY: np.linspace(10.0, 37.2, 40), "episodic_memory_size": np.full(40, 5000.0)}
    filled = dataclasses.replace(run, metrics={**run.metrics, **more})
    costs = [
        tables(report_of_runs({DEEP: [Variant("rnd", (one,), {})]}, Question(), {}))["cost"] for one in (run, filled)
    ]
    assert [row_of(cost, "rnd")["peak memory"] for cost in costs] == [None, "37%"]


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full() -> tuple[Report, str]:
    report = everything()
    return report, page(report, "report_files")


def test_the_page_needs_nothing_else(full: tuple[Report, str]) -> None:
    report, text = full
    tags = Tags(re.sub(r"<(path|use|rect)([^>]*?)/>", "", text)).seen
    assert not {"script", "link", "iframe", "object", "embed"} & {tag for tag, _ in tags}
    assert not re.search(r"(?:src|href)=\"https?://|@import|url\((?!#)", text)
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids)), "an id is of one place"
    parts = ["tasks", "overall", "sweep", "curves", "exploration", "health", "differences"]
    assert [s.name for s in report.sections] == parts
    places = [text.index(f'<section id="{s.name}"') for s in report.sections]
    assert places == sorted(places) and text.index('id="verdict"') < places[0]
    radios = [attributes for tag, attributes in tags if tag == "input"]
    assert [radio["id"] for radio in radios] == ["axis-1", "axis-2", "axis-3"]
    drawings = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert set(re.findall(r"#[0-9a-f]{6}\b", drawings)) <= {"#ffffff", "#000000"}, "all colours are the page's"


def test_the_same_runs_make_the_same_files_with_the_same_numbers(tmp_path: Path) -> None:
    written = []
    for name in ("a", "b"):
        out = tmp_path / name / "report.html"
        write(report_of_runs(lean(), Question(), {}), out)
        folder = out.with_name("report_files")
        files = {str(f.relative_to(out.parent)): f.read_bytes() for f in sorted(out.parent.rglob("*")) if f.is_file()}
        written.append(files)
    assert written[0] == written[1]
    with (folder / "tables" / "aggregates.csv").open() as file:
        (first, _) = list(csv.DictReader(file))
    data = json.loads((folder / "numbers.json").read_text())
    whole = data["sections"]["overall"]["tables"]["aggregates"]["rows"][0]
    assert float(first["iqm"]) == whole["iqm"]["value"] and float(first["iqm_low"]) == whole["iqm"]["low"]
    latex = (folder / "tables" / "aggregates.tex").read_text()
    assert f"{whole['iqm']['value']:.3f}" in latex and latex.count(r"\\") == 3 and "rnd" in latex
    for kind in ("agent_steps", "frames", "hours"):
        assert (folder / "figures" / f"curves_{kind}.png").read_bytes().startswith(b"\x89PNG")
        assert b"<svg" in (folder / "figures" / f"curves_{kind}.svg").read_bytes()
    assert numbers(report_of_runs(lean(), Question(), {})) == data


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here to open the page in")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_overflows_and_everything_can_be_read(full: tuple[Report, str], tmp_path: Path, dark: bool) -> None:
    rows = measured(full[1], tmp_path, dark)
    assert [row["width"] for row in rows] == list(WIDTHS)
    for row in rows:
        assert row["content"] <= row["width"] and not row["wide"], row
        assert row["contrast"][0] >= 4.5, row["contrast"]
        assert row["texts"] > 200 and (row["page"] < 0.1) == dark
