"""What may be changed in a running Atari game: bytes of console memory by what they mean, one small edit each.

Each one was watched in the emulator and does on the screen what it says (tests/analysis/test_counterfactual.py looks
again). Addresses are those of `atari_ram.RAM`; the bytes named here besides are not variables that the player would
read off, but hold what the console draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rllib_rnd.envs.atari_ram import MONTEZUMA_INVENTORY, RAM, decode

Purpose = Literal["thing", "beside", "control"]
#: Console memory, uint8 ``[128]`` -> bytes to write by address, or None: there is nothing to edit now.
Writes = Callable[[np.ndarray], dict[int, int] | None]

# In the middle of the console's stack, where no game here writes what it draws.
_UNSEEN_BYTE = 118
# What the thing of a room in Montezuma is (0: there is none, 4: a key), and which of the room's things are left.
_MONTEZUMA_OBJECT, _MONTEZUMA_KEY, _MONTEZUMA_LEFT = 49, 4, 66
_MONTEZUMA_HUNDREDS = 20  # two decimal digits
_FIRST_KEY = MONTEZUMA_INVENTORY["keys"] & -MONTEZUMA_INVENTORY["keys"]


@dataclass(frozen=True)
class Edit:
    """One change of a game.

    Attributes:
        name: short.
        text: what is otherwise then.
        purpose: ``thing``: of what is played with; ``beside``: seen, but the game goes on as it would have;
            ``control``: not seen at all.
        writes: see `Writes`.
    """

    name: str
    text: str
    purpose: Purpose
    writes: Writes


def _moved(game: str, variable: str, by: int, low: int, high: int) -> Writes:
    """A place is moved, to the side where it stays within bounds; not while the byte means something else."""
    byte = RAM[game][variable]

    def writes(ram: np.ndarray) -> dict[int, int] | None:
        x = decode(game, ram)[variable]
        wanted = [x + step for step in (-by, by) if low <= x + step <= high]
        return {byte: int(wanted[0])} if wanted else None

    return writes


def _flipped(byte: int, bits: int) -> Writes:
    return lambda ram: {byte: int(ram[byte]) ^ bits}


def _without_key(ram: np.ndarray) -> dict[int, int] | None:
    """Montezuma's first key hangs in room 1."""
    if ram[RAM["montezuma_revenge"]["room"]] != 1 or ram[_MONTEZUMA_OBJECT] != _MONTEZUMA_KEY:
        return None
    return {_MONTEZUMA_OBJECT: 0, _MONTEZUMA_LEFT: int(ram[_MONTEZUMA_LEFT]) & ~1}


def _with_key(ram: np.ndarray) -> dict[int, int] | None:
    byte = RAM["montezuma_revenge"]["inventory"]
    if ram[byte] & MONTEZUMA_INVENTORY["keys"]:
        return None
    return {byte: int(ram[byte]) | _FIRST_KEY}


_CONTROL = Edit(
    "control", f"byte {_UNSEEN_BYTE}, which is not drawn, is another", "control", _flipped(_UNSEEN_BYTE, 255)
)
# The tens of seconds: a digit from 0 to 5 becomes its neighbour.
_TENS = 0x10

#: Game (its ROM) -> its edits.
EDITS: dict[str, tuple[Edit, ...]] = {
    "montezuma_revenge": (
        Edit("skull", "the skull is elsewhere", "thing", _moved("montezuma_revenge", "skull_x", 30, 15, 110)),
        Edit("key away", "the key of the room is gone", "thing", _without_key),
        Edit("key given", "a key is carried", "thing", _with_key),
        Edit("score", "the score is another by 1,000", "beside", _flipped(_MONTEZUMA_HUNDREDS, _TENS)),
        _CONTROL,
    ),
    "pitfall": (
        Edit(
            "log",
            "the logs (or what is in their place) are elsewhere",
            "thing",
            _moved("pitfall", "object_x", 24, 8, 148),
        ),
        Edit("clock", "the clock is another by 10 seconds", "beside", _flipped(RAM["pitfall"]["seconds"], _TENS)),
        _CONTROL,
    ),
    "private_eye": (
        Edit("player", "the player is elsewhere", "thing", _moved("private_eye", "x", 24, 16, 130)),
        Edit("clock", "the clock is another by 10 seconds", "beside", _flipped(RAM["private_eye"]["seconds"], _TENS)),
        _CONTROL,
    ),
    "venture": (
        Edit("monster", "a monster of the hall is elsewhere", "thing", _moved("venture", "monster_3_x", 24, 8, 140)),
        _CONTROL,
    ),
}
