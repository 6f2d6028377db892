"""The display: plain lines, the live picture, time to go."""

import io
import pickle
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from rllib_rnd.tracking.display import RunDisplay

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


def make(terminal: bool = False, quiet: bool = False) -> tuple[RunDisplay, io.StringIO, Clock]:
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, force_terminal=terminal, width=200, soft_wrap=True)
    return RunDisplay("montezuma", STOP, console, quiet=quiet, clock=clock), out, clock


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
