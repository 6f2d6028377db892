"""The MiniGrid benchmark: what is run, in which order, how it is cut and gone on with, and what its tables say."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import long_runs, scheduling
from experiments.long_runs import Worker, describe, is_kept, keep, rows_in, settings_digest, thinned, write_rows
from experiments.minigrid_benchmark import report, search
from experiments.minigrid_benchmark.tasks import REWARDS, SEARCH_TASK, SEEDS, TASKS, example_of, planned
from experiments.scheduling import Outcome, Schedule, job_of
from experiments.studies import EXAMPLES, Run
from rllib_rnd.experiment.file import Overrides, load_experiments
from rllib_rnd.experiment.yaml_file import load_yaml

HERE = Path(report.__file__).parent


def block_of(example: str) -> dict[str, Any]:
    (block,) = load_yaml(EXAMPLES / f"{example}.yaml")[0].values()
    assert isinstance(block, dict)
    return block


def row(steps: int, **changes: object) -> dict[str, str]:
    known = {"variant": "rnd", "seed": 0, "agent_steps": steps, "seconds": steps / 1000, "cpu_s": steps / 500}
    rest = {"return_mean": 0.5, "intrinsic_reward": 0.1, "rooms": "", "budget": 1000, "settings": "s0", "done": 0}
    return {name: str(value) for name, value in {**known, **rest, "commit": "58536e0", **changes}.items()}


# --- what is run ----------------------------------------------------------------------------------------------------


def test_the_examples_differ_in_the_reward_alone() -> None:
    blocks = [block_of(example_of(reward)) for reward in REWARDS]
    for block in blocks:
        reward = block["config"].pop("intrinsic_reward", None)
        block["config"].pop("warmup_steps", None)
        if reward is not None:
            normalized = reward["type"] != "count"
            assert (reward["gamma"], reward.get("normalize_reward", True)) == (0.99, normalized)
    assert all(block == blocks[0] for block in blocks)


def test_all_rewards_of_a_seed_come_before_the_next_seed() -> None:
    runs = list(planned(["doorkey_8x8", "multiroom_n7_s4_tv"], ["none", "rnd"], [0, 1]))
    first = [(run.variant, run.seed) for run in runs[:4]]
    assert first == [("none", 0), ("rnd", 0), ("none", 1), ("rnd", 1)]
    assert [run.study for run in runs] == ["doorkey_8x8"] * 4 + ["multiroom_n7_s4_tv"] * 4
    assert runs[-1].env == "MiniGrid-MultiRoom-N7-S4-v0" and "env_config.noisy_tv=true" in runs[-1].settings
    assert {run.budget for run in planned(["doorkey_8x8"], ["rnd"], [0], 7)} == {7}


def test_kept_runs_had_the_settings_of_the_examples() -> None:
    for name in TASKS:
        digests = {run.variant: settings_digest(run) for run in planned([name], list(REWARDS), [0])}
        for kept in rows_in(HERE / f"{name}.csv"):
            assert kept["settings"] == digests[kept["variant"]], (
                f"{name}: {kept['variant']} was run with other settings"
            )


def test_the_search_uses_neither_the_tables_tasks_nor_its_seeds() -> None:
    runs = list(search.searched(list(REWARDS)))
    assert len(runs) == 62 and len({(run.variant, run.seed) for run in runs}) == 62
    assert not {run.seed for run in runs} & set(SEEDS)
    assert {run.env for run in runs} == {SEARCH_TASK.env} and SEARCH_TASK.env not in {t.env for t in TASKS.values()}
    for reward in REWARDS:
        own = [run for run in runs if run.variant.split()[0] == reward and run.seed == search.SEEDS[0]]
        for run in own[:2]:
            (experiment,) = load_experiments(EXAMPLES / f"{run.example}.yaml", Overrides(settings=run.settings))
            assert experiment.sample_config()


def test_a_kept_run_with_other_settings_is_done_anew(tmp_path: Path) -> None:
    keep(tmp_path / "task.csv", task("rnd"), [row(1000, settings=settings_digest(task("rnd")))], 10.0)
    assert is_kept(tmp_path / "task.csv", task("rnd"))
    assert not is_kept(tmp_path / "task.csv", task("rnd", settings=("lr=1.0e-3",)))


# --- cut and gone on with -------------------------------------------------------------------------------------------


@pytest.fixture
def tiny() -> Run:
    settings = ("env_config.size=4", "num_envs_per_env_runner=4", "rollout_fragment_length=8", "warmup_steps=8")
    return Run("deep_sea", "rnd", "deep_sea_rnd", 3, 100, 2.0, settings=settings)


def test_a_run_that_was_cut_goes_on_and_ends_as_the_uncut_one(
    tiny: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut after two iterations by SIGTERM; a third, after the checkpoint, is lost with its process and done again."""

    def train(folder: Path, stop_after: int | None = None) -> list[dict[str, str]]:
        describe(tiny, folder, checkpoint_s=1e9)
        worker = Worker(folder)

        def append(path: Path, new: dict[str, str]) -> None:
            with path.open("a", newline="") as file:
                csv.DictWriter(file, list(new)).writerow(new)
            if len(rows_in(path)) == stop_after:
                signal.raise_signal(signal.SIGTERM)

        monkeypatch.setattr(long_runs, "append_row", append)
        assert worker.carry_out() == (stop_after is None)
        return rows_in(folder / "rows.csv")

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        whole = train(tmp_path / "whole")
        cut = train(tmp_path / "cut", stop_after=2)
        write_rows(tmp_path / "cut" / "rows.csv", [*cut, {**cut[-1], "agent_steps": "9999"}])
        ended = train(tmp_path / "cut")
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert len(cut) == 2 and len(ended) == len(whole) > 3
    told = ("agent_steps", "return_mean", "intrinsic_reward", "done")
    assert [[r[name] for name in told] for r in ended] == [[r[name] for name in told] for r in whole]
    assert [float(r["cpu_s"]) for r in ended] == sorted(float(r["cpu_s"]) for r in ended)


def task(variant: str, seed: int = 0, budget: int = 1000, settings: tuple[str, ...] = ()) -> Run:
    return Run("task", variant, "deep_sea_rnd", seed, budget, 2.0, settings=settings)


FAKE = """
import csv, json, signal, sys, time
folder = sys.argv[1]
asked = json.load(open(folder + "/run.json"))
if asked["variant"] == "bad":
    sys.exit(3)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
steps = 1 if asked["variant"] == "endless" else asked["budget"]
fields = {fields}
known = {{"variant": asked["variant"], "seed": asked["seed"], "agent_steps": steps, "settings": {settings!r}}}
row = dict.fromkeys(fields, "1") | known
with open(folder + "/rows.csv", "w", newline="") as file:
    writer = csv.DictWriter(file, fields)
    writer.writeheader()
    writer.writerow(row)
while asked["variant"] == "endless":
    time.sleep(0.01)
"""


def schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variants: Iterable[str], seconds: float
) -> tuple[Outcome, list[str]]:
    """Carries out runs whose process is `FAKE`."""
    script, said = tmp_path / "fake.py", list[str]()
    runs = [task(variant) for variant in variants]
    script.write_text(FAKE.format(fields=list(row(1)), settings=settings_digest(task("a"))))
    start = subprocess.Popen
    monkeypatch.setattr(scheduling, "_LOOK_S", 0.02)
    monkeypatch.setattr(
        scheduling.subprocess, "Popen", lambda command, **kw: start([sys.executable, str(script), command[-1]], **kw)
    )
    jobs = [job_of(run, tmp_path / "work", tmp_path, 10.0) for run in runs]
    return Schedule(jobs, 2, seconds, 300.0, said.append).carry_out(), said


def test_a_schedule_keeps_what_is_done_and_goes_on_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome, said = schedule(tmp_path, monkeypatch, ["bad", "a", "b"], 60.0)
    assert outcome.failed == ["task bad seed 0"] and set(outcome.done) == {"task a seed 0", "task b seed 0"}
    assert {kept["variant"] for kept in rows_in(tmp_path / "task.csv")} == {"a", "b"}
    assert sum("exit code 3" in line and "log.txt" in line for line in said) == 3
    again, said = schedule(tmp_path, monkeypatch, ["a", "b"], 60.0)
    assert not again.done and said == ["0 runs are to be done, 2 at a time"]


def test_a_schedule_stops_every_run_when_its_time_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome, said = schedule(tmp_path, monkeypatch, ["endless", "a", "c"], 1.0)
    assert outcome.left == 1 and not outcome.failed and set(outcome.done) == {"task a seed 0", "task c seed 0"}
    assert any(line.startswith("stopped task endless seed 0: 1 of 1,000 agent steps") for line in said)


def test_a_longer_run_takes_the_place_of_the_shorter_one(tmp_path: Path) -> None:
    run, path = task("rnd"), tmp_path / "task.csv"
    now = settings_digest(run)
    keep(path, run, [row(500, settings=now), row(1000, settings=now, done=1)], 10.0)
    keep(path, task("rnd", 1), [row(1000, seed=1)], 10.0)
    assert is_kept(path, run) and not is_kept(path, task("rnd", budget=2000))
    keep(path, run, [row(500), row(1000, done=1), row(2000, budget=2000)], 10.0)
    assert [(r["seed"], r["agent_steps"]) for r in rows_in(path)] == [
        ("1", "1000"), ("0", "500"), ("0", "1000"), ("0", "2000")
    ]  # fmt: skip


def test_rows_are_thinned_to_one_per_stretch_and_the_last() -> None:
    steps = [int(r["agent_steps"]) for r in thinned([row(s) for s in range(100, 1000, 100)], 300.0)]
    assert steps == [100, 300, 600, 900]
    assert [int(r["agent_steps"]) for r in thinned([row(s) for s in (100, 310, 320)], 300.0)] == [100, 310, 320]
    assert thinned([], 1.0) == []


# --- the tables -----------------------------------------------------------------------------------------------------


def study(folder: Path, ends: Mapping[tuple[str, int], float], budget: int = 1_000_000, longest: int = 0) -> None:
    """Runs of DoorKey whose return rises at half of the budget, 500 agent steps per second of a core."""
    rows: list[dict[str, str]] = []
    for (variant, seed), end in ends.items():
        for steps in range(budget // 20, max(budget, longest) + 1, budget // 20):
            value = end if steps > budget // 2 else 0.0
            rows.append(row(steps, variant=variant, seed=seed, return_mean=value, budget=max(budget, longest)))
    write_rows(folder / "doorkey_8x8.csv", rows)
    measured = [{"command": "python -m experiments.minigrid_benchmark.run", "hardware": "2 cores"}]
    (folder / "provenance.json").write_text(json.dumps(measured))


def test_tables_say_of_how_many_seeds_they_are(tmp_path: Path) -> None:
    """Three seeds have an interval, one has none; a reward that was not run is a dash."""
    study(tmp_path, {("rnd", 0): 0.9, ("rnd", 1): 0.9, ("rnd", 2): 0.6, ("none", 0): 0.0})
    text = report.results(tmp_path)
    assert "| rnd | 0.80 [0.60, 0.90] (3 of 5 seeds, 1 M) |" in text
    assert "| none | 0.00 (1 of 5 seeds, 1 M) |" in text
    assert "| ngu | - |" in text and "Aggregates" not in text
    assert "| rnd | 3 of 5 | 1 M | 0.80 [0.60, 0.90] | 0.6 | 0.9 | 2 of 3 | 550,000 | 500 | 1.67 |" in text
    assert "| DEIR (PPO, GRU) | 0.908 | 0.123 M | 0.12 |" in text


def test_a_longer_run_counts_at_the_budget_of_its_task_and_has_a_row_of_its_own(tmp_path: Path) -> None:
    study(tmp_path, {("rnd", 0): 0.9}, longest=2_000_000)
    text = report.results(tmp_path)
    assert "| rnd | 0.90 (1 of 5 seeds, 2 M) |" not in text
    assert "| rnd | 0.90 (1 of 5 seeds, 1 M) |" in text
    assert "| rnd, 2 M | 1 of 5 | 2 M |" in text


def test_the_figure_has_a_line_per_reward_and_the_published_return(tmp_path: Path) -> None:
    study(tmp_path, {("rnd", 0): 0.9, ("none", 0): 0.0})
    figure = report.figure(report.found(tmp_path)).draw()
    drawn = [line for line in figure.axes[0].lines if np.asarray(line.get_xdata()).size > 2]
    assert len(drawn) == 2
    report.draw(tmp_path)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_search_tells_which_settings_solve_its_task(tmp_path: Path) -> None:
    """Two seeds of one, of which one comes to 0.8 in the last tenth; one of another."""
    told = [("rnd coeff 1", 0, 0.9), ("rnd coeff 1", 1, 0.5), ("none entropy_coeff 0.01", 0, 0.1)]
    write_rows(tmp_path / "search.csv", [row(1000, variant=v, seed=s, return_mean=r) for v, s, r in told])
    text = report.results(tmp_path)
    assert "| rnd | coeff 1 | 1 of 2 | 0.7 | 0.7 | 0.1 |" in text
    assert text.index("| none | entropy_coeff 0.01 | 0 of 1 | 0.1 | 0.1 | 0.0 |") < text.index("| rnd |")
