"""``rllib record``: plays episodes with a checkpoint's policy into a video of what it sees, thinks and does."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_rnd.analysis.tape import Tape, make_recording
from rllib_rnd.analysis.video import Recording, encode_picture, import_ffmpeg, write_video
from rllib_rnd.cli.checkpoints import checkpoint_config, find_checkpoint
from rllib_rnd.cli.evaluate import load_module
from rllib_rnd.cli.runtime import be_quiet, say
from rllib_rnd.cli.surroundings import cannot_write
from rllib_rnd.envs import make_env
from rllib_rnd.envs.info import GAME_GOES_ON, ROOM
from rllib_rnd.envs.makers import env_name
from rllib_rnd.envs.vector import LeanVectorEnv
from rllib_rnd.errors import ConfigError
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.sampling.play import Infos, Position, play_in
from rllib_rnd.sampling.policy import Policy
from rllib_rnd.sampling.seeds import ResetSeeds

DEFAULT_FPS = 15.0  # where the environment tells none: Atari's 60 frames a second at 4 frames to the agent step


@dataclass
class RecordOptions:
    """The options of ``rllib record``.

    Attributes:
        out: the MP4 file; None: named after the checkpoint or run, in the current folder.
        episodes: how many.
        max_steps: agent steps after which an episode is cut (in Atari 1 agent step = 4 frames).
        seed: of the first episode, its environment and its action draws; each next episode has the next number.
        deterministic: the most likely action instead of a draw.
        fps: frames per second; None: the environment's real time.
        height: of the video in pixels.
    """

    out: str | None = None
    episodes: int = 1
    max_steps: int = 4500
    seed: int = 0
    deterministic: bool = False
    fps: float | None = None
    height: int = 480


def record(checkpoint: str, options: RecordOptions) -> Path:
    """Plays ``options.episodes`` episodes into one MP4 file and returns its path.

    Raises:
        ConfigError: no usable checkpoint, a policy or an environment that cannot be shown, a file that cannot be
            written, or a missing package.
    """
    be_quiet(verbose=False)
    folder = find_checkpoint(checkpoint)
    path = output_path(options.out, checkpoint)
    import_ffmpeg()  # what is missing is told before anything is played
    player = Player(folder, options)
    try:
        size, frames = write_video(path, player.recordings(), options.height, player.fps)
    finally:
        player.game.close()
    width, height = size
    megabytes = path.stat().st_size / 1e6
    say(f"{path}: {frames:,} frames at {player.fps:g} per second, {width} x {height}, {megabytes:.1f} MB")
    return path


def output_path(out: str | None, checkpoint: str) -> Path:
    """Returns where to write, its folder made.

    Raises:
        ConfigError: another suffix than .mp4, or a place that cannot be written to.
    """
    path = Path(out) if out is not None else Path(f"{Path(checkpoint).expanduser().resolve().name}.mp4")
    if path.suffix.lower() != ".mp4":
        raise ConfigError(f"--out {path}", f"suffix {path.suffix!r}", "a file name that ends in .mp4")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise cannot_write(f"--out {path}", error) from error
    return path


class Player:
    """Plays episodes of a checkpoint's environment with its policy.

    Args:
        checkpoint: folder of the checkpoint.
        options: how to play.

    Attributes:
        single: the environment.
        game: play in it, as a vector of one.
        module: the policy with its intrinsic rewards.
        fps: frames per second that the video is to have.

    Raises:
        ConfigError: the policy is not of this package, or the environment cannot be made.
    """

    def __init__(self, checkpoint: Path, options: RecordOptions) -> None:
        self.options, self.config = options, checkpoint_config(checkpoint)
        module = load_module(checkpoint)
        if not isinstance(module, IntrinsicPPOModule):
            raise ConfigError(
                f"checkpoint {checkpoint}",
                f"its module {type(module).__name__} has no policy_and_values(); `rllib record` shows this package's "
                "algorithms (IntrinsicPPO, RND, SND), not RLlib's own",
            )
        self.module = module
        self.single = make_single(self.config)
        vector = LeanVectorEnv([lambda: self.single])  # gathers and resets as in training
        self.game = play_in(vector, self.config, ResetSeeds(options.seed))
        self._policy = Policy(
            module.policy_and_values,
            module.distribution,
            torch.Generator(),
            memory_size=module.backbone.state_size,
            deterministic=options.deterministic,
        )
        self._renders = True
        self.fps = options.fps or float(self.single.metadata.get("render_fps") or DEFAULT_FPS)

    def recordings(self) -> Iterator[Recording]:
        """Plays the episodes one after the other, prints a line on each, and yields what is to be shown of them."""
        names = reward_names(self.config.intrinsic_reward_specs())
        for i in range(self.options.episodes):
            seed = self.options.seed + i
            tape = self.play(seed)
            line = f"episode {i + 1}: return {sum(tape.reward):g}, {tape.valid.sum():,} agent steps"
            if tape.rooms_visited is not None:
                line += f", rooms {', '.join(map(str, tape.rooms_visited)) or 'none'}"
            say(line if tape.finished else f"{line} (cut there by --max-steps)")
            episode = f"{i + 1} of {self.options.episodes}, seed {seed}"
            title = env_name(self.config.env)
            yield make_recording(tape, self.module, self.single, self.game.to_env, title, episode, names)

    def play(self, seed: int) -> Tape:
        """Plays one episode, cut after ``max_steps`` agent steps."""
        tape = Tape(self.game.stack.size, self.game.stack.newest_first)
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
        """Writes down an observation, the room it is in, and the environment's picture."""
        tape.add_frames(position.obs[0])
        tape.is_first.append(bool(position.is_first[0]))
        tape.rooms.append(int(infos[ROOM][0]) if ROOM in infos else None)
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
            raise ConfigError(f"env {env_name(self.config.env)}", "nothing to show, neither pictures nor observations")
        say(f"{env_name(self.config.env)} gives no pictures ({reason}): the video shows what the agent sees.")


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


def reward_names(specs: list[dict[str, Any]]) -> list[str]:
    """Short names of intrinsic rewards, all different: of an import path the class."""
    short = [str(spec["type"]).rpartition(":")[2] for spec in specs]
    return [name if short.count(name) == 1 else f"{name} {i + 1}" for i, name in enumerate(short)]
