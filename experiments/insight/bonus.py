"""Bonus maps: which pixels RND and SND-V pay for, and how many directions the features have that they pay by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from experiments.insight.agents import (
    HERE,
    Sheet,
    first_visits,
    maps_of,
    nearest,
    newest_rows,
    play,
    seeds_line,
    spread_over,
    twins,
)
from experiments.provenance import commit
from experiments.report import image, read, save, section, table
from experiments.snd_vs_rnd.run import FRAMES_PER_ROOM, UNSEEN_ROOMS, unseen_frames
from experiments.studies import Row
from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.controls import deletion
from rllib_rnd.analysis.figures.projection_charts import projection_chart, spread_chart
from rllib_rnd.analysis.maps import Map
from rllib_rnd.analysis.projection import MAX_POINTS, Points, points_of, policy_features, project, reward_features
from rllib_rnd.analysis.spectrum import spectrum
from rllib_rnd.analysis.states import States
from rllib_rnd.analysis.tape import Tape
from rllib_rnd.analysis.targets import Target, targets_of

NAME, FEATURES = "bonus", "bonus_features"
AGENT = ("variant", "seed", "trained")
KEY = (*AGENT, "agent_steps")
#: Of each run the file that trains it, and the agent steps of the checkpoint that is looked into.
RUNS = {
    "rnd": ("montezuma", 1_000_000),
    "snd_v": ("montezuma", 1_000_000),
    "rnd_private_eye": ("private_eye", 300_000),
}
METHODS = ("integrated_gradients", "occlusion")
SHARES = (0.05, 0.1, 0.2)
#: Rows of 84 that show score, lives and what is carried; the room is below.
_COUNTER_ROWS = 18
_EPISODES, _MAX_STEPS, _FRAMES = 2, 800, 32
_KINDS = ("ordinary", "first visit", "unseen room")


def agents(storage: Path) -> dict[str, tuple[int, Agent]]:
    """Agent steps and agent of each run, at the checkpoint nearest to its number of agent steps."""
    found = {run: nearest(storage, run, *of) for run, of in RUNS.items()}
    return {run: (one.agent_steps, one.load()) for run, one in found.items() if one is not None}


def measure(storage: Path) -> None:
    """Measures what is missing in bonus.csv and bonus_features.csv."""
    maps, features = (Sheet(HERE / f"{name}.csv", KEY) for name in (NAME, FEATURES))
    every = agents(storage)
    if not every:
        return
    tapes = tapes_of(every)
    for run, (steps, agent) in every.items():
        seed = int(agent.config.seed or 0)
        for trained, twin in twins(agent, seed):
            key: Row = {"variant": run, "seed": seed, "trained": trained, "agent_steps": steps}
            if not maps.has(variant=run, seed=seed, trained=trained, agent_steps=steps):
                kinds = frames(twin, tapes[agent.env])
                maps.add([{**key, **row, "commit": commit()} for row in map_rows(twin, kinds)])
            if not features.has(variant=run, seed=seed, trained=trained, agent_steps=steps):
                features.add([{**key, **row, "commit": commit()} for row in feature_rows(twin, tapes[agent.env])])


def tapes_of(every: dict[str, tuple[int, Agent]]) -> dict[str, list[Tape]]:
    """By game the episodes of all its agents, so that each sees the same observations."""
    tapes: dict[str, list[Tape]] = {}
    for _, agent in every.values():
        tapes.setdefault(agent.env, []).extend(play(agent, _EPISODES, _MAX_STEPS))
    return tapes


def frames(agent: Agent, tapes: list[Tape]) -> dict[str, States]:
    """Observations by kind: on the way, of a room's first visit in an episode, and of rooms that nobody has been in."""
    states = [States.of_tape(tape, i).select(tape.valid) for i, tape in enumerate(tapes)]
    kinds = {"ordinary": spread_over(States.join(states), _FRAMES)}
    first = [one.select(where) for one in states if len(where := first_visits(one.room))]
    if first:
        kinds["first visit"] = spread_over(States.join(first), _FRAMES)
    unseen = unseen_states(agent)
    return kinds if unseen is None else {**kinds, "unseen room": spread_over(unseen, _FRAMES)}


def unseen_states(agent: Agent) -> States | None:
    """Frames of the third floor of the pyramid, out of reach here, as if they had been looked at for a while.

    None of other games.
    """
    if "MontezumaRevenge" not in agent.env:
        return None
    shape = agent.module.backbone.observation_space.shape
    states = States.of_observations(np.repeat(unseen_frames()[:, None], shape[0], axis=1), agent)
    rooms = np.repeat(np.array(UNSEEN_ROOMS), FRAMES_PER_ROOM)
    return States(**{**vars(states), "room": rooms})


def bonus_of(agent: Agent) -> Target:
    """The intrinsic reward."""
    return next(target for target in targets_of(agent) if target.name.startswith("intrinsic_reward"))


def map_rows(agent: Agent, kinds: dict[str, States]) -> Iterator[Row]:
    """One row per kind of observation and method."""
    bonus = bonus_of(agent)
    for kind, states in kinds.items():
        paid = bonus.measure(agent, states, states.obs)
        for method in METHODS:
            for one in maps_of(method, agent, states, [bonus]).values():
                curve = deletion(agent, states, one, bonus, SHARES, 0)
                yield {
                    "kind": kind,
                    "method": method,
                    "states": len(states),
                    "bonus": rounded(paid.mean()),
                    "in_counters": rounded(share_in_counters(one)),
                    "in_hottest": rounded(share_in_hottest(one)),
                    **{f"deleted_{share:g}": rounded(np.mean(curve.by_map[i])) for i, share in enumerate(SHARES)},
                    **{f"random_{share:g}": rounded(np.mean(curve.by_random[i])) for i, share in enumerate(SHARES)},
                    "better": int(curve.better is True),
                }


def share_in_counters(one: Map) -> float:
    """Share of a map's absolute values that lies in the rows of score, lives and inventory, mean over states."""
    size = np.abs(one.values).sum(axis=2)
    rows = max(1, round(_COUNTER_ROWS / 84 * size.shape[1]))
    return float((size[:, :rows].sum(axis=1) / np.maximum(size.sum(axis=1), 1e-30)).mean())


def share_in_hottest(one: Map, share: float = 0.1) -> float:
    """Share of a map's absolute values that the hottest tenth of its places has, mean over states; even: 0.1."""
    size = np.sort(np.abs(one.values).reshape(len(one.values), -1), axis=1)[:, ::-1]
    count = max(1, round(share * size.shape[1]))
    return float((size[:, :count].sum(axis=1) / np.maximum(size.sum(axis=1), 1e-30)).mean())


def rounded(value: float | np.floating) -> float:
    """Five digits."""
    return float(f"{float(value):.5g}")


def features_of(agent: Agent, states: States) -> dict[str, np.ndarray]:
    """Of policy and reward."""
    return {"policy": policy_features(agent, states), **reward_features(agent, states.obs)}


def feature_rows(agent: Agent, tapes: list[Tape]) -> Iterator[Row]:
    """One row per kind of observation and features."""
    kinds = {"played": points_of(tapes, 0).states, "unseen room": unseen_states(agent)}
    for kind, states in kinds.items():
        if states is None:
            continue
        for name, values in features_of(agent, states).items():
            numbers = {key.replace(" ", "_"): rounded(value) for key, value in spectrum(values).numbers().items()}
            yield {"kind": kind, "features": name, "states": len(states), **numbers}


# --- report ------------------------------------------------------------------------------------------------------


def sections() -> Iterator[list[str]]:
    """Of what has been measured."""
    if not (HERE / f"{NAME}.csv").exists():
        return
    maps, features = (newest_rows(read(HERE / f"{name}.csv"), AGENT) for name in (NAME, FEATURES))
    yield section(
        "Bonus maps",
        bonuses(maps),
        map_table(maps),
        *(
            image(f"bonus maps, {file}", f"bonus_maps_{file}.png")
            for file in dict.fromkeys(RUNS[r][0] for r in maps.variant)
        ),
        feature_table(features),
        image("spread of the features", "bonus_spread.png"),
        *(image(f"features of {run}", f"bonus_projection_{run}.png") for run in RUNS if run in set(maps.variant)),
        seeds_line(maps, "variant"),
    )


def bonuses(frame: pd.DataFrame) -> list[str]:
    """The size of the bonus by kind of observation."""
    times = [f"{kind} / {_KINDS[0]}" for kind in _KINDS[1:]]
    head = ("bonus", "agent", *(f"{kind} (observations)" for kind in _KINDS), *times)
    rows = []
    for (variant, trained), of in frame.groupby(["variant", "trained"], sort=False):
        by_kind = of.groupby("kind").first()
        cells = [f"{by_kind.bonus[k]:.3g} ({by_kind.states[k]})" if k in by_kind.index else "-" for k in _KINDS]
        bonus = by_kind.bonus.reindex(_KINDS)
        ratios = [f"{bonus[k] / bonus['ordinary']:.3g}" if k in by_kind.index else "-" for k in _KINDS[1:]]
        rows.append((variant, "trained" if trained else "untrained", *cells, *ratios))
    return table(head, rows)


def map_table(frame: pd.DataFrame) -> list[str]:
    """Where the maps are, and what blanking their hottest pixels changes."""
    head = (
        "maps",
        "agent",
        "observations",
        "method",
        "in the counters",
        "in the hottest tenth",
        *(f"top {share:.0%} blanked (random)" for share in SHARES),
        "better than random",
    )
    rows = []
    for _, row in frame.iterrows():
        changes = [f"{row[f'deleted_{s:g}']:.3g} ({row[f'random_{s:g}']:.3g})" for s in SHARES]
        yes = "yes" if row.better else "no"
        rows.append(
            (
                row.variant,
                "trained" if row.trained else "untrained",
                row.kind,
                row.method,
                f"{row.in_counters:.2f}",
                f"{row.in_hottest:.2f}",
                *changes,
                yes,
            )
        )
    return table(head, rows)


def feature_table(frame: pd.DataFrame) -> list[str]:
    """Spread and rank of features."""
    head = (
        "features",
        "agent",
        "of",
        "observations",
        "count",
        "dimensions",
        "mean spread",
        "effective rank",
        "participation ratio",
    )
    rows = (
        (
            r.variant,
            "trained" if r.trained else "untrained",
            r.features,
            r.kind,
            r.states,
            f"{r.dimensions:.0f}",
            f"{r.mean_spread:.3g}",
            f"{r.effective_rank:.1f}",
            f"{r.participation_ratio:.1f}",
        )
        for r in frame.itertuples()
    )
    return table(head, rows)


def draw(storage: Path | None) -> None:
    """The figures, all of which need the checkpoints."""
    every = agents(storage) if storage is not None else {}
    if not every:
        return
    tapes = tapes_of(every)
    for game, of_game in tapes.items():
        draw_maps({run: one for run, one in every.items() if one[1].env == game}, of_game)
    spreads = {}
    for run, (_, agent) in every.items():
        played = points_of(tapes[agent.env], 0, MAX_POINTS - len(UNSEEN_ROOMS) * FRAMES_PER_ROOM)
        draw_projection(run, agent, played)
        for name, values in features_of(agent, played.states).items():
            spreads[f"{run}: {name.removeprefix(f'{agent.reward_names[0]} ')}"] = values
    (HERE / "bonus_spread.png").write_bytes(spread_chart(spreads).png)


def draw_projection(run: str, agent: Agent, played: Points) -> None:
    """The target's features, of what was played and of unseen rooms, by room, time, value and bonus."""
    unseen = unseen_states(agent)
    states = played.states if unseen is None else States.join([played.states, unseen])
    colours = {"room": states.room, "time (agent step)": states.step}
    for target in targets_of(agent)[1:]:
        colours[target.name.replace("_", " ")] = target.measure(agent, states, states.obs)
    values = reward_features(agent, states.obs)[f"{agent.reward_names[0]} target"]
    chart = projection_chart(f"{run} target", values, project(values, 0), colours, "PCA")
    (HERE / f"bonus_projection_{run}.png").write_bytes(chart.png)


def draw_maps(every: dict[str, tuple[int, Agent]], tapes: list[Tape]) -> None:
    """Two observations of each kind, and the maps of each reward by each method, on the frame's own scale."""
    shown: dict[str, list[tuple[np.ndarray, dict[str, np.ndarray]]]] = {}
    for run, (_, agent) in every.items():
        for kind, states in frames(agent, tapes).items():
            two = states.select([0, len(states) // 2] if len(states) > 1 else [0])
            maps = {method: next(iter(maps_of(method, agent, two, [bonus_of(agent)]).values())) for method in METHODS}
            for i in range(len(two)):
                shown.setdefault(f"{kind} {i + 1}", []).append(
                    (two.obs[i, -1], {f"{run}\n{method}": one.values[i] for method, one in maps.items()})
                )
    columns = 1 + len(every) * len(METHODS)
    figure, grid = plt.subplots(len(shown), columns, figsize=(2.3 * columns, 2.3 * len(shown)), squeeze=False)
    for i, (kind, parts) in enumerate(shown.items()):
        grid[i, 0].imshow(parts[0][0], cmap="gray")
        grid[i, 0].set_ylabel(kind, fontsize=9)
        for j, (title, values) in enumerate((k, v) for _, maps in parts for k, v in maps.items()):
            high = float(np.abs(values).max()) or 1.0
            axes = grid[i, 1 + j]
            axes.imshow(parts[0][0], cmap="gray", alpha=0.35, extent=(0, values.shape[1], values.shape[0], 0))
            axes.imshow(values, cmap="RdBu_r", vmin=-high, vmax=high, alpha=0.75)
            axes.set_title(title if i == 0 else "", fontsize=8)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
    save(figure, HERE / f"bonus_maps_{RUNS[next(iter(every))][0]}.png")
