"""The ``rllib`` console script."""

from rllib_rnd.cli import app_insight, app_results  # noqa: F401 - their commands register themselves
from rllib_rnd.cli.app import app, main

__all__ = ["app", "main"]
