"""Whose layers are read: agents, their twins without training, and the pixels; and which of them are one and the same.

Also looked at before anything is played: whether there are layers and variables of the names that are asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.probing.features import BODY, PIXELS, components, layer_features, pixel_features
from rllib_rnd.analysis.probing.labels import check_variables
from rllib_rnd.analysis.probing.options import ProbeOptions, Progress
from rllib_rnd.analysis.probing.probe_states import PlayPlan, ProbeStates, observe
from rllib_rnd.errors import ConfigError, unknown_name_error

UNTRAINED = "untrained"
# Steps after which a layer has shown its name, and most variables theirs.
_FIRST_STEPS = 8

#: (agent, layer) -> features ``[B, D]``.
Features = dict[tuple[str, str], np.ndarray]


def with_twins(agents: Mapping[str, Agent], seed: int) -> dict[str, Agent]:
    """The agents, and after them a twin without training of each different architecture.

    Args:
        agents: by name.
        seed: of the twins' weights.

    Returns:
        By name; the twin is called ``untrained``, or ``untrained <name>`` where there are several.

    Raises:
        ConfigError: an agent has a name that is given here.
    """
    for name in agents:
        if is_reserved(name):
            raise ConfigError("agents", f"{name!r} is the name of a control", "any other name")
    firsts: dict[tuple[str, str], str] = {}
    for name, agent in agents.items():
        firsts.setdefault((_backbone(agent), _rewards(agent)), name)
    names = {name: UNTRAINED if len(firsts) == 1 else f"{UNTRAINED} {name}" for name in firsts.values()}
    return {**agents, **{twin: agents[name].untrained(seed) for name, twin in names.items()}}


def is_reserved(name: str) -> bool:
    """Whether a control is called so, or may be."""
    return name == PIXELS or name.split(" ")[0] == UNTRAINED


def _backbone(agent: Agent) -> str:
    """All that the architecture of a backbone follows from."""
    config = agent.module.model_config
    return f"{type(agent.module).__qualname__} {_in_order(config['backbone'])} {config['frame_stack']}"


def _rewards(agent: Agent) -> str:
    return _in_order(agent.module.model_config["intrinsic_rewards"])


def _in_order(spec: object) -> str:
    return json.dumps(spec, sort_keys=True, default=repr)


def read_layers(
    agents: Mapping[str, Agent], states: ProbeStates, options: ProbeOptions, train: np.ndarray, told: Progress
) -> tuple[Features, dict[str, str]]:
    """Features of every agent's layers and of the pixels, and what was left out of them.

    Args:
        agents: by name, all of whom looked at the states.
        states: B of them.
        options: see `ProbeOptions`.
        train: ``[B]`` bool, states that means, scales and directions are taken from.
        told: is told how far it is.

    Returns:
        (agent, layer) -> ``[B, D]`` float32; and "agent / layer" -> why it was left out.
    """
    told.begin("layers", len(states.obs) * len(agents))
    found = _Found()
    for name, agent in agents.items():
        features, reasons = layer_features(
            agent, states.obs, states.memory[name], states.is_first, told.advance, options.layers
        )
        found.left_out |= {f"{name} / {layer}": reason for layer, reason in reasons.items()}
        for layer, values in features.items():
            if (like := found.twin_of_its_kind(name, agent, layer)) is not None:
                found.left_out[f"{name} / {layer}"] = f"of the same architecture as {like}"
                continue
            found.add(name, layer, components(values, train, options.components, options.play.seed))
    pixels = pixel_features(states.obs)
    found.layers[PIXELS, PIXELS] = components(pixels, train, options.components, options.play.seed)
    return found.layers, found.left_out


@dataclass
class _Found:
    """Layers so far, each once.

    Attributes:
        layers: their features.
        left_out: "agent / layer" -> why.
        untrained: layer and its architecture -> the twin that it was first read of.
    """

    layers: Features = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    untrained: dict[tuple[str, ...], str] = field(default_factory=dict)

    def twin_of_its_kind(self, name: str, agent: Agent, layer: str) -> str | None:
        """An earlier twin that stands for this one: twins of agents that differ in their bonus alone share a body."""
        if agent.trained:
            return None
        is_own = layer in agent.module.backbone.feature_maps() or layer in BODY
        kind = (layer, _backbone(agent), "" if is_own else _rewards(agent))
        first = self.untrained.setdefault(kind, name)
        return None if first == name else first

    def add(self, name: str, layer: str, read: np.ndarray) -> None:
        """Keeps a layer, or leaves it out: what never learns, like RND's target, is no control of itself."""
        same = next(
            (agent for (agent, other), known in self.layers.items() if other == layer and alike(known, read)), None
        )
        if same is None:
            self.layers[name, layer] = read
        else:
            self.left_out[f"{name} / {layer}"] = f"the same as {same} / {layer}"


def alike(known: np.ndarray, read: np.ndarray) -> bool:
    """Whether two layers make the same of all states, but for rounding."""
    return known.shape == read.shape and np.allclose(known, read, atol=1e-3)


def check_names(agents: Mapping[str, Agent], options: ProbeOptions) -> None:
    """Refuses names of layers and variables that there are not, after a few steps of one game.

    A variable that does not show in them is waited for to the end of that game.

    Raises:
        ConfigError: nobody has a layer, or the environment tells no variable, of a name that is asked for; agents of
            different environments.
    """
    if not options.layers and not options.variables:
        return
    first = dict(list(agents.items())[:1])
    for steps in (_FIRST_STEPS, options.play.max_steps):
        seen = observe(first, PlayPlan(games=1, max_steps=steps, states=steps, seed=options.play.seed))
        if set(options.variables) <= set(seen.labels.values):
            break
    check_variables(seen.labels, options.variables)
    names = list(dict.fromkeys(name for agent in agents.values() for name in _layer_names(agent, seen)))
    for layer in options.layers:
        if layer not in names and layer != PIXELS:
            raise unknown_name_error("layer", layer, [*names, PIXELS], "--layers")


def _layer_names(agent: Agent, seen: ProbeStates) -> list[str]:
    """Names of all layers of an agent, those that are left out for being another one too."""
    count = min(len(seen.obs), _FIRST_STEPS)
    memory = np.zeros((count, agent.module.backbone.state_size), dtype=np.float32)
    features, left_out = layer_features(agent, seen.obs[:count], memory, seen.is_first[:count])
    return [*features, *left_out]
