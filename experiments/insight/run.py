"""Insight: what trained agents attend to, which pixels their bonus is for, and what their features know.

    rllib train experiments/insight/catch.yaml --storage results/insight   # and the other files beside it
    python -m experiments.insight.run
    python -m experiments.insight.run --studies axis probes   # a part
    python -m experiments.insight.run --report-only           # results.md and figures of what is there

Trains nothing: looks into checkpoints that `rllib train` left in the storage, and says which are missing. Writes
one CSV file per study, figures and results.md; goes on where it was cut.
"""

from __future__ import annotations

from pathlib import Path

import torch

from experiments.insight import axis, bonus, explorative, probes
from experiments.insight.agents import HERE
from experiments.report import document
from experiments.studies import study_parser

STUDIES = {"axis": axis, "explorative": explorative, "bonus": bonus, "probes": probes}
STORAGE = Path("results/insight")


def results() -> str:
    """The text of results.md."""
    return document(HERE, "Insight: results", *(block for study in STUDIES.values() for block in study.sections()))


def main() -> None:
    """Measures what is missing and writes the report."""
    parser = study_parser(__doc__)
    parser.add_argument("--studies", nargs="+", default=list(STUDIES), choices=list(STUDIES))
    parser.add_argument("--storage", type=Path, default=STORAGE, help="folder that holds the runs (results/insight)")
    args = parser.parse_args()
    torch.set_num_threads(1)  # networks so small gain nothing by two, and lose much beside other work
    for name in args.studies:
        if not args.report_only:
            STUDIES[name].measure(args.storage)
        STUDIES[name].draw(None if args.report_only else args.storage)
    (HERE / "results.md").write_text(results())


if __name__ == "__main__":
    main()
