"""NaN and infinity in every intrinsic reward and auxiliary loss, also on one of two learners: nothing of them stays."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from rllib_rnd.auxiliary import AUXILIARY_LOSSES
from rllib_rnd.intrinsic import INTRINSIC_REWARDS
from rllib_rnd.rollout import Rollout
from rllib_rnd.training.learner import IntrinsicPPOLearner
from rllib_rnd.training.nonfinite import NonFiniteTrainingError
from tests.faults.two_learners import (
    ENVS,
    STEPS,
    TwoLearners,
    changed,
    learner_with,
    own_of_each,
    played,
    state_of,
)
from tests.intrinsic.conftest import one_thread  # noqa: F401  (a fixture for all tests here)

REWARDS = [("intrinsic_reward", name) for name in INTRINSIC_REWARDS.names()]
LOSSES = [("auxiliary_loss", name) for name in AUXILIARY_LOSSES.names()]
NOTHING_TO_TRAIN = ("count", "re3")
RESETS = [(0, n) for n in range(ENVS)]


@contextmanager
def placed(learner: IntrinsicPPOLearner, place: str, number: float = math.nan) -> Iterator[None]:
    """A plug-in of a learner that is not finite there, while the block runs."""
    plugins: list[Any] = [*learner.trained_module.rewards(), *learner.trained_module.auxiliaries()]
    plugin = plugins[0]
    with pytest.MonkeyPatch.context() as patch:
        if place == "reward":
            patch.setattr(plugin, "compute", _spoiled_reward(plugin.compute, number))
        elif place == "loss":
            patch.setattr(plugin, "terms", _spoiled_loss(plugin.terms, number))
        elif place == "gradient":
            parameter = next(p for p in plugin.parameters() if p.requires_grad)
            handle = parameter.register_hook(lambda gradient: torch.full_like(gradient, number))
        else:
            kept = [p.detach().clone() for p in plugin.parameters()]
            with torch.no_grad():
                for parameter in plugin.parameters():
                    parameter.fill_(number)
        try:
            yield
        finally:
            if place == "gradient":
                handle.remove()
            elif place == "weights":
                with torch.no_grad():
                    for parameter, value in zip(plugin.parameters(), kept, strict=True):
                        parameter.copy_(value)


def _spoiled_reward(compute: Callable[[Rollout], Any], number: float) -> Callable[[Rollout], Any]:
    def spoiled(rollout: Rollout) -> Any:
        r_t, features = compute(rollout)
        r_t = r_t.clone()
        r_t[-1, -1] = number
        return r_t, features

    return spoiled


def _spoiled_loss(terms: Callable[..., Any], number: float) -> Callable[..., Any]:
    return lambda *given: {name: (total * number, count) for name, (total, count) in terms(*given).items()}


def places(kind: str, name: str) -> list[str]:
    """Where a plug-in can be not finite: in its rewards, in all its weights, in its losses, in its gradient."""
    rewards = ["reward", "weights"] if kind == "intrinsic_reward" else []
    found = rewards + (["loss", "gradient"] if name not in NOTHING_TO_TRAIN else [])
    return [place for place in found if (name, place) != ("count", "weights")]


def is_finite(*states: dict[str, Tensor]) -> bool:
    """Whether all that learners remember is."""
    return all(bool(torch.isfinite(value).all()) for state in states for value in state.values())


@pytest.mark.parametrize(("kind", "name"), REWARDS + LOSSES)
def test_what_is_not_finite_leaves_everything_as_it_was(kind: str, name: str) -> None:
    learner = learner_with(kind, name)
    learner.update_from_rollouts([played(learner, first=RESETS)], STEPS)
    for seed, place in enumerate(places(kind, name), start=1):
        rollout, skipped = played(learner, seed), learner.nonfinite.total
        in_update = place in ("loss", "gradient")
        batch = learner.prepare(rollout.to_torch()) if in_update else None
        before, generator = state_of(learner), learner._generator.get_state()
        for number in (math.nan, math.inf):
            with placed(learner, place, number):
                if batch is None:
                    learner.update_from_rollouts([rollout], STEPS)
                    assert torch.equal(generator, learner._generator.get_state()), place
                else:
                    metrics = learner.ppo_update.train_on(batch)
                    assert is_finite(metrics), place
            assert not changed(before, state_of(learner)), place
        assert learner.nonfinite.total - skipped == (4 if in_update else 2), place  # both minibatches
        result = learner.update_from_rollouts([played(learner, seed)], STEPS)["default_policy"]
        assert changed(before, state_of(learner)) and is_finite(state_of(learner)), place
        assert learner.nonfinite.in_a_row == 0 and float(result["nonfinite_updates"]) == learner.nonfinite.total


@pytest.mark.parametrize(("kind", "name"), REWARDS + LOSSES)
def test_what_is_not_finite_on_one_of_two_learners_is_skipped_by_both(
    kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They ask for the same sums in the same order, whatever one of them meets, and stay the same bit for bit."""
    pair = [learner_with(kind, name, learners=2) for _ in range(2)]
    both = TwoLearners(monkeypatch)

    def learn(rollout: Rollout) -> None:
        both.run(*(partial(learner.update_from_rollouts, [rollout], STEPS) for learner in pair))

    learn(played(pair[0], first=RESETS))
    for seed, place in enumerate([*places(kind, name), "rollout"], start=1):
        before, skipped = [state_of(learner) for learner in pair], pair[0].nonfinite.total
        rollout = played(pair[0], seed)
        if place == "rollout":
            rollout.reward[-1, -1] = math.nan  # of an environment of the second learner
            learn(rollout)
        else:
            with placed(pair[1], place):
                learn(rollout)
        if place not in ("loss", "gradient"):  # after those, statistics move on by a rollout that is finite
            assert not any(changed(was, state_of(one)) for was, one in zip(before, pair, strict=True)), place
        assert pair[0].nonfinite.total == pair[1].nonfinite.total > skipped, place
        learn(played(pair[0], seed))
        one, other = (state_of(learner) for learner in pair)
        assert changed(one, other) <= own_of_each(pair[0]), place
        assert changed(before[0], one) and is_finite(one, other), place
        assert both.calls[0] == both.calls[1], place


@pytest.mark.parametrize("part", ["reward", "frames", "value", "logp"])
def test_a_rollout_that_is_not_finite_teaches_nothing_and_too_many_end_it(part: str) -> None:
    learner = learner_with("intrinsic_reward", "ngu", max_nonfinite_updates=2)
    learner.update_from_rollouts([played(learner, first=RESETS)], STEPS)
    before, bad = state_of(learner), played(learner, seed=1)
    getattr(bad, part)[0, 0] = math.inf
    learner.update_from_rollouts([bad], STEPS)
    with pytest.raises(NonFiniteTrainingError, match="2 updates in a row were not finite"):
        learner.update_from_rollouts([bad], STEPS)
    learner.update_statistics([played(learner, seed=2)])  # random play that is finite
    learner.nonfinite.in_a_row = 0
    counted = state_of(learner)
    learner.update_statistics([bad])
    assert not changed(counted, state_of(learner))
    assert {name.rpartition(".")[0] for name in changed(before, counted)} <= {
        "intrinsic_rewards.0.encoder.moments",
        "intrinsic_rewards.0.rnd.obs_moments",
    }


def test_rewards_that_are_finite_and_far_too_large_are_no_rollout_to_learn_from() -> None:
    learner = learner_with("intrinsic_reward", "ngu")
    learner.update_from_rollouts([played(learner, first=RESETS)], STEPS)
    before, large = state_of(learner), played(learner, seed=1)
    large.reward[:] = 3e38
    learner.update_from_rollouts([large], STEPS)
    assert not changed(before, state_of(learner)) and learner.nonfinite.total == 1


@pytest.mark.parametrize("name", ["e3b", "ngu", "ride", "noveld", "byol_explore", "feature_entropy"])
def test_the_memory_of_an_episode_that_ended_unseen_is_forgotten_and_no_other(name: str) -> None:
    learner = learner_with("intrinsic_reward", name)
    learner.update_from_rollouts([played(learner, first=RESETS)], STEPS)
    before = state_of(learner)
    bad = played(learner, seed=1, first=[(2, 1)])
    bad.reward[:] = math.nan
    learner.update_from_rollouts([bad], STEPS)
    after = state_of(learner)
    moved = changed(before, after)
    assert moved and all("reward_filter" not in row for row in moved)
    for row in moved:
        differs = (
            (before[row] != after[row]).flatten(1).any(dim=1) if after[row].dim() > 1 else before[row] != after[row]
        )
        assert differs.tolist() == [False, True, False, False], row
