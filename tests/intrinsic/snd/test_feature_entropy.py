"""Feature entropy: the ring buffer against a plain loop, across episodes, rollouts and checkpoints."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rllib_rnd.errors import ConfigError
from rllib_rnd.functional import contrastive_mse_loss, info_nce_loss
from rllib_rnd.intrinsic import INTRINSIC_REWARDS, FeatureEntropy
from rllib_rnd.intrinsic.snd import feature_entropy as module
from rllib_rnd.intrinsic.snd.networks import derived_generator, draw_pairs
from rllib_rnd.plugin import Spaces
from rllib_rnd.rollout import Rollout
from tests.intrinsic.rollouts import image_space, random_rollout, small_chunks, vector_space
from tests.intrinsic.snd.snd_checks import mean

T, N, L = 12, 3, 4
SMALL: dict[str, Any] = {
    "feature_dim": 8,
    "hidden_sizes": [16],
    "buffer_size": L,
    "normalize_input": "none",
    "reward_on": "current",
}


def make(space: gym.spaces.Box | None = None, frame_stack: int = 1, seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    spec = {"type": "feature_entropy", **SMALL, **options}
    cls, parsed = INTRINSIC_REWARDS.parse(spec, "intrinsic_reward")
    assert cls is FeatureEntropy
    return cls(Spaces(vector_space(5) if space is None else space, gym.spaces.Discrete(4), frame_stack), parsed)


def bare(**options: Any) -> Any:
    """With the observation itself, one number, as its feature."""
    reward = make(vector_space(1), feature_dim=1, **options)
    reward.encoder.local, reward.encoder.head = nn.Identity(), nn.Identity()
    return reward


def numbers(*columns: list[float], first: tuple[tuple[int, int], ...] = ((0, 0),)) -> Rollout:
    """A rollout of observations that are one number each, ``[T + 1]`` per environment; resets at ``first``."""
    frames = np.array(columns, np.float32).T[:, :, None]
    steps, envs = len(frames) - 1, len(columns)
    rollout = random_rollout((1,), max(steps, 5), max(envs, 2))
    is_first = torch.zeros((steps + 1, envs), dtype=torch.bool)
    for t, n in first:
        is_first[t, n] = True
    parts = {name: getattr(rollout, name)[:steps, :envs] for name in ("reward", "terminated", "truncated", "memory")}
    return replace(rollout, frames=torch.from_numpy(frames), is_first=is_first, broken=None, **parts)


def cut(rollout: Rollout, start: int, stop: int) -> Rollout:
    """The steps ``start .. stop - 1`` as a rollout of their own."""
    parts = {name: getattr(rollout, name)[start:stop] for name in ("reward", "terminated", "truncated", "memory")}
    parts |= {name: getattr(rollout, name)[start : stop + 1] for name in ("frames", "is_first", "broken")}
    return replace(rollout, **parts)


def random_episodes(seed: int = 0, steps: int = T, envs: int = N) -> Rollout:
    """Random observations; each episode ends with probability 0.2, followed by a reset step and a first one."""
    rng = np.random.default_rng(seed)
    rollout = random_rollout((5,), steps, envs, seed=seed)
    is_first = torch.zeros((steps + 1, envs), dtype=torch.bool)
    is_first[0] = True
    for n in range(envs):
        for t in range(2, steps + 1):
            is_first[t, n] = bool(rng.random() < 0.2) and not bool(is_first[t - 1, n])
    return replace(rollout, is_first=is_first)


def plain_loop(reward: Any, rollout: Rollout, offset: int = 0) -> Tensor:
    """The definition, one environment and step after another, over lists."""
    z = reward.encoder(reward.frames(rollout.frames.flatten(0, 1))).detach().double()
    z = z.view(rollout.num_steps + 1, rollout.num_envs, -1)
    r_t = torch.zeros(rollout.num_steps, rollout.num_envs)
    for n in range(rollout.num_envs):
        buffer: list[Tensor] = []
        for t in range(rollout.num_steps):
            if rollout.is_first[t, n]:
                buffer = [z[t, n]] * reward.options.buffer_size
            if rollout.valid[t, n]:
                buffer = [*buffer[1:], z[t + offset, n]]
                r_t[t, n] = torch.stack(buffer).std(dim=0, unbiased=False).mean()
    return r_t


def test_spread_by_hand() -> None:
    """Buffers of 2: (1 1), (1 3), (3 3), (3 7)."""
    r_t, _ = bare(buffer_size=2).compute(numbers([1, 3, 3, 7, 0]))
    torch.testing.assert_close(r_t[:, 0], torch.tensor([0.0, 1.0, 0.0, 2.0]))


def test_spread_by_hand_of_the_next_observation() -> None:
    """The buffer is filled with the reset observation itself: (1 3), (3 3), (3 7), (7 0)."""
    r_t, _ = bare(buffer_size=2, reward_on="next").compute(numbers([1, 3, 3, 7, 0]))
    torch.testing.assert_close(r_t[:, 0], torch.tensor([1.0, 0.0, 2.0, 3.5]))


def test_reset_steps_are_no_part_of_an_episode() -> None:
    """An episode ends after step 1: step 2 resets (its observation 100 is the true end) and step 3 begins anew."""
    data = numbers([1, 3, 100, 5, 9, 0], first=((0, 0), (3, 0)))
    r_t, _ = bare(buffer_size=2).compute(data)
    torch.testing.assert_close(r_t[:, 0], torch.tensor([0.0, 1.0, 0.0, 0.0, 2.0]))
    r_t, _ = bare(buffer_size=2, reward_on="next").compute(data)
    torch.testing.assert_close(r_t[:, 0], torch.tensor([1.0, 48.5, 0.0, 2.0, 4.5]))


def test_staying_where_it_is_known_pays_less_with_every_step_and_then_nothing() -> None:
    """Buffers of 4 after 5 5 5 9 and three more 9: one unlike among four, two, three, none."""
    r_t, _ = bare(buffer_size=4).compute(numbers([5, 5, 5, 9, 9, 9, 9, 0]))
    torch.testing.assert_close(r_t[3:7, 0], torch.tensor([12**0.5 / 2, 2.0, 12**0.5 / 2, 0.0]))


def test_scale_and_clip() -> None:
    reward, data = bare(buffer_size=2, reward_scale=0.75), numbers([1, 3, 3, 7, 0])
    r_t, _ = reward.compute(data)
    torch.testing.assert_close(reward.normalize(r_t, data.valid)[:, 0], torch.tensor([0.0, 0.75, 0.0, 1.0]))


@pytest.mark.parametrize("reward_on", ["current", "next"])
@pytest.mark.parametrize("seed", range(4))
def test_rewards_are_those_of_a_plain_loop(seed: int, reward_on: str) -> None:
    reward, data = make(reward_on=reward_on), random_episodes(seed, steps=20)
    r_t, features = reward.compute(data)
    assert r_t.shape == (20, N) and r_t.dtype == torch.float32 and features == {}
    torch.testing.assert_close(r_t, plain_loop(reward, data, int(reward_on == "next")), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("cuts", [(1,), (5,), (3, 4, 11)])
@pytest.mark.parametrize("reward_on", ["current", "next"])
def test_cutting_rollouts_changes_nothing(cuts: tuple[int, ...], reward_on: str) -> None:
    data = random_episodes(3)
    whole, pieces = make(reward_on=reward_on), make(reward_on=reward_on)
    wanted = whole.compute(data)[0]
    bounds = zip((0, *cuts), (*cuts, T), strict=True)
    got = torch.cat([pieces.compute(cut(data, start, stop))[0] for start, stop in bounds])
    torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(pieces.ring, whole.ring)
    assert torch.equal(pieces.position, whole.position)


def test_an_episode_in_midflight_begins_with_the_first_observation_seen() -> None:
    """After a change of environments there may be no reset to begin with."""
    r_t, _ = bare(buffer_size=2).compute(numbers([4, 8, 0], first=()))
    torch.testing.assert_close(r_t[:, 0], torch.tensor([0.0, 2.0]))


def test_large_means_do_not_drown_a_small_spread() -> None:
    values = [1000.0 + 0.01 * (t % 3) for t in range(400)]
    r_t, _ = bare(buffer_size=30, clip_reward=None).compute(numbers(values))
    exact = torch.tensor(values, dtype=torch.float32).double()[300:330].std(unbiased=False)
    assert float(r_t[350, 0]) == pytest.approx(float(exact), rel=1e-3)
    assert float(bare().compute(numbers([1000.0] * 40))[0].max()) < 1e-4


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = random_episodes()
    whole = make().compute(data)[0]
    small_chunks(monkeypatch)
    monkeypatch.setattr(module, "_SUM_ROWS", 2)
    torch.testing.assert_close(make().compute(data)[0], whole)


def test_state_dict_restores_the_buffers() -> None:
    reward, restored, data = make(seed=0), make(seed=1), random_episodes()
    first, second = cut(data, 0, 7), cut(data, 7, T)
    reward.compute(first)
    restored.load_state_dict(reward.state_dict())
    assert reward.row_names() == ["ring", "position"]
    assert torch.equal(reward.compute(second)[0], restored.compute(second)[0])
    assert torch.equal(reward.ring, restored.ring)


@pytest.mark.parametrize(
    ("space", "frame_stack", "frame_shape"),
    [(image_space(4, 36, 40), 4, (36, 40)), (image_space(7, 7, 3), 1, (7, 7, 3)), (vector_space(5), 1, (5,))],
)
@pytest.mark.parametrize("objective", ["contrastive", "info_nce"])
def test_the_encoder_learns_on_every_kind_of_observation(space, frame_stack, frame_shape, objective: str) -> None:
    reward = make(space, frame_stack, objective=objective, normalize_input="auto")
    data = random_rollout(frame_shape, 6, N, frame_stack)
    reward.update_statistics(data)
    assert bool((reward.compute(data)[0][1:][data.valid[1:]] >= 0).all())
    usable = data.valid.flatten().nonzero()[:, 0]
    optimizer, history = torch.optim.Adam(reward.parameters(), lr=1e-3), []
    for step in range(60):
        named = reward.terms(data, {}, usable, torch.Generator().manual_seed(step))
        assert list(named) == ["entropy_encoder_loss"] and int(named["entropy_encoder_loss"][1]) == 6 * N - 1
        loss = mean(named["entropy_encoder_loss"])
        optimizer.zero_grad()
        loss.backward()
        weights = [p.grad for n, p in reward.named_parameters() if n.endswith("weight")]
        assert all(g is not None and g.abs().sum() > 0 for g in weights)
        optimizer.step()
        history.append(loss.item())
    assert sum(history[-10:]) < 0.99 * sum(history[:10])
    reward.update_statistics(data)
    assert reward.metrics["entropy_feature_std"] > 0 and not reward.metrics["entropy_feature_std"].requires_grad
    assert reward.metrics["entropy_feature_drift"] > 0


def test_losses_are_the_contrastive_one_and_infonce_of_drawn_states() -> None:
    data = random_rollout((5,), 6, N)
    usable = data.valid.flatten().nonzero()[:, 0]
    for objective in ("contrastive", "info_nce"):
        reward = make(objective=objective, pairs=9)
        reward.augment = lambda x, generator: x
        named = reward.terms(data, {}, usable, torch.Generator().manual_seed(7))
        draws = derived_generator(torch.Generator().manual_seed(7))
        z = reward.encoder(reward.frames(data.newest_frame(usable)))
        if objective == "contrastive":
            first, second, label = draw_pairs(len(usable), 9, draws)
            wanted = contrastive_mse_loss(z[first], z[second], label)
        else:
            order = torch.randperm(len(usable), generator=draws)[:9]
            wanted = info_nce_loss(z[order], z[order]) + torch.relu(2 * z[order].square().mean() - 2.0)
        torch.testing.assert_close(mean(named["entropy_encoder_loss"]), wanted)


@pytest.mark.parametrize("num_samples", [0, 1])
def test_too_few_samples_give_zero_loss_and_gradients_and_the_same_draws(num_samples: int) -> None:
    reward, data = make(), random_episodes()
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    reward.terms(data, {}, torch.arange(T * N), generators[0])
    total, count = reward.terms(data, {}, torch.arange(num_samples), generators[1])["entropy_encoder_loss"]
    assert torch.equal(generators[0].get_state(), generators[1].get_state())
    assert total.item() == 0.0 and count.item() == 0.0
    total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() == 0 for p in reward.parameters())


def test_beside_snd_it_makes_three_critics_with_their_own_terms() -> None:
    spec = [{"type": "snd_v", "feature_dim": 8}, {"type": "feature_entropy", **SMALL, "gamma": 0.9, "coeff": 0.5}]
    data, names = random_episodes(), []
    for one in spec:
        cls, options = INTRINSIC_REWARDS.parse(one, "intrinsic_reward")
        reward: Any = cls(Spaces(vector_space(5), gym.spaces.Discrete(4)), options)
        features = reward.compute(data)[1]
        generator = torch.Generator().manual_seed(0)
        names += list(reward.terms(data, features, data.valid.flatten().nonzero()[:, 0], generator))
    assert names == ["snd_target_loss", "snd_predictor_loss", "entropy_encoder_loss"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"buffer_size": 1}, "buffer_size: 1 is out of range"),
        ({"buffersize": 8}, "Did you mean 'buffer_size'"),
        ({"objective": "vicreg"}, "objective"),
    ],
)
def test_bad_options_are_config_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)
    with pytest.raises(ConfigError, match=r"^augmentation: 'v1' works on images"):
        make(augmentation="v1")
