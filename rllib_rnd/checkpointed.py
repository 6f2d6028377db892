"""What an algorithm saves and goes on from: its state, and checkpoints that are there as a whole or not at all."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.fs
from ray.rllib.algorithms.ppo import PPO
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
)
from ray.train._internal.session import _TrainingResult
from ray.tune import Checkpoint

from rllib_rnd.checkpoints.atomic import is_checkpoint_folder
from rllib_rnd.checkpoints.content import ContentWriter, write_for_rllib
from rllib_rnd.checkpoints.finding import find_checkpoint, what_is_wrong
from rllib_rnd.checkpoints.format import CHECKPOINT_FORMAT, OWN_STATE, check_checkpoint, check_format
from rllib_rnd.checkpoints.manifest import seal
from rllib_rnd.checkpoints.reading import checkpoint_config, part_of, read_state
from rllib_rnd.checkpoints.remote import local_folder
from rllib_rnd.checkpoints.restoring import Saved, check_restorable, plays_on, saved_in_state, settings_of
from rllib_rnd.checkpoints.saving import TrialSaver, save_at
from rllib_rnd.errors import ConfigError
from rllib_rnd.own_code import name_of
from rllib_rnd.resources import told_of_full_store
from rllib_rnd.sampling.env_runner import RolloutEnvRunner
from rllib_rnd.sampling.episodes import EpisodeSummary, PlaceHistory, RecentEpisodes
from rllib_rnd.sampling.runners import Runners
from rllib_rnd.training.learners import foreach_learner, told_of_dead_learners

logger = logging.getLogger(__name__)


class CheckpointedPPO(PPO):
    """RLlib's PPO with this package's checkpoints; `IntrinsicPPO` adds how it trains.

    Attributes:
        pretrained, warmed_up: phases that lie behind it.
        places: where episodes have been, by kind of place.
        recent_episodes: of which means are reported.
    """

    eval_env_runner_group: EnvRunnerGroup | None
    pretrained: bool
    warmed_up: bool
    places: dict[str, PlaceHistory]
    recent_episodes: RecentEpisodes
    _held_out: bool
    _saved_evaluation: list[dict[str, Any]]

    @functools.cached_property
    def runners(self) -> Runners:
        """The training runners."""
        return Runners(self.env_runner_group, self.config, self.learner_group)

    def _agent_steps(self) -> int:
        """Agent steps of all runners since the start of the run."""
        return int(self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0))

    @override(PPO)
    def get_state(self, *args: object, **kwargs: object) -> dict[str, Any]:
        """RLlib's algorithm state plus warm-up flag, places visited, and where every runner's play stands."""
        with told_of_dead_learners(self.learner_group), told_of_full_store():
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
        self.runners.sync_weights()  # RLlib's own sync passes over runners that have not yet answered to the last one
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
    ) -> CheckpointedPPO:
        """RLlib's: a new algorithm that goes on from a checkpoint; of a run's folder from the newest valid one.

        It is built of plain data; only where settings hold Python objects, or with arguments of RLlib's, is what RLlib
        needs unpickled.

        Raises:
            ConfigError: the checkpoint is damaged, or of a version with another format.
        """
        here = filesystem is None and isinstance(path, (str, Path)) and Path(path).is_dir()
        if here and not is_checkpoint_folder(Path(path)):
            path = find_checkpoint(path)
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
