"""Auxiliary representation losses."""

from rllib_rnd.auxiliary.base import AUXILIARY_LOSSES, AuxiliaryLoss, AuxiliaryOptions

__all__ = ["AUXILIARY_LOSSES", "AuxiliaryLoss", "AuxiliaryOptions"]
