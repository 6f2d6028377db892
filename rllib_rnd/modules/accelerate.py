"""How the networks of policy and critics are run: in bfloat16, compiled, as CUDA graphs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any, Literal

import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from torch import Tensor

from rllib_rnd.errors import ConfigError, at

AutocastType = Literal["none", "bfloat16"]
# (observations, memory, is_first) -> (inputs of the action distribution, values, memory), see `IntrinsicPPOModule`; the
# learner's takes places as a fourth.
PolicyAndValues = Callable[..., tuple[Tensor, Tensor, Tensor | None]]


def accelerate(
    function: PolicyAndValues,
    device: torch.device,
    autocast: AutocastType = "none",
    compile_options: dict[str, Any] | None = None,
) -> PolicyAndValues:
    """Wraps ``policy_and_values``; what comes out is float32 whatever happens inside.

    Args:
        function: the networks.
        device: where they run.
        autocast: "bfloat16" runs matrix products and convolutions in 8 bits of mantissa, on float32 weights.
        compile_options: arguments of ``torch.compile``, or None to run as written.
    """
    if compile_options is not None:
        function = torch.compile(function, **compile_options)
    if autocast == "none":
        return function

    def in_low_precision(
        obs: Tensor, memory: Tensor | None, is_first: Tensor | None, places: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        with torch.autocast(device.type, torch.bfloat16):
            dist_inputs, values, memory = function(obs, memory, is_first, places)
        return dist_inputs.float(), values.float(), memory  # memories are never rounded

    return in_low_precision


def check_compiler(device: torch.device, backend: str) -> None:
    """Refuses early what torch would fail at in the middle of the first update.

    Raises:
        ConfigError: inductor is to compile for the CPU and there is no C++ compiler.
    """
    compiler = os.environ.get("CXX", "g++")
    if device.type == "cpu" and backend == "inductor" and shutil.which(compiler) is None:
        raise ConfigError(
            "",
            f"True needs a C++ compiler on the CPU, and {compiler!r} is not installed",
            "False, or install one (the package g++)",
        )


def learner_compile_options(config: AlgorithmConfig, device: torch.device) -> dict[str, Any] | None:
    """``torch.compile`` arguments of RLlib's settings ``torch_compile_learner*``; None if off.

    Minibatches differ in size from rollout to rollout (reset steps are no samples), so shapes are dynamic.

    Raises:
        ConfigError: there is no compiler.
    """
    if not config.torch_compile_learner:
        return None
    backend, mode = config.torch_compile_learner_dynamo_backend, config.torch_compile_learner_dynamo_mode
    with at("torch_compile_learner"):
        check_compiler(device, backend)
    return {"backend": backend, "mode": mode, "dynamic": True}


def worker_compile_options(config: AlgorithmConfig, device: torch.device) -> dict[str, Any] | None:
    """``torch.compile`` arguments of RLlib's settings ``torch_compile_worker*``; None if off.

    A runner's batches all have one size, so on a GPU the default mode records CUDA graphs: at that size launching
    kernels one by one takes longer than running them.

    Raises:
        ConfigError: there is no compiler.
    """
    if not config.torch_compile_worker:
        return None
    backend = config.torch_compile_worker_dynamo_backend
    with at("torch_compile_worker"):
        check_compiler(device, backend)
    mode = config.torch_compile_worker_dynamo_mode or ("reduce-overhead" if device.type == "cuda" else None)
    return {"backend": backend, "mode": mode, "dynamic": False}
