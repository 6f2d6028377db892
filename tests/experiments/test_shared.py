"""What studies share: runs that are not repeated, and provenance that a report does not overwrite."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments import provenance
from experiments.report import document, read, table
from experiments.run_report import Task, blocks_of_runs, curves_figure, save, variants_in
from experiments.studies import Row, Run, run_missing
from rllib_rnd.tracking.provenance import provenance as tracked


def rows_of(run: Run) -> Iterator[Row]:
    """Two iterations."""
    returns: tuple[str | float, ...] = ("", 0.5 + 0.4 * run.seed)  # no episode has ended in the first
    for i, mean_return in enumerate(returns):
        yield {
            **run.columns,
            "agent_steps": 1000 * (i + 1),
            "seconds": 2.0 * (i + 1),
            "return_mean": mean_return,
            "done": i,
            "commit": "58536e0",
        }


def runs() -> list[Run]:
    return [Run("study", "NA", "example", seed, 2000, 0.9) for seed in (0, 1)]


def test_runs_that_are_there_are_not_carried_out_again(tmp_path: Path) -> None:
    path, carried_out = tmp_path / "study.csv", []

    def carry_out(run: Run) -> Iterator[Row]:
        carried_out.append(run.seed)
        return rows_of(run)

    run_missing(runs()[:1], path, carry_out)
    run_missing(runs(), path, carry_out)
    assert carried_out == [0, 1]
    with path.open() as file:
        assert [row["agent_steps"] for row in csv.DictReader(file)] == ["1000", "2000"] * 2


def test_the_tables_of_runs(tmp_path: Path) -> None:
    """A variant named NA and a commit that reads like a number stay what they are."""
    run_missing(runs(), tmp_path / "study.csv", rows_of)
    assert set(read(tmp_path / "study.csv").commit) == {"58536e0"}
    (variant,) = found = variants_in(tmp_path / "study.csv")
    assert variant.name == "NA"
    task = Task("title", 0.9)
    summary, origin, shown, every = blocks_of_runs("study", task, found, {"more": {"NA": "x"}})
    assert summary == [
        "| variant | seeds | mean return | lowest | best | reached | median agent steps | more | steps/s |",
        "|---|---|---|---|---|---|---|---|---|",
        "| NA | 2 | 0.7 | 0.5 | 0.9 | 1 of 2 | 2,000 | x | 500 |",
    ]
    assert origin == ["Seeds: 0, 1; runs: 2, at most 2,000 agent steps each; code: commit 58536e0."]
    assert every[4:6] == ["| NA | 0 | 2,000 | 0.5 | 4 |", "| NA | 1 | 2,000 | 0.9 | 4 |"]
    save(curves_figure("study", task, found), tmp_path)
    assert shown == ["![title](study.png)"] and (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")


def test_runs_of_one_length_are_compared_in_pairs(tmp_path: Path) -> None:
    """Of those that end as soon as they are good enough the scores say nothing of which is better."""
    others = [Run("study", "better", "example", seed, 2000, 0.9) for seed in (2, 3)]
    run_missing([*runs(), *others], tmp_path / "study.csv", rows_of)
    found = variants_in(tmp_path / "study.csv", ["better", "NA"])
    blocks = blocks_of_runs("study", Task("title", score=lambda run: run.final("return_mean")), found)
    assert blocks[1][2:] == ["| better | NA | 1.00 |"]
    assert len(blocks_of_runs("study", Task("title", 0.9), found)) == len(blocks) - 1


def test_a_table_has_a_head_a_line_and_its_rows() -> None:
    assert table(("a", "b"), [(1, "x")]) == ["| a | b |", "|---|---|", "| 1 | x |"]


def test_a_report_tells_where_the_data_was_measured_not_where_it_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "machine", lambda: "a large machine")
    monkeypatch.setattr(sys, "orig_argv", ["/bin/python", "-m", "experiments.memory.run", "--variants", "FNN 1"])
    run_missing(runs(), tmp_path / "study.csv", rows_of)
    monkeypatch.setattr(provenance, "machine", lambda: "a small machine")
    run_missing(runs(), tmp_path / "study.csv", rows_of)  # all are there
    line = "Measured with `python -m experiments.memory.run --variants 'FNN 1'` on a large machine."
    assert document(tmp_path, "Title").splitlines()[2] == line
    provenance.note(tmp_path)
    assert [m["hardware"] for m in provenance.measurements(tmp_path)] == ["a large machine", "a small machine"]
    provenance.note(tmp_path, anew=True)
    assert [m["hardware"] for m in json.loads((tmp_path / "provenance.json").read_text())] == ["a small machine"]


def test_commit_and_hardware_are_those_that_runs_note() -> None:
    known = tracked(Path(provenance.__file__))
    assert provenance.commit() == known.get("commit", "unknown")[:7]
    assert provenance.machine() == f"{known['cores']} cores ({known['hardware']}), torch {known['torch']}"
