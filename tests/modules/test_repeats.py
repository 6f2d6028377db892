"""Keys of observations, by hand and at their limits; networks that read each different observation once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from rllib_rnd.intrinsic import INTRINSIC_REWARDS
from rllib_rnd.modules import repeats
from rllib_rnd.modules.repeats import Different, different, find_repeats, hash_observations, of_each
from rllib_rnd.plugin import Spaces
from rllib_rnd.rollout import Rollout
from tests.intrinsic.rollouts import random_rollout

CPU = torch.device("cpu")
BITS, STATES = 300, 5
MASK = 2**64 - 1


def split_mix(number: int) -> int:
    """Number 1, 2, ... of SplitMix64 with seed 0."""
    z = number * 0x9E3779B97F4A7C15 & MASK
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


def hash_by_hand(data: bytes) -> int:
    """The formula in Python's unlimited integers."""
    data += bytes(-len(data) % 4)
    words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
    halves = []
    for which in range(2):
        total = split_mix(which + 1) + sum(split_mix(2 * i + which + 3) * x for i, x in enumerate(words))
        halves.append((total & MASK) >> 32)
    return halves[0] << 32 | halves[1]


def test_split_mix_is_the_published_sequence() -> None:
    assert [split_mix(i) for i in (1, 2)] == [16294208416658607535, 7960286522194355700]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (5, 7), (4, 3, 2)])
def test_hash_is_the_formula(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    frames = torch.randint(0, 256, (6, *shape), generator=torch.Generator().manual_seed(0)).to(dtype)
    wanted = [hash_by_hand(frame.numpy().tobytes()) for frame in frames]
    assert [int(key) & MASK for key in hash_observations(frames)] == wanted


def test_equal_frames_have_equal_keys_and_every_byte_matters() -> None:
    frame = torch.arange(84 * 84).reshape(1, 84, 84).to(torch.uint8)
    changed = frame.repeat(84 * 84 + 2, 1, 1)
    changed.flatten(1)[:-2].diagonal().add_(1)
    keys = hash_observations(changed)
    assert keys[-1] == keys[-2] == hash_observations(frame)[0]
    assert len(keys.unique()) == 84 * 84 + 1


def test_words_that_differ_in_their_highest_bits_or_change_places_are_told_apart() -> None:
    x = torch.tensor([[0, 0, 5], [-(2**31), -(2**31), 5], [5, 0, 0], [0, 5, 0]], dtype=torch.int32)
    assert len(hash_observations(x).unique()) == 4


def test_zeros_of_both_signs_are_one_and_other_layouts_change_nothing() -> None:
    assert len(hash_observations(torch.tensor([[0.0, 1.0], [-0.0, 1.0]])).unique()) == 1
    frames = torch.randint(0, 256, (4, 6, 5), dtype=torch.uint8)
    transposed = frames.movedim(2, 1).contiguous().movedim(1, 2)
    assert not transposed.is_contiguous()
    assert torch.equal(hash_observations(transposed), hash_observations(frames))
    assert torch.equal(hash_observations(frames[1:, 1:]), hash_observations(frames[1:, 1:].clone()))


def test_keys_do_not_depend_on_the_chunk_size_and_none_is_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = torch.randint(0, 256, (9, 11), dtype=torch.uint8)
    whole = hash_observations(frames)
    monkeypatch.setattr(repeats, "_CHUNK_ELEMENTS", 7)
    assert torch.equal(hash_observations(frames), whole)
    assert hash_observations(frames[:0]).tolist() == []


def test_weights_are_the_same_in_every_process_and_of_every_size() -> None:
    short, long = (repeats._hash_weights(size, CPU) for size in (3, 9))
    assert torch.equal(short, long[:, :3])
    wanted = np.array([[split_mix(2 * i + which + 1) for i in range(9)] for which in range(2)], np.uint64)
    assert np.array_equal(long.numpy().view(np.uint64), wanted)


def repeating(steps: int = 8, envs: int = 6) -> Rollout:
    """Observations of `BITS` bits that are of few states; environment 1 begins anew at step 4."""
    rng = np.random.default_rng(0)
    states = (rng.random((STATES, BITS)) < 0.1).astype(np.uint8)
    drawn = rng.integers(0, STATES, (steps + 1, envs))
    return random_rollout((BITS,), steps, envs, frames=states[drawn])


def test_what_comes_again_is_found() -> None:
    data = repeating()
    found, frames = find_repeats(data), data.all_newest_frames()
    assert found is not None and find_repeats(data) is found
    assert len(found.row) == len(frames.unique(dim=0)) == STATES
    assert torch.equal(frames[found.row][found.number], frames)
    index = torch.tensor([3, 50, 3, 17, 20])
    some = different(data, index)
    assert isinstance(some, Different) and len(some.rows) == len(frames[index].unique(dim=0)) < len(index)
    assert torch.equal(frames[some.rows][some.places], frames[index])


def _mostly_different(data: Rollout) -> Rollout:
    frames = (torch.rand(data.frames.shape, generator=torch.Generator().manual_seed(0)) < 0.5).to(torch.uint8)
    return replace(data, frames=frames)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: replace(data, frames=data.frames.float()),
        lambda data: replace(data, frames=data.frames[..., :100].contiguous()),
        lambda data: replace(data, frames=torch.cat([data.frames, data.frames[-1:]]), frame_stack=2),
        _mostly_different,
    ],
    ids=["floats", "small", "stacks", "mostly different"],
)
def test_nothing_is_looked_for_where_it_does_not_pay(change: Callable[[Rollout], Rollout]) -> None:
    data = change(repeating())
    assert find_repeats(data) is None and different(data, torch.arange(4)) is None
    index = torch.arange(4)
    assert torch.equal(of_each(data, index, lambda rows: data.obs(rows).float()), data.obs(index).float())


def _parameters_gradients(module: torch.nn.Module, total: Tensor) -> list[Tensor]:
    trained = [p for p in module.parameters() if p.requires_grad]
    return list(torch.autograd.grad(total, trained))


REWARDS: dict[str, dict[str, Any]] = {
    "rnd": {"feature_dim": 8, "hidden_sizes": [16], "update_proportion": 1.0},
    "noveld": {"feature_dim": 8, "hidden_sizes": [16], "update_proportion": 1.0},
    "ngu": {"rnd_feature_dim": 8, "rnd_hidden_sizes": [16], "rnd_update_proportion": 1.0, "model_size": 16},
    "icm": {"feature_dim": 8, "model_size": 16},
    "ride": {"feature_dim": 8, "model_size": 16},
    "e3b": {"feature_dim": 8, "model_size": 16},
    "disagreement": {"feature_dim": 8, "model_size": 16, "update_proportion": 1.0, "encoder": "inverse"},
    "byol_explore": {"feature_dim": 8, "model_size": 16, "memory_size": 8},
}


@pytest.mark.parametrize("name", REWARDS)
def test_rewards_losses_and_gradients_are_those_of_reading_every_observation(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = gym.spaces.Box(0, 1, (BITS,), np.uint8)
    rows = list[int]()

    def outcome(plain: bool) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        torch.manual_seed(0)
        cls, options = INTRINSIC_REWARDS.parse({"type": name, **REWARDS[name]}, "intrinsic_reward")
        reward: Any = cls(Spaces(space, gym.spaces.Discrete(4)), options)
        data = repeating()
        if plain:
            data.__dict__["repeats"] = None
        reward.update_statistics(data)
        hooked = getattr(reward, "encoder", getattr(reward, "predictor", None))
        assert hooked is not None
        first = next(part for part in hooked.modules() if isinstance(part, torch.nn.Linear))
        first.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
        r_t, features = reward.compute(data)
        index = data.valid.flatten().nonzero()[:, 0]
        terms = reward.terms(data, features, index, torch.Generator().manual_seed(0))
        total = torch.stack([value / count for value, count in terms.values()])
        return r_t, [total], _parameters_gradients(reward, total.sum())

    once, all_rows = outcome(plain=False), len(rows)
    read_once = sum(rows[:all_rows])
    plain = outcome(plain=True)
    assert 0 < read_once < 0.5 * sum(rows[all_rows:])
    torch.testing.assert_close(once, plain, rtol=1e-4, atol=1e-6)
