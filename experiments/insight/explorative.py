"""Explorative attention: does the exploration token look elsewhere than the exploitation token?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from experiments.insight.agents import (
    HERE,
    Found,
    Sheet,
    catch_boards,
    covers,
    interval,
    maps_of,
    newest,
    newest_rows,
    percentile,
    sea_boards,
    seeds_line,
    twins,
)
from experiments.provenance import commit
from experiments.report import COLORS, image, read, save, section, table
from experiments.studies import Row
from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.methods.attention import EXPLOIT, EXPLORE, distance
from rllib_rnd.analysis.states import States

NAME = "explorative"
AGENT = ("game", "seed", "trained")
KEY = (*AGENT, "agent_steps")
GAMES = {"catch": "explorative_catch", "deep_sea": "explorative_deep_sea"}
#: Share of the return at which training stops, from which an agent counts as one that has learned its game.
_LEARNED = 0.8
STOPS = {"catch": 0.97, "deep_sea": 0.9}
_MEASURED = ("total_variation", "jensen_shannon", "between_states")


def measure(storage: Path) -> None:
    """Measures what is missing in explorative.csv."""
    sheet = Sheet(HERE / f"{NAME}.csv", KEY)
    for game, run in GAMES.items():
        for found in learned(storage, game, run):
            agent = found.load()
            seed = int(agent.config.seed or 0)
            for trained, twin in twins(agent, seed):
                if not sheet.has(game=game, seed=seed, trained=trained, agent_steps=found.agent_steps):
                    sheet.add([{"game": game, "seed": seed, **row} for row in rows_of(game, found, twin, trained)])


def learned(storage: Path, game: str, run: str) -> list[Found]:
    """The newest checkpoint of each trial that has learned its game; says which have not."""
    every = newest(storage, run, NAME)
    for found in every:
        if not knows(game, found):
            told = f"return {found.return_mean:.3g} after {found.agent_steps:,} agent steps"
            print(f"{run}: {told}, not learned ({_LEARNED * STOPS[game]:.2g}), left out", flush=True)
    return [found for found in every if knows(game, found)]


def knows(game: str, found: Found) -> bool:
    """Whether an agent has learned its game."""
    return found.return_mean >= _LEARNED * STOPS[game]


def boards(game: str, agent: Agent) -> tuple[States, dict[str, np.ndarray], int]:
    """All observations of a game, the cells ``[B, 2]`` of what is in them by name, and a cell's side in pixels."""
    config = dict(agent.config.env_config)
    if game == "catch":
        size, cell = int(config.get("size", 10)), int(config.get("cell_size", 4))
        obs, ball, paddle = catch_boards(size, cell)
        return States.of_observations(obs, agent), {"ball": ball, "paddle": paddle}, cell
    size, cell = int(config["size"]), int(config["cell_size"])
    obs, diver = sea_boards(size, cell)
    return States.of_observations(obs, agent), {"diver": diver}, cell


def token_maps(agent: Agent, states: States) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Maps of the exploration and of the exploitation token, ``[B, h, w]`` each, by block and of their rollout."""
    found = maps_of("attention", agent, states)
    pairs = {}
    for name, one in found.items():
        rest = name.removeprefix(f"attention-{EXPLORE}.")
        if rest != name:
            pairs[rest] = (one.values, found[f"attention-{EXPLOIT}.{rest}"].values)
    return pairs


def rows_of(game: str, found: Found, agent: Agent, trained: int) -> Iterator[Row]:
    """One row per block, and one of the rollout."""
    states, things, cell = boards(game, agent)
    # Another state for each, the same in every run: how far a map moves when the observation changes is the scale.
    other = np.roll(np.random.default_rng(0).permutation(len(states)), 1)
    patch = int(agent.module.backbone.options.patch_size)
    for layer, (explore, exploit) in token_maps(agent, states).items():
        row: Row = {"trained": trained, "agent_steps": found.agent_steps, "layer": layer}
        row |= {
            "total_variation": _mean(distance(explore, exploit)),
            "jensen_shannon": _mean(distance(explore, exploit, "jensen_shannon")),
            "between_states": _mean((distance(explore, explore[other]) + distance(exploit, exploit[other])) / 2),
        }
        for thing in ("ball", "paddle", "diver"):
            for token, values in ((EXPLORE, explore), (EXPLOIT, exploit)):
                known = thing in things
                row[f"{token}_{thing}"] = _mean(_hot(values, things[thing], cell, patch)) if known else ""
        yield {**row, "commit": commit()}


def _hot(values: np.ndarray, cells: np.ndarray, cell: int, patch: int) -> np.ndarray:
    """Percentile of the patches that see a cell, ``[B]``."""
    in_rows, in_columns = (covers(cells[:, i], cell, values.shape[1 + i], patch, patch) for i in (0, 1))
    where = (in_rows[:, :, None] & in_columns[:, None]).reshape(len(values), -1)
    return percentile(values.reshape(len(values), -1), where)


def _mean(values: np.ndarray) -> float:
    return float(f"{np.mean(values):.5g}")


# --- report ------------------------------------------------------------------------------------------------------


def sections() -> Iterator[list[str]]:
    """Of what has been measured."""
    if not (HERE / f"{NAME}.csv").exists():
        return
    frame = newest_rows(read(HERE / f"{NAME}.csv"), AGENT)
    yield section(
        "Explorative attention",
        distances(frame),
        looks(frame),
        image("distance of the tokens", f"{NAME}.png"),
        *([f"![maps of {game}](explorative_{game}.png)"] for game in GAMES if game in set(frame.game)),
        seeds_line(frame, "game"),
    )


def distances(frame: pd.DataFrame) -> list[str]:
    """How far the two tokens' maps are from each other."""
    head = (
        "game",
        "layer",
        "seeds",
        "total variation",
        "untrained",
        "trained less untrained",
        "Jensen-Shannon",
        "untrained",
        "between states",
        "untrained",
    )
    rows = []
    for (game, layer), of_layer in frame.groupby(["game", "layer"], sort=False):
        trained, untrained = (of_layer[of_layer.trained == t].set_index("seed") for t in (1, 0))
        difference = (trained.total_variation - untrained.total_variation).dropna()
        cells = [interval(of[name]) for name in _MEASURED for of in (trained, untrained)]
        rows.append((game, layer, len(trained), *cells[:2], interval(difference), *cells[2:]))
    return table(head, rows)


def looks(frame: pd.DataFrame) -> list[str]:
    """Percentile of what is in the picture, in both tokens' maps."""
    head = (
        "game",
        "layer",
        "what",
        "exploration",
        "exploitation",
        "difference",
        "untrained: exploration",
        "exploitation",
        "difference",
    )
    rows = []
    for (game, layer), of_layer in frame.groupby(["game", "layer"], sort=False):
        for thing in ("ball", "paddle", "diver"):
            explore, exploit = f"{EXPLORE}_{thing}", f"{EXPLOIT}_{thing}"
            if of_layer[explore].isna().all():
                continue
            cells = []
            for trained in (1, 0):
                of = of_layer[of_layer.trained == trained]
                cells += [interval(of[explore]), interval(of[exploit]), interval(of[explore] - of[exploit])]
            rows.append((game, layer, thing, *cells))
    return table(head, rows)


def draw(storage: Path | None) -> None:
    """The figures; those of maps only where the checkpoints are."""
    if (HERE / f"{NAME}.csv").exists():
        draw_distances(newest_rows(read(HERE / f"{NAME}.csv"), AGENT))
    for game, run in GAMES.items():
        if storage is not None and (found := learned(storage, game, run)):
            draw_maps(game, found[0].load())


def draw_distances(frame: pd.DataFrame) -> None:
    """One point per seed, trained and untrained, and the distance between states as the scale."""
    pairs = list(frame.groupby(["game", "layer"], sort=False))
    figure, axes = plt.subplots(figsize=(1.6 * len(pairs) + 2, 4))
    for place, (_, rows) in enumerate(pairs):
        kinds = (
            (1, "total_variation", "two tokens, trained"),
            (0, "total_variation", "two tokens, untrained"),
            (1, "between_states", "two states, trained"),
        )
        for i, (trained, column, label) in enumerate(kinds):
            values = rows[rows.trained == trained][column]
            at = place + 0.2 * (i - 1)
            axes.plot(
                [at] * len(values), values, "o", ms=4, alpha=0.7, color=COLORS[i], label=label if place == 0 else None
            )
            axes.plot([at - 0.07, at + 0.07], [values.mean()] * 2, color=COLORS[i], lw=2)
    axes.set_xticks(range(len(pairs)), ["\n".join(map(str, key)) for key, _ in pairs], fontsize=8)
    axes.set(ylabel="total variation distance of maps", ylim=(0, None))
    axes.grid(alpha=0.25, axis="y")
    axes.legend(frameon=False, fontsize=8)
    save(figure, HERE / f"{NAME}.png")


def draw_maps(game: str, agent: Agent) -> None:
    """Three observations: a row each, with both tokens' maps per block on one scale per pair, and their difference."""
    states = boards(game, agent)[0]
    states = states.select((np.array([0.15, 0.5, 0.85]) * len(states)).astype(int))
    pairs = token_maps(agent, states)
    figure, grid = plt.subplots(3, 1 + 3 * len(pairs), figsize=(1.6 * (1 + 3 * len(pairs)), 5.4))
    for i in range(3):
        grid[i, 0].imshow(states.obs[i], cmap="gray")
        for j, (layer, (explore, exploit)) in enumerate(pairs.items()):
            # One scale per layer: the same colour is the same share of attention.
            high, shift = max(explore.max(), exploit.max()), np.abs(explore - exploit).max()
            three = ((explore, "explore"), (exploit, "exploit"), (explore - exploit, "difference"))
            for k, (values, title) in enumerate(three):
                axes = grid[i, 1 + 3 * j + k]
                scale = {"cmap": "RdBu_r", "vmin": -shift, "vmax": shift} if k == 2 else {"vmin": 0.0, "vmax": high}
                axes.imshow(values[i], **scale)
                if i == 0:
                    axes.set_title(f"{title}\n{layer}", fontsize=8)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
    save(figure, HERE / f"{NAME}_{game}.png")
