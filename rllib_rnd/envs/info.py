"""Names of the entries of ``info`` that are counted, reported or drawn; an environment tells those that it knows.

Batched they are arrays ``[N]``, with gymnasium's masks of who tells them under the same name after an underscore.
"""

from __future__ import annotations

#: Whole number: the room, screen or stage the agent is in; negative is nowhere.
ROOM = "room"
#: Whole number: the cell the agent is in, counted row by row; negative is nowhere.
POSITION = "position"
#: Attribute of an environment, not of ``info``: (rows, columns) of the grid that `POSITION` counts through.
POSITION_SHAPE = "position_shape"
#: Attribute too: ``[rows, columns]`` bool, the cells of that grid that nobody can be in.
POSITION_WALLS = "position_walls"
#: How far the agent has got, a number that is better the larger it is (Mario's x).
PROGRESS = "progress"
#: Bool: the episode that ends here is one life of a game that goes on; whole games are reported.
GAME_GOES_ON = "game_goes_on"
#: Whole number: lives left, this one included.
LIVES = "lives"
#: Whole number: raw frames since the game began.
EPISODE_FRAME_NUMBER = "episode_frame_number"

#: The entries that say where the agent is.
PLACES = (ROOM, POSITION)
