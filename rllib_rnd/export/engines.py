"""Where an exported policy is computed: torch, a ``policy.pt2`` file, or a ``policy.onnx`` file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from rllib_rnd.errors import ConfigError
from rllib_rnd.export.graph import INPUTS

PT2, ONNX = "policy.pt2", "policy.onnx"

#: Inputs by the names of `graph.INPUTS` -> outputs by those of `graph.OUTPUTS`; arrays ``[B, ...]``.
Engine = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


def torch_engine(module: nn.Module) -> Engine:
    """Runs a module of `graph.PolicyGraph`'s arguments, or one loaded from a file."""

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors = [torch.from_numpy(np.ascontiguousarray(inputs[name])) for name in INPUTS if name in inputs]
        with torch.inference_mode():
            return {name: tensor.numpy() for name, tensor in module(*tensors).items()}

    return run


def pt2_engine(path: Path) -> Engine:
    """Runs a ``policy.pt2``.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        program = torch.export.load(path)
    except Exception as error:  # of a damaged archive any
        raise ConfigError(f"policy {path}", f"cannot be read ({_first_line(error)})") from error
    return torch_engine(program.module())


def onnx_engine(path: Path) -> Engine:
    """Runs a ``policy.onnx`` on the CPU.

    Raises:
        ConfigError: it cannot be read, or onnxruntime is missing.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_extra("ONNX files", "onnx", error) from error
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # its own kinds are no subclasses of anything
        raise ConfigError(f"policy {path}", f"cannot be read ({_first_line(error)})") from error
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(None, dict(inputs)), strict=True))


def missing_extra(what: str, extra: str, error: ImportError) -> ConfigError:
    """The error for a package that is not installed."""
    return ConfigError("", f'{what} need an extra ({error}). Install it: pip install "rllib_rnd[{extra}]"')


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
