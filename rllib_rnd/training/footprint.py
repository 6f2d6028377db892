"""Bytes that learning takes, counted on a few samples: what networks hold, what a pass keeps for its way back.

A pass of the networks is made over some made-up steps and everything that autograd keeps is added up; it grows with
the samples, which is all that is left to calculate.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.rollout import Rollout, shapes_of
from rllib_rnd.training.plugin_losses import auxiliary_terms, compute_rewards, reward_terms

_SAMPLES = 64  # that are passed through the networks


@dataclass(frozen=True)
class Footprint:
    """Bytes of one learner's networks.

    Attributes:
        parameters: of all parameters and buffers.
        trainable: of the parameters that are trained.
        sent: of what runners are sent.
        policy: that a pass of policy and critics keeps for its way back, per sample.
        plugins: that the losses of rewards and auxiliary losses keep, per sample of a minibatch.
        features: that intrinsic rewards keep of a rollout until its update is done, per sample.
    """

    parameters: int
    trainable: int
    sent: int
    policy: int
    plugins: int
    features: int


def footprint(module: IntrinsicPPOModule, frame_stack: int, freeze_backbone: bool = False) -> Footprint:
    """Counts; the module may be a moment older afterwards (its rewards have seen made-up steps), so it is thrown away.

    Args:
        module: a learner's, built for this alone.
        frame_stack: K.
        freeze_backbone: as in the settings: then auxiliary losses are left out.
    """
    generator = torch.Generator().manual_seed(0)
    module.train()
    rollout = made_up(module, frame_stack).to_torch()
    index = torch.nonzero(rollout.valid.flatten())[:, 0]
    with torch.no_grad():
        features = [named for _, named in compute_rewards(module.rewards(), rollout)]

    def policy() -> Tensor:
        sequences = rollout.sequences() if module.is_stateful() else index[:, None]
        starts = rollout.sequence_starts(sequences) if module.is_stateful() else (None, None)
        outputs, values, _ = module.policy_and_values(rollout.obs(sequences.T.flatten()), *starts)
        return outputs.square().mean() + values.square().mean()

    def plugins() -> Tensor:
        terms = reward_terms(module.rewards(), rollout, features, index, generator)
        losses = [] if freeze_backbone else module.auxiliaries()
        terms += auxiliary_terms(losses, module.backbone, rollout, index, generator)
        return sum((term.total for term in terms), torch.zeros(()))

    runners = [part for part in (module.backbone, module.policy_head, module.critics) if isinstance(part, nn.Module)]
    return Footprint(
        parameters=_bytes([*module.parameters(), *module.buffers()]),
        trainable=_bytes([p for p in module.parameters() if p.requires_grad]),
        sent=_bytes([tensor for part in runners for tensor in (*part.parameters(), *part.buffers())]),
        policy=math.ceil(kept_for_backward(module, policy) / len(index)),
        plugins=math.ceil(kept_for_backward(module, plugins) / len(index)),
        features=math.ceil(_bytes([value for named in features for value in named.values()]) / rollout.reward.numel()),
    )


def kept_for_backward(module: nn.Module, loss: Callable[[], Tensor]) -> int:
    """Bytes that autograd keeps of a pass, besides the parameters and buffers of the module."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        graph = loss()  # held until all is counted: what is freed might lend its place to another
    del graph
    return sum(kept.values())


def made_up(module: IntrinsicPPOModule, frame_stack: int) -> Rollout:
    """A rollout of some steps with observations and actions out of the spaces, one episode per environment."""
    length = module.backbone.max_seq_len
    num_envs = max(1, _SAMPLES // length) if length > 1 else 2
    steps = length if length > 1 else _SAMPLES // num_envs
    observations, actions = _copy(module.observation_space), _copy(module.action_space)
    rollout = Rollout.empty(
        steps,
        num_envs,
        **shapes_of(observations, actions, frame_stack),
        num_streams=1 + len(module.rewards()),
        memory_size=module.backbone.state_size,
        sequence_length=length,
    )
    for t in range(len(rollout.frames)):
        for n in range(num_envs):
            sample = np.asarray(observations.sample())
            rollout.frames[t, n] = sample[-1] if frame_stack > 1 else sample
    for t in range(steps):
        rollout.action[t] = [actions.sample() for _ in range(num_envs)]
    rollout.is_first[0] = True
    return rollout


def _copy(space: gym.Space) -> gym.Space:
    """A space with draws of its own, the same in each call."""
    from copy import deepcopy

    space = deepcopy(space)
    space.seed(0)
    return space


def _bytes(tensors: list[Tensor]) -> int:
    """Of all of them, shared ones once."""
    return sum({t.untyped_storage().data_ptr(): t.numel() * t.element_size() for t in tensors}.values())


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """What is drawn in the block at random leaves torch's own draws as they were."""
    with torch.random.fork_rng(devices=[]):
        yield
