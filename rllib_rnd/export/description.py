"""``config.json``: how an observation must look, what comes out, and what the environment was."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_rnd.envs import frame_stack
from rllib_rnd.envs.makers import env_name
from rllib_rnd.envs.plain import plain_observations
from rllib_rnd.envs.registry import find_family
from rllib_rnd.envs.space_json import space_in_words, space_to_json
from rllib_rnd.export.graph import INPUTS, OUTPUTS, PolicyGraph
from rllib_rnd.export.policy import FORMAT, MADE_BY
from rllib_rnd.export.samples import EnvironmentSpaces, Samples
from rllib_rnd.modules.backbone import backbone_for_space
from rllib_rnd.modules.image import is_image
from rllib_rnd.modules.layers import noisy_layers
from rllib_rnd.modules.observations import largest_numbers
from rllib_rnd.options import parse_options

_MEANINGS = {
    "obs": "observations, raw, of any number of environments",
    "memory": "what came out as next_memory at the step before; anything where is_first",
    "is_first": "environments whose episode begins with this observation",
    "action": "the most likely actions, in the environment's own range",
    "dist_inputs": "parameters of the action distribution",
    "value": "expected discounted returns: of the environment's reward, then of each intrinsic reward",
    "next_memory": "the memory to hand in at the next step",
}


def describe(
    config: AlgorithmConfig, graph: PolicyGraph, behind: EnvironmentSpaces, samples: Samples
) -> dict[str, Any]:
    """All of ``config.json`` but training, files and verification.

    Args:
        config: of the checkpoint.
        graph: what is exported.
        behind: spaces of the environment itself.
        samples: for shapes and types.
    """
    networks = graph.networks
    model, plain = networks.model_config, networks.observation_space
    tensors = {**samples.inputs, **samples.outputs}

    def shapes(names: tuple[str, ...]) -> dict[str, Any]:
        return {
            name: {
                "shape": ["batch", *tensors[name].shape[1:]],
                "dtype": str(tensors[name].dtype),
                "meaning": _MEANINGS[name],
            }
            for name in names
            if name in tensors
        }

    return {
        "made_by": MADE_BY,
        "format": FORMAT,
        "inputs": shapes(INPUTS),
        "outputs": shapes(OUTPUTS),
        "observation": {
            "space": space_to_json(behind.observation),
            "input": space_to_json(plain),
            "in_words": observation_in_words(config, behind.observation, plain, graph),
        },
        "action": {
            "space": space_to_json(behind.action),
            "normalize_actions": bool(model.get("normalize_actions", True)),
            "clip_actions": bool(model.get("clip_actions", False)),
            "distribution": distribution_in_words(behind.action, networks.action_space),
        },
        "memory": {"size": networks.backbone.state_size},
        "environment": environment_of(config),
        "network": {
            "backbone": _json(_backbone(model["backbone"], plain)),
            "heads": _json(model.get("heads", {})),
            "value_streams": ["extrinsic", *(str(spec["type"]) for spec in model["intrinsic_rewards"])],
            "parameters": sum(parameter.numel() for parameter in networks.parameters()),
        },
    }


def environment_of(config: AlgorithmConfig) -> dict[str, Any]:
    """The environment's name, its settings with defaults filled in, and what each of them means."""
    env_config = dict(config.env_config)
    family, _ = find_family(config.env)
    stack = frame_stack(config.env, env_config)
    settings, meanings = env_config, {}
    if family.options_class is not None:
        options = family.read(env_config) if family.read else parse_options(family.options_class, env_config)
        settings = dict(vars(options))
        meanings = {field.name: str(field.metadata.get("help", "")) for field in dataclasses.fields(options)}
    return {
        "id": env_name(config.env),
        "settings": _json(settings),
        "meanings": meanings,
        "frame_stack": stack.size,
        "newest_frame": "first" if stack.newest_first else "last",
    }


def observation_in_words(config: AlgorithmConfig, space: gym.Space, plain: spaces.Box, graph: PolicyGraph) -> list[str]:
    """What has to be done to an observation before it goes in, and what must not be."""
    lines = [f"The environment shows {space_in_words(space)}."]
    conversion = plain_observations(space)
    if conversion is not None:
        lines.append(
            "It goes in flattened, as gymnasium.spaces.flatten does it (choices become one-hot, parts of a dict are "
            f"joined in the order of their keys): {space_in_words(plain)}."
        )
    stack = frame_stack(config.env, dict(config.env_config))
    if stack.size > 1:
        lines.append(
            f"Axis 0 holds the last {stack.size} frames, the newest {'first' if stack.newest_first else 'last'}; the "
            "first observation of an episode fills the stack as the environment does."
        )
    largest = largest_numbers(plain, is_image(plain.shape))
    if largest is None or largest.max() == 1.0:
        lines.append("Numbers enter as they are; nothing is scaled.")
    else:
        number = f"{largest.max():g}" if (largest == largest.max()).all() else "the largest that its bounds allow"
        lines.append(f"Numbers go in raw: the networks divide each by {number} themselves.")
    if noisy_layers(graph.networks):
        lines.append("Its noisy layers are silent: what is exported is the mean policy.")
    return lines


def distribution_in_words(space: gym.Space, plain: gym.Space) -> str:
    """What ``dist_inputs`` are, and how an action is drawn from them."""
    if isinstance(plain, spaces.Discrete):
        first = int(plain.start)
        return f"logits of the actions {first} to {first + int(plain.n) - 1}; softmax gives their probabilities"
    if isinstance(plain, spaces.MultiDiscrete):
        return f"logits of {len(plain.nvec)} independent choices side by side, of {plain.nvec.tolist()} values each"
    size = int(np.prod(space.shape or ()))
    return (
        f"{size} means, then {size} log standard deviations of independent normal numbers, before they are brought "
        "into the bounds"
    )


def _backbone(spec: Mapping[str, Any] | str, space: gym.Space) -> dict[str, Any]:
    """The backbone by its own name, where ``auto`` has chosen one."""
    spec = {"type": spec} if isinstance(spec, str) else dict(spec)
    return {**spec, "type": backbone_for_space(space)} if spec.get("type") == "auto" else spec


def _json(value: object) -> object:
    """As JSON can hold it: what is unknown to it in words."""
    return json.loads(json.dumps(value, default=lambda item: list(item) if isinstance(item, tuple) else str(item)))
