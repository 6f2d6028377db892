"""MP4 files: frames go to ffmpeg one by one, and the same frames give the same bytes."""

from __future__ import annotations

import contextlib
import importlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np

from rllib_rnd.errors import ConfigError


def import_ffmpeg() -> ModuleType:
    """Imports the package that brings ffmpeg.

    Raises:
        ConfigError: it, or its program, is missing; the message has the command.
    """
    try:
        imageio_ffmpeg = importlib.import_module("imageio_ffmpeg")
        imageio_ffmpeg.get_ffmpeg_version()  # runs it
    except (ImportError, RuntimeError, OSError, subprocess.CalledProcessError) as error:
        raise ConfigError(
            "",
            f'videos need an extra ({str(error).splitlines()[0]}). Install it: pip install "rllib_rnd[video]"',
        ) from error
    return imageio_ffmpeg


@contextlib.contextmanager
def video_file(path: Path, size: tuple[int, int], fps: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Opens an MP4 file (H.264) for writing; an existing one is replaced.

    Args:
        path: of the file.
        size: (width, height) in pixels, both even.
        fps: frames per second.

    Yields:
        A function that adds a frame, ``[height, width, 3]`` uint8 RGB.

    Raises:
        ConfigError: the package is missing, or the file cannot be written.
    """
    ffmpeg = import_ffmpeg()
    writer = ffmpeg.write_frames(
        str(path),
        size,
        fps=fps,
        codec="libx264",
        pix_fmt_in="rgb24",
        macro_block_size=2,
        quality=6,
        # Its own messages would stand beside ours.
        ffmpeg_log_level="quiet",
        # The same frames give the same bytes: no versions and times inside, and a number of threads, which decides how
        # frames are cut up, that is not the machine's.
        output_params=[
            *("-preset", "veryfast", "-threads", "2", "-movflags", "+faststart"),
            *("-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact"),
        ],
    )
    writer.send(None)

    def add(frame: np.ndarray) -> None:
        try:
            writer.send(frame)
        except OSError as error:
            raise _unwritable(path, "ffmpeg stopped") from error

    with contextlib.closing(writer):
        yield add
    # ffmpeg's exit code is not passed on, but what it could not finish (a full disk) it cannot open either.
    try:
        with contextlib.closing(ffmpeg.read_frames(str(path))) as reader:
            next(reader)
    except (OSError, StopIteration) as error:
        raise _unwritable(path, "ffmpeg could not finish it") from error


def _unwritable(path: Path, reason: str) -> ConfigError:
    return ConfigError(f"video {path}", f"cannot be written ({reason})")
