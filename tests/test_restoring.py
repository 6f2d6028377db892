"""Settings after a restore: each is in force at once, or refused by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

from rllib_rnd.checkpoints.restoring import Saved, check_restorable, plays_on, settings_of
from rllib_rnd.envs import make_vector_env
from rllib_rnd.errors import ConfigError
from rllib_rnd.intrinsic.rnd import RNDOptions
from rllib_rnd.modules.generators import restore_process
from rllib_rnd.options import default_of
from rllib_rnd.sampling.env_runner import RolloutEnvRunner
from rllib_rnd.settings import SETTINGS
from rllib_rnd.training.learner import IntrinsicPPOLearner
from tests.conftest import small_config
from tests.test_algorithm import assert_same, weights

STEPS = 64
REWARD = {"type": "rnd", "feature_dim": 16, "hidden_sizes": [16]}
BYOL = {"type": "byol", "augmentation": "none", "projector_hidden": 16, "projection_size": 8, "predictor_hidden": 16}

#: Setting -> values that the next iteration must differ with, or that are refused.
LEARNED: dict[str, list[Any]] = {
    "lr": [5e-3, [[0, 1e-2], [2 * STEPS, 0.0]]],
    "gamma": [0.5],
    "lambda_": [0.5],
    "clip_param": [1e-6, [[0, 0.1], [STEPS, 1e-6]]],
    "entropy_coeff": [0.5, [[0, 0.0], [STEPS, 0.5]]],
    "vf_loss_coeff": [0.1],
    "vf_clip_param": [1e-5],
    "grad_clip": [1e-3],
    "num_epochs": [3],
    "minibatch_size": [8],
    "extrinsic_coeff": [5.0],
    "extrinsic_reward": ["none"],
    "num_minibatches": [4],
    "normalize_advantages": ["rollout", "minibatch"],
    "bootstrap_truncated": [False],
    "backbone": [{"type": "mlp", "hidden_sizes": [32]}, {"type": "mlp", "activation": "relu"}],
    "heads": [{"policy_hidden": "relu", "policy_hidden_size": 8}],
    "intrinsic_reward": [None, {"type": "count"}, {**REWARD, "feature_dim": 8}, [REWARD, {"type": "count"}]],
    "auxiliary_loss": [BYOL],
    "freeze_backbone": [True],
    "autocast": ["bfloat16"],
    "optimizer_type": ["rmsprop"],
    "optimizer_epsilon": [0.1],
    "micro_batch_size": [3],
}
#: Settings of play, processes and phases. A new algorithm is built with them, and nothing that is saved holds them.
BUILT = set(
    """env env_config seed num_env_runners num_envs_per_env_runner rollout_fragment_length num_learners sample_timeout_s
    num_cpus_per_env_runner num_gpus_per_env_runner num_cpus_per_learner num_gpus_per_learner num_cpus_for_main_process
    evaluation_interval evaluation_duration max_evaluation_steps evaluation_num_env_runners evaluation_config
    evaluation_sample_timeout_s restart_failed_env_runners restart_failed_sub_environments max_num_env_runner_restarts
    num_consecutive_env_runner_failures_tolerance delay_between_env_runner_restarts_s env_runner_restore_timeout_s
    warmup_steps pretraining max_nonfinite_updates torch_threads keep_freed_memory overlap_sampling
    compress_rollouts learn_timeout_s""".split()  # noqa: SIM905
)
CHANGES = [(name, value) for name, values in LEARNED.items() for value in values]


def test_every_setting_is_looked_at() -> None:
    assert set(LEARNED) | BUILT == set(SETTINGS) and not set(LEARNED) & BUILT


def options() -> list[tuple[str, Any]]:
    """Another value for every option of RND."""
    found: list[tuple[str, Any]] = []
    for field in dataclasses.fields(RNDOptions):
        default, limits = default_of(field), field.metadata["limits"]
        if isinstance(default, bool):
            value: Any = not default
        elif limits.choices is not None:
            value = next(choice for choice in limits.choices if choice != default)
        elif isinstance(default, (int, float)):
            value = default / 2 if isinstance(default, float) else default + 8
        elif isinstance(default, str) or default is None:
            continue
        else:
            value = [24]
        found.append(("intrinsic_reward", {**REWARD, field.name: value}))
    return found


@pytest.fixture(scope="module")
def trained(ray_session: str) -> dict[str, Any]:
    """A learner's state after one iteration, and the rollout of the next."""
    config = configured()
    runner = RolloutEnvRunner(config=config, worker_index=0)
    first, second = runner.sample(), runner.sample()
    # DeepSea has no time limit, and what the task has ended has no value.
    second.truncated, second.terminated = second.terminated, second.truncated
    second.value[1:][second.truncated] = 1.0
    learner = build(config)
    learner.update_from_rollouts([first], {"num_env_steps_sampled_lifetime": STEPS})
    state = learner.get_state()
    module = state["rl_module"][DEFAULT_MODULE_ID]
    saved = Saved(settings_of(config), {n: v.shape for n, v in module.items()}, pretrained=True, warmed_up=True)
    runner.stop()
    result = {"state": state, "saved": saved, "rollout": second}
    return {**result, "unchanged": go_on(restored(result, config), second)}


def configured(**changes: Any) -> Any:
    config = small_config(**{"intrinsic_reward": REWARD, "num_epochs": 1, **changes})
    config.validate()
    return config


def build(config: Any) -> IntrinsicPPOLearner:
    env = make_vector_env(config.env, 1, config.env_config)
    spaces = {DEFAULT_MODULE_ID: (env.single_observation_space, env.single_action_space)}
    torch.manual_seed(0)
    learner = config.build_learner(spaces=spaces)
    learner.build()
    return learner  # type: ignore[no-any-return]


def restored(trained: dict[str, Any], config: Any) -> IntrinsicPPOLearner:
    learner = build(config)
    check_restorable(trained["saved"], settings_of(config), learner.tensor_shapes())
    learner.set_state(trained["state"])
    learner.apply_settings(STEPS)
    return learner


def by_hand(trained: dict[str, Any], config: Any) -> IntrinsicPPOLearner:
    """A fresh learner that is given what was learned, and none of the saved run's settings."""
    learner, state = build(config), trained["state"]
    learner.trained_module.set_state(state["rl_module"][DEFAULT_MODULE_ID])
    optimizer = learner.get_optimizer(DEFAULT_MODULE_ID)
    (moments,) = (s["state"]["state"] for s in state["optimizer"].values())
    moments = {i: {n: torch.as_tensor(v).clone() for n, v in m.items()} for i, m in moments.items()}
    schedule = learner._optimizer_lr_schedules[optimizer]
    learner._set_optimizer_lr(optimizer, schedule.update(timestep=STEPS))
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    restore_process(state["intrinsic_ppo"]["generators"], 0, learner._generator)
    return learner


def go_on(learner: IntrinsicPPOLearner, rollout: Any) -> dict[str, np.ndarray]:
    learner.update_from_rollouts([rollout], {"num_env_steps_sampled_lifetime": 2 * STEPS})
    return {name: value.copy() for name, value in learner.trained_module.get_state().items()}


@pytest.mark.parametrize(("name", "value"), [*CHANGES, *options()], ids=str)
def test_a_changed_setting_is_in_force_at_once_or_refused_by_name(
    trained: dict[str, Any], name: str, value: Any
) -> None:
    config = configured(**{name: value})
    try:
        learner = restored(trained, config)
    except ConfigError as error:
        assert error.path.split(".")[0].split("[")[0] == name
        return
    got = go_on(learner, trained["rollout"])
    assert_same(got, go_on(by_hand(trained, config), trained["rollout"]))
    if name in LEARNED and value in LEARNED[name] and name != "micro_batch_size":
        assert any(not np.array_equal(got[n], trained["unchanged"][n]) for n in got), "no effect"


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"optimizer_type": "rmsprop"}, "optimizer_type"),
        ({"freeze_backbone": True}, "freeze_backbone"),
        ({"backbone": {"type": "mlp", "hidden_sizes": [32]}}, "backbone.hidden_sizes"),
        ({"backbone": {"type": "gru"}}, "backbone.type"),
        ({"heads": {"policy_hidden": "relu", "policy_hidden_size": 8}}, "heads.policy_hidden"),
        ({"intrinsic_reward": None}, "intrinsic_reward"),
        ({"intrinsic_reward": {"type": "icm"}}, "intrinsic_reward.type"),
        ({"intrinsic_reward": {**REWARD, "feature_dim": 8}}, "intrinsic_reward.feature_dim"),
        ({"auxiliary_loss": BYOL}, "auxiliary_loss"),
        ({"warmup_steps": 7}, "warmup_steps"),
        ({"auxiliary_loss": BYOL, "pretraining": {"max_rollouts": 3}}, "pretraining"),
    ],
)
def test_what_cannot_change_is_named(trained: dict[str, Any], changes: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        restored(trained, configured(**changes))
    assert caught.value.path == path


def test_all_that_differ_are_named(trained: dict[str, Any]) -> None:
    changes = {"optimizer_type": "rmsprop", "intrinsic_reward": {**REWARD, "feature_dim": 8}}
    with pytest.raises(
        ConfigError, match=r"^optimizer_type: .* so do intrinsic_reward\.feature_dim; allowed is 'adam'"
    ):
        restored(trained, configured(**changes))


def test_phases_that_are_over_may_be_left_out(trained: dict[str, Any]) -> None:
    restored(trained, configured(warmup_steps=0))
    unfinished = dataclasses.replace(trained["saved"], pretrained=False, settings={**trained["saved"].settings})
    unfinished.settings["pretraining"] = {"max_rollouts": 3}  # type: ignore[index]
    with pytest.raises(ConfigError, match=r"^pretraining: null differs, and the checkpoint is in the midst of it"):
        check_restorable(unfinished, settings_of(configured()), trained["saved"].shapes)


def test_another_environment_is_named_where_its_spaces_do_not_fit(trained: dict[str, Any]) -> None:
    config = small_config(intrinsic_reward=REWARD).environment(env_config={"size": 6})
    with pytest.raises(ConfigError, match=r"^env_config\.size: 6 differs"):
        check_restorable(trained["saved"], settings_of(config), build(config).tensor_shapes())


def test_another_seed_or_environment_does_not_play_on() -> None:
    settings = settings_of(configured())
    assert plays_on(settings, settings) and plays_on({}, settings)
    for other in ({"seed": 4}, {"env": "CartPole-v1"}, {"env_config": {"size": 6}}):
        assert not plays_on(settings, settings | other)


def test_settings_may_hold_arrays(trained: dict[str, Any]) -> None:
    """As environments of a user's own have them in ``env_config``: compared, never asked whether they are true."""

    def settings(number: float) -> dict[str, Any]:
        options = {"type": "rnd", "goals": np.full((2, 2), number)}
        arrays = {"env_config": {"goals": np.full((2, 2), number)}, "intrinsic_reward": options}
        return settings_of(configured()) | arrays | {"auxiliary_loss": [options], "pretraining": options}

    assert plays_on(settings(1.0), settings(1.0)) and not plays_on(settings(1.0), settings(2.0))
    shapes = trained["saved"].shapes
    saved = Saved(settings(1.0), shapes, pretrained=True, warmed_up=True)
    check_restorable(saved, settings(1.0), shapes)
    other = {name: (*shape, 1) for name, shape in shapes.items()}
    with pytest.raises(ConfigError, match=r"^env_config\.goals: array\(\[\[2\., 2\.\], .* differs from the checkpoint"):
        check_restorable(saved, settings(1.0) | {"env_config": settings(2.0)["env_config"]}, other)
    with pytest.raises(ConfigError, match=r"^pretraining: .* comes too late"):
        check_restorable(saved, settings(2.0), shapes)


@pytest.mark.usefixtures("ray_session")
def test_an_algorithm_that_has_trained_on_goes_back(tmp_path: Path) -> None:
    """In place: weights of learner and runner, episodes, counters; the next iteration is the one after the save."""
    algorithm = small_config(lr=1e-3).build_algo()
    algorithm.train()
    path, saved = algorithm.save_to_path(tmp_path / "checkpoint"), weights(algorithm)
    episodes, state = algorithm.recent_episodes.episodes(), algorithm.get_state()
    expected = algorithm.train()
    for restore in (lambda: algorithm.restore_from_path(path), lambda: algorithm.set_state(state)):
        algorithm.train()
        restore()
        assert_same(weights(algorithm), saved)
        played = algorithm.env_runner.module.get_state()
        assert_same(played, {name: saved[name] for name in played})
        assert algorithm.recent_episodes.episodes() == episodes
        again = algorithm.train()
        for key in ("total_loss", "intrinsic_reward_mean", "learning_rate"):
            assert again["learners"][DEFAULT_MODULE_ID][key] == expected["learners"][DEFAULT_MODULE_ID][key]
        assert again["env_runners"]["episode_return_mean"] == expected["env_runners"]["episode_return_mean"]
    algorithm.stop()

    other = small_config(lr=5e-4, optimizer_epsilon=1e-3).debugging(seed=4).build_algo()
    other.restore_from_path(path)
    assert not np.array_equal(
        other.env_runner.policy.generator.get_state(),
        state["intrinsic_ppo"]["play"]["states"][0]["generators"]["own"],
    )
    assert other.train()["learners"][DEFAULT_MODULE_ID]["learning_rate"] == 5e-4
    (group,) = other.local_learner().get_optimizer(DEFAULT_MODULE_ID).param_groups
    assert group["eps"] == 1e-3
    other.stop()

    other = small_config(optimizer_type="rmsprop").build_algo()
    before = weights(other)
    with pytest.raises(ConfigError, match=r"^optimizer_type: 'rmsprop' differs"):
        other.restore_from_path(path)
    assert_same(weights(other), before)
    other.stop()


def test_what_is_not_given_is_its_default(trained: dict[str, Any]) -> None:
    """Nobody has written null."""
    reward = {name: value for name, value in REWARD.items() if name != "feature_dim"}
    with pytest.raises(ConfigError, match=r"^intrinsic_reward\.feature_dim: its default differs .* allowed is 16"):
        restored(trained, configured(intrinsic_reward=reward))
