"""What single bytes of console memory mean in games with rooms: where the player, its enemies and its things are.

Addresses are public facts: the AtariARI annotations (Anand et al. 2019, arXiv:1906.08226), the tables of OCAtari
(Delfosse et al. 2024, arXiv:2306.08649) and, for rooms, `ROOM_BYTES`. Each one here was tried in the emulator, and
tests/envs/test_atari_ram.py tries it again: what it says moves with what is on the screen, and in most games a byte
that is written moves the picture. Where a meaning was seen in some rooms only, it is NaN in all others.

Left out, because it was wrong or could not be shown here:

- Montezuma's Revenge: bytes 61 and 62, which AtariARI calls inventory count and room state, count frames; byte 52,
  the direction, kept its value when the player turned. The skull is read in room 1 alone, the room that was watched.
- Pitfall: byte 18, the end of the rope, runs on where there is no rope.
- Private Eye: byte 86, which AtariARI calls y, moves nothing; y is byte 97. The game has no lives.
- Venture: monsters inside rooms (the bytes also hold treasures, arrows and moving walls there).
- H.E.R.O.: creatures; what their bytes mean differs from screen to screen.
- Gravitar: which planet it is, fuel, enemies. Byte 5, called a room elsewhere, is a clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rllib_rnd.envs.atari_options import LEVEL_BYTES, ROOM_BYTES

Kind = Literal["number", "category"]
_Bytes = Mapping[int, int]

#: Bits of Montezuma's ``inventory``: the amulet, four keys, two swords, the torch.
MONTEZUMA_INVENTORY = {"amulet": 0b1, "keys": 0b11110, "swords": 0b1100000, "torch": 0b10000000}
_MONTEZUMA_SKULL_ROOM = 1
_VENTURE_HALL = 8
_PITFALL_SCORPION, _PITFALL_NO_SCORPION_BYTE = 0, 29
_PITFALL_LIVES = {160: 3.0, 128: 2.0, 0: 1.0}  # as the strokes on the screen are drawn
_NAN = math.nan


@dataclass(frozen=True)
class RamVariable:
    """One thing that console memory tells.

    Attributes:
        byte: its address, 0 to 127.
        kind: a number (more is further), or a category (other values are other things).
        read: the memory's bytes -> its value; None: the byte itself.
    """

    byte: int
    kind: Kind = "number"
    read: Callable[[_Bytes], float] | None = None

    def value(self, ram: _Bytes) -> float:
        """What it is in a console's memory; NaN where the byte means something else."""
        return float(ram[self.byte]) if self.read is None else self.read(ram)


def _lives_above(byte: int) -> RamVariable:
    """Lives, this one included; the byte counts those in reserve."""
    return RamVariable(byte, read=lambda ram: float(ram[byte] + 1))


def _signed(byte: int) -> RamVariable:
    return RamVariable(byte, read=lambda ram: float(ram[byte] - 256 * (ram[byte] > 127)))


def _decimal(byte: int) -> RamVariable:
    """Two decimal digits in one byte."""
    return RamVariable(byte, read=lambda ram: float(10 * (ram[byte] >> 4) + (ram[byte] & 15)))


def _where(byte: int, condition_byte: int, value: int) -> RamVariable:
    """Tells something only while another byte has this value."""
    return RamVariable(byte, read=lambda ram: float(ram[byte]) if ram[condition_byte] == value else _NAN)


def _room(game: str) -> RamVariable:
    """The room as `room_of` counts it."""
    byte, level = ROOM_BYTES[game], LEVEL_BYTES.get(game)
    if level is None:
        return RamVariable(byte, "category")
    return RamVariable(byte, "category", lambda ram: float(ram[byte] + 256 * ram[level]))


def _montezuma() -> dict[str, RamVariable]:
    keys, room = MONTEZUMA_INVENTORY["keys"], ROOM_BYTES["montezuma_revenge"]
    return {
        "room": _room("montezuma_revenge"),
        "x": RamVariable(42),
        "y": RamVariable(43),  # grows upwards
        "lives": _lives_above(58),
        "inventory": RamVariable(65, "category"),
        "keys": RamVariable(65, read=lambda ram: float((ram[65] & keys).bit_count())),
        "skull_x": _where(47, room, _MONTEZUMA_SKULL_ROOM),
        "skull_y": _where(46, room, _MONTEZUMA_SKULL_ROOM),
        # The thing or creature of the room: in room 1 its key, in room 2 the skulls that jump.
        "object_x": RamVariable(44),
        "object_y": RamVariable(45),
    }


def _venture() -> dict[str, RamVariable]:
    room = ROOM_BYTES["venture"]
    monsters = {
        f"monster_{i}_{axis}": _where(first + i, room, _VENTURE_HALL)
        for i in range(6)
        for axis, first in (("x", 79), ("y", 20))
    }
    return {
        "room": _room("venture"),
        "x": RamVariable(85),
        "y": RamVariable(26),
        "lives": _lives_above(70),
        **monsters,
    }


VARIABLES: dict[str, dict[str, RamVariable]] = {
    "montezuma_revenge": _montezuma(),
    "pitfall": {
        "room": _room("pitfall"),
        "x": RamVariable(97),
        "y": _signed(105),  # grows downwards; negative while the next life drops in
        "lives": RamVariable(0, read=lambda ram: _PITFALL_LIVES.get(ram[0], _NAN)),
        "object_x": RamVariable(98),  # of the log, or the first of several
        "scorpion_x": _where(99, _PITFALL_NO_SCORPION_BYTE, _PITFALL_SCORPION),
        "minutes": _decimal(88),
        "seconds": _decimal(89),
    },
    "private_eye": {
        "room": _room("private_eye"),
        "x": RamVariable(63),
        "y": RamVariable(97),  # above the ground
        "facing": RamVariable(58, "category"),  # 49 right, 121 left
        "item": RamVariable(60, "category"),  # carried: 0 nothing, 20 gun, 21 button, ... 24 money, 25 vase, ...
        "minutes": _decimal(67),
        "seconds": _decimal(69),
    },
    "venture": _venture(),
    "hero": {
        "room": _room("hero"),
        "level": RamVariable(LEVEL_BYTES["hero"], "category"),
        "x": RamVariable(27),
        "y": RamVariable(31),  # grows upwards
        "lives": RamVariable(51),
        "power": RamVariable(43),
        "dynamite": RamVariable(50),
    },
    "gravitar": {
        "scene": RamVariable(1, "category"),  # 2 the map of the solar system; others, a planet's ground or its like
        "x": RamVariable(31),
        "y": RamVariable(32),
        "lives": _lives_above(4),
    },
}

#: Game (its ROM) -> variable -> address of its byte.
RAM: dict[str, dict[str, int]] = {
    game: {name: variable.byte for name, variable in variables.items()} for game, variables in VARIABLES.items()
}
#: Game (its ROM) -> variable -> what it is.
KINDS: dict[str, dict[str, Kind]] = {
    game: {name: variable.kind for name, variable in variables.items()} for game, variables in VARIABLES.items()
}


def decode(game: str, ram: np.ndarray) -> dict[str, float]:
    """What the memory of a game in `RAM` says.

    Args:
        game: name of its ROM.
        ram: console memory, uint8 ``[128]``.

    Returns:
        Variable -> value; NaN where the byte means something else at this moment.
    """
    values = dict(enumerate(ram.tolist()))
    return {name: variable.value(values) for name, variable in VARIABLES[game].items()}
