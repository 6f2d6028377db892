"""Every setting of RLlib that this package has no entry of its own for: it acts here, or it is refused.

RLlib's PPO has some 240 settings, and this package samples, learns and evaluates in ways of its own, so many of them
would be read by nobody. Each stands in exactly one of the tables below; a test holds them against RLlib's own list. A
refused one may be given with its default, so that settings copied from RLlib's examples are no mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ray._common.deprecation import DEPRECATED_VALUE
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_rnd.errors import ConfigError, briefly, same, unknown_name_error
from rllib_rnd.settings import PUBLIC_NAMES, SETTINGS, attribute_name


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Settings that act as RLlib documents them, by attribute.
READ = _names(
    """
    callbacks_class callbacks_on_algorithm_init callbacks_on_checkpoint_loaded callbacks_on_env_runners_recreated
    callbacks_on_environment_created callbacks_on_episode_created callbacks_on_episode_end
    callbacks_on_episode_start callbacks_on_episode_step callbacks_on_evaluate_end callbacks_on_evaluate_start
    callbacks_on_sample_end callbacks_on_train_result clip_actions normalize_actions create_env_on_local_worker
    create_local_env_runner env_runner_cls validate_env_runners_after_construction custom_resources_for_main_process
    custom_resources_per_env_runner custom_resources_per_learner local_gpu_idx placement_strategy
    custom_evaluation_function evaluation_auto_duration_max_env_steps_per_sample
    evaluation_auto_duration_min_env_steps_per_sample evaluation_duration_unit
    evaluation_error_after_n_consecutive_skips evaluation_force_reset_envs_before_iteration
    evaluation_parallel_to_training evaluation_unhealthy_workers_timeout_s ignore_env_runner_failures
    episode_lookback_horizon episodes_to_numpy explore log_level log_sys_usage
    metrics_num_episodes_for_smoothing min_sample_timesteps_per_iteration min_time_s_per_iteration
    min_train_timesteps_per_iteration stats_cls_lookup torch_compile_learner
    torch_compile_learner_dynamo_backend torch_compile_learner_dynamo_mode torch_compile_worker
    torch_compile_worker_dynamo_backend torch_compile_worker_dynamo_mode _learner_class _rl_module_spec
    _train_batch_size_per_learner _model_config learner_config_dict _validate_config
    """
)

#: What evaluation reads of its own configuration; all else in ``evaluation_config`` would be read by nobody.
EVALUATION = _names(
    """
    env env_config explore seed clip_actions normalize_actions callbacks_class callbacks_on_environment_created
    callbacks_on_episode_created callbacks_on_episode_end callbacks_on_episode_start callbacks_on_episode_step
    callbacks_on_sample_end num_envs_per_env_runner num_cpus_per_env_runner num_gpus_per_env_runner
    custom_resources_per_env_runner create_env_on_local_worker create_local_env_runner
    validate_env_runners_after_construction delay_between_env_runner_restarts_s
    env_runner_restore_timeout_s ignore_env_runner_failures max_num_env_runner_restarts restart_failed_env_runners
    restart_failed_sub_environments episode_lookback_horizon episodes_to_numpy metrics_num_episodes_for_smoothing
    torch_compile_worker torch_compile_worker_dynamo_backend torch_compile_worker_dynamo_mode max_evaluation_steps
    autocast
    """
)

#: Attributes that RLlib keeps for itself, or that other checks look at.
STATE = _names(
    """
    algo_class in_evaluation policies simple_optimizer _is_frozen _is_online _per_module_overrides
    _prior_exploration_config _dont_auto_sync_env_runner_states
    """
)

_OFFLINE = "offline data is not supported; train on an environment"
_TF = "TensorFlow is not used; this package is PyTorch only"
_CONNECTOR = (
    "rollouts go around RLlib's connectors, so that only evaluation would use them; change observations, actions or "
    "rewards in a gymnasium wrapper around the environment, or in a backbone of your own"
)
_CONNECTOR_STATE = "there are no connectors, and so no states of theirs to exchange"
_MULTI_AGENT = "multi-agent environments are not supported; there is one policy, of one agent"
_OLD_STACK = "it belongs to RLlib's old API stack, which is not supported"
_DDP = "gradients are summed without DistributedDataParallel"
_BATCH = "a batch is rollout_fragment_length x num_envs_per_env_runner x max(1, num_env_runners) steps; set those"

#: Why a setting is refused, and what does its work here -> the attributes of which that is true.
_REFUSED: Mapping[str, str] = {
    _OLD_STACK: """enable_rl_module_and_learner enable_env_runner_and_connector_v2 enable_connectors
        _enable_rl_module_api sample_collector sampler_perf_stats_ema_coef fake_sampler
        metrics_episode_collection_timeout_s monitor worker_cls env_task_fn auto_wrap_old_gym_envs
        always_attach_evaluation_results custom_async_evaluation_function enable_async_evaluation
        _disable_action_flattening _disable_execution_plan_api _disable_initialize_loss_from_dummy_batch
        _disable_preprocessor_api""",
    _CONNECTOR: """_env_to_module_connector _module_to_env_connector _learner_connector
        add_default_connectors_to_env_to_module_pipeline add_default_connectors_to_module_to_env_pipeline
        add_default_connectors_to_learner_pipeline""",
    _CONNECTOR_STATE: """merge_env_runner_states broadcast_env_runner_states use_env_runner_state_server
        env_runner_state_server_max_concurrency update_worker_filter_stats
        use_worker_filter_stats sync_filters_on_rollout_workers_timeout_s synchronize_filters""",
    "observations are not filtered; normalise them in a gymnasium wrapper (NormalizeObservation), or in a backbone": (
        "observation_filter"
    ),
    "extrinsic_reward: sign or clip does this, and leaves the reported returns raw": "clip_rewards",
    _BATCH: "train_batch_size",
    "rollouts are cut after rollout_fragment_length steps, and values bootstrap what is cut": "batch_mode",
    "there is no KL term; clip_param bounds the update, and approx_kl reports it": "kl_coeff kl_target use_kl_loss",
    "every return stream has its critic, and GAE; lambda: 1.0 gives Monte-Carlo advantages": "use_critic use_gae",
    "networks are set by backbone and heads": "model vf_share_layers",
    "samples are shuffled in every epoch": "shuffle_batch_per_epoch",
    "lr takes the schedule: lr: [[0, 1.0e-4], [1000000, 0.0]]": "lr_schedule",
    "entropy_coeff takes the schedule: entropy_coeff: [[0, 0.01], [1000000, 0.0]]": "entropy_coeff_schedule",
    "only the norm of the whole gradient is clipped": "grad_clip_by",
    "grad_norm is always reported": "log_gradients",
    "optimizer_type and optimizer_epsilon set the optimizer": "optimizer",
    "minibatch_size is its name": "sgd_minibatch_size",
    "non-finite updates are always skipped, see max_nonfinite_updates": "torch_skip_nan_gradients",
    "autocast: bfloat16 needs no gradient scaling": "_torch_grad_scaler_class",
    "lr takes a schedule": "_torch_lr_scheduler_classes",
    "what is compiled is the forward pass of policy and critics": "torch_compile_learner_what_to_compile",
    _DDP: "torch_ddp_kwargs",
    "num_gpus_per_learner is its name": "num_gpus _fake_gpus",
    "the policy samples its actions; entropy_coeff says how much it explores": "exploration_config",
    "the environment's spaces are taken; change them in a gymnasium wrapper": "observation_space action_space",
    "actions cannot be masked; let the environment ignore what is not allowed": "action_mask_key",
    "environments are always checked": "disable_env_checking",
    "`rllib record` makes videos": "render_env",
    "names such as ALE/Pong-v5 bring Atari's wrappers": "_is_atari",
    "each family of environments vectorises in its own way (env_config: backend); num_env_runners gives processes": (
        "gym_env_vectorize_mode remote_worker_envs remote_env_batch_wait_ms"
    ),
    "observations keep their type and are not compressed": "compress_observations",
    "observations reach the backbone as the environment gives them": "preprocessor_pref",
    "overlap_sampling has runners play while the learner trains": "max_requests_in_flight_per_env_runner",
    "the learner gets its rollouts directly": """num_aggregator_actors_per_learner max_requests_in_flight_per_learner
        max_requests_in_flight_per_aggregator_actor""",
    "checkpoints hold all that training needs, as pickles": """export_native_model_files
        checkpoint_trainable_policies_only _use_msgpack_checkpoints""",
    "set environment variables before Ray starts, or in its runtime_env": """extra_python_environs_for_driver
        extra_python_environs_for_worker""",
    "metrics_logger in a callback reports metrics of your own": "keep_per_episode_custom_metrics",
    _MULTI_AGENT: """policy_mapping_fn policies_to_train policy_map_capacity policy_map_cache
        policy_states_are_swappable observation_fn count_steps_by algorithm_config_overrides_per_module""",
    _TF: """framework_str eager_tracing eager_max_retraces tf_session_args local_tf_session_args
        enable_tf1_exec_eagerly _tf_policy_handles_more_than_one_loss""",
    _OFFLINE: """input_ input_config input_read_method input_read_method_kwargs input_read_schema input_read_episodes
        input_read_sample_batches input_read_batch_size input_filesystem input_filesystem_kwargs input_compress_columns
        input_spaces_jsonable input_evaluation materialize_data materialize_mapped_data map_batches_kwargs
        iter_batches_kwargs ignore_final_observation offline_data_class offline_sampling prelearner_class
        prelearner_buffer_class prelearner_buffer_kwargs prelearner_module_synch_period
        prelearner_use_recorded_module_states dataset_num_iters_per_learner actions_in_input_normalized
        postprocess_inputs shuffle_buffer_size off_policy_estimation_methods ope_split_batch_by_episode
        offline_evaluation_interval num_offline_eval_runners offline_evaluation_type offline_eval_runner_class
        offline_loss_for_module_fn offline_evaluation_duration offline_evaluation_parallel_to_training
        offline_evaluation_timeout_s num_cpus_per_offline_eval_runner num_gpus_per_offline_eval_runner
        custom_resources_per_offline_eval_runner restart_failed_offline_eval_runners
        ignore_offline_eval_runner_failures max_num_offline_eval_runner_restarts offline_eval_runner_restore_timeout_s
        max_requests_in_flight_per_offline_eval_runner validate_offline_eval_runners_after_construction
        offline_eval_runner_health_probe_timeout_s offline_eval_rl_module_inference_only
        broadcast_offline_eval_runner_states offline_eval_batch_size_per_runner dataset_num_iters_per_eval_runner
        callbacks_on_evaluate_offline_start callbacks_on_evaluate_offline_end
        callbacks_on_offline_eval_runners_recreated""",
    "rollouts are not written to files; a callback on_sample_end sees each": """output output_config
        output_compress_columns output_max_file_size output_max_rows_per_file output_write_remaining_data
        output_write_method output_write_method_kwargs output_filesystem output_filesystem_kwargs
        output_write_episodes""",
    "each iteration learns from what it has played; there is no replay buffer": """buffer_size learning_starts
        prioritized_replay prioritized_replay_alpha prioritized_replay_beta prioritized_replay_eps replay_batch_size
        replay_mode replay_sequence_length""",
    "metrics_num_episodes_for_smoothing is its name": "metrics_smoothing_episodes",
    "evaluation_duration is its name": "evaluation_num_episodes",
    "min_time_s_per_iteration is its name": "min_iter_time_s min_time_s_per_reporting",
    "min_sample_timesteps_per_iteration is its name": "min_sample_timesteps_per_reporting timesteps_per_iteration",
    "min_train_timesteps_per_iteration is its name": "min_train_timesteps_per_reporting",
    "runners that are away are not waited for while others play": "env_runner_health_probe_timeout_s",
    "runners are asked once per iteration, for at most sample_timeout_s": "collect_metrics_timeout",
}
#: Attribute -> why it is refused where it differs from its default, and what does its work here.
REFUSED: dict[str, str] = {name: reason for reason, names in _REFUSED.items() for name in names.split()}

#: Refused also where they are written with RLlib's default, which is not what happens here.
UNTRUE = ("train_batch_size", "kl_coeff", "kl_target")

# Names that RLlib takes besides attributes: of old files, and of checkpoints. Those of Tune are __so__.
_SPECIAL = {"multiagent", "_enable_new_api_stack", "worker_index", "class"}
# Settings that shape the module: evaluation gets the weights of training.
_SHAPING = ("backbone", "heads", "intrinsic_reward", "auxiliary_loss")
_SET_BY_METHOD = "stats_cls_lookup"  # made of what reporting(custom_stats_cls_lookup=...) is given


def public_name(attribute: str) -> str:
    """What users call an attribute of the configuration, in Python's methods or in files."""
    return PUBLIC_NAMES.get(attribute, attribute)


def usable_names(config: AlgorithmConfig) -> list[str]:
    """Returns the names of all settings that may have another value than their default, as users call them."""
    names = (public_name(name) for name in vars(config) if name not in REFUSED and name not in STATE)
    return sorted(name for name in names if not name.startswith("_") and name != _SET_BY_METHOD)


def check_names(names: Iterable[str], config: AlgorithmConfig) -> None:
    """Refuses names that the configuration does not have, as of a typing error.

    Args:
        names: as `update_from_dict` takes them.
        config: of the algorithm.

    Raises:
        ConfigError: an unknown name, with the nearest one.
    """
    known = set(vars(config))
    for name in names:
        attribute = attribute_name(config._translate_special_keys(name, warn_deprecated=False))
        is_property = isinstance(getattr(type(config), attribute, None), property)
        if attribute not in known and name not in _SPECIAL and not name.startswith("__") and not is_property:
            raise unknown_name_error("setting", name, usable_names(config), name)


def check_written(names: Iterable[str]) -> None:
    """Refuses names whose mere mention would claim what is not so.

    Args:
        names: of settings that a user has written, with whatever value.

    Raises:
        ConfigError: naming the setting, and what does its work here.
    """
    for name in names:
        if name in UNTRUE:
            raise ConfigError(name, f"would have no effect: {REFUSED[name]}")


def check_rllib_settings(config: AlgorithmConfig, default: AlgorithmConfig) -> None:
    """Refuses settings of RLlib that would have no effect, and attributes that are no settings at all.

    Args:
        config: what a user has set.
        default: of the package, untouched.

    Raises:
        ConfigError: naming the setting, and what does its work here.
    """
    known = set(vars(type(config)()))  # a user's own class may have more
    check_names(sorted(set(vars(config)) - known), type(config)())
    for name, reason in REFUSED.items():
        value, normal = getattr(config, name, None), getattr(default, name, None)
        if config.in_evaluation and name == "batch_mode":  # which RLlib sets itself there
            continue
        if not same(value, normal):
            allowed = "" if same(normal, DEPRECATED_VALUE) or name in UNTRUE else briefly(normal)
            raise ConfigError(public_name(name), f"{briefly(value)} would have no effect: {reason}", allowed)
    if config.is_multi_agent:
        raise ConfigError("policies", _MULTI_AGENT, "none")
    if not config.explore and not config.in_evaluation:
        raise ConfigError(
            "explore", "training always draws its actions from the policy", "true, and false in evaluation_config"
        )


def check_evaluation_config(config: AlgorithmConfig) -> None:
    """Refuses settings in ``evaluation_config`` that are unknown, or that evaluation does not read.

    Args:
        config: of training.

    Raises:
        ConfigError: naming the setting, below ``evaluation_config``.
    """
    given = config.evaluation_config
    if isinstance(given, AlgorithmConfig):  # which has a value for everything: what was left alone says nothing
        normal = vars(type(given)())
        values = {n: v for n, v in vars(given).items() if n in _SHAPING or (n in normal and not same(v, normal[n]))}
    else:
        check_names(given or {}, config)
        values = {attribute_name(config._translate_special_keys(n, False)): v for n, v in (given or {}).items()}
    for name, value in values.items():
        own = name in READ or name in SETTINGS or name in REFUSED
        if own and name not in EVALUATION and not same(value, getattr(config, name, None)):
            reason = REFUSED.get(name, "evaluation does not read it")
            problem = f"{briefly(value)} would have no effect: {reason}"
            if name == "num_env_runners":
                problem += "; set evaluation_num_env_runners beside evaluation_config"
            allowed = f"what training has, {briefly(getattr(config, name, None))}"
            raise ConfigError(public_name(name), problem, allowed)
