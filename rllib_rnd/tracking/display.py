"""What a person sees while a run trains: one live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rllib_rnd.tracking.metrics import duration, plugin_metrics, read, short_name, show, time_split, user_metrics
from rllib_rnd.tracking.stopping import Progress, progress

# (label, short metric name) in the order shown; a metric that the run does not have is left out. What plug-ins report
# follows under its own names.
_SHOWN = (
    ("return mean", "return_mean"),
    ("return max", "return_max"),
    ("episode length", "episode_len_mean"),
    ("rooms visited", "rooms_visited"),
    ("rooms / episode", "rooms_per_episode_mean"),
    ("positions visited", "positions_visited"),
    ("farthest progress", "progress_max"),
    ("environment failures", "env_failures"),
    ("hanging runners", "hanging_env_runners"),
    ("intrinsic reward", "intrinsic_reward_mean"),
    ("intrinsic, normalised", "intrinsic_reward_normalized_mean"),
    ("pre-training rollouts", "pretraining_rollouts"),
    ("held-out loss", "pretraining_loss"),
    ("approx. KL", "approx_kl"),
    ("entropy", "entropy"),
    ("clipped", "clip_fraction"),
    ("non-finite updates", "nonfinite_updates"),
)
_LINE = (
    ("return", "return_mean"),
    ("rooms", "rooms_visited"),
    ("positions", "positions_visited"),
    ("intrinsic", "intrinsic_reward_mean"),
    ("pre-training", "pretraining_rollouts"),
    ("held-out loss", "pretraining_loss"),
    ("KL", "approx_kl"),
    ("entropy", "entropy"),
)


@dataclass
class TrialView:
    """What the display knows of one trial.

    Attributes:
        name: the trial's name.
        started: clock at its first result, and the progress it had then (for the time to go).
        first_share: see ``started``.
        result: its newest result.
        status: ``training``, ``done`` or ``failed``.
        values: the values it draws from the search space.
    """

    name: str
    started: float = 0.0
    first_share: float | None = None
    result: dict[str, Any] = field(default_factory=dict)
    status: str = "starting"
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What tells this trial from the others: its draws, or its name."""
        draws = (f"{key.rpartition('/')[2]}={_short(value)}" for key, value in self.values.items())
        return ", ".join(draws) or self.name


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def remaining_seconds(view: TrialView, now: float, state: Progress | None) -> float | None:
    """Returns the seconds to go at the pace since the first result, or None if that cannot be said yet."""
    if state is None:
        return None
    if state.share >= 1.0:
        return 0.0
    if state.path in ("time_total_s", "time_since_restore"):
        return state.target - state.value
    if view.first_share is None or state.share <= view.first_share or now <= view.started:
        return None
    return (1.0 - state.share) * (now - view.started) / (state.share - view.first_share)


class RunDisplay(Callback):
    """Ray Tune callback that shows the trials of one experiment.

    Args:
        title: the experiment's name.
        stop: its stop conditions by result path.
        console: where to write; a live display if it is a terminal, lines otherwise.
        quiet: show nothing.
        line_interval_s: least seconds between two plain lines of one trial.
        clock: source of seconds, replaced in tests.
    """

    def __init__(
        self,
        title: str,
        stop: Mapping[str, float],
        console: Console,
        quiet: bool = False,
        line_interval_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.title = title
        self.stop = dict(stop)
        self.quiet = quiet
        self.line_interval_s = line_interval_s
        self.views: dict[str, TrialView] = {}
        self._clock = clock
        self._console: Console | None = console
        self._live: Live | None = None
        self._last_line: dict[str, float] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks; terminals and locks cannot be pickled.
        return {**self.__dict__, "_console": None, "_live": None, "quiet": True}

    def start(self) -> None:
        """Opens the live display (no effect where there is no terminal)."""
        if self.quiet or self._console is None or not self._console.is_terminal:
            return
        self._live = Live(self.render(), console=self._console, refresh_per_second=2, transient=True)
        self._live.start()

    def close(self) -> None:
        """Takes the live display off the screen; may be called twice."""
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()

    def on_trial_start(self, *, trial: Trial, **_: object) -> None:
        """Shows that a trial is being set up."""
        view = self.views.setdefault(trial.trial_id, TrialView(str(trial)))
        view.values = dict(getattr(trial, "evaluated_params", None) or {})
        view.status = "starting"
        self._refresh()

    def on_trial_result(self, *, trial: Trial, result: dict[str, Any], **_: object) -> None:
        """Shows a trial's new result."""
        view = self.views.setdefault(trial.trial_id, TrialView(str(trial)))
        view.status, view.result = "training", result
        state = progress(result, self.stop)
        if not view.first_share:  # as long as nothing has moved: pre-training says nothing about the pace after it
            view.started, view.first_share = self._clock(), state.share if state else 0.0
        self._refresh()
        self._print_line(trial.trial_id, view)

    def on_trial_complete(self, *, trial: Trial, **_: object) -> None:
        """Marks a trial as done."""
        self._end(trial, "done")

    def on_trial_error(self, *, trial: Trial, **_: object) -> None:
        """Marks a trial as failed."""
        self._end(trial, "failed")

    def _end(self, trial: Trial, status: str) -> None:
        view = self.views.setdefault(trial.trial_id, TrialView(str(trial)))
        view.status = status
        self._refresh()
        if not self.quiet and self._console is not None and self._live is None and len(self.views) > 1:
            self._console.print(f"{self.title} ({view.label}): {status}", highlight=False, soft_wrap=True)

    def _refresh(self) -> None:
        if self._live is not None:
            self._live.update(self.render())

    def render(self) -> RenderableType:
        """Returns the live display: one panel for one trial, a table for several."""
        views = list(self.views.values())
        if not views:
            return Panel(Text("starting Ray and the environments ..."), title=self.title)
        if len(views) == 1:
            return Panel(self._render_trial(views[0]), title=f"{self.title}  {views[0].status}")
        return Panel(self._render_trials(views), title=self.title)

    def _render_trial(self, view: TrialView) -> RenderableType:
        if not view.result:
            return Text("building networks and environments, first iteration ...")
        state = progress(view.result, self.stop)
        head = Table.grid(padding=(0, 2), expand=True)
        head.add_column(ratio=1)
        head.add_column(justify="right")
        head.add_row(ProgressBar(total=1.0, completed=state.share if state else 0.0), self._goal_text(view, state))
        speed = Text(self.speed_text(view.result))
        grid = Table.grid(padding=(0, 3))
        cells = [(label, name, read(view.result, name)) for label, name in _SHOWN]
        more = plugin_metrics(view.result) | user_metrics(view.result)
        cells += [(name.replace("_", " "), name, value) for name, value in more.items()]
        texts = [f"{label} [bold]{show(name, value)}[/bold]" for label, name, value in cells if value is not None]
        for start in range(0, len(texts), 4):
            grid.add_row(*texts[start : start + 4])
        return Group(head, speed, grid)

    def _render_trials(self, views: list[TrialView]) -> RenderableType:
        table = Table(box=None)
        for column in ("trial", "", "progress", "left", "steps/s", "return", "intrinsic", "KL", "entropy"):
            table.add_column(column, justify="left" if column in ("trial", "") else "right")
        for view in views:
            state = progress(view.result, self.stop)
            left = remaining_seconds(view, self._clock(), state)
            names = ("agent_steps_per_s", "return_mean", "intrinsic_reward_mean", "approx_kl", "entropy")
            table.add_row(
                view.label,
                view.status,
                f"{state.share:.0%}" if state else "-",
                duration(left) if left is not None and view.status == "training" else "-",
                *(show(name, read(view.result, name)) for name in names),
            )
        return table

    def _goal_text(self, view: TrialView, state: Progress | None) -> str:
        steps = show("agent_steps", read(view.result, "agent_steps"))
        if state is None:
            return f"{steps} steps, no end foreseen"
        left = remaining_seconds(view, self._clock(), state)
        time_left = f", {duration(left)} left" if left is not None else ""
        goal = f"{state.target:,.0f} {short_name(state.path)}"
        return f"{state.share:.0%} of {goal}, {steps} steps{time_left}"

    @staticmethod
    def speed_text(result: Mapping[str, Any]) -> str:
        """Returns the pace and how the time of an iteration is spent."""
        parts = [f"{label} {share:.0%}" for label, share in time_split(result).items()]
        pace = f"{show('agent_steps_per_s', read(result, 'agent_steps_per_s')).removesuffix('/s')} agent steps/s"
        return f"{pace} ({', '.join(parts)})" if parts else pace

    def _print_line(self, trial_id: str, view: TrialView) -> None:
        if self.quiet or self._console is None or self._live is not None or self._console.is_terminal:
            return
        now, last = self._clock(), self._last_line.get(trial_id)
        finished = bool(view.result.get("done"))
        if last is not None and now - last < self.line_interval_s and not finished:
            return
        self._last_line[trial_id] = now
        self._console.print(self.line(view), highlight=False, soft_wrap=True, markup=False)

    def line(self, view: TrialView) -> str:
        """Returns one plain line about a trial."""
        state = progress(view.result, self.stop)
        parts = [f"{self.title} ({view.label})" if view.values else self.title, self._goal_text(view, state)]
        parts.append(self.speed_text(view.result))
        for label, name in _LINE:
            value = read(view.result, name)
            if value is not None:
                parts.append(f"{label} {show(name, value)}")
        parts += [f"{name.replace('_', ' ')} {show(name, value)}" for name, value in user_metrics(view.result).items()]
        return " | ".join(parts)
