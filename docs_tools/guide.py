"""Runs the guide: ``python -m docs_tools.guide`` (``make docs-run``) plays all pages in one folder, shortened.

Every shell block of `docs/guide` is a command that a reader types. A comment before a block says why it is not run:
``<!-- run: not here, it needs a cluster -->``. Files that a page shows under its name are written first.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from docs_tools.site import ROOT

#: The pages in the order in which they are read.
GUIDE = [
    ROOT / (next(iter(entry.values())) if isinstance(entry, dict) else entry)
    for section in yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    for entry in section.get("Guide", [])
]
#: What is enough of a training to show that its command works.
STEPS = 6000

_PART = re.compile(
    r"<!-- run: (?P<why>.*?) -->\s*```bash\n(?P<left>.*?)```"
    r"|^`(?P<file>[\w.]+)`:\n\n```\w+\n(?P<text>.*?)```"
    r"|^```bash\n(?P<shell>.*?)```",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Part:
    """One step of a page: a file that it shows, or a command; of one that is not run, why."""

    page: str
    file: str = ""
    text: str = ""
    command: str = ""
    left_out: str = ""


def parts(page: Path) -> Iterator[Part]:
    """The steps of a page in their order."""
    for found in _PART.finditer(page.read_text(encoding="utf-8")):
        if found["file"]:
            yield Part(page.name, file=found["file"], text=found["text"])
        for line in (found["shell"] or found["left"] or "").splitlines():
            command = re.sub(r"\s{2,}#.*", "", line).strip()
            if command:
                yield Part(page.name, command=command, left_out=found["why"] or "")


def shortened(command: str) -> str:
    """The command with less work: a training ends after `STEPS` agent steps and shows its summary alone."""
    words = shlex.split(command)
    if words[:2] == ["rllib", "train"]:
        least = [f"--stop=agent_steps={STEPS}"]
        if any(word.startswith("agent_steps=") for word in words):  # a resume has to go beyond what was trained
            at = next(i for i, word in enumerate(words) if word.startswith("agent_steps="))
            words[at] = f"agent_steps={STEPS + (STEPS // 2 if '--resume' in words else 0)}"
            least = []
        words += [*least, "--quiet"]
    if words[:2] == ["rllib", "probe"]:
        words += ["--episodes", "24", "--steps", "20", "--variables", "ball_row,paddle_column"]
    return shlex.join(words)


def play(folder: Path, wanted: Callable[[Part], bool] = lambda part: True) -> None:
    """Runs all that is to be run in a folder.

    Args:
        folder: where.
        wanted: whether a step is taken.

    Raises:
        SystemExit: a command has failed.
    """
    binaries = Path(sys.executable).parent
    path = os.pathsep.join([str(binaries), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])}
    for part in filter(wanted, (part for page in GUIDE for part in parts(page))):
        if part.file:
            (folder / part.file).write_text(part.text, encoding="utf-8")
        elif part.left_out:
            print(f"{part.page:16} not run ({part.left_out}): {part.command}", flush=True)
        else:
            command, began = shortened(part.command), time.monotonic()
            done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
            print(f"{part.page:16} {time.monotonic() - began:5.0f} s  {command}", flush=True)
            if done.returncode:
                sys.exit(f"{part.page}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


def main() -> None:
    """Plays the guide in a new folder, which is deleted when all went well."""
    with tempfile.TemporaryDirectory(prefix="guide_") as folder:
        play(Path(folder))
    print("the guide runs")


if __name__ == "__main__":
    main()
