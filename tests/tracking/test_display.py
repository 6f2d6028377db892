"""The display: plain lines, the live picture, time to go."""

import io
import pickle
import re
from types import SimpleNamespace
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from rllib_rnd.tracking.display import _SHOWN, RunDisplay
from rllib_rnd.tracking.layout import Part, fit_columns, fit_grid, fit_line
from rllib_rnd.tracking.stopping import NOTICE

STOP = {"env_runners/num_env_steps_sampled_lifetime": 1000.0}


def result(steps: int, **extra: Any) -> dict[str, Any]:
    return {
        "env_runners": {
            "num_env_steps_sampled_lifetime": steps,
            "episode_return_mean": 12.5,
            "rooms_visited": 2,
        },
        "learners": {"default_policy": {"intrinsic_reward_mean": 0.25, "approx_kl": 0.01, "entropy": 1.5}},
        "timers": {"sample_s": 3.0, "learn_s": 1.0},
        "throughput": {"agent_steps_per_s": 200.0},
        **extra,
    }


class Trial(SimpleNamespace):
    def __str__(self) -> str:
        return str(self.trial_id)


def trial(name: str = "trial_a", **params: Any) -> Trial:
    return Trial(trial_id=name, evaluated_params=params)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def make(terminal: bool = False, quiet: bool = False, trials: int = 1) -> tuple[RunDisplay, io.StringIO, Clock]:
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, force_terminal=terminal, width=200, soft_wrap=True)
    return RunDisplay("montezuma", STOP, console, quiet=quiet, trials=trials, clock=clock), out, clock


def test_a_plain_line_tells_everything() -> None:
    display, out, clock = make()
    display.on_trial_start(trial=trial())
    display.on_trial_result(trial=trial(), result=result(100))
    clock.now = 10.0
    display.on_trial_result(trial=trial(), result=result(300))
    assert out.getvalue().splitlines()[1] == (
        "montezuma | 30% of 1,000 agent_steps, 300 steps, 35s left | 200 agent steps/s (sampling 75%, learning 25%)"
        " | return 12.5 | rooms 2 | intrinsic 0.25 | KL 0.01 | entropy 1.5"
    )


def test_lines_are_thinned_out_but_the_last_is_shown() -> None:
    display, out, clock = make()
    for i in range(1, 11):
        clock.now = i * 1.0
        display.on_trial_result(trial=trial(), result=result(10 * i, done=i == 10))
    assert [line.split(", ")[1].split(" | ")[0] for line in out.getvalue().splitlines() if line] == [
        "10 steps",
        "60 steps",
        "100 steps",
    ]


def test_quiet_prints_nothing() -> None:
    display, out, _ = make(quiet=True)
    display.start()
    display.on_trial_result(trial=trial(), result=result(100))
    display.on_trial_complete(trial=trial())
    display.close()
    assert out.getvalue() == ""


def test_the_live_display_opens_updates_and_closes() -> None:
    display, out, _ = make(terminal=True)
    display.start()
    display.on_trial_start(trial=trial())
    display.on_trial_result(trial=trial(), result=result(250))
    display.close()
    display.close()
    assert "25% of 1,000 agent_steps" in out.getvalue()


def text_of(display: RunDisplay) -> str:
    console = Console(file=io.StringIO(), width=160)
    with console.capture() as capture:
        console.print(display.render())
    return capture.get()


def test_the_picture_of_one_trial() -> None:
    display, _, _ = make()
    assert "starting" in text_of(display)
    display.on_trial_result(trial=trial(), result=result(250))
    text = text_of(display)
    for part in ("25% of 1,000 agent_steps", "200 agent steps/s (sampling 75%", "return mean 12.5", "rooms visited 2"):
        assert part in text
    assert "positions" not in text  # not reported
    assert "snd" not in text
    display.on_trial_result(
        trial=trial(), result=result(250, learners={"default_policy": {"plugins": {"snd_drift": 0.5}}})
    )
    assert "snd drift 0.5" in text_of(display)


def test_several_trials_are_a_table_of_their_draws() -> None:
    display, _, _ = make()
    for name, lr in (("a", 0.001), ("b", 0.01)):
        display.on_trial_start(trial=trial(name, lr=lr))
        display.on_trial_result(trial=trial(name, lr=lr), result=result(500))
    display.on_trial_error(trial=trial("b"))
    text = text_of(display)
    assert "lr=0.001" in text and "lr=0.01" in text and "failed" in text and "50%" in text


def test_it_can_be_pickled_with_the_experiment() -> None:
    display, _, _ = make(terminal=True)
    display.start()
    try:
        copy = pickle.loads(pickle.dumps(SimpleNamespace(**display.__getstate__() | {"_clock": None})))
    finally:
        display.close()
    assert copy.quiet and copy._live is None


def everything(steps: int) -> dict[str, Any]:
    """A result with every metric that the display knows, at numbers of many digits."""
    runners = {
        "num_env_steps_sampled_lifetime": steps,
        "num_episodes_lifetime": 987_654,
        "num_env_step_failures": 1_234,
        "hanging_env_runners": 12,
        "progress_max": 3161.25,
    }
    names = ("episode_return_mean", "episode_return_max", "episode_len_mean", "rooms_per_episode_mean")
    runners |= dict.fromkeys((*names, "rooms_visited", "positions_visited"), 1234.567)
    learner = {name: 0.00123456 for _, name, _ in _SHOWN}
    learner["nonfinite_updates"] = 7
    plugins = {"rnd_predictor_loss": 0.000123, "byol_loss": 0.25, "snd_drift": 0.5}
    extra = {"env_runners": runners, "learners": {"default_policy": {**learner, "plugins": plugins}}}
    return result(steps, training_iteration=12345, **extra)


def screen(display: RunDisplay, width: int, height: int = 24) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height)
    with console.capture() as capture:
        console.print(display.render())
    return capture.get().splitlines()


IMPORTANT = [
    "25% of 500,000,000 agent_steps",
    "elapsed",
    "left",
    "agent steps",
    "return mean 1235",
    "intrinsic reward 0.0",
]
WARNINGS = ["environment failures 1,234", "hanging runners 12", "non-finite updates 7"]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_one_trial_fits_the_terminal_and_what_matters_stays(width: int) -> None:
    display, _, clock = make()
    display.stop = {"env_runners/num_env_steps_sampled_lifetime": 500_000_000.0}
    display.on_trial_start(trial=trial())
    display.on_trial_result(trial=trial(), result=everything(1_000))
    clock.now = 3600.0
    display.on_trial_result(trial=trial(), result=everything(125_000_000))
    lines = screen(display, width)
    assert {cell_len(line) for line in lines} == {width} and len(lines) <= 12
    text = "\n".join(lines)
    for part in IMPORTANT + WARNINGS:
        assert part in text
    assert "..." not in text and "…" not in text
    assert ("KL" in text) == ("entropy" in text) == (width == 120)


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("count", [3, 40])
def test_many_trials_fit_the_terminal_and_keep_their_numbers(width: int, count: int) -> None:
    display, _, _ = make()
    display.stop = {"env_runners/num_env_steps_sampled_lifetime": 500_000_000.0}
    for i in range(count):
        one = trial(f"trial_{i}", **{"lr": 1e-5 * (i + 1), "intrinsic_reward/coeff": 0.5, "heads/policy_hidden": None})
        display.on_trial_start(trial=one)
        display.on_trial_result(trial=one, result=everything(125_000_000))
        if i < 10:
            display.on_trial_complete(trial=one)
    lines = screen(display, width)
    assert {cell_len(line) for line in lines} == {width} and len(lines) <= 24
    text = "\n".join(lines)
    assert "25%" in text and "1235" in text and "lr=" in text and "None" not in text
    assert ("KL" in text) == (width == 120)
    if count == 40:
        assert "more (" in text and text.count("training") > 12  # those that run are shown first


def test_clocks_run_between_results() -> None:
    display, _, clock = make()
    display.on_trial_start(trial=trial())
    clock.now = 3.0
    assert "first iteration (3s)" in text_of(display)
    display.on_trial_result(trial=trial(), result=result(100, training_iteration=1))
    clock.now = 13.0
    display.on_trial_result(trial=trial(), result=result(300, training_iteration=2))
    seen = []
    for clock.now in (13.0, 14.0, 40.0, 60.0):
        text = text_of(display)
        seen.append([word in text for word in ("35s left", "34s left", "8s left", " left")])
    assert seen == [[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 0, 0]]
    assert "1m 00s elapsed" in text and "iteration 3 runs (47s)" in text


def test_no_milliseconds_are_left() -> None:
    display, _, _ = make()
    display.stop = {"time_total_s": 100.0}
    display.on_trial_result(trial=trial(), result=result(10, time_total_s=99.862))
    assert "1s left" in text_of(display) and not re.search(r"\d+ms", text_of(display))


def test_it_says_what_is_waited_for_once_and_then_from_time_to_time() -> None:
    display, out, clock = make()
    display._needs = lambda: "a trial needs 1 GPU; Ray has 1 node with 2 CPUs and no GPU"
    for clock.now in range(130):
        display.on_step_begin()
    assert len(out.getvalue().splitlines()) == 3
    assert out.getvalue().startswith("montezuma | waiting for Ray: a trial needs 1 GPU; Ray has 1 node")
    assert "waiting for Ray: a trial needs 1 GPU" in text_of(display)
    display.on_trial_start(trial=trial())
    clock.now = 500.0
    display.on_step_begin()
    assert len(out.getvalue().splitlines()) == 3


@pytest.mark.parametrize(("steps", "status"), [(100, "stopped"), (1000, "done")])
def test_after_ctrl_c_nothing_is_waited_for_any_more(steps: int, status: str) -> None:
    display, _, _ = make()
    display.notice = lambda: NOTICE
    display.on_trial_result(trial=trial(), result=result(steps))
    display.on_trial_complete(trial=trial())
    text = text_of(display)
    assert f"montezuma  {status}" in text and "Ctrl-C" not in text


def test_after_ctrl_c_the_trials_of_a_sweep_are_stopped() -> None:
    display, _, _ = make(terminal=True, trials=3)
    display.start()
    display.notice = lambda: NOTICE
    for name in ("a", "b"):
        display.on_trial_start(trial=trial(name, lr=0.1))
    display.on_trial_error(trial=trial("a"))
    assert "Ctrl-C" in text_of(display)
    display.close()
    text = text_of(display)
    assert "Ctrl-C" not in text and "0 of 3 trials run, 1 waits, 1 failed, 1 stopped" in text


@pytest.mark.parametrize("width", [60, 120])
def test_a_sweep_tells_its_time_and_its_trials(width: int) -> None:
    display, _, clock = make(trials=5)
    before = Trial(trial_id="before", is_finished=lambda: True)
    for name, lr in (("a", 0.1), ("b", 0.2)):
        display.on_trial_start(trial=trial(name, lr=lr))
        display.on_trial_result(trial=trial(name, lr=lr), result=result(500, training_iteration=17))
        if name == "a":
            assert "1 of 5 trials runs, 4 wait" in text_of(display)  # a sweep also while it has one trial only
            display.on_trial_complete(trial=trial(name, lr=lr))
    display.on_step_begin(trials=[before, trial("a")])
    clock.now = 61.0
    text = "\n".join(screen(display, width))
    assert "1m 01s elapsed, 1 of 5 trials runs, 2 wait, 2 done" in text
    assert ("iteration" in text and "17" in text) == (width == 120)


def test_every_trial_of_a_sweep_gets_its_last_line() -> None:
    for total in (1, 2):
        display, out, _ = make(trials=total)
        for name in "ab"[:total]:
            display.on_trial_start(trial=trial(name, seed=name))
            display.on_trial_complete(trial=trial(name, seed=name))
        said = [f"montezuma (seed={name}): done" for name in "ab"]
        assert out.getvalue().splitlines() == (said if total > 1 else [])


@pytest.mark.parametrize("width", [60, 80])
def test_ctrl_c_is_answered_on_the_screen(width: int) -> None:
    display, _, _ = make()
    display.on_trial_result(trial=trial(), result=result(100))
    display.notice = lambda: NOTICE
    text = " ".join(line.strip("│ ") for line in screen(display, width))
    assert NOTICE in text


def test_what_matters_least_goes_first() -> None:
    parts = [Part(0, "aaaa"), Part(2, "bbbb"), Part(1, "cccc"), Part(2, "")]
    assert fit_line(parts, 100) == "aaaa, bbbb, cccc"
    assert fit_line(parts, 15) == "aaaa, cccc"
    assert fit_line(parts, 9) == "aaaa"
    assert fit_line(parts, 3) == "..."
    assert fit_grid(parts[:3], 18, rows=1) == [["aaaa", "bbbb", "cccc"]]
    assert fit_grid(parts[:3], 11, rows=1) == [["aaaa", "cccc"]]
    assert fit_grid(parts[:3], 4, rows=2) == [["aaaa"], ["cccc"]]
    assert fit_columns([0, 3, 1], [10, 10, 10], 22) == [0, 2]
