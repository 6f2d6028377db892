"""How often do intervals of probe scores hold the true score? Made-up games whose true score is known.

    python -m benchmarks.probe_intervals --draws 1000

Games differ in length, level and how well they are predicted, and their states follow each other closely, as in real
ones. The true score is that of all games of a large pool; 5, 10, 20 or 40 are drawn from it, again and again, and each
time it is looked whether the interval of each method holds the true score. All intervals say 95 %.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import bootstrap

from benchmarks.harness import arguments, publish
from rllib_rnd.analysis.probing.intervals import Score, jackknife, score_of_sums
from rllib_rnd.envs.atari_ram import Kind

HELD_OUT = (5, 10, 20, 40)
_POOL, _LONGEST, _KEPT = 4000, 60, 0.95
_DRAWS_OF_BOOTSTRAP = 1000


def slow(random: np.random.Generator, games: int) -> np.ndarray:
    """``[games, longest]``: numbers of deviation 1 that change slowly."""
    values = np.empty((games, _LONGEST))
    values[:, 0] = random.normal(size=games)
    for t in range(1, _LONGEST):
        values[:, t] = _KEPT * values[:, t - 1] + np.sqrt(1.0 - _KEPT**2) * random.normal(size=games)
    return values


def numbers(error: float, random: np.random.Generator) -> np.ndarray:
    """Sums of games (see `sums_by_game`) in which a number is predicted with errors of about this size."""
    truth = random.normal(size=(_POOL, 1)) + slow(random, _POOL)
    size = error * np.exp(0.4 * random.normal(size=(_POOL, 1)))
    errors = size * (0.6 * random.normal(size=(_POOL, 1)) + 0.8 * slow(random, _POOL))
    there = np.arange(_LONGEST) < random.integers(_LONGEST // 3, _LONGEST + 1, size=(_POOL, 1))
    return np.stack([(there * part).sum(axis=1) for part in (np.ones_like(truth), truth, truth**2, errors**2)], axis=1)


def categories(share: float, random: np.random.Generator, count: int = 3) -> np.ndarray:
    """Sums of games in which one of three rooms, the later ones rare, is recognised in about this share of states."""
    room, known = np.zeros(_POOL, dtype=int), random.random(_POOL) < share
    shares = np.clip(share + 0.15 * random.normal(size=(_POOL, count)), 0.02, 0.98)
    lengths, rows = random.integers(_LONGEST // 3, _LONGEST + 1, size=_POOL), np.arange(_POOL)
    sums = np.zeros((_POOL, 2 * count))
    for t in range(_LONGEST):
        moves = random.random(_POOL) < 0.05
        room = np.where(moves, np.clip(room + random.choice((-1, 1), size=_POOL), 0, count - 1), room)
        anew = moves | (random.random(_POOL) < 0.2)
        known = np.where(anew, random.random(_POOL) < shares[rows, room], known)
        sums[rows, room] += t < lengths
        sums[rows, count + room] += (t < lengths) & known
    return sums


def by_bootstrap(sums: np.ndarray, kind: Kind, method: str, random: np.random.Generator) -> Score:
    """Interval by the bootstrap of scipy: games are drawn with replacement."""
    total = score_of_sums(sums.sum(axis=0, keepdims=True), kind)

    def score(games: np.ndarray, axis: int) -> np.ndarray:
        assert axis == -1
        drawn = sums[games].sum(axis=-2)
        return score_of_sums(drawn.reshape(-1, sums.shape[1]), kind).reshape(drawn.shape[:-1])

    numbered, draws = (np.arange(len(sums)),), _DRAWS_OF_BOOTSTRAP
    found = bootstrap(numbered, score, vectorized=True, n_resamples=draws, method=method, rng=random)
    low, high = found.confidence_interval
    return Score(float(total[0]), float(low), float(high))


#: Name -> interval of the games' sums.
METHODS: dict[str, Callable[[np.ndarray, Kind, np.random.Generator], Score]] = {
    "bootstrap, percentile": lambda sums, kind, random: by_bootstrap(sums, kind, "percentile", random),
    "bootstrap, BCa": lambda sums, kind, random: by_bootstrap(sums, kind, "BCa", random),
    "jackknife (used)": lambda sums, kind, _: jackknife(sums, kind),
}
POOLS: dict[str, tuple[Kind, Callable[[np.random.Generator], np.ndarray]]] = {
    **{f"R2, errors {e:g}": ("number", functools.partial(numbers, e)) for e in (0.3, 1.5)},
    **{f"accuracy, {s:g} known": ("category", functools.partial(categories, s)) for s in (0.4, 0.7, 0.9, 1.0)},
}


def coverage(
    sums: np.ndarray, kind: Kind, games: int, draws: int, methods: Sequence[str], seed: int
) -> dict[str, float]:
    """Share of draws of so many games whose interval holds the score of all games, by method."""
    truth = float(score_of_sums(sums.sum(axis=0, keepdims=True), kind)[0])
    random = np.random.default_rng(seed)
    hits = dict.fromkeys(methods, 0)
    for _ in range(draws):
        drawn = sums[random.integers(len(sums), size=games)]
        for name in methods:
            found = METHODS[name](drawn, kind, random)
            hits[name] += found.low <= truth <= found.high
    return {name: hit / draws for name, hit in hits.items()}


if __name__ == "__main__":
    args = arguments(__doc__, draws=1000, methods=list(METHODS))
    rows: list[dict[str, object]] = []
    for seed, (name, (kind, pool)) in enumerate(POOLS.items()):
        sums = pool(np.random.default_rng(seed))
        truth = float(score_of_sums(sums.sum(axis=0, keepdims=True), kind)[0])
        for games in HELD_OUT:
            found = coverage(sums, kind, games, args.draws, args.methods, seed)
            shares = {method: f"{100.0 * share:.0f} %" for method, share in found.items()}
            rows.append({"games": name, "true score": f"{truth:.2f}", "held out": games, **shares})
    notes = f"Share of {args.draws} draws of held-out games whose 95 % interval holds the true score."
    publish("probe_intervals", "Coverage of the intervals of probes", rows, notes)
