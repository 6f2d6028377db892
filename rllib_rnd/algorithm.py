"""IntrinsicPPO: PPO with one critic per return stream, and its configuration; without intrinsic reward plain PPO."""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pyarrow.fs
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    LEARNER_RESULTS,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
)
from ray.train._internal.session import _TrainingResult
from ray.tune import Checkpoint
from ray.tune.result import TIME_THIS_ITER_S
from ray.util import log_once

from rllib_rnd.checkpoints.content import ContentWriter, write_for_rllib
from rllib_rnd.checkpoints.finding import what_is_wrong
from rllib_rnd.checkpoints.format import CHECKPOINT_FORMAT, OWN_STATE, check_checkpoint, check_format
from rllib_rnd.checkpoints.manifest import seal
from rllib_rnd.checkpoints.reading import checkpoint_config, part_of, read_state
from rllib_rnd.checkpoints.remote import local_folder
from rllib_rnd.checkpoints.restoring import Saved, check_restorable, plays_on, saved_in_state, settings_of
from rllib_rnd.checkpoints.saving import TrialSaver, save_at
from rllib_rnd.config_checks import check_own_class, check_together
from rllib_rnd.envs import frame_stack, make_env
from rllib_rnd.envs.makers import EnvSpecifier, Maker, portable
from rllib_rnd.errors import ConfigError, at, unknown_name_error
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.modules.backbone import parse_backbone
from rllib_rnd.modules.generators import global_states, restore_global_states
from rllib_rnd.options import parse_options, plugin_specs
from rllib_rnd.own_code import check_functions, name_of
from rllib_rnd.resources import check_actors
from rllib_rnd.rllib_settings import check_evaluation_config, check_names, check_rllib_settings, check_written
from rllib_rnd.sampling.crew import Crew, weights_of
from rllib_rnd.sampling.env_runner import RolloutEnvRunner, RunnerSample
from rllib_rnd.sampling.episodes import EpisodeSummary, PlaceHistory, RecentEpisodes
from rllib_rnd.sampling.evaluation_crew import evaluate_remotely
from rllib_rnd.sampling.runners import Runners, start_failure
from rllib_rnd.settings import OWN, SETTINGS, attribute_name, defaults, documented, parameters_of
from rllib_rnd.training.learner import IntrinsicPPOLearner
from rllib_rnd.training.learners import foreach_learner, nodes_of, told_of_dead_learners, warn_without_warmup
from rllib_rnd.training.pretraining import PretrainingOptions

logger = logging.getLogger(__name__)


class IntrinsicPPOConfig(PPOConfig):
    """Configuration of `IntrinsicPPO`; defaults are the RND lineage's with the intrinsic part off."""

    env: EnvSpecifier | None

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or IntrinsicPPO)
        self.env_runner_cls = RolloutEnvRunner
        self.use_kl_loss = False
        for name, value in defaults().items():
            setattr(self, name, value)
        # In every iteration RLlib would ask all runners for the states of connectors, which there are none of.
        self._dont_auto_sync_env_runner_states = True
        # RLlib's default for runners, onnxrt, needs a package of its own.
        self.torch_compile_learner_dynamo_backend = "inductor"
        self.torch_compile_worker_dynamo_backend = "inductor"

    @documented
    @override(PPOConfig)
    def training(self, **given: Any) -> IntrinsicPPOConfig:
        """Sets training settings: this package's, and PPO's own (lr, gamma, lambda_, clip_param, ...).

        Raises:
            ConfigError: no setting of that name; the nearest one is named.
        """
        known = {*OWN, *parameters_of(PPOConfig, "training")}
        for name in given:
            if name not in known:
                raise unknown_name_error("training setting", name, known, name)
        check_written(name for name, value in given.items() if value is not NotProvided)
        super().training(**{name: value for name, value in given.items() if name not in OWN})
        for name, value in given.items():
            if name in OWN and value is not NotProvided:
                setattr(self, name, value)
        return self

    @override(AlgorithmConfig)
    def evaluation(self, *, evaluation_config: object = NotProvided, **given: object) -> IntrinsicPPOConfig:
        """RLlib's: sets evaluation settings. A configuration object stays one, and is not taken apart."""
        if isinstance(evaluation_config, AlgorithmConfig):
            self.evaluation_config = evaluation_config
        elif evaluation_config is not NotProvided:
            given["evaluation_config"] = evaluation_config
        super().evaluation(**given)
        return self

    def intrinsic_reward_specs(self) -> list[dict[str, Any]]:
        """The intrinsic rewards as a list of mappings, one per intrinsic value stream."""
        return [spec for _, spec in plugin_specs("intrinsic_reward", self.intrinsic_reward)]

    def auxiliary_loss_specs(self) -> list[dict[str, Any]]:
        """The auxiliary losses as a list of mappings."""
        return [spec for _, spec in plugin_specs("auxiliary_loss", self.auxiliary_loss)]

    def pretraining_options(self) -> PretrainingOptions | None:
        """How to pre-train, if at all.

        Raises:
            ConfigError: unknown option, or a value out of range.
        """
        return None if self.pretraining is None else parse_options(PretrainingOptions, self.pretraining, "pretraining")

    def backbone_spec(self) -> dict[str, Any]:
        """The backbone as a mapping."""
        return {"type": self.backbone} if isinstance(self.backbone, str) else dict(self.backbone)

    def sequence_length(self) -> int:
        """L, steps of the sequences that a recurrent policy is trained on; 1 for stateless backbones.

        Raises:
            ConfigError: unknown backbone, or wrong options.
        """
        if self.backbone_spec().get("type") == "auto":
            return 1
        with at("backbone"):
            _, options = parse_backbone(self.backbone_spec())
        return int(getattr(options, "max_seq_len", 1))

    def samples_per_iteration(self) -> int:
        """Agent steps per training iteration (all runners)."""
        return self.get_rollout_fragment_length() * self.num_envs_per_env_runner * max(1, self.num_env_runners)

    def minibatches_per_epoch(self) -> int:
        """Minibatches per epoch, the same number on every learner."""
        if self.minibatch_size is None:
            return self.num_minibatches
        return max(1, math.ceil(self.samples_per_iteration() / self.minibatch_size))

    @override(AlgorithmConfig)
    def get_rollout_fragment_length(self, worker_index: int = 0) -> int:
        """T, agent steps per environment and iteration."""
        return 128 if self.rollout_fragment_length == "auto" else int(self.rollout_fragment_length)

    @override(AlgorithmConfig)
    def validate_train_batch_size_vs_rollout_fragment_length(self) -> None:
        """The batch is what the runners deliver; there is nothing to compare."""

    @override(AlgorithmConfig)
    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """The dual-critic module."""
        return RLModuleSpec(module_class=IntrinsicPPOModule)

    @override(AlgorithmConfig)
    def get_default_learner_class(self) -> type:
        """The learner over rollouts."""
        return IntrinsicPPOLearner

    @property
    @override(PPOConfig)
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return super()._model_config_auto_includes | {
            "backbone": self.backbone_spec(),
            "heads": dict(self.heads),
            "intrinsic_rewards": self.intrinsic_reward_specs(),
            "auxiliary_losses": self.auxiliary_loss_specs(),
            "frame_stack": frame_stack(self.env, dict(self.env_config)).size if self.env else 1,
            "normalize_actions": self.normalize_actions,
            "clip_actions": self.clip_actions,
        }

    @property
    def train_batch_size_per_learner(self) -> int:
        """Agent steps per iteration and learner; setting another number is refused."""
        return self.samples_per_iteration() // max(1, self.num_learners)

    @train_batch_size_per_learner.setter
    def train_batch_size_per_learner(self, value: int | None) -> None:
        self._train_batch_size_per_learner = value

    @override(PPOConfig)
    def update_from_dict(self, config_dict: Mapping[str, Any]) -> IntrinsicPPOConfig:
        """RLlib's: sets settings by name, which may be those of experiment files.

        Raises:
            ConfigError: an unknown name; the nearest one is named.
        """
        given = dict(config_dict.items())  # of a mapping, or of a configuration object
        check_names(given, self)
        super().update_from_dict({attribute_name(name): value for name, value in given.items()})
        return self

    @override(AlgorithmConfig)
    def get_evaluation_config_object(self) -> AlgorithmConfig | None:
        """RLlib's, less what only training reads."""
        config = super().get_evaluation_config_object()
        if config is not None:
            config.minibatch_size = None  # RLlib compares it with the samples of an iteration
        return config

    @override(PPOConfig)
    def validate(self) -> None:
        """Checks everything at build time.

        Raises:
            ConfigError: naming the field, the value and what is allowed.
        """
        with at("evaluation_config" if self.in_evaluation else ""):
            self._check_own()
        # RLlib would advise, once, to go back to the old API stack, which this package refuses: use up that once.
        log_once(f"{self.algo_class.__name__}_on_new_api_stack")
        super().validate()
        if not self.in_evaluation:
            with at("evaluation_config"):
                check_evaluation_config(self)
            if self.evaluation_interval:
                self.get_evaluation_config_object().validate()

    @override(PPOConfig)
    def build_algo(self, *args: object, **kwargs: object) -> Algorithm:
        """RLlib's: builds the algorithm.

        Raises:
            ConfigError: as of `validate`.
        """
        for name, setting in SETTINGS.items():  # now: RLlib takes -1 for its mark of what is gone, and drops it
            setting.check(getattr(self, name))
        return super().build_algo(*args, **kwargs)

    def _check_own(self) -> None:
        for name, setting in SETTINGS.items():
            setattr(self, name, setting.check(getattr(self, name)))
        if self.env is not None:
            self.env = portable(self.env)
        self.env_runner_cls = self.env_runner_cls or RolloutEnvRunner  # None is RLlib's default
        check_rllib_settings(self, IntrinsicPPOConfig())
        check_functions(vars(self))
        for name, base in _REPLACEABLE.items():
            check_own_class(name, getattr(self, name), base)
        check_together(self)


#: Classes of which a user's own one may take the place, if it is derived from them.
_REPLACEABLE: dict[str, type] = {
    "env_runner_cls": RolloutEnvRunner,
    "_learner_class": IntrinsicPPOLearner,
    "_rl_module_spec": IntrinsicPPOModule,
}


class IntrinsicPPO(PPO):
    """PPO with an extrinsic critic and one critic per intrinsic reward."""

    eval_env_runner_group: EnvRunnerGroup | None

    @classmethod
    @override(PPO)
    def get_default_config(cls) -> IntrinsicPPOConfig:
        """The defaults."""
        return IntrinsicPPOConfig()

    def __repr__(self) -> str:
        """RLlib's, also while there is no configuration: Ray asks for it where a trial's is refused."""
        return super().__repr__() if self.config is not None else type(self).__name__

    @staticmethod
    @override(PPO)
    def _get_env_id_and_creator(
        env_specifier: EnvSpecifier | None, _config: AlgorithmConfig
    ) -> tuple[EnvSpecifier | None, Maker]:
        """As the runners make environments: any name, class or function that they know."""
        return env_specifier, functools.partial(make_env, env_specifier)

    @override(PPO)
    def setup(self, config: AlgorithmConfig) -> None:
        """Builds runners and learners.

        Raises:
            ConfigError: the environment or the networks cannot be made.
        """
        self.pretrained = config.pretraining is None
        self._held_out = False
        self.warmed_up = False
        self._saved_evaluation: list[dict[str, Any]] = []
        self.places: dict[str, PlaceHistory] = {}
        self.recent_episodes = RecentEpisodes(config.metrics_num_episodes_for_smoothing)
        check_actors(config)
        try:
            super().setup(config)
        except IndexError as error:  # RLlib has asked for the spaces of runners that did not live to tell them
            raise start_failure(config) from error
        if self.runners.remote:
            self.runners.learner_nodes = nodes_of(self.learner_group)

    @override(PPO)
    def _before_evaluate(self) -> None:
        """Makes the environments of an evaluation that ``evaluation_interval`` did not announce."""
        if self.eval_env_runner_group is None:
            process = global_states()  # which RLlib seeds anew for each runner, and the learner may be in this process
            self.eval_env_runner_group = EnvRunnerGroup(
                env_creator=functools.partial(make_env, self.evaluation_config.env),
                config=self.evaluation_config,
                local_env_runner=True,
                logdir=self.logdir,
            )
            restore_global_states(process)
            self._restore_evaluation()

    @override(PPO)
    def step(self) -> dict[str, Any]:
        """RLlib's: one iteration. How long it took is told by a clock that nobody sets, and so is the total."""
        started = time.monotonic()
        result: dict[str, Any] = super().step()
        result[TIME_THIS_ITER_S] = time.monotonic() - started
        return result

    @functools.cached_property
    def runners(self) -> Runners:
        """The training runners."""
        return Runners(self.env_runner_group, self.config, self.learner_group)

    @functools.cached_property
    def evaluation_crew(self) -> Crew:
        """The remote runners of evaluation."""
        group, learners = self.eval_env_runner_group, self.learner_group
        return Crew(group, self.evaluation_config, "evaluation_sample_timeout_s", lambda: weights_of(learners))

    @override(PPO)
    def restore_env_runners(self, env_runner_group: EnvRunnerGroup) -> list[int]:
        """RLlib's: brings runners back that were lost, without waiting for them."""
        training = env_runner_group is self.env_runner_group
        crew = self.runners.crew if training else self.evaluation_crew
        crew.restore()
        return crew.take_returned()

    @override(PPO)
    def _evaluate_with_fixed_duration(self) -> tuple[None, int, int, list[Any]]:
        steps = evaluate_remotely(self.evaluation_crew, self.config, self.metrics)
        return None, steps, steps, []

    @override(PPO)
    def _evaluate_with_auto_duration(self, parallel_train_future: Future[object]) -> tuple[None, int, int, list[Any]]:
        result = super()._evaluate_with_auto_duration(parallel_train_future)
        self.evaluation_crew.stop_stuck()
        return result  # type: ignore[no-any-return]

    @override(PPO)
    def cleanup(self) -> None:
        """RLlib's: ends all processes. Runners that do not answer are not waited for."""
        if getattr(self, "learner_group", None) is not None:  # else setup has failed
            self.runners.crew.stop()
            if self.eval_env_runner_group is not None:
                self.evaluation_crew.stop()
        super().cleanup()

    @override(PPO)
    def training_step(self) -> None:
        """One iteration: sample, update, sync weights; before the first such, pre-training if asked for."""
        if not self.pretrained:
            self._pretrain()
            return
        if not self.warmed_up:
            self._warm_up()
        started = time.perf_counter()
        samples = self.runners.collect()
        self._log_samples(samples)
        sampled = time.perf_counter()
        timesteps = {NUM_ENV_STEPS_SAMPLED_LIFETIME: self._agent_steps()}
        rollouts = [sample.reference or sample.rollout for sample in samples]
        environments = tuple(name for sample in samples for name in sample.environments)
        results = foreach_learner(self.learner_group, "update_from_rollouts", rollouts, timesteps, environments)
        self.metrics.aggregate(results, key=LEARNER_RESULTS)
        learned = time.perf_counter()
        with told_of_dead_learners(self.learner_group):
            self.runners.sync_weights()
        share = len(samples) / max(1, self.config.num_env_runners)
        self._log_times(sampled - started, learned - sampled, time.perf_counter() - learned, share)

    def _pretrain(self) -> None:
        """One rollout of random play for the auxiliary losses alone; the very first is held out."""
        steps = self.config.get_rollout_fragment_length()
        while not self._held_out:  # also after a resume
            self._held_out = foreach_learner(self.learner_group, "hold_out", self.runners.first_random_play(steps))[0]
        started = time.perf_counter()
        rollouts = self.runners.random_play(steps)
        played = time.perf_counter()
        results = foreach_learner(self.learner_group, "pretrain", rollouts)
        self.metrics.aggregate([metrics for metrics, _ in results], key=LEARNER_RESULTS)
        learned = time.perf_counter()
        self.pretrained = results[0][1]
        if self.pretrained:
            self.runners.end_random_play()
            self.runners.sync_weights()
        self.metrics.aggregate(self.runners.idle_metrics(), key=ENV_RUNNER_RESULTS)
        self._log_times(played - started, learned - played, time.perf_counter() - learned)

    def _warm_up(self) -> None:
        """Random play in separate environments for the first statistics (Burda et al. 2018, section 2.4)."""
        steps = self.config.get_rollout_fragment_length()
        left = self.config.warmup_steps if self.config.intrinsic_reward_specs() else 0
        if not left:
            warn_without_warmup(self.learner_group)
        while left > 0:
            rollouts = self.runners.random_play(min(steps, left))
            foreach_learner(self.learner_group, "update_statistics", rollouts)
            left -= steps
        self.runners.end_random_play()
        self.warmed_up = True

    def _agent_steps(self) -> int:
        """Agent steps of all runners since the start of the run."""
        return int(self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0))

    def _log_samples(self, samples: Sequence[RunnerSample]) -> None:
        """Metrics of what was sampled: the runners' own, recent episodes, places visited."""
        self.metrics.aggregate([sample.metrics for sample in samples], key=ENV_RUNNER_RESULTS)
        agent_steps = self._agent_steps()
        for sample in samples:
            self.recent_episodes.add(sample.episodes)
            for kind, visits in sample.visits.items():
                self.places.setdefault(kind, PlaceHistory()).add(visits, agent_steps)
        values = self.recent_episodes.summary()
        for kind, history in self.places.items():
            values[f"{kind}s_visited"] = len(history.visits)
        crew = self.runners.crew
        values |= {"hanging_env_runners": crew.hanging} if crew.hanging else {}
        values |= {"env_runner_restarts": crew.restarts} if crew.restarts else {}
        for name, value in values.items():
            self.metrics.log_value((ENV_RUNNER_RESULTS, name), value, window=1)

    def _log_times(self, sample_s: float, learn_s: float, sync_s: float, share: float = 1.0) -> None:
        """``share``: of the runners that played."""
        for name, value in {"sample_s": sample_s, "learn_s": learn_s, "sync_s": sync_s}.items():
            self.metrics.log_value(("timers", name), value, window=1)
        rate = share * self.config.samples_per_iteration() / (sample_s + learn_s + sync_s)
        self.metrics.log_value(("throughput", "agent_steps_per_s"), rate, window=1)

    def local_learner(self) -> IntrinsicPPOLearner:
        """The learner that is in this process.

        Raises:
            RuntimeError: ``num_learners`` is 1 or more, and so all learners are in processes of their own.
        """
        if self.learner_group.is_remote:
            raise RuntimeError(
                f"With num_learners = {self.config.num_learners} no learner is in this process: take num_learners = 0, "
                "or reach the learners with learner_group.foreach_learner."
            )
        (learner,) = self.learner_group.foreach_learner(lambda learner: learner)
        return learner.get()

    def learner_module(self) -> IntrinsicPPOModule:
        """The module that the learner of this process trains, with all its plug-ins.

        Raises:
            RuntimeError: as of `local_learner`.
        """
        return self.local_learner().trained_module

    @override(PPO)
    def get_state(self, *args: object, **kwargs: object) -> dict[str, Any]:
        """RLlib's algorithm state plus warm-up flag, places visited, and where every runner's play stands."""
        state: dict[str, Any] = super().get_state(*args, **kwargs)
        state[OWN_STATE] = {
            "format": CHECKPOINT_FORMAT,
            "pretrained": self.pretrained,
            "warmed_up": self.warmed_up,
            "places": {kind: vars(history) for kind, history in self.places.items()},
            "recent_episodes": [episode.state() for episode in self.recent_episodes.episodes()],
            "play": self.runners.play_states(),
            "evaluation_generators": self._evaluation_generators(),
            "settings": settings_of(self.config),
        }
        return state

    @override(PPO)
    def set_state(self, state: dict[str, Any]) -> None:
        """Restores `get_state`; the configuration stays this algorithm's own, and is applied again.

        Raises:
            ConfigError: the state is of a version with another checkpoint format, or of a run whose settings differ in
                what cannot change.
        """
        check_format(state)
        own = state.get(OWN_STATE)
        if own is not None:
            self._check_restorable(saved_in_state(state, own))
            self._forget_weights()
        super().set_state(state)
        if own is None:  # of some components only
            return
        self.pretrained, self.warmed_up = own["pretrained"], own["warmed_up"]
        self.places = {kind: PlaceHistory(**history) for kind, history in own["places"].items()}
        self.recent_episodes = RecentEpisodes(self.config.metrics_num_episodes_for_smoothing)
        self.recent_episodes.add(EpisodeSummary.of_state(state) for state in own["recent_episodes"])
        self._held_out = False
        goes_on = plays_on(own.get("settings", {}), settings_of(self.config))
        self._saved_evaluation = own["evaluation_generators"] if goes_on else []
        if goes_on:
            note = self.runners.restore_play(own["play"])
            if note is not None:
                logger.warning(note)
            self._restore_evaluation()
        foreach_learner(self.learner_group, "apply_settings", self._agent_steps(), not goes_on)

    def _evaluation_generators(self) -> list[dict[str, Any]]:
        """Of the evaluation runners; where there are none (yet), those that they are to begin with."""
        group = self.eval_env_runner_group
        return self._saved_evaluation if group is None else self._evaluation_runners(group).generators()

    def _restore_evaluation(self) -> None:
        """Evaluation runners draw on where those of the checkpoint stopped; again once there are any."""
        if self.eval_env_runner_group is not None:
            self._evaluation_runners(self.eval_env_runner_group).restore_generators(self._saved_evaluation)

    def _evaluation_runners(self, group: EnvRunnerGroup) -> Runners:
        return Runners(group, self.evaluation_config, self.learner_group)

    def _check_restorable(self, saved: Saved) -> None:
        shapes = foreach_learner(self.learner_group, "tensor_shapes")[0]
        check_restorable(saved, settings_of(self.config), shapes)

    def _forget_weights(self) -> None:
        """Has learners and runners take the next weights they get, though those may be older than their own."""
        foreach_learner(self.learner_group, "forget_weights")
        for group in (self.env_runner_group, self.eval_env_runner_group):
            if group is not None:
                group.foreach_env_runner(forget_weights)

    @override(PPO)
    def save_to_path(
        self,
        path: str | Path | None = None,
        *,
        state: dict[str, Any] | None = None,
        filesystem: pyarrow.fs.FileSystem | None = None,
        use_msgpack: bool = False,
    ) -> str:
        """RLlib's: saves to a folder or an address, as a whole or not at all; a checkpoint there is replaced.

        Raises:
            ConfigError: ``use_msgpack``; there is one format.
            OSError: it cannot be written; what was there before still is.
        """
        if use_msgpack:
            raise ConfigError("use_msgpack", "there is one format of checkpoints, of safetensors and JSON", "false")
        return save_at(path, functools.partial(self._write_checkpoint, state=state), filesystem)

    def _write_checkpoint(self, folder: Path, state: Mapping[str, Any] | None = None) -> None:
        """Writes the files of a checkpoint, of a whole state or of one's parts, its manifest last."""
        module, built_with = self._module_arguments
        ContentWriter(folder).write(self.get_state() if state is None else state, self.config, module, built_with)
        write_for_rllib(folder, self)
        name = f"{type(self).__module__}:{type(self).__qualname__}"
        seal(folder, CHECKPOINT_FORMAT, name, self.training_iteration, self._agent_steps())

    @functools.cached_property
    def _module_arguments(self) -> tuple[type, dict[str, Any]]:
        """The class of the learners' module, and what it was built with."""
        results = self.learner_group.foreach_learner(
            lambda learner: (type(learner.trained_module), learner.trained_module.get_ctor_args_and_kwargs()[1])
        )
        found: tuple[type, dict[str, Any]] = next(iter(results)).get()
        return found

    @override(PPO)
    def save(self, checkpoint_dir: str | None = None) -> _TrainingResult:
        """Tune's: saves into the trial's folder, or into a given one.

        A trial goes on where its storage cannot be written to; `save_problem` says why.
        """
        if checkpoint_dir is not None or self._storage is None:
            return super().save(checkpoint_dir)
        return self._saver.save(self._write_checkpoint, dict(self._last_result or {}))

    @functools.cached_property
    def _saver(self) -> TrialSaver:
        return TrialSaver(self._storage)

    def save_problem(self) -> str:
        """Why the newest checkpoint of a trial was not saved; "" if it was."""
        return self._saver.problem

    @classmethod
    @override(PPO)
    def from_checkpoint(
        cls, path: str | Path | Checkpoint, filesystem: pyarrow.fs.FileSystem | None = None, **kwargs: object
    ) -> IntrinsicPPO:
        """RLlib's: a new algorithm that goes on from a checkpoint.

        It is built of plain data; only where settings hold Python objects, or with arguments of RLlib's, is what RLlib
        needs unpickled.

        Raises:
            ConfigError: the checkpoint is damaged, or of a version with another format.
        """
        with local_folder(path, filesystem) as folder:
            check_checkpoint(folder)  # first: it names classes that this version may not have
            if kwargs:
                return super().from_checkpoint(str(folder), **kwargs)  # type: ignore[no-any-return]
            config = checkpoint_config(folder)
            algorithm = config.algo_class(config=config)
            if not isinstance(algorithm, cls):
                raise ConfigError(f"checkpoint {path}", f"is of {name_of(type(algorithm))}", name_of(cls))
            algorithm.restore_from_path(folder)
        return algorithm

    @override(PPO)
    def restore_from_path(
        self,
        path: str | Path,
        *,
        component: str | None = None,
        filesystem: pyarrow.fs.FileSystem | None = None,
        **_: object,
    ) -> None:
        """RLlib's: goes on from a checkpoint, with this algorithm's settings.

        Args:
            path: of a checkpoint, or of what would be the component's folder in it.
            component: take this part of the state alone, by its path in it: ``learner_group/learner/rl_module``.
            filesystem: that ``path`` is in; None: this machine's folders, or that of the address.

        Raises:
            ConfigError: the checkpoint is damaged, of a version with another format, or of a run whose settings differ
                in what cannot change; nothing has been restored then.
        """
        if component is not None:
            path = str(path).removesuffix(f"/{component}")
        with local_folder(path, filesystem) as folder:
            check_checkpoint(folder)
            wrong = what_is_wrong(folder)
            if wrong:
                raise ConfigError(f"checkpoint {path}", wrong[0])
            state = read_state(folder)
        self.set_state(state if component is None else part_of(state, component))


def forget_weights(runner: RolloutEnvRunner) -> None:
    """Lets a runner take weights of any age: RLlib's refuses such as are older than its own."""
    runner._weights_seq_no = 0
