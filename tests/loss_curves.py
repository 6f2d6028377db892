"""Short deterministic runs of every reward, loss and backbone, whose numbers are kept in `loss_curves.json`.

    python -m tests.loss_curves     records them anew: only where a change of numbers is meant, and says why

Each run is two iterations through the public interface; kept are all numbers that the learner reports and the sum of
all weights' absolute values. On a processor and a torch like those of the recording they are equal bit for bit.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.conftest import small_config

RECORD = Path(__file__).with_name("loss_curves.json")

DEEP_SEA, CATCH = "rllib_rnd/DeepSea-v0", "rllib_rnd/Catch-v0"
POINT_MAZE = "rllib_rnd/PointMaze-v0"
_VIT = {"patch_size": 10, "dim": 16, "depth": 1, "num_heads": 2, "head_dim": 8, "mlp_dim": 16}
_MEMORY = {"hidden_sizes": [8], "memory_size": 8, "max_seq_len": 8}

#: Backbones at sizes that take a moment: options, and the options of Catch where they need larger pictures.
BACKBONES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nature_cnn": ({"hidden_sizes": [16], "noisy": True}, {}),
    "openai_cnn": ({}, {"size": 11}),
    "michalnand_a": ({"hidden_sizes": [16]}, {}),
    "michalnand_b": ({"hidden_sizes": [16]}, {}),
    "michalnand_c": ({"hidden_sizes": [16]}, {}),
    "michalnand_d": ({"hidden_sizes": [16]}, {}),
    "vit": (_VIT, {}),
    "vit_explorative": (_VIT, {}),
    "self_attention": ({"variant": "CWRCA", "feature_dim": 16}, {}),
    "fnn": ({"hidden_sizes": [16]}, {}),
    "mlp": ({"hidden_sizes": [16]}, {}),
    "gru": (_MEMORY, {}),
    "lstm": (_MEMORY, {}),
    "iam": (_MEMORY, {"size": 11}),
}
#: Backbones for vectors.
VECTOR_BACKBONES = ("fnn", "mlp", "gru", "lstm", "iam")
#: Every intrinsic reward, and where it does not read vectors.
REWARDS = (
    "rnd", "modified_rnd", "icm", "disagreement", "ride", "byol_explore", "count", "noveld", "ngu", "e3b", "re3",
    "snd_v", "snd_std", "snd_vic", "snd_infonce", "snd_barlow", "feature_entropy",
)  # fmt: skip
PICTURES_ONLY = ("modified_rnd",)
LOSSES = ("byol", "barlow_twins")
_CNN = {"type": "nature_cnn", "hidden_sizes": [16]}
_BYOL = {"type": "byol", "projector_hidden": 16, "projection_size": 8, "predictor_hidden": 16}


def _case(env: str, env_config: Mapping[str, Any] | None = None, **training: Any) -> dict[str, Any]:
    return {"env": env, "env_config": dict(env_config or {}), "training": training}


def cases() -> dict[str, dict[str, Any]]:
    """Every run by name: environment, its options, and what is set besides `small_config`."""
    runs: dict[str, dict[str, Any]] = {}
    for name in REWARDS:
        both = [{"type": "rnd", "feature_dim": 8}, {"type": name}]
        runs[f"reward {name}, pictures"] = _case(CATCH, backbone=_CNN, intrinsic_reward=both)
        if name not in PICTURES_ONLY:
            runs[f"reward {name}, vectors"] = _case(DEEP_SEA, {"size": 5}, intrinsic_reward={"type": name})
    for name, (options, env_config) in BACKBONES.items():
        runs[f"backbone {name}, pictures"] = _case(CATCH, env_config, backbone={"type": name, **options}, lr=1e-3)
        if name in VECTOR_BACKBONES:
            runs[f"backbone {name}, vectors"] = _case(DEEP_SEA, {"size": 5}, backbone={"type": name, **options})
    for name in LOSSES:
        for project in (False, True):
            spec = {"type": name, "coeff": 0.1, "project_gradient": project}
            title = f"loss {name}{', projected' if project else ''}"
            runs[title] = _case(CATCH, backbone=_CNN, auxiliary_loss=spec)
    pretraining = {"max_rollouts": 1, "num_epochs": 1}
    runs |= {
        "no reward": _case(DEEP_SEA, {"size": 5}, intrinsic_reward=None),
        "continuous actions": _case(POINT_MAZE, {}, vf_clip_param=0.2, normalize_advantages="minibatch"),
        "advantages over rollouts": _case(DEEP_SEA, {"size": 5}, normalize_advantages="rollout", grad_clip=0.5),
        "rmsprop": _case(DEEP_SEA, {"size": 5}, optimizer_type="rmsprop", optimizer_epsilon=1e-5),
        "micro-batches": _case(CATCH, {}, backbone=_CNN, micro_batch_size=7, extrinsic_reward="clip"),
        "micro-batches of sequences": _case(CATCH, {}, backbone={"type": "gru", **_MEMORY}, micro_batch_size=8),
        "schedules": _case(DEEP_SEA, {"size": 5}, lr=[[0, 1e-3], [100, 1e-5]], entropy_coeff=[[0, 0.1], [100, 0.0]]),
        "pre-training": _case(CATCH, {}, backbone=_CNN, auxiliary_loss=_BYOL, pretraining=pretraining),
        "frozen backbone": _case(CATCH, {}, backbone=_CNN, freeze_backbone=True),
    }
    return runs


def run(case: Mapping[str, Any]) -> list[dict[str, float]]:
    """Two iterations of one of `cases`: what the learner reports of each, seconds left out, and its weights."""
    config = small_config(env=case["env"], **case["training"])
    algorithm = config.environment(case["env"], env_config=case["env_config"]).build_algo()
    try:
        curve = []
        for _ in range(2):
            learner = algorithm.train()["learners"]["default_policy"]
            numbers = dict(_flat(learner))
            weights = algorithm.learner_group.get_weights()["default_policy"]
            numbers["weights"] = float(sum(np.abs(w.astype(np.float64)).sum() for w in weights.values()))
            curve.append(numbers)
        return curve
    finally:
        algorithm.stop()


def _flat(numbers: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    pairs: list[tuple[str, float]] = []
    for name, value in numbers.items():
        if isinstance(value, Mapping):
            pairs += _flat(value, f"{prefix}{name}/")
        elif not name.endswith("_s") and name != "threads":
            pairs.append((prefix + name, float(value)))
    return sorted(pairs)


def processor() -> str:
    """What decides the last bits of a number: torch, its kernels and the processor that they are chosen by."""
    try:
        found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    model = found[1] if found else platform.processor()
    return f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {model}"


def record() -> None:
    """Runs everything and writes the file. Numbers are kept as exact hexadecimal floats."""
    curves = {}
    for name, case in cases().items():
        print(name, flush=True)
        curves[name] = [{key: value.hex() for key, value in numbers.items()} for numbers in run(case)]
    RECORD.write_text(json.dumps({"processor": processor(), "curves": curves}, indent=1) + "\n")


def recorded() -> tuple[str, dict[str, list[dict[str, float]]]]:
    """The processor and the curves of the file."""
    kept = json.loads(RECORD.read_text())
    curves = {
        name: [{key: float.fromhex(value) for key, value in numbers.items()} for numbers in curve]
        for name, curve in kept["curves"].items()
    }
    return kept["processor"], curves


if __name__ == "__main__":
    import ray

    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False, configure_logging=False)
    record()
    ray.shutdown()
