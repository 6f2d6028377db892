"""What would the agent have said had the skull been elsewhere? Moments of an Atari game, played again and edited.

A tape's episode is played again from its seed and its actions, frame for frame, in this package's own Atari environment
(backend ``gymnasium``, whatever the checkpoint was trained on). K agent steps before the moment, K being the frame
stack, bytes of console memory are written, and the same K actions follow under the same random draws: every frame of
the stack that the agent is then shown was drawn by the game after the edit, through the same frame skip and maximum
over two frames as always. Without an edit the same K steps give the tape's own observation, which is checked.

What an edit changes besides (a skull that is elsewhere may kill) is part of its effect, for these K steps. A recurrent
policy's memory is the tape's: it knows the game as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.events import Event
from rllib_rnd.analysis.ram_edits import EDITS, Edit
from rllib_rnd.analysis.states import States
from rllib_rnd.analysis.tape import Tape, action_names
from rllib_rnd.analysis.targets import look, targets_of
from rllib_rnd.envs.atari import FAMILY as ATARI
from rllib_rnd.envs.atari import AtariEnv
from rllib_rnd.envs.atari_options import atari_games
from rllib_rnd.errors import ConfigError

#: Moments of a tape that are edited, at most.
LIMIT = 4


@dataclass(frozen=True)
class Counterfactual:
    """One moment with one edit.

    Attributes:
        event: that the moment belongs to.
        t: the observation of the tape; later than the event's, where that was less than K steps after a reset.
        edit: what was changed.
        writes: address -> (byte as it was, byte as it was written).
        picture, picture_edited: the screen ``[210, 160, 3]`` uint8.
        obs, obs_edited: what the agent sees ``[*obs_shape]``.
        targets: name -> (as it was, edited).
        actions: names of the actions.
        policy, policy_edited: their probabilities ``[A]``.
    """

    event: Event
    t: int
    edit: Edit
    writes: dict[int, tuple[int, int]]
    picture: np.ndarray
    picture_edited: np.ndarray
    obs: np.ndarray
    obs_edited: np.ndarray
    targets: dict[str, tuple[float, float]]
    actions: list[str]
    policy: np.ndarray
    policy_edited: np.ndarray

    @property
    def changed(self) -> float:
        """The share of the observation's numbers that the edit changed."""
        return float((self.obs != self.obs_edited).mean())

    @property
    def policy_change(self) -> float:
        """Total variation distance of the two policies: 0 the same, 1 nothing in common."""
        return float(0.5 * np.abs(self.policy - self.policy_edited).sum())


class _Shown(NamedTuple):
    """What K steps led to: the last two observations (the former None if K is 1) and the screen."""

    obs_tm1: np.ndarray | None
    obs: np.ndarray
    picture: np.ndarray


def why_none(agent: Agent) -> str | None:
    """Why there are no counterfactuals of an agent's environment, or None if there are."""
    if not ATARI.owns(agent.env):
        return f"{agent.env} is not an Atari game, whose console memory could be edited"
    env = _make(agent)
    rom = atari_games()[env.game]
    env.close()
    if rom not in EDITS:
        known = ", ".join(game for game, name in atari_games().items() if name in EDITS)
        return f"no edit of {agent.env} is known (there are some of {known})"
    return None


def counterfactuals(
    agent: Agent, tape: Tape, events: Sequence[Event], seed: int | None = None, limit: int = LIMIT
) -> list[Counterfactual]:
    """Edits the moments of a tape at which there is something to edit, and measures what the agent makes of it.

    Args:
        agent: who is asked. Its environment is the tape's.
        tape: with the agent's own memory (see `replay`).
        events: of this tape, the chief ones first.
        seed: that the tape's environment was reset with; None: the one that the tape tells.
        limit: of moments.

    Returns:
        For each of the first ``limit`` moments its edits in the order of `EDITS`, the control last; empty where
        `why_none` says why, or where nothing that could be edited was met.

    Raises:
        ConfigError: the seed is unknown, or the game does not play again what is on the tape.
    """
    if why_none(agent) is not None or not events:
        return []
    seed = tape.seed if seed is None else seed
    if seed is None:
        raise ConfigError("seed", "the tape does not say which seed its episode was played with", "a whole number")
    env = _make(agent)
    try:
        moments: dict[int, Event] = {}
        for event in events:
            t = _moment(tape, event, env)
            if t is not None:
                moments.setdefault(t, event)
        stack = env.options.frame_stack
        saved = dict(_played_again(env, tape, seed, {t - stack for t in moments}))
        states, told = States.of_tape(tape, events[0].episode, list(moments)), 0
        found: list[Counterfactual] = []
        for i, (t, event) in enumerate(moments.items()):
            edited = list(_edited(agent, env, saved[t - stack], tape, event, states.select([i])))
            if any(one.edit.purpose == "thing" for one in edited):
                found += edited
                told += 1
            if told == limit:
                break
    finally:
        env.close()
    return found


def _make(agent: Agent) -> AtariEnv:
    """The agent's game on the one backend whose memory can be written."""
    options = {**agent.config.env_config, "backend": "gymnasium"}
    env = ATARI.single(agent.env, options, "rgb_array")
    assert isinstance(env, AtariEnv)
    return env


def _moment(tape: Tape, event: Event, env: AtariEnv) -> int | None:
    """The observation at or after an event that K steps led to without a reset; None if the life ends before."""
    t = max(event.t, event.first + env.options.frame_stack)
    return t if t <= min(event.last, len(tape.action) - 1) else None


def _played_again(env: AtariEnv, tape: Tape, seed: int, wanted: set[int]) -> Iterator[tuple[int, dict[str, object]]]:
    """Plays a tape's actions from its seed on; yields the environment's state at the ``wanted`` observations.

    Raises:
        ConfigError: what is seen is not what is on the tape.
    """
    obs, _ = env.reset(seed=seed)
    for t in range(max(wanted, default=-1) + 1):
        seen = obs if tape.frame_stack == 1 else obs[0 if tape.newest_first else -1]
        if not np.array_equal(seen, tape.frames[t + tape.frame_stack - 1]):
            problem = f"played again with seed {seed}, the episode differs from the tape at observation {t}"
            raise ConfigError("tape", problem, "a tape of this environment with these options (env_config)")
        if t in wanted:
            yield t, env.clone_state()
        if tape.is_first[t + 1]:
            obs, _ = env.reset()
        else:
            obs = env.step(int(tape.action[t]))[0]


def _shown(
    env: AtariEnv, state: dict[str, object], writes: Mapping[int, int], actions: Sequence[np.ndarray]
) -> _Shown | None:
    """What K steps from an edited state on lead to, or None if the episode ends before."""
    env.restore_state(state)
    for address, byte in writes.items():
        env.ale.setRAM(address, byte)
    obs_tm1 = obs = None
    for action in actions:
        obs_tm1 = obs
        obs, _, terminated, truncated, _ = env.step(int(action))
        if terminated or truncated:
            return None
    assert obs is not None
    return _Shown(obs_tm1, obs, env.ale.getScreenRGB())


def _edited(
    agent: Agent, env: AtariEnv, state: dict[str, object], tape: Tape, event: Event, states: States
) -> Iterator[Counterfactual]:
    """All edits of one moment that do something there: ``state`` is K steps before it, ``states`` is of it (B = 1)."""
    t = _moment(tape, event, env)
    assert t is not None
    actions = tape.action[t - env.options.frame_stack : t]
    before = _shown(env, state, {}, actions)
    if before is None or not np.array_equal(before.obs, states.obs[0]):
        raise ConfigError("tape", f"played again, the episode differs from the tape at observation {t}")
    env.restore_state(state)
    ram = env.ale.getRAM()
    names, as_it_was = action_names(env), _measured(agent, states, before)
    for edit in EDITS[atari_games()[env.game]]:
        writes = edit.writes(ram)
        after = None if writes is None else _shown(env, state, writes, actions)
        if writes is None or after is None:
            continue
        # An edit that is not seen (any more) says nothing, unless that is its purpose.
        newest = 0 if env.options.stack_order == "newest_first" else -1
        if edit.purpose != "control" and (after.obs[newest] == before.obs[newest]).all():
            continue
        targets, policy = _measured(agent, states, after)
        yield Counterfactual(
            event,
            t,
            edit,
            {address: (int(ram[address]), byte) for address, byte in writes.items()},
            before.picture,
            after.picture,
            before.obs,
            after.obs,
            {name: (value, targets[name]) for name, value in as_it_was[0].items()},
            names,
            as_it_was[1],
            policy,
        )


@torch.no_grad()
def _measured(agent: Agent, states: States, shown: _Shown) -> tuple[dict[str, float], np.ndarray]:
    """Every target and the policy ``[A]`` at one moment as it is shown."""
    if shown.obs_tm1 is not None:
        states = replace(states, obs_tm1=shown.obs_tm1[None])
    obs = shown.obs[None]
    targets = {target.name: float(target.measure(agent, states, obs)[0]) for target in targets_of(agent)}
    dist_inputs = look(agent, states, torch.from_numpy(obs)).dist_inputs
    return targets, torch.softmax(dist_inputs[0].double(), dim=0).numpy()
