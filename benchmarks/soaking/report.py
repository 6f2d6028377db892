"""Table and figure of a soak."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness import machine, table
from benchmarks.soaking.processes import COLUMNS
from benchmarks.soaking.schedule import KINDS
from benchmarks.soaking.slopes import WARM_UP_S, Slope, slope, slopes_by_role

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROLES = ("driver", "trial", "runner", "learner", "raylet", "control process")
_SLOPES = {"uss_mib": "MiB/h, own memory", "pss_mib": "MiB/h, with its share of what is shared",
           "handles": "handles/h", "threads": "threads/h"}  # fmt: skip
_MACHINE = {
    "store_mib": "Ray's object store, MiB",
    "store_objects": "objects in it",
    "shm_mib": "/dev/shm, MiB",
    "storage_mib": "folder of results, MiB",
}


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a file; none if it is not there."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def in_words(found: Slope) -> str:
    """A slope with its interval: ``1.2 [0.8, 1.5]``."""
    return f"{found.per_hour:.1f} [{found.low:.1f}, {found.high:.1f}]"


def slope_rows(samples: Sequence[Mapping[str, str]]) -> list[dict[str, object]]:
    """One row per role: how fast its longest-lived process grows."""
    by_column = {column: slopes_by_role(samples, column) for column in _SLOPES}
    rows: list[dict[str, object]] = []
    for role in _ROLES:
        if role not in by_column["uss_mib"]:
            continue
        memory, lives = by_column["uss_mib"][role]
        rows.append(
            {
                "process": role,
                "lives": lives,
                "longest, h": round(memory.hours, 2),
                "MiB at first": round(memory.first),
                "MiB at last": round(memory.last),
                **{name: in_words(by_column[column][role][0]) for column, name in _SLOPES.items()},
            }
        )
    return rows


def machine_rows(samples: Sequence[Mapping[str, str]]) -> list[dict[str, object]]:
    """One row per quantity of the machine."""
    times = [float(s["t"]) for s in samples]
    rows: list[dict[str, object]] = []
    for column, name in _MACHINE.items():
        values = [float(s[column]) for s in samples]
        found = slope(times, values)
        if found is not None:
            rows.append({"of the machine": name, "per hour": in_words(found), "largest": round(max(values), 1)})
    return rows


def fault_rows(faults: Sequence[Mapping[str, str]]) -> list[dict[str, object]]:
    """One row per kind: how often, how long until the next iteration and until all is as before, what was lost."""
    rows: list[dict[str, object]] = []
    for kind, what in KINDS.items():
        of_kind = [fault for fault in faults if fault["kind"] == kind]
        if of_kind:
            rows.append(
                {
                    "fault": what,
                    "times": len(of_kind),
                    "s until the next iteration": _spread(of_kind, "next_iteration_s"),
                    "s until beyond where it was": _spread(of_kind, "back_s"),
                    "s until all runners play": _spread(of_kind, "all_runners_s"),
                    "iterations trained again": _spread(of_kind, "iterations_lost"),
                    "exit code": ", ".join(sorted({fault["exit_code"] for fault in of_kind} - {""})) or "goes on",
                }
            )
    return rows


def _spread(faults: Sequence[Mapping[str, str]], column: str) -> str:
    values = [float(fault[column]) for fault in faults if fault[column] != ""]
    if not values:
        return "-"
    middle = f"{statistics.median(values):.0f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.0f} to {max(values):.0f})"


def facts_of(out: Path) -> dict[str, Any]:
    """What came out of a soak, as numbers and rows of tables that JSON can hold."""
    of_machine, placed = read_csv(out / "machine.csv"), read_csv(out / "faults.csv")
    state = json.loads((out / "state.json").read_text())
    hours = float(of_machine[-1]["t"]) / 3600.0
    return {
        "hours": round(hours, 2),
        "iterations": max(int(row["iteration"]) for row in of_machine),
        "agent_steps": max(float(row["agent_steps"]) for row in of_machine),
        "faults": len(placed),
        "drivers": state["lives"],
        "load": statistics.median(float(row["load"]) for row in of_machine),
        "problems": state["problems"],
        "by_kind": fault_rows(placed),
        "slopes": slope_rows(read_csv(out / "soak.csv")),
        "machine_slopes": machine_rows(of_machine),
    }


def summary(facts: Mapping[str, Any]) -> str:
    """The outcome in a few sentences."""
    problems = facts["problems"]
    wrong = "nothing went wrong" if not problems else f"{len(problems)} thing{'s' * (len(problems) > 1)} went wrong"
    return (
        f"{facts['hours']:.2f} hours, {facts['iterations']:,} iterations, {facts['agent_steps']:,.0f} agent steps "
        f"({facts['agent_steps'] / facts['hours'] / 3600:,.0f} per second with all interruptions), {facts['faults']} "
        f"faults, {facts['drivers']} drivers, median load of the machine {facts['load']:.1f}: {wrong}."
    )


SLOPES_ARE = (
    f"How fast the longest-lived process of each role grows, per hour after its first {WARM_UP_S / 60:.0f} minutes (of "
    "a shorter life after its first quarter): Theil-Sen slopes of medians of minutes with 95 % intervals."
)


def write_report(out: Path) -> None:
    """Writes ``soak.md``, ``soak.json`` and ``soak.png`` of a soak's folder, and prints the text."""
    if not read_csv(out / "machine.csv"):
        return
    found = facts_of(out)
    text = [f"# A soak {'under faults' if found['faults'] else 'without faults'}", summary(found)]
    text += ["\n".join(f"- {seconds} s: {problem}" for seconds, problem in found["problems"])] * bool(found["problems"])
    tables = {name: table(found[name]) for name in ("by_kind", "slopes", "machine_slopes") if found[name]}
    text += [tables.pop("by_kind")] if "by_kind" in tables else []
    text += [SLOPES_ARE, *tables.values()]
    facts = machine()
    text += [f"{facts['cores']} cores, Python {facts['python']}; commit {facts['commit']}.", f"    {facts['command']}"]
    (out / "soak.md").write_text("\n\n".join(text) + "\n")
    (out / "soak.json").write_text(json.dumps({"machine": facts, **found}, indent=1) + "\n")
    print("\n\n".join(text), flush=True)
    draw(out, read_csv(out / "soak.csv"), read_csv(out / "machine.csv"), read_csv(out / "faults.csv"))


def draw(
    out: Path,
    samples: Sequence[Mapping[str, str]],
    of_machine: Sequence[Mapping[str, str]],
    faults: Sequence[Mapping[str, str]],
) -> None:
    """Draws memory, handles and iterations over time, with the faults as marks: ``soak.png``."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(3, 1, figsize=(12, 10), sharex=True, height_ratios=(3, 2, 2), layout="constrained")
    colours = dict(zip(_ROLES, plt.rcParams["axes.prop_cycle"].by_key()["color"], strict=False))
    for axis, column in zip(axes, ("uss_mib", "handles"), strict=False):
        for role in _ROLES:
            _draw_role(axis, [s for s in samples if s["role"] == role], column, colours[role], role)
        axis.set_ylim(bottom=0)
    axes[0].set_ylabel("own memory of a process (USS), MiB")
    axes[1].set_ylabel("handles of a process")
    minutes = [float(row["t"]) / 60.0 for row in of_machine]
    axes[2].plot(minutes, [float(row["iteration"]) for row in of_machine], color="black", linewidth=1.2)
    axes[2].set_ylabel("iteration")
    axes[2].set_xlabel("minutes")
    kinds = [kind for kind in KINDS if any(fault["kind"] == kind for fault in faults)]
    marks = plt.get_cmap("tab20")
    for number, kind in enumerate(kinds):
        at = [float(fault["t"]) / 60.0 for fault in faults if fault["kind"] == kind]
        for axis in axes:
            for minute in at:
                axis.axvline(minute, color=marks(number), linewidth=0.9, alpha=0.8, zorder=0)
        axes[2].plot([], [], color=marks(number), linewidth=2, label=kind.replace("_", " "))
    axes[0].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    if kinds:
        axes[2].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, title="faults")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_xlim(0, max(minutes))
    figure.savefig(out / "soak.png", dpi=110)
    plt.close(figure)


def _draw_role(axis: Axes, samples: Sequence[Mapping[str, str]], column: str, colour: str, role: str) -> None:
    for number, pid in enumerate(dict.fromkeys(s["pid"] for s in samples)):
        of_pid = [s for s in samples if s["pid"] == pid]
        axis.plot(
            [float(s["t"]) / 60.0 for s in of_pid],
            [float(s[column]) for s in of_pid],
            color=colour,
            linewidth=1.2,
            label=role if number == 0 else None,
        )


assert set(_SLOPES) <= set(COLUMNS)
