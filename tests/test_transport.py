"""Packing rollouts for their way between machines: nothing is lost, and nothing is packed where it does not travel."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import ray

import rllib_rnd
from rllib_rnd import transport
from rllib_rnd.rollout import ARRAYS, Rollout
from rllib_rnd.sampling.answers import RunnerFailure
from rllib_rnd.transport import PackedRollout, pack, packs, unpack
from tests.conftest import small_config


def rollout(dtype: Any = np.uint8, num_envs: int = 8, newest_first: bool = False, noise: bool = False) -> Rollout:
    """20 steps with mostly background, or with noise only."""
    draw = np.random.default_rng(0)
    found = Rollout.empty(
        20,
        num_envs,
        (12, 12),
        dtype,
        num_streams=2,
        frame_stack=3,
        newest_first=newest_first,
        memory_size=5,
        sequence_length=4,
    )
    found.frames[:] = draw.integers(0, 255, found.frames.shape) if noise else 0
    found.frames[:, :, 3] = draw.integers(0, 255, found.frames[:, :, 3].shape)
    found.logp[:] = draw.normal(size=found.logp.shape)
    found.memory[:] = draw.normal(size=found.memory.shape)
    found.is_first[4, 2] = found.terminated[3, 2] = True
    return found


def same(a: Rollout, b: Rollout) -> bool:
    arrays = all(
        getattr(a, n).dtype == getattr(b, n).dtype and np.array_equal(getattr(a, n), getattr(b, n)) for n in ARRAYS
    )
    return arrays and (a.frame_stack, a.newest_first) == (b.frame_stack, b.newest_first)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
@pytest.mark.parametrize("newest_first", [False, True])
def test_bit_for_bit(dtype: Any, newest_first: bool) -> None:
    before = rollout(dtype, newest_first=newest_first)
    packed = pack(before)
    assert packed.num_bytes < 0.5 * before.num_bytes
    assert same(unpack(packed), before)


def test_large_arrays_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_PIECE", 1000)
    before = rollout()
    packed = pack(before)
    frames = packed.arrays["frames"]
    assert isinstance(frames, transport.PackedArray)
    assert [size for _, size in frames.pieces] == [1000] * 26 + [before.frames.nbytes - 26_000]
    assert same(unpack(packed), before)


def test_some_environments_of_a_rollout() -> None:
    part = rollout(num_envs=12).select_envs(2, 11)  # arrays with gaps between their rows
    assert same(unpack(pack(part)), part)


def test_noise_travels_as_it_is() -> None:
    before = rollout(noise=True)
    packed = pack(before)
    assert packed.arrays["frames"] is before.frames
    assert same(unpack(packed), before)


def test_what_is_not_packed_is_left_alone() -> None:
    before = rollout()
    assert unpack(before) is before


@pytest.mark.parametrize(
    ("setting", "learners", "packed"),
    [
        ("auto", [], False),
        ("auto", ["a"], False),
        ("auto", ["b"], True),
        ("auto", ["a", "b"], True),
        ("none", ["b"], False),
        ("lz4", ["a"], True),
    ],
)
def test_auto_packs_what_leaves_the_machine(setting: str, learners: list[str], packed: bool) -> None:
    assert packs(setting, "a", learners) is packed


@pytest.fixture(scope="module")
def algorithm(ray_session: str) -> Iterator[Any]:
    found = small_config("IntrinsicPPO").build_algo()
    yield found
    found.stop()


@pytest.mark.parametrize(("node", "kind"), [("here", Rollout), ("there", PackedRollout)])
def test_a_runner_packs_for_learners_elsewhere(
    algorithm: Any, monkeypatch: pytest.MonkeyPatch, node: str, kind: type
) -> None:
    context = types.SimpleNamespace(get_node_id=lambda: "here")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    runner = algorithm.env_runner_group.local_env_runner
    monkeypatch.setattr(runner, "has_weights", True)
    sample, rollout = runner.sample_for_driver(learner_nodes=[node])
    assert not isinstance(sample, RunnerFailure)
    assert type(rollout) is kind


def test_a_learner_reads_both_alike(algorithm: Any) -> None:
    learner = algorithm.local_learner()
    rollouts = [algorithm.env_runner_group.local_env_runner.sample() for _ in range(2)]
    plain = learner.own_share(rollouts)
    packed = learner.own_share([pack(rollouts[0]), rollouts[1]])
    assert all(bool((getattr(plain, name) == getattr(packed, name)).all()) for name in ARRAYS)
    assert plain.frames.shape[1] == 8


def test_the_setting_is_checked() -> None:
    with pytest.raises(rllib_rnd.ConfigError, match=r"compress_rollouts: .*zip.*auto, lz4, none"):
        small_config(compress_rollouts="zip").validate()
