"""Which axis attends: bands in the maps of dimensional self-attention, and what they have to do with the game."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from experiments.insight.agents import (
    HERE,
    NUM_STATES,
    Found,
    Sheet,
    catch_boards,
    covers,
    interval,
    maps_of,
    newest,
    newest_rows,
    percentile,
    random_play,
    seeds_line,
    twins,
)
from experiments.provenance import commit
from experiments.report import COLORS, image, read, save, section, table
from experiments.studies import Row
from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.controls import deletion
from rllib_rnd.analysis.maps import Map
from rllib_rnd.analysis.methods.feature_maps import captured
from rllib_rnd.analysis.states import States
from rllib_rnd.analysis.targets import targets_of

NAME = "axis"
AGENT = ("game", "variant", "seed", "trained")
KEY = (*AGENT, "agent_steps")
VARIANTS = ("NA", "SWA", "CWRA", "CWCA", "CWRCA")
GAMES = ("catch", "breakout")
SHARES = (0.05, 0.1, 0.2)
#: Sides and steps of the first convolution, which the maps are of.
_SIZE, _STRIDE = 8, 4
_DELETED_STATES = 96
_MEASURED = (
    "row_share",
    "column_share",
    "rest_share",
    *(f"{o}_{a}" for o in ("ball", "paddle") for a in ("place", "row", "column")),
)


def effects(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much of a map's variance lies in bands: two-way analysis of variance without repetition.

    ``m[i, j] = mean + row_i + column_j + rest_ij``. Horizontal bands are rows that differ, vertical ones columns.

    Args:
        values: ``[B, h, w]``.

    Returns:
        Shares of the sum of squares of rows and of columns, ``[B]`` each, NaN for constant maps; the rest is 1 less
        both.
    """
    centred = values.astype(np.float64) - values.mean(axis=(1, 2), keepdims=True)
    total = np.square(centred).sum(axis=(1, 2))
    rows = np.square(centred.mean(axis=2)).sum(axis=1) * values.shape[2]
    columns = np.square(centred.mean(axis=1)).sum(axis=1) * values.shape[1]
    known = np.where(total > 1e-12 * np.square(values).sum(axis=(1, 2)), total, np.nan)
    return rows / known, columns / known


def measure(storage: Path) -> None:
    """Measures what is missing in axis.csv."""
    sheet = Sheet(HERE / f"{NAME}.csv", KEY)
    for game in GAMES:
        found = newest(storage, game, game)
        agents = [(one, one.load()) for one in found]
        if not agents:
            continue
        states = states_of(game, agents[0][1])
        for one, agent in agents:
            for trained, twin in twins(agent, int(agent.config.seed or 0)):
                variant, seed = variant_of(agent), int(agent.config.seed or 0)
                at: dict[str, str | int] = {"game": game, "variant": variant, "seed": seed, "trained": trained}
                if not sheet.has(**at, agent_steps=one.agent_steps):
                    key: Row = {"game": game, "variant": variant, "seed": seed}
                    sheet.add([{**key, **row} for row in rows_of(game, one, twin, trained, states)])


def variant_of(agent: Agent) -> str:
    """Of the self-attention."""
    return str(agent.module.backbone.options.variant)


def states_of(game: str, agent: Agent) -> States:
    """The same observations for all agents: all of Catch, and of Breakout some that random play leads to."""
    if game == "catch":
        return States.of_observations(catch_boards(*board(agent))[0], agent)
    return States.of_observations(random_play(agent, NUM_STATES), agent)


def board(agent: Agent) -> tuple[int, int]:
    """Cells along a side, and pixels along a cell's."""
    config = dict(agent.config.env_config)
    return int(config.get("size", 10)), int(config.get("cell_size", 4))


def maps(agent: Agent, states: States) -> dict[str, Map]:
    """What is looked at: first feature map, values before and after they are mixed, attention received, second map."""
    layers = maps_of("feature_maps", agent, states)
    found = {"F1": layers["feature_maps-conv1.1"]}
    if agent.module.backbone.attention is not None:
        name = "attention.operator.value"
        found["values"] = Map(captured(agent, states, [name])[name].sum(dim=1).numpy(), "values", signed=True)
        found["weighted values"] = maps_of("attention_values", agent, states)["attention_values"]
        for attended, one in maps_of("attention", agent, states).items():
            found[f"received, {attended.removeprefix('attention-')}"] = one
    return {**found, "F2": layers["feature_maps-conv2.1"]}


def rows_of(game: str, found: Found, agent: Agent, trained: int, states: States) -> Iterator[Row]:
    """One row per map."""
    kept = own_actions(agent, states)
    shown = maps(agent, kept)
    action, some = targets_of(agent)[0], np.linspace(0, len(states) - 1, min(_DELETED_STATES, len(states))).astype(int)
    for name, one in shown.items():
        rows, columns = effects(one.values)
        numbers = {"row_share": rows, "column_share": columns, "rest_share": 1 - rows - columns}
        if one.values.shape == shown["F1"].values.shape:
            numbers |= hotness(one, agent) if game == "catch" else {}
        row: Row = {"trained": trained, "agent_steps": found.agent_steps, "map": name}
        row |= {key: mean(numbers[key]) if key in numbers else "" for key in _MEASURED}
        curve = deletion(agent, kept.select(some), Map(heat(one)[some], one.title), action, SHARES, 0)
        row |= {f"deleted_{share:g}": float(f"{curve.by_map[i]:.5g}") for i, share in enumerate(SHARES)}
        row |= {f"random_{share:g}": float(f"{curve.by_random[i]:.5g}") for i, share in enumerate(SHARES)}
        yield {**row, "better": int(curve.better is True), "commit": commit()}


def own_actions(agent: Agent, states: States) -> States:
    """The same observations with the actions that this agent finds likeliest."""
    return States.of_observations(states.obs, agent)


def mean(values: np.ndarray) -> float | str:
    """Of the numbers among them, rounded; empty if there are none."""
    known = np.asarray(values)[np.isfinite(values)]
    return float(f"{known.mean():.5g}") if known.size else ""


def heat(one: Map) -> np.ndarray:
    """How hot places are, ``[B, h, w]``: of values with a sign how far they are from the map's median.

    Their sign and their zero come from the weights as they were drawn.
    """
    return np.abs(one.values - np.median(one.values, axis=(1, 2), keepdims=True)) if one.signed else one.values


def hotness(one: Map, agent: Agent) -> dict[str, np.ndarray]:
    """Where the hot places of Catch's maps are: percentile of ball and paddle, of their rows and of their columns.

    Hot is what is far from the median where values have a sign, which comes from the weights as they were drawn.
    """
    (size, cell), values = board(agent), one.values
    _, ball, paddle = catch_boards(size, cell)
    found = {}
    for name, cells in (("ball", ball), ("paddle", paddle)):
        in_rows, in_columns = (covers(cells[:, i], cell, values.shape[1 + i], _SIZE, _STRIDE) for i in (0, 1))
        both = (in_rows[:, :, None] & in_columns[:, None]).reshape(len(values), -1)
        places = {"place": (values.reshape(len(values), -1), both)}
        places |= {"row": (values.mean(axis=2), in_rows), "column": (values.mean(axis=1), in_columns)}
        for axis, (heat, where) in places.items():
            far = np.abs(heat - np.median(heat, axis=1, keepdims=True)) if one.signed else heat
            found[f"{name}_{axis}"] = percentile(far, where)
    return found


# --- report ------------------------------------------------------------------------------------------------------


def sections() -> Iterator[list[str]]:
    """Of what has been measured."""
    if not (HERE / f"{NAME}.csv").exists():
        return
    frame = newest_rows(read(HERE / f"{NAME}.csv"), AGENT)
    yield section(
        "Which axis attends",
        *(block for game in GAMES if game in set(frame.game) for block in game_blocks(frame[frame.game == game], game)),
        image("bands", "axis_bands.png"),
        seeds_line(frame, "game"),
    )


def game_blocks(frame: pd.DataFrame, game: str) -> Iterator[list[str]]:
    """Tables and the figure of one game."""
    yield bands(frame)
    if game == "catch":
        yield hot_places(frame)
    yield deletions(frame)
    yield image(f"maps of {game}", f"axis_{game}.png")


def bands(frame: pd.DataFrame) -> list[str]:
    """Shares of the variance of maps that lie in vertical (columns) and horizontal bands (rows)."""
    head = (
        "bands",
        "map",
        "seeds",
        "vertical",
        "horizontal",
        "untrained: vertical",
        "horizontal",
    )
    rows = []
    for variant, name, trained, untrained in maps_in(frame):
        shares = [interval(of[column]) for of in (trained, untrained) for column in ("column_share", "row_share")]
        rows.append((variant, name, len(trained), *shares))
    return table(head, rows)


def hot_places(frame: pd.DataFrame) -> list[str]:
    """Percentiles of ball and paddle in the weighted values, trained and untrained."""
    measured = [f"{thing}_{axis}" for thing in ("ball", "paddle") for axis in ("place", "row", "column")]
    head = ("hot places", "map", "agents", *(name.replace("_", ", ") for name in measured))
    rows = []
    for variant, name, *agents in maps_in(frame[frame.ball_place.notna() & ~frame["map"].isin(("F1", "values"))]):
        for of, said in zip(agents, ("trained", "untrained"), strict=True):
            rows.append((variant, name, said, *(interval(of[column]) for column in measured)))
    return table(head, rows)


def deletions(frame: pd.DataFrame) -> list[str]:
    """What blanking the hottest pixels changes, against random ones."""
    head = ("deletion", "map", *(f"top {share:.0%} (random)" for share in SHARES), "better than random", "untrained")
    rows = []
    for variant, name, trained, untrained in maps_in(frame):
        changes = [f"{trained[f'deleted_{s:g}'].mean():.3g} ({trained[f'random_{s:g}'].mean():.3g})" for s in SHARES]
        better = [f"{of.better.sum()} of {len(of)}" for of in (trained, untrained)]
        rows.append((variant, name, *changes, *better))
    return table(head, rows)


def maps_in(frame: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame, pd.DataFrame]]:
    """Variants and maps in the order of the study, their rows of trained agents and of untrained ones."""
    for variant in VARIANTS:
        of_variant = frame[frame.variant == variant]
        for name in dict.fromkeys(of_variant["map"]):
            of_map = of_variant[of_variant["map"] == name]
            yield variant, name, of_map[of_map.trained == 1], of_map[of_map.trained == 0]


def draw(storage: Path | None) -> None:
    """The figures; those of maps only where the checkpoints are."""
    if (HERE / f"{NAME}.csv").exists():
        draw_bands(newest_rows(read(HERE / f"{NAME}.csv"), AGENT))
    for game in GAMES:
        if storage is not None and (agents := [one.load() for one in newest(storage, game, game)]):
            draw_maps(game, agents)


def draw_bands(frame: pd.DataFrame) -> None:
    """Vertical less horizontal share of the variance, of the values before and after they are mixed."""
    games = [game for game in GAMES if game in set(frame.game)]
    figure, panels = plt.subplots(1, len(games), figsize=(6.5 * len(games), 4), squeeze=False)
    kinds = (("values", 1), ("weighted values", 1), ("values", 0), ("weighted values", 0))
    for axes, game in zip(panels[0], games, strict=True):
        for i, (name, trained) in enumerate(kinds):
            label = f"{name}, {'trained' if trained else 'untrained'}"
            rows = frame[(frame.game == game) & (frame["map"] == name) & (frame.trained == trained)]
            for place, variant in enumerate(VARIANTS[1:]):
                of_variant = rows[rows.variant == variant]
                index = (of_variant.column_share - of_variant.row_share).to_numpy()
                at, color = place + (i - 1.5) * 0.18, COLORS[i % 2] if trained else COLORS[4]
                axes.bar(
                    at,
                    index.mean() if len(index) else 0.0,
                    0.16,
                    color=color,
                    alpha=0.5 if i % 2 == 0 else 0.9,
                    label=label if place == 0 else None,
                )
                axes.plot([at] * len(index), index, "k.", ms=3)
        axes.axhline(0.0, color="k", lw=0.8)
        axes.set_xticks(range(len(VARIANTS) - 1), VARIANTS[1:])
        axes.set(title=game, ylim=(-1, 1), ylabel="horizontal bands <- share of variance -> vertical bands")
        axes.grid(alpha=0.25, axis="y")
    panels[0][0].legend(frameon=False, fontsize=8)
    save(figure, HERE / "axis_bands.png")


def draw_maps(game: str, agents: list[Agent]) -> None:
    """One observation: a column per variant, a row per map, each from its least to its largest value."""
    first = {variant_of(agent): agent for agent in reversed(agents)}
    columns = [variant for variant in VARIANTS if variant in first]
    states = states_of(game, agents[0])
    one = states.select([int(0.6 * len(states))])
    shown = {variant: maps(first[variant], own_actions(first[variant], one)) for variant in columns}
    names = [name for name in dict.fromkeys(name for found in shown.values() for name in found) if name != "F2"] + [
        "F2"
    ]
    figure, grid = plt.subplots(
        len(names) + 1, len(columns), figsize=(2.1 * len(columns), 2.1 * (len(names) + 1)), squeeze=False
    )
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
    frame = one.obs[0] if one.obs.ndim == 3 else one.obs[0, -1]
    for j, variant in enumerate(columns):
        grid[0, j].imshow(frame, cmap="gray")
        grid[0, j].set_title(variant)
        for i, name in enumerate(names, start=1):
            if name in shown[variant]:
                grid[i, j].imshow(shown[variant][name].values[0], cmap="viridis")
            else:
                grid[i, j].spines[:].set_visible(False)
            if j == 0:
                grid[i, 0].set_ylabel(name, fontsize=8)
    save(figure, HERE / f"axis_{game}.png")
