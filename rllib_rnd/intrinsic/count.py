"""Count-based bonus: one over the root of how often an observation was visited, in training or its episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rllib_rnd.errors import ConfigError
from rllib_rnd.intrinsic.base import INTRINSIC_REWARDS, IntrinsicOptions, IntrinsicReward
from rllib_rnd.intrinsic.episodic_counts import EpisodicCounts, SimHash
from rllib_rnd.modules.distributed import all_reduce_sum
from rllib_rnd.modules.repeats import newest_keys
from rllib_rnd.options import option
from rllib_rnd.plugin import Spaces
from rllib_rnd.rollout import Rollout

# 2^64 over the golden ratio, odd, as int64: its product's upper bits depend on all bits of a key (Knuth, TAOCP 3, 6.4).
_FIBONACCI = 0x9E3779B97F4A7C15 - 2**64


@dataclass(frozen=True)
class CountOptions(IntrinsicOptions):
    """Options of ``count``. The defaults are those of the papers."""

    episodic: bool = option(True, "stop returns at episode ends; both papers: True, all rewards are one stream")
    normalize_reward: bool = option(
        False, "divide by the running std of the discounted past sum of rewards, which makes beta meaningless"
    )
    beta: float = option(0.01, "reward of the first visit; both papers (A3C+, TRPO-hash): 0.01", low=0.0)
    visits: Literal["training", "episode"] = option(
        "training",
        "which count: all of training's (both papers), or those of the episode so far, for layouts that change "
        "(Henaff et al. 2023)",
    )
    hash: Literal["exact", "simhash"] = option(
        "exact", "what is one state: equal bytes, or equal signs of random projections (Tang et al.)"
    )
    simhash_bits: int = option(32, "simhash: projections; more tell more states apart; usual: 16 to 63", low=1, high=63)
    table_bits: int = option(
        20,
        "visits: training: 2 to this power buckets hold the counts, 8 bytes each; usual: 18 to 24",
        low=1,
        high=30,
    )
    capacity: int = option(
        1024,
        "visits: episode: different states remembered per environment; then the first seen is forgotten",
        low=1,
    )


@INTRINSIC_REWARDS.register
class Count(IntrinsicReward[CountOptions]):
    """``beta / sqrt(N(s_{t+1}))``, N the visits of the newest frame of ``obs_{t+1}`` in training or in its episode.

    Bellemare et al. 2016, "Unifying Count-Based Exploration and Intrinsic Motivation" (arXiv:1606.01868), eq. 3,
    with N counted in a hash table as by Tang et al. 2017, "#Exploration" (arXiv:1611.04717), section 2.2.

    A reset visits its state too, though nobody is paid for it: coming back to where episodes begin is no news.

    N is exact within a rollout too: visits of earlier rollouts (of all learners), plus those earlier in this one,
    in the order of flat indices ``t * N + n`` (as if the environments had stepped one after another), plus the
    visit itself. Visits that other learners make in the same rollout are seen from the next one on. Random play
    before training counts. There is nothing to learn.

    A key (see `newest_keys` and `SimHash`) is folded into 2^table_bits buckets. A new state meets a used
    bucket with probability (used buckets) / 2^table_bits, and is then rewarded too little, never too much.

    With ``visits: episode`` N counts the current episode of each environment alone, this visit included, as the factor
    of RIDE does; Henaff et al. 2023 (arXiv:2306.03236) call it the episodic bonus. It does not fade over training.

    Attributes:
        counts: ``[2^table_bits]`` int64, visits per bucket over all environments and learners; of episodes: ``[0]``.
        episode_counts: visits in the current episodes; None with ``visits: training``.

    Raises:
        ConfigError: ``visits: episode`` with ``reward_on: current``.
    """

    name = "count"
    Options = CountOptions
    source = "Bellemare et al. 2016 (arXiv:1606.01868), hashes by Tang et al. 2017 (arXiv:1611.04717)"
    cost = "one hash per step; a table of 8 MiB; nothing to train"

    counts: Tensor

    def __init__(self, spaces: Spaces, options: CountOptions) -> None:
        super().__init__(spaces, options)
        self.simhash = SimHash(spaces.frame, options.simhash_bits) if options.hash == "simhash" else None
        of_episodes = options.visits == "episode"
        if of_episodes and options.reward_on == "current":
            raise ConfigError("reward_on", "'current' has no counts of an episode", "next; or visits: training")
        self.episode_counts = EpisodicCounts(options.capacity) if of_episodes else None
        size = 0 if of_episodes else 2**options.table_bits
        self.register_buffer("counts", torch.zeros(size, dtype=torch.int64))

    @torch.no_grad()
    def update_statistics(self, rollout: Rollout) -> None:
        """Counts the visits of a rollout, over all learners; the first one also sets the scale of ``simhash``."""
        visits = self.visited(rollout)
        if self.simhash is not None:
            self.simhash.fit(visits.frames, visits.counted)
        if self.episode_counts is not None:
            return
        buckets = self._buckets(self._keys(rollout, visits.frames)[visits.counted])
        self.counts += all_reduce_sum(torch.bincount(buckets, minlength=len(self.counts)))

    @torch.no_grad()
    def compute(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """``[T, N]`` (0 on reset steps), and no features."""
        if self.episode_counts is not None:
            keys = self._keys(rollout, rollout.all_newest_frames()).view(-1, rollout.num_envs)
            number = self.episode_counts.count_rollout(keys, rollout.is_first, rollout.broken)
            return rollout.per_step(self.options.beta * number.clamp(min=1).float().rsqrt()), {}
        visits = self.visited(rollout)
        buckets = self._buckets(self._keys(rollout, visits.frames)[visits.counted])
        number = self.counts[buckets] + earlier_occurrences(buckets) + 1
        r_t = torch.zeros_like(rollout.reward)
        r_t[rollout.valid] = self.options.beta * number[visits.paid[visits.counted]].float().rsqrt()
        return r_t, {}

    def _buckets(self, keys: Tensor) -> Tensor:
        """``[B]`` int64, 0 to ``2^table_bits - 1``."""
        bits = self.options.table_bits
        return (keys * _FIBONACCI >> 64 - bits) & 2**bits - 1

    def _keys(self, rollout: Rollout, frames: Tensor) -> Tensor:
        """The newest frames of ``obs_0`` and on, ``[B, ...]`` -> ``[B]`` int64, the same for what is one state."""
        return newest_keys(rollout)[: len(frames)] if self.simhash is None else self.simhash(frames)


def earlier_occurrences(values: Tensor) -> Tensor:
    """``[B]`` -> ``[B]`` int64: how often each value occurs further ahead in the list."""
    ordered, order = torch.sort(values, stable=True)
    place = torch.arange(len(values), device=values.device)
    is_start = torch.ones_like(values, dtype=torch.bool)
    is_start[1:] = ordered[1:] != ordered[:-1]
    run_start = torch.where(is_start, place, 0).cummax(dim=0).values if len(values) else place
    return torch.empty_like(place).scatter_(0, order, place - run_start)
