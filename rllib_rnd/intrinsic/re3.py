"""RE3: rewards states that are far from their neighbours in the features of a random encoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rllib_rnd.intrinsic.base import INTRINSIC_REWARDS, IntrinsicOptions, IntrinsicReward, Visits
from rllib_rnd.intrinsic.networks import ObservationEncoder
from rllib_rnd.modules.distributed import all_reduce_sum, rank, world_size
from rllib_rnd.options import option
from rllib_rnd.plugin import Spaces
from rllib_rnd.rollout import CHUNK, Rollout

# Distances, or elements of neighbours, computed at a time (16 MiB): bounds memory.
_DISTANCES = 2**22


@dataclass(frozen=True)
class RE3Options(IntrinsicOptions):
    """Options of ``re3``."""

    episodic: bool = option(True, "stop returns at episode ends; RE3: True, all rewards are one stream")
    num_neighbors: int = option(3, "k, which nearest neighbour's distance is paid; RE3: 3", low=1)
    feature_dim: int = option(64, "size of y; published: 64 (MiniGrid), 50 (control)", low=1)
    hidden_sizes: tuple[int, ...] = option((128,), "vectors: hidden layers of the encoder", low=1)
    capacity: int = option(8192, "features of earlier rollouts to compare with, the newest; 0: none", low=0)
    decay: float = option(0.0, "rho of coeff (1 - rho)^t, t agent steps; RE3: 0, 1e-5 or 2.5e-5", low=0.0, high=1.0)


@INTRINSIC_REWARDS.register
class RE3(IntrinsicReward[RE3Options]):
    """``log(1 + ||y - y_k||)``, y_k the k-th nearest neighbour of y among features of a random encoder.

    Seo et al. 2021, "State Entropy Maximization with Random Encoders" (arXiv:2102.09430), section 3. The mean of
    these is an estimate of the entropy of the visited states. y encodes the newest frame of ``obs_{t+1}`` by a
    network that is drawn at random and never changes, so there is nothing to learn. Vectors of floats are
    normalised by the moments of the first statistics (random play), and only by those, so that y never changes.

    Neighbours come from the rollout itself, in both directions of time, and from the last ``capacity`` features of
    earlier ones, both of all environments and learners; all must call ``compute`` equally often. Reset observations are
    neighbours too, though nobody is paid for them.

    Attributes:
        memory: ``[capacity, D]``, features of earlier rollouts, a ring.
        written: ``[]`` int64, how many were written, whose remainder by the capacity is the next place.
        encoder: frame -> y ``[B, D]``, without gradient.

    Raises:
        ConfigError: images are too small.
    """

    name = "re3"
    Options = RE3Options
    source = "Seo et al. 2021 (arXiv:2102.09430)"
    cost = "one encoder pass per step, and distances to (capacity + samples of a rollout) features; nothing to train"

    memory: Tensor
    written: Tensor

    def __init__(self, spaces: Spaces, options: RE3Options) -> None:
        super().__init__(spaces, options)
        self.encoder = ObservationEncoder(spaces.frame, options.feature_dim, options.hidden_sizes)
        self.encoder.requires_grad_(False)
        self.register_buffer("memory", torch.zeros(options.capacity, options.feature_dim))
        self.register_buffer("written", torch.zeros((), dtype=torch.int64))
        self._encoded: tuple[Rollout, Tensor] | None = None

    @torch.no_grad()
    def update_statistics(self, rollout: Rollout) -> None:
        """Remembers the features of a rollout, of all learners; the first one also sets the encoder's moments."""
        moments, visits = self.encoder.moments, self.visited(rollout)
        if moments is not None and moments.count == 0:
            self.encoder.update_moments(visits.frames, visits.counted)
            self._encoded = None
        y = _of_all_learners(self._encode(rollout, visits)[visits.counted])
        self._encoded = None
        self._remember(y)

    @torch.no_grad()
    def compute(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """``[T, N]`` (0 on reset steps), and no features."""
        visits = self.visited(rollout)
        y = self._encode(rollout, visits)
        known = self.memory[: min(int(self.written), self.options.capacity)]
        points = torch.cat([known, _of_all_learners(y[visits.counted])])
        r_t = torch.zeros_like(rollout.reward)
        # The nearest of all is y itself, hence one more.
        r_t[rollout.valid] = kth_distance(y[visits.paid], points, self.options.num_neighbors + 1).log1p()
        return r_t, {}

    @torch.no_grad()
    def normalize(self, r_t: Tensor, valid: Tensor, update: bool = True) -> Tensor:
        """As in the base class, and the decay on top: the scale must not make up for it."""
        steps = float(self.reward_filter.moments.count)
        return super().normalize(r_t, valid, update) * (1.0 - self.options.decay) ** steps

    def _encode(self, rollout: Rollout, visits: Visits) -> Tensor:
        """``[B, D]``, computed once for the reward of a rollout and for remembering it."""
        if self._encoded is None or self._encoded[0] is not rollout:
            y = torch.cat([self.encoder(frames) for frames in visits.frames.split(CHUNK)])
            self._encoded = (rollout, y)
        return self._encoded[1]

    def _remember(self, y: Tensor) -> None:
        """Writes ``y [B, D]`` over the oldest features."""
        capacity = self.options.capacity
        skipped = max(0, len(y) - capacity)
        if capacity:
            place = (self.written + torch.arange(skipped, len(y), device=y.device)) % capacity
            self.memory[place] = y[skipped:]
        self.written += len(y)


@torch.no_grad()
def kth_distance(queries: Tensor, points: Tensor, k: int) -> Tensor:
    """Distance of every query to its k-th nearest point (the farthest, if there are fewer than k).

    Matrix products of centred points find the k nearest, whose distances are then computed without their rounding.

    Args:
        queries: ``[B, D]``.
        points: ``[M, D]``.
        k: 1 is the nearest.

    Returns:
        ``[B]``, 0 if there is no point.
    """
    distance = torch.zeros(len(queries), device=queries.device)
    k = min(k, len(points))
    if k == 0:
        return distance
    center = points.mean(dim=0)
    queries, points = queries - center, points - center
    squares = points.square().sum(dim=1)
    rows = max(1, _DISTANCES // max(len(points), k * points.shape[1]))
    for start in range(0, len(queries), rows):
        part = queries[start : start + rows]
        rough = torch.addmm(squares, part, points.T, alpha=-2.0)  # less |query|^2, which orders nothing
        nearest = rough.topk(k, dim=1, largest=False).indices
        exact = (points[nearest] - part[:, None]).norm(dim=2)
        distance[start : start + rows] = exact.max(dim=1).values
    return distance


def _of_all_learners(rows: Tensor) -> Tensor:
    """``[B, D]`` of every learner, each with its own B, one below the other on all of them."""
    if world_size() == 1:
        return rows
    sizes = torch.zeros(world_size(), dtype=torch.int64, device=rows.device)
    sizes[rank()] = len(rows)
    counts = all_reduce_sum(sizes).tolist()
    start = sum(counts[: rank()])
    everyone = rows.new_zeros(sum(counts), rows.shape[1])
    everyone[start : start + len(rows)] = rows
    return all_reduce_sum(everyone)
