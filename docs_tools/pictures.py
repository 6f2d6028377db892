"""Draws the pictures of the environments: ``python -m docs_tools.pictures`` (needs the extras of development)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from docs_tools.sources import DOCS
from rllib_rnd.envs import make_env

IMAGES = DOCS / "images"
Panel = tuple[str, np.ndarray]


def play(env_id: str, actions: Sequence[Any] = (), render: bool = True, seed: int = 0, **env_config: Any) -> list[Any]:
    """Plays some actions (those of the policy of chance where there are none to say).

    Returns:
        The picture that the environment draws (None without ``render``), and the last observation.
    """
    env = make_env(env_id, env_config, "rgb_array" if render else None)
    try:
        obs, _ = env.reset(seed=seed)
        for action in actions:
            obs, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                obs, _ = env.reset()
        return [np.asarray(env.render()) if render else None, np.array(obs)]
    finally:
        env.close()


def save(name: str, panels: Sequence[Panel], columns: int | None = None, side: float = 2.6) -> None:
    """One row of pictures (or more) with their titles."""
    columns = columns or len(panels)
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(side * columns, (side + 0.3) * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, (title, picture) in zip(axes.flat, panels, strict=False):
        axis.imshow(picture, cmap="gray", interpolation="nearest", vmin=0, vmax=255)
        axis.set_title(title, fontsize=9)
    figure.tight_layout()
    figure.savefig(IMAGES / f"environments_{name}.png", dpi=110)
    plt.close(figure)


def seen(obs: np.ndarray) -> np.ndarray:
    """The newest frame of a stack."""
    return obs[-1] if obs.ndim == 3 and obs.shape[0] <= 16 else obs


def atari() -> None:
    """Games that tell their rooms, and the agent's own view of one."""
    panels: list[Panel] = []
    for game in ("MontezumaRevenge", "Pitfall", "PrivateEye", "Venture", "Hero"):
        picture, obs = play(f"ALE/{game}-v5", [0] * 40)
        panels.append((game, picture))
        if game == "MontezumaRevenge":
            panels.append(("what the agent sees: the newest of 4", seen(obs)))
    save("atari", panels, columns=3)


def mario() -> None:
    """The first stage."""
    picture, obs = play("rllib_rnd/SuperMarioBros-1-1-v0", [1] * 60)
    save("mario", [("1-1", picture), ("what the agent sees: the newest of 4", seen(obs))])


def deep_sea() -> None:
    """In pixels, and with a noisy television."""
    _, obs = play("rllib_rnd/DeepSea-v0", [0, 1, 0, 1, 1], render=False, size=12, cell_size=3)
    _, noise = play("rllib_rnd/DeepSea-v0", [2], render=False, size=12, cell_size=3, noisy_tv=True)
    save("deep_sea", [("12 x 12 cells of 3 x 3 pixels", obs), ("the noisy TV, after action 2", noise)])


def catch() -> None:
    """With the ball seen, and hidden."""
    _, obs = play("rllib_rnd/Catch-v0", [1, 1, 1, 1], render=False)
    _, hidden = play("rllib_rnd/Catch-v0", [1, 1, 1, 1], render=False, visible_rows=2)
    save("catch", [("ball and paddle", obs), ("visible_rows: 2, after 4 steps", hidden)])


def point_maze() -> None:
    """The layouts."""
    layouts = ("u_maze", "medium", "corridor", "spiral")
    save("point_maze", [(name, play("rllib_rnd/PointMaze-v0", layout=name)[0]) for name in layouts])


def minigrid() -> None:
    """Tasks whose layout is drawn anew in every episode."""
    tasks = ("MultiRoom-N6", "DoorKey-8x8", "KeyCorridorS3R2", "ObstructedMaze-2Dlh")
    save("minigrid", [(name, play(f"MiniGrid-{name}-v0", seed=3)[0]) for name in tasks])


def doom() -> None:
    """The newest frame at three starts."""
    starts = ("dense", "sparse", "very_sparse")
    panels = [(f"start: {s}", seen(play("rllib_rnd/DoomMyWayHome-v0", [3] * 5, False, start=s)[1])) for s in starts]
    save("doom", panels)


def pixels() -> None:
    """CartPole, drawn and seen."""
    picture, obs = play("rllib_rnd/Pixels-v0", [0, 1, 0, 1, 1, 1], id="CartPole-v1")
    save("pixels", [("CartPole-v1", picture), ("what the agent sees: the newest of 4", seen(obs))])


def warehouse() -> None:
    """The robot and the items that wait, on both grids."""
    envs = ("Warehouse", "MiniWarehouse")
    panels = [(f"{name}-v0", play(f"rllib_rnd/{name}-v0", [0, 3, 1, 2] * 6)[0]) for name in envs]
    save("warehouse", panels)


MAKERS: Mapping[str, Callable[[], None]] = {
    maker.__name__: maker for maker in (atari, mario, deep_sea, catch, point_maze, minigrid, doom, pixels, warehouse)
}


def main() -> None:
    """Draws all."""
    for maker in MAKERS.values():
        maker()


if __name__ == "__main__":
    main()
