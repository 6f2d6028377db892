"""Augmentations: what each changes, how often, by which generator."""

from __future__ import annotations

import pytest
import torch

from rllib_rnd.errors import ConfigError
from rllib_rnd.intrinsic.snd import augmentation_sets
from rllib_rnd.intrinsic.snd.augmentation_sets import AUGMENTATION_SETS, AugmentationSet

IMAGES = torch.rand(64, 1, 36, 40, generator=torch.Generator().manual_seed(9))


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def changed(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x != y).flatten(1).any(dim=1)


def test_noise_is_uniform_within_its_amplitude_and_centred() -> None:
    noise = augmentation_sets.uniform_noise(IMAGES, draws(), 0.2) - IMAGES
    assert noise.abs().max() <= 0.2 + 1e-6
    assert noise.mean().item() == pytest.approx(0.0, abs=2e-3)
    assert noise.std().item() == pytest.approx(0.4 / 12**0.5, rel=0.02)  # of a uniform number on an interval of 0.4


def test_noise_is_not_clipped() -> None:
    black = augmentation_sets.uniform_noise(torch.zeros(4, 1, 36, 36), draws())
    assert black.min() < -0.1


def test_tiles_are_squares_of_one_side_per_image_and_a_tenth_of_them() -> None:
    masked = augmentation_sets.tile_mask(torch.ones(2000, 2, 8, 8), draws(), 0.1, sizes=(4,))
    assert torch.equal(masked[:, 0], masked[:, 1])
    tiles = masked[:, 0].unfold(1, 4, 4).unfold(2, 4, 4).flatten(3)  # [2000, 2, 2, 16]
    assert torch.equal(tiles.amin(3), tiles.amax(3))  # a tile is masked as a whole
    assert (tiles[..., 0] == 0).float().mean().item() == pytest.approx(0.1, abs=0.01)


def test_every_tile_size_is_drawn() -> None:
    """With tiles of 16 whole squares are black or not, with tiles of 1 they are mixed."""
    masked = augmentation_sets.tile_mask(torch.ones(300, 1, 48, 48), draws(), 0.5, sizes=(1, 16))[:, 0]
    coarse = masked.unfold(1, 16, 16).unfold(2, 16, 16).flatten(3)
    by_tiles = (coarse.amin(3) == coarse.amax(3)).all(dim=(1, 2))
    assert 0.35 < by_tiles.float().mean() < 0.65


def test_tiles_may_be_cut_off_at_the_border() -> None:
    assert augmentation_sets.tile_mask(torch.ones(8, 1, 37, 45), draws(), 0.5, sizes=(16,)).shape == (8, 1, 37, 45)


def test_pixels_are_averaged_in_squares() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    wanted = [[2.5, 2.5, 4.5, 4.5]] * 2 + [[10.5, 10.5, 12.5, 12.5]] * 2
    assert augmentation_sets.pixelate(x, draws(), 2)[0, 0].tolist() == wanted


def test_squares_at_the_border_average_what_there_is() -> None:
    x = torch.arange(9.0).view(1, 1, 3, 3)
    wanted = [[2.0, 2.0, 3.5], [2.0, 2.0, 3.5], [6.5, 6.5, 8.0]]
    assert augmentation_sets.pixelate(x, draws(), 2)[0, 0].tolist() == wanted


def test_dropout_takes_a_tenth_of_the_pixels_in_all_channels() -> None:
    dropped = augmentation_sets.pixel_dropout(torch.ones(50, 3, 36, 36), draws(), 0.1)
    assert torch.equal(dropped[:, 0], dropped[:, 1]) and torch.equal(dropped[:, 0], dropped[:, 2])
    assert (dropped == 0).float().mean().item() == pytest.approx(0.1, abs=0.01)


def test_a_random_kernel_filters_each_image_by_itself() -> None:
    """Against one convolution per image; the same kernel for all channels."""
    x = torch.rand(3, 2, 9, 8, generator=draws(1))
    out = augmentation_sets.random_convolution(x, draws(5), 5)
    kernels = torch.randn((3, 1, 5, 5), generator=draws(5)) / 5
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2), mode="replicate")
    for i in range(3):
        for c in range(2):
            wanted = torch.nn.functional.conv2d(padded[i : i + 1, c : c + 1], kernels[i : i + 1])
            torch.testing.assert_close(out[i, c], wanted[0, 0])


def test_white_noise_keeps_its_variance_under_random_kernels() -> None:
    out = augmentation_sets.random_convolution(torch.randn(400, 1, 20, 20, generator=draws(1)), draws(), 5)
    assert out.var().item() == pytest.approx(1.0, rel=0.15)


def test_normal_noise_has_its_deviation_and_is_smoothed_in_noise_blur() -> None:
    noise = augmentation_sets.normal_noise(torch.zeros(200, 1, 20, 20), draws(), 0.3)
    assert noise.std().item() == pytest.approx(0.3, rel=0.02) and abs(noise.mean().item()) < 0.01
    x = torch.full((200, 1, 20, 20), 0.5)
    got = AugmentationSet("noise_blur", True, auto="v2")(x, draws()) - x
    # An average of four has half the deviation; the enlargement mixes neighbours and takes some more.
    assert 0.02 < got.std().item() < 0.05
    step = got[..., ::2, 1:].diff(dim=-1)[..., ::2]  # neighbours out of different squares
    assert step.std() < got.std()


def test_blur_keeps_constants_and_the_mean_and_smooths() -> None:
    assert torch.allclose(augmentation_sets.blur(torch.full((1, 1, 8, 8), 0.3), draws()), torch.tensor(0.3))
    blurred = augmentation_sets.blur(IMAGES, draws())
    assert blurred.shape == IMAGES.shape
    assert blurred.mean().item() == pytest.approx(IMAGES.mean().item(), abs=1e-3)
    assert blurred.var() < 0.3 * IMAGES.var()


@pytest.mark.parametrize(
    ("name", "untouched"),
    [
        ("noise", 0.0),
        ("v1", 0.0),
        ("v2", 0.25),  # neither the mask nor the noise
        ("v2_conv", 0.125),
        ("v2_pixelate", 0.75**3),
        ("noise_blur", 0.0),
    ],
)
def test_sets_touch_each_sample_with_their_probabilities(name: str, untouched: float) -> None:
    x = torch.rand(1500, 1, 36, 36, generator=draws(3))
    share = 1.0 - changed(x, AugmentationSet(name, True, auto="v2")(x, draws())).float().mean().item()
    assert share == pytest.approx(untouched, abs=0.045)


@pytest.mark.parametrize("name", AUGMENTATION_SETS)
def test_all_randomness_is_the_generators_and_the_input_is_left_alone(name: str) -> None:
    before, augment = IMAGES.clone(), AugmentationSet(name, True, auto="v2")
    torch.manual_seed(0)
    first = augment(IMAGES, draws(4))
    torch.manual_seed(1)
    assert torch.equal(first, augment(IMAGES, draws(4)))
    assert not torch.equal(first, augment(IMAGES, draws(5)))
    assert torch.equal(IMAGES, before) and first.shape == IMAGES.shape


@pytest.mark.parametrize("name", AUGMENTATION_SETS)
def test_samples_get_draws_of_their_own(name: str) -> None:
    same = IMAGES[:1].expand(32, -1, -1, -1)
    out = AugmentationSet(name, True, auto="v2")(same, draws())
    assert len(torch.unique(out.flatten(1), dim=0)) > 8


def test_vectors_take_noise_only() -> None:
    x = torch.zeros(5, 3)
    out = AugmentationSet("noise", False, auto="v2")(x, draws())
    assert bool((out != 0).all()) and out.abs().max() <= 0.2
    for name in set(AUGMENTATION_SETS) - {"noise"}:
        message = f"^augmentation: '{name}' works on images.*allowed is auto, noise. Nearest: 'noise'"
        with pytest.raises(ConfigError, match=message):
            AugmentationSet(name, False, auto="v2")
