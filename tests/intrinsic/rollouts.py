"""Rollouts for tests of intrinsic rewards."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rllib_rnd.rollout import Rollout


def image_space(*shape: int) -> gym.spaces.Box:
    return gym.spaces.Box(0, 255, shape, np.uint8)


def vector_space(size: int) -> gym.spaces.Box:
    return gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)


def random_rollout(
    frame_shape: tuple[int, ...] = (5,),
    steps: int = 6,
    envs: int = 3,
    frame_stack: int = 1,
    actions: int = 4,
    seed: int = 0,
    frames: Any = None,
) -> Rollout:
    """Random frames (bytes if they are images) and actions, as torch tensors on the CPU.

    Environment 1 terminates at step 2, so step 3 is its reset step and step 4 its next first one (needs five steps).

    Args:
        frame_shape: of one frame.
        steps: T.
        envs: N, two or more.
        frame_stack: K.
        actions: number of discrete actions.
        seed: of frames and actions.
        frames: ``[T + K, N, *frame_shape]`` to use in place of random ones.
    """
    rng = np.random.default_rng(seed)
    shape = (steps + frame_stack, envs, *frame_shape)
    if frames is None:
        bytes_ = rng.integers(0, 256, shape, dtype=np.uint8)
        frames = bytes_ if len(frame_shape) > 1 else rng.normal(3, 2, shape).astype(np.float32)
    rollout = Rollout.empty(steps, envs, frame_shape, num_streams=2, frame_stack=frame_stack)
    rollout.is_first[4, 1] = rollout.terminated[2, 1] = True
    return replace(rollout, frames=np.asarray(frames), action=rng.integers(0, actions, (steps, envs))).to_torch()


def small_chunks(monkeypatch: pytest.MonkeyPatch, size: int = 4) -> None:
    """Passes over a whole rollout come in many small pieces, whatever they ask for."""
    whole = Rollout.index_chunks
    monkeypatch.setattr(Rollout, "index_chunks", lambda self, _size=0, num_steps=None: whole(self, size, num_steps))
