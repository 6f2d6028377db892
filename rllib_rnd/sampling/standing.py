"""Where a runner stands, in checkpoints: its play, its generators, and the rollout that is under way at a save."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch

from rllib_rnd.modules.generators import global_states, process_state, restore_generator, restore_global_states
from rllib_rnd.rollout import Rollout
from rllib_rnd.sampling.play import Play
from rllib_rnd.sampling.policy import Policy
from rllib_rnd.sampling.random_play import RandomPlay
from rllib_rnd.sampling.seeds import ResetSeeds

_WEIGHTS = ("weights", "weights_seq_no")


class Runner(Protocol):
    """What is used of a `RolloutEnvRunner` here."""

    worker_index: int
    config: Any
    module: Any
    play: Play
    policy: Policy
    seeds: ResetSeeds
    random: RandomPlay
    _weights_seq_no: int


class Standing:
    """What of a runner goes into checkpoints, and how it is put back.

    Args:
        runner: the one.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._before_rollout: dict[str, Any] | None = None  # where the rollout under way began
        self._replayed: dict[str, Any] | None = None  # after a resume: weights that the first rollout is played with
        self._later_random_play: dict[str, Any] | None = None  # after a resume: where random play is to go on

    def state(self) -> dict[str, Any]:
        """All that decides how play goes on, as plain data; see `Play.state`.

        With ``overlap_sampling`` it is where the newest rollout began, and the weights that it is played with: nobody
        has learned from it yet.
        """
        return self._now() if self._before_rollout is None else self._before_rollout

    def note_rollout(self) -> None:
        """A rollout begins that may be under way when a checkpoint is written: whoever goes on plays it once more."""
        module = self._runner.module
        weights = {name: tensor.cpu().numpy().copy() for name, tensor in module.state_dict().items()}
        played_with = {"weights": weights, "weights_seq_no": self._runner._weights_seq_no}
        self._before_rollout = {**played_with, **self._now()}

    def _now(self) -> dict[str, Any]:
        random_play, under_way = self._later_random_play, self._runner.random.current
        if under_way is not None:
            actions = under_way.env.action_space.np_random.bit_generator.state
            random_play = {"play": under_way.state(), "actions": actions}
        play = self._runner.play.state()
        return {**self.generators(), **play, "random_play": random_play, **(self._replayed or {})}

    def restore(self, state: Mapping[str, Any]) -> str | None:
        """Goes on where `state` was taken, or begins new episodes.

        Returns:
            Why new episodes begin, as far as it is the environment's doing.
        """
        self._before_rollout, self._later_random_play = None, state["random_play"]
        self._replayed = {name: state[name] for name in _WEIGHTS} if "weights" in state else None
        self._runner.random.end()
        why = self._runner.play.restore(state)
        self.restore_generators(state)  # last: an environment that is reset may have drawn from them
        return why

    def generators(self) -> dict[str, Any]:
        """The runner's index and its random generators."""
        return {"runner": self._runner.worker_index, "generators": process_state(self._runner.policy.generator)}

    def restore_generators(self, state: Mapping[str, Any]) -> None:
        """Takes `generators` back, or a ``seed`` where there are none.

        They may be another runner's. The global ones of the process that learns are its learner's to restore, unless it
        is where they come from.
        """
        saved, own = state["generators"], self._runner.policy.generator
        if saved is None:
            if state["seed"] is not None:
                own.manual_seed(state["seed"])
            return
        restore_generator(own, saved["own"])
        if self._runner.worker_index > 0 or (state["runner"] == 0 and not self._runner.config.in_evaluation):
            restore_global_states(saved)

    @contextlib.contextmanager
    def older_weights(self) -> Iterator[None]:
        """After a resume, for one rollout, the weights that it was begun with before the checkpoint was written."""
        replayed, self._replayed = self._replayed, None
        if replayed is None:
            yield
            return
        runner = self._runner
        newer = copy.deepcopy(runner.module.state_dict()), runner._weights_seq_no
        runner.module.load_state_dict({n: torch.from_numpy(np.array(w)) for n, w in replayed["weights"].items()})
        runner._weights_seq_no = replayed["weights_seq_no"]
        try:
            yield
        finally:
            runner.module.load_state_dict(newer[0])
            runner._weights_seq_no = newer[1]

    def first_random_play(self, num_steps: int) -> Rollout:
        """The first rollout of random play; after a resume it is played once more, and later ones go on from there."""
        later, self._later_random_play = self._later_random_play, None
        if later is None:
            return self._runner.random.rollout(num_steps)
        process = global_states()
        self._runner.seeds.used = 0
        rollout = self._runner.random.rollout(num_steps)
        play = self._runner.random.current
        assert play is not None
        if play.restore(later["play"]) is None:
            play.env.action_space.np_random.bit_generator.state = later["actions"]
        restore_global_states(process)
        return rollout
