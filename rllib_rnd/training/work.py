"""How much arithmetic a pass of the networks is, for choosing how many threads share it."""

from __future__ import annotations

import numpy as np
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from torch.utils.flop_counter import FlopCounterMode

from rllib_rnd.module import IntrinsicPPOModule

#: Samples per pass that keep a CPU's temporaries small enough for its caches and large enough for its cores.
CPU_MICRO_BATCH = 1024

_ROWS = 8  # that are really passed through the networks; arithmetic grows with them


def samples_per_pass(config: AlgorithmConfig) -> int:
    """Samples that policy and critics see at a time on the CPU, at most; of one learner."""
    of_learner = config.samples_per_iteration() // max(1, config.num_learners)
    return max(1, min(config.micro_batch_size or CPU_MICRO_BATCH, of_learner // config.minibatches_per_epoch()))


def forward_flops(config: AlgorithmConfig, module: IntrinsicPPOModule) -> float:
    """Floating point operations of policy and critics in one forward pass of training.

    Of a recurrent network it is those of one time step: the steps of a sequence wait for each other, so threads can
    share no more than that.
    """
    space = module.observation_space
    obs = torch.from_numpy(np.zeros((_ROWS, *space.shape), space.dtype)).to(next(module.parameters()).device)
    training = module.training
    module.eval()  # nothing may move: no statistics of batches, no draws of dropout
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.policy_and_values(obs)
    module.train(training)
    return float(counter.get_total_flops()) * samples_per_pass(config) / module.backbone.max_seq_len / _ROWS
