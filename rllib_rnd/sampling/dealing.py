"""Play of a checkpoint dealt over the runners of a run, which may be others than those that saved it.

As many runners with as many environments go on as they were. Where only the number of all environments is the same,
each goes on in whatever runner has its place now, in the same order: learners keep state by that order. Else new
episodes begin.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rllib_rnd.modules.generators import derived_bit_generator_state, seed_from

#: What a runner's play stands at, as of `RolloutEnvRunner.play_state`.
PlayState = Mapping[str, Any]


class Dealt(NamedTuple):
    """What the runners of a run go on with.

    Attributes:
        states: by the index of the runner.
        note: what is to be said of it, or None if each goes on with its own.
    """

    states: dict[int, PlayState]
    note: str | None


class _Place(NamedTuple):
    """Environments ``start`` to ``stop`` of a saved runner."""

    runner: int
    start: int
    stop: int


def deal(saved: Sequence[PlayState], num_saved: int, present: Sequence[int], num_envs: int) -> Dealt:
    """Deals saved play over runners.

    Args:
        saved: of the runners that saved it, in their order; some may be missing.
        num_saved: how many runners there were.
        present: indices of the runners that there are, in their order.
        num_envs: environments of each of them.
    """
    if len(present) == num_saved and all(state["num_envs"] == num_envs for state in saved):
        # One of one may be in this process or in one of its own.
        by_runner = {present[0] if num_saved == 1 else int(state["runner"]): state for state in saved}
        missing = [runner for runner in present if runner not in by_runner]
        states = by_runner | {r: {**_nothing(saved, num_envs), **_generators(saved, -r)} for r in missing}
        note = f"New episodes begin in runners {missing}, which did not answer when the checkpoint was written."
        return Dealt(states, note if missing else None)
    was, now = _in_words(num_saved, {state["num_envs"] for state in saved}), _in_words(len(present), {num_envs})
    with_generators = [_generators(saved, number) for number in range(len(present))]
    if sum(state["num_envs"] for state in saved) != len(present) * num_envs:
        parts: list[PlayState] = [_nothing(saved, num_envs)] * len(present)
        note = f"New episodes begin: the checkpoint is of {was}, this run has {now}. All that was learned goes on."
    elif len(saved) != num_saved or not all(_divisible(state) for state in saved):
        parts = [_nothing(saved, num_envs)] * len(present)
        note = (
            f"New episodes begin: the checkpoint is of {was}, this run has {now}, and the environments of a runner are "
            "saved as a whole. All that was learned goes on."
        )
    else:
        parts = [_joined(saved, number, num_envs) for number in range(len(present))]
        note = f"Episodes go on: the environments of {was} are dealt over {now}."
    dealt = zip(present, parts, with_generators, strict=True)
    return Dealt({runner: {**part, **generators} for runner, part, generators in dealt}, note)


def _in_words(runners: int, envs: set[int]) -> str:
    each = " or ".join(map(str, sorted(envs)))
    return f"{runners} runner{'s' * (runners != 1)} of {each} environment{'s' * (envs != {1})}"


def _generators(saved: Sequence[PlayState], number: int) -> dict[str, Any]:
    """Those of the saved runner of that number, or a seed that no other runner has."""
    if 0 <= number < len(saved):
        return {"runner": saved[number]["runner"], "generators": saved[number]["generators"]}
    seed = seed_from(saved[0]["generators"]["own"], number) if saved else None
    return {"runner": None, "generators": None, "seed": seed}


def _nothing(saved: Sequence[PlayState], num_envs: int) -> PlayState:
    """New episodes, with seeds that no runner has used, and no reason that an environment gives."""
    resets = max((state["resets"] for state in saved), default=0)
    return {"num_envs": num_envs, "resets": resets, "env": None, "why_not_saved": None, "random_play": None}


def _divisible(state: PlayState) -> bool:
    """Whether its environments are saved each for itself; where there is nothing yet, there is nothing to divide."""
    return state["env"] is not None and bool(state["env_rows"])


def _joined(saved: Sequence[PlayState], number: int, num_envs: int) -> PlayState:
    """Play of the runner of that number, made of its share of all saved environments."""
    places, first = [], 0
    for runner, state in enumerate(saved):
        start, stop = (
            np.clip((number * num_envs - first, (number + 1) * num_envs - first), 0, state["num_envs"])
        ).tolist()
        if start < stop:
            places.append(_Place(runner, start, stop))
        first += state["num_envs"]
    lead = saved[places[0].runner]
    env = {name: copy.deepcopy(value) for name, value in lead["env"].items() if name not in lead["env_rows"]}
    if "generator" in env:  # of a whole vector: two of them must not draw the same
        env["generator"] = derived_bit_generator_state(env["generator"], number)
    env |= {name: _rows([saved[p.runner]["env"][name] for p in places], places) for name in lead["env_rows"]}
    episodes = [saved[p.runner]["episodes"] for p in places]
    tracker = {
        "rows": {name: _rows([e["rows"][name] for e in episodes], places) for name in episodes[0]["rows"]},
        "kinds": sorted({kind for e in episodes for kind in e["kinds"]}),
        "tells_progress": any(e["tells_progress"] for e in episodes),
        "ignored": sorted({name for e in episodes for name in e["ignored"]}),
        "log": {},
        "finished": [],
        "visits": {},
    }
    positions = [saved[p.runner]["position"] for p in places]
    return {
        **_nothing(saved, num_envs),
        "env": env,
        "env_rows": lead["env_rows"],
        "position": {name: _rows([position[name] for position in positions], places) for name in positions[0]},
        "episodes": tracker,
        **{name: lead[name] for name in ("weights", "weights_seq_no") if name in lead},
    }


def _rows(values: Sequence[Any], places: Sequence[_Place]) -> np.ndarray | list[Any]:
    """The rows of the places, one after the other."""
    parts = [value[place.start : place.stop] for value, place in zip(values, places, strict=True)]
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return [copy.deepcopy(row) for part in parts for row in part]
