"""The algorithm through RLlib's public interfaces: configuration, callbacks, evaluation, learners, Tune."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray import tune
from ray.rllib.callbacks.callbacks import RLlibCallback

import rllib_rnd
from rllib_rnd import SND, IntrinsicPPOConfig, RNDConfig, SNDConfig
from rllib_rnd.errors import ConfigError
from tests.conftest import small_config

pytestmark = pytest.mark.usefixtures("ray_session")


def weights(algorithm: Any) -> dict[str, np.ndarray]:
    return algorithm.learner_group.get_weights()["default_policy"]


def assert_same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_three_iterations_report_the_documented_metrics() -> None:
    algorithm = small_config().build_algo()
    for _ in range(3):
        result = algorithm.train()
    algorithm.stop()
    learner = result["learners"]["default_policy"]
    for name in (
        "policy_loss", "vf_loss", "vf_loss_extrinsic", "vf_loss_intrinsic", "entropy", "approx_kl", "clip_fraction",
        "explained_variance_extrinsic", "explained_variance_intrinsic", "total_loss", "grad_norm",
        "intrinsic_reward_mean", "intrinsic_reward_max", "intrinsic_reward_normalized_mean", "intrinsic_return_std",
        "learning_rate",
    ):  # fmt: skip
        assert np.isfinite(learner[name]), name
    assert np.isfinite(learner["plugins"]["rnd_predictor_loss"])
    assert learner["nonfinite_updates"] == 0
    assert learner["vf_loss"] == pytest.approx(learner["vf_loss_extrinsic"] + learner["vf_loss_intrinsic"], rel=1e-4)
    runner = result["env_runners"]
    assert runner["num_env_steps_sampled_lifetime"] <= 3 * 4 * 16
    assert runner["episode_len_mean"] == 5.0
    assert result["throughput"]["agent_steps_per_s"] > 0
    assert {"sample_s", "learn_s", "sync_s"} <= set(result["timers"])


def test_the_same_seed_gives_the_same_first_iterations() -> None:
    runs = []
    for _ in range(2):
        algorithm = small_config().build_algo()
        losses = [algorithm.train()["learners"]["default_policy"]["total_loss"] for _ in range(3)]
        runs.append((losses, weights(algorithm)))
        algorithm.stop()
    assert runs[0][0] == runs[1][0]
    assert_same(runs[0][1], runs[1][1])


def test_another_seed_gives_another_run() -> None:
    runs = []
    for seed in (3, 4):
        algorithm = small_config().debugging(seed=seed).build_algo()
        runs.append(algorithm.train()["learners"]["default_policy"]["total_loss"])
        algorithm.stop()
    assert runs[0] != runs[1]


def test_without_intrinsic_reward_it_is_ppo_with_one_stream() -> None:
    algorithm = small_config("IntrinsicPPO").build_algo()
    learner = algorithm.train()["learners"]["default_policy"]
    algorithm.stop()
    assert not [name for name in learner if name.startswith(("intrinsic_", "rnd_"))]
    assert learner["vf_loss"] == pytest.approx(learner["vf_loss_extrinsic"])


def test_two_intrinsic_rewards_have_two_streams() -> None:
    spec = [{"type": "rnd", "feature_dim": 8, "hidden_sizes": [8], "gamma": g} for g in (0.99, 0.9)]
    algorithm = small_config(intrinsic_reward=spec).build_algo()
    result = algorithm.train()
    assert {"intrinsic_reward_mean", "intrinsic_reward_mean_1"} <= set(result["learners"]["default_policy"])
    assert len(algorithm.get_module("default_policy").critics.intrinsic) == 2
    algorithm.stop()


class CountingCallbacks(RLlibCallback):
    """Writes what happened into the metrics."""

    def on_episode_end(self, *, episode: Any, metrics_logger: Any, **kwargs: Any) -> None:
        metrics_logger.log_value("my_episode_length", len(episode), window=1)

    def on_train_result(self, *, algorithm: Any, metrics_logger: Any, result: dict[str, Any], **kwargs: Any) -> None:
        result["my_iteration"] = algorithm.iteration


def test_stopping_waits_for_no_thread_that_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = small_config().build_algo()
    monitor = algorithm._monitor
    assert monitor.is_alive()
    monkeypatch.setattr(monitor, "join", lambda *_: pytest.fail("waits for the thread that samples CPU and memory"))
    algorithm.stop()
    assert monitor.stopped  # so it ends when it wakes


def test_callbacks_run() -> None:
    algorithm = small_config().callbacks(CountingCallbacks).build_algo()
    result = algorithm.train()
    algorithm.stop()
    assert result["env_runners"]["my_episode_length"] == 5
    assert "my_iteration" in result


@pytest.mark.parametrize("eval_runners", [0, 1])
def test_evaluation_uses_stock_episodes(eval_runners: int) -> None:
    config = small_config().evaluation(
        evaluation_interval=1, evaluation_duration=3, evaluation_num_env_runners=eval_runners
    )
    algorithm = config.build_algo()
    result = algorithm.train()
    algorithm.stop()
    assert result["evaluation"]["env_runners"]["num_episodes"] >= 3
    assert result["evaluation"]["env_runners"]["episode_len_mean"] == 5.0


def test_remote_runners_sample_different_environments() -> None:
    algorithm = small_config().env_runners(num_env_runners=2, num_envs_per_env_runner=2).build_algo()
    result = algorithm.train()
    first, second = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: runner.sample().action, local_env_runner=False
    )
    algorithm.stop()
    assert result["env_runners"]["num_env_steps_sampled_lifetime"] > 0
    assert not np.array_equal(first, second)


def test_two_learners_follow_one_learner() -> None:
    """The same rollouts, no random masks or minibatch order: two learners must do what one does."""
    settings: dict[str, Any] = {
        "num_minibatches": 1, "num_epochs": 2, "warmup_steps": 16,
        # With so large an epsilon Adam is linear in the gradient; else rounding near 0 becomes whole steps.
        "lr": 100.0, "optimizer_epsilon": 1000.0,
        "intrinsic_reward": {
            "type": "rnd", "feature_dim": 16, "hidden_sizes": [16], "update_proportion": 1.0
        },
    }  # fmt: skip
    states: list[Any] = []
    for learners in (0, 2):
        algorithm = small_config(**settings).learners(num_learners=learners).build_algo()
        reference = states[0][0] if states else weights(algorithm)
        algorithm.learner_group.set_state({"learner": {"rl_module": {"default_policy": reference}}})
        algorithm.env_runner_group.sync_weights(from_worker_or_learner_group=algorithm.learner_group)
        result = algorithm.train()["learners"]["default_policy"]
        states.append((reference, weights(algorithm), {**result, **result["plugins"]}))
        algorithm.stop()
    for name, value in states[0][1].items():
        if not name.endswith("carry"):  # each learner keeps its own environments' carry
            np.testing.assert_allclose(states[1][1][name], value, rtol=2e-3, atol=2e-5, err_msg=name)
    for name in ("vf_loss_extrinsic", "vf_loss", "entropy", "rnd_predictor_loss", "total_loss", "grad_norm"):
        assert states[1][2][name] == pytest.approx(states[0][2][name], rel=1e-3), name


@pytest.mark.parametrize(("reward", "smallest"), [({"type": "snd_v"}, 5), ({"type": "feature_entropy"}, 2)])
def test_a_reward_that_compares_samples_refuses_minibatches_without_any(reward: dict[str, Any], smallest: int) -> None:
    samples = small_config().samples_per_iteration()
    with pytest.raises(ConfigError, match=rf"^intrinsic_reward: minibatches of 1 samples .* {smallest} or more"):
        small_config(intrinsic_reward=reward, num_minibatches=samples).build_algo()


def test_learners_one_remote() -> None:
    algorithm = small_config().learners(num_learners=1).build_algo()
    assert np.isfinite(algorithm.train()["learners"]["default_policy"]["total_loss"])
    with pytest.raises(RuntimeError, match="num_learners = 1 no learner is in this process"):
        algorithm.learner_module()
    algorithm.stop()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gamma": 1.5}, ["gamma", "1.5", "0.0 to 1.0"]),
        ({"num_epochs": 0}, ["num_epochs", "1 or more"]),
        ({"extrinsic_reward": "signs"}, ["extrinsic_reward", "signs", "'sign'"]),
        ({"intrinsic_reward": {"type": "rndd"}}, ["rndd", "'rnd'"]),
        (
            {"intrinsic_reward": {"type": "rnd", "update_proportio": 1}},
            ["update_proportio", "'update_proportion'"],
        ),
        (
            {"intrinsic_reward": {"type": "rnd", "gamma": "high"}},
            ["intrinsic_reward.gamma", "'high'", "float"],
        ),
        ({"backbone": {"type": "natur_cnn"}}, ["natur_cnn", "'nature_cnn'"]),
        ({"lr": [[10, 1e-4], [20, 0.0]]}, ["lr", "schedule"]),
        ({"num_minibatches": 10_000}, ["num_minibatches", "10000", "64"]),
        ({"use_kl_loss": True}, ["use_kl_loss"]),
    ],
)
def test_bad_settings_are_refused_by_name(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        small_config(**change).validate()
    for word in words:
        assert word in str(error.value)


def test_unsupported_parts_of_rllib_are_refused() -> None:
    with pytest.raises(ConfigError, match="multi-agent"):
        small_config().multi_agent(policies={"a", "b"}, policy_mapping_fn=lambda *a, **k: "a").validate()
    with pytest.raises(ConfigError, match="offline"):
        small_config().offline_data(input_="data.json").validate()
    with pytest.raises(ConfigError, match="old API stack"):
        small_config().api_stack(
            enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False
        ).validate()


def test_a_minibatch_size_in_samples_decides() -> None:
    """16 steps of 4 environments in minibatches of 20: four of 16 samples."""
    algorithm = small_config(minibatch_size=20).build_algo()
    assert algorithm.config.minibatches_per_epoch() == 4
    assert np.isfinite(algorithm.train()["learners"]["default_policy"]["total_loss"])
    algorithm.stop()


def test_one_environment_per_runner_is_enough() -> None:
    algorithm = small_config(num_minibatches=4).env_runners(num_envs_per_env_runner=1).build_algo()
    assert np.isfinite(algorithm.train()["learners"]["default_policy"]["total_loss"])
    algorithm.stop()


def test_tune_runs_to_a_stop_criterion(tmp_path: Path) -> None:
    tuner = tune.Tuner(
        "RND",
        param_space=small_config(),
        run_config=tune.RunConfig(stop={"training_iteration": 2}, storage_path=str(tmp_path), verbose=0),
    )
    results = tuner.fit()
    assert not results.errors
    assert results[0].metrics["training_iteration"] == 2


def test_schedules_follow_agent_steps() -> None:
    config = small_config(lr=[[0, 1e-3], [128, 0.0]], clip_param=[[0, 0.2], [128, 0.1]])
    algorithm = config.build_algo()
    rates = [algorithm.train()["learners"]["default_policy"]["learning_rate"] for _ in range(3)]
    clip = algorithm.local_learner().ppo_update.clip_param
    algorithm.stop()
    assert rates[0] > rates[1] > rates[2]
    assert clip == pytest.approx(0.1, abs=0.03)


def test_frozen_networks_never_move_and_the_rest_does() -> None:
    algorithm = small_config(lr=1e-2).build_algo()
    before = weights(algorithm)
    algorithm.train()
    after = weights(algorithm)
    algorithm.stop()
    for name in before:
        moved = not np.array_equal(before[name], after[name])
        assert moved != (".target." in name), name


def test_presets_are_registered() -> None:
    assert rllib_rnd.RND.get_default_config().intrinsic_reward == {"type": "rnd"}
    assert rllib_rnd.IntrinsicPPO.get_default_config().intrinsic_reward is None
    assert torch.get_num_threads() >= 1


def test_means_are_over_the_last_episodes_not_over_the_newest_iteration() -> None:
    """CartPole's returns differ: the reported mean must be that of every episode seen so far (fewer than 100)."""
    algorithm = small_config("IntrinsicPPO", env="CartPole-v1").build_algo()
    lengths: list[int] = []
    for _ in range(4):
        result = algorithm.train()
        lengths = [len(episode) for episode in algorithm.recent_episodes.episodes()]
    algorithm.stop()
    assert len(lengths) > result["env_runners"]["num_episodes"]  # more than one iteration's
    assert result["env_runners"]["episode_return_mean"] == pytest.approx(sum(lengths) / len(lengths))
    assert result["env_runners"]["episode_len_max"] == max(lengths)


def test_the_presets_are_other_defaults_of_one_algorithm() -> None:
    plain, rnd, snd = IntrinsicPPOConfig(), RNDConfig(), SNDConfig()

    def changes(preset: IntrinsicPPOConfig) -> dict[str, Any]:
        return {k: v for k, v in vars(preset).items() if k != "algo_class" and v != vars(plain)[k]}

    assert changes(rnd) == {"intrinsic_reward": {"type": "rnd"}, "warmup_steps": 6400}
    published = {"gamma": 0.998, "minibatch_size": 512, "grad_clip": 0.5}
    assert changes(snd) == {"intrinsic_reward": {"type": "snd_v"}, **published}
    assert snd.algo_class is SND.get_default_config().algo_class is SND


def test_the_preset_of_snd_trains() -> None:
    config = SNDConfig().environment("rllib_rnd/Catch-v0").training(num_epochs=1, torch_threads=1)
    with pytest.raises(ConfigError, match=r"minibatch_size: 512 is more than an iteration's 64 samples.*64 or less"):
        config.copy().env_runners(num_envs_per_env_runner=4, rollout_fragment_length=16).validate()
    config.training(minibatch_size=32)
    config.env_runners(num_envs_per_env_runner=4, rollout_fragment_length=16).debugging(log_level="ERROR")
    algorithm = config.build_algo()
    learner = algorithm.train()["learners"]["default_policy"]
    assert np.isfinite(learner["plugins"]["snd_target_loss"]) and learner["intrinsic_reward_mean"] > 0
    algorithm.stop()
