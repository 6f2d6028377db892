"""The parameters of a training's networks, part by part: how many there are, and which of them nothing trains."""

from __future__ import annotations

from rich.table import Table
from torch import nn


def parameter_counts(module: nn.Module) -> list[tuple[str, int, int]]:
    """Returns (part, trainable parameters, frozen parameters) for every direct part of a module.

    Lists of plug-ins are opened one level further, so that predictor and target stand apart.
    """
    rows: list[tuple[str, int, int]] = []
    for name, part in _parts(module, "", depth=3):
        trainable = sum(p.numel() for p in part.parameters() if p.requires_grad)
        frozen = sum(p.numel() for p in part.parameters() if not p.requires_grad)
        if trainable or frozen:
            rows.append((name, trainable, frozen))
    return rows


def _parts(module: nn.Module, prefix: str, depth: int) -> list[tuple[str, nn.Module]]:
    """Names the parts that hold parameters; only lists, and what is in them, are opened."""
    parts: list[tuple[str, nn.Module]] = []
    for name, child in module.named_children():
        full = f"{prefix}{name}"
        is_list = isinstance(child, nn.ModuleList)
        if depth > 1 and (is_list or isinstance(module, nn.ModuleList)) and list(child.children()):
            parts += _parts(child, f"{full}.", depth - 1)
        else:
            parts.append((full, child))
    return parts


def parameter_table(module: nn.Module) -> Table:
    """The parameter counts of each part."""
    table = Table(box=None)
    table.add_column("part")
    table.add_column("trainable", justify="right")
    table.add_column("frozen", justify="right")
    rows = parameter_counts(module)
    for name, trainable, frozen in rows:
        table.add_row(name, f"{trainable:,}", f"{frozen:,}")
    table.add_row("all", f"{sum(r[1] for r in rows):,}", f"{sum(r[2] for r in rows):,}")
    return table


class Trained:
    """Tells which parts of the networks an iteration has left as they were, though they are trainable.

    Args:
        module: the learner's, before the iteration.
    """

    def __init__(self, module: nn.Module) -> None:
        self._parts = {
            name: [p for p in part.parameters() if p.requires_grad] for name, part in _parts(module, "", depth=3)
        }
        self._before = {name: _sums(parameters) for name, parameters in self._parts.items()}

    def untouched(self) -> str:
        """Those parts in words, with what may be the reason; "" if there is none, or if nothing was trained at all."""
        names = [name for name, parameters in self._parts.items() if parameters]
        still = [name for name in names if _sums(self._parts[name]) == self._before[name]]
        if not still or len(still) == len(names):
            return ""
        return (
            f"nothing trains {', '.join(still)}: no loss has a gradient for it (no_grad, detach, terms that leave it "
            "out). What is to stay as it is wants requires_grad_(False)"
        )


def _sums(parameters: list[nn.Parameter]) -> list[tuple[float, float]]:
    """Two numbers of each parameter, of which a step changes one: copies of all would take as much memory again."""
    return [(float(p.detach().sum()), float(p.detach().abs().sum())) for p in parameters]
