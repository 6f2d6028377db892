"""An episode again, as another agent sees it: the same observations and actions, its own policy, values and memory."""

from __future__ import annotations

import copy

import torch

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.tape import Tape

# Observations of a pass, where none depends on the one before.
_CHUNK = 64


@torch.no_grad()
def replay(agent: Agent, tape: Tape) -> Tape:
    """What an agent makes of an episode that it, or another one, has played.

    What the policy and the critics say, its memory (rebuilt in order from the first observation on) and the
    probabilities of the actions taken are the agent's; everything else stays. Intrinsic rewards are not part of a tape:
    `intrinsic_rewards` computes them with whichever agent is asked.

    Args:
        agent: whose spaces are those of the tape (`load_tape` sees to it).
        tape: of one step or more.
    """
    rollout, count = tape.rollout().to_torch(), len(tape.is_first)
    size = 1 if agent.module.backbone.state_size else _CHUNK
    memory = torch.zeros(1, agent.module.backbone.state_size)
    memories, dist_inputs, values = [], [], []
    for start in range(0, count, size):
        index = torch.arange(start, min(start + size, count))
        memories += [memory[0].numpy().copy() for _ in index]
        if agent.module.backbone.state_size:
            outputs = agent.module.policy_and_values(rollout.obs(index), memory, rollout.is_first[index])
            assert outputs[2] is not None
            memory = outputs[2].float()
        else:
            outputs = agent.module.policy_and_values(rollout.obs(index))
        dist_inputs.append(outputs[0].float())
        values.append(outputs[1].float())
    told = torch.cat(dist_inputs)
    logp, _ = agent.module.distribution.logp_and_entropy(told[:-1], rollout.action[:, 0])
    seen = copy.copy(tape)
    seen.memory, seen.dist_inputs = memories, list(told.numpy())
    seen.value, seen.logp = list(torch.cat(values).numpy()), logp.tolist()
    return seen
