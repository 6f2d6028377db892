"""NGU: novelty within the episode by the nearest embeddings in an episodic memory, raised by lifelong novelty."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rllib_rnd.intrinsic.base import INTRINSIC_REWARDS
from rllib_rnd.intrinsic.networks import InverseDynamics
from rllib_rnd.intrinsic.rnd import RND, RNDOptions
from rllib_rnd.intrinsic.transitions import TransitionOptions, TransitionReward
from rllib_rnd.modules.running_moments import RunningMoments
from rllib_rnd.options import option
from rllib_rnd.plugin import LossTerms, Spaces, count_samples
from rllib_rnd.rollout import Rollout

# Observations that are looked up together: their distances take memory, their calls take time.
_BLOCK = 64


@dataclass(frozen=True)
class NGUOptions(TransitionOptions):
    """Options of ``ngu``. What is not named here of the lifelong part is as in ``rnd``."""

    episodic: bool = option(True, "stop returns at episode ends; NGU: True, all rewards are one stream")
    feature_dim: int = option(32, "D, size of an embedding; NGU: 32", low=1)
    model_size: int = option(128, "width of the inverse dynamics' hidden layer", low=1)
    capacity: int = option(1024, "embeddings remembered per environment and episode; NGU: 30000", low=1)
    num_neighbors: int = option(10, "k, nearest embeddings that are compared; NGU: 10", low=1)
    kernel_epsilon: float = option(0.001, "epsilon of the kernel; NGU: 0.001", low=1e-8)
    cluster_distance: float = option(0.008, "normalised squared distances below are 0; NGU: 0.008", low=0.0)
    pseudo_count: float = option(0.001, "c, added to the root of the similarity; NGU: 0.001", low=1e-8)
    max_similarity: float = option(8.0, "s_m, above it there is no reward; NGU: 8, out of reach with k = 10", low=0.0)
    max_modulator: float = option(5.0, "L, limit of the lifelong factor; NGU: 5; 1 leaves it out", low=1.0)
    rnd_feature_dim: int = option(512, "feature_dim of the lifelong part", low=1)
    rnd_hidden_sizes: tuple[int, ...] = option((128, 128), "hidden_sizes of the lifelong part, of vectors", low=1)
    rnd_update_proportion: float = option(1.0, "update_proportion of the lifelong part", low=0.0, high=1.0)


@INTRINSIC_REWARDS.register
class NGU(TransitionReward[NGUOptions]):
    """``r_episodic * clamp(alpha, 1, L)``, paid for obs_{t+1}.

    Badia et al. 2020, "Never Give Up" (arXiv:2002.06038), section 2 and algorithm 1:

    - ``r_episodic = 1 / s`` with ``s = sqrt(sum K) + c``, and 0 where s > s_m; the sum is over the k nearest of
      the episode's earlier embeddings;
    - ``K = eps / (max(d^2 / d_m^2 - cluster distance, 0) + eps)``, d_m^2 the running mean of those d^2;
    - ``alpha = 1 + (e - mean) / std`` with RND's error e and its running moments.

    Like the scale of every reward, d_m^2 and the moments of e include the rollout that they scale, and are summed
    over learners; all must therefore call ``compute`` equally often. Embeddings are kept as they were when they were
    written, as in the paper. A full memory is a ring: the oldest embedding of the episode goes.

    Attributes:
        memory: ``[N, capacity, D]``, embeddings of every environment's current episode.
        written: ``[N]`` int64, how many were written, whose remainder by the capacity is the next place.
        distance_moments, error_moments: running moments of d^2 and e.
        encoder, inverse_dynamics: the embedding, and what trains it.
        rnd: the lifelong part; reads newest frames, as always.

    Raises:
        ConfigError: an action space that there is no policy for.
    """

    name = "ngu"
    Options = NGUOptions
    source = "Badia et al. 2020 (arXiv:2002.06038)"
    cost = "that of rnd, plus an encoder pass and a search among the episode's embeddings per step; trains both"

    memory: Tensor
    written: Tensor

    def __init__(self, spaces: Spaces, options: NGUOptions) -> None:
        super().__init__(spaces, options)
        self.inverse_dynamics = InverseDynamics(options.feature_dim, spaces.action_features, [options.model_size])
        rnd_options = RNDOptions(
            feature_dim=options.rnd_feature_dim,
            hidden_sizes=options.rnd_hidden_sizes,
            update_proportion=options.rnd_update_proportion,
        )
        self.rnd = RND(spaces, rnd_options)
        self.distance_moments = RunningMoments()
        self.error_moments = RunningMoments()
        self.register_rows("memory", torch.zeros(options.capacity, options.feature_dim))
        self.register_rows("written", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update_statistics(self, rollout: Rollout) -> None:
        """Adds the valid ``obs_{t+1}`` to the input statistics of both networks, over all learners."""
        super().update_statistics(rollout)
        self.rnd.update_statistics(rollout)

    @torch.no_grad()
    def compute(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """``[T, N]`` (0 on reset steps) and RND's feature ``target [T * N, D]``."""
        error, features = self.rnd.compute(rollout)
        embedding = self.encode(rollout).unflatten(0, (-1, rollout.num_envs))
        squared = self.neighbor_distances(embedding, rollout.is_first, rollout.broken)
        known = rollout.valid[:, :, None] & squared.isfinite()
        self.distance_moments.update(squared.flatten(), known.flatten())
        self.error_moments.update(error.flatten(), rollout.valid.flatten())
        r_t = self.episodic_reward(squared) * self.modulator(error)
        return rollout.per_step(r_t), features

    @torch.no_grad()
    def neighbor_distances(self, embedding: Tensor, is_first: Tensor, broken: Tensor | None = None) -> Tensor:
        """Looks every ``obs_{t+1}`` up in the memory of its episode, and writes it there.

        Args:
            embedding: ``[T + 1, N, D]`` of ``obs_0 .. obs_T``.
            is_first: ``[T + 1, N]`` bool, as in `Rollout`.
            broken: ``[T + 1, N]`` bool, as there: not written; None: there are none such.

        Returns:
            ``[T, N, k]`` squared distances to the k nearest, infinite where the memory holds fewer and on reset steps.
        """
        self.fit_rows(embedding.shape[1], embedding.device)
        begins, active = is_first.clone(), torch.ones_like(is_first) if broken is None else ~broken
        begins[0] |= self.written == 0  # something to compare with, even if the first rollout begins in mid-episode
        # Each observation is written once: obs_0 was the last one of the rollout before, unless an episode begins with
        # it; one that begins with obs_T belongs to the next rollout.
        active[0] &= begins[0]
        active[-1] &= ~is_first[-1]
        begins[-1] = False
        size = min(_BLOCK, self.options.capacity)
        blocks = zip(*(rows.split(size) for rows in (embedding, begins, active)), strict=True)
        squared = torch.cat([self._look_up_and_write(*block) for block in blocks])[1:]
        return squared.masked_fill(is_first[1:, :, None], torch.inf)

    def _look_up_and_write(self, embedding: Tensor, begins: Tensor, active: Tensor) -> Tensor:
        """A block of S observations at once: the memory as it was before, and those of the block itself.

        Args:
            embedding: ``[S, N, D]``, S up to the capacity.
            begins: ``[S, N]`` bool, an episode begins here.
            active: ``[S, N]`` bool, to be written after the look-up.

        Returns:
            ``[S, N, k]`` squared distances to what the episode has written before, infinite where it is less than k.
        """
        capacity, k = self.options.capacity, self.options.num_neighbors
        written, x = self.written[:, None], embedding.transpose(0, 1)
        # What is written is numbered through, over episodes too: a look-up reaches from `low` to below `before`.
        after = written + active.T.cumsum(dim=1)
        before = after - active.T.long()
        start = torch.where(begins.T, before, 0).cummax(dim=1).values
        low = torch.maximum(start, before - capacity)
        place = torch.arange(max(1, min(capacity, int(self.written.max()))), device=x.device)
        # The latest number in each place of the ring; below 0 where it is empty.
        stored = place + torch.div(written - 1 - place, capacity, rounding_mode="floor") * capacity
        number = torch.cat([stored, torch.where(active.T, before, -1)], dim=1)[:, None]
        known = (number >= low[:, :, None]) & (number < before[:, :, None])
        # In double precision: the rounding of matrix products would hide what is nearer than the cluster distance.
        queries = x.double()
        points = torch.cat([self.memory[:, : len(place)].double(), queries], dim=1)
        squares = points.square().sum(dim=2)
        distance = torch.baddbmm(squares[:, None], queries, points.mT, alpha=-2.0).masked_fill_(~known, torch.inf)
        found = distance.topk(min(k, distance.shape[2]), dim=2, largest=False).values
        found = (found + squares[:, len(place) :, None]).clamp(min=0.0)
        squared = embedding.new_full((*begins.shape, k), torch.inf)
        squared[:, :, : found.shape[2]] = found.transpose(0, 1)
        self.renew_rows(begins.any(dim=0))
        latest = active.T & (start == start[:, -1:])
        self.memory[latest.nonzero()[:, 0], (before - start)[latest] % capacity] = x[latest]
        self.written.copy_(after[:, -1] - start[:, -1])
        return squared

    def episodic_reward(self, squared: Tensor) -> Tensor:
        """Squared distances to the neighbours ``[..., k]`` -> ``1 / s`` ``[...]``, 0 where s > s_m."""
        options = self.options
        mean = self.distance_moments.mean.clamp(min=1e-12).float()
        distance = (squared / mean - options.cluster_distance).clamp(min=0.0)
        kernel = options.kernel_epsilon / (distance + options.kernel_epsilon)
        s = kernel.sum(dim=-1).sqrt() + options.pseudo_count
        return torch.where(s > options.max_similarity, 0.0, 1.0 / s)

    def modulator(self, error: Tensor) -> Tensor:
        """RND's errors ``[...]`` -> factors from 1 to L ``[...]``."""
        return (1.0 + self.error_moments.normalize(error)).clamp(1.0, self.options.max_modulator)

    def terms(
        self, rollout: Rollout, features: dict[str, Tensor], index: Tensor, generator: torch.Generator
    ) -> LossTerms:
        """RND's ``rnd_predictor_loss``, and ``ngu_inverse_loss`` of the predicted actions."""
        loss = self.inverse_dynamics.loss(*self.transitions(rollout, index))
        terms = self.rnd.terms(rollout, features, index, generator)
        return {**terms, "ngu_inverse_loss": (loss.sum(), count_samples(index))}
