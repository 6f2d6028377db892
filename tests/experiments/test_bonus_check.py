"""What the bonus check can tell of bonuses that know the current episode alone: nothing."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from experiments.bonus_check.tour import STEPS, longest_tour, play
from rllib_rnd.envs.deep_sea import DeepSeaEnv
from tests.intrinsic.episodic_checks import make


def test_the_first_room_of_minigrid_has_something_new_for_every_step_of_an_episode() -> None:
    assert play(longest_tour()) == (STEPS + 1, {0})


def test_every_way_through_deep_sea_shows_a_new_state_in_every_step() -> None:
    """So what counts within an episode, as E3B with one-hot features does, pays each of them the same."""
    for actions in itertools.product((0, 1), repeat=4):
        env = DeepSeaEnv(size=4)
        obs, _ = env.reset(seed=0)
        shown = [obs]
        for action in actions:
            obs, *_ = env.step(action)
            shown.append(obs)
        seen = {np.asarray(one).tobytes() for one in shown[:4]}
        assert len(seen) == 4


def test_one_hot_features_that_never_repeat_are_paid_one_over_the_ridge() -> None:
    reward = make("e3b", feature_dim=6, ridge=0.1)
    reward.fit_rows(1, torch.device("cpu"))
    active = torch.tensor([True])
    paid = [float(reward.add(one[None], active)) for one in torch.eye(6)]
    np.testing.assert_allclose(paid, 10.0, rtol=1e-6)
    assert float(reward.add(torch.eye(6)[:1], active)) < 1.0
