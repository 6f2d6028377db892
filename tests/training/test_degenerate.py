"""Rollouts that hold next to nothing: one step, one environment, one sample or none, with every reward and loss."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from rllib_rnd.auxiliary import AUXILIARY_LOSSES
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.modules.environment_rows import EnvironmentRows
from rllib_rnd.rollout import Rollout
from rllib_rnd.training.batch import AdvantageSettings, prepare_training
from rllib_rnd.training.nonfinite import NonFiniteUpdates
from rllib_rnd.training.pretraining import Pretraining, PretrainingOptions
from rllib_rnd.training.update import PPOSettings, PPOUpdate
from tests.intrinsic.conftest import one_thread  # noqa: F401  (a fixture for all tests here)
from tests.intrinsic.every_reward import NAMES, PICTURES_ONLY, SMALL

_NOISE = {"augmentation": "noise", "project_gradient": True}
LOSSES: dict[str, dict[str, Any]] = {
    "byol": {**_NOISE, "projector_hidden": 8, "projection_size": 4, "predictor_hidden": 8},
    "barlow_twins": {**_NOISE, "projector_sizes": [8, 8]},
}
PLUGINS = [("intrinsic_rewards", name) for name in NAMES] + [("auxiliary_losses", name) for name in LOSSES]
ADVANTAGES = AdvantageSettings(gamma=0.99, lambda_=0.95, standardize=True)


def test_every_loss_is_tried() -> None:
    assert sorted(LOSSES) == AUXILIARY_LOSSES.names()


@dataclass
class Shape:
    """A rollout of T steps in N environments, by its reset observations ``(t, n)`` and the ends ``(t, n)``."""

    steps: int
    envs: int
    first: tuple[tuple[int, int], ...] = ()
    ends: tuple[tuple[int, int], ...] = ()


SHAPES = {
    "one step of one environment": Shape(1, 1, first=((0, 0),)),
    "one step in mid-episode": Shape(1, 2),
    "one step, at which one of two resets": Shape(1, 2, first=((1, 1),)),
    "one sample among resets": Shape(3, 2, first=((1, 0), (2, 0), (3, 0), (1, 1), (2, 1))),
    "an episode that ends with the rollout": Shape(3, 2, first=((0, 0), (0, 1)), ends=((2, 0),)),
    "an end, and a reset with the rollout's last step": Shape(3, 1, first=((0, 0), (3, 0)), ends=((1, 0),)),
}
EMPTY = Shape(1, 2, first=((1, 0), (1, 1)))


def module_with(kind: str, name: str, backbone: str | None = None) -> IntrinsicPPOModule:
    """The plug-in beside a small policy for three actions."""
    torch.manual_seed(0)
    pictures = name in PICTURES_ONLY
    space = gym.spaces.Box(0, 255, (36, 36), np.uint8) if pictures else gym.spaces.Box(-9, 9, (5,), np.float32)
    options = SMALL[name] if kind == "intrinsic_rewards" else LOSSES[name]
    memory = {"memory_size": 4, "max_seq_len": 1} if backbone == "gru" else {}
    plugins: dict[str, list[Any]] = {"intrinsic_rewards": [], "auxiliary_losses": []}
    plugins[kind] = [{"type": name, **options}]
    return IntrinsicPPOModule(
        observation_space=space,
        action_space=gym.spaces.Discrete(3),
        inference_only=False,
        model_config={
            "backbone": {"type": backbone or ("nature_cnn" if pictures else "mlp"), "hidden_sizes": [8], **memory},
            "frame_stack": 1,
            **plugins,
        },
    )


def played(module: IntrinsicPPOModule, shape: Shape, seed: int = 0) -> Rollout:
    """Noise of that shape."""
    rng, space = np.random.default_rng(seed), module.observation_space
    made = Rollout.empty(
        shape.steps,
        shape.envs,
        space.shape,
        space.dtype,
        num_streams=1 + len(module.rewards()),
        memory_size=module.backbone.state_size,
    )
    made.frames[:] = rng.integers(0, 9, made.frames.shape)
    made.action[:] = rng.integers(0, 3, made.action.shape)
    made.reward[:] = rng.normal(size=made.reward.shape)
    made.value[:] = rng.normal(size=made.value.shape)
    made.logp[:] = math.log(1 / 3)
    for t, n in shape.first:
        made.is_first[t, n] = True
    for t, n in shape.ends:
        made.terminated[t, n] = True
    return made.to_torch()


def update_of(module: IntrinsicPPOModule, num_minibatches: int = 2) -> PPOUpdate:
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=1e-3)
    settings = PPOSettings(clip_param=0.2, num_epochs=2, num_minibatches=num_minibatches, standardize=True)
    generator = torch.Generator().manual_seed(0)
    return PPOUpdate(module, module.policy_and_values, optimizer, NonFiniteUpdates(1), generator, settings)


def learn(module: IntrinsicPPOModule, update: PPOUpdate, rollout: Rollout) -> dict[str, Tensor]:
    """An iteration of a learner; all metrics."""
    batch, metrics = prepare_training(module, rollout, ADVANTAGES)
    assert bool(torch.isfinite(batch.advantage).all()) and bool(torch.isfinite(batch.value_target).all())
    metrics |= update.train_on(batch)
    for reward in module.rewards():
        reward.update_statistics(rollout)
    for plugin in (*module.rewards(), *module.auxiliaries()):
        metrics |= plugin.metrics
    return metrics


def remembered(module: IntrinsicPPOModule) -> dict[str, Tensor]:
    """Weights and statistics, without what belongs to single environments."""
    rows = {
        f"{path}.{name}"
        for path, part in module.named_modules()
        if isinstance(part, EnvironmentRows)
        for name in part.row_names()
    }
    return {name: value.clone() for name, value in module.state_dict().items() if name not in rows}


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_next_to_nothing_is_learned_from_without_a_nan(kind: str, name: str) -> None:
    """One after the other, so that each also meets what the one before has left behind."""
    module = module_with(kind, name)
    update = update_of(module)
    for title, shape in SHAPES.items():
        metrics = learn(module, update, played(module, shape))
        bad = [key for key, value in metrics.items() if not math.isfinite(float(value))]
        bad += [key for key, value in module.state_dict().items() if not bool(torch.isfinite(value).all())]
        assert not bad, title


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_nothing_is_learned_from_nothing(kind: str, name: str) -> None:
    module = module_with(kind, name)
    update, first = update_of(module), SHAPES["an episode that ends with the rollout"]
    learn(module, update, played(module, first))  # so that the optimizer has momentum and statistics are some
    before = remembered(module)
    metrics = learn(module, update, played(module, EMPTY))
    assert all(math.isfinite(float(value)) for value in metrics.values())
    assert not {key for key, value in remembered(module).items() if not torch.equal(value, before[key])}


@pytest.mark.parametrize("shape", [*SHAPES.values(), EMPTY])
def test_a_memory_learns_from_next_to_nothing_as_well(shape: Shape) -> None:
    module = module_with("intrinsic_rewards", "rnd", "gru")
    before = remembered(module)
    metrics = learn(module, update_of(module), played(module, shape))
    assert all(math.isfinite(float(value)) for value in metrics.values())
    changed = [key for key, value in remembered(module).items() if not torch.equal(value, before[key])]
    assert bool(changed) == (shape is not EMPTY)


@pytest.mark.parametrize("name", LOSSES)
def test_pretraining_does_not_take_minibatches_without_samples_for_good_ones(name: str) -> None:
    module = module_with("auxiliary_losses", name)
    pretraining = Pretraining(module, PretrainingOptions(num_epochs=1), 4, NonFiniteUpdates(1))
    full = Shape(4, 3)
    first = tuple((t, n) for t in (1, 2) for n in range(3))
    for held_out, expected in ((full, True), (replace(full, first=(*first, (3, 0), (3, 1), (3, 2), (4, 0))), False)):
        pretraining.hold_out(played(module, held_out))
        for trained in (full, EMPTY):
            metrics = pretraining.train_on(played(module, trained, seed=1), torch.Generator().manual_seed(0))
            assert all(math.isfinite(float(value)) for value in metrics.values())
            assert ("pretraining_loss" in metrics) == expected
            assert pretraining.best_loss is not None and pretraining.best_loss > 0.0


class TwoLearners:
    """Two threads that sum over each other as two processes do with torch.distributed, whose place this takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._barrier, self._shares = threading.Barrier(2, timeout=60), [torch.empty(0)] * 2
        self._rank = threading.local()
        monkeypatch.setattr(dist, "is_initialized", lambda: hasattr(self._rank, "number"))
        monkeypatch.setattr(dist, "get_world_size", lambda: 2)
        monkeypatch.setattr(dist, "get_rank", lambda: self._rank.number)
        monkeypatch.setattr(dist, "all_reduce", self._sum)

    def _sum(self, tensor: Tensor, op: dist.ReduceOp) -> None:
        assert op == dist.ReduceOp.SUM
        self._shares[self._rank.number] = tensor.clone()
        self._barrier.wait()
        assert self._shares[0].shape == self._shares[1].shape
        tensor.copy_(self._shares[0] + self._shares[1])
        self._barrier.wait()

    def run(self, *tasks: Callable[[], None]) -> None:
        """Runs a task on each; what one of them raises is raised here."""
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(self._as, rank, task) for rank, task in enumerate(tasks)]:
                done.result()

    def _as(self, rank: int, task: Callable[[], None]) -> None:
        self._rank.number = rank
        try:
            task()
        except BaseException:
            self._barrier.abort()
            raise


def twice(module: IntrinsicPPOModule, shape: Shape) -> None:
    """Two rollouts of that shape."""
    update = update_of(module, num_minibatches=1)
    for seed in range(2):
        metrics = learn(module, update, played(module, shape, seed))
        assert all(math.isfinite(float(value)) for value in metrics.values())


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_a_learner_without_a_sample_learns_what_the_other_does(
    kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, full, empty = (module_with(kind, name) for _ in range(3))
    twice(alone, Shape(3, 2))
    learners = TwoLearners(monkeypatch)
    learners.run(lambda: twice(full, Shape(3, 2)), lambda: twice(empty, EMPTY))
    wanted, first, second = (remembered(module) for module in (alone, full, empty))
    for key, value in first.items():
        torch.testing.assert_close(second[key], value)
        if kind == "intrinsic_rewards":  # losses on views are left out where any learner has too few samples
            torch.testing.assert_close(value, wanted[key])
