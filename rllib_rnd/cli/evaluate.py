"""``rllib evaluate``: plays episodes with a checkpoint's policy and reports raw returns."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import tree
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule
from rich.table import Table
from torch import Tensor

from rllib_rnd.checkpoints import checkpoint_config, load_module
from rllib_rnd.cli.checkpoints import find_checkpoint
from rllib_rnd.cli.runtime import be_quiet, console, say
from rllib_rnd.cli.surroundings import cannot_write
from rllib_rnd.envs.info import ROOM
from rllib_rnd.envs.makers import env_name
from rllib_rnd.modules.actions import distribution_for_space
from rllib_rnd.sampling.evaluation import play_episodes, shares
from rllib_rnd.sampling.play import make_play
from rllib_rnd.sampling.policy import Policy
from rllib_rnd.sampling.seeds import ResetSeeds
from rllib_rnd.settings import Settings


@dataclass
class EvaluateOptions:
    """The options of ``rllib evaluate``.

    Attributes:
        episodes: episodes per seed.
        seeds: seeds of the environments and of the action draws.
        deterministic: the most likely action instead of a draw.
        num_envs: environments played at the same time.
        json_file: where to write the result, or None.
        max_steps: agent steps after which an episode is cut; None: the checkpoint's max_evaluation_steps.
    """

    episodes: int = 10
    seeds: tuple[int, ...] = (0,)
    deterministic: bool = False
    num_envs: int = 8
    json_file: str | None = None
    max_steps: int | None = None


@dataclass
class Episode:
    """One finished episode.

    Attributes:
        seed: the seed it was played under.
        episode_return: sum of raw rewards.
        length: agent steps.
        rooms: rooms visited, or None if the environment tells none.
        cut: it had not ended after ``max_steps``.
    """

    seed: int
    episode_return: float
    length: int
    rooms: list[int] | None = None
    cut: bool = False


@dataclass
class Evaluation:
    """All episodes of one evaluation and what they were played with."""

    checkpoint: str
    env: str
    deterministic: bool
    episodes: list[Episode] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Returns mean, std, min and max of the return, mean length, and rooms if there are any."""
        returns = np.array([e.episode_return for e in self.episodes])
        values = {
            "episodes": float(len(returns)),
            "return_mean": float(returns.mean()),
            "return_std": float(returns.std()),
            "return_min": float(returns.min()),
            "return_max": float(returns.max()),
            "episode_len_mean": float(np.mean([e.length for e in self.episodes])),
        }
        rooms = [e.rooms for e in self.episodes if e.rooms is not None]
        if rooms:
            values["rooms_per_episode_mean"] = float(np.mean([len(r) for r in rooms]))
            values["rooms_visited"] = float(len(set().union(*rooms)))
        return values


def evaluate(checkpoint: str, options: EvaluateOptions) -> Evaluation:
    """Plays ``options.episodes`` episodes for each seed.

    Every environment plays a fixed share of the episodes: taking whichever end first would favour short ones.

    Raises:
        ConfigError: no usable checkpoint, or a policy that this loop cannot run.
    """
    be_quiet(verbose=False)
    folder = find_checkpoint(checkpoint)
    config = checkpoint_config(folder)
    module = load_module(folder)
    result = Evaluation(str(folder), env_name(config.env), options.deterministic)
    for seed in options.seeds:
        result.episodes += play(module, config, options, seed)
    print_evaluation(result, options)
    if options.json_file:
        write_json(result, Path(options.json_file))
    return result


def play(module: RLModule, config: AlgorithmConfig, options: EvaluateOptions, seed: int) -> list[Episode]:
    """Plays one seed's episodes.

    Args:
        module: the policy.
        config: the configuration of the checkpoint; environment and its options are taken from it.
        options: how many episodes, environments, and how to choose actions.
        seed: for ``reset`` and for the action draws.
    """
    count = min(options.num_envs, options.episodes)
    game = make_play(config, count, ResetSeeds(seed))
    policy = inference_policy(module, options.deterministic, seed)
    found: list[list[Episode]] = [[] for _ in range(count)]
    try:
        for e in play_episodes(game, policy, shares(options.episodes, count), step_limit(config, options)):
            rooms = sorted(e.rooms) if ROOM in e.places else None
            found[e.env_index].append(Episode(seed, e.raw_return, e.length, rooms, e.cut))
    finally:
        game.close()
    return [episode for episodes in found for episode in episodes]


def step_limit(config: AlgorithmConfig, options: EvaluateOptions) -> int:
    """Agent steps after which an episode is cut."""
    # RLlib's own algorithms have no such setting.
    default = getattr(config, "max_evaluation_steps", Settings.max_evaluation_steps)
    return int(options.max_steps or default)


def inference_policy(module: RLModule, deterministic: bool, seed: int) -> Policy:
    """The policy of a module, of this package or RLlib's own, by its ``forward_inference``; it tells no values.

    Args:
        module: on the CPU.
        deterministic: the most likely action instead of a draw.
        seed: of the draws.
    """
    # RLlib's memories are trees of arrays without the axis of environments; {} for a policy without.
    empty = tree.map_structure(torch.as_tensor, module.get_initial_state())
    leaves = tree.flatten(empty)

    def forward(obs: Tensor, memory: Tensor | None, is_first: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        no_values = torch.zeros((len(obs), 0))
        if memory is None or is_first is None:
            output = module.forward_inference({Columns.OBS: obs})
            return output[Columns.ACTION_DIST_INPUTS], no_values, None
        parts = memory.split([leaf.numel() for leaf in leaves], dim=1)
        begins = is_first[0]
        state = [
            torch.where(begins.view(-1, *[1] * leaf.dim()), leaf, part.view(-1, *leaf.shape).to(leaf.dtype))
            for leaf, part in zip(leaves, parts, strict=True)
        ]
        # A time axis of one step behind that of the environments.
        batch = {Columns.OBS: obs[:, None], Columns.STATE_IN: tree.unflatten_as(empty, state)}
        output = module.forward_inference(batch)
        after = [leaf.flatten(1) for leaf in tree.flatten(output[Columns.STATE_OUT])]
        return output[Columns.ACTION_DIST_INPUTS][:, 0], no_values, torch.cat(after, dim=1)

    return Policy(
        forward,
        distribution_for_space(module.action_space),
        torch.Generator().manual_seed(seed),
        memory_size=sum(leaf.numel() for leaf in leaves),
        deterministic=deterministic,
    )


def print_evaluation(result: Evaluation, options: EvaluateOptions) -> None:
    """Prints one row per seed and one for all."""
    kind = "most likely actions" if result.deterministic else "sampled actions"
    say(f"{result.env}, {kind}, {result.checkpoint}")
    rooms = any(e.rooms is not None for e in result.episodes)
    table = Table(box=None)
    headings = ["seed", "episodes", "return", "std", "min", "max", "length"]
    for heading in [*headings, *(["rooms/episode", "rooms"] if rooms else [])]:
        table.add_column(heading, justify="right")
    groups: list[tuple[str, list[Episode]]] = [
        (str(seed), [e for e in result.episodes if e.seed == seed]) for seed in options.seeds
    ]
    if len(options.seeds) > 1:
        groups.append(("all", result.episodes))
    for label, episodes in groups:
        values = Evaluation(result.checkpoint, result.env, result.deterministic, episodes).summary()
        table.add_row(label, f"{values.pop('episodes'):.0f}", *(f"{value:.4g}" for value in values.values()))
    console().print(table)
    cut = [e.length for e in result.episodes if e.cut]
    if cut:
        say(
            f"{len(cut)} of {len(result.episodes)} episodes had not ended after {max(cut):,} agent steps and were cut "
            "there (--max-steps)."
        )


def write_json(result: Evaluation, path: Path) -> None:
    """Writes every episode and the summary.

    Raises:
        ConfigError: the file cannot be written.
    """
    data = {**asdict(result), "summary": result.summary()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise cannot_write(f"--json {path}", error) from error
    say(f"written to {path}")
