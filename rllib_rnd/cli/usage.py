"""Mistakes in how a command is called: one line like all others, instead of a usage text of four."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from rllib_rnd.cli.runtime import fail

#: What typer raises for them, whether it brings its own click or uses the package.
_UsageError: Any = typer.BadParameter.__base__


class OneLineErrors(TyperGroup):
    """The commands of ``rllib``."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: object,
    ) -> object:
        """As typer's, which ends the process."""
        run = functools.partial(super().main, args, prog_name, complete_var, False, windows_expand_args, **extra)
        if not standalone_mode:
            return run()
        try:
            code = run()
        except typer.Abort:
            code = fail("stopped", 1).exit_code
        except _UsageError as error:
            if type(error).show is _UsageError.show:
                code = fail(_in_one_line(error)).exit_code
            else:  # as where help is shown in its place
                error.show()
                code = error.exit_code
        sys.exit(code)


def _in_one_line(error: typer.BadParameter) -> str:
    said = " ".join(error.format_message().split()).rstrip(".")
    path = error.ctx.command_path if error.ctx is not None else "rllib"
    return f"{said}{'' if said.endswith('?') else '.'} `{path} --help` shows what there is."
