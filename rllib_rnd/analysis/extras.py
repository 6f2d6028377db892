"""Packages that only an extra brings: asked for before work begins, missing in one line with the command."""

from __future__ import annotations

import importlib

from rllib_rnd.errors import ConfigError


def import_extra(package: str, what: str, extra: str, path: str = "") -> None:
    """Imports a package, which is then known to be there.

    Args:
        package: its name, a module's of it too.
        what: needs it, in the plural.
        extra: of this package that brings it.
        path: option that asks for it.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(
            path, f'{what} need an extra ({error}). Install it: pip install "rllib_rnd[{extra}]"'
        ) from error


def missing_captum() -> str | None:
    """Why methods of captum cannot be used, or None."""
    try:
        import_extra("captum.attr", "methods of captum", "insight")
    except ConfigError as error:
        return str(error).rstrip(".")
    return None
