"""What a person sees while a run trains: one live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rllib_rnd.tracking.layout import Part, fit_columns, fit_grid, fit_line, shorten
from rllib_rnd.tracking.metrics import (
    duration,
    lookup,
    plugin_metrics,
    read,
    short_name,
    show,
    time_split,
    user_metrics,
)
from rllib_rnd.tracking.stopping import Progress, progress, reached
from rllib_rnd.tracking.trial_view import TrialView, remaining_seconds, time_left

# (label, short metric name, rank) in the order shown; a metric that the run does not have is left out, and those of the
# highest rank go first where the terminal is narrow. What plug-ins report follows under its own names.
_SHOWN = (
    ("return mean", "return_mean", 1),
    ("return max", "return_max", 3),
    ("episode length", "episode_len_mean", 4),
    ("rooms visited", "rooms_visited", 2),
    ("rooms / episode", "rooms_per_episode_mean", 5),
    ("positions visited", "positions_visited", 2),
    ("farthest progress", "progress_max", 2),
    ("learner threads", "learner_threads", 7),
    ("environment failures", "env_failures", 0),
    ("hanging runners", "hanging_env_runners", 0),
    ("restarted runners", "env_runner_restarts", 0),
    ("broken observations", "broken_observations", 0),
    ("intrinsic reward", "intrinsic_reward_mean", 2),
    ("intrinsic, normalised", "intrinsic_reward_normalized_mean", 6),
    ("pre-training rollouts", "pretraining_rollouts", 2),
    ("held-out loss", "pretraining_loss", 2),
    ("approx. KL", "approx_kl", 10),
    ("entropy", "entropy", 9),
    ("clipped", "clip_fraction", 8),
    ("non-finite updates", "nonfinite_updates", 0),
)
_PLUGIN_RANK = 7
_TRIAL_RANKS = {
    "trial": 0,
    "": 3,
    "progress": 1,
    "left": 4,
    "steps/s": 5,
    "return": 2,
    "intrinsic": 6,
    "KL": 9,
    "entropy": 8,
    "iteration": 10,
}
_RUNNING = ("starting", "training")
_NARROW = 100  # columns
_PATIENCE_S, _REMIND_S = 5.0, 60.0  # before a display says what it waits for, and says it again
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


class _Picture:
    """The live display as rich draws it: made anew at each look, for the terminal's size of that moment."""

    def __init__(self, display: RunDisplay) -> None:
        self._display = display

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._display.picture(options.max_width, console.height)


class RunDisplay(Callback):
    """Ray Tune callback that shows the trials of one experiment.

    Args:
        title: the experiment's name.
        stop: its stop conditions by result path.
        console: where to write; a live display if it is a terminal, lines otherwise.
        quiet: show nothing.
        needs: tells what a trial needs and what Ray has, for while none runs.
        line_interval_s: least seconds between two plain lines of one trial.
        trials: how many the experiment has in all.
        clock: source of seconds, replaced in tests.
    """

    def __init__(
        self,
        title: str,
        stop: Mapping[str, float],
        console: Console,
        quiet: bool = False,
        needs: Callable[[], str] | None = None,
        line_interval_s: float = 5.0,
        trials: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.title = title
        self.stop = dict(stop)
        self.quiet = quiet
        self.line_interval_s = line_interval_s
        self.trials = trials
        self.views: dict[str, TrialView] = {}
        self.notice: Callable[[], str] = str  # what is to be said at once, as after Ctrl-C
        self._clock = clock
        self._began = clock()
        self._needs = needs
        self._waiting_for, self._told_waiting = "", -_REMIND_S
        self._console: Console | None = console
        self._live: Live | None = None
        self._last_line: dict[str, float] = {}
        self._ended_before = 0  # trials of a sweep that goes on, which had ended when it was begun again

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks; terminals and locks cannot be pickled.
        gone = {"_console": None, "_live": None, "_needs": None, "notice": str, "quiet": True}
        return {**self.__dict__, **gone}

    def start(self) -> None:
        """Opens the live display (no effect where there is no terminal)."""
        self._began = self._clock()
        if self.quiet or self._console is None or not self._console.is_terminal:
            return
        # Drawn anew twice a second, also while nothing happens: clocks run, and Ctrl-C is answered at once.
        self._live = Live(
            get_renderable=self.render, console=self._console, refresh_per_second=2, transient=True, screen=False
        )
        self._live.start(refresh=True)

    def close(self) -> None:
        """Takes the live display off the screen; may be called twice."""
        if self._live is not None:
            if self.notice():
                for view in self._running():
                    view.status = "stopped"
            self.notice = str  # nothing is waited for any more
            live, self._live = self._live, None
            live.stop()

    def tell(self, line: str) -> None:
        """Prints a line, above the live display where there is one."""
        if not self.quiet and self._console is not None:
            self._console.print(line, highlight=False, soft_wrap=True, markup=False)

    def is_live(self) -> bool:
        """Whether the display is on a screen, where it shows `notice`."""
        return self._live is not None

    def on_step_begin(self, trials: Sequence[Trial] = (), **_: object) -> None:
        """Says what is waited for while no trial has what it needs."""
        now = self._clock()
        self._ended_before = sum(trial.trial_id not in self.views and trial.is_finished() for trial in trials)
        due = now - self._began >= _PATIENCE_S and now - self._told_waiting >= _PATIENCE_S
        if self.views or self._needs is None or self.quiet or not due:
            return
        first, self._waiting_for = not self._waiting_for, self._needs()
        if not self._waiting_for:
            return
        if first or self._live is not None or now - self._told_waiting >= _REMIND_S:
            self._told_waiting = now
            if self._live is None and self._console is not None:
                line = f"{self.title} | waiting for Ray: {self._waiting_for}"
                self._console.print(line, highlight=False, soft_wrap=True, markup=False)

    def on_trial_start(self, *, trial: Trial, **_: object) -> None:
        """Shows that a trial is being set up."""
        view = self.views.setdefault(trial.trial_id, TrialView(str(trial)))
        view.values = dict(getattr(trial, "evaluated_params", None) or {})
        view.status, view.since = "starting", self._clock()
        self._refresh()

    def on_trial_result(self, *, trial: Trial, result: dict[str, Any], **_: object) -> None:
        """Shows a trial's new result."""
        view = self.views.setdefault(trial.trial_id, TrialView(str(trial)))
        view.status, view.result, view.since = "training", result, self._clock()
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
        interrupted = status == "done" and self.notice() and reached(view.result, self.stop) is None
        view.status = "stopped" if interrupted else status
        if self.trials == 1:
            self.notice = str
        self._refresh()
        if not self.quiet and self._console is not None and self._live is None and self._is_sweep():
            self._console.print(f"{self.title} ({view.label}): {view.status}", highlight=False, soft_wrap=True)

    def _is_sweep(self) -> bool:
        return max(self.trials, len(self.views)) > 1

    def _running(self) -> list[TrialView]:
        return [view for view in self.views.values() if view.status in _RUNNING]

    def _refresh(self) -> None:
        if self._live is not None:
            self._live.refresh()

    def render(self) -> RenderableType:
        """Returns the live display: one panel for one trial, a table for several."""
        return _Picture(self)

    def picture(self, width: int, height: int) -> RenderableType:
        """Returns the display as it is now, for a terminal of so many columns and rows."""
        views, inner = list(self.views.values()), width - 4
        notice = self.notice()
        head: list[RenderableType] = [Text(notice, style="bold yellow")] if notice else []
        if not views:
            waiting = f"waiting for Ray: {self._waiting_for}" if self._waiting_for else "starting environments"
            head.append(Text(f"{waiting} ({duration(math.floor(self._clock() - self._began))})"))
            return Panel(Group(*head), title=self.title)
        if not self._is_sweep():
            return Panel(Group(*head, self._render_trial(views[0], inner)), title=f"{self.title}  {views[0].status}")
        head.append(Text(fit_line(self._sweep_parts(), inner)))
        return Panel(Group(*head, self._render_trials(views, inner, max(3, height - 9))), title=self.title)

    def _render_trial(self, view: TrialView, width: int) -> RenderableType:
        now = self._clock()
        if not view.result:
            return Text(fit_line(self._clock_parts(view, now), width))
        state = progress(view.result, self.stop)
        head = Table.grid(padding=(0, 2), expand=True)
        head.add_column(ratio=1)
        head.add_column(justify="right", no_wrap=True)
        head.add_row(ProgressBar(total=1.0, completed=state.share if state else 0.0), self._goal(state))
        episodes = lookup(view.result, "env_runners/num_episodes_lifetime")
        steps = show("agent_steps", read(view.result, "agent_steps"))
        counts = [
            Part(3, f"iteration {show('iteration', read(view.result, 'iteration'))}"),
            Part(0, f"{steps} agent steps"),
            Part(2, f"{episodes:,.0f} episodes" if episodes is not None else ""),
        ]
        grid = Table.grid(padding=(0, 3))
        for row in fit_grid(self._cells(view), width, rows=4 if width < _NARROW else 6):
            grid.add_row(*(Text(text) for text in row))
        return Group(
            head,
            Text(fit_line(self._clock_parts(view, now), width)),
            Text(fit_line(counts, width)),
            Text(fit_line([Part(0, self._pace(view.result)), Part(1, f"({self._split(view.result)})")], width, " ")),
            grid,
        )

    def _clock_parts(self, view: TrialView, now: float) -> list[Part]:
        """How long it has taken, will take, and what is waited for."""
        waited = duration(math.floor(now - view.since))
        if not view.result:
            doing = f"building networks and environments, first iteration ({waited})"
        else:
            doing = f"iteration {(read(view.result, 'iteration') or 0) + 1:.0f} runs ({waited})"
        running = view.status in _RUNNING
        left = remaining_seconds(view, now, progress(view.result, self.stop)) if running else None
        return [
            Part(0, time_left(left)),
            Part(1, f"{duration(math.floor(now - self._began))} elapsed"),
            Part(2, doing if running else ""),
        ]

    def _sweep_parts(self) -> list[Part]:
        """How long a sweep has taken, and how many of its trials run, wait and have ended."""
        statuses = [view.status for view in self.views.values()] + ["done"] * self._ended_before
        total, running = max(self.trials, len(statuses)), len(self._running())
        waiting = total - len(statuses)
        ended = {name: statuses.count(name) for name in ("done", "failed", "stopped")}
        return [
            Part(1, f"{duration(math.floor(self._clock() - self._began))} elapsed"),
            Part(0, f"{running} of {total} trials {'runs' if running == 1 else 'run'}"),
            Part(2, f"{waiting} {'waits' if waiting == 1 else 'wait'}" if waiting else ""),
            *(Part(3, f"{count} {name}" if count else "") for name, count in ended.items()),
        ]

    @staticmethod
    def _cells(view: TrialView) -> list[Part]:
        cells = [(label, name, rank, read(view.result, name)) for label, name, rank in _SHOWN]
        more = plugin_metrics(view.result) | user_metrics(view.result)
        cells += [(name.replace("_", " "), name, _PLUGIN_RANK, value) for name, value in more.items()]
        parts = [Part(rank, f"{label} {show(name, value)}") for label, name, rank, value in cells if value is not None]
        if read(view.result, "return_mean") is None:
            parts.insert(0, Part(1, "return mean - (no episode has ended)"))
        return parts

    def _render_trials(self, views: list[TrialView], width: int, rows: int) -> RenderableType:
        lines = []
        for view in views:
            state = progress(view.result, self.stop)
            left = remaining_seconds(view, self._clock(), state) if view.status == "training" else None
            names = ("agent_steps_per_s", "return_mean", "intrinsic_reward_mean", "approx_kl", "entropy", "iteration")
            lines.append(
                [
                    view.label,
                    view.status,
                    f"{state.share:.0%}" if state else "-",
                    time_left(left).removesuffix(" left") or "-",
                    *(show(name, read(view.result, name)) for name in names),
                ]
            )
        # Running trials are what one looks for; the others are counted.
        order = sorted(range(len(views)), key=lambda i: views[i].status not in _RUNNING)
        shown = sorted(order[:rows])
        headings = list(_TRIAL_RANKS)
        widths = [max(cell_len(text) for text in column) for column in zip(headings, *lines, strict=True)]
        label = min(widths[0], max(12, width * 2 // 5))
        kept = fit_columns(list(_TRIAL_RANKS.values()), [label, *widths[1:]], width)
        label = min(widths[0], width - sum(widths[i] + 2 for i in kept[1:]))
        table = Table.grid(padding=(0, 2))
        for i in kept:
            table.add_column(justify="left" if i < 2 else "right", no_wrap=True)
        for line in (headings, *(lines[i] for i in shown)):
            table.add_row(Text(shorten(line[0], label)), *(Text(line[i]) for i in kept[1:]))
        rest = [views[i].status for i in order[rows:]]
        counted = ", ".join(f"{rest.count(status)} {status}" for status in dict.fromkeys(rest))
        return Group(table, Text(f"... and {len(rest)} more ({counted})")) if rest else table

    @staticmethod
    def _goal(state: Progress | None) -> str:
        return f"{state.share:.0%} of {state.target:,.0f} {short_name(state.path)}" if state else "no end foreseen"

    def _goal_text(self, view: TrialView, state: Progress | None) -> str:
        steps = show("agent_steps", read(view.result, "agent_steps"))
        if state is None:
            return f"{steps} steps, no end foreseen"
        left = time_left(remaining_seconds(view, self._clock(), state))
        return ", ".join(filter(None, (self._goal(state), f"{steps} steps", left)))

    @staticmethod
    def _pace(result: Mapping[str, Any]) -> str:
        return f"{show('agent_steps_per_s', read(result, 'agent_steps_per_s')).removesuffix('/s')} agent steps/s"

    @staticmethod
    def _split(result: Mapping[str, Any]) -> str:
        return ", ".join(f"{label} {share:.0%}" for label, share in time_split(result).items())

    def speed_text(self, result: Mapping[str, Any]) -> str:
        """Returns the pace and how the time of an iteration is spent."""
        pace, split = self._pace(result), self._split(result)
        return f"{pace} ({split})" if split else pace

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
