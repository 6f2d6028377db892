"""``rllib record``: plays episodes with a checkpoint's policy into a video of what it sees, thinks and does."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.figures.mp4 import import_ffmpeg
from rllib_rnd.analysis.figures.video import Recording, write_video
from rllib_rnd.analysis.player import Player, PlayOptions
from rllib_rnd.analysis.tape import make_recording
from rllib_rnd.cli.checkpoints import find_checkpoint
from rllib_rnd.cli.runtime import be_quiet, say
from rllib_rnd.cli.surroundings import cannot_write
from rllib_rnd.errors import ConfigError


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
    how = PlayOptions(options.seed, options.max_steps, options.deterministic, options.height)
    player = Player(Agent.load(folder, "record"), how, say)
    fps = options.fps or player.fps
    try:
        size, frames = write_video(path, recordings(player, options.episodes), options.height, fps)
    finally:
        player.close()
    width, height = size
    megabytes = path.stat().st_size / 1e6
    say(f"{path}: {frames:,} frames at {fps:g} per second, {width} x {height}, {megabytes:.1f} MB")
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


def recordings(player: Player, episodes: int) -> Iterator[Recording]:
    """Plays episodes one after the other, prints a line on each, and yields what is to be shown of them."""
    agent, first = player.agent, player.options.seed
    for i in range(episodes):
        tape = player.play(first + i)
        line = f"episode {i + 1}: return {sum(tape.reward):g}, {tape.valid.sum():,} agent steps"
        if tape.rooms_visited is not None:
            line += f", rooms {', '.join(map(str, tape.rooms_visited)) or 'none'}"
        say(line if tape.finished else f"{line} (cut there by --max-steps)")
        episode = f"{i + 1} of {episodes}, seed {first + i}"
        to_env = player.game.to_env
        yield make_recording(tape, agent.module, player.single, to_env, agent.env, episode, agent.reward_names)
