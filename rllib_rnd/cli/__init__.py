"""The ``rllib`` console script."""

import inspect

from rllib_rnd.cli import app_insight, app_results  # noqa: F401 - their commands register themselves
from rllib_rnd.cli.app import app, main

__all__ = ["app", "main"]

for _command in app.registered_commands:  # else click cuts what they do at the width of the terminal
    _about = inspect.getdoc(_command.callback) if _command.callback is not None else None
    _command.short_help = " ".join((_about or "").partition("\n\n")[0].split())
