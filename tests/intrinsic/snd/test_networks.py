"""Input, encoders, coupled initialisation and pairs of SND."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from rllib_rnd.intrinsic import SND
from rllib_rnd.intrinsic.snd.networks import FrameEncoder, FrameInput, draw_pairs
from tests.intrinsic.rollouts import image_space, random_rollout, vector_space
from tests.intrinsic.snd.snd_checks import N, T, make, size, terms


@pytest.mark.parametrize(
    ("encoder", "target", "predictor"),
    [
        ("narrow", 4_779_328, 5_304_640),
        ("wide", 9_567_296, 10_092_608),
        ("strided", 4_776_608, 5_301_920),  # RND's of that lineage
    ],
)
def test_parameter_counts_at_96_pixels(encoder: str, target: int, predictor: int) -> None:
    frames = FrameInput(image_space(96, 96))
    networks = [FrameEncoder(frames, 512, encoder, (128,), "elu", extra) for extra in (0, 2)]
    assert [size(network) for network in networks] == [target, predictor]
    assert networks[0].with_local(torch.zeros(1, 1, 96, 96))[1].shape == (1, 64, 12, 12)


def test_activations_of_the_variants() -> None:
    def kinds(module: torch.nn.Module) -> list[str]:
        return [type(m).__name__ for m in module.modules() if type(m).__name__ in ("ELU", "ReLU")]

    narrow, wide = make("snd_v", image_space(36, 36)), make("snd_vic", image_space(36, 36))
    assert (kinds(narrow.target), kinds(narrow.predictor)) == (["ELU"] * 4, ["ELU"] * 6)
    assert (kinds(wide.target), kinds(wide.predictor)) == (["ReLU"] * 4, ["ReLU"] * 4 + ["ELU"] * 2)


@pytest.mark.parametrize(
    ("name", "gains"),
    [
        ("snd_v", (2**0.5, 2**0.5)),
        ("snd_std", (0.5, 0.5)),
        ("snd_vic", (0.5, 2**0.5)),
        ("snd_barlow", (0.5, 2**0.5)),
    ],
)
def test_weights_are_orthogonal_with_the_gains_of_the_variant(name: str, gains: tuple[float, float]) -> None:
    reward = make(name, image_space(36, 36))
    for network, gain in zip((reward.target, reward.predictor), gains, strict=True):
        for layer in network.modules():
            if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d)):
                rows = layer.weight.flatten(1)
                gram = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
                torch.testing.assert_close(gram, gain**2 * torch.eye(len(gram)), rtol=1e-4, atol=1e-4)
                assert bool((layer.bias == 0).all())


def test_coupled_rows_of_target_and_predictor_are_mutually_orthogonal() -> None:
    plain, coupled = (make("snd_v", image_space(36, 36), coupled_init=on) for on in (False, True))

    def overlap(reward: Any) -> list[float]:
        found = []
        layers = [[m for m in net.modules() if hasattr(m, "weight")] for net in (reward.target, reward.predictor)]
        for a, b in zip(*layers, strict=False):
            if 2 * len(a.weight) <= a.weight[0].numel():  # both halves fit
                found.append((a.weight.flatten(1) @ b.weight.flatten(1).T).abs().max().item())
                gram = a.weight.flatten(1) @ a.weight.flatten(1).T
                torch.testing.assert_close(gram, 2.0 * torch.eye(len(gram)), rtol=1e-4, atol=1e-4)
        return found

    assert len(overlap(coupled)) == 4 and max(overlap(coupled)) < 1e-4  # all but the first of five layers
    assert min(overlap(plain)) > 1e-2


def test_coupled_halves_have_their_own_gains() -> None:
    reward = make("snd_vic", coupled_init=True)
    for network, gain in ((reward.target, 0.5), (reward.predictor, 2**0.5)):
        rows = network.head[0].weight  # 16 of 32 inputs
        torch.testing.assert_close(rows @ rows.T, gain**2 * torch.eye(16), rtol=1e-4, atol=1e-4)


def test_pairs_are_equal_or_not_as_labelled_and_half_of_each() -> None:
    drawn = draw_pairs(7, 4000, torch.Generator().manual_seed(0))
    assert torch.equal(drawn.first != drawn.second, drawn.label.bool())
    assert drawn.label.mean().item() == pytest.approx(0.5, abs=0.03)
    for part in (drawn.first, drawn.second):
        assert bool(((torch.bincount(part) / 4000 - 1 / 7).abs() < 0.02).all())


def test_inputs_are_scaled_bytes_less_the_mean_or_standardised() -> None:
    data, space = random_rollout((36, 36)), image_space(36, 36)
    frames = data.frames[:-1].flatten(0, 1)
    seen = data.frames[1:].flatten(0, 1).double()  # the reset observation as well
    for mode in ("auto", "none", "mean", "mean_std"):
        reward = make("snd_v", space, normalize_input=mode)
        reward.update_statistics(data)
        x = reward.frames(frames)[:, 0]
        wanted = {
            "auto": frames / 255.0,
            "none": frames / 255.0,
            "mean": (frames.double() - seen.mean(0)) / 255.0,
            "mean_std": ((frames.double() - seen.mean(0)) / seen.std(0, unbiased=False)).clamp(-1.0, 1.0),
        }[mode]
        torch.testing.assert_close(x, wanted.float(), rtol=1e-4, atol=1e-5)
        assert (reward.frames.moments is None) == (mode in ("auto", "none"))


def test_floats_are_standardised_and_one_hot_bytes_stay_one_hot() -> None:
    reward, data = make("snd_v"), random_rollout()
    reward.update_statistics(data)
    assert int(reward.frames.moments.count) == T * N
    outlier = data.frames[:1, 0] + 1e6
    assert reward.frames(outlier).tolist() == [[5.0] * 5]
    one_hot = make("snd_v", gym.spaces.Box(0, 1, (3,), np.uint8))
    assert one_hot.frames(torch.tensor([[0, 1, 0]], dtype=torch.uint8)).tolist() == [[0.0, 1.0, 0.0]]


@pytest.mark.parametrize("mode", ["none", "mean", "mean_std"])
def test_the_stored_frames_are_never_written_to(mode: str) -> None:
    for data, space in ((random_rollout(), vector_space(5)), (random_rollout((36, 36)), image_space(36, 36))):
        reward, before = make("snd_v", space, normalize_input=mode, clip_input=0.1), data.frames.clone()
        reward.update_statistics(data)
        terms(reward, data)
        assert torch.equal(data.frames, before)


def test_images_too_small_for_the_convolutions_are_flattened() -> None:
    assert isinstance(make("snd_std", image_space(8, 8, 3)), SND)
