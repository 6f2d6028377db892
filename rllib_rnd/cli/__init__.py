"""The ``rllib`` console script: train, evaluate, map, list, check."""

from rllib_rnd.cli.app import app, main

__all__ = ["app", "main"]
