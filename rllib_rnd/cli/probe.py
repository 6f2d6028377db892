"""``rllib probe``: measures what a checkpoint's features know of the state, against controls."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.extras import import_extra
from rllib_rnd.analysis.figures.probe_chart import probe_figure, shown_rows, title_of
from rllib_rnd.analysis.probing.features import PIXELS
from rllib_rnd.analysis.probing.layers import UNTRAINED, is_reserved
from rllib_rnd.analysis.probing.options import LEAST_GAMES, ProbeOptions
from rllib_rnd.analysis.probing.options import Progress as Told
from rllib_rnd.analysis.probing.probes import fit, gather
from rllib_rnd.analysis.probing.results import NO_BETTER, SHUFFLED, Probed, ProbeRow, in_a_line
from rllib_rnd.checkpoints import result_at
from rllib_rnd.cli.checkpoints import find_checkpoint
from rllib_rnd.cli.map import run_names
from rllib_rnd.cli.runtime import be_quiet, console, ray_session, say
from rllib_rnd.cli.surroundings import cannot_write
from rllib_rnd.errors import ConfigError
from rllib_rnd.ray_logs import environment
from rllib_rnd.tracking.labels import folder_label
from rllib_rnd.tracking.metrics import read
from rllib_rnd.tracking.mlflow_store import database_path, impatience, store_uri, valid_keys
from rllib_rnd.tracking.mlflow_writer import reason_of

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

NONE = "none"
_CPUS = 2
_MARK = "*"  # beside a score that is no better than that of shuffled labels
_CELL_WIDTH = 15  # of a column of the table, the gap before it included


@dataclass
class ProbeCommand:
    """The options of ``rllib probe``.

    Attributes:
        baseline: ``untrained``, ``none``, or another checkpoint (which is read beside the untrained twin).
        episodes: games that are played; None: enough of them.
        steps: agent steps after which a game is cut; None: 500, or 200 with ``quick``.
        seed: of all that is drawn.
        variables, layers: names, separated by commas; None: all.
        out: folder of what is written; None: ``<run name>_probe`` here.
        quick: in under a minute.
        mlflow: write the scores to the run's own MLflow run.
    """

    baseline: str = UNTRAINED
    episodes: int | None = None
    steps: int | None = None
    seed: int = 0
    variables: str | None = None
    layers: str | None = None
    out: str | None = None
    quick: bool = False
    mlflow: bool = True


def run_probe(path: str, command: ProbeCommand) -> Path:
    """Probes a checkpoint, prints the scores, and writes table, heat map and JSON.

    Returns:
        The folder that was written to.

    Raises:
        ConfigError: no usable checkpoint, unknown names, too few games, nothing that can be probed, or a folder that
            cannot be written.
    """
    be_quiet(verbose=False)
    import_extra("matplotlib.figure", "heat maps", "plots")  # at the end it would be too late to say so
    options = options_of(command)
    folders = [find_checkpoint(path)]
    if command.baseline not in (UNTRAINED, NONE):
        folders.append(_baseline(command.baseline))
    names = [f"run {name}" if is_reserved(name) else name for name in run_names(folders)]
    agents = {name: Agent.load(folder, "probe") for name, folder in zip(names, folders, strict=True)}
    with output_folder(command.out, names[0]) as out:
        with _bar() as bar:
            told = _told(bar)
            gathered = gather(agents, options, told)  # before Ray: most mistakes show here
            with ray_session(_CPUS):
                found = fit(gathered, options, told)
        env = next(iter(agents.values())).env
        print_probed(found, env)
        write_probed(found, env, out)
    if command.mlflow:
        say(log_to_mlflow(folders[0], found))
    return out


def options_of(command: ProbeCommand) -> ProbeOptions:
    """What the options of the command ask for.

    Raises:
        ConfigError: too few games, or an empty list of names.
    """
    if command.episodes is not None and command.episodes < LEAST_GAMES:
        raise ConfigError("--episodes", f"{command.episodes} games are too few to split", f"{LEAST_GAMES} or more")
    usual = ProbeOptions().quick() if command.quick else ProbeOptions()
    play = replace(
        usual.play, games=command.episodes, max_steps=command.steps or usual.play.max_steps, seed=command.seed
    )
    return replace(
        usual,
        play=play,
        variables=_names("--variables", command.variables),
        layers=_names("--layers", command.layers),
        untrained=command.baseline != NONE,
    )


def _names(option: str, text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise ConfigError(option, f"{text!r} names nothing", "names, separated by commas")
    return names


def _baseline(path: str) -> Path:
    """The checkpoint of ``--baseline``.

    Raises:
        ConfigError: it is neither a word that has a meaning there nor a folder.
    """
    if not Path(path).expanduser().exists():
        near = next((word for word in (UNTRAINED, NONE) if word[:3] == path[:3]), None)
        raise ConfigError("--baseline", f"{path!r} is no folder", f"{UNTRAINED}, {NONE} or a checkpoint", near)
    return find_checkpoint(path)


@contextlib.contextmanager
def output_folder(out: str | None, name: str) -> Iterator[Path]:
    """The folder to write to, made at once, so that a place where nothing can be written is known before the work.

    What was made for it is gone again if the work ends in an error, or is interrupted.

    Raises:
        ConfigError: it cannot be written to.
    """
    folder = Path(out) if out is not None else Path(f"{folder_label(name.replace('/', '_'))}_probe")
    made = [path for path in (folder, *folder.parents) if not path.exists()]  # the deepest first
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise PermissionError(13, os.strerror(13))
        except OSError as error:
            raise cannot_write(f"--out {folder}", error) from error
        yield folder
    except BaseException:
        for path in made:
            with contextlib.suppress(OSError):  # of a folder that someone else has put a file into
                path.rmdir()
        raise


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    to = console(stderr=True)
    return Progress(*columns, console=to, transient=True, disable=not to.is_terminal)


def _told(bar: Progress) -> Told:
    """Shows one task after the other."""
    tasks: list[TaskID] = []

    def begin(what: str, total: int) -> None:
        for task in tasks:
            bar.remove_task(task)
        tasks[:] = [bar.add_task(what, total=total)]

    return Told(begin, lambda count: bar.advance(tasks[0], count))


# --- what is shown and written -----------------------------------------------------------------------------------


def print_probed(found: Probed, env: str) -> None:
    """Prints a table to the kind of probe: a row to the layer, a column to the variable, several where it is wide.

    Of categories the score is the balanced accuracy; chance stands in brackets above it.
    """
    say(
        f"{env}: fitted on {found.train_states:,} states of {found.train_games} games, measured on "
        f"{found.test_states:,} states of {found.test_games} others"
    )
    shown = shown_rows(found.rows)
    for model in dict.fromkeys(row.model for row in shown):
        rows = [row for row in shown if row.model == model]
        titles = list(dict.fromkeys(map(title_of, rows)))
        variables = list(dict.fromkeys(row.variable for row in rows))
        by_place = {(title_of(row), row.variable): row for row in rows}
        widest = max(map(len, titles)) + 2
        fit_in = max(1, (console().width - widest) // _CELL_WIDTH)
        say(f"{model} probes: score, and its 95 % interval over games ({_MARK}: {NO_BETTER})")
        for start in range(0, len(variables), fit_in):
            table = Table(box=None, padding=(0, 1, 0, 0))
            table.add_column("layer", no_wrap=True)
            for variable in variables[start : start + fit_in]:
                row = next(row for row in rows if row.variable == variable)
                metric = "R2" if row.metric == "r2" else f"acc. ({row.chance:.2f})"
                table.add_column(f"{variable}\n{metric}", justify="right", min_width=_CELL_WIDTH - 1)
            for title in titles:
                cells = (_cell(by_place.get((title, variable))) for variable in variables[start : start + fit_in])
                table.add_row(title, *cells)
            console().print(table)
    if found.left_out:
        say(f"left out: {in_a_line(found.left_out)}")


def _cell(row: ProbeRow | None) -> str:
    if row is None:
        return ""
    if math.isnan(row.score):
        return "-"
    mark = _MARK if row.verdict == NO_BETTER else ""
    interval = "one game" if math.isnan(row.low) else f"{row.low:.2f}..{row.high:.2f}"
    return f"{mark}{row.score:.2f}\n{interval}"


def write_probed(found: Probed, env: str, out: Path) -> None:
    """Writes ``probe.csv``, ``probe.json`` and ``probe.png``, all of them or none.

    Raises:
        ConfigError: a file cannot be written.
    """
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, [field.name for field in fields(ProbeRow)])
    writer.writeheader()
    writer.writerows(row.as_dict() for row in found.rows)
    document = {
        "env": env,
        "fitted_on": {"games": found.train_games, "states": found.train_states},
        "measured_on": {"games": found.test_games, "states": found.test_states},
        "left_out": found.left_out,
        "probes": [row.as_dict() for row in found.rows],
    }
    picture = io.BytesIO()
    probe_figure(found.rows, env).savefig(picture, dpi=120, metadata={"Software": None})
    contents = {
        "probe.csv": table.getvalue().encode(),
        "probe.json": (json.dumps(document, indent=1, allow_nan=False) + "\n").encode(),
        "probe.png": picture.getvalue(),
    }
    new = {name: out / f".{name}.new" for name in contents}
    try:
        for name, content in contents.items():
            new[name].write_bytes(content)
        for name, path in new.items():
            os.replace(path, out / name)
    except OSError as error:
        raise cannot_write(f"--out {out}", error) from error
    finally:
        for path in new.values():
            path.unlink(missing_ok=True)
    say(f"written to {out}: {', '.join(contents)}")


# --- MLflow --------------------------------------------------------------------------------------------------------


def log_to_mlflow(checkpoint: Path, found: Probed) -> str:
    """Writes the scores to the run's own MLflow run, at the agent steps of the checkpoint.

    Returns:
        One line: where to, or why not.
    """
    trial = checkpoint.parent
    uri = store_uri(str(trial.parent.parent))
    database = database_path(uri) if uri is not None else None
    if uri is None or (database is not None and not database.is_file()):
        return f"no MLflow store beside the run ({trial.parent.parent}): scores are in the files only"
    try:
        with environment(impatience()):
            return _log_to(uri, checkpoint, found)
    except Exception as error:  # any fault of the store: the files are written
        return f"MLflow takes no scores ({reason_of(error)}): they are in the files only"


def _log_to(uri: str, checkpoint: Path, found: Probed) -> str:
    """As `log_to_mlflow`, of a store that is there; raises whatever the store does."""
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    client, trial = MlflowClient(tracking_uri=uri), checkpoint.parent
    run = _run_of(client, trial)
    if run is None:
        return f"no MLflow run of {trial.name} in {uri}: scores are in the files only"
    step, now = int(read(result_at(checkpoint), "agent_steps") or 0), int(time.time() * 1000)
    values = valid_keys({_metric_name(row): row.score for row in found.rows if not math.isnan(row.score)})
    metrics = [Metric(key, float(str(value)), now, step) for key, value in values.items()]
    for start in range(0, len(metrics), 500):
        client.log_batch(run.info.run_id, metrics=metrics[start : start + 500])
    return f"{len(metrics)} metrics in MLflow, probe/..., run {run.info.run_name} of {uri}"


def _run_of(client: MlflowClient, trial: Path) -> Run | None:
    """The MLflow run of a trial's folder, the newest if there are several; None if there is none."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    folder = str(trial).replace("'", "")
    # By its name alone where the store is older, or the folder was moved: that name is unique.
    name = folder.rsplit("/", 1)[-1]
    # A run that went on has a folder for each time, and its tag `trial_folders` all of them.
    for condition in (f"folder = '{folder}'", f"folder LIKE '%/{name}'", f"folders LIKE '%/{name}%'"):
        runs = client.search_runs(experiments, f"tags.trial_{condition}", order_by=["start_time DESC"])
        if runs:
            return runs[0]
    return None


def _metric_name(row: ProbeRow) -> str:
    whose = PIXELS if row.agent == PIXELS else f"{row.agent}/{row.layer}"
    control = "/shuffled" if row.labels == SHUFFLED else ""
    return f"probe/{row.model}/{whose}/{row.variable}{control}"
