"""Auxiliary representation losses. Importing this package registers the built-in ones."""

from rllib_rnd.auxiliary.barlow_twins import BarlowTwins, BarlowTwinsOptions
from rllib_rnd.auxiliary.base import AUXILIARY_LOSSES, AuxiliaryLoss, AuxiliaryOptions
from rllib_rnd.auxiliary.byol import BYOL, BYOLOptions

__all__ = [
    "AUXILIARY_LOSSES",
    "BYOL",
    "AuxiliaryLoss",
    "AuxiliaryOptions",
    "BYOLOptions",
    "BarlowTwins",
    "BarlowTwinsOptions",
]
