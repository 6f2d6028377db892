"""Reading ``result.json``: the same metrics as the table of metrics gives, cut lines, very long files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_rnd.analysis.results.rows import curated_fast, joined, read_rows, rows_of, thin
from rllib_rnd.analysis.results.run import MACHINE_MEMORY
from rllib_rnd.checkpoints import results_of
from rllib_rnd.tracking.metrics import METRICS, curated
from tests.analysis.results.made_runs import result


def write(path: Path, rows: list[Any], end: str = "") -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + end)
    return path


def full_result() -> dict[str, Any]:
    """Every path of the table, second rewards, a user's metrics, and what is no number."""
    nested: dict[str, Any] = {}
    paths = [path for metric in METRICS for path in metric.paths]
    first = "learners/default_policy/intrinsic_reward_mean"
    paths += [f"{first}_1", f"{first}_2", "env_runners/mine", "env_runners/deep/mine", "evaluation/env_runners/mine"]
    paths += ["learners/default_policy/plugins/rnd_loss", "my_metric", "learners/default_policy/unknown", "perf/ram"]
    for number, path in enumerate(paths):
        *parts, last = path.split("/")
        section = nested
        for part in parts:
            section = section.setdefault(part, {})
        section[last] = float(number + 1)
    nested["env_runners"] |= {"text": "x", "flag": True, "nothing": None, "nan": float("nan"), "list": [1.0]}
    return nested


def test_metrics_are_those_of_the_table() -> None:
    everything = full_result()
    assert curated_fast(everything) == curated(everything)
    # Where an algorithm keeps a metric at the second place only; where it reports no throughput.
    stock = {"learners": {"default_policy": {"vf_loss": 2.0}}, "env_runners": {"num_env_steps_sampled": 50.0}}
    stock["time_this_iter_s"] = 4.0  # type: ignore[assignment]
    assert curated_fast(stock) == curated(stock) == {"vf_loss_extrinsic": 2.0, "agent_steps_per_s": 12.5}


def test_the_machines_memory_is_read_from_what_tune_adds() -> None:
    row = {"perf": {"ram_util_percent": 33.0, "cpu_util_percent": 9.0}, "training_iteration": 1}
    assert curated_fast(row) == {"iteration": 1.0, MACHINE_MEMORY: 33.0}


def test_the_second_of_two_places_counts_only_without_the_first() -> None:
    for keys in (("vf_loss", "vf_loss_extrinsic"), ("vf_loss_extrinsic", "vf_loss")):
        values = {"vf_loss": 1.0, "vf_loss_extrinsic": 2.0}
        row = {"learners": {"default_policy": {key: values[key] for key in keys}}}
        assert curated_fast(row) == {"vf_loss_extrinsic": 2.0}


@pytest.mark.parametrize(
    "end", ["", '{"training_iteration": 3, "env_ru', "\x00\x00\x00", "[1, 2]\n", "\n\n", "nonsense\n"]
)
def test_lines_that_are_no_result_are_left_out(tmp_path: Path, end: str) -> None:
    rows = read_rows(write(tmp_path / "result.json", [result(1, None), result(2, 5.0)], end))
    assert [row["iteration"] for row in rows.values] == [1, 2]
    assert "return_mean" not in rows.values[0]
    assert rows.values[1]["return_mean"] == 5.0
    assert rows.last["training_iteration"] == 2
    assert rows.unreadable == 0  # the end of a file is what a kill cuts short


@pytest.mark.parametrize("damage", [b'{"a": broken', b"\xff\xfe\x80\x00", b"3"])
def test_damaged_lines_are_counted(tmp_path: Path, damage: bytes) -> None:
    path = write(tmp_path / "result.json", [result(1, None), result(2, 5.0)])
    first, second = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, damage, damage, second, damage]))
    rows = read_rows(path)
    assert (len(rows.values), rows.unreadable) == (2, 2)
    assert [found["training_iteration"] for found in results_of(tmp_path)] == [1, 2]
    path.write_bytes(damage)
    assert (read_rows(path).values, read_rows(path).unreadable, results_of(tmp_path)) == ([], 1, [])


def test_a_users_entry_that_is_called_config(tmp_path: Path) -> None:
    row = {"mine": {"config": {"a": 3.0}, "b": 4.0}, **result(1, 2.0)}
    rows = read_rows(write(tmp_path / "result.json", [row]))
    assert rows.values[0]["return_mean"] == 2.0
    assert rows.values[0]["mine/b"] == 4.0


def test_no_file_and_an_empty_one_have_no_rows(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "result.json").values == []
    assert read_rows(write(tmp_path / "result.json", [])).values == []


@pytest.mark.parametrize("padding", [0, 3000])
def test_a_long_file_is_read_at_even_distances(tmp_path: Path, padding: int) -> None:
    """Whole lines only, each once, the first and the last among them, in order."""
    count = 2000
    every = [{"training_iteration": i, "pad": "x" * (padding + i % 7)} for i in range(1, count + 1)]
    path = write(tmp_path / "result.json", every)
    rows = read_rows(path, max_rows=100)
    numbers = [int(row["iteration"]) for row in rows.values]
    assert numbers == sorted(set(numbers))
    assert (numbers[0], numbers[-1]) == (1, count)
    assert 90 <= len(numbers) <= 102
    assert max(np.diff(numbers)) <= 2 * count / 100
    assert 15 <= rows.thinned <= 25
    with path.open("a") as file:  # and a last line that is cut short
        file.write('{"training_iteration": 2001, "pad": "xxxx')
    assert int(read_rows(path, max_rows=100).values[-1]["iteration"]) == count


def test_only_the_metrics_that_are_asked_for(tmp_path: Path) -> None:
    rows = read_rows(write(tmp_path / "result.json", [result(1, 2.0)]), metrics=["return_mean"])
    assert set(rows.values[0]) == {"agent_steps", "iteration", "return_mean"}


def test_thinning_keeps_the_last_row() -> None:
    assert thin(list(range(10)), 10) == (list(range(10)), 1)
    kept, step = thin(list(range(10)), 4)
    assert (kept, step) == ([0, 3, 6, 9], 3)
    assert thin(list(range(11)), 4)[0][-1] == 10


def test_rows_that_were_trained_again_are_replaced() -> None:
    """A run that was killed after iteration 4 and went on from its checkpoint of iteration 2."""
    first = [{"agent_steps": 10.0 * i, "iteration": float(i), "return_mean": 1.0} for i in (1, 2, 3, 4)]
    again = [{"agent_steps": 9.0 * i, "iteration": float(i), "return_mean": 2.0} for i in (3, 4, 5)]
    arrays = joined([*first, *again])
    assert arrays["iteration"].tolist() == [1, 2, 3, 4, 5]
    assert arrays["return_mean"].tolist() == [1, 1, 2, 2, 2]
    assert (np.diff(arrays["agent_steps"]) > 0).all()
    assert joined(rows_of(arrays))["return_mean"].tolist() == arrays["return_mean"].tolist()


def test_absent_values_are_nan_and_pretraining_has_no_steps() -> None:
    arrays = joined([{"iteration": 1.0, "pretraining_loss": 3.0}, {"iteration": 2.0, "agent_steps": 5.0}])
    assert arrays["agent_steps"].tolist() == [0.0, 5.0]
    assert np.isnan(arrays["pretraining_loss"][1])
    assert joined([]) == {}
