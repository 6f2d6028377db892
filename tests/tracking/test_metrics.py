"""The metric table: reading results, RLlib's own places, formats."""

import pytest

from rllib_rnd.tracking.metrics import (
    METRICS,
    curated,
    duration,
    full_path,
    is_known,
    known_stop_keys,
    lookup,
    plugin_metrics,
    read,
    short_name,
    show,
    time_split,
)

OURS = {
    "training_iteration": 3,
    "env_runners": {"num_env_steps_sampled_lifetime": 1024, "episode_return_mean": 1.5, "rooms": [1, 2]},
    "learners": {"default_policy": {"approx_kl": 0.01, "entropy": float("nan")}},
    "timers": {"sample_s": 1.0, "learn_s": 2.0, "sync_s": 1.0},
    "throughput": {"agent_steps_per_s": 256.0},
}


def test_names_and_paths_are_unique() -> None:
    names = [m.name for m in METRICS]
    paths = [p for m in METRICS for p in m.paths]
    assert len(set(names)) == len(names)
    assert len(set(paths)) == len(paths)


def test_reading_nested_and_flat_results() -> None:
    assert read(OURS, "agent_steps") == 1024
    assert lookup({"env_runners/episode_return_mean": 2.0}, "env_runners/episode_return_mean") == 2.0
    assert lookup(OURS, "env_runners/rooms") is None  # a list is no number
    assert lookup(OURS, "env_runners/episode_return_mean/x") is None
    assert read(OURS, "entropy") is None  # NaN is no value


def test_rllibs_own_ppo_is_read_too() -> None:
    result = {
        "env_runners": {"num_env_steps_sampled": 400},
        "time_this_iter_s": 2.0,
        "timers": {"env_runner_sampling_timer": 0.5},
        "learners": {"default_policy": {"mean_kl_loss": 0.02}},
    }
    assert read(result, "approx_kl") == 0.02
    assert read(result, "agent_steps_per_s") == 200.0
    assert time_split(result) == {"sampling": 1.0}


def test_curated_holds_only_what_is_there() -> None:
    assert curated(OURS) == {
        "iteration": 3.0,
        "agent_steps": 1024.0,
        "agent_steps_per_s": 256.0,
        "sample_s": 1.0,
        "learn_s": 2.0,
        "sync_s": 1.0,
        "return_mean": 1.5,
        "approx_kl": 0.01,
    }


def test_what_plugins_report_and_further_streams_are_metrics_too() -> None:
    learner = {
        "intrinsic_reward_mean": 0.5,
        "intrinsic_reward_mean_1": 0.25,
        "intrinsic_reward_mean_2": 0.125,
        "intrinsic_reward_mean_4": 9.0,  # of no stream: there is no third
        "plugins": {"snd_target_drift": 0.75, "byol_loss": float("nan"), "rnd_predictor_loss_1": 2.0},
    }
    expected = {
        "intrinsic_reward_mean": 0.5,
        "intrinsic_reward_mean_1": 0.25,
        "intrinsic_reward_mean_2": 0.125,
        "snd_target_drift": 0.75,
        "rnd_predictor_loss_1": 2.0,
    }
    assert curated({"learners": {"default_policy": learner}}) == expected
    flat = {f"learners/default_policy/plugins/{name}": value for name, value in learner["plugins"].items()}  # type: ignore[attr-defined]
    assert curated(flat) == plugin_metrics(flat) == {"snd_target_drift": 0.75, "rnd_predictor_loss_1": 2.0}
    assert plugin_metrics({}) == plugin_metrics({"learners": {"default_policy": 3.0}}) == {}
    assert show("snd_target_drift", 0.123456) == "0.1235"


def test_a_run_may_end_by_what_a_plugin_reports() -> None:
    path = "learners/default_policy/plugins/byol_loss"
    assert is_known(path) and is_known("return_mean") and not is_known("byol_loss")
    assert full_path(path) == path and short_name(path) == "byol_loss"


def test_time_split_sums_to_one() -> None:
    assert time_split(OURS) == {"sampling": 0.25, "learning": 0.5, "sync": 0.25}
    assert time_split({}) == {}


def test_short_names_and_paths_go_both_ways() -> None:
    path = "env_runners/num_env_steps_sampled_lifetime"
    assert full_path("agent_steps") == path
    assert full_path(path) == path
    assert short_name(path) == "agent_steps"
    assert {path, "agent_steps"} <= set(known_stop_keys())


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.04, "40ms"), (42, "42s"), (200, "3m 20s"), (3600 * 5 + 420, "5h 07m")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_formats() -> None:
    assert show("agent_steps", 1234567) == "1,234,567"
    assert show("agent_steps_per_s", 999.6) == "1,000/s"
    assert show("approx_kl", 0.0123456) == "0.01235"
    assert show("approx_kl", None) == "-"
