"""``rllib evaluate``: plays episodes with a checkpoint's policy and reports raw returns."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from rllib_rnd.cli.checkpoints import checkpoint_config, find_checkpoint
from rllib_rnd.cli.runtime import be_quiet, console, say
from rllib_rnd.errors import ConfigError


@dataclass
class EvaluateOptions:
    """The options of ``rllib evaluate``.

    Attributes:
        episodes: episodes per seed.
        seeds: seeds of the environments and of the action draws.
        deterministic: the most likely action instead of a draw.
        num_envs: environments played at the same time.
        json_file: where to write the result, or None.
    """

    episodes: int = 10
    seeds: tuple[int, ...] = (0,)
    deterministic: bool = False
    num_envs: int = 8
    json_file: str | None = None


@dataclass
class Episode:
    """One finished episode.

    Attributes:
        seed: the seed it was played under.
        episode_return: sum of raw rewards.
        length: agent steps.
        rooms: rooms visited, or None if the environment tells none.
    """

    seed: int
    episode_return: float
    length: int
    rooms: list[int] | None = None


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
    result = Evaluation(str(folder), str(config.env), options.deterministic)
    for seed in options.seeds:
        result.episodes += play(module, config, options, seed)
    print_evaluation(result, options)
    if options.json_file:
        write_json(result, Path(options.json_file))
    return result


def load_module(folder: Path) -> Any:
    """Returns the policy's RLModule, on the CPU, in evaluation mode and without the noise of noisy layers.

    Raises:
        ConfigError: the checkpoint holds no such module.
    """
    from ray.rllib.core.rl_module.rl_module import RLModule

    from rllib_rnd.modules.layers import noisy_layers

    path = folder / "learner_group" / "learner" / "rl_module" / "default_policy"
    if not path.is_dir():
        raise ConfigError(f"checkpoint {folder}: holds no single-agent module (default_policy).")
    module = RLModule.from_checkpoint(str(path))
    for layer in noisy_layers(module):
        layer.silence()
    module.eval()
    return module


def play(module: Any, config: Any, options: EvaluateOptions, seed: int) -> list[Episode]:
    """Plays one seed's episodes.

    Args:
        module: the policy.
        config: the configuration of the checkpoint; environment and its options are taken from it.
        options: how many episodes, environments, and how to choose actions.
        seed: for ``reset`` and for the action draws.
    """
    import torch

    from rllib_rnd.envs import make_vector_env
    from rllib_rnd.modules.actions import to_environment
    from rllib_rnd.sampling.episodes import EpisodeTracker

    count = min(options.num_envs, options.episodes)
    share = [options.episodes // count + (i < options.episodes % count) for i in range(count)]
    env = make_vector_env(config.env, count, dict(config.env_config))
    to_env = to_environment(env.single_action_space, config.normalize_actions, config.clip_actions)
    generator = torch.Generator().manual_seed(seed)
    tracker, policy = EpisodeTracker(count), Policy(module, count)
    is_first, done = np.ones(count, dtype=bool), np.zeros(count, dtype=bool)
    found: list[list[Episode]] = [[] for _ in range(count)]
    try:
        obs, infos = env.reset(seed=seed)
        tracker.start(infos)
        while any(len(f) < s for f, s in zip(found, share, strict=True)):
            action = policy.act(obs, is_first, options.deterministic, generator)
            obs, reward, terminated, truncated, infos = env.step(to_env(action))
            # The step after an episode's end only resets.
            is_first, done = done, np.asarray(terminated) | np.asarray(truncated)
            tracker.step(np.asarray(reward), done, is_first, infos)
            for episode in tracker.take_finished() if done.any() else []:
                if len(found[episode.env_index]) < share[episode.env_index]:
                    rooms = sorted(episode.rooms) if "room" in episode.places else None
                    found[episode.env_index].append(Episode(seed, episode.raw_return, episode.length, rooms))
    finally:
        env.close()
    return [episode for episodes in found for episode in episodes]


class Policy:
    """A checkpoint's policy, of this package or RLlib's own, with its memory of N environments if it has one.

    Args:
        module: the policy's RLModule.
        num_envs: N.
    """

    def __init__(self, module: Any, num_envs: int) -> None:
        import torch
        import tree

        from rllib_rnd.modules.actions import distribution_for_space

        self._module, self._distribution = module, distribution_for_space(module.action_space)

        def of_all(value: Any) -> Any:
            value = torch.as_tensor(value)
            return value.expand(num_envs, *value.shape)

        # RLlib's memories are trees of arrays without the axis of environments; {} for a policy without.
        self._empty = tree.map_structure(of_all, module.get_initial_state())
        self._memory = self._empty

    def act(self, obs: np.ndarray, is_first: np.ndarray, deterministic: bool, generator: Any) -> np.ndarray:
        """Returns one action per environment, ``[N, ...]``, most likely or drawn, before any scaling to bounds.

        Args:
            obs: ``[N, *obs_shape]``.
            is_first: ``[N]`` bool, episodes that begin here.
            deterministic: the most likely action instead of a draw.
            generator: of the draws.
        """
        import torch
        import tree
        from ray.rllib.core.columns import Columns

        batch: dict[str, Any] = {Columns.OBS: torch.as_tensor(np.asarray(obs))}
        with torch.no_grad():
            if self._empty:
                begins = torch.as_tensor(is_first)

                def begun(empty: Any, memory: Any) -> Any:
                    return torch.where(begins.view(-1, *[1] * (memory.dim() - 1)), empty, memory)

                memory = tree.map_structure(begun, self._empty, self._memory)
                # A time axis of one step behind that of the environments.
                batch = {Columns.OBS: batch[Columns.OBS][:, None], Columns.STATE_IN: memory}
            output = self._module.forward_inference(batch)
            dist_inputs = output[Columns.ACTION_DIST_INPUTS].float()
            if self._empty:
                self._memory, dist_inputs = output[Columns.STATE_OUT], dist_inputs[:, 0]
            if deterministic:
                return self._distribution.mode(dist_inputs).numpy()
            return self._distribution.sample(dist_inputs, generator)[0].numpy()


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
        raise ConfigError(f"--json {path}: cannot be written ({error}).") from error
    say(f"written to {path}")
