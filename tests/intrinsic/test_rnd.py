"""Random network distillation: networks, novelty, masks, frozen statistics."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from rllib_rnd.intrinsic import INTRINSIC_REWARDS, RND, RNDOptions
from rllib_rnd.plugin import Spaces
from rllib_rnd.rollout import Rollout
from tests.intrinsic.rollouts import small_chunks

T, N = 6, 3


def box(*shape: int, dtype: Any = np.uint8) -> gym.spaces.Box:
    return gym.spaces.Box(0, 255, shape, dtype)


def make(space: gym.spaces.Box | None = None, frame_stack: int = 1, seed: int = 0, **options: Any) -> RND:
    torch.manual_seed(seed)
    spec = {"type": "rnd", "feature_dim": 32, **options}
    cls, parsed = INTRINSIC_REWARDS.parse(spec, "intrinsic_reward")
    assert cls is RND
    return RND(Spaces(space or box(5, dtype=np.float32), gym.spaces.Discrete(2), frame_stack), parsed)


def rollout(frame_shape: tuple[int, ...] = (5,), frame_stack: int = 1, seed: int = 0) -> Rollout:
    """Random frames (bytes if they are images); environment 1 ends an episode at step 2, so step 3 resets."""
    rng = np.random.default_rng(seed)
    shape = (T + frame_stack, N, *frame_shape)
    is_image = len(frame_shape) > 1
    frames = rng.integers(0, 256, shape, dtype=np.uint8) if is_image else rng.normal(3, 2, shape).astype(np.float32)
    data = Rollout.empty(T, N, frame_shape, frames.dtype, num_streams=2, frame_stack=frame_stack)
    data.frames[:] = frames
    data.is_first[4, 1] = data.terminated[2, 1] = True
    return data.to_torch()


def loss(rnd: RND, data: Rollout, seed: int = 0, index: torch.Tensor | None = None, features: Any = None):
    """The (sum, count) of the predictor loss on all or some samples, reset steps left out as the learner does."""
    index = torch.arange(T * N) if index is None else index
    features = features or rnd.compute(data)[1]
    terms = rnd.terms(data, features, index[data.valid.flatten()[index]], torch.Generator().manual_seed(seed))
    assert list(terms) == ["rnd_predictor_loss"]
    return terms["rnd_predictor_loss"]


def size(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_of_the_lineage_at_84_pixels() -> None:
    rnd = RND(Spaces(box(4, 84, 84), gym.spaces.Discrete(18), 4), RNDOptions())
    assert (size(rnd.target), size(rnd.predictor)) == (1_677_984, 2_203_296)


def test_parameter_counts_of_michalnand_at_96_pixels() -> None:
    options = RNDOptions(conv_layout="michalnand", activation="elu")
    rnd = RND(Spaces(box(4, 96, 96), gym.spaces.Discrete(18), 4), options)
    assert (size(rnd.target), size(rnd.predictor)) == (4_776_608, 5_301_920)
    kinds = {type(m).__name__ for m in rnd.modules()}
    assert "ELU" in kinds and not kinds & {"LeakyReLU", "ReLU"}


def test_half_of_the_width() -> None:
    """By hand, at 42 pixels: 16 * 65 + 32 * 257 + 32 * 289 + 256 * 33, and two layers of 256 * 257 more."""
    rnd = RND(Spaces(box(4, 42, 42), gym.spaces.Discrete(18), 4), RNDOptions(channels=(16, 32, 32), feature_dim=256))
    assert (size(rnd.target), size(rnd.predictor)) == (26_960, 26_960 + 2 * 65_792)


@pytest.mark.parametrize("space", [box(36, 36), box(5, dtype=np.float32)])
def test_the_slope_of_leaky_relu_is_torchs_or_the_authors(space: gym.spaces.Box) -> None:
    for options, slope in ((RNDOptions(), 0.01), (RNDOptions(negative_slope=0.2), 0.2)):
        rnd = RND(Spaces(space, gym.spaces.Discrete(4)), options)
        layers = [m for m in rnd.modules() if isinstance(m, torch.nn.LeakyReLU)]
        assert layers and {layer.negative_slope for layer in layers} == {slope}


@pytest.mark.parametrize(
    ("space", "frame_stack", "frame_shape"),
    [
        (box(4, 36, 40), 4, (36, 40)),
        (box(36, 40), 1, (36, 40)),
        (box(36, 40, 3), 1, (36, 40, 3)),
        (box(2, 36, 40, 3), 2, (36, 40, 3)),
        (box(7, 7, 3), 1, (7, 7, 3)),
        (box(5, dtype=np.float32), 1, (5,)),
        (box(3, 5, dtype=np.float32), 3, (5,)),
    ],
)
def test_every_kind_of_observation_is_rewarded_and_learned(space, frame_stack, frame_shape) -> None:
    rnd, data = make(space, frame_stack), rollout(frame_shape, frame_stack)
    rnd.update_statistics(data)
    r_t, features = rnd.compute(data)
    assert r_t.shape == (T, N) and r_t.dtype == torch.float32 and not r_t.requires_grad
    assert features["target"].shape == (T * N, 32) and not features["target"].requires_grad
    assert bool((r_t[data.valid] > 0).all()) and r_t[3, 1] == 0.0
    total, count = loss(rnd, data, features=features)
    (total / count).backward()
    for name, parameter in rnd.predictor.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert all(p.grad is None and not p.requires_grad for p in rnd.target.parameters())


def test_only_the_newest_frame_of_the_rewarded_observation_matters() -> None:
    for reward_on, offset in (("next", 4), ("current", 3)):
        rnd, data = make(box(4, 36, 36), 4, reward_on=reward_on), rollout((36, 36), 4)
        rnd.update_statistics(data)
        before = rnd.compute(data)[0]
        data.frames[2 + offset, 0] = 255 - data.frames[2 + offset, 0]
        changed = rnd.compute(data)[0] != before
        assert changed.nonzero().tolist() == [[2, 0]]


@pytest.mark.parametrize(("reduction", "factor"), [("mean", 1.0), ("half_sum", 16.0)])
def test_reward_is_the_squared_error_in_the_chosen_form(reduction: str, factor: float) -> None:
    rnd, data = make(error_reduction=reduction), rollout()
    rnd.update_statistics(data)
    x = rnd.normalize_frames(data.frames[1:].flatten(0, 1))
    wanted = factor * (rnd.target(x) - rnd.predictor(x)).square().mean(1).reshape(T, N)
    r_t = rnd.compute(data)[0]
    torch.testing.assert_close(r_t[data.valid], wanted[data.valid].detach())


def test_rewards_do_not_depend_on_the_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    rnd, data = make(), rollout()
    whole, features = rnd.compute(data)
    small_chunks(monkeypatch)
    parts, part_features = rnd.compute(data)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(part_features["target"], features["target"])


def test_predictor_loss_falls_while_the_target_stays_bit_identical() -> None:
    rnd, data = make(box(36, 36), update_proportion=1.0), rollout((36, 36))
    rnd.update_statistics(data)
    rnd.train()
    target_before = [p.clone() for p in rnd.target.parameters()]
    features = rnd.compute(data)[1]
    optimizer = torch.optim.Adam([p for p in rnd.parameters() if p.requires_grad], lr=1e-3)
    history = []
    for step in range(30):
        total, count = loss(rnd, data, seed=step, features=features)
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
        history.append((total / count).item())
    assert history[-1] < 0.4 * history[0]
    assert all(torch.equal(a, b) for a, b in zip(target_before, rnd.target.parameters(), strict=True))
    assert torch.equal(rnd.compute(data)[1]["target"], features["target"])
    assert not rnd.target.training and rnd.predictor.training


def test_a_familiar_rollout_is_rewarded_less_than_a_new_one() -> None:
    rnd, familiar, novel = make(update_proportion=1.0), rollout(seed=1), rollout(seed=2)
    for data in (familiar, novel):
        rnd.update_statistics(data)
    before = rnd.compute(familiar)[0].sum() / rnd.compute(novel)[0].sum()
    optimizer = torch.optim.Adam(rnd.predictor.parameters(), lr=3e-3)
    for step in range(60):
        total, count = loss(rnd, familiar, seed=step)
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
    after = rnd.compute(familiar)[0].sum() / rnd.compute(novel)[0].sum()
    assert after < 0.3 * before


def test_sample_mask_keeps_the_proportion_and_runs_the_predictor_on_kept_samples_only() -> None:
    rnd, data = make(update_proportion=0.25), rollout()
    index = torch.arange(T * N).repeat(200)
    seen: list[int] = []
    features = rnd.compute(data)[1]
    rnd.predictor.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    _, count = loss(rnd, data, index=index, features=features)
    assert seen == [int(count)]
    num_valid = int(data.valid.sum()) * 200
    assert abs(int(count) / num_valid - 0.25) < 0.03


def test_sample_loss_is_the_mean_over_exactly_the_kept_valid_samples() -> None:
    rnd, data = make(update_proportion=0.5), rollout()
    total, count = loss(rnd, data, seed=3)
    valid = data.valid.flatten()
    keep = torch.rand(int(valid.sum()), generator=torch.Generator().manual_seed(3)) < 0.5
    error = rnd.predictor(rnd.normalize_frames(data.frames[1:].flatten(0, 1))) - rnd.compute(data)[1]["target"]
    torch.testing.assert_close(total, error[valid].square().mean(1)[keep].sum())
    assert int(count) == int(keep.sum()) > 0 and not count.requires_grad


def test_element_mask_keeps_the_proportion_of_elements() -> None:
    rnd, data = make(update_proportion=0.25, mask_granularity="element"), rollout()
    total, count = loss(rnd, data, seed=3)
    valid = data.valid.flatten()
    keep = torch.rand((int(valid.sum()), 32), generator=torch.Generator().manual_seed(3)) < 0.25
    error = rnd.predictor(rnd.normalize_frames(data.frames[1:].flatten(0, 1))) - rnd.compute(data)[1]["target"]
    torch.testing.assert_close(total / count, error[valid].square()[keep].mean())
    assert float(count) == pytest.approx(int(keep.sum()) / 32)
    assert abs(float(count) / int(data.valid.sum()) - 0.25) < 0.1


@pytest.mark.parametrize("granularity", ["sample", "element"])
@pytest.mark.parametrize("case", ["nothing kept", "no sample"])
def test_an_empty_selection_gives_zero_loss_and_zero_gradients(granularity: str, case: str) -> None:
    proportion = 0.0 if case == "nothing kept" else 1.0
    rnd, data = make(update_proportion=proportion, mask_granularity=granularity), rollout()
    total, count = loss(rnd, data, index=torch.arange(T * N if case == "nothing kept" else 0))
    assert total.item() == 0.0 and count.item() == 0.0
    (total / count.clamp(min=1.0)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() == 0 for p in rnd.predictor.parameters())


def test_losses_of_two_halves_add_up_to_the_whole() -> None:
    rnd, data = make(update_proportion=1.0), rollout()
    whole, halves = loss(rnd, data), [loss(rnd, data, index=i) for i in torch.arange(T * N).chunk(2)]
    torch.testing.assert_close(sum(h[0] for h in halves), whole[0])
    assert sum(int(h[1]) for h in halves) == int(whole[1])


def test_statistics_are_those_of_valid_next_frames() -> None:
    rnd, data = make(box(4, 36, 36), 4), rollout((36, 36), 4)
    rnd.update_statistics(data)
    frames = data.frames[4:].flatten(0, 1)[data.valid.flatten()].double()
    torch.testing.assert_close(rnd.obs_moments.mean, frames.mean(0))
    torch.testing.assert_close(rnd.obs_moments.var, frames.var(0, unbiased=False))
    assert rnd.obs_moments.count == T * N - 1


def test_reward_and_loss_leave_the_statistics_alone() -> None:
    rnd, data = make(), rollout()
    rnd.update_statistics(data)
    before = [b.clone() for b in rnd.buffers()]
    loss(rnd, rollout(seed=9))
    assert all(torch.equal(a, b) for a, b in zip(before, rnd.buffers(), strict=True))


def test_mean_std_input_is_white_and_clipped() -> None:
    rnd, data = make(clip_input=1.5), rollout()
    rnd.update_statistics(data)
    frames = data.frames[1:].flatten(0, 1)
    x = rnd.normalize_frames(frames)
    white = (frames - rnd.obs_moments.mean.float()) / rnd.obs_moments.std.float()
    torch.testing.assert_close(x, white.clamp(-1.5, 1.5))
    assert x.max() == 1.5 and x.min() == -1.5


def test_mean_and_none_inputs_scale_bytes_to_one() -> None:
    data = rollout((36, 36))
    frames = data.frames[1:].flatten(0, 1)
    raw = make(box(36, 36), normalize_input="none").normalize_frames(frames)
    torch.testing.assert_close(raw, frames.unsqueeze(1) / 255.0)
    rnd = make(box(36, 36), normalize_input="mean")
    rnd.update_statistics(data)
    wanted = (frames.double() - rnd.obs_moments.mean).unsqueeze(1) / 255.0
    torch.testing.assert_close(rnd.normalize_frames(frames), wanted.float())


@pytest.mark.parametrize("mode", ["mean_std", "mean", "none"])
def test_the_stored_frames_are_never_written_to(mode: str) -> None:
    for data, rnd in (
        (rollout(), make(normalize_input=mode, clip_input=0.1)),
        (rollout((36, 36)), make(box(36, 36), normalize_input=mode, clip_input=0.1)),
    ):
        before = data.frames.clone()
        rnd.update_statistics(data)
        loss(rnd, data)
        assert torch.equal(data.frames, before)


def test_state_dict_restores_networks_statistics_and_carry() -> None:
    rnd, restored, data = make(seed=0), make(seed=1), rollout()
    rnd.update_statistics(data)
    rnd.normalize(rnd.compute(data)[0], data.valid)
    assert not torch.equal(rnd.compute(data)[0], restored.compute(data)[0])
    restored.load_state_dict(rnd.state_dict())
    assert torch.equal(rnd.compute(data)[0], restored.compute(data)[0])
    assert torch.equal(rnd.reward_filter.carry, restored.reward_filter.carry)
    again = [m.normalize(m.compute(data)[0], data.valid) for m in (rnd, restored)]
    assert torch.equal(*again)
    assert not any(p.requires_grad for p in restored.target.parameters())


def test_too_small_images_for_the_convolutions_are_flattened() -> None:
    assert make(box(8, 8, 3)).normalize_frames(torch.zeros(2, 8, 8, 3, dtype=torch.uint8)).shape == (2, 192)
