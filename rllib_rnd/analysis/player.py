"""Playing episodes of a checkpoint's environment with its policy, all that happens written down."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.figures.video import encode_picture
from rllib_rnd.analysis.tape import Tape
from rllib_rnd.envs import make_env
from rllib_rnd.envs.info import GAME_GOES_ON, LIVES, POSITION, ROOM
from rllib_rnd.envs.vector import LeanVectorEnv
from rllib_rnd.errors import ConfigError
from rllib_rnd.sampling.play import Infos, Position, play_in
from rllib_rnd.sampling.policy import Policy
from rllib_rnd.sampling.seeds import ResetSeeds

DEFAULT_FPS = 15.0  # where the environment tells none: Atari's 60 frames a second at 4 frames to the agent step


@dataclass(frozen=True)
class PlayOptions:
    """How episodes are played.

    Attributes:
        seed: of resets that no seed is given for.
        max_steps: agent steps after which an episode is cut (in Atari 1 agent step = 4 frames).
        deterministic: the most likely action instead of a draw.
        height: of the environment's pictures in pixels, at most.
    """

    seed: int = 0
    max_steps: int = 4500
    deterministic: bool = False
    height: int = 480


class Player:
    """Plays episodes of an agent's environment with its policy.

    Args:
        agent: who plays.
        options: how.
        notice: is told, once, if the environment gives no pictures.

    Attributes:
        single: the environment.
        game: play in it, as a vector of one.
        fps: agent steps per second of its real time.

    Raises:
        ConfigError: the environment cannot be made.
    """

    def __init__(self, agent: Agent, options: PlayOptions, notice: Callable[[str], object] = str) -> None:
        self.agent, self.options, self._notice = agent, options, notice
        self.single = make_single(agent.config)
        vector = LeanVectorEnv([lambda: self.single])  # gathers and resets as in training
        self.game = play_in(vector, agent.config, ResetSeeds(options.seed))
        self._policy = Policy(
            agent.module.policy_and_values,
            agent.module.distribution,
            torch.Generator(),
            memory_size=agent.module.backbone.state_size,
            deterministic=options.deterministic,
        )
        self.fps = float(self.single.metadata.get("render_fps") or DEFAULT_FPS)
        self._renders = True

    def close(self) -> None:
        """Closes the environment."""
        self.game.close()

    def play(self, seed: int) -> Tape:
        """Plays one episode, cut after ``max_steps`` agent steps."""
        tape = Tape(self.game.stack.size, self.game.stack.newest_first, seed=seed)
        self._policy.generator.manual_seed(seed)
        infos, steps = self.game.reset(seed), 0
        self._look(tape, self.game.position, infos)
        for step in self.game.steps(self._policy):
            tape.add_step(step)
            # The step after the end of a life only resets, and its action is ignored.
            steps += not step.after.is_first[0]
            tape.finished = bool(step.after.done[0]) and not life_only(step.infos)
            self._look(tape, step.after, step.infos)
            if tape.finished or steps >= self.options.max_steps:
                break
        end = self.game.position
        last = self._policy.look(end.obs, end.memory, end.is_first)
        tape.add_outlook(last.dist_inputs[0].numpy(), last.value[0])
        return tape

    def _look(self, tape: Tape, position: Position, infos: Infos) -> None:
        """Writes down an observation, where it is, and the environment's picture."""
        tape.add_frames(position.obs[0])
        tape.is_first.append(bool(position.is_first[0]))
        # A play that no policy has stepped yet knows no memory.
        memory = position.memory if position.memory.shape[1] else self._policy.empty_memory(1)
        tape.memory.append(np.array(memory[0]))
        tape.rooms.append(int(infos[ROOM][0]) if ROOM in infos else None)
        tape.positions.append(int(infos[POSITION][0]) if POSITION in infos else None)
        tape.lives.append(int(infos[LIVES][0]) if LIVES in infos else None)
        tape.life_lost.append(life_only(infos))
        if self._renders:
            self._take_picture(tape)

    def _take_picture(self, tape: Tape) -> None:
        """Adds the environment's picture, or says once that it has none.

        Raises:
            ConfigError: observations without a single number are all there is.
        """
        picture, reason = rendered(self.single)
        if picture is not None:
            tape.pictures.append(encode_picture(picture, self.options.height))
            return
        self._renders = False
        tape.pictures.clear()
        if tape.frames[0].size == 0:
            raise ConfigError(f"env {self.agent.env}", "nothing to show, neither pictures nor observations")
        self._notice(f"{self.agent.env} gives no pictures ({reason}): what the agent sees is shown.")


def make_single(config: AlgorithmConfig) -> gym.Env:
    """Makes the checkpoint's environment, with pictures if it can be made so.

    Raises:
        ConfigError: it cannot be made at all.
    """
    # pygame looks for a screen and a sound card, which servers lack.
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
    try:
        return make_env(config.env, config.env_config, render_mode="rgb_array")
    except ConfigError:
        return make_env(config.env, config.env_config)  # for example a class that takes no render mode


def rendered(env: gym.Env) -> tuple[np.ndarray | None, str]:
    """Returns the environment's picture, ``[h, w, 3]`` uint8, or None and why there is none."""
    if "rgb_array" not in env.metadata.get("render_modes", ["rgb_array"]):
        return None, "no render mode 'rgb_array'"
    try:
        picture: Any = env.render()
    except Exception as error:  # it may be any; the rest of the video is still worth seeing
        return None, (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.shape[2:] == (3,):
        return picture, ""
    return None, "what it renders is not uint8 [height, width, 3]"


def life_only(infos: Infos) -> bool:
    """Whether an episode that ends here is one life of a game that goes on."""
    return GAME_GOES_ON in infos and bool(infos[GAME_GOES_ON][0])
