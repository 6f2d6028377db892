"""``rllib plot``: one figure, a line and a band per variant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rllib_rnd.analysis.results.curves import curve_of
from rllib_rnd.analysis.results.groups import check_comparable, remarks
from rllib_rnd.analysis.results.statistics import FEWEST_SEEDS
from rllib_rnd.cli.compare import variants_of
from rllib_rnd.cli.runtime import be_quiet, say
from rllib_rnd.cli.surroundings import cannot_write
from rllib_rnd.errors import ConfigError, nearest_name
from rllib_rnd.tracking.labels import folder_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: With what is left out of each, so that the same runs make the same file.
SUFFIXES = {".png": {"Software": None}, ".svg": {"Date": None, "Creator": None}, ".pdf": {"CreationDate": None}}
#: What can go to the right, and what it is called there.
AXES = {"agent_steps": "agent steps", "frames": "frames", "hours": "hours"}


def plot(
    places: Sequence[str],
    metric: str = "return_mean",
    by: Sequence[str] = (),
    x: str = "agent_steps",
    out: str | None = None,
) -> Path:
    """Draws a metric of all runs of one task and writes the figure.

    Args:
        places: as of `load_runs`.
        metric: by its short name.
        by: settings that tell variants apart; () for all but seeds.
        x: one of `AXES`.
        out: .png, .svg or .pdf; None: ``<task>_<metric>.png`` here.

    Returns:
        Where it was written.

    Raises:
        ConfigError: runs of different tasks or frame skips, a metric that nobody logged, an axis that no run tells, a
            file that cannot be written, or matplotlib is not installed.
    """
    if x not in AXES:
        raise ConfigError(f"--x {x}", "is no axis", list(AXES), nearest_name(x, AXES))
    if out is not None and Path(out).suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--out {out}", f"suffix {Path(out).suffix!r}", f"one of {', '.join(SUFFIXES)}")
    be_quiet(verbose=False)
    tasks = variants_of(places, by, metric, ("time_total_s",))
    variants = [variant for one in tasks.values() for variant in one]
    check_comparable(variants, metric)
    (task,) = tasks
    curves = {variant.name: curve_of(variant.name, variant.runs, metric, AXES[x]) for variant in variants}
    there = {name: curve for name, curve in curves.items() if curve is not None}
    if not there:
        raise ConfigError(f"--x {x}", f"no run of {task} tells its {AXES[x]}", [name for name in AXES if name != x])

    from rllib_rnd.analysis.results.figures.charts import Panel, curves_chart

    names = [f"{variant.name} ({_seeds(len(variant.runs))})" for variant in variants if variant.name in there]
    panel = Panel(task, AXES[x], metric, tuple(there.values()))
    figure = curves_chart("plot", f"{metric} of {task}", [panel], names).draw()
    figure.set_facecolor("white")
    path = Path(out) if out is not None else Path(f"{folder_label(task.replace('/', '_'))}_{metric}.png")
    _write(figure, path, out is not None)
    for line in remarks(variants):
        say(f"note: {line}")
    missing = [name for name in curves if name not in there]
    few = [name for name, curve in there.items() if curve.mean is None]
    if missing:
        say(f"no line: no {metric} against {AXES[x]} of {', '.join(missing)}")
    if few:
        say(f"a line per run, no band: fewer than {FEWEST_SEEDS} seeds of {', '.join(few)}")
    if len(few) < len(there):
        say("line and band: mean and standard error over seeds, as far as all of them go; thin lines: the runs")
    say(f"written to {path}")
    return path


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def _write(figure: Figure, path: Path, asked: bool) -> None:
    from rllib_rnd.analysis.results.figures.chart import settled

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with settled():
            figure.savefig(path, dpi=130, metadata=SUFFIXES[path.suffix.lower()])
    except OSError as error:
        raise cannot_write(f"--out {path}" if asked else str(path), error) from error
