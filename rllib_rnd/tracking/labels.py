"""What tells the trials of a sweep apart, in a few words: ``lr=0.001, seed=2``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from rllib_rnd.options import as_yaml

_LONGEST_VALUE = 24  # characters of one value; numbers are shorter
_LONGEST_IN_FOLDER = 120  # characters of a label in a folder's name, which file systems limit to 255 bytes
_FOLDER = re.compile(
    r"_(?:[0-9a-f]{5}_\d{5}|[0-9a-f]{8})_"  # Tune's id of the trial, from a grid or draws, or from a searcher
    r"([^=]+=.+)_\d{4}-\d{2}-\d{2}_\d{2}-\d{2}-\d{2}"
)


def trial_label(values: Mapping[str, object]) -> str:
    """Names a trial by the values that it draws: ``lr=0.001, seed=2``; "" without any.

    A setting is called by the end of its path that no other shares; the seed of the training comes last.

    Args:
        values: by path in the configuration, its parts separated by ``/``.
    """
    paths = sorted(values, key=lambda path: path == "seed")
    return ", ".join(f"{_shortest(path, paths)}={short_value(values[path])}" for path in paths)


def _shortest(path: str, others: list[str]) -> str:
    parts = path.split("/")
    for count in range(1, len(parts)):
        if parts[-count].isdigit():  # a place in a list says nothing by itself
            continue
        name = "/".join(parts[-count:])
        if name == "seed":  # which would read as that of the training
            continue
        if sum(other == name or other.endswith("/" + name) for other in others) == 1:
            return name.replace("/", ".")
    return ".".join(parts)


def short_value(value: object) -> str:
    """Writes a value shortly, numbers with their significant digits: ``1e-05``, ``0.001235``, ``rnd``."""
    if isinstance(value, float):
        whole = f"{value:.15g}"
        return whole if len(whole) <= 8 else f"{value:.4g}"
    if isinstance(value, Mapping) and "type" in value:
        options = {key: option for key, option in value.items() if key != "type"}
        inner = ", ".join(f"{key}={short_value(option)}" for key, option in options.items())
        text = short_value(value["type"]) + (f"({inner})" if inner else "")
    elif isinstance(value, (list, tuple)):
        text = "[" + ", ".join(map(short_value, value)) + "]"
    elif value is None or isinstance(value, bool):
        text = as_yaml(value)
    else:
        text = str(value).rpartition(":")[2]  # of an import path the class
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def folder_label(label: str) -> str:
    """Turns a label into a part of a folder's name that needs no quotes in a shell."""
    return re.sub(r"[^\w.,=+-]+", "_", label.replace(", ", ","))[:_LONGEST_IN_FOLDER]


def label_of_folder(trial_folder: str | Path) -> str:
    """Returns the label in the name of a trial's folder, or the whole name if the trial draws nothing."""
    name = Path(trial_folder).name
    found = _FOLDER.search(name)
    return found[1].replace(",", ", ") if found else name


def without_seed(label: str) -> str:
    """Returns what the trials that differ only in their seeds have in common; "" if nothing else is drawn."""
    return re.sub(r"(?:^|, )seed=\d+$", "", label)
