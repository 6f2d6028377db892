"""Experiment files written in Python: a module with ``config`` (and ``stop``) or with ``experiments``."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from rllib_rnd.errors import ConfigError
from rllib_rnd.experiment.yaml_file import ExperimentError


def load_python(path: Path) -> dict[str, Any]:
    """Runs the file and returns its experiments, shaped like the data of a YAML file.

    An ``AlgorithmConfig`` in ``config`` becomes the hidden key ``_base``, and ``run`` its algorithm.

    Raises:
        ExperimentError: the file raises, or defines no experiment.
    """
    module = _import_file(path)
    experiments = getattr(module, "experiments", None)
    if experiments is not None:
        if not isinstance(experiments, Mapping):
            raise ExperimentError(str(path), "experiments", f"{experiments!r} is not a dict of experiments")
        return {name: _expand_object(path, str(name), block) for name, block in experiments.items()}
    config = getattr(module, "config", None)
    if config is None:
        raise ExperimentError(str(path), "", "defines neither `config` nor `experiments`")
    block = {"config": config, "stop": getattr(module, "stop", {})}
    return {path.stem: _expand_object(path, path.stem, block)}


def _expand_object(path: Path, name: str, block: object) -> object:
    """Splits an AlgorithmConfig in ``config`` into ``run`` and the object that the trial starts from."""
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

    from rllib_rnd.config import IntrinsicPPOConfig
    from rllib_rnd.envs.makers import portable
    from rllib_rnd.presets import ALGORITHMS

    if not isinstance(block, Mapping):
        return block
    # Names that the file registers, before Ray is started: its registry lives no longer.
    if block.get("run") in ALGORITHMS and isinstance(block.get("env"), str):
        block = {**block, "env": portable(block["env"])}
    if not isinstance(block.get("config"), AlgorithmConfig):
        return block
    config = block["config"]
    if isinstance(config, IntrinsicPPOConfig) and config.env is not None:
        config.env = portable(config.env)
    if config.algo_class is None:
        kind = type(config).__name__
        raise ExperimentError(str(path), f"{name}.config", f"{kind} names no algorithm; use PPOConfig() or so")
    return {**block, "run": config.algo_class, "config": {}, "_base": config}


def _import_file(path: Path) -> ModuleType:
    from ray import cloudpickle

    # A name of its own, so that two files called config.py do not replace each other.
    digest = hashlib.sha1(str(path.resolve()).encode(), usedforsecurity=False).hexdigest()[:8]
    name = f"rllib_experiment_{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise ExperimentError(str(path), "", "cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except ConfigError as error:
        place = f"{path}{_line_in_file(error, path)}"
        raise ExperimentError(place, error.path, error.problem, error.allowed, error.nearest) from error
    except Exception as error:  # whatever the user's file raises is the user's to read, in one line
        line = _line_in_file(error, path)
        raise ExperimentError(f"{path}{line}", "", f"{type(error).__name__}: {error}") from error
    cloudpickle.register_pickle_by_value(module)  # Ray's workers cannot import the file
    return module


def _line_in_file(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError) and error.filename == str(path.resolve()):
        return f":{error.lineno}"
    line, trace, file = "", error.__traceback__, str(path.resolve())
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = f":{trace.tb_lineno}"
        trace = trace.tb_next
    return line
