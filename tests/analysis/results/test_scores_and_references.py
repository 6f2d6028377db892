"""Tables of scores and of references: what is read, what is refused, and that what was published comes out again."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from rllib_rnd.analysis.results.references import from_file, packaged, references_of, upper
from rllib_rnd.analysis.results.score_file import is_score_file, read_scores
from rllib_rnd.analysis.results.score_sections import (
    aggregates,
    group_table,
    normalised_table,
    shared,
    wins_table,
)
from rllib_rnd.analysis.results.settings import task_of
from rllib_rnd.errors import ConfigError

EXPERIMENTS = Path(__file__).resolve().parents[3] / "experiments"
ATARI = EXPERIMENTS / "self_attention" / "atari56.csv"
VARIANTS = ("NA", "SWA", "CWRA", "CWCA", "CWRCA")


def written(folder: Path, text: str) -> Path:
    path = folder / "scores.csv"
    path.write_text(text)
    return path


def test_the_published_wins_come_out_again() -> None:
    table = read_scores(ATARI, group="axis")
    assert {row[0]: row[1] for row in wins_table(table).rows} == dict(zip(VARIANTS, (23, 5, 8, 14, 6), strict=True))
    names = {"H": "horizontal", "V": "vertical"}
    groups = {task: names.get(axis, "others") for task, axis in table.groups.items()}
    found = {row[0]: row[1:] for row in group_table(dataclasses.replace(table, groups=groups)).rows}
    counts = {group: tuple(int(str(cell).split()[0]) for cell in row) for group, row in found.items()}
    assert counts == {
        "horizontal": (12, 3, 0, 1, 8, 0),
        "vertical": (18, 5, 4, 4, 3, 2),
        "others": (26, 15, 1, 3, 3, 4),
    }
    assert "66.7%" in str(found["horizontal"][4])


def test_the_published_medians_and_means_come_out_again() -> None:
    scores = shared(normalised_table(read_scores(ATARI)))
    found = aggregates(scores, ("median", "mean"), seed=0)
    published = {"median": (0.432, 0.366, 0.401, 0.417, 0.373), "mean": (1.62, 1.51, 1.64, 1.63, 1.45)}
    for name, values in published.items():
        digits = 3 if name == "median" else 2
        assert [round(found[name][variant].value, digits) for variant in VARIANTS] == list(values)


def test_a_long_table_with_seeds_and_a_missing_run(tmp_path: Path) -> None:
    text = "task,variant,seed,score,human,random\nx,a,0,1,10,0\nx,a,1,3,10,0\nx,b,0,,10,0\nx,b,1,2,10,0\ny,a,0,5,,\n"
    path = written(tmp_path, text)
    assert is_score_file(path) and not is_score_file(EXPERIMENTS / "pixels" / "catch.csv")
    table = read_scores(path)
    np.testing.assert_array_equal(table.scores["x"]["a"], [1.0, 3.0])
    np.testing.assert_array_equal(table.scores["x"]["b"], [np.nan, 2.0])
    assert table.references == {"x": {"human": 10.0, "random": 0.0}, "y": {}}
    assert [len(task) for task in shared(table)["b"]] == [1], "of the task that both played, without the missing run"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no column 'task'"),
        ("task,variant,score\n", "has no rows"),
        ("task,variant,points\nx,a,1\n", "no column 'score' or 'mean'"),
        ("task,points\nx,1\n", "neither a column 'variant' nor columns VARIANT_mean"),
        ("task,variant,score\nx,a,1\nx,a,2\n", "line 3: a second score of a variant without a seed of a on x"),
        ("task,variant,seed,score\nx,a,0,1\nx,a,0,2\n", "line 3: a second score of seed 0 of a on x"),
        ("task,variant,score\nx,a,many\n", "line 2, score: 'many' is no number"),
        (
            "game,a_mean,b_best\nx,1,2\n",
            "b has only its best, the others their mean: one cannot be held",
        ),
        ("game,a_last\nx,1\n", "no column ends in _mean"),
    ],
)
def test_bad_tables_are_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_scores(written(tmp_path, text))
    message = str(caught.value)
    assert words in message and "scores.csv" in message and "\n" not in message


def test_an_unknown_column_of_groups_has_a_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'axis'"):
        read_scores(ATARI, group="axes")


def test_references_are_those_that_were_measured_and_published() -> None:
    known = packaged()
    with ATARI.open() as file:
        for row in csv.DictReader(file):
            assert known[row["game"]] == {"random": float(row["random"]), "human": float(row["human"])}
    own = 0
    for row in json.loads((EXPERIMENTS / "reference_returns" / "results.json").read_text()):
        if not row["env"].startswith("ALE/"):
            options = {f"env_config.{key}": value for key, value in json.loads(row["env_config"] or "{}").items()}
            task, _ = task_of({"env": row["env"], **options})
            name = "random" if row["policy"] == "random" else "heuristic"
            assert known[task][name] == pytest.approx(row["mean return"], rel=1e-5), task
            own += 1
    assert own > 15


@pytest.mark.parametrize(
    "task", ["ALE/Breakout-v5", "BreakoutNoFrameskip-v4", "Breakout", "ALE/Breakout-v5 (full_action_space=true)"]
)
def test_a_game_is_known_by_all_its_names(task: str) -> None:
    assert references_of(task, packaged()) == {"random": 1.7, "human": 30.5}


def test_references_of_a_user(tmp_path: Path) -> None:
    known = from_file(written(tmp_path, "task,random,heuristic,paper\nmine,1,3,2.5\nother,,,\n"))
    assert known == {"mine": {"random": 1.0, "heuristic": 3.0, "paper": 2.5}}
    assert (
        upper(known["mine"]) == 3.0 and upper({"random": 1.0}) is None and upper({"random": 1.0, "human": 1.0}) is None
    )
    assert references_of("CartPole-v2", known) == {}
    for text, words in (("game,random\nx,1\n", "no column 'task'"), ("task,random\nx,one\n", "line 2, random")):
        with pytest.raises(ConfigError, match=words):
            from_file(written(tmp_path, text))
    with pytest.raises(ConfigError, match="cannot be read"):
        from_file(tmp_path / "none.csv")
