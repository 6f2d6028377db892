"""What is a memory worth? FNN-1, FNN-8, GRU and IAM in the Warehouse, its memory variant, and MiniGrid.

    python -m experiments.memory.run                            # everything, one run after the other
    python -m experiments.memory.run --studies warehouse --variants IAM GRU   # a part, beside another call
    python -m experiments.memory.run --report-only              # results.md and figures of what is there

Writes a CSV and a picture per study and results.md; goes on where it was cut.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from experiments.report import document, image, section
from experiments.run_report import METRIC, Task, blocks_of_runs, curves_figure, save, there, variants_in
from experiments.studies import Run, local_ray, run_missing, study_parser
from rllib_rnd.analysis.results.curves import curve_of
from rllib_rnd.analysis.results.figures.chart import Chart
from rllib_rnd.analysis.results.figures.charts import Panel, curves_chart
from rllib_rnd.analysis.results.groups import Variant
from rllib_rnd.analysis.results.references import from_file
from rllib_rnd.analysis.results.run import Run as FinishedRun

HERE = Path(__file__).parent


def last_tenth(run: FinishedRun) -> float:
    """The mean return over the last tenth of a run's agent steps."""
    steps, returns = run.metrics["agent_steps"], run.metrics[METRIC]
    return float(np.nanmean(returns[steps > 0.9 * steps[-1]]))


#: Others' numbers: where their runs ended, beside random play and a heuristic; and their way there.
PUBLISHED, PUBLISHED_CURVES = HERE / "published.csv", HERE / "published_curves.csv"
PUBLISHED_FIGURE = "warehouse_published"
_task = functools.partial(Task, score=last_tenth, score_name="mean return, last tenth")
TASKS = {
    "warehouse": _task("Warehouse, 4 million agent steps", references=from_file(PUBLISHED)["warehouse"]),
    "warehouse_memory": _task("WarehouseMemory, where the oldest item pays most"),
    "minigrid_memory": _task("MiniGrid-MemoryS7, success rate", 0.97),
}
VARIANTS = ("FNN-1", "FNN-8", "GRU", "IAM")
#: Whose curves are published, and by what name each has our networks.
OTHERS = ("paper", "A2C")
THEIR_NAMES = {name: {"paper": "LSTM" if name == "GRU" else name, "A2C": name} for name in VARIANTS}
# In the Warehouse by example, elsewhere as changes of one example.
WAREHOUSE = {"FNN-1": "warehouse_fnn", "FNN-8": "warehouse_fnn8", "GRU": "warehouse_gru", "IAM": "warehouse_iam"}
_ITEMS = "[25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36]"
MEMORY = {
    "FNN-1": "{type: fnn, hidden_sizes: [128, 128]}",
    "GRU": "{type: gru, hidden_sizes: [128], memory_size: 64, max_seq_len: 16}",
    "IAM": f"{{type: iam, d_set: static, d_set_indices: {_ITEMS}, hidden_sizes: [128, 128], memory_size: 64, "
    "max_seq_len: 16}",
}
MINIGRID = {
    "FNN-1": "{type: fnn, hidden_sizes: [128, 128]}",
    "GRU": "{type: gru, hidden_sizes: [128], memory_size: 64, max_seq_len: 16}",
    "IAM": "{type: iam, d_set: linear, d_set_size: 32, hidden_sizes: [128, 64], memory_size: 64, max_seq_len: 16}",
}


def planned(study: str, variants: list[str]) -> Iterator[Run]:
    """Three seeds of each variant."""
    for seed in range(3):
        for variant in variants:
            if study == "warehouse":
                yield Run(study, variant, WAREHOUSE[variant], seed, 4_000_000, 100.0)
            elif study == "warehouse_memory" and variant in MEMORY:
                settings = (f"backbone={MEMORY[variant]}",)
                yield Run(study, variant, "warehouse_memory_iam", seed, 1_000_000, 100.0, settings=settings)
            elif study == "minigrid_memory" and variant in MINIGRID:
                settings = (f"backbone={MINIGRID[variant]}",)
                yield Run(study, variant, "minigrid_memory_gru", seed, 1_500_000, 0.97, settings=settings)


def published_figure(ours: Mapping[str, Variant]) -> Chart:
    """A panel per network: our runs of it in the Warehouse, others' curves, and where the paper's runs ended."""
    known, ends = {v.name: v for v in variants_in(PUBLISHED_CURVES)}, TASKS["warehouse"].references
    lines = (*VARIANTS, *OTHERS)
    panels = []
    for name, theirs in THEIR_NAMES.items():
        found = {name: ours.get(name)} | {source: known.get(f"{theirs[source]} ({source})") for source in OTHERS}
        curves = [curve_of(line, v.runs, METRIC, "agent steps") if (v := found.get(line)) else None for line in lines]
        marks = {mark: ends[mark] for mark in ("random", "heuristic")} | {"paper": ends[f"{theirs['paper']} (paper)"]}
        title = name if name == theirs["paper"] else f"{name}, in the paper {theirs['paper']}"
        panels.append(Panel(title, "agent steps", "mean return", tuple(curves), marks))
    return curves_chart(PUBLISHED_FIGURE, "returns in the Warehouse, ours and published", panels, lines)


def results() -> str:
    """The text of results.md."""
    sections = []
    for name, task, variants in there(HERE, TASKS, VARIANTS):
        blocks = blocks_of_runs(name, task, variants)
        if name == "warehouse":
            blocks.append(image("Warehouse, beside published curves", f"{PUBLISHED_FIGURE}.png"))
        sections.append(section(task.title, *blocks))
    return document(HERE, "What a memory is worth: results", *sections)


def draw() -> None:
    """The figures."""
    for name, task, variants in there(HERE, TASKS, VARIANTS):
        save(curves_figure(name, task, variants), HERE)
        if name == "warehouse":
            save(published_figure({variant.name: variant for variant in variants}), HERE)


def main() -> None:
    """Runs what is missing and writes the report."""
    parser = study_parser(__doc__)
    parser.add_argument("--studies", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    args = parser.parse_args()
    if not args.report_only:
        with local_ray():
            for study in args.studies:
                run_missing(planned(study, args.variants), HERE / f"{study}.csv")
    draw()
    (HERE / "results.md").write_text(results())


if __name__ == "__main__":
    main()
