"""The rollout: index gathering of frame stacks, views per learner, byte counts."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

from rllib_rnd.rollout import ARRAYS, Rollout, select_and_join, shard_bounds


def make_rollout(num_steps: int, num_envs: int, k: int, is_first: np.ndarray) -> Rollout:
    """Frames are numbered, so that a gathered stack shows which frames it took."""
    rollout = Rollout.empty(num_steps, num_envs, (1,), np.float32, num_streams=2, frame_stack=k)
    rollout.frames[:] = np.arange(rollout.frames.size).reshape(rollout.frames.shape)
    rollout.is_first[:] = is_first
    return rollout


def test_stacks_repeat_the_reset_frame_and_never_mix_episodes() -> None:
    is_first = np.zeros((7, 2), dtype=bool)
    is_first[3, 1] = True  # environment 1 was reset: obs_3 is its reset observation
    rollout = make_rollout(6, 2, 4, is_first).to_torch()
    stack = rollout.obs(torch.tensor([t * 2 + 1 for t in range(7)]))[..., 0]
    frame = lambda row: float(row * 2 + 1)  # noqa: E731 - value of environment 1's frame in row `row`
    assert stack[2].tolist() == [frame(2), frame(3), frame(4), frame(5)]  # before the reset: plain history
    assert stack[3].tolist() == [frame(6)] * 4  # the reset frame, K times
    assert stack[4].tolist() == [frame(6), frame(6), frame(6), frame(7)]
    assert stack[6].tolist() == [frame(6), frame(7), frame(8), frame(9)]
    other = rollout.obs(torch.tensor([3 * 2]))[0, :, 0]  # environment 0 was not reset
    assert other.tolist() == [6.0, 8.0, 10.0, 12.0]


@pytest.mark.parametrize("k", [1, 4])
def test_newest_frame_of_the_next_observation_is_one_row_later(k: int) -> None:
    rollout = make_rollout(5, 3, k, np.zeros((6, 3), dtype=bool)).to_torch()
    index = torch.arange(15)
    assert torch.equal(rollout.newest_frame(index, offset=1)[:12], rollout.newest_frame(index[3:], offset=0))
    newest = rollout.obs(index)[:, -1] if k > 1 else rollout.obs(index)
    assert torch.equal(rollout.newest_frame(index), newest)


def test_reset_steps_are_not_valid() -> None:
    is_first = np.zeros((4, 1), dtype=bool)
    is_first[0] = is_first[2] = True
    assert make_rollout(3, 1, 1, is_first).valid[:, 0].tolist() == [True, False, True]


def test_the_steps_before_and_after_a_broken_observation_are_not_valid() -> None:
    rollout = make_rollout(4, 2, 1, np.zeros((5, 2), dtype=bool))
    rollout.broken[2, 1] = True
    for given in (rollout, rollout.to_torch()):
        assert given.valid.tolist() == [[True, True], [True, False], [True, False], [True, True]]


def test_values_of_all_samples_are_laid_out_by_step_and_nothing_on_reset_steps() -> None:
    is_first = np.zeros((4, 2), dtype=bool)
    is_first[2, 1] = True  # step 1 of environment 1 is its reset step
    rollout = make_rollout(3, 2, 1, is_first).to_torch()
    flat = torch.tensor([1.0, 2.0, 3.0, float("nan"), 5.0, 6.0])
    expected = [[1.0, 2.0], [3.0, 0.0], [5.0, 6.0]]
    assert rollout.per_step(flat).tolist() == rollout.per_step(flat.view(3, 2)).tolist() == expected


@pytest.mark.parametrize(("num_steps", "count"), [(None, 15), (6, 18)])
def test_chunks_of_indices_cover_every_step_once_and_in_order(num_steps: int | None, count: int) -> None:
    rollout = make_rollout(5, 3, 1, np.zeros((6, 3), dtype=bool)).to_torch()
    chunks = rollout.index_chunks(4, num_steps)
    assert torch.cat(list(chunks)).tolist() == list(range(count))
    assert max(len(chunk) for chunk in chunks) == 4


def test_shares_of_learners_cover_all_environments_once() -> None:
    rollout = make_rollout(3, 7, 1, np.zeros((4, 7), dtype=bool))
    shares = [rollout.select_envs(*shard_bounds(7, 3, shard)) for shard in range(3)]
    assert sorted(s.num_envs for s in shares) == [2, 2, 3]
    joined = select_and_join(shares, 0, 7)
    for name in ARRAYS:
        assert np.array_equal(getattr(joined, name), getattr(rollout, name))


@pytest.mark.parametrize(("start", "stop"), [(0, 3), (2, 6), (3, 4), (6, 7)])
def test_a_learners_share_may_lie_across_rollouts(start: int, stop: int) -> None:
    whole = make_rollout(3, 7, 1, np.zeros((4, 7), dtype=bool))
    parts = [whole.select_envs(0, 3), whole.select_envs(3, 4), whole.select_envs(4, 7)]
    share = select_and_join(parts, start, stop)
    assert np.array_equal(share.frames, whole.frames[:, start:stop])


def test_one_rollout_is_not_copied_even_if_it_is_read_only() -> None:
    rollout = make_rollout(3, 2, 1, np.zeros((4, 2), dtype=bool))
    rollout.frames.setflags(write=False)  # as everything out of Ray's object store
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = select_and_join([rollout], 0, 2).frames
    assert tensor.data_ptr() == rollout.frames.ctypes.data


def test_rollouts_of_unequal_length_do_not_join() -> None:
    long, short = (make_rollout(t, 1, 1, np.zeros((t + 1, 1), dtype=bool)) for t in (4, 3))
    with pytest.raises(ValueError, match="num_steps"):
        select_and_join([long, short], 0, 2)


@pytest.mark.parametrize(("k", "length"), [(1, 1), (4, 2), (1, 4)])
def test_shapes(k: int, length: int) -> None:
    actions: dict[str, Any] = {"action_shape": (2,), "action_dtype": np.float32}
    memory: dict[str, Any] = {"memory_size": 9, "sequence_length": length}
    rollout = Rollout.empty(6, 3, (5, 7), num_streams=4, frame_stack=k, newest_first=True, **actions, **memory)
    shapes = {
        "frames": (6 + k, 3, 5, 7),
        "is_first": (7, 3),
        "action": (6, 3, 2),
        "logp": (6, 3),
        "value": (7, 3, 4),
        "reward": (6, 3),
        "terminated": (6, 3),
        "truncated": (6, 3),
        "broken": (7, 3),
        "memory": (-(-6 // length), 3, 9),
    }
    assert {name: getattr(rollout, name).shape for name in ARRAYS} == shapes
    assert (rollout.num_steps, rollout.num_envs, rollout.frame_stack, rollout.newest_first) == (6, 3, k, True)
    assert not any(getattr(rollout, name).any() for name in ARRAYS if name != "frames")
    dtypes = [rollout.frames.dtype, rollout.action.dtype, rollout.is_first.dtype, rollout.reward.dtype]
    assert dtypes == [np.uint8, np.float32, bool, np.float32]


def test_frames_are_stored_once() -> None:
    rollout = make_rollout(128, 2, 4, np.zeros((129, 2), dtype=bool))
    assert rollout.frames.nbytes == (128 + 4) * 2 * 4
    assert rollout.num_bytes >= rollout.frames.nbytes
