"""The commands and options of ``rllib``. (Ray ships no ``rllib`` command; this one is the package's own.)"""

from __future__ import annotations

import atexit
import gc
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rllib_rnd.cli.completion import complete_experiments, complete_kinds, complete_names, complete_plugins
from rllib_rnd.cli.runtime import reports_errors, say
from rllib_rnd.cli.usage import OneLineErrors
from rllib_rnd.errors import ConfigError
from rllib_rnd.experiment.overrides import Overrides
from rllib_rnd.signals import end_command, exit_code

app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# Imports leave a million objects behind that all stay; looking through them for garbage takes a fifth of a start.
_COLLECTOR = (100_000, 20, 20)

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a config key, e.g. intrinsic_reward.gamma=0.9."),
]
SeedOption = Annotated[int | None, typer.Option(help="Replaces config.seed.", min=0)]


def show_versions(wanted: bool) -> None:
    """Ends the command with the versions, if they are asked for."""
    if wanted:
        from rllib_rnd.cli.version import version_line

        say(version_line())
        raise typer.Exit


@app.callback()
def rllib(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=show_versions, help="Versions of the package, Ray and torch."
        ),
    ] = False,
) -> None:
    """Trains and evaluates intrinsically motivated agents on RLlib. (Not part of Ray.)"""


@app.command("train", no_args_is_help=True)
@reports_errors
def train(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...", help="YAML or Python files, globs, examples.", autocompletion=complete_experiments
        ),
    ],
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
    profile: Annotated[
        bool, typer.Option("--profile", help="Record where time and memory go, into the folder profile of the run.")
    ] = False,
) -> None:
    """Train every experiment of the files, one after the other."""
    from rllib_rnd.cli.examples import experiment_paths
    from rllib_rnd.cli.train_options import TrainOptions

    if paths[0] == "file" and len(paths) > 1:  # `train file X.yaml`, as RLlib's own command had it
        paths = paths[1:]
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
        profile=profile,
    )
    files = experiment_paths(paths)
    if not quiet:
        tell_of_loading(f"Training {shown(files)}")
    from rllib_rnd.cli.train import train_files

    code = train_files(files, options)
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
        typer.Argument(
            help="algorithms, settings, backbones, rewards, losses, environments or examples; all without it.",
            autocompletion=complete_kinds,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Argument(help="One of them, with its options: list rewards rnd.", autocompletion=complete_names),
    ] = None,
) -> None:
    """Show what an experiment file can name, a line each; with NAME one of them and its options."""
    from rllib_rnd.cli.listing import print_list

    print_list(kind, name)


@app.command()
@reports_errors
def check(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...", help="Experiment files, globs, examples.", autocompletion=complete_experiments
        ),
    ],
    set_: SetOption = None,
    seed: SeedOption = None,
) -> None:
    """Validate files, build them, run an iteration; show spaces, parameters, memory, hours (several: a line each)."""
    from rllib_rnd.cli.examples import experiment_paths

    files = experiment_paths(paths)
    tell_of_loading(f"Checking {shown(files)}")
    from rllib_rnd.cli.check import check_files

    code = check_files(files, Overrides(set_ or (), (), seed))
    if code:
        raise typer.Exit(code)


@app.command("init")
@reports_errors
def init_(
    name: Annotated[str, typer.Argument(help="Of the experiment; its file is NAME.yaml.")],
    env: Annotated[str, typer.Option(help="The environment, see `rllib list environments`.")] = "rllib_rnd/DeepSea-v0",
    reward: Annotated[str, typer.Option(help="The intrinsic reward, see `rllib list rewards`, or none.")] = "rnd",
    backbone: Annotated[str, typer.Option(help="The network, see `rllib list backbones`.")] = "auto",
) -> None:
    """Write an experiment file to begin with, every option in it explained, and check it."""
    from rllib_rnd.cli.starting_points import Wanted, write_starter

    path = write_starter(name, Wanted(env, reward, backbone))
    tell_of_loading(f"Checking {path}")
    from rllib_rnd.cli.check import check_files

    try:
        check_files([path], Overrides())
    except BaseException:  # what is not fit to begin with is not left behind
        path.unlink(missing_ok=True)
        raise
    say(f"{path} is written. Train: rllib train {shlex.quote(str(path))}")


@app.command("new")
@reports_errors
def new_(
    kind: Annotated[str, typer.Argument(help="reward, backbone or env.", autocompletion=complete_plugins)],
    name: Annotated[str, typer.Argument(help="Of its file, and so of its class: my_reward makes MyReward.")],
) -> None:
    """Write a plug-in of your own, in one short file that works, and a test of it."""
    from rllib_rnd.cli.starting_points import write_plugin

    write_plugin(kind, name)


def shown(files: Sequence[Path]) -> str:
    """Returns the name of a file, or how many there are."""
    return files[0].name if len(files) == 1 else f"{len(files)} files"


def tell_of_loading(what: str) -> None:
    """Says at once what is being done, where the libraries that do it are still to be imported, which takes seconds."""
    if "torch" not in sys.modules:
        say(f"{what}: loading torch and Ray ...")


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
    gc.set_threshold(*_COLLECTOR)
    codes = [1]  # of what is not caught
    atexit.register(_end_at_once, codes)  # the first to be registered is the last to be called
    # A console script's own folder is on the path, not the one it is called in, where users keep their plug-ins.
    # (Ray hands its workers the path of this process.)
    sys.path.append(os.getcwd())
    try:
        app(prog_name="rllib")
    except SystemExit as end:
        codes.append(end.code if isinstance(end.code, int) else int(end.code is not None))
        raise


def _end_at_once(codes: list[int]) -> None:
    """Ends this process after all else that is called at its end: taking three thousand modules apart is of no use."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(codes[-1])
