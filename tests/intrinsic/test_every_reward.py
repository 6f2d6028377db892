"""What holds for every registered reward: it learns from and counts all that it reads."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rllib_rnd.rollout import Rollout
from tests.intrinsic.every_reward import CASES, NAMES, SMALL, losses, make, rollout
from tests.intrinsic.transition_checks import total_loss

#: An episode ends with step 1 of environment 1; its step 2 resets. The last observation of environment 0 is a reset's.
FIRST = [(0, 0), (0, 1), (3, 1), (6, 0)]


def test_every_reward_is_tried() -> None:
    assert sorted(SMALL) == NAMES


def state(reward: Any) -> Tensor:
    """All that a reward remembers, as one vector."""
    return torch.cat([b.double().flatten() for b in reward.state_dict().values()])


def loss(reward: Any, data: Rollout) -> Tensor:
    terms = losses(reward, data)
    return total_loss(terms).detach() if terms else torch.zeros(())


def statistics(reward: Any, data: Rollout) -> Tensor:
    reward.update_statistics(data)
    return state(reward)


@pytest.mark.parametrize(("name", "reward_on"), CASES)
def test_all_that_a_reward_reads_is_seen_by_its_loss_and_its_statistics(name: str, reward_on: str) -> None:
    """An observation that changes a reward changes the loss, if there is one, and the statistics, if there are any."""
    reward, data = make(name, reward_on=reward_on), rollout(name, first=FIRST, states=9)
    learns = bool(losses(copy.deepcopy(reward), data))
    counts = not torch.equal(statistics(copy.deepcopy(reward), data), state(reward))
    reward.update_statistics(rollout(name, seed=1))  # as random play before
    before = [f(copy.deepcopy(reward), data) for f in (paid, loss, statistics)]
    read = 0
    for t in range(data.num_steps + 1):
        for n in range(data.num_envs):
            other = replace(data, frames=data.frames.clone())
            other.frames[t, n] = data.frames[(t + 2) % (data.num_steps + 1), 1 - n]
            after = [f(copy.deepcopy(reward), other) for f in (paid, loss, statistics)]
            reads, trains, counted = (not torch.allclose(a, b, 1e-6, 1e-9) for a, b in zip(after, before, strict=True))
            read += reads
            if reads:
                assert trains or not learns, f"the loss never sees obs_{t} of environment {n}"
                assert counted or not counts, f"no statistics count obs_{t} of environment {n}"
    assert read >= 3


def paid(reward: Any, data: Rollout) -> Tensor:
    return reward.compute(data)[0]


@pytest.mark.parametrize("name", [name for name in NAMES if not losses(make(name), rollout(name))])
def test_what_remembers_states_knows_those_that_episodes_begin_with(name: str) -> None:
    """A step into a state pays less after episodes began there, though no step led to it before."""
    reward, fresh = make(name, **({"num_neighbors": 1} if name == "re3" else {})), rollout(name, seed=1)
    data = rollout(name, steps=1)
    data.frames[1] = fresh.frames[0]
    beginnings = [copy.deepcopy(reward) for _ in range(2)]
    for played, begins in zip(beginnings, (False, True), strict=True):
        played.update_statistics(fresh if begins else replace(fresh, is_first=torch.zeros_like(fresh.is_first)))
    never, often = (paid(played, data).sum() for played in beginnings)
    assert 0.0 <= often < 0.9 * never


@pytest.mark.parametrize("name", NAMES)
def test_who_reads_by_statistics_wants_random_play_first(name: str) -> None:
    """Those whose networks see other inputs after statistics; what remembers states without any is told apart."""
    reward, data = make(name), rollout(name)
    cold = paid(copy.deepcopy(reward), data)
    reward.update_statistics(rollout(name, seed=1))
    assert reward.needs_warmup == (name != "count" and not torch.equal(paid(reward, data), cold))
    assert make("count", hash="simhash").needs_warmup and not make("rnd", normalize_input="none").needs_warmup


#: Rewards that are errors of predicting a network, with the part that holds both and its options; without any the
#: reward itself is the error.
ERRORS: dict[str, tuple[str, dict[str, Any]] | None] = {
    "rnd": ("", {"feature_dim": 64}),
    "modified_rnd": ("", {"feature_dim": 64}),
    "noveld": ("", {"feature_dim": 64}),
    "ngu": ("rnd", {"rnd_feature_dim": 64}),
    "icm": None,
    "disagreement": None,
}


@pytest.mark.parametrize(("name", "reward_on"), [case for case in CASES if case[0] in ERRORS])
def test_a_rollout_that_is_learned_by_heart_has_no_errors_left(name: str, reward_on: str) -> None:
    part, options = ERRORS[name] or (None, {})
    reward, data = make(name, reward_on=reward_on, **options), rollout(name, steps=3)
    reward.update_statistics(data)
    before = errors(reward, data, part)
    optimizer = torch.optim.Adam([p for p in reward.parameters() if p.requires_grad], lr=3e-3)
    features = reward.compute(data)[1]
    for step in range(150):
        optimizer.zero_grad()
        total_loss(losses(reward, data, features=features, seed=step)).backward()
        optimizer.step()
    assert float(errors(reward, data, part).max()) < 0.2 * float(before.mean())


def errors(reward: Any, data: Rollout, part: str | None) -> Tensor:
    """Errors of all predictions that the rewards of a rollout are made of."""
    if part is None:
        return paid(copy.deepcopy(reward), data)
    reward = copy.deepcopy(reward)
    networks = reward.get_submodule(part)
    said: dict[str, list[Tensor]] = {"target": [], "predictor": []}
    for key, outputs in said.items():
        networks.get_submodule(key).register_forward_hook(lambda *args, outputs=outputs: outputs.append(args[2]))
    reward.compute(data)
    target, predicted = (torch.cat(outputs) for outputs in said.values())
    return (predicted - target).norm(dim=1)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("byol_explore", "feature_entropy")])
def test_what_stands_in_a_broken_observation_changes_nothing(name: str) -> None:
    """But for the memory that goes through it and the buffer that a broken reset observation fills: docs say so."""
    data = rollout(name)
    broken = torch.zeros_like(data.is_first)
    broken[3, 0] = broken[6, 1] = broken[-1, 1] = True
    data = replace(data, broken=broken)
    other = replace(
        data, frames=torch.where(broken.view(*broken.shape, *[1] * (data.frames.dim() - 2)), 1, data.frames)
    )
    results = []
    for one in (data, other):
        reward = make(name)
        r_t, features = reward.compute(one)
        index = one.valid.flatten().nonzero()[:, 0]
        terms = losses(reward, one, index, features)
        reward.update_statistics(one)
        results.append((r_t[one.valid], [total for total, _ in terms.values()], list(reward.buffers())))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
