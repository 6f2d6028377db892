"""Checks what has been installed: the build of torch, the pinned versions, and that the package can be imported.

    python check_image.py cpu|cuda [CONSTRAINTS]

Exits with 1 and a line per problem. The Dockerfile runs it in every image; it needs nothing but what is installed.
"""

from __future__ import annotations

import importlib
import re
import sys
from importlib import metadata
from pathlib import Path


def pins(path: Path) -> dict[str, str]:
    """Returns the pinned version of each package, by normalised name."""
    found = {}
    for line in path.read_text().splitlines():
        name, equals, version = line.strip().partition("==")
        if equals and not name.startswith("#"):
            found[re.sub(r"[-_.]+", "-", name.split("[")[0]).lower()] = version
    return found


def wrong_versions(pinned: dict[str, str]) -> list[str]:
    """Returns a line per installed package that has another version than its pin; torch's build may follow a +."""
    problems = []
    for distribution in metadata.distributions():
        if "_vendor" in Path(str(distribution.locate_file(""))).parts:
            continue  # what setuptools holds for itself, and puts on the path once it is imported
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        if name in pinned and distribution.version.split("+")[0] != pinned[name].split("+")[0]:
            problems.append(f"{name} is {distribution.version}, pinned is {pinned[name]}")
    return sorted(problems)


def wrong_torch(build: str, cuda: str | None) -> list[str]:
    """Returns a line if torch is not of the build (cpu or cuda) that was asked for.

    Args:
        build: what was asked for.
        cuda: the version of CUDA that torch has been built with, if any.
    """
    if (cuda is not None) == (build == "cuda"):
        return []
    return [f"torch has been built {'without CUDA' if cuda is None else f'for CUDA {cuda}'}, asked for is {build}"]


def main(build: str, constraints: str = "constraints.txt") -> int:
    """Returns the exit code."""
    torch = importlib.import_module("torch")
    problems = wrong_torch(build, torch.version.cuda) + wrong_versions(pins(Path(constraints)))
    for module in ("rllib_rnd", "ray.rllib", "cv2", "mlflow", "ale_py"):
        try:
            importlib.import_module(module)
        except ImportError as error:
            problems.append(f"{module} cannot be imported: {error}")
    for line in problems:
        print(line, file=sys.stderr)
    if not problems:
        print(f"torch {torch.__version__} ({build}) and all pinned versions are there")
    return 1 if problems else 0


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in ("cpu", "cuda"):
        sys.exit("check_image.py cpu|cuda [CONSTRAINTS]")
    sys.exit(main(*sys.argv[1:3]))
