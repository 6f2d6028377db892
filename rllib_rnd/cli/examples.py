"""The tuned examples: where they are, in a checkout and in an installed package."""

from __future__ import annotations

import glob
import re
import shlex
from pathlib import Path

from rllib_rnd.errors import ConfigError, nearest_name


def examples_path() -> Path:
    """Returns the folder of the tuned examples.

    Raises:
        ConfigError: neither the installed package nor the checkout has one.
    """
    package = Path(__file__).resolve().parents[1]
    # Installed: inside the package. Checkout (also `pip install -e`): beside it.
    for folder in (package / "tuned_examples", package.parent / "tuned_examples"):
        if folder.is_dir():
            return folder
    raise ConfigError("", f"the tuned examples are not installed (looked in {package} and beside it)")


def example_files() -> list[Path]:
    """Returns every example, top level first."""
    folder = examples_path()
    return [*sorted(folder.glob("*.yaml")), *sorted(folder.glob("*/*.yaml"))]


def description(path: Path) -> str:
    """Returns the first sentence of a file's first comment, without the ``#``; it may go over several lines."""
    found: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and line.strip("# "):
            found.append(line.strip("# "))
        if found and (found[-1].endswith(".") or not line.strip("# ")):
            break
    return re.split(r"(?<=\.) (?=[A-Z])", " ".join(found))[0] if len(found) > 1 else "".join(found)


def experiment_paths(arguments: list[str]) -> list[Path]:
    """Expands the arguments of ``rllib train``: paths, globs, and names of tuned examples.

    Raises:
        ConfigError: an argument matches nothing; the nearest file or example is named.
    """
    found: list[Path] = []
    for argument in arguments:
        matches = sorted(Path(p) for p in glob.glob(argument, recursive=True)) if _is_glob(argument) else []
        if Path(argument).is_dir():
            raise ConfigError(argument, "is a folder", f"files, as in {shlex.quote(str(Path(argument) / '*.yaml'))}")
        if Path(argument).is_file():
            matches = [Path(argument)]
        elif not matches:
            matches = _examples_named(argument)
        for path in matches:
            if path not in found:
                found.append(path)
    return found


def as_named(path: Path) -> str:
    """Returns what `experiment_paths` finds a file by: its path, or the short name of a tuned example."""
    folder = examples_path()
    if not path.is_relative_to(folder):
        return str(path)
    name = str(path.relative_to(folder).with_suffix(""))
    return name if experiment_paths([name]) == [path] else str(path)  # a file here may have that name


def _is_glob(argument: str) -> bool:
    return any(sign in argument for sign in "*?[")


def _examples_named(argument: str) -> list[Path]:
    """Returns the example of that name, so that examples run from any folder."""
    name = argument.removeprefix("tuned_examples/").removesuffix(".yaml")
    names = {str(p.relative_to(examples_path()).with_suffix("")): p for p in example_files()}
    if name in names:
        return [names[name]]
    folder = Path(argument).parent
    here = [path.name for pattern in ("*.yaml", "*.yml", "*.py") for path in folder.glob(pattern)]
    nearest, beside = nearest_name(name, names), nearest_name(Path(argument).name, here)
    hint = f" Did you mean the example {nearest!r}?" if nearest else ""
    hint = f" Did you mean {str(folder / beside)!r}?" if beside else hint
    problem = "matches no file" if _is_glob(argument) else "no such file"
    raise ConfigError(argument, f"{problem}.{hint} `rllib list examples` shows all")
