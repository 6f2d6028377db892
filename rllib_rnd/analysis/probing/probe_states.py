"""The states that probes read: games played to their end, all agents that are compared looking at the same ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.probing.labels import LabelledEnv, Labels
from rllib_rnd.envs import make_env
from rllib_rnd.envs.atari_ram import Kind
from rllib_rnd.envs.vector import LeanVectorEnv
from rllib_rnd.errors import ConfigError
from rllib_rnd.sampling.play import Position, Step, play_in
from rllib_rnd.sampling.policy import Policy
from rllib_rnd.sampling.seeds import ResetSeeds, derived_seed

_ENVIRONMENTS = 8  # that are played side by side
_MOST_GAMES = 400


@dataclass(frozen=True)
class PlayPlan:
    """How much is played.

    Attributes:
        games: so many; None: `least_games`, or as many more as it takes to see ``states`` states.
        max_steps: agent steps after which a game is cut.
        states: that are kept at most.
        seed: of environments and actions.
    """

    games: int | None = None
    max_steps: int = 500
    states: int = 3000
    seed: int = 0
    least_games: int = 36


@dataclass(frozen=True)
class ProbeStates:
    """B states in order of games and of time.

    Attributes:
        obs: ``[B, *obs_shape]`` raw.
        is_first: ``[B]`` bool.
        memory: agent -> its memory before ``obs``, ``[B, F]``.
        episode: ``[B]`` int, the game: lives of one game are one, for they are not independent.
        step: ``[B]`` int, agent steps of the game before it.
        labels: what is true of them.
    """

    obs: np.ndarray
    is_first: np.ndarray
    memory: dict[str, np.ndarray]
    episode: np.ndarray
    step: np.ndarray
    labels: Labels


@dataclass
class _Rows:
    """What has been kept so far, a list entry to the state."""

    obs: list[np.ndarray] = field(default_factory=list)
    is_first: list[bool] = field(default_factory=list)
    memory: dict[str, list[np.ndarray]] = field(default_factory=dict)
    episode: list[int] = field(default_factory=list)
    step: list[int] = field(default_factory=list)
    labels: list[dict[str, float]] = field(default_factory=list)

    def thin_out(self, stride: int) -> None:
        """Keeps what would have been kept with this stride."""
        kept = [i for i, (t, game) in enumerate(zip(self.step, self.episode, strict=True)) if _is_kept(t, game, stride)]
        for column in (self.obs, self.is_first, self.episode, self.step, self.labels, *self.memory.values()):
            values = [column[i] for i in kept]  # type: ignore[index]
            column[:] = values  # type: ignore[index, call-overload]


def _is_kept(step: int, game: int, stride: int) -> bool:
    """One state in ``stride``. Games begin their count at different places, so that no moment is left out of all."""
    return (step + game) % stride == 0


def observe(agents: Mapping[str, Agent], plan: PlayPlan, advance: Callable[[int], object] = id) -> ProbeStates:
    """Plays with the first agent's policy (sampled actions) while all agents look on.

    A recurrent agent carries a memory of its own through the games, so that each knows what it would know.

    Args:
        agents: by name, all of one environment; the first one plays.
        plan: how much.
        advance: is told of agent steps as they are played.

    Raises:
        ConfigError: the agents read different observations, or the environment cannot be made.
    """
    names = list(agents)
    player = agents[names[0]]
    check_alike(agents)
    count = min(_ENVIRONMENTS, plan.games or _ENVIRONMENTS)
    envs: list[LabelledEnv] = []

    def make() -> LabelledEnv:
        envs.append(LabelledEnv(make_env(player.config.env, dict(player.config.env_config)), plan.max_steps))
        return envs[-1]

    game = play_in(LeanVectorEnv([make] * count), player.config, ResetSeeds(plan.seed))
    module = player.module
    policy = Policy(
        module.policy_and_values,
        module.distribution,
        torch.Generator().manual_seed(plan.seed),
        memory_size=module.backbone.state_size,
    )
    rows = _Rows(memory={name: [] for name in names})
    stride = 1
    played, wave = 0, 0
    try:
        while _goes_on(plan, played, len(rows.step)):
            game.reset(derived_seed(plan.seed, wave))
            wanted = count if plan.games is None else min(count, plan.games - played)
            _play_wave(_Wave(game.position, envs, wanted, played, stride), game.steps(policy), agents, rows, advance)
            played, wave = played + wanted, wave + 1
            if wave == 1:  # now it is known how long games are
                games = plan.games or plan.least_games
                stride = max(1, games * len(rows.step) // (played * 2 * plan.states))
                rows.thin_out(stride)
    finally:
        game.close()
    kinds = {name: kind for env in envs for name, kind in env.kinds.items()}
    return _gathered(rows, names, kinds, plan.states)


def _goes_on(plan: PlayPlan, played: int, kept: int) -> bool:
    if plan.games is not None:
        return played < plan.games
    return played < plan.least_games or (kept < plan.states and played < _MOST_GAMES)


@dataclass
class _Wave:
    """One game in each environment, from a reset of all of them.

    Attributes:
        position: where they stand.
        envs: they.
        wanted: only the first so many count.
        first: number of the first game.
        stride: every so many steps a state is kept.
    """

    position: Position
    envs: list[LabelledEnv]
    wanted: int
    first: int
    stride: int


@torch.no_grad()
def _play_wave(
    wave: _Wave,
    steps: Iterator[Step],
    agents: Mapping[str, Agent],
    rows: _Rows,
    advance: Callable[[int], object],
) -> None:
    """Plays a game in every environment to its end, and keeps states of it."""
    count = len(wave.envs)
    open_games, taken = np.arange(count) < wave.wanted, np.zeros(count, dtype=int)
    memory = {name: torch.zeros(count, agent.module.backbone.state_size) for name, agent in agents.items()}
    position, labels = wave.position, [env.labels for env in wave.envs]
    while open_games.any():
        for i in np.flatnonzero(open_games & ~position.done):
            if _is_kept(int(taken[i]), wave.first + int(i), wave.stride):
                rows.obs.append(position.obs[i].copy())
                rows.is_first.append(bool(position.is_first[i]))
                rows.episode.append(wave.first + int(i))
                rows.step.append(int(taken[i]))
                rows.labels.append(labels[i])
                for name, kept in rows.memory.items():
                    kept.append(memory[name][i].numpy().copy())
        obs, is_first = torch.from_numpy(position.obs), torch.from_numpy(position.is_first)[None]
        for name, agent in agents.items():
            if agent.module.backbone.state_size:
                state = agent.module.backbone(obs, memory[name], is_first).state
                assert state is not None
                memory[name] = state
        step = next(steps)
        advance(int(open_games.sum()))
        taken += ~step.before.done
        position, labels = step.after, [env.labels for env in wave.envs]
        over = position.done & ~np.array([env.goes_on for env in wave.envs])
        open_games &= ~over


def check_alike(agents: Mapping[str, Agent]) -> None:
    """Refuses agents that cannot look at the same observations.

    Raises:
        ConfigError: there are two such.
    """
    (name, first), *others = agents.items()
    for other, agent in others:
        ours, theirs = first.module.backbone.observation_space, agent.module.backbone.observation_space
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype or agent.env != first.env:
            raise ConfigError(
                other,
                f"reads {agent.env} as {theirs.dtype} {list(theirs.shape)}, {name} reads {first.env} as "
                f"{ours.dtype} {list(ours.shape)}; probes compare agents on the same states",
            )


def _gathered(rows: _Rows, names: list[str], kinds: dict[str, Kind], most: int) -> ProbeStates:
    """Puts the rows in order and thins them out evenly."""
    episode, step = np.array(rows.episode), np.array(rows.step)
    order = np.lexsort((step, episode))
    if len(order) > most:
        order = order[np.linspace(0, len(order) - 1, most).round().astype(int)]
    told = list(dict.fromkeys(name for values in rows.labels for name in values))
    columns = {name: np.array([rows.labels[i].get(name, np.nan) for i in order]) for name in told}
    return ProbeStates(
        obs=np.stack([rows.obs[i] for i in order]),
        is_first=np.array(rows.is_first)[order],
        memory={name: np.stack([rows.memory[name][i] for i in order]) for name in names},
        episode=episode[order],
        step=step[order],
        labels=Labels(columns, {name: kinds[name] for name in told}),
    )
