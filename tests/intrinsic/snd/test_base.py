"""Self-supervised network distillation: rewards, samples, metrics, state, options."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import torch

from rllib_rnd.errors import ConfigError
from rllib_rnd.intrinsic import INTRINSIC_REWARDS
from tests.intrinsic.rollouts import image_space, random_rollout, small_chunks, vector_space
from tests.intrinsic.snd.snd_checks import NAMES, N, T, make, mean, samples_of, terms


@pytest.mark.parametrize(
    ("space", "frame_stack", "frame_shape"),
    [
        (image_space(4, 36, 40), 4, (36, 40)),
        (image_space(36, 40, 3), 1, (36, 40, 3)),
        (image_space(7, 7, 3), 1, (7, 7, 3)),
        (vector_space(5), 1, (5,)),
    ],
    ids=["stack", "colour", "grid", "vector"],
)
@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_observation_is_rewarded_and_learned(name, space, frame_stack, frame_shape) -> None:
    reward, data = make(name, space, frame_stack), random_rollout(frame_shape, T, N, frame_stack)
    reward.update_statistics(data)
    r_t, features = reward.compute(data)
    assert r_t.shape == (T, N) and r_t.dtype == torch.float32 and not r_t.requires_grad
    assert features["target"].shape == (T * N, 16) and not features["target"].requires_grad
    assert bool((r_t[data.valid] > 0).all()) and r_t[3, 1] == 0.0
    named = terms(reward, data, features=features)
    assert set(named) == {"snd_target_loss", "snd_predictor_loss"}
    torch.stack([mean(term) for term in named.values()]).sum().backward()
    for parameter, value in reward.named_parameters():
        assert value.grad is not None and torch.isfinite(value.grad).all(), parameter


def test_defaults_are_those_of_the_papers() -> None:
    published = {
        "snd_v": (0.5, 0.25, "narrow", "elu"),
        "snd_std": (1.0, 1.0, "wide", "relu"),
        "snd_vic": (0.25, 1.0, "wide", "relu"),
        "snd_infonce": (0.5, 0.25, "narrow", "elu"),
        "snd_barlow": (0.5, 1.0, "wide", "relu"),
    }
    for name, values in published.items():
        o: Any = INTRINSIC_REWARDS.parse({"type": name}, "x")[1]
        assert (o.reward_scale, o.keep_proportion, o.encoder, o.activation) == values
        assert (o.gamma, o.episodic, o.reward_on, o.normalize_reward) == (0.99, True, "next", False)
        assert (o.clip_reward, o.update_proportion, o.feature_dim) == (1.0, 0.25, 512)


@pytest.mark.parametrize("name", NAMES)
def test_reward_is_the_scaled_mean_squared_error_and_clipped_to_one(name: str) -> None:
    reward, data = make(name, reward_scale=3.0), random_rollout()
    reward.update_statistics(data)
    x = reward.frames(data.frames[1:].flatten(0, 1))
    wanted = 3.0 * (reward.target(x) - reward.predictor(x)).square().mean(1).view(T, N).detach()
    r_t = reward.compute(data)[0]
    torch.testing.assert_close(r_t[data.valid], wanted[data.valid])
    assert torch.equal(reward.normalize(r_t, data.valid), r_t.clamp(0.0, 1.0))


@pytest.mark.parametrize(("reward_on", "offset"), [("current", 3), ("next", 4)])
def test_only_the_newest_frame_of_the_rewarded_observation_matters(reward_on: str, offset: int) -> None:
    reward, data = make("snd_v", image_space(4, 36, 36), 4, reward_on=reward_on), random_rollout((36, 36), T, N, 4)
    before = reward.compute(data)[0]
    data.frames[2 + offset, 0] = 255 - data.frames[2 + offset, 0]
    assert (reward.compute(data)[0] != before).nonzero().tolist() == [[2, 0]]


def test_frames_newest_first_are_read_in_time_order_all_the_same() -> None:
    reward, data = make("snd_v", image_space(4, 36, 36), 4), random_rollout((36, 36), T, N, 4)
    assert torch.equal(reward.compute(data)[0], reward.compute(replace(data, newest_first=True))[0])


def test_rewards_do_not_depend_on_the_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    reward, data = make("snd_v"), random_rollout()
    whole, features = reward.compute(data)
    small_chunks(monkeypatch)
    parts, part_features = reward.compute(data)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(part_features["target"], features["target"])


@pytest.mark.parametrize("name", NAMES)
def test_predictor_distils_the_target_of_now_and_not_that_of_the_reward(name: str) -> None:
    reward, data = make(name, keep_proportion=1.0), random_rollout()
    features = reward.compute(data)[1]
    with torch.no_grad():
        for parameter in reward.target.parameters():
            parameter.add_(0.1 * torch.ones_like(parameter))
    index, _ = samples_of(reward, data)
    x = reward.inputs(data, index)
    wanted = (reward.predictor(x) - reward.target(x)).square().mean()
    torch.testing.assert_close(mean(terms(reward, data, features=features)["snd_predictor_loss"]), wanted)


def test_update_proportion_thins_out_samples_and_pairs() -> None:
    reward, data = make("snd_v", update_proportion=0.25, pairs=40), random_rollout()
    features, target, predictor = reward.compute(data)[1], [], []
    reward.target.local.register_forward_hook(lambda module, inputs, output: target.append(len(inputs[0])))
    reward.predictor.local.register_forward_hook(lambda module, inputs, output: predictor.append(len(inputs[0])))
    index = torch.arange(T * N).repeat(20)
    named = terms(reward, data, index=index, features=features)
    assert predictor == [85] and target == [2 * 10, 85]  # of 340 valid samples
    assert int(named["snd_target_loss"][1]) == 85


def test_samples_are_drawn_without_replacement_and_evenly() -> None:
    reward, data = make("snd_v", update_proportion=0.5), random_rollout()
    chosen = torch.stack([torch.bincount(samples_of(reward, data, seed)[0], minlength=T * N) for seed in range(400)])
    assert chosen.max() == 1 and bool((chosen[:, 10] == 0).all())  # step 3 of environment 1 is a reset step
    share = chosen.float().mean(0)[data.valid.flatten()]
    assert bool(((share - 9 / 17).abs() < 0.12).all())


def test_kept_elements_have_their_share_and_the_loss_is_their_mean() -> None:
    reward, data = make("snd_v", keep_proportion=0.25), random_rollout()
    index, generator = samples_of(reward, data)
    x = reward.inputs(data, index)
    _, target = reward.representation(data, index, x, generator)
    keep = torch.rand((len(index), 16), generator=generator) < 0.25
    total, count = terms(reward, data)["snd_predictor_loss"]
    torch.testing.assert_close(total / count, (reward.predictor(x) - target).square()[keep].mean())
    assert float(count) == pytest.approx(int(keep.sum()) / 16)
    assert abs(float(count) / len(index) - 0.25) < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_the_generator_decides_alone_and_gives_one_number(name: str) -> None:
    reward, data = make(name), random_rollout()
    features = reward.compute(data)[1]
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    for generator, size in zip(generators, (T * N, 0), strict=True):
        reward.terms(data, features, torch.arange(size), generator)
    assert torch.equal(generators[0].get_state(), generators[1].get_state())
    torch.manual_seed(1)
    first = terms(reward, data, seed=3, features=features)
    torch.manual_seed(2)
    second = terms(reward, data, seed=3, features=features)
    assert all(torch.equal(first[n][0], second[n][0]) for n in first)


@pytest.mark.parametrize("case", ["nothing kept", "no sample", "one sample"])
@pytest.mark.parametrize("name", NAMES)
def test_too_few_samples_give_zero_loss_and_zero_gradients(name: str, case: str) -> None:
    reward = make(name, update_proportion=0.0 if case == "nothing kept" else 1.0)
    named = terms(reward, random_rollout(), index=torch.arange({"no sample": 0, "one sample": 1}.get(case, T * N)))
    assert set(named) == {"snd_target_loss", "snd_predictor_loss"}
    assert all(total.item() == 0.0 and count.item() == 0.0 for total, count in named.values())
    torch.stack([mean(term) for term in named.values()]).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() == 0 for p in reward.parameters())


def test_metrics_show_spread_norm_rank_and_drift() -> None:
    reward, data = make("snd_v"), random_rollout()
    assert reward.metrics == {}
    terms(reward, data)
    index, _ = samples_of(reward, data)
    z = reward.target(reward.inputs(data, index)).detach()
    eigenvalues = torch.linalg.eigvalsh(torch.cov(z.T))
    metrics = reward.metrics
    assert all(m.shape == () and not m.requires_grad for m in metrics.values())
    torch.testing.assert_close(metrics["snd_feature_std"], z.std(0, unbiased=False).mean())
    torch.testing.assert_close(metrics["snd_feature_norm"], z.norm(dim=1).mean())
    torch.testing.assert_close(metrics["snd_feature_rank"], eigenvalues.sum() ** 2 / eigenvalues.square().sum())
    assert metrics["snd_target_drift"] < 1e-10

    features = reward.compute(data)[1]
    with torch.no_grad():
        reward.target.head[0].weight.mul_(1.1)
    terms(reward, data, features=features)
    variance = z.var(0, unbiased=False).mean()
    torch.testing.assert_close(reward.metrics["snd_target_drift"], (0.1 * z).square().mean() / variance)


def test_metrics_show_collapse() -> None:
    reward, data = make("snd_v"), random_rollout()
    with torch.no_grad():
        reward.target.head[0].weight[1:] = reward.target.head[0].weight[0]  # one feature, sixteen times
    terms(reward, data)
    assert reward.metrics["snd_feature_rank"].item() == pytest.approx(1.0, abs=1e-3)
    with torch.no_grad():
        reward.target.head[0].weight.zero_()
    terms(reward, data)
    assert reward.metrics["snd_feature_std"] == 0.0
    assert all(torch.isfinite(m) for m in reward.metrics.values())


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_restores_networks_statistics_and_carry(name: str) -> None:
    reward, restored, data = make(name, seed=0), make(name, seed=1), random_rollout()
    reward.update_statistics(data)
    reward.normalize(reward.compute(data)[0], data.valid)
    assert not torch.equal(reward.compute(data)[0], restored.compute(data)[0])
    restored.load_state_dict(reward.state_dict())
    assert torch.equal(reward.compute(data)[0], restored.compute(data)[0])
    assert torch.equal(reward.reward_filter.carry, restored.reward_filter.carry)
    first, second = (terms(r, data, seed=5) for r in (reward, restored))
    assert all(torch.equal(first[n][0], second[n][0]) for n in first)


def test_augmentations_of_images_are_refused_for_vectors() -> None:
    message = r"^augmentation: 'v2' works on images.*Nearest: 'noise'"
    with pytest.raises(ConfigError, match=message):
        make("snd_v", augmentation="v2")
    assert make("snd_barlow").augment.steps[0].augment is make("snd_v", augmentation="noise").augment.steps[0].augment


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"type": "snd_vv"}, "Did you mean 'snd_v"),
        ({"type": "snd_v", "augmentation": "v3"}, "augmentation: unknown value 'v3'. Did you mean 'v"),
        ({"type": "snd_vic", "pairs": 64}, "unknown key 'pairs'"),
        ({"type": "snd_std", "encoder": "wid"}, "Did you mean 'wide'"),
        ({"type": "snd_v", "keep_proportion": 1.5}, "keep_proportion: 1.5 is out of range"),
        ({"type": "snd_barlow", "reward_scale": -1}, "reward_scale"),
    ],
)
def test_bad_options_are_config_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        INTRINSIC_REWARDS.parse(options, "intrinsic_reward")
