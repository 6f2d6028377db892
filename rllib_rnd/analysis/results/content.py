"""What a report is made of: sections with words, tables and charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rllib_rnd.analysis.results.figures.chart import Chart, Picture
from rllib_rnd.analysis.results.groups import Variant
from rllib_rnd.analysis.results.tables import Table


@dataclass(frozen=True)
class Switch:
    """Charts of which a reader chooses one.

    Attributes:
        name: of this choice; different for each of a page.
        charts: by what is chosen.
    """

    name: str
    charts: Mapping[str, Chart]


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        name: its id.
        title: its heading.
        lines: what is to be known before its charts and tables.
        charts, tables: in order.
        folded: tables that are shown on demand.
        left_out: why there is nothing; "" where there is.
    """

    name: str
    title: str
    lines: tuple[str, ...] = ()
    charts: tuple[Chart | Picture | Switch, ...] = ()
    tables: tuple[Table, ...] = ()
    folded: tuple[Table, ...] = ()
    left_out: str = ""

    def every_chart(self) -> list[Chart | Picture]:
        """All charts, also those that a reader has to choose."""
        return [c for chart in self.charts for c in (chart.charts.values() if isinstance(chart, Switch) else (chart,))]

    def every_table(self) -> list[Table]:
        """All tables, also the folded ones."""
        return [*self.tables, *self.folded]


@dataclass(frozen=True)
class Question:
    """What a report is asked.

    Attributes:
        metric: that scores are of, by its short name.
        threshold: of that metric, which is enough; None: half way from where runs begin to where the best variant ends.
        baseline: the variant that the others are compared with; None: the two best with each other.
        seed: of resamples.
    """

    metric: str = "return_mean"
    threshold: float | None = None
    baseline: str | None = None
    seed: int = 0


def in_order(variants: Sequence[Variant], names: Sequence[str]) -> list[Variant | None]:
    """The variants of a task in the order of all names; None where it has no such runs."""
    by_name = {variant.name: variant for variant in variants}
    return [by_name.get(name) for name in names]
