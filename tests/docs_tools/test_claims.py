"""What sentences say of the study of rewards is what its runs did: who solves which task, with how many seeds."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pandas as pd
import pytest

from docs_tools.generate import BLOCK
from docs_tools.sources import DOCS, ROOT
from experiments.bonus_check.run import HERE, TASKS

STUDY = HERE / "README.md"
PAGES = [STUDY, DOCS / "dynamics_rewards.md", DOCS / "episodic_rewards.md", DOCS / "snd.md"]
NAMED = {"MiniGrid": "minigrid", "DeepSea": "deep_sea_pixels"}
#: The words in which a page says it; the task is the one that was named last.
CLAIM = re.compile(
    r"(?P<who>`\w+`(?:(?:, | and )`\w+`)*) (?:solves?|does|do) (?:(?P<both>both|neither) )?(?:it |the task )?with "
    r"(?P<seeds>every seed|two of three|one of three|none|any)"
)
SEEDS = {"every seed": 3, "two of three": 2, "one of three": 1, "none": 0, "any": 0}
#: Such a count has no place beside the table that has it.
COUNTED = re.compile(r"\b(?:no|any|all|each|every|one|two|three|[0-9]) seeds?\b|\bof three\b|\b[0-9,.]+ positions\b")


@functools.cache
def solved(task: str) -> dict[str, int]:
    """With how many of its seeds each reward came to the return that is enough."""
    best = pd.read_csv(HERE / f"{task}.csv").groupby(["variant", "seed"]).return_mean.max()
    return (best >= TASKS[task].enough).groupby("variant").sum().to_dict()


def claims(page: Path) -> list[tuple[str, str, int]]:
    """Task, reward and number of seeds of every claim of a page."""
    found, text = [], BLOCK.sub("", page.read_text(encoding="utf-8"))
    for match in CLAIM.finditer(text):
        before = text[: match.start()]
        tasks = list(NAMED) if match["both"] else [max(NAMED, key=before.rfind)]
        who = re.findall(r"`(\w+)`", match["who"])
        found += [(NAMED[task], name, SEEDS[match["seeds"]]) for task in tasks for name in who]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_who_solves_what_is_what_the_runs_did(page: Path) -> None:
    said = claims(page)
    assert len(said) > 5
    assert [(*one, solved(one[0])[one[1]]) for one in said if solved(one[0])[one[1]] != one[2]] == []


@pytest.mark.parametrize("task", NAMED.values())
def test_the_study_names_all_that_solve_a_task_with_every_seed(task: str) -> None:
    said = {name for where, name, seeds in claims(STUDY) if where == task and seeds == 3}
    assert said == {name for name, seeds in solved(task).items() if seeds == 3}


def test_the_study_names_all_that_solve_neither_task() -> None:
    grid, sea = solved("minigrid"), solved("deep_sea_pixels")
    said = {name for _, name, seeds in claims(STUDY) if seeds == 0}
    assert said == {name for name in grid if grid[name] == sea[name] == 0} - {"none"}


@pytest.mark.parametrize("page", sorted((DOCS / "rewards").glob("*.md")), ids=lambda page: page.stem)
def test_a_page_of_a_reward_leaves_counts_to_its_table(page: Path) -> None:
    lines = BLOCK.sub("", page.read_text(encoding="utf-8")).splitlines()
    assert [one for one in lines if re.search("|".join(NAMED), one) and COUNTED.search(one)] == []
