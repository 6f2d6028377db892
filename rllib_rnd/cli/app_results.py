"""The commands of ``rllib`` that turn runs into results, and policies into files for others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rllib_rnd.cli.app import app
from rllib_rnd.cli.runtime import reports_errors


@app.command("runs")
@reports_errors
def runs_(
    places: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PLACE]...", help="Storage, experiment, MLflow store; default: results."),
    ] = None,
    best: Annotated[str | None, typer.Option(metavar="METRIC", help="The largest first, by its last value.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
) -> None:
    """Show what has been trained: task, what differs, agent steps, result, state, age."""
    from rllib_rnd.cli.runs import print_runs

    print_runs(places or ["results"], best, as_json)


@app.command("log")
@reports_errors
def log_(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")],
) -> None:
    """Write into the MLflow store what it lacks of a run, because it was away while the run trained."""
    from rllib_rnd.cli.log import log_run

    raise typer.Exit(log_run(folder))


@app.command("compare")
@reports_errors
def compare_(
    places: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Experiments, trials, MLflow stores, CSV files.")
    ],
    metric: Annotated[str, typer.Option(help="What is compared, by its last value.")] = "return_mean",
    by: Annotated[
        str | None,
        typer.Option(metavar="KEY,KEY,...", help="Settings that tell variants apart; default: all but seeds."),
    ] = None,
    truncate: Annotated[
        bool, typer.Option("--truncate-to-shortest", help="Cut all runs to where the shortest ends.")
    ] = False,
) -> None:
    """Show which settings differ, the results side by side, and which is better by how much."""
    from rllib_rnd.cli.compare import compare

    compare(places, metric, split(by), truncate)


@app.command("plot")
@reports_errors
def plot_(
    places: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Experiments, trials, MLflow stores, CSV files.")
    ],
    by: Annotated[
        str | None,
        typer.Option(metavar="KEY,KEY,...", help="Settings that tell variants apart; default: all but seeds."),
    ] = None,
    metric: Annotated[str, typer.Option(help="What goes up.")] = "return_mean",
    x: Annotated[str, typer.Option(help="What goes to the right: agent_steps, frames or hours.")] = "agent_steps",
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="The figure (.png, .svg, .pdf); else <task>_<metric>.png.")
    ] = None,
) -> None:
    """Draw one figure: a metric of all runs, mean and band over seeds."""
    from rllib_rnd.cli.plot import plot

    plot(places, metric, split(by), x, out)


@app.command("report")
@reports_errors
def report_(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN...", help="Result folders, MLflow stores, or CSV files.")
    ] = None,
    out: Annotated[str, typer.Option(metavar="FILE.html", help="The page.")] = "report.html",
    experiment: Annotated[
        str | None, typer.Option(metavar="NAME", help="All runs of this experiment, in RUN... or the storage.")
    ] = None,
    storage: Annotated[str, typer.Option(help="Folder of results, for --experiment.")] = "results",
    baseline: Annotated[
        str | None, typer.Option(metavar="VARIANT", help="What the others are compared with; default: best with next.")
    ] = None,
    metric: Annotated[str, typer.Option(help="That scores are of, by its short name.")] = "return_mean",
    threshold: Annotated[
        float | None, typer.Option(help="Of that metric, which is enough; default: half way to the best.")
    ] = None,
    truncate_to_shortest: Annotated[
        bool, typer.Option("--truncate-to-shortest", help="Cut all runs of a task to the shortest.")
    ] = False,
    references: Annotated[
        str | None, typer.Option(metavar="CSV", help="Columns task, random, human, ...: scores to be held against.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="KEY,KEY", help="Settings that alone tell variants apart; default: all.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Of a table of scores: count wins by this column too.")
    ] = None,
    statistic: Annotated[
        str | None, typer.Option(help="Of a wide table of scores: mean, last or best; default: mean.")
    ] = None,
    maps: Annotated[bool, typer.Option("--maps/--no-maps", help="Draw where runs have been, of checkpoints.")] = True,
) -> None:
    """Turn runs into one HTML page: verdict, intervals, curves, health, what differs; numbers and figures beside it."""
    from rllib_rnd.cli.report import ReportOptions
    from rllib_rnd.cli.report import report as run

    options = ReportOptions(
        out=out,
        experiment=experiment,
        storage=storage,
        baseline=baseline,
        metric=metric,
        threshold=threshold,
        truncate=truncate_to_shortest,
        references=references,
        by=split(by),
        group=group,
        statistic=statistic,
        maps=maps,
    )
    run(runs or (), options)


@app.command("export")
@reports_errors
def export_(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint, trial or experiment folder.")],
    out: Annotated[str, typer.Option(metavar="FOLDER", help="Where to: a new folder, or an earlier export.")],
    format_: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="pt2 (torch.export), onnx, or both.")
    ] = "pt2",
    samples: Annotated[
        int, typer.Option(help="Observations that are stored, and verified with.", min=1, max=10_000)
    ] = 100,
    license_: Annotated[
        str | None,
        typer.Option(
            "--license", metavar="NAME", help="Of the weights, as the Hub calls it; default: none is claimed."
        ),
    ] = None,
) -> None:
    """Write a policy as files that act without Ray and without this package: networks, weights, model card."""
    from rllib_rnd.cli.export import export

    export(checkpoint, out, format_, samples, license_)


@app.command("publish")
@reports_errors
def publish_(
    folder: Annotated[str, typer.Argument(help="Folder that `rllib export` wrote.")],
    repo: Annotated[str, typer.Option(metavar="USER/NAME", help="Repository on the Hugging Face Hub.")],
    yes: Annotated[bool, typer.Option("--yes", help="Upload without asking.")] = False,
    private: Annotated[bool, typer.Option("--private", help="For its owner's eyes only.")] = False,
) -> None:
    """Upload an exported policy to the Hugging Face Hub: says what, asks, and only then does it."""
    from rllib_rnd.cli.publish import publish

    publish(folder, repo, yes, private)


def split(text: str | None) -> tuple[str, ...]:
    """Reads ``lr,gamma``."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())
