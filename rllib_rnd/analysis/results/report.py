"""A report of runs, or of a table of scores: its sections, and the files that it is written to."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rllib_rnd.analysis.figures.pages import page_environment
from rllib_rnd.analysis.results.content import Question, Section
from rllib_rnd.analysis.results.figures.chart import DARK, LIGHT, Picture
from rllib_rnd.analysis.results.groups import Variant, remarks
from rllib_rnd.analysis.results.health import health_section
from rllib_rnd.analysis.results.references import References, references_of
from rllib_rnd.analysis.results.run_sections import curves_section, differences_section, exploration_section
from rllib_rnd.analysis.results.score_sections import overall_section, task_section
from rllib_rnd.analysis.results.scores import ScoreTable, scores_of
from rllib_rnd.analysis.results.sweep_sections import sweep_sections
from rllib_rnd.analysis.results.tables import Json, Table, csv_text, is_number, json_of, latex_text, shown
from rllib_rnd.analysis.results.verdict import verdict

TEMPLATE = "report.html.jinja"
_UNEQUAL = 1.05  # the longest run over the shortest, from which their lengths are called unequal
_MOST_NAMED = 6
_MOST_MARKS = 8


@dataclass(frozen=True)
class Report:
    """What is written.

    Attributes:
        title: of the page.
        facts: label -> text, below it.
        verdict: sentences.
        marks: what is to be known of some runs before anything is believed.
        sections: in order.
    """

    title: str
    facts: Mapping[str, str]
    verdict: tuple[str, ...]
    marks: tuple[str, ...]
    sections: tuple[Section, ...]


def report_of_runs(
    tasks: Mapping[str, Sequence[Variant]],
    question: Question,
    references: References,
    notes: Sequence[str] = (),
    maps: Sequence[Picture] = (),
) -> Report:
    """The report of runs.

    Args:
        tasks: variants by task.
        question: metric, threshold, baseline.
        references: scores by name, by task.
        notes: what was done to the runs before.
        maps: pictures of where they have been.
    """
    known = {task: found for task in tasks if (found := references_of(task, references))}
    table = dataclasses.replace(scores_of(tasks, question.metric), references=known)
    runs = [run for variants in tasks.values() for variant in variants for run in variant.runs]
    names = table.variants
    sections = (
        task_section(table),
        overall_section(table, question),
        *sweep_sections(tasks, question),
        curves_section(tasks, names, question, known if question.metric == "return_mean" else {}),
        exploration_section(tasks, names, maps),
        health_section(tasks, names),
        differences_section(tasks),
    )
    experiments = list(dict.fromkeys(run.experiment for run in runs))
    facts = _facts(table, question) | {"runs": f"{len(runs):,}", "experiments": _listed(experiments)}
    sentences = tuple(verdict(table, question, tasks))
    return Report(
        f"Results: {_listed(experiments)}",
        facts,
        sentences,
        (*notes, *marks([variant for group in tasks.values() for variant in group])),
        sections,
    )


def report_of_scores(table: ScoreTable, question: Question, title: str) -> Report:
    """The report of a table of scores, which has no curves."""
    sections = (task_section(table), overall_section(table, question))
    return Report(f"Results: {title}", _facts(table, question), tuple(verdict(table, question)), (), sections)


def _facts(table: ScoreTable, question: Question) -> dict[str, str]:
    facts = {"metric": table.metric, "tasks": _listed(table.tasks), "variants": _listed(table.variants)}
    if question.baseline is not None:
        facts["baseline"] = question.baseline
    return facts


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def marks(variants: Sequence[Variant]) -> list[str]:
    """What is to be known of some runs: how they ended, resumed, mixed settings, unequal lengths, thinned."""
    runs = [run for variant in variants for run in variant.runs]
    found = remarks(variants)
    if len(found) > _MOST_MARKS:
        found = [*found[:_MOST_MARKS], f"and {len(found) - _MOST_MARKS} more: see the table of runs"]
    begun = [run for run in runs if run.agent_steps]
    shortest, longest = (choose(begun, key=lambda run: run.agent_steps, default=None) for choose in (min, max))
    if shortest and longest and longest.agent_steps > _UNEQUAL * shortest.agent_steps:
        lengths = f"{shortest.agent_steps:,} ({shortest.name}) to {longest.agent_steps:,} agent steps"
        found.append(f"unequal lengths: {lengths}; scores are of the end of each run")
    thinned = [run.name for run in runs if run.thinned > 1]
    if thinned:
        found.append(f"not every row of {len(thinned)} long logs was read, but rows at even distances")
    damaged = [f"{run.unreadable} of {run.name}" for run in runs if run.unreadable]
    if damaged:
        found.append(f"damaged lines of result.json are left out: {_listed(damaged)}")
    return found


# --- files ----------------------------------------------------------------------------------------------------------


def page(report: Report, folder: str) -> str:
    """The report as HTML that needs nothing else.

    Args:
        report: any.
        folder: of the files beside it, which it names.
    """

    def right(table: Table, column: int) -> bool:
        return all(is_number(row[column]) for row in table.rows)

    template = page_environment("rllib_rnd.analysis.results").get_template(TEMPLATE)
    return template.render(report=report, folder=folder, light=LIGHT, dark=DARK, shown=shown, right=right)


def numbers(report: Report) -> dict[str, Json]:
    """All that is on the page but pictures."""
    return {
        "title": report.title,
        "facts": dict(report.facts),
        "verdict": list(report.verdict),
        "marks": list(report.marks),
        "sections": {
            section.name: {
                "title": section.title,
                "lines": list(section.lines),
                "left_out": section.left_out,
                "tables": {table.name: json_of(table) for table in section.every_table()},
            }
            for section in report.sections
        },
    }


def files_folder(out: Path) -> Path:
    """Where the files beside a page are."""
    return out.with_name(f"{out.stem}_files")


def write(report: Report, out: Path) -> list[Path]:
    """Writes the page, and beside it the numbers as JSON, CSV and LaTeX and the figures as SVG and PNG.

    Args:
        report: any.
        out: the page.

    Returns:
        The page and the folder.

    Raises:
        OSError: it cannot be written.
    """
    folder = files_folder(out)
    for part in (out.parent, folder / "tables", folder / "figures"):
        part.mkdir(parents=True, exist_ok=True)
    text = page(report, folder.name)
    for section in report.sections:
        for table in section.every_table():
            (folder / "tables" / f"{table.name}.csv").write_text(csv_text(table), encoding="utf-8")
            (folder / "tables" / f"{table.name}.tex").write_text(latex_text(table), encoding="utf-8")
        for chart in section.every_chart():
            for name, data in chart.files().items():
                (folder / "figures" / name).write_bytes(data)
    lines = json.dumps(numbers(report), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / "numbers.json").write_text(lines, encoding="utf-8")
    out.write_text(text, encoding="utf-8")
    return [out, folder]
