"""Makes a small checkpoint as those in ``data``: ``python -m tests.checkpoints.make_data FOLDER``."""

from __future__ import annotations

import sys

import ray

from tests.conftest import small_config


def config() -> object:
    """RND on DeepSea 5 x 5 with networks of 16 units; episodes of 5 steps end on the way."""
    backbone = {"type": "mlp", "hidden_sizes": [16], "activation": "relu"}
    return small_config(backbone=backbone, intrinsic_reward={"type": "rnd", "feature_dim": 8, "hidden_sizes": [8]})


def main(folder: str) -> None:
    """Trains two iterations and saves."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    algorithm = config().build_algo()  # type: ignore[attr-defined]
    for _ in range(2):
        algorithm.train()
    algorithm.save_to_path(folder)
    algorithm.stop()
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
