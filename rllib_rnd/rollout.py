"""Rollout: the one container that travels from the environment runners to the learners.

Everything is time-major. T is the number of agent steps per environment, N the number of environments, K the
frame stack, S the number of value streams (stream 0 is extrinsic, the others belong to the intrinsic rewards), L the
length of the sequences that a recurrent policy is trained on and F the size of its memory (1 and 0 without one).

Images are stored once, as single uint8 frames (T + K of them per environment instead of (T + 1) * K), and the
stacks that the networks see are gathered on the learner's device by index.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch

#: Samples per forward pass over a whole rollout: bounds memory, large enough for full speed.
CHUNK = 1024


@dataclass
class Rollout:
    """T agent steps of N environments in unbroken order (numpy in transit, torch on a learner's device).

    Environments reset in the NEXT_STEP manner: after an episode ends at step t, ``obs_tp1`` is the true last
    observation of that episode, the action of step t + 1 is ignored by the environment and ``obs_tp2`` is the
    reset observation. Step t + 1 is then a *reset step*: no sample, masked wherever samples are used.

    Nor are the steps before and after a broken observation samples (NaN, infinite): its numbers that are none are 0
    here, so that nothing which reads all frames meets them.

    Attributes:
        frames: ``[T + K, N, *frame_shape]``; the newest frame of ``obs_t`` is ``frames[t + K - 1]``
            (with K = 1 a frame is a whole observation).
        is_first: ``[T + 1, N]`` bool, ``obs_t`` is a reset observation.
        action: ``[T, N, ...]``.
        logp: ``[T, N]`` log-probability of the action under the acting policy.
        value: ``[T + 1, N, S]`` values of ``obs_0 .. obs_T`` under the acting critics.
        reward: ``[T, N]`` extrinsic reward, raw.
        terminated, truncated: ``[T, N]`` bool; an episode ended at step t by the task / by a limit.
        broken: ``[T + 1, N]`` bool, ``obs_t`` held numbers that are none; left out, there are none such.
        memory: ``[T / L, N, F]``, the acting policy's memory before the steps 0, L, 2 L, ...; left out, F is 0.
        frame_stack: K.
        newest_first: observations hold their newest frame first, as SND's do; frames are stored in time order always.
    """

    frames: Any
    is_first: Any
    action: Any
    logp: Any
    value: Any
    reward: Any
    terminated: Any
    truncated: Any
    broken: Any = None
    memory: Any = None
    frame_stack: int = 1
    newest_first: bool = False

    def __post_init__(self) -> None:
        """A memoryless policy's rollout has a memory of no numbers, so that none need be told apart."""
        if self.memory is None:
            self.memory = self.reward[:, :, None][:, :, :0]
        if self.broken is None:
            self.broken = self.is_first ^ self.is_first  # all False, numpy or torch

    @classmethod
    def empty(
        cls,
        num_steps: int,
        num_envs: int,
        frame_shape: tuple[int, ...],
        frame_dtype: npt.DTypeLike = np.uint8,
        *,
        action_shape: tuple[int, ...] = (),
        action_dtype: npt.DTypeLike = np.int64,
        num_streams: int = 1,
        frame_stack: int = 1,
        newest_first: bool = False,
        memory_size: int = 0,
        sequence_length: int = 1,
        page_locked: bool = False,
    ) -> Rollout:
        """Arrays (numpy) to be filled: whatever is in the frames, zeros in everything else.

        Args:
            num_steps: T.
            num_envs: N.
            frame_shape: of one frame.
            frame_dtype: of one frame.
            action_shape: of one action.
            action_dtype: of one action.
            num_streams: S.
            frame_stack: K.
            newest_first: see `Rollout`.
            memory_size: F.
            sequence_length: L.
            page_locked: frames that a GPU can copy while the CPU goes on; needs CUDA.
        """
        shape = (num_steps + frame_stack, num_envs, *frame_shape)
        if page_locked:
            torch_dtype = torch.from_numpy(np.empty(0, frame_dtype)).dtype
            frames = torch.empty(shape, dtype=torch_dtype, pin_memory=True).numpy()
        else:
            frames = np.empty(shape, frame_dtype)
        return cls(
            frames=frames,
            is_first=np.zeros((num_steps + 1, num_envs), dtype=bool),
            action=np.zeros((num_steps, num_envs, *action_shape), action_dtype),
            logp=np.zeros((num_steps, num_envs), dtype=np.float32),
            value=np.zeros((num_steps + 1, num_envs, num_streams), dtype=np.float32),
            reward=np.zeros((num_steps, num_envs), dtype=np.float32),
            terminated=np.zeros((num_steps, num_envs), dtype=bool),
            truncated=np.zeros((num_steps, num_envs), dtype=bool),
            broken=np.zeros((num_steps + 1, num_envs), dtype=bool),
            memory=np.zeros((-(-num_steps // sequence_length), num_envs, memory_size), dtype=np.float32),
            frame_stack=frame_stack,
            newest_first=newest_first,
        )

    @property
    def num_steps(self) -> int:
        """T, agent steps per environment."""
        return int(self.reward.shape[0])

    @property
    def num_envs(self) -> int:
        """N, environments."""
        return int(self.reward.shape[1])

    @property
    def valid(self) -> Any:
        """``[T, N]`` bool: the steps that are samples (not the reset steps, nor those around broken observations)."""
        return ~(self.is_first[1:] | self.broken[:-1] | self.broken[1:])

    @property
    def new_obs(self) -> torch.Tensor:
        """``[T + 1, N]`` bool, as a tensor: every observation once, reset observations included, broken ones not.

        ``obs_T`` comes again as ``obs_0`` of the next rollout. It is counted here where a step led to it, and there
        where a reset did, with the step that goes on from it.
        """
        new = torch.ones_like(self.is_first)
        new[0] = self.is_first[0]
        new[-1] = ~self.is_first[-1]
        return new & ~self.broken

    @property
    def num_bytes(self) -> int:
        """Bytes held by all arrays."""
        return sum(int(getattr(self, name).nbytes) for name in ARRAYS)

    def select_envs(self, start: int, stop: int) -> Rollout:
        """Returns the environments ``start .. stop - 1`` as views."""
        return replace(self, **{name: getattr(self, name)[:, start:stop] for name in ARRAYS})

    def to_torch(self, device: torch.device | str = "cpu") -> Rollout:
        """Returns the rollout as torch tensors on ``device``, on the CPU over the same memory.

        Arrays out of Ray's object store are read-only, and so must these tensors be treated.
        """
        tensors: dict[str, Any] = {}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            for name in ARRAYS:
                array = getattr(self, name)
                tensor = torch.from_numpy(array) if isinstance(array, np.ndarray) else array
                tensors[name] = tensor.to(device, non_blocking=True)
        return replace(self, **tensors)

    @property
    def sequence_length(self) -> int:
        """L."""
        return self.num_steps // int(self.memory.shape[0])

    def sequences(self) -> torch.Tensor:
        """``[T / L * N, L]``: the flat indices ``t * N + n`` of every sequence."""
        index = torch.arange(self.num_steps * self.num_envs, device=self.memory.device)
        return index.view(-1, self.sequence_length, self.num_envs).transpose(1, 2).flatten(0, 1)

    def sequence_starts(self, sequences: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What a recurrent policy needs besides the observations of sequences ``[Q, L]``.

        Returns:
            The memory before each ``[Q, F]``, and which of its steps begin an episode ``[L, Q]`` bool.
        """
        block = torch.div(sequences[:, 0], self.num_envs * self.sequence_length, rounding_mode="floor")
        return self.memory[block, sequences[:, 0] % self.num_envs], self.is_first.flatten()[sequences.T]

    def index_chunks(self, size: int = CHUNK, num_steps: int | None = None) -> Sequence[torch.Tensor]:
        """The flat indices of ``num_steps`` (T; T + 1 takes in ``obs_T``) in order, at most ``size`` in each piece."""
        count = self.num_envs * (self.num_steps if num_steps is None else num_steps)
        return torch.arange(count, device=self.frames.device).split(size)

    def per_step(self, values: torch.Tensor) -> torch.Tensor:
        """Values of all samples, ``[T * N]`` or ``[T, N]``, as ``[T, N]`` with 0 on reset steps."""
        return torch.where(self.valid, values.reshape(self.num_steps, self.num_envs), 0.0)

    def obs(self, index: torch.Tensor) -> torch.Tensor:
        """Gathers observations.

        Args:
            index: ``[B]`` flat indices ``t * N + n``, with t from 0 to T (T gives the bootstrap observation).

        Returns:
            ``[B, K, *frame_shape]`` if K > 1 (newest frame last, or first), else ``[B, *frame_shape]``.
        """
        env = index % self.num_envs
        time = torch.div(index, self.num_envs, rounding_mode="floor")
        if self.frame_stack == 1:
            return self.frames[time, env]
        offsets = torch.arange(self.frame_stack, device=index.device)
        wanted = time[:, None] + offsets[None, :]
        # Frames of the previous episode are replaced by the reset frame, as the environment's own stack does.
        wanted = torch.maximum(wanted, self._episode_first_frame()[time, env][:, None])
        # Channels-last in memory, as convolutions want it: turning bytes around here is cheaper than floats later.
        stack = torch.empty(
            (*index.shape, *self.frames.shape[2:], self.frame_stack), dtype=self.frames.dtype, device=index.device
        )
        for k in range(self.frame_stack):
            channel = self.frame_stack - 1 - k if self.newest_first else k
            stack[..., channel] = self.frames[wanted[:, k], env]
        return stack.movedim(-1, 1)

    def newest_frame(self, index: torch.Tensor, offset: int = 0) -> torch.Tensor:
        """Gathers only the newest frame of ``obs_t`` (offset 0) or ``obs_tp1`` (offset 1): ``[B, *frame_shape]``."""
        env = index % self.num_envs
        time = torch.div(index, self.num_envs, rounding_mode="floor")
        return self.frames[time + (self.frame_stack - 1 + offset), env]

    def newest_frames(self, offset: int = 0) -> Any:
        """`newest_frame` of all T * N samples, a view where there is one: ``[T * N, *frame_shape]``."""
        first = self.frame_stack - 1 + offset
        frames = self.frames[first : first + self.num_steps]
        return frames.reshape(-1, *frames.shape[2:])

    def all_newest_frames(self) -> torch.Tensor:
        """Newest frames of ``obs_0 .. obs_T``, a view where there is one: ``[(T + 1) * N, *frame_shape]``."""
        frames: torch.Tensor = self.frames[self.frame_stack - 1 :]
        return frames.reshape(-1, *frames.shape[2:])

    def _episode_first_frame(self) -> torch.Tensor:
        """``[T + 1, N]``: index into ``frames`` of the first frame of the episode that ``obs_t`` belongs to."""
        cached = self.__dict__.get("_first_frame_cache")
        if cached is None:
            steps = torch.arange(self.num_steps + 1, device=self.is_first.device)[:, None]
            starts = torch.where(self.is_first, steps + self.frame_stack - 1, torch.zeros_like(steps))
            cached = torch.cummax(starts, dim=0).values
            self.__dict__["_first_frame_cache"] = cached
        return cached


def action_dtype(space: gym.Space) -> np.dtype[Any]:
    """What actions of a space are stored as: floats in single precision."""
    return np.dtype(np.float32) if np.issubdtype(space.dtype, np.floating) else np.dtype(space.dtype)


def shapes_of(observation: gym.Space, action: gym.Space, frame_stack: int) -> dict[str, Any]:
    """The arguments of `Rollout.empty` that spaces of single environments decide; ``frame_stack`` is K."""
    shape = tuple(observation.shape or ())
    return {
        "frame_shape": shape[1:] if frame_stack > 1 else shape,
        "frame_dtype": observation.dtype,
        "action_shape": tuple(action.shape or ()),
        "action_dtype": action_dtype(action),
        "frame_stack": frame_stack,
    }


ARRAYS = [f.name for f in fields(Rollout) if f.name not in ("frame_stack", "newest_first")]


def select_and_join(rollouts: Sequence[Rollout], start: int, stop: int, device: torch.device | str = "cpu") -> Rollout:
    """Puts the environments ``start .. stop - 1`` of several rollouts, counted through, on a device as one.

    A single rollout is not copied on the CPU; several are copied once, on the device.

    Raises:
        ValueError: the rollouts differ in T, K or L.
    """
    shapes = {(r.num_steps, r.frame_stack, r.sequence_length) for r in rollouts}
    if len(shapes) != 1:
        raise ValueError(f"Rollouts to join differ in (num_steps, frame_stack, sequence_length): {sorted(shapes)}.")
    parts, first = [], 0
    for rollout in rollouts:
        low, high = max(start - first, 0), min(stop - first, rollout.num_envs)
        if low < high:
            parts.append(rollout.select_envs(low, high).to_torch(device))
        first += rollout.num_envs
    if len(parts) == 1:
        return parts[0]
    joined: dict[str, Any] = {name: torch.cat([getattr(part, name) for part in parts], dim=1) for name in ARRAYS}
    return replace(parts[0], **joined)


def shard_bounds(num_envs: int, num_shards: int, shard: int) -> tuple[int, int]:
    """First and one-past-last environment of a learner's share; shares differ by at most one environment."""
    return shard * num_envs // num_shards, (shard + 1) * num_envs // num_shards
