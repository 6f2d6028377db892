"""Options of the Atari family, the presets of the papers, and the games there are."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from rllib_rnd.errors import ConfigError, unknown_name_error
from rllib_rnd.options import option, parse_options

FLICKER_STREAM = 0xF11C  # sets the random stream of flickering apart from that of the play

# The byte of console memory that holds the room, by ROM. Only addresses that a test has followed through real rooms
# are here (tests/envs/test_rooms.py).
ROOM_BYTES = {"montezuma_revenge": 3, "pitfall": 1, "venture": 90, "private_eye": 92, "hero": 28}
# Where that byte counts the screens of a level from 0 again, the byte of the level (also from 0).
LEVEL_BYTES = {"hero": 117}


def room_of(rom: str, ram: np.ndarray) -> np.ndarray:
    """The room of a game in `ROOM_BYTES`: screen, or screen + 256 * level.

    Args:
        rom: name of the game's ROM.
        ram: console memory, uint8, ``[..., 128]``.

    Returns:
        Whole numbers ``[...]``.
    """
    ram = ram.astype(np.int64)
    return ram[..., ROOM_BYTES[rom]] + 256 * (ram[..., LEVEL_BYTES[rom]] if rom in LEVEL_BYTES else 0)


# ROMs in ale-py that have no single-player game.
_MULTIPLAYER_ONLY = {"combat", "joust", "maze_craze", "warlords"}

# What each line of work played, where it differs from the defaults (Burda et al. 2018, arXiv:1810.12894).
PRESETS: dict[str, dict[str, Any]] = {
    "rnd": {},
    # Pechac et al. 2023, "Self-supervised network distillation" (arXiv:2302.11563): 96 x 96, newest frame first.
    "snd": {"frame_size": 96, "stack_order": "newest_first"},
    # PPO of Stable-Baselines3's zoo, on which the dimensional self-attention networks were compared.
    "self_attention": {
        "sticky_action_prob": 0.0,
        "noop_max": 30,
        "terminal_on_life_loss": True,
        "fire_reset": True,
        "max_frames": 108_000,
    },
    # Suau et al. 2022, "Influence-aware memory" (arXiv:1911.07643): OpenAI Baselines' wrappers, one frame at a time.
    "iam": {
        "sticky_action_prob": 0.0,
        "noop_max": 30,
        "terminal_on_life_loss": True,
        "fire_reset": True,
        "max_frames": 108_000,
        "frame_stack": 1,
    },
}


@dataclass(frozen=True)
class AtariOptions:
    """Options of the Atari family (``env_config``). One agent step is ``frame_skip`` frames."""

    preset: str | None = option(
        None,
        "start from what a line of work played; other keys given beside it win",
        choices=(None, *PRESETS),
    )
    frame_size: int = option(84, "height and width of the observation; 84 (DQN, RND) or 96 (SND)", low=36, high=210)
    frame_stack: int = option(4, "frames in one observation", low=1, high=16)
    stack_order: str = option(
        "newest_last", "order of the frames in one observation", choices=("newest_last", "newest_first")
    )
    grayscale: bool = option(True, "grey frames [K, H, W] rather than colour [K, H, W, 3]")
    frame_skip: int = option(4, "raw frames per agent step; the last two are combined by maximum", low=1, high=60)
    sticky_action_prob: float = option(
        0.25, "chance that the previous action is executed again (Machado et al. 2018)", low=0.0, high=1.0
    )
    sticky_level: str = option(
        "frame",
        "draw that chance at each raw frame (RND, ALE) or once per agent step (several PyTorch reproductions)",
        choices=("frame", "step"),
    )
    noop_max: int = option(
        0, "at most so many raw frames of no-op after a reset, at least 1; 0 = none", low=0, high=1000
    )
    fire_reset: bool = option(False, "press FIRE for one agent step after each reset, in games that have it")
    terminal_on_life_loss: bool = option(
        False,
        "end the episode with each lost life; the game goes on, and reported returns are those of whole games",
    )
    max_frames: int | None = option(
        18_000, "raw frames after which a game is truncated (not terminated); null = no cap", low=1
    )
    full_action_space: bool = option(False, "all 18 joystick actions rather than those the game uses")
    actions: tuple[str, ...] | None = option(
        None, "only these joystick actions, by their names (NOOP, FIRE, UP, RIGHT, ...); null = all of the game"
    )
    interpolation: str = option(
        "area",
        "how frames are shrunk; linear is about five times cheaper, area keeps thin lines",
        choices=("area", "linear"),
    )
    flicker_prob: float = option(
        0.0, "chance that a frame is blank (Hausknecht and Stone 2015, arXiv:1507.06527: 0.5)", low=0.0, high=1.0
    )
    flicker_level: str = option(
        "frame",
        "blank single new frames before they are stacked, or the whole stack at once, history included",
        choices=("frame", "stack"),
    )
    backend: str = option(
        "auto",
        "what steps the games: gymnasium (portable; states can be saved), ale or envpool (C++ threads); "
        "auto: the fastest installed that reports rooms where a game's are known",
        choices=("auto", "gymnasium", "ale", "envpool"),
    )

    @property
    def rebuilt_stack(self) -> int:
        """K if stacks can be rebuilt from single frames, else 1: a wiped stack cannot."""
        wiped = self.flicker_prob > 0.0 and self.flicker_level == "stack"
        return 1 if wiped else self.frame_stack


def parse_atari_options(env_config: Mapping[str, Any] | None) -> AtariOptions:
    """Checks ``env_config`` and fills in its preset.

    Raises:
        ConfigError: unknown key, wrong type, value out of range, unknown action or preset.
    """
    options = parse_options(AtariOptions, env_config)
    if options.preset is not None:
        options = parse_options(AtariOptions, {**PRESETS[options.preset], **(env_config or {})})
    names = action_names() if options.actions is not None else {}
    for name in options.actions or ():
        if name not in names:
            raise unknown_name_error("action", name, names, "actions")
    if options.actions is not None and len(set(options.actions)) < max(1, len(options.actions)):
        raise ConfigError("actions", f"{list(options.actions)!r}", "one action or more, each once")
    return options


def import_ale() -> ModuleType:
    """Imports the emulator.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import ale_py
        import ale_py.roms
    except ImportError as error:
        raise ConfigError("", f"Atari games need ale-py ({error}). Install it: pip install ale-py") from error
    return ale_py


@functools.cache
def atari_games() -> dict[str, str]:
    """Maps each game's name as in its gymnasium id ("MontezumaRevenge") to its ROM ("montezuma_revenge").

    Raises:
        ConfigError: ale-py is not installed.
    """
    roms = set(import_ale().roms.get_all_rom_ids()) - _MULTIPLAYER_ONLY
    return {rom.title().replace("_", ""): rom for rom in sorted(roms)}


@functools.cache
def action_names() -> dict[str, int]:
    """Joystick actions by name, as the emulator numbers them: NOOP 0, FIRE 1, UP 2, ... DOWNLEFTFIRE 17."""
    return {name: int(action.value) for name, action in import_ale().Action.__members__.items()}
