"""The commands and options of ``rllib``. (Ray ships no ``rllib`` command; this one is the package's own.)"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from rllib_rnd.cli.runtime import reports_errors
from rllib_rnd.errors import ConfigError
from rllib_rnd.experiment.file import Overrides

app = typer.Typer(
    help="Trains and evaluates intrinsically motivated agents on RLlib. (Not part of Ray.)",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
train_app = typer.Typer(help="Train from experiment files.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(train_app, name="train")

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a config key, e.g. intrinsic_reward.gamma=0.9."),
]
SeedOption = Annotated[int | None, typer.Option(help="Replaces config.seed.", min=0)]


@train_app.command("file")
@reports_errors
def train_file(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="YAML or Python files, globs, examples.")],
    set_: SetOption = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Change a stop condition, e.g. agent_steps=1e6."),
    ] = None,
    seed: SeedOption = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="A trial for each of these seeds, and what they come to.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster to use, e.g. auto.")] = None,
    storage: Annotated[str, typer.Option(help="Folder (or URI) of results.")] = "results",
    name: Annotated[str | None, typer.Option(help="Folder of this run in the storage.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the newest run of the experiment, or that in the folder --name.")
    ] = False,
    checkpoint: Annotated[str | None, typer.Option(help="Start a new run from this checkpoint.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only the summary.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Ray's own output too.")] = False,
    wandb: Annotated[
        str | None, typer.Option(metavar="PROJECT", help="Log to Weights & Biases too (WANDB_MODE=offline: to files).")
    ] = None,
) -> None:
    """Train every experiment of the files, one after the other."""
    from rllib_rnd.cli.examples import experiment_paths
    from rllib_rnd.cli.train import train_files
    from rllib_rnd.cli.train_options import TrainOptions

    if seed is not None and seeds is not None:
        raise ConfigError("--seeds", "stands in place of --seed; give one of them")
    options = TrainOptions(
        overrides=Overrides(set_ or (), stop or (), seed, parse_seeds(seeds) if seeds is not None else ()),
        address=address,
        storage=storage,
        name=name,
        resume=resume,
        checkpoint=checkpoint,
        quiet=quiet,
        verbose=verbose,
        wandb=wandb,
    )
    code = train_files(experiment_paths(paths), options)
    if code:
        raise typer.Exit(code)


@app.command()
@reports_errors
def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint, trial or experiment folder.")],
    episodes: Annotated[int, typer.Option(help="Episodes per seed.", min=1)] = 10,
    seeds: Annotated[str, typer.Option(help="Seeds, comma separated.")] = "0",
    deterministic: Annotated[
        bool, typer.Option("--deterministic/--sampled", help="Most likely actions, or draws from the policy.")
    ] = False,
    num_envs: Annotated[int, typer.Option(help="Environments played at the same time.", min=1)] = 8,
    json_file: Annotated[str | None, typer.Option("--json", help="Also write the result here.")] = None,
    max_steps: Annotated[
        int | None, typer.Option(help="Agent steps after which an episode is cut; default: the checkpoint's.", min=1)
    ] = None,
) -> None:
    """Play episodes with a trained policy; report raw returns, lengths and rooms."""
    from rllib_rnd.cli.evaluate import EvaluateOptions
    from rllib_rnd.cli.evaluate import evaluate as run

    run(checkpoint, EvaluateOptions(episodes, parse_seeds(seeds), deterministic, num_envs, json_file, max_steps))


@app.command()
@reports_errors
def record(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint, trial or experiment folder.")],
    out: Annotated[
        str | None, typer.Option(metavar="FILE.mp4", help="Where to; default: named after it, here.")
    ] = None,
    episodes: Annotated[int, typer.Option(help="Episodes, one after the other.", min=1)] = 1,
    max_steps: Annotated[int, typer.Option(help="Agent steps after which an episode is cut.", min=1)] = 4500,
    seed: Annotated[int, typer.Option(help="Of the first episode; the next has the next number.", min=0)] = 0,
    deterministic: Annotated[
        bool, typer.Option("--deterministic/--sampled", help="Most likely actions, or draws from the policy.")
    ] = False,
    fps: Annotated[
        float | None, typer.Option(help="Frames per second; default: real time.", min=1.0, max=240.0)
    ] = None,
    height: Annotated[int, typer.Option(help="Of the video, in pixels.", min=240, max=2160)] = 480,
) -> None:
    """Play episodes into a video (MP4): the game, what the agent sees, its values, rewards and actions."""
    from rllib_rnd.cli.record import RecordOptions
    from rllib_rnd.cli.record import record as run

    run(checkpoint, RecordOptions(out, episodes, max_steps, seed, deterministic, fps, height))


def parse_seeds(text: str) -> tuple[int, ...]:
    """Reads ``0,1,2``.

    Raises:
        ConfigError: an item is not a whole number of 0 or more, or stands there twice.
    """
    items = [item.strip() for item in text.split(",")]
    if not all(item.isdigit() for item in items):
        raise ConfigError("--seeds", f"{text!r} is no list of seeds", "whole numbers of 0 or more, as in 0,1,2")
    seeds = tuple(int(item) for item in items)
    if len(set(seeds)) < len(seeds):
        raise ConfigError("--seeds", f"{text!r} names a seed twice", "different numbers")
    return seeds


@app.command("map")
@reports_errors
def map_(
    paths: Annotated[list[str], typer.Argument(metavar="RUN...", help="Run, trial or checkpoint folders.")],
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="The picture (.png, .svg, .pdf); else <run name>_map.png.")
    ] = None,
    csv_file: Annotated[str | None, typer.Option("--csv", metavar="FILE", help="Also write the numbers here.")] = None,
) -> None:
    """Draw where runs have been: a timeline of new rooms and positions, and a map of them."""
    from rllib_rnd.cli.map import draw_map

    draw_map(paths, out, csv_file)


@app.command()
@reports_errors
def explain(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint, trial or experiment folder.")],
    out: Annotated[str, typer.Option(metavar="FOLDER", help="Where to: a new folder, or an earlier gallery.")],
    baseline: Annotated[
        str | None, typer.Option(metavar="CHECKPOINT", help="Another agent that looks at the same states.")
    ] = None,
    episodes: Annotated[int | None, typer.Option(help="Episodes that are played; default: 1.", min=1)] = None,
    tape: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="An episode that was played before (.npz); may be repeated."),
    ] = None,
    states: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Observations (.npy, .npz, patterns); may be repeated.")
    ] = None,
    video: Annotated[bool, typer.Option("--video", help="Also an MP4 of the episodes with maps laid over.")] = False,
    video_methods: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME", help="Whose maps the video has; default: what suits the backbone."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A little of everything, in under a minute.")] = False,
    seed: Annotated[int, typer.Option(help="Of the first episode, untrained weights, and what is random.", min=0)] = 0,
    methods: Annotated[
        str | None, typer.Option(metavar="NAME,NAME", help="Only these methods, see docs/insight.md.")
    ] = None,
    targets: Annotated[
        str | None, typer.Option(metavar="NAME,NAME", help="Only saliency of these, e.g. action,intrinsic_reward.")
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Layer of the backbone that Grad-CAM looks into; default: the last."),
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(help="Agent steps after which an episode is cut; default: 4500, quick 400.", min=1)
    ] = None,
    num_states: Annotated[
        int | None, typer.Option(help="States that are looked into; default: 12, quick 4.", min=1, max=64)
    ] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic/--sampled", help="Most likely actions, or draws from the policy.")
    ] = False,
    projection: Annotated[str, typer.Option(help="Of features: pca, or tsne.")] = "pca",
) -> None:
    """Show what an agent attends to, with controls: an HTML gallery, PNG grids and videos."""
    from rllib_rnd.cli.explain import ExplainOptions
    from rllib_rnd.cli.explain import explain as run

    options = ExplainOptions(
        out=out,
        baseline=baseline,
        episodes=episodes,
        tape=tuple(tape or ()),
        states=tuple(states or ()),
        video=video,
        video_methods=video_methods,
        quick=quick,
        seed=seed,
        methods=methods,
        targets=targets,
        layer=layer,
        max_steps=max_steps,
        num_states=num_states,
        deterministic=deterministic,
        projection=projection,
    )
    run(checkpoint, options)


@app.command("probe")
@reports_errors
def probe_(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint, trial or experiment folder.")],
    baseline: Annotated[
        str, typer.Option(help="untrained (the same networks, weights drawn anew), none, or another checkpoint.")
    ] = "untrained",
    episodes: Annotated[int | None, typer.Option(help="Games to play; default: 36 or more, quick: 24.", min=1)] = None,
    steps: Annotated[
        int | None, typer.Option(help="Agent steps after which a game is cut; default: 500, quick: 200.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of games, splits, probes and intervals.", min=0)] = 0,
    variables: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="What to predict; default: all that is told, 12 at most.")
    ] = None,
    layers: Annotated[str | None, typer.Option(metavar="A,B,...", help="What to read; default: all layers.")] = None,
    out: Annotated[str | None, typer.Option(metavar="FOLDER", help="Where to; default: <run name>_probe.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Less of everything, linear probes only.")] = False,
    mlflow: Annotated[
        bool, typer.Option("--mlflow/--no-mlflow", help="Write the scores to the run's own MLflow run.")
    ] = True,
) -> None:
    """Measure what features know of the state (positions, rooms, ages): probes per layer, with controls."""
    from rllib_rnd.cli.probe import ProbeCommand, run_probe

    run_probe(checkpoint, ProbeCommand(baseline, episodes, steps, seed, variables, layers, out, quick, mlflow))


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


def split(text: str | None) -> tuple[str, ...]:
    """Reads ``lr,gamma``."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


@app.command("list")
@reports_errors
def list_(
    kind: Annotated[
        str | None,
        typer.Argument(help="algorithms, backbones, rewards, losses, environments or examples; all without it."),
    ] = None,
) -> None:
    """Show what an experiment file can name."""
    from rllib_rnd.cli.listing import print_list

    print_list(kind)


@app.command()
@reports_errors
def check(
    path: Annotated[str, typer.Argument(help="Experiment file.")],
    set_: SetOption = None,
    seed: SeedOption = None,
) -> None:
    """Validate a file, build it small, run one tiny iteration; show spaces, parameters and memory."""
    from rllib_rnd.cli.check import check_file
    from rllib_rnd.cli.examples import experiment_paths

    files: list[Path] = experiment_paths([path])
    for file in files:
        check_file(file, Overrides(set_ or (), (), seed))


def main() -> None:
    """Entry point of the console script."""
    # A console script's own folder is on the path, not the one it is called in, where users keep their plug-ins.
    # (Ray hands its workers the path of this process.)
    sys.path.append(os.getcwd())
    app(prog_name="rllib")
