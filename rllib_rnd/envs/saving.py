"""The state of one environment as plain data, through the wrappers that it is in.

An environment saves itself by its methods ``clone_state`` and ``restore_state``. Gymnasium's classic control and toy
text have none, and their state is a few attributes that are known here. The wrappers around either are saved by their
attributes; one that keeps what is no number, string or array cannot be.
"""

from __future__ import annotations

import copy
import types
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv

#: Attributes that decide the future, by the class of an environment of gymnasium's.
_GYMNASIUM: dict[str, tuple[str, ...]] = {
    "classic_control.acrobot.AcrobotEnv": ("state",),
    "classic_control.cartpole.CartPoleEnv": ("state", "steps_beyond_terminated"),
    "classic_control.continuous_mountain_car.Continuous_MountainCarEnv": ("state",),
    "classic_control.mountain_car.MountainCarEnv": ("state",),
    "classic_control.pendulum.PendulumEnv": ("state", "last_u"),
    "toy_text.blackjack.BlackjackEnv": ("dealer", "player"),
    "toy_text.cliffwalking.CliffWalkingEnv": ("s", "lastaction"),
    "toy_text.frozen_lake.FrozenLakeEnv": ("s", "lastaction"),
    "toy_text.taxi.TaxiEnv": ("s", "lastaction", "fickle_step"),
}
# What every wrapper of gymnasium's has, and what does not change while one plays.
_OF_ALL = {"env", "_action_space", "_observation_space", "_metadata", "_cached_spec", "_saved_kwargs"}
_FIXED = (gym.Space, EnvSpec, types.ModuleType)
_NUMBERS = (bool, int, float, str, np.generic, np.ndarray)

State = dict[str, Any]


def why_not_saved(env: gym.Env) -> str | None:
    """Why an environment cannot save its state, in words; None: it can."""
    wrappers, core = _layers(env)
    for wrapper in wrappers:
        for name, value in _attributes(wrapper).items():
            if value is not None and not isinstance(value, _NUMBERS):
                return f"its wrapper {type(wrapper).__name__} has no method clone_state and keeps its {name} to itself"
    if _has_own(core):
        return getattr(core, "why_no_state", None)  # of one around another that cannot
    if _name(core) in _GYMNASIUM:
        return None
    return f"{type(core).__name__} has no method clone_state"


def why_vector_not_saved(env: VectorEnv) -> str | None:
    """Why a vector environment cannot save its state, in words; None: it can."""
    if getattr(env, "can_clone_state", False):
        return None
    return str(getattr(env, "why_no_state", f"{type(env).__name__} has no method clone_state"))


def clone_state(env: gym.Env) -> State:
    """All that decides the future of an environment that can be saved, as plain data if its own ``clone_state`` is."""
    wrappers, core = _layers(env)
    own = core.clone_state() if _has_own(core) else _gymnasium_state(core)  # type: ignore[attr-defined]
    return {"wrappers": [_plain(_attributes(wrapper)) for wrapper in wrappers], "own": own}


def restore_state(env: gym.Env, state: State) -> None:
    """Goes back to where `clone_state` was called, also in another process."""
    wrappers, core = _layers(env)
    for wrapper, attributes in zip(wrappers, state["wrappers"], strict=True):
        vars(wrapper).update(copy.deepcopy(attributes))
    if _has_own(core):
        core.restore_state(state["own"])  # type: ignore[attr-defined]
        return
    vars(core).update(copy.deepcopy(state["own"]["attributes"]))
    core.np_random.bit_generator.state = copy.deepcopy(state["own"]["np_random"])


def _layers(env: gym.Env) -> tuple[list[gym.Wrapper], gym.Env]:
    """The wrappers, from the outside, and what they are around: the first that saves itself, or the innermost."""
    wrappers = []
    while isinstance(env, gym.Wrapper) and not _has_own(env):
        wrappers.append(env)
        env = env.env
    return wrappers, env


def _has_own(env: gym.Env) -> bool:
    # Of the object itself: wrappers would answer for what they are around.
    return hasattr(type(env), "clone_state") or "clone_state" in vars(env)


def _attributes(wrapper: gym.Wrapper) -> dict[str, Any]:
    """What a wrapper holds of its own and may change."""
    return {name: value for name, value in vars(wrapper).items() if name not in _OF_ALL and not _is_fixed(value)}


def _is_fixed(value: object) -> bool:
    if isinstance(value, tuple) and value:
        return all(map(_is_fixed, value))
    return callable(value) or isinstance(value, _FIXED)


def _name(env: gym.Env) -> str:
    return f"{type(env).__module__}.{type(env).__name__}".removeprefix("gymnasium.envs.")


def _gymnasium_state(env: gym.Env) -> State:
    attributes = {name: vars(env)[name] for name in _GYMNASIUM[_name(env)] if name in vars(env)}
    return {"attributes": _plain(attributes), "np_random": copy.deepcopy(env.np_random.bit_generator.state)}


def _plain(value: object) -> object:
    """A copy with numbers of Python's in place of numpy's, and lists for tuples; arrays stay."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return copy.deepcopy(value)
