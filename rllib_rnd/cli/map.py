"""``rllib map``: draws where runs have been, from their checkpoints, without building the algorithm."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from rllib_rnd.analysis.figures.exploration_map import CellGrid, RunPlaces, exploration_figure, first_visits, kinds_of
from rllib_rnd.checkpoints import checkpoint_config
from rllib_rnd.checkpoints.format import OWN_STATE
from rllib_rnd.checkpoints.reading import algorithm_state
from rllib_rnd.cli.checkpoints import find_checkpoint
from rllib_rnd.cli.runtime import be_quiet, console, say
from rllib_rnd.cli.surroundings import cannot_write
from rllib_rnd.envs.info import PLACES, POSITION, POSITION_SHAPE, POSITION_WALLS
from rllib_rnd.errors import ConfigError
from rllib_rnd.sampling.episodes import PlaceHistory
from rllib_rnd.tracking.labels import folder_label, label_of_folder

SUFFIXES = (".png", ".svg", ".pdf")
_NEWEST = 10  # places that the table lists


def draw_map(paths: Sequence[str], out: str | None = None, csv_file: str | None = None) -> Path:
    """Prints, draws and writes where runs have been.

    Args:
        paths: runs, trials or checkpoints, each once and all of one environment.
        out: the picture, .png, .svg or .pdf; None for ``<run name>_map.png`` in the current folder.
        csv_file: where to write the numbers, or None.

    Returns:
        The picture's path.

    Raises:
        ConfigError: no usable checkpoint, one without places, different environments, a suffix that is not supported,
            a file that cannot be written, or matplotlib is not installed.
    """
    if out is not None and Path(out).suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--out {out}", f"suffix {Path(out).suffix!r}", f"one of {', '.join(SUFFIXES)}")
    be_quiet(verbose=False)
    checkpoints = [find_checkpoint(path) for path in paths]
    names = run_names(checkpoints)
    configs = [checkpoint_config(checkpoint) for checkpoint in checkpoints]
    env_id = common_environment(names, configs)
    runs = [load_run(checkpoint, name) for checkpoint, name in zip(checkpoints, names, strict=True)]
    for run, checkpoint in zip(runs, checkpoints, strict=True):
        if not kinds_of([run]):
            raise ConfigError(
                f"checkpoint {checkpoint}",
                f"holds no places visited. The run is older than their recording, or "
                f"{env_id} tells none: its info needs whole numbers of 0 or more under {' or '.join(PLACES)}",
            )
    grid = common_grid(names, configs) if POSITION in kinds_of(runs) else None

    print_runs(runs, env_id)
    if csv_file is not None:
        write_csv(runs, Path(csv_file))
    figure = exploration_figure(runs, env_id, grid)
    picture = Path(out) if out is not None else default_picture(names)
    try:
        picture.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(picture, dpi=120)
    except OSError as error:
        raise cannot_write(f"--out {picture}", error) from error
    say(f"written to {picture}")
    return picture


def run_names(checkpoints: Sequence[Path]) -> list[str]:
    """Names runs by their folder, with the trial's label and then the checkpoint's added where that is not enough.

    Raises:
        ConfigError: the same checkpoint twice.
    """
    if len(set(checkpoints)) < len(checkpoints):
        twice = next(c for c in checkpoints if list(checkpoints).count(c) > 1)
        raise ConfigError(f"checkpoint {twice}", "is asked for twice; give each run once")
    # Tune's folders are run/trial/checkpoint; a checkpoint copied elsewhere has only its own name.
    parts = [
        (c.parts[-3], label_of_folder(c.parent), c.name) if (c.parent / "result.json").is_file() else (c.name,)
        for c in checkpoints
    ]
    for depth in (1, 2, 3):
        names = ["/".join(part[:depth]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(checkpoint) for checkpoint in checkpoints]


def default_picture(names: Sequence[str]) -> Path:
    """Returns the picture's path in the current folder if none is asked for."""
    more = f"_and_{len(names) - 1}_more" if len(names) > 1 else ""
    return Path(f"{folder_label(names[0].replace('/', '_'))}{more}_map.png")


def load_run(checkpoint: Path, name: str) -> RunPlaces:
    """Reads the places visited, and the agent steps of the run, from a checkpoint.

    Raises:
        ConfigError: the file cannot be read.
    """
    from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME
    from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

    state = algorithm_state(checkpoint)
    places, metrics = state.get(OWN_STATE, {}).get("places", {}), MetricsLogger(root=True)
    try:
        metrics.set_state(state["metrics_logger"])
    except (AttributeError, KeyError, TypeError) as error:
        raise ConfigError(f"checkpoint {checkpoint}", f"its state cannot be read ({error})") from error
    agent_steps = int(metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0))
    return RunPlaces(name, agent_steps, {kind: PlaceHistory(**history) for kind, history in places.items()})


def common_environment(names: Sequence[str], configs: Sequence[Any]) -> str:
    """Returns the environment of all runs.

    Raises:
        ConfigError: two runs differ in it.
    """
    env_id = str(configs[0].env)
    for name, config in zip(names, configs, strict=True):
        if str(config.env) != env_id:
            raise ConfigError(
                f"run {name}", f"its environment is {config.env}, that of {names[0]} is {env_id}; one map shows one"
            )
    return env_id


def common_grid(names: Sequence[str], configs: Sequence[Any]) -> CellGrid | None:
    """Returns the grid that the positions of all runs are in; None, and a line that says so, if it is not known.

    Raises:
        ConfigError: the grids of two runs differ.
    """
    grids = [cell_grid(config.env, dict(config.env_config)) for config in configs]
    first = grids[0]
    if first is None:
        return None
    for name, grid in zip(names, grids, strict=True):
        if grid is None or not first.same(grid):
            raise ConfigError(
                f"run {name}", f"its grid of cells is not that of {names[0]} (see env_config); one map shows one"
            )
    return first


def cell_grid(env_id: str, env_config: dict[str, Any]) -> CellGrid | None:
    """Returns the grid of an environment's positions, from its attributes ``position_shape`` and ``position_walls``.

    Mazes may have their walls as ``maze.walls`` instead.

    Without one, or where the environment cannot be made here, the answer is None, and a line says why.
    """
    from rllib_rnd.envs import make_env

    try:
        env = make_env(env_id, env_config)
    except ConfigError as error:
        say(f"No map of positions, only their timeline: {error}")
        return None
    shape = getattr(env.unwrapped, POSITION_SHAPE, None)
    walls = getattr(env.unwrapped, POSITION_WALLS, getattr(getattr(env.unwrapped, "maze", None), "walls", None))
    env.close()
    if shape is None:
        say(f"No map of positions, only their timeline: {env_id} has no attribute position_shape (rows, columns).")
        return None
    rows, columns = shape
    return CellGrid((rows, columns), walls)


def print_runs(runs: Sequence[RunPlaces], env_id: str) -> None:
    """Prints per run and kind the number of places, the agent steps of the run, and when the newest were found."""
    say(env_id)
    table = Table(box=None)
    table.add_column("run")
    table.add_column("kind")
    for heading in ("different", "agent steps", "newest", "seen first at"):
        table.add_column(heading, justify="right")
    for run in runs:
        for kind in kinds_of([run]):
            found = [(place, steps) for steps, ids in first_visits(run.places[kind]) for place in ids]
            table.add_row(
                run.name,
                kind,
                f"{len(found):,}",
                f"{run.agent_steps:,}",
                "\n".join(str(place) for place, _ in found[-_NEWEST:]),
                "\n".join(f"{steps:,}" for _, steps in found[-_NEWEST:]),
            )
    console().print(table)


def write_csv(runs: Sequence[RunPlaces], path: Path) -> None:
    """Writes a row per place: kind, id, agent steps spent there, agent steps of the run when first seen.

    With several runs a first column names the run.

    Raises:
        ConfigError: the file cannot be written.
    """
    several = len(runs) > 1
    header = [*(["run"] if several else []), "kind", "id", "agent_steps_spent", "first_visit"]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            for run in runs:
                for kind in kinds_of([run]):
                    history = run.places[kind]
                    for place, steps in sorted(history.visits.items()):
                        row = [kind, place, steps, history.first_visit[place]]
                        writer.writerow([run.name, *row] if several else row)
    except OSError as error:
        raise cannot_write(f"--csv {path}", error) from error
    say(f"written to {path}")
