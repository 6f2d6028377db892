"""The files of a policy's networks: ``policy.pt2``, ``policy.onnx`` and the weights by their names."""

from __future__ import annotations

import contextlib
import importlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.export import Dim, ExportedProgram

from rllib_rnd.errors import ConfigError
from rllib_rnd.export.engines import missing_extra
from rllib_rnd.export.graph import INPUTS, OUTPUTS, PolicyGraph

# Of a batch that is traced: neither 1, which torch takes for a constant, nor a size of anything else.
_BATCH = 3


def require_onnx() -> None:
    """Imports what ONNX needs, before anything is computed.

    Raises:
        ConfigError: a package is missing.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise missing_extra("ONNX files", "onnx", error) from error


def trace(graph: PolicyGraph, inputs: Mapping[str, np.ndarray]) -> ExportedProgram:
    """The graph of any number of environments, without the code that made it.

    Args:
        graph: in evaluation mode.
        inputs: of its arguments, by name; rows are repeated where there are few.

    Raises:
        ConfigError: torch cannot trace the backbone; the message has its reason.
    """
    rows = np.arange(_BATCH) % len(inputs["obs"])
    tensors = tuple(torch.from_numpy(inputs[name][rows]) for name in INPUTS if name in inputs)
    batch = Dim("batch", min=1)
    try:
        with _quiet(), torch.no_grad():
            program = torch.export.export(graph, tensors, dynamic_shapes=tuple({0: batch} for _ in tensors))
    except Exception as error:  # torch raises its own kinds, and whatever a user's backbone does
        name = type(graph.networks.backbone).__name__
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ConfigError(
            "backbone", f"{name} cannot be exported by torch.export ({reason})", "tensor operations on any batch size"
        ) from error
    for part in program.graph_module.modules():
        if isinstance(part, torch.fx.GraphModule):
            for node in part.graph.nodes:
                node.meta.pop("stack_trace", None)  # paths of this machine
    return program


def write_pt2(program: ExportedProgram, path: Path) -> None:
    """Writes the file that ``torch.export.load`` reads."""
    with _quiet():
        torch.export.save(program, path)


def write_onnx(program: ExportedProgram, path: Path) -> None:
    """Writes one file, weights included; inputs and outputs by their names, the first axis of each called ``batch``.

    Raises:
        ConfigError: an operation has no translation; the message has the reason.
    """
    import onnx

    names = [name for name in INPUTS if name in program.graph_signature.user_inputs]
    outputs = [name for name, _ in zip(OUTPUTS, program.graph_signature.user_outputs, strict=False)]
    try:
        with _quiet():
            translated = torch.onnx.export(
                program, dynamo=True, input_names=names, output_names=outputs, external_data=False, verbose=False
            )
            assert translated is not None
            proto = translated.model_proto
    except Exception as error:  # as in `trace`
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ConfigError("--format onnx", f"the networks cannot be written as ONNX ({reason})", "pt2") from error
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del proto.graph.value_info[:]  # what is in between is inferred, by names that no longer hold
    onnx.save(proto, str(path))


def write_weights(graph: PolicyGraph, path: Path) -> None:
    """Writes parameters and buffers under the names that they have in a checkpoint's module."""
    tensors = {name: tensor.contiguous() for name, tensor in graph.networks.state_dict().items()}
    save_file(tensors, str(path), metadata={"format": "pt"})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says of packages that are not needed here and of weights in channels-last memory."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
