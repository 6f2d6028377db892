"""``rllib doctor``: what is well and what is not, of this machine, a run or a checkpoint, and what to do."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import typer
from rich.table import Table
from rich.text import Text

from rllib_rnd.analysis.diagnosis import checkpoint as of_checkpoint
from rllib_rnd.analysis.diagnosis import machine as of_machine
from rllib_rnd.analysis.diagnosis import run as of_run
from rllib_rnd.analysis.diagnosis.finding import LEVELS, Finding, worst
from rllib_rnd.analysis.diagnosis.subject import Subject, Trained, find_subject
from rllib_rnd.cli.runtime import RUN_ERROR, RayDoesNotStartError, be_quiet, console, ray_session, say
from rllib_rnd.errors import ConfigError

_MARKS = {"ok": ("ok", "green"), "note": ("note", "cyan"), "warning": ("WARN", "yellow"), "problem": ("FAIL", "red")}
_PIPE = 80  # columns where there is no terminal
_MOST = 6  # trials of a sweep that are named with a finding


def doctor(place: str | None, storage: str, start_ray: bool, address: str | None, as_json: bool) -> None:
    """Prints findings.

    Args:
        place: a run's, a trial's or a checkpoint's folder; None: the machine.
        storage: folder of results, whose disk is looked at.
        start_ray: start a local Ray, to see whether it does.
        address: of a cluster that is asked for.
        as_json: print JSON instead of a table.

    Raises:
        ConfigError: there is nothing to look at.
        typer.Exit: there is a problem.
    """
    be_quiet(verbose=False)
    if place is None:
        asked = _ask_ray(address) if start_ray or address else None
        facts = of_machine.gather(storage, asked)
        title, findings = "this machine", [check(facts) for check in of_machine.CHECKS]
    else:
        if start_ray or address:
            raise ConfigError("--ray" if start_ray else "--address", f"is of the machine; leave {place} out")
        subject = find_subject(place)
        title, findings = f"{subject.kind} {_relative(subject.path)}", findings_of(subject)
    if as_json:
        content = {"what": title, "level": worst(findings), "findings": [dataclasses.asdict(f) for f in findings]}
        print(json.dumps(content, indent=1))
    else:
        print_findings(title, findings)
    if worst(findings) == "problem":
        raise typer.Exit(RUN_ERROR)


def findings_of(subject: Subject) -> list[Finding]:
    """What the checks say of a run, a sweep or a checkpoint."""
    if subject.kind == "checkpoint":
        of = subject.trained[0] if subject.trained else None
        saved = of_checkpoint.read_saved(subject.path, of)
        return [check(saved) for check in of_checkpoint.CHECKS]
    if len(subject.trained) == 1:
        (trained,) = subject.trained
        found = [check(trained) for check in of_run.CHECKS]
        if trained.valid is not None:  # what it goes on from
            saved = of_checkpoint.read_saved(trained.valid, trained)
            found += [check(saved) for check in (of_checkpoint.finite, of_checkpoint.statistics)]
        return found
    return [finding for check in of_run.CHECKS for finding in together(check, subject.trained)]


def together(check: Callable[[Trained], Finding], trials: Sequence[Trained]) -> list[Finding]:
    """What a check says of the trials of a sweep: what is well in one line, the others each."""
    found = [(trial.run.name or Path(trial.run.source).name, check(trial)) for trial in trials]
    well = [finding for _, finding in found if finding.level == "ok"]
    lines = []
    if well:
        what = f"of {len(well)} of {len(trials)} trials" if len(well) < len(trials) else f"of all {len(trials)} trials"
        alike_well = len({finding.detail for finding in well}) == 1
        lines.append(Finding("ok", well[0].what, f"{what}, {'each' if alike_well else 'one'}: {well[0].detail}"))
    alike: dict[Finding, list[str]] = {}
    for name, finding in found:
        if finding.level != "ok":
            alike.setdefault(finding, []).append(name)
    others = sorted(alike.items(), key=lambda pair: -LEVELS.index(pair[0].level))
    for finding, names in others[:_MOST]:
        who = names[0] if len(names) == 1 else f"{len(names)} of {len(trials)} trials"
        lines.append(dataclasses.replace(finding, detail=f"{who}: {finding.detail}"))
    if len(others) > _MOST:
        rest = [finding for finding, _ in others[_MOST:]]
        advice = "`rllib doctor TRIAL` tells them of each trial's folder."
        lines.append(Finding(worst(rest), rest[0].what, f"{len(rest)} more such findings", advice))
    return lines


def print_findings(title: str, findings: Sequence[Finding]) -> None:
    """A row each, with what to do below it; as wide as the terminal, 80 columns elsewhere."""
    out = console()
    if not out.is_terminal:
        out.width = _PIPE
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        mark, colour = _MARKS[finding.level]
        table.add_row(Text(mark, style=colour), Text(finding.what), Text(finding.detail))
        if finding.what_to_do:
            table.add_row("", "", Text(f"-> {finding.what_to_do}"))
    out.print(Text(title), soft_wrap=False)
    out.print(table, soft_wrap=False)
    counts = {level: sum(finding.level == level for finding in findings) for level in ("problem", "warning", "note")}
    told = [f"{count} {level}{'s' if count > 1 else ''}" for level, count in counts.items() if count]
    say(", ".join(told) if told else "All is well.")


def _ask_ray(address: str | None) -> str:
    """What is wrong with Ray; "" if it starts, or answers."""
    try:
        with ray_session(cpus=1.0, address=address):
            import ray

            return "" if ray.cluster_resources().get("CPU") else "it answers, but has no CPUs"
    except ConfigError as error:
        return error.problem
    except RayDoesNotStartError as error:
        return str(error)


def _relative(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
