"""Learners without Ray: one, or two in threads of one process whose sums over each other are watched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
import torch.distributed as dist
from ray.rllib.core import DEFAULT_MODULE_ID
from torch import Tensor, nn

from rllib_rnd import IntrinsicPPOConfig
from rllib_rnd.modules.environment_rows import EnvironmentRows
from rllib_rnd.rollout import Rollout
from rllib_rnd.training.learner import IntrinsicPPOLearner
from tests.intrinsic.every_reward import PICTURES_ONLY, SMALL
from tests.training.test_degenerate import LOSSES

STEPS = {"num_env_steps_sampled_lifetime": 0}
ENVS, FRAGMENT = 4, 5


def learner_with(kind: str, name: str, learners: int = 1, **settings: Any) -> IntrinsicPPOLearner:
    """A small learner with one plug-in, ``kind`` ``intrinsic_reward`` or ``auxiliary_loss``, beside its policy."""
    torch.manual_seed(0)
    pictures = name in PICTURES_ONLY
    space = gym.spaces.Box(0, 255, (36, 36), np.uint8) if pictures else gym.spaces.Box(-9, 9, (5,), np.float32)
    options = SMALL[name] if kind == "intrinsic_reward" else LOSSES[name]
    backbone = {"type": "nature_cnn" if pictures else "mlp", "hidden_sizes": [8]}
    config = IntrinsicPPOConfig().env_runners(num_envs_per_env_runner=ENVS, rollout_fragment_length=FRAGMENT)
    config.training(backbone=backbone, num_epochs=1, num_minibatches=2, lr=1e-3, torch_threads=1)
    config.training(**{kind: {"type": name, **options}, **settings}).debugging(seed=3)
    learner = config.build_learner(spaces={DEFAULT_MODULE_ID: (space, gym.spaces.Discrete(3))})
    learner.config._is_frozen = False
    learner.config.num_learners = learners
    return learner


def played(learner: IntrinsicPPOLearner, seed: int = 0, first: Sequence[tuple[int, int]] = ()) -> Rollout:
    """A rollout of noise; ``first`` are the (t, n) of its reset observations."""
    rng, module = np.random.default_rng(seed), learner.trained_module
    space = module.observation_space
    made = Rollout.empty(FRAGMENT, ENVS, space.shape, space.dtype, num_streams=1 + len(module.rewards()))
    made.frames[:] = rng.integers(0, 9, made.frames.shape)
    made.action[:] = rng.integers(0, 3, made.action.shape)
    made.reward[:] = rng.normal(size=made.reward.shape)
    made.value[:] = rng.normal(size=made.value.shape)
    made.logp[:] = np.log(1 / 3)
    for t, n in first:
        made.is_first[t, n] = True
    return made


def state_of(learner: IntrinsicPPOLearner) -> dict[str, Tensor]:
    """Copies of all tensors of the module and of its optimizer."""
    found = {name: value.clone() for name, value in learner.trained_module.state_dict().items()}
    (optimizer,) = learner._named_optimizers.values()
    for number, values in optimizer.state_dict()["state"].items():
        found |= {f"optimizer.{number}.{name}": torch.as_tensor(value).clone() for name, value in values.items()}
    return found


def own_of_each(learner: IntrinsicPPOLearner) -> set[str]:
    """Names of the state that several learners hold each for itself: rows of environments, batch normalisation."""
    names = set[str]()
    for path, part in learner.trained_module.named_modules():
        rows = part.row_names() if isinstance(part, EnvironmentRows) else []
        norm = [name for name, _ in part.named_buffers()] if isinstance(part, nn.BatchNorm1d) else []
        # Those of BYOL's target are an average over learners.
        names |= {f"{path}.{name}" for name in [*rows, *([] if ".target." in path else norm)]}
    return names


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Names of the tensors that are not the same, bit for bit."""
    assert before.keys() == after.keys()
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


class TwoLearners:
    """Two threads that talk as two processes do with torch.distributed, whose place this takes.

    Attributes:
        calls: what each learner has asked for, in its order.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._barrier, self._shares = threading.Barrier(2, timeout=120), [torch.empty(0)] * 2
        self._objects: list[object] = [None, None]
        self._rank = threading.local()
        self.calls: list[list[tuple[str, torch.Size, torch.dtype]]] = [[], []]
        monkeypatch.setattr(dist, "is_initialized", lambda: hasattr(self._rank, "number"))
        monkeypatch.setattr(dist, "get_world_size", lambda: 2)
        monkeypatch.setattr(dist, "get_rank", lambda: self._rank.number)
        monkeypatch.setattr(dist, "all_reduce", self._sum)
        monkeypatch.setattr(dist, "broadcast", self._broadcast)
        monkeypatch.setattr(dist, "all_gather_object", self._gather)

    def _exchange(self, kind: str, tensor: Tensor) -> list[Tensor]:
        self.calls[self._rank.number].append((kind, tensor.shape, tensor.dtype))
        self._shares[self._rank.number] = tensor.clone()
        self._barrier.wait()
        shares = list(self._shares)
        self._barrier.wait()
        return shares

    def _sum(self, tensor: Tensor, op: dist.ReduceOp) -> None:
        assert op == dist.ReduceOp.SUM
        first, second = self._exchange("sum", tensor)
        tensor.copy_(first + second)

    def _broadcast(self, tensor: Tensor, src: int) -> None:
        tensor.copy_(self._exchange("broadcast", tensor)[src])

    def _gather(self, values: list[object], value: object) -> None:
        self._objects[self._rank.number] = value
        self._exchange("gather", torch.empty(0))
        values[:] = self._objects

    def run(self, *tasks: Callable[[], object]) -> None:
        """Runs a task on each; what one of them raises is raised here."""
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(self._as, rank, task) for rank, task in enumerate(tasks)]:
                done.result()

    def _as(self, rank: int, task: Callable[[], object]) -> None:
        self._rank.number = rank
        try:
            task()
        except BaseException:
            self._barrier.abort()
            raise
