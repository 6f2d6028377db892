"""``rllib report``: turns runs, or a table of scores, into one page with its numbers and figures beside it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rllib_rnd.analysis.agent import checkpoint_config
from rllib_rnd.analysis.figures.exploration_map import exploration_figure, kinds_of
from rllib_rnd.analysis.results.content import Question
from rllib_rnd.analysis.results.figures.chart import Picture, settled
from rllib_rnd.analysis.results.groups import Variant, check_comparable, check_metric, grouped, truncated_to_shortest
from rllib_rnd.analysis.results.references import from_file, packaged
from rllib_rnd.analysis.results.report import Report, report_of_runs, report_of_scores, write
from rllib_rnd.analysis.results.run import Run
from rllib_rnd.analysis.results.runs import load_runs
from rllib_rnd.analysis.results.score_file import is_score_file, read_scores
from rllib_rnd.cli.checkpoints import find_checkpoint
from rllib_rnd.cli.map import common_grid, load_run, run_names
from rllib_rnd.cli.runtime import be_quiet, say
from rllib_rnd.cli.surroundings import cannot_write
from rllib_rnd.envs.info import PLACES, POSITION
from rllib_rnd.errors import ConfigError, at, unknown_name_error

_DEFAULT_METRIC = "return_mean"
_MOST_MAPPED = 8  # runs in one map
_MOST_MAPS = 4  # tasks that have a map


@dataclass(frozen=True)
class ReportOptions:
    """The options of ``rllib report``.

    Attributes:
        out: the page.
        experiment: of which all runs in the storage are taken.
        storage: where those are looked for.
        baseline: the variant that others are compared with.
        metric: that scores are of.
        threshold: of that metric, which is enough.
        truncate: cut all runs to the shortest.
        references: a CSV file of scores that are held against, or None.
        by: settings that alone tell variants apart.
        group: the column of a table of scores that tells groups of tasks apart.
        statistic: which columns of a wide table of scores count.
        maps: draw where runs have been, of their checkpoints.
    """

    out: str = "report.html"
    experiment: str | None = None
    storage: str = "results"
    baseline: str | None = None
    metric: str = _DEFAULT_METRIC
    threshold: float | None = None
    truncate: bool = False
    references: str | None = None
    by: tuple[str, ...] = ()
    group: str | None = None
    statistic: str | None = None
    maps: bool = True


def report(places: Sequence[str], options: ReportOptions) -> Path:
    """Writes a report and prints its verdict.

    Args:
        places: runs, or one table of scores.
        options: see `ReportOptions`.

    Returns:
        The page.

    Raises:
        ConfigError: nothing to report on, what cannot be compared, unknown names, or a file that cannot be written.
    """
    be_quiet(verbose=False)
    out = Path(options.out)
    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out {options.out}", f"suffix {out.suffix!r}", "a name that ends in .html")
    tables = [place for place in places if place.lower().endswith(".csv") and is_score_file(Path(place))]
    found = _of_scores(places, tables, options) if tables else _of_runs(places, options)
    for sentence in found.verdict:
        say(sentence)
    for mark in found.marks:
        say(f"  {mark}")
    try:
        page, folder = write(found, out)
    except OSError as error:
        raise cannot_write(f"--out {out}", error) from error
    say(f"written to {page}, numbers and figures to {folder}")
    return page


def _of_scores(places: Sequence[str], tables: Sequence[str], options: ReportOptions) -> Report:
    """The report of a table of scores."""
    if len(places) > 1 or options.experiment is not None:
        raise ConfigError(f"scores {tables[0]}", "a table of scores stands alone", "one such table, or runs")
    table = read_scores(Path(tables[0]), "score", options.group, options.statistic)
    _check_baseline(options.baseline, table.variants)
    for name in ("threshold", "truncate", "by"):
        if getattr(options, name) not in (None, False, ()):
            raise ConfigError(f"--{name}", "is about runs, and a table of scores has none")
    return report_of_scores(table, _question(options), Path(tables[0]).stem)


def _of_runs(places: Sequence[str], options: ReportOptions) -> Report:
    """The report of runs."""
    for name in ("group", "statistic"):
        if getattr(options, name) is not None:
            raise ConfigError(f"--{name}", "is about a table of scores, and there are only runs")
    references = packaged() if options.references is None else from_file(Path(options.references))
    runs = _loaded(places, options)
    tasks = grouped(runs, options.by)
    if not any(run.agent_steps for run in runs):
        raise ConfigError("", "no run has a result yet")
    check_metric(runs, options.metric)
    _check_baseline(options.baseline, list(dict.fromkeys(v.name for group in tasks.values() for v in group)))
    for task, variants in tasks.items():
        if any(options.metric in run.metrics for variant in variants for run in variant.runs):
            with at(f"task {task}"):
                check_comparable(variants, options.metric, ranked=len(variants) > 1, truncated=options.truncate)
    notes: list[str] = []
    if options.truncate:
        tasks, notes = truncated(tasks)
    maps = drawn_maps(tasks) if options.maps else []
    return report_of_runs(tasks, _question(options), references, notes, maps)


def _question(options: ReportOptions) -> Question:
    return Question(options.metric, options.threshold, options.baseline)


def _loaded(places: Sequence[str], options: ReportOptions) -> list[Run]:
    """The runs that are asked for."""
    if options.experiment is None:
        if not places:
            raise ConfigError("", "nothing to report on", "run folders, MLflow stores, CSV files, or --experiment NAME")
        return load_runs(places)
    runs = load_runs([*places] or [options.storage])
    wanted = [run for run in runs if run.experiment == options.experiment]
    if not wanted:
        raise unknown_name_error("experiment", options.experiment, {run.experiment for run in runs}, "--experiment")
    return wanted


def _check_baseline(baseline: str | None, variants: Sequence[str]) -> None:
    if baseline is not None and baseline not in variants:
        raise unknown_name_error("variant", baseline, variants, "--baseline")
    if baseline is not None and len(variants) == 1:
        raise ConfigError("--baseline", f"{baseline} is the only variant: there is nothing to compare it with")


def truncated(tasks: Mapping[str, Sequence[Variant]]) -> tuple[dict[str, list[Variant]], list[str]]:
    """Cuts all runs of a task to the shortest, and says so."""
    cut, notes = {}, []
    for task, variants in tasks.items():
        cut[task], steps = truncated_to_shortest(variants)
        notes.append(f"--truncate-to-shortest: all runs of {task} are cut to {steps:,} agent steps")
    return cut, notes


def drawn_maps(tasks: Mapping[str, Sequence[Variant]]) -> list[Picture]:
    """A map per task of where its runs have been, of those whose checkpoints tell."""
    maps: list[Picture] = []
    for task, variants in tasks.items():
        runs = [run for variant in variants for run in variant.runs if _tells_places(run)]
        if runs and len(maps) < _MOST_MAPS:
            picture = _map_of(task, runs, f"map_{len(maps) + 1}")
            maps += [] if picture is None else [picture]
    return maps


def _tells_places(run: Run) -> bool:
    return any(f"{kind}s_visited" in run.metrics for kind in PLACES) and Path(run.source).is_dir()


def _checkpoint(run: Run) -> Path | None:
    """Where its newest checkpoint is; None of a run that died before it wrote one."""
    try:
        return find_checkpoint(run.source)
    except ConfigError:
        return None


def _map_of(task: str, runs: Sequence[Run], name: str) -> Picture | None:
    """The map of some runs; None where no checkpoint can be read."""
    try:
        found = [(run, checkpoint) for run in runs if (checkpoint := _checkpoint(run)) is not None][:_MOST_MAPPED]
        if not found:
            return None
        checkpoints = [checkpoint for _, checkpoint in found]
        drawn = [run for run, _ in found]
        names = run_names(checkpoints)
        configs = [checkpoint_config(checkpoint) for checkpoint in checkpoints]
        places = [load_run(checkpoint, run.name) for checkpoint, run in zip(checkpoints, drawn, strict=True)]
        if not kinds_of(places):
            return None
        grid = common_grid(names, configs) if POSITION in kinds_of(places) else None
    except (ConfigError, OSError) as error:
        say(f"No map of {task}: {error}")
        return None
    png = io.BytesIO()
    with settled():
        figure = exploration_figure(places, str(configs[0].env), grid)
        figure.savefig(png, format="png", dpi=90, metadata={"Software": None})
    caption = f"{task}: where {len(places)} runs have been, of their last checkpoints"
    return Picture(name, f"map of places seen on {task}", png.getvalue(), caption)
