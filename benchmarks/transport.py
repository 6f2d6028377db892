"""What rollouts weigh on their way, as they are and packed with lz4, and up to which network packing them pays.

    python -m benchmarks.transport

Random play of 16 environments, 128 steps; speeds are of one core, in bytes of the rollout as it is. A rollout of S
bytes takes S / network on its way as it is, packed S / pack + S / (ratio * network) + S / unpack: the last column is
the network at which both are equal. (Runners pack at the same time, so that with several it pays beyond that.)
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.harness import ROOT, arguments, publish
from rllib_rnd.experiment.file import load_experiments
from rllib_rnd.sampling.play import make_play
from rllib_rnd.sampling.seeds import ResetSeeds
from rllib_rnd.transport import pack, unpack

EXAMPLES = {
    "Montezuma's Revenge, 84 x 84": "montezuma_rnd_32envs",
    "Breakout, 84 x 84": "breakout_ppo",
    "Mario, 84 x 84": "mario_rnd",
    "Doom, 84 x 84": "doom_my_way_home_rnd",
    "MiniGrid": "minigrid_rnd",
    "DeepSea, 20 x 20": "deep_sea_rnd",
    "DeepSea in pixels, 36 x 36": "deep_sea_pixels_rnd",
    "Warehouse": "warehouse_gru",
    "CartPole": "cartpole_rnd",
}
_SECONDS = 0.5  # of processor time, at least


def speed(function: Any, size: int) -> float:
    """Bytes per second of processor time."""
    started, count = time.process_time(), 0
    while (spent := time.process_time() - started) < _SECONDS:
        function()
        count += 1
    return size * count / spent


def row(name: str, example: str, num_envs: int, steps: int) -> dict[str, object]:
    """Measures one environment's rollouts."""
    (experiment,) = load_experiments(ROOT / "tuned_examples" / f"{example}.yaml")
    play = make_play(experiment.sample_config(), num_envs, ResetSeeds(0), 1)
    for _ in range(2):  # the first begins all episodes at once
        rollout = play.rollout(None, steps)
    play.close()
    packed, size = pack(rollout), rollout.num_bytes
    ratio = size / packed.num_bytes
    packing, unpacking = speed(lambda: pack(rollout), size), speed(lambda: unpack(packed), size)
    even = (1.0 - 1.0 / ratio) / (1.0 / packing + 1.0 / unpacking)
    return {
        "environment": name,
        "bytes per agent step": size / (num_envs * steps),
        "packed": packed.num_bytes / (num_envs * steps),
        "ratio": ratio,
        "pack MB/s": packing / 1e6,
        "unpack MB/s": unpacking / 1e6,
        "pays below Gbit/s": 8e-9 * even,
    }


if __name__ == "__main__":
    args = arguments(__doc__, envs=16, steps=128)
    rows = [row(name, example, args.envs, args.steps) for name, example in EXAMPLES.items()]
    publish("transport", "Rollouts on their way", rows, "Random play; rollouts of a policy have as many bytes.")
