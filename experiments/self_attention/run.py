"""Self-attention on 56 games of Atari: the published scores through the statistics of ``rllib report``.

    python -m experiments.self_attention.run
    python -m experiments.self_attention.run --report-only   # the same: nothing is trained here

Reads atari56.csv; writes results.md and a figure.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from experiments.report import document, image, section
from experiments.studies import study_parser
from rllib_rnd.analysis.results.content import Question
from rllib_rnd.analysis.results.score_file import read_scores
from rllib_rnd.analysis.results.score_sections import (
    group_table,
    means_table,
    overall_section,
    wins_table,
)
from rllib_rnd.analysis.results.scores import ScoreTable
from rllib_rnd.analysis.results.tables import markdown_lines

HERE = Path(__file__).parent
DATA = HERE / "atari56.csv"
FIGURE = "profiles"
#: The published groups: games without one axis of dynamics are together.
GROUPS: Mapping[str, str] = {"H": "horizontal", "V": "vertical"}
_FINER: Mapping[str, str] = {
    "H": "horizontal",
    "V": "vertical",
    "O-multi": "several axes",
    "O-far": "far-off axis",
    "O-none": "no axis",
}
_MEASURED = "Seeds: 0, 1, 10, 42, 1234, as means over them; runs: 1,400 of 10,000,000 agent steps each, published."


def scores(statistic: str = "mean") -> ScoreTable:
    """The published scores: means over five seeds, of all 50 evaluations of a run or of the last."""
    return read_scores(DATA, "return", "axis", statistic)


def grouped_by(names: Mapping[str, str], others: str = "others") -> ScoreTable:
    """The scores with games in groups of these names."""
    table = scores()
    return dataclasses.replace(table, groups={task: names.get(axis, others) for task, axis in table.groups.items()})


def results() -> str:
    """The text of results.md."""
    table, question = scores(), Question()
    overall = {found.name: found for found in overall_section(table, question).tables}
    means = [
        ("Games won, by the mean over training", wins_table(table)),
        ("Games won, by the last evaluation", wins_table(scores("last"))),
        ("Games won, by axis of dynamics", group_table(grouped_by(GROUPS))),
        ("Games won, by finer groups", group_table(grouped_by(_FINER))),
        ("Human-normalised scores", overall["aggregates"]),
        ("Probability of improvement, over games", overall["improvement"]),
        ("Return of every game", means_table(table)),
    ]
    sections = [section(title, markdown_lines(shown)) for title, shown in means]
    figure = section("Share of games above each score", image("Performance profiles", f"{FIGURE}.png"))
    return document(HERE, "Self-attention on 56 games", *sections, figure, [_MEASURED])


def draw() -> None:
    """The figure, as the report draws it."""
    (chart,) = (c for c in overall_section(scores(), Question()).every_chart() if c.name == FIGURE)
    (HERE / f"{FIGURE}.png").write_bytes(chart.files()[f"{FIGURE}.png"])


def main() -> None:
    """Writes the report."""
    study_parser(__doc__).parse_args()
    draw()
    (HERE / "results.md").write_text(results())


if __name__ == "__main__":
    main()
