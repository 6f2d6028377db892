"""Every running statistic, replayed by numpy in float64 at decays and spreads where single precision would show."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rllib_rnd.intrinsic.reward_filter import RewardFilter
from rllib_rnd.modules.moving_average import move_average
from rllib_rnd.modules.running_moments import RunningMoments
from tests.intrinsic.every_reward import make, rollout

STEPS, ENVS = 32, 4


def noise(number: int, mean: float, spread: float) -> list[np.ndarray]:
    """Rewards ``[T, N]`` of some rollouts, in single precision as rewards are, with a spread relative to their mean."""
    rng = np.random.default_rng(0)
    return [(mean * (1 + spread * rng.normal(size=(STEPS, ENVS)))).astype(np.float32) for _ in range(number)]


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.99, 0.999, 0.9999])
@pytest.mark.parametrize("spread", [0.001, 0.01, 0.3])
def test_the_scale_and_the_mean_of_byol_explore(decay: float, spread: float) -> None:
    reward = make("byol_explore", reward_decay=decay)
    valid, mean, square, scaled, paid = torch.ones(STEPS, ENVS, dtype=torch.bool), 0.0, 0.0, 0.0, 0.0
    for number, r_t in enumerate(noise(10, 8.0, spread), start=1):
        exact, weight = r_t.astype(np.float64), 1 - decay**number
        mean = decay * mean + (1 - decay) * exact.mean()
        square = decay * square + (1 - decay) * np.square(exact).mean()
        sigma = np.sqrt(square / weight - (mean / weight) ** 2 + 1e-8)
        scaled = decay * scaled + (1 - decay) * exact.mean() / sigma
        wanted = np.maximum(exact / sigma - scaled / weight, 0.0)
        found = reward.normalize(torch.from_numpy(r_t), valid).double().numpy()
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
        paid = max(paid, found.mean())
    assert paid > 0.1


@pytest.mark.parametrize("spread", [1e-6, 1e-3, 1.0])
@pytest.mark.parametrize("mean", [0.0, 1.0, 1e6])
def test_running_moments(mean: float, spread: float) -> None:
    rng, moments = np.random.default_rng(0), RunningMoments((3,))
    batches = [mean + spread * rng.normal(size=(size, 3)) for size in (1, 2, 500, 7, 3000)]
    for batch in batches:
        moments.update(torch.from_numpy(batch))
    seen = np.concatenate(batches)
    np.testing.assert_allclose(moments.mean.numpy(), seen.mean(axis=0), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(moments.std.numpy(), seen.std(axis=0), rtol=1e-5 if mean > 1e5 else 1e-9)


@pytest.mark.parametrize("gamma", [0.0, 0.99, 0.999999, 1.0])
@pytest.mark.parametrize("spread", [1e-3, 1.0])
def test_the_scale_of_rewards(gamma: float, spread: float) -> None:
    reward_filter, carry, seen = RewardFilter(gamma), np.zeros(ENVS), []
    for r_t in noise(20, 1e-3, spread):
        reward_filter.update(torch.from_numpy(r_t), torch.ones(STEPS, ENVS, dtype=torch.bool))
        for row in r_t.astype(np.float64):
            carry = gamma * carry + row
            seen.append(carry)
    assert float(reward_filter.std) == pytest.approx(np.std(seen), rel=1e-9)
    np.testing.assert_allclose(reward_filter.carry.numpy(), carry, rtol=1e-12)


def test_the_moments_of_ngu_over_many_rollouts() -> None:
    reward, distances, errors = make("ngu"), [], []
    for seed in range(30):
        data = rollout("ngu", seed=seed)
        error = reward.rnd.compute(data)[0]
        embedding = reward.encoder(data.frames.flatten(0, 1)).detach().unflatten(0, (-1, data.num_envs))
        before = {name: rows.clone() for name, rows in reward.named_buffers() if name in reward.row_names()}
        squared = reward.neighbor_distances(embedding, data.is_first)
        for name, rows in before.items():  # the reward looks again, at the memory as it was
            setattr(reward, name, rows)
        reward.compute(data)
        distances.append(squared[squared.isfinite()].double().numpy())
        errors.append(error.double().flatten().numpy())
    for moments, parts in ((reward.distance_moments, distances), (reward.error_moments, errors)):
        seen = np.concatenate(parts)
        assert float(moments.count) == len(seen)
        assert float(moments.mean) == pytest.approx(seen.mean(), rel=1e-12)
        assert float(moments.std) == pytest.approx(seen.std(), rel=1e-9)


@pytest.mark.parametrize("tau", [0.0, 0.5, 0.99, 0.999, 0.9999, 1.0])
def test_moving_averages_of_weights(tau: float) -> None:
    """Weights are single precision: an average stands still as soon as its steps are smaller than that."""
    rng = np.random.default_rng(0)
    average, exact = torch.ones(50), np.ones(50)
    for _ in range(2000):
        online = (1.5 + 0.1 * rng.normal(size=50)).astype(np.float32)
        move_average([average], [torch.from_numpy(online)], tau)
        exact = tau * exact + (1 - tau) * online
    resolution = 2.0**-23 / max(1 - tau, 2.0**-23)
    np.testing.assert_allclose(average.numpy(), exact, atol=min(resolution, 1e-3), rtol=1e-6)
