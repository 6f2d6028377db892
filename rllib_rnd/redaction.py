"""Secrets that users have in URIs and options: left out of whatever is printed or written, or refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_SECRET = re.compile(r"(?i)(.*(password|passwd|secret|api_?key|access_?key|auth_?token|access_?token).*|token)")


def without_password(text: str) -> str:
    """Returns a URI, or a text that quotes some, without who logs in and by what: ``http://***@host``."""
    text = re.sub(r"(?<=[\w+]://)[^/@\s'\"]+@", "***@", text)
    return re.sub(
        r"(?<=[?&])([\w-]*(?:password|passwd|token|secret|key)[\w-]*)=[^&\s'\"]+", r"\1=***", text, flags=re.I
    )


def has_password(uri: str) -> bool:
    """Whether a URI says who logs in, or by what."""
    return "://" in uri and without_password(uri) != uri


def secrets_in(options: Mapping[str, object], path: str) -> Iterator[str]:
    """The places of texts that are secrets by their names (``token``, ``api_key``, ``db_password``), in nested options.

    Args:
        options: of anything.
        path: theirs.
    """
    for name, value in options.items():
        place = f"{path}.{name}"
        if isinstance(value, Mapping):
            yield from secrets_in(value, place)
        elif isinstance(value, str) and value and _SECRET.fullmatch(str(name)):
            yield place
