"""Published numbers of the Warehouse stand in the same figures as ours."""

from __future__ import annotations

import numpy as np

from experiments.memory.run import OTHERS, PUBLISHED_CURVES, TASKS, THEIR_NAMES, VARIANTS, published_figure
from experiments.run_report import METRIC, curves_figure, there, variants_in
from rllib_rnd.analysis.results.figures.chart import LIGHT, TEXT


def test_every_published_end_is_a_line_of_the_figure() -> None:
    (found,) = ((t, v) for name, t, v in there(PUBLISHED_CURVES.parent, TASKS, VARIANTS) if name == "warehouse")
    task, variants = found
    (axes,) = curves_figure("warehouse", task, variants).draw().axes
    heights = {round(float(np.asarray(line.get_ydata())[0]), 2) for line in axes.lines if line.get_color() == TEXT}
    assert heights == {9.29, 43.5, 39.4, 35.6, 35.4, 41.0} == set(task.references.values())
    assert [variant.name for variant in variants] == list(VARIANTS)


def test_every_published_curve_is_beside_ours() -> None:
    known = {variant.name: variant.runs[0] for variant in variants_in(PUBLISHED_CURVES)}
    panels = published_figure({}).draw().axes
    assert len(panels) == len(VARIANTS)
    drawn = []
    for axes, (ours, theirs) in zip(panels, THEIR_NAMES.items(), strict=True):
        assert axes.get_title(loc="left").startswith(ours)
        for i, source in enumerate(OTHERS, start=len(VARIANTS)):
            lines = [line for line in axes.lines if line.get_color() == LIGHT[i] and np.size(line.get_xdata())]
            name = f"{theirs[source]} ({source})"
            expected = [list(known[name].metrics[METRIC])] if name in known else []
            assert [np.asarray(line.get_ydata()).tolist() for line in lines] == expected
            drawn += [name] * len(lines)
    assert sorted(drawn) == sorted(known)
