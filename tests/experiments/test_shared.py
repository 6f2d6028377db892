"""What studies share: runs that are not repeated, and provenance that a report does not overwrite."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments import provenance, studies
from experiments.auxiliary_losses import run as auxiliary_losses
from experiments.explorative_attention import run as explorative_attention
from experiments.report import document, read, table
from experiments.run_report import Task, blocks_of_runs, curves_figure, save, summary, variants_in
from experiments.short_runs import blocks_of_short_runs, sooner, steps_column, steps_to_enough, train_here
from experiments.studies import EXAMPLES, Row, Run, run_missing
from rllib_rnd.analysis.results.groups import Variant
from rllib_rnd.experiment.file import Overrides, load_experiments
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


@pytest.mark.parametrize(("after", "ended_at"), [(0, 300), (150, 500), (10_000, 800)])
def test_a_run_goes_on_for_as_long_as_told_once_it_was_good_enough(
    after: int, ended_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is good enough after 300 agent steps, and forgets it; 800 are its budget."""

    class Algorithm:
        steps = 0

        def train(self) -> dict[str, dict[str, Any]]:
            self.steps += 100
            runner = {"num_env_steps_sampled_lifetime": self.steps, "episode_return_mean": float(self.steps == 300)}
            return {"env_runners": runner, "learners": {"default_policy": {}}}

        def stop(self) -> None:
            pass

    monkeypatch.setattr(studies, "build", lambda _: Algorithm())
    rows = list(studies.train(Run("study", "rnd", "example", 0, 800, 0.9, after=after)))
    assert rows[-1]["agent_steps"] == ended_at
    assert [row["done"] for row in rows] == [0] * (len(rows) - 1) + [1]


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


# --- short runs, compared by their steps ----------------------------------------------------------------------------


def ends(steps: Mapping[str, tuple[int, ...]], path: Path, enough: bool = True) -> list[Variant]:
    """Runs that end at such agent steps, good enough or not."""

    def carry_out(run: Run) -> Iterator[Row]:
        last = {"agent_steps": run.budget, "seconds": 4.0, "return_mean": 0.9 if enough else 0.1, "done": 1}
        yield {**run.columns, **last, "commit": "58536e0"}

    found = [Run("s", name, "e", i, n, 0.9) for name, own in steps.items() for i, n in enumerate(own)]
    run_missing(found, path, carry_out)
    return variants_in(path, list(steps))


def test_steps_to_enough_have_an_interval_and_fewer_are_better(tmp_path: Path) -> None:
    task, steps = Task("title", 0.9), {"slow": (500, 600, 700), "fast": (100, 200, 600)}
    found = ends(steps, tmp_path / "s.csv")
    cells = steps_column(task, found)["agent steps (IQM)"]
    assert str(cells["slow"]) == "600 [500, 700]" and str(cells["fast"]).startswith("300 [100")
    lines = sooner(task, found, "slow")
    assert lines[0] == "| variant | sooner than | probability |" and len(lines) == 3
    assert lines[2].startswith("| fast | slow | 0.83")  # 7.5 of 9 pairs: one is equal


def test_of_few_seeds_there_is_no_interval_and_no_comparison(tmp_path: Path) -> None:
    task, found = Task("title", 0.9), ends({"slow": (500, 600, 700), "fast": (100, 200)}, tmp_path / "s.csv")
    assert list(steps_column(task, found)["agent steps (IQM)"]) == ["slow"]
    assert sooner(task, found, "slow") == sooner(task, found, "fast") == []
    blocks = blocks_of_short_runs("s", task, found, "slow")
    assert blocks[0][3].split(" | ")[7] == "-" and all(blocks)


def test_a_run_that_was_never_good_enough_counts_with_all_its_steps(tmp_path: Path) -> None:
    (variant,) = ends({"never": (800, 800, 800)}, tmp_path / "s.csv", enough=False)
    assert steps_to_enough(variant.runs[0], 0.9) == 800
    assert summary(Task("title", 0.9), [variant])[2].split(" | ")[5] == "0 of 3"


def test_a_short_run_takes_cpu_time_and_no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_ray(*_: object) -> None:
        raise AssertionError("Ray was asked for")

    monkeypatch.setattr("ray.put", no_ray)
    monkeypatch.setattr("experiments.short_runs.time.process_time", iter((10.0, 12.5)).__next__)
    settings = ("env_config.size=4", "num_envs_per_env_runner=4", "rollout_fragment_length=8", "warmup_steps=8")
    (row,) = train_here(Run("deep_sea", "rnd", "deep_sea_rnd", 0, 1, 2.0, settings=settings))
    assert row["seconds"] == 2.5 and row["agent_steps"]


def test_losses_and_backbones_are_compared_with_all_else_equal() -> None:
    """A run of each study's every variant can be made, and differs from the baseline's in what is compared alone."""
    for planned, task, compared in (
        (auxiliary_losses.planned, "catch", "auxiliary_loss"),
        (auxiliary_losses.planned, "deep_sea_pixels", "auxiliary_loss"),
        (explorative_attention.planned, "catch", "backbone"),
        (explorative_attention.planned, "deep_sea_pixels", "backbone"),
    ):
        names = list(auxiliary_losses.LOSSES if compared == "auxiliary_loss" else explorative_attention.BACKBONES)
        runs = list(planned(task, names, [0]))
        assert [run.variant for run in runs] == names
        rest = set()
        for run in runs:
            (experiment,) = load_experiments(EXAMPLES / f"{run.example}.yaml", Overrides(settings=run.settings))
            assert experiment.sample_config().intrinsic_reward
            others = [setting for setting in run.settings if not setting.startswith(f"{compared}=")]
            rest.add((run.example, run.budget, run.enough, *others))
        assert len(rest) == 1 and len({run.settings for run in runs}) == len(runs)
