"""Controls of maps, since pictures are easily believed: the deletion curve, and the map of untrained networks.

Deletion: the pixels that a map holds to be the most important are blanked, and how much the outputs change is compared
with blanking as many other pixels (after the deletion metric of Petsiuk et al. 2018, arXiv:1806.07421, and the
perturbation curves of Samek et al. 2017, arXiv:1509.06321). Untrained networks: Adebayo et al. 2018 (arXiv:1810.03292).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.maps import Map
from rllib_rnd.analysis.pixels import blanked, layout_of, mean_frame, over_pixels, picture_shape, upscaled
from rllib_rnd.analysis.states import States
from rllib_rnd.analysis.targets import PolicyTarget, Target, looked
from rllib_rnd.functional.distributions import ActionDistribution, Categorical, DiagonalGaussian, MultiCategorical

#: Shares that are blanked of the pixels that blanking changes.
SHARES = (0.05, 0.1, 0.2)
#: States in which blanking changes fewer pixels are not judged: what little there is no map could miss.
MIN_PIXELS = 20

#: What was done to the pixels, and the rule by which a map is called better; for pages and documentation.
BLANK = "the states' mean frame (of fewer than 8 states its mean colour), in all frames of the stack alike"
RULE = (
    "better than random: blanking what the map shows changes the target (makes a reward fall) more than blanking as "
    "many random pixels, and more than what the map would show were it moved to a random place, in more than half of "
    "all comparisons by the lower end of the 95 % interval over states. All of them are drawn among the pixels that "
    f"blanking changes; a state with fewer than {MIN_PIXELS} of these is not judged, and without two other states "
    "there is no verdict"
)

# Random blankings of each kind per state and share.
_DRAWS = 5
_CONFIDENCE = 0.95
# A pixel is changed by blanking if it is by this share of the largest change in the state. An entry of a vector has to
# be by more: those that are 0 of binary ones are hardly changed by their mean; every map of what is there beats them.
_CHANGED, _CHANGED_ENTRY = 0.1, 1 / 3
# A map of fewer different numbers is as like any other by chance: with 7, a rank correlation of 0.9 is no rarity (1 %).
_MIN_DISTINCT = 8
_CONSTANT = "the map is the same everywhere"
_ALONE = "one state says nothing of others"


@dataclass(frozen=True)
class Effects:
    """Mean changes over states of one output, one number per share of blanked pixels.

    Attributes:
        by_map: blanking the map's most important pixels.
        by_random: blanking as many random ones.
        by_moved: blanking the map's choice moved to a random place, around the picture's edges.
    """

    by_map: tuple[float, ...]
    by_random: tuple[float, ...]
    by_moved: tuple[float, ...]


@dataclass(frozen=True)
class DeletionCurve:
    """What blanking the most important pixels of a map does, against blanking others.

    Attributes:
        shares: that were blanked of the pixels that blanking changes.
        target: absolute changes of the target; of an intrinsic reward how far it fell (below 0: it rose).
        policy: Kullback-Leibler divergences of the actions' distribution from what it was, in nats.
        value: absolute changes of the extrinsic value.
        wins_random, wins_moved: mean, lower and upper end of the 95 % interval over states of how often the map's
            choice changes the target more than a random one (equal changes are half).
        better: whether the map is better than random, see `RULE`; None: no two states can be judged.
        reasons: why a state is not judged, "" where it is; means and intervals are over those that are, if any.
        state_by_map, state_by_random: ``[B, shares]``, the target's changes of each state.
    """

    shares: tuple[float, ...]
    target: Effects
    policy: Effects
    value: Effects
    wins_random: tuple[float, float, float]
    wins_moved: tuple[float, float, float]
    better: bool | None
    reasons: tuple[str, ...]
    state_by_map: np.ndarray
    state_by_random: np.ndarray

    @property
    def by_map(self) -> tuple[float, ...]:
        """Changes of the target by blanking the map's most important pixels."""
        return self.target.by_map

    @property
    def reason(self) -> str:
        """Why there is no verdict; "" if there is one."""
        if self.better is not None:
            return ""
        return _ALONE if "" in self.reasons else max(self.reasons, key=self.reasons.count)

    @property
    def by_random(self) -> tuple[float, ...]:
        """Changes of the target by blanking random pixels."""
        return self.target.by_random


def deletion(
    agent: Agent,
    states: States,
    map: Map,
    target: Target,
    shares: Sequence[float] = SHARES,
    seed: int = 0,
) -> DeletionCurve:
    """Measures the deletion curve of a map.

    Args:
        agent: whose outputs are measured.
        states: that the map is of, B of one or more. The interval takes them as independent, which neighbours in time
            are not: draw them far apart.
        map: values are ranked by size, also where they are negative; equal ones in random order.
        target: whose change is measured, of maps of no target the action's.
        shares: of pixels.
        seed: of the random pixels.

    Raises:
        ValueError: the map is of another number of states.
    """
    if len(map.values) != len(states):
        raise ValueError(f"deletion: a map of {len(map.values)} states for {len(states)}.")
    rng = np.random.default_rng(seed)
    blank, outputs = mean_frame(agent, states), _outputs(agent, states, target)
    order = _by_size(map, picture_shape(agent), rng, by_value=target.falls)
    among = changed_pixels(agent, states, blank)
    reasons = _reasons(map, among)
    judged = np.array([not reason for reason in reasons])
    found: dict[str, list[np.ndarray]] = {"map": [], "random": [], "moved": []}
    for share in shares:
        masks: dict[str, list[np.ndarray]] = {
            "map": [_first(order, among, share)],
            "random": [_first(rng.random(order.shape), among, share) for _ in range(_DRAWS)],
            "moved": [_first(_moved(order, rng), among, share) for _ in range(_DRAWS)],
        }
        for kind, of_kind in masks.items():
            found[kind].append(np.stack([outputs(blanked(agent, states.obs, mask, blank)) for mask in of_kind]))
    # [shares, draws, outputs, B]
    changes = {kind: np.stack(parts) for kind, parts in found.items()}
    means = {kind: values.mean(axis=1) for kind, values in changes.items()}
    shown = judged if judged.any() else np.ones_like(judged)
    effects = [Effects(*(_mean_over_states(means[kind][:, i, shown]) for kind in means)) for i in range(3)]
    wins = [_wins(changes["map"][:, :, 0, judged], changes[kind][:, :, 0, judged]) for kind in ("random", "moved")]
    return DeletionCurve(
        shares=tuple(float(share) for share in shares),
        target=effects[0],
        policy=effects[1],
        value=effects[2],
        wins_random=wins[0],
        wins_moved=wins[1],
        better=min(low for _, low, _ in wins) > 0.5 if judged.sum() > 1 else None,
        reasons=tuple(reasons),
        state_by_map=means["map"][:, 0].T,
        state_by_random=means["random"][:, 0].T,
    )


def changed_pixels(agent: Agent, states: States, blank: np.ndarray) -> np.ndarray:
    """The pixels that blanking changes, ``[B, h, w]`` bool: by a tenth of the state's largest change at least.

    Entries of vectors, which may have units of their own, are compared as shares of their range over the states, and
    count from a third on.
    """
    change, least = np.abs(states.obs.astype(np.float64) - blank), _CHANGED
    if layout_of(agent) is None:
        spread = np.ptp(states.obs.astype(np.float64), axis=0)
        change, least = change / np.where(spread > 0.0, spread, 1.0), _CHANGED_ENTRY
    size = over_pixels(agent, torch.from_numpy(change)).numpy()
    return (size > 0.0) & (size >= least * size.max(axis=(1, 2), keepdims=True))


def _reasons(map: Map, among: np.ndarray) -> list[str]:
    """Why each state is not judged, "" where it is."""
    few = f"blanking changes fewer than {MIN_PIXELS} pixels"
    counts = among.sum(axis=(1, 2))
    return [
        _CONSTANT if constant else few if count < MIN_PIXELS else ""
        for constant, count in zip(map.constant, counts, strict=True)
    ]


def _mean_over_states(values: np.ndarray) -> tuple[float, ...]:
    """``[shares, B]`` -> the means over states."""
    return tuple(float(mean) for mean in values.mean(axis=1))


def similarity(first: Map, second: Map) -> np.ndarray:
    """Rank correlation (Spearman) of two maps of the same states ``[B]``; NaN where that would say nothing.

    Which is where one of them is constant or has fewer than 8 different numbers. Near 1 between a map and that of an
    untrained network: the map shows the picture, not what was learned.

    Raises:
        ValueError: they are of different numbers of states.
    """
    from scipy.stats import rankdata

    if len(first.values) != len(second.values):
        raise ValueError(f"similarity: maps of {len(first.values)} and {len(second.values)} states.")
    shape = max(first.values.shape[1:], second.values.shape[1:], key=lambda hw: hw[0] * hw[1])
    ranks, few = [], first.constant | second.constant
    for one in (first, second):
        few |= np.array([len(np.unique(values)) < _MIN_DISTINCT for values in one.values])
        values = one.values if one.values.shape[1:] == shape else upscaled(one.values, shape)
        rank = rankdata(values.reshape(len(values), -1), axis=1)
        ranks.append(rank - rank.mean(axis=1, keepdims=True))
    a, b = ranks
    below = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.where(few | (below == 0), np.nan, (a * b).sum(axis=1) / np.where(below == 0, 1.0, below))


def _outputs(agent: Agent, states: States, target: Target) -> Callable[[np.ndarray], np.ndarray]:
    """Changes of target, policy and extrinsic value against those of the states: obs -> ``[3, B]``."""
    distribution = agent.module.distribution

    def look(obs: np.ndarray) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
        seen = looked(agent, states, obs)
        if isinstance(target, PolicyTarget):
            measured = target.read(seen).double().numpy()
        else:
            measured = target.measure(agent, states, obs)
        return seen.dist_inputs.double(), seen.values[:, 0].double().numpy(), measured

    inputs_before, value_before, target_before = look(states.obs)

    def outputs(obs: np.ndarray) -> np.ndarray:
        inputs, value, measured = look(obs)
        fall = target_before - measured
        divergence = kl_divergence(distribution, inputs_before, inputs).numpy()
        return np.stack([fall if target.falls else np.abs(fall), divergence, np.abs(value - value_before)])

    return outputs


def kl_divergence(distribution: ActionDistribution, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """``KL(before || after)`` of actions, by the inputs of their distribution ``[B, P]`` each; ``[B]`` in nats."""
    if isinstance(distribution, DiagonalGaussian):
        (mean_p, log_p), (mean_q, log_q) = (x.chunk(2, dim=1) for x in (before, after))
        ratio = (2.0 * (log_p - log_q)).exp() + ((mean_p - mean_q) / log_q.exp()).square()
        return (log_q - log_p + 0.5 * (ratio - 1.0)).sum(dim=1)
    sizes = distribution.sizes if isinstance(distribution, MultiCategorical) else [distribution.num_inputs]
    assert isinstance(distribution, MultiCategorical | Categorical)
    total = before.new_zeros(len(before))
    for p, q in zip(before.split(sizes, dim=1), after.split(sizes, dim=1), strict=True):
        log_p, log_q = p.log_softmax(dim=1), q.log_softmax(dim=1)
        total = total + (log_p.exp() * (log_p - log_q)).sum(dim=1)
    return total.clamp(min=0.0)


def _by_size(map: Map, shape: tuple[int, int], rng: np.random.Generator, by_value: bool) -> np.ndarray:
    """``[B, h, w]``: each pixel's place among all, 0 the first; ties in random order.

    By the size of its value, or ``by_value``: what holds a target down does not make it fall.
    """
    values = upscaled(map.values, shape).reshape(len(map.values), -1)
    values = values if by_value else np.abs(values)
    flat = map.constant[:, None]
    values = np.where(flat, 0.0, values)
    ranked = np.lexsort((rng.random(values.shape), -values), axis=1)
    place = np.empty_like(ranked)
    np.put_along_axis(place, ranked, np.arange(values.shape[1])[None], axis=1)
    return place.reshape(len(values), *shape)


def _first(order: np.ndarray, among: np.ndarray, share: float) -> np.ndarray:
    """The pixels with the least ``order [B, h, w]``, a share of those ``among [B, h, w]`` and one at least, if any."""
    chosen = np.zeros_like(among)
    for b in np.flatnonzero(among.any(axis=(1, 2))):
        places = order[b][among[b]]
        last = max(1, round(share * len(places))) - 1
        chosen[b] = among[b] & (order[b] <= np.partition(places, last)[last])
    return chosen


def _moved(order: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each map somewhere else, around the edges: ``[B, h, w]``. It moves by one pixel at least."""
    height, width = order.shape[1:]
    shifts = rng.integers(1, height * width, len(order)) if height * width > 1 else np.zeros(len(order), int)
    moved = [np.roll(one, divmod(int(by), width), axis=(0, 1)) for one, by in zip(order, shifts, strict=True)]
    return np.stack(moved)


def _wins(by_map: np.ndarray, by_other: np.ndarray) -> tuple[float, float, float]:
    """How often changes ``[shares, 1, B]`` are larger than others ``[shares, draws, B]``: mean and interval."""
    from scipy.stats import t

    if not by_map.shape[2]:
        return 0.5, 0.0, 1.0  # nothing is known
    won = (by_map > by_other) + 0.5 * (by_map == by_other)
    rates = won.mean(axis=(0, 1))
    mean, count = float(rates.mean()), len(rates)
    if count < 2:
        return mean, 0.0, 1.0
    reach = float(t.ppf(0.5 + 0.5 * _CONFIDENCE, count - 1)) * float(rates.std(ddof=1)) / count**0.5
    return mean, max(0.0, mean - reach), min(1.0, mean + reach)
