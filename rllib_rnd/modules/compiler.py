"""torch's compiler stays where it is until something is compiled: importing it takes more than a second and 100 MB.

torch imports it in every process that makes an optimizer, to mark functions that it must not compile, or that asks for
deterministic algorithms, to tell it of them. Neither changes anything where nothing is ever compiled.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import ParamSpec, TypeVar

import torch
from torch.utils import flop_counter
from torch.utils._python_dispatch import TorchDispatchMode

P = ParamSpec("P")
R = TypeVar("R")

# Where torch keeps what its compiler has marked.
_MARKED = "__dynamo_disable"


def unmarked(function: Callable[P, R]) -> Callable[P, R]:
    """Returns what stands in for the marked function until the compiler is there, and marks it then."""

    def call(*arguments: P.args, **keywords: P.kwargs) -> R:
        if "torch._dynamo" not in sys.modules:
            return function(*arguments, **keywords)
        setattr(function, _MARKED, torch._dynamo.disable(function, True, wrapping=False))
        marked: Callable[P, R] = getattr(function, _MARKED)
        return marked(*arguments, **keywords)

    return call


def leave_unmarked(cls: type) -> None:
    """Has the methods of a class that torch would mark when they are first called wait for the compiler."""
    for method in vars(cls).values():
        function = getattr(method, "__wrapped__", None)
        if isinstance(function, FunctionType):
            function.__dict__.setdefault(_MARKED, unmarked(function))


leave_unmarked(torch.optim.Optimizer)
for _found in vars(flop_counter).values():
    if isinstance(_found, type) and issubclass(_found, TorchDispatchMode):
        leave_unmarked(_found)


@contextlib.contextmanager
def compiler_left_out() -> Iterator[None]:
    """What is built in the block does not import torch's compiler, unless it compiles something."""
    chosen = torch.use_deterministic_algorithms

    def choose(mode: bool, *, warn_only: bool = False) -> None:
        if "torch._inductor" in sys.modules:
            chosen(mode, warn_only=warn_only)
            return
        torch._C._set_deterministic_algorithms(mode, warn_only=warn_only)
        os.environ["TORCHINDUCTOR_DETERMINISTIC"] = str(int(mode))  # what it will read

    torch.use_deterministic_algorithms = choose
    try:
        yield
    finally:
        torch.use_deterministic_algorithms = chosen


_ADAM, _RMSPROP = inspect.unwrap(torch.optim.Adam.step), inspect.unwrap(torch.optim.RMSprop.step)


class Adam(torch.optim.Adam):
    """torch's, whose step is not prepared to be compiled: it never is here."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step."""
        loss: float | None = _ADAM(self, closure)
        return loss


class RMSprop(torch.optim.RMSprop):
    """torch's, likewise."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step."""
        loss: float | None = _RMSPROP(self, closure)
        return loss
