"""The commands and options of ``rllib``. (Ray ships no ``rllib`` command; this one is the package's own.)"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from rllib_rnd.cli.runtime import reports_errors
from rllib_rnd.errors import ConfigError
from rllib_rnd.experiment.file import Overrides
from rllib_rnd.signals import end_command, exit_code

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
    if code == exit_code(signal.SIGTERM):  # all is written: not a second is spent on tidying up this process
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
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


@app.command("doctor")
@reports_errors
def doctor_(
    place: Annotated[
        str | None, typer.Argument(metavar="[RUN|CHECKPOINT]", help="Run, trial or checkpoint folder; else: here.")
    ] = None,
    storage: Annotated[str, typer.Option(help="Folder of results, whose disk is looked at.")] = "results",
    start_ray: Annotated[bool, typer.Option("--ray", help="Also start Ray here, to see whether it does.")] = False,
    address: Annotated[str | None, typer.Option(help="Also ask this Ray cluster, e.g. auto.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what is well and what is not, of this machine, a run or a checkpoint, and what to do."""
    from rllib_rnd.cli.doctor import doctor

    doctor(place, storage, start_ray, address, as_json)


def main() -> None:
    """Entry point of the console script."""
    end_command()
    # A console script's own folder is on the path, not the one it is called in, where users keep their plug-ins.
    # (Ray hands its workers the path of this process.)
    sys.path.append(os.getcwd())
    app(prog_name="rllib")
