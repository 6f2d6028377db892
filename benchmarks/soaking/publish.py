"""Puts two soaks, under faults and without, into the docs and into ``benchmarks/results``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness import HERE, ROOT, table
from benchmarks.soaking.report import SLOPES_ARE, summary

PAGE, BEGIN, END = ROOT / "docs" / "reliability.md", "<!-- soak: begin -->", "<!-- soak: end -->"
FIGURE, RESULTS = "images/soak.png", HERE / "results" / "soak.json"
_SLOPES = ("process", "lives", "longest, h", "MiB at first", "MiB at last")


def section(kept: Mapping[str, Any] | None) -> str:
    """What the docs say of both soaks."""
    if kept is None:
        return "Not run yet: `python -m benchmarks.soak`."
    faults, still = kept["faults"], kept["still"]
    price = 1.0 - (faults["agent_steps"] / faults["hours"]) / (still["agent_steps"] / still["hours"])
    parts = [
        f"Under faults: {summary(faults)}",
        f"Without faults: {summary(still)}",
        f"Faults, restarts and what was trained again cost {100 * price:.0f} % of the agent steps.",
        f"![Memory, handles and iterations of the soak under faults, each fault a mark]({FIGURE})",
    ]
    parts += ["\n".join(f"- wrong at {seconds} s: {what}" for seconds, what in faults["problems"] + still["problems"])]
    parts += [table(faults["by_kind"]), f"{SLOPES_ARE} Without faults:", table(still["slopes"])]
    parts += [table(still["machine_slopes"]), "Under faults:", table(faults["slopes"])]
    return "\n\n".join(part for part in parts if part)


def rewritten(page: str, kept: Mapping[str, Any] | None) -> str:
    """The page with this between its marks."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{section(kept)}\n{END}{tail}"


def kept() -> dict[str, Any] | None:
    """What was published last."""
    return json.loads(RESULTS.read_text()) if RESULTS.is_file() else None


def publish(faults: Path, still: Path) -> None:
    """Publishes what the folders of two soaks hold."""
    found = {name: json.loads((out / "soak.json").read_text()) for name, out in (("faults", faults), ("still", still))}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    shutil.copyfile(faults / "soak.png", PAGE.parent / FIGURE)
    PAGE.write_text(rewritten(PAGE.read_text(), found))
