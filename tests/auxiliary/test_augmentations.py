"""Augmentations: one transform per sample, the same over a frame stack, reproducible, and exact where it can be."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from rllib_rnd.auxiliary.augmentations import (
    AUGMENTATIONS,
    AugmentationOptions,
    ObservationAugmentation,
    build_augmentation,
    shift_images,
)
from rllib_rnd.errors import ConfigError

SIDE = 36
IMAGE_SETS = ["shift", "byol_original", "barlow_original"]


def bytes_space(*shape: int) -> gym.spaces.Box:
    return gym.spaces.Box(0, 255, shape, np.uint8)


def float_space(*shape: int, low: float = -np.inf, high: float = np.inf) -> gym.spaces.Box:
    return gym.spaces.Box(low, high, shape, np.float32)


def make(name: str, space: gym.spaces.Box | None = None, **options: Any) -> ObservationAugmentation:
    space = space or bytes_space(4, SIDE, SIDE)
    given: dict[str, Any] = {"augmentation": name, **options}
    return build_augmentation(space, AugmentationOptions(**given))


def augment(augmentation: ObservationAugmentation, obs: Tensor, seed: int = 0) -> Tensor:
    return augmentation(obs, torch.Generator().manual_seed(seed))


def random_bytes(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def blobs(batch: int) -> Tensor:
    """``[batch, 4, SIDE, SIDE]``: the same smooth picture in every frame of every sample."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    picture = (120 + 60 * torch.sin(x / 5.0) + 60 * torch.cos(y / 7.0 + x / 11.0)).to(torch.uint8)
    return picture.expand(batch, 4, SIDE, SIDE).clone()


def slope(batch: int) -> Tensor:
    """``[batch, 1, SIDE, SIDE]`` float: rises from left (0) to right (1), alike in every row."""
    return torch.linspace(0.0, 1.0, SIDE).expand(batch, 1, SIDE, SIDE).clone()


@pytest.mark.parametrize("offset", [(0, 0), (4, -4), (-1, 3), (2, 0)])
def test_shift_is_a_window_on_the_edge_padded_image(offset: tuple[int, int]) -> None:
    image = random_bytes(2, 3, 6, 8)
    padded = np.pad(image.numpy(), ((0, 0), (0, 0), (4, 4), (4, 4)), mode="edge")
    dy, dx = offset
    wanted = padded[:, :, 4 + dy : 10 + dy, 4 + dx : 12 + dx]
    shifted = shift_images(image, torch.tensor([offset, offset]))
    assert shifted.dtype == torch.uint8 and np.array_equal(shifted.numpy(), wanted)


def test_shift_moves_the_inside_as_a_roll_does() -> None:
    image = random_bytes(1, 1, 9, 9)
    rolled = np.roll(image.numpy(), (-2, 1), axis=(2, 3))
    shifted = shift_images(image, torch.tensor([[2, -1]])).numpy()
    assert np.array_equal(shifted[:, :, :7, 1:], rolled[:, :, :7, 1:])


def test_every_sample_is_shifted_by_its_own_offset() -> None:
    image = random_bytes(3, 2, 6, 6)
    offsets = torch.tensor([[0, 0], [1, -2], [-3, 3]])
    single = [shift_images(image[i : i + 1], offsets[i : i + 1]) for i in range(3)]
    assert torch.equal(shift_images(image, offsets), torch.cat(single))


def test_shifts_are_uniform_over_the_whole_range_and_no_further() -> None:
    obs = torch.zeros(3000, 1, SIDE, SIDE, dtype=torch.uint8)
    obs[:, 0, 18, 18] = 255
    out = augment(make("shift", bytes_space(1, SIDE, SIDE), shift_pixels=2), obs)
    places = out.nonzero()[:, 2:] - 18
    assert len(places) == 3000
    for axis in range(2):
        values, counts = places[:, axis].unique(return_counts=True)
        assert values.tolist() == [-2, -1, 0, 1, 2]
        assert counts.min() > 500 and counts.max() < 700


def test_a_shift_out_of_sight_is_refused() -> None:
    make("shift", bytes_space(1, SIDE, SIDE), shift_pixels=SIDE - 1)
    with pytest.raises(ConfigError, match=rf"shift_pixels: {SIDE} .* allowed is 1 to {SIDE - 1}"):
        make("shift", bytes_space(1, SIDE, SIDE), shift_pixels=SIDE)


@pytest.mark.parametrize("name", IMAGE_SETS)
def test_frames_of_a_stack_are_transformed_alike_and_samples_are_not(name: str) -> None:
    out = augment(make(name), blobs(8))
    for frame in range(1, 4):
        assert torch.equal(out[:, frame], out[:, 0])
    different = {bytes(sample.contiguous().numpy().tobytes()) for sample in out}
    assert len(different) >= 7  # of eight shifts, two may coincide


@pytest.mark.parametrize("name", IMAGE_SETS)
def test_one_transform_for_the_whole_batch_on_request(name: str) -> None:
    augmentation = make(name, apply_same_transform_to_batch=True)
    generator = torch.Generator().manual_seed(0)
    first, second = augmentation(blobs(5), generator), augmentation(blobs(5), generator)
    assert all(torch.equal(sample, first[0]) for sample in first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", [*IMAGE_SETS, "noise"])
@pytest.mark.parametrize("same", [False, True])
def test_the_generator_alone_decides_and_the_global_one_is_left_alone(name: str, same: bool) -> None:
    vectors = name == "noise"
    space = float_space(3) if vectors else None
    obs = torch.randn(4, 3) if vectors else random_bytes(4, 4, SIDE, SIDE)
    augmentation = make(name, space, apply_same_transform_to_batch=same)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = augment(augmentation, obs)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(augment(augmentation, obs), first)
    assert not torch.equal(augment(augmentation, obs, seed=1), first)


@pytest.mark.parametrize("name", IMAGE_SETS)
@pytest.mark.parametrize(
    "shape", [(SIDE, 40), (4, SIDE, 40), (SIDE, 40, 3), (2, SIDE, 40, 3)], ids=["HW", "KHW", "HWC", "KHWC"]
)
def test_every_layout_keeps_its_shape_and_type_and_its_input(name: str, shape: tuple[int, ...]) -> None:
    obs = random_bytes(3, *shape)
    before = obs.clone()
    out = augment(make(name, bytes_space(*shape)), obs)
    assert out.shape == obs.shape and out.dtype == torch.uint8
    assert not torch.equal(out, obs)
    assert torch.equal(obs, before)


@pytest.mark.parametrize("name", IMAGE_SETS)
def test_axes_are_told_apart(name: str) -> None:
    """The same pictures with axes in another order give the same result in that order."""
    planes = random_bytes(3, 6, SIDE, 40)
    wanted = augment(make(name, bytes_space(6, SIDE, 40)), planes)
    stack = planes.unflatten(1, (2, 3)).permute(0, 1, 3, 4, 2).contiguous()
    out = augment(make(name, bytes_space(2, SIDE, 40, 3)), stack)
    assert torch.equal(out, wanted.unflatten(1, (2, 3)).permute(0, 1, 3, 4, 2))


@pytest.mark.parametrize("name", IMAGE_SETS)
def test_values_stay_in_the_range_of_the_space(name: str) -> None:
    space = float_space(1, SIDE, SIDE, low=0.0, high=1.0)
    obs = (random_bytes(16, 1, SIDE, SIDE) > 127).float()  # bicubic interpolation overshoots at such edges
    out = augment(make(name, space), obs)
    assert out.dtype == torch.float32
    assert out.min() == 0.0 and out.max() == 1.0


@pytest.mark.parametrize("name", ["byol_original", "barlow_original"])
def test_bytes_are_the_rounded_result_of_floats(name: str) -> None:
    obs = random_bytes(6, 1, SIDE, SIDE)
    as_floats = augment(make(name, float_space(1, SIDE, SIDE, low=0.0, high=1.0)), obs / 255.0)
    as_bytes = augment(make(name, bytes_space(1, SIDE, SIDE)), obs)
    assert ((as_floats - as_bytes / 255.0).abs() <= 0.501 / 255.0).all()


@pytest.mark.parametrize("name", ["byol_original", "barlow_original"])
def test_half_of_the_images_are_flipped_and_crops_have_the_published_sizes(name: str) -> None:
    out = augment(make(name, float_space(1, SIDE, SIDE, low=0.0, high=1.0)), slope(400))
    assert torch.allclose(out, out[:, :, :1].expand_as(out), atol=1e-5)  # rows stay alike
    rise = out[:, 0, 0, -1] - out[:, 0, 0, 0]
    assert 0.42 < (rise < 0).float().mean() < 0.58
    # Widths from sqrt(0.08 * 3 / 4) = 24 % of the image on; a crop of w pixels holds w - 1 steps of the slope.
    width = rise.abs()
    assert 0.15 < width.min() < 0.35 and width.max() > 0.97
    assert 0.4 < width.median() < 0.9


@pytest.mark.parametrize(("name", "share"), [("byol_original", 0.5), ("barlow_original", 0.1)])
def test_the_published_share_of_images_is_blurred(name: str, share: float) -> None:
    augmentation: Any = make(name, float_space(1, SIDE, SIDE, low=0.0, high=1.0))
    augmentation._transforms = augmentation._transforms[2:]
    obs = random_bytes(1000, 1, SIDE, SIDE) / 255.0
    out = augment(augmentation, obs)
    blurred = (out != obs).flatten(1).any(1)
    # Below 0.17 of the standard deviations from 0.1 to 2, the neighbours' weights vanish in float32.
    assert abs(blurred.float().mean() - 0.96 * share) < 0.05
    # A blur is an average of neighbours: less contrast, same brightness.
    assert out[blurred].std() < 0.9 * obs[blurred].std()
    assert abs(out[blurred].mean() - obs[blurred].mean()) < 0.01


def test_none_returns_what_it_gets() -> None:
    for space, obs in (
        (bytes_space(4, SIDE, SIDE), random_bytes(2, 4, SIDE, SIDE)),
        (float_space(3), torch.ones(2, 3)),
    ):
        assert augment(make("none", space), obs) is obs


def test_noise_is_relative_to_the_running_standard_deviation_of_each_number() -> None:
    augmentation = make("noise", float_space(3), noise_scale=0.2)
    scale = torch.tensor([1.0, 50.0, 0.0])
    obs = 7.0 + scale * torch.randn(20_000, 3, generator=torch.Generator().manual_seed(3))
    for part in obs.chunk(4):
        augmentation.observe(part)
    noise = augment(augmentation, obs) - obs
    torch.testing.assert_close(noise.std(0), 0.2 * obs.std(0), rtol=0.03, atol=0.0)
    assert (noise.mean(0).abs() <= 0.01 * scale).all()
    # not the same for all numbers of a sample, nor for all samples
    assert abs(float(torch.corrcoef(noise[:, :2].T)[0, 1])) < 0.05
    assert noise[:, 0].unique().numel() > 1000


def test_noise_of_a_whole_batch_and_of_stacks() -> None:
    augmentation = make("noise", float_space(2, 3), apply_same_transform_to_batch=True)
    obs = torch.randn(50, 2, 3, generator=torch.Generator().manual_seed(3))
    augmentation.observe(obs)
    noise = augment(augmentation, obs) - obs
    torch.testing.assert_close(noise, noise[:1].expand_as(noise))
    assert noise.abs().min() > 0.0


def test_the_statistics_of_the_noise_are_saved() -> None:
    augmentation, restored = make("noise", float_space(3)), make("noise", float_space(3))
    augmentation.observe(torch.randn(10, 3) * 5.0)
    restored.load_state_dict(augmentation.state_dict())
    obs = torch.ones(4, 3)
    assert torch.equal(augment(augmentation, obs), augment(restored, obs))


@pytest.mark.parametrize(
    ("name", "space", "allowed"),
    [
        ("shift", float_space(4), "allowed is noise or none. Nearest: 'noise'"),
        ("byol_original", float_space(4), "allowed is noise or none. Nearest: 'noise'"),
        ("shift", bytes_space(7, 7, 3), "allowed is none. Nearest: 'none'"),
        ("noise", bytes_space(7, 7, 3), "allowed is none. Nearest: 'none'"),
        (
            "noise",
            bytes_space(4, SIDE, SIDE),
            "allowed is shift or byol_original or barlow_original or none. Nearest: 'shift'",
        ),
    ],
)
def test_what_does_not_fit_the_observation_is_refused_at_build_time(
    name: str, space: gym.spaces.Box, allowed: str
) -> None:
    with pytest.raises(ConfigError, match=allowed) as refused:
        make(name, space)
    for part in ("augmentation: ", repr(name), str(space.shape), str(space.dtype)):
        assert part in str(refused.value)


def test_every_name_of_the_option_is_built() -> None:
    for name, cls in AUGMENTATIONS.items():
        space = float_space(3) if name == "noise" else bytes_space(4, SIDE, SIDE)
        assert type(make(name, space)) is cls
