"""What settings and metrics are called elsewhere: in older RLlib, in CleanRL, in Stable-Baselines3, in papers."""

from __future__ import annotations

from collections.abc import Collection

#: Name elsewhere -> the names here that mean the same, the first that is allowed where it was written counts. None:
#: nothing here does its work, and what is only spelt like it would mislead.
SUCCESSORS: dict[str, tuple[str, ...]] = {
    # RLlib's own former names
    "num_workers": ("num_env_runners",),
    "num_rollout_workers": ("num_env_runners",),
    "num_envs_per_worker": ("num_envs_per_env_runner",),
    "sample_batch_size": ("rollout_fragment_length",),
    "num_sgd_iter": ("num_epochs",),
    "sgd_minibatch_size": ("minibatch_size",),
    "lambda": ("lambda", "lambda_"),
    "lambda_": ("lambda_", "lambda"),
    "entropy_coefficient": ("entropy_coeff",),
    "vf_coeff": ("vf_loss_coeff",),
    "lr_schedule": ("lr",),
    "entropy_coeff_schedule": ("entropy_coeff",),
    "num_gpus": ("num_gpus_per_learner",),
    "num_gpus_per_worker": ("num_gpus_per_env_runner",),
    "num_cpus_per_worker": ("num_cpus_per_env_runner",),
    "custom_resources_per_worker": ("custom_resources_per_env_runner",),
    "num_learner_workers": ("num_learners",),
    "num_gpus_per_learner_worker": ("num_gpus_per_learner",),
    "num_cpus_per_learner_worker": ("num_cpus_per_learner",),
    "num_cpus_for_driver": ("num_cpus_for_main_process",),
    "num_cpus_for_local_worker": ("num_cpus_for_main_process",),
    "evaluation_num_workers": ("evaluation_num_env_runners",),
    "evaluation_num_episodes": ("evaluation_duration",),
    "recreate_failed_workers": ("restart_failed_env_runners",),
    "recreate_failed_env_runners": ("restart_failed_env_runners",),
    "ignore_worker_failures": ("ignore_env_runner_failures",),
    "metrics_smoothing_episodes": ("metrics_num_episodes_for_smoothing",),
    "min_time_s_per_reporting": ("min_time_s_per_iteration",),
    "framework_str": ("framework",),
    "callbacks_class": ("callbacks",),
    "custom_model": ("backbone",),
    "use_lstm": ("backbone",),
    "use_attention": ("backbone",),
    "lstm_cell_size": ("backbone",),
    "max_seq_len": ("backbone",),
    "conv_filters": ("backbone",),
    "fcnet_hiddens": ("backbone",),
    "fcnet_activation": ("backbone",),
    "model": ("backbone",),
    "vf_share_layers": ("heads",),
    "timesteps_per_iteration": ("min_sample_timesteps_per_iteration",),
    "num_aggregation_workers": (),
    "simple_optimizer": (),
    "horizon": (),  # a TimeLimit wrapper around the environment
    "soft_horizon": (),
    "no_done_at_end": (),
    "info/learner": (),
    "timesteps_total": ("agent_steps",),
    "num_env_steps_sampled": ("agent_steps",),
    "num_agent_steps_sampled": ("agent_steps",),
    "training_iteration": ("iteration",),
    "episode_return_mean": ("return_mean",),
    "episode_reward_mean": ("return_mean",),
    "episode_return_max": ("return_max",),
    "episode_reward_max": ("return_max",),
    "episodes_total": ("episodes",),
    "episodes_this_iter": ("episodes",),
    "evaluation_reward_mean": ("evaluation_return_mean",),
    # Stable-Baselines3
    "learning_rate": ("lr", "learning_rate"),
    "n_envs": ("num_envs_per_env_runner",),
    "n_steps": ("rollout_fragment_length",),
    "n_epochs": ("num_epochs",),
    "batch_size": ("minibatch_size",),
    "gae_lambda": ("lambda", "lambda_"),
    "clip_range": ("clip_param",),
    "clip_range_vf": ("vf_clip_param",),
    "ent_coef": ("entropy_coeff",),
    "vf_coef": ("vf_loss_coeff",),
    "max_grad_norm": ("grad_clip",),
    "normalize_advantage": ("normalize_advantages",),
    "handle_timeout_termination": ("bootstrap_truncated",),
    "use_proper_time_limits": ("bootstrap_truncated",),
    "total_timesteps": ("agent_steps",),
    "ep_rew_mean": ("return_mean",),
    "ep_len_mean": ("episode_len_mean",),
    # CleanRL and papers
    "num_envs": ("num_envs_per_env_runner",),
    "num_steps": ("rollout_fragment_length",),
    "update_epochs": ("num_epochs",),
    "num_minibatch": ("num_minibatches",),
    "norm_adv": ("normalize_advantages",),
    "clip_coef": ("clip_param",),
    "ext_coef": ("extrinsic_coeff",),
    "int_coef": ("intrinsic_reward",),
    "int_gamma": ("intrinsic_reward",),
    "rnd": ("intrinsic_reward",),
    "num_iterations_obs_norm_init": ("warmup_steps",),
    "discount": ("gamma",),
    "rollout_length": ("rollout_fragment_length",),
    "global_step": ("agent_steps",),
    "episodic_return": ("return_mean",),
    "fps": ("agent_steps_per_s",),
    "sps": ("agent_steps_per_s",),
    "env_id": ("env",),
}


def successors(name: str) -> tuple[str, ...] | None:
    """What a name from elsewhere may be called here; None for a name that is from nowhere known.

    Case and hyphens do not matter, nor in which group a metric stands.
    """
    plain = name.lower().replace("-", "_")
    return SUCCESSORS.get(plain, SUCCESSORS.get(plain.rpartition("/")[2]))


def successor(name: str, known: Collection[str]) -> str | None:
    """What a name from elsewhere is called here, if that is among the ``known``."""
    return next((here for here in successors(name) or () if here in known), None)
