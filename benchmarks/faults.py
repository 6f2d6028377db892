"""Places every fault of ``tests/faults/*_faults.py`` once and measures: what is seen, for how long, what is lost.

    python -m benchmarks.faults                       # all of them
    python -m benchmarks.faults --only "disk full"    # those with this in their names; the other rows stay

The table is ``results/faults.md`` and stands in ``docs/reliability.md`` between its two marks. A fault whose promise
does not hold raises: its row says so, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import HERE, ROOT, publish, table

if TYPE_CHECKING:
    from tests.faults.outcome import Outcome

MODULES = tuple(f"tests.faults.{part}_faults" for part in ("runner", "environment", "learning", "driver"))
PAGE, BEGIN, END = ROOT / "docs" / "reliability.md", "<!-- faults: begin -->", "<!-- faults: end -->"
_RESULTS = HERE / "results" / "faults.json"
_LONGEST_S = 900.0
_FAILED = "NOT AS PROMISED"

Row = Mapping[str, object]


def all_faults() -> dict[str, Callable[[], Outcome]]:
    """Name -> what places the fault, in the order of the table.

    Raises:
        ValueError: two have the same name.
    """
    found: dict[str, Callable[[], Outcome]] = {}
    for name in MODULES:
        if importlib.util.find_spec(name) is None:
            continue
        for fault, function in importlib.import_module(name).FAULTS:
            if fault in found:
                raise ValueError(f"{name}: there is another fault {fault!r}")
            found[fault] = function
    return found


def measure(name: str) -> Row:
    """Places one fault in a process of its own and returns its row."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "row.json"
        command = [sys.executable, "-m", "benchmarks.faults", "--one", name, str(answer)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        began = time.monotonic()
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=_LONGEST_S, check=False
            )
            reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        except subprocess.TimeoutExpired:
            reason = f"no answer within {_LONGEST_S:.0f} s"
        if answer.is_file():
            row: Row = json.loads(answer.read_text())
            return row
        return {"fault": name, "what you see": f"{_FAILED}: {reason}", "seconds": time.monotonic() - began, "lost": "?"}


def merged(names: Sequence[str], before: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """The rows of the table in the order of ``names``, new ones before old ones; what is no fault any more goes."""
    by_name = {str(row["fault"]): row for row in (*before, *new)}
    return [by_name[name] for name in names if name in by_name]


def in_docs(rows: Sequence[Row]) -> str:
    """The table as it stands in the docs."""
    return table(rows) if rows else "Not measured yet: `python -m benchmarks.faults`."


def rewritten(page: str, rows: Sequence[Row]) -> str:
    """The page with this table between its marks."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{in_docs(rows)}\n{END}{tail}"


def kept() -> list[Row]:
    """The rows that were measured last."""
    return json.loads(_RESULTS.read_text())["rows"] if _RESULTS.is_file() else []


def main() -> int:
    """Measures; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="faults with one of these in their names")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    faults = all_faults()
    if args.one:
        name, file = args.one
        found = faults[name]()
        seen, lost = (" ".join(text.split()).replace("|", r"\|") for text in (found.seen, found.lost))
        row = {"fault": name, "what you see": seen, "seconds": float(found.seconds), "lost": lost}
        Path(file).write_text(json.dumps(row))
        return 0
    chosen = [name for name in faults if not args.only or any(word.lower() in name.lower() for word in args.only)]
    if not chosen:
        parser.error(f"no such fault; there are: {', '.join(faults) or 'none'}")
    new = [measure(name) for name in chosen]
    rows = merged(list(faults), kept(), new)
    publish("faults", "Faults", rows, "Seconds: from the fault until training goes on, or until the command has ended.")
    PAGE.write_text(rewritten(PAGE.read_text(), rows))
    return int(any(str(row["what you see"]).startswith(_FAILED) for row in new))


if __name__ == "__main__":
    raise SystemExit(main())
