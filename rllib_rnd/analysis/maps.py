"""The contract of explanations: an agent and states in, named maps out. One file per method, which registers itself."""

from __future__ import annotations

import abc
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.pixels import mean_frame
from rllib_rnd.analysis.states import States
from rllib_rnd.analysis.targets import Target
from rllib_rnd.options import Registry

# A map whose values differ by less than this share of their size shows nothing but rounding.
_CONSTANT = 1e-6


@dataclass(frozen=True)
class Map:
    """What one method shows of B states.

    Attributes:
        values: ``[B, h, w]`` float32 at any resolution; it is scaled up to the frame.
        title: above the pictures.
        signed: negative values mean something: they speak against the target.
        target: name of the `Target` that it explains; None: of none (attention, feature maps).
        group: maps of one group share a colour scale; empty: each has its own.
        on_frame: it lies on the frame; False: a picture of its own (a matrix, a strip over time), which no frame is
            drawn below and which says nothing of pixels.

    Raises:
        ValueError: another shape, or numbers that are none.
    """

    values: np.ndarray
    title: str
    signed: bool = False
    target: str | None = None
    group: str = ""
    on_frame: bool = True

    def __post_init__(self) -> None:
        """Checks the values and makes them float32."""
        values = np.asarray(self.values, dtype=np.float32)
        if values.ndim != 3 or 0 in values.shape[1:]:
            raise ValueError(f"map {self.title!r}: values of shape {list(values.shape)} instead of [B, h, w].")
        if not np.isfinite(values).all():
            raise ValueError(f"map {self.title!r}: values that are no finite numbers.")
        object.__setattr__(self, "values", values)

    @property
    def constant(self) -> np.ndarray:
        """``[B]`` bool: maps that are the same everywhere, which show nothing whatever colours say."""
        flat = self.values.reshape(len(self.values), -1)
        spread = flat.max(axis=1, initial=-np.inf) - flat.min(axis=1, initial=np.inf)
        return spread <= _CONSTANT * np.abs(flat).max(axis=1, initial=0.0)


class Method(abc.ABC):
    """Base of all methods. Subclasses are made without arguments: ``METHODS.resolve(name)()``.

    Attributes:
        name: of the method, for options and files.
        title: for people.
        source: paper.
        shows, cannot: what it can show and what it cannot, a sentence each.
        context: states before each that its maps show too, where they are given with it.
        blank: what pixels are blanked with, ``[*obs_shape]`` raw; None: the mean frame of the states that are looked
            into. Set where these are but a part of what is shown together.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    shows: ClassVar[str]
    cannot: ClassVar[str]
    context: ClassVar[int] = 0
    blank: np.ndarray | None = None

    def missing(self, agent: Agent) -> str | None:
        """Why it does not apply to this agent (no images, no attention, no convolution), or None: it always does."""
        del agent
        return None

    def blank_of(self, agent: Agent, states: States) -> np.ndarray:
        """`blank`, or the mean frame of the states."""
        return mean_frame(agent, states) if self.blank is None else self.blank

    @abc.abstractmethod
    def maps(self, agent: Agent, states: States, targets: Sequence[Target]) -> dict[str, Map]:
        """Computes the maps of all states.

        Args:
            agent: that the method applies to.
            states: B of one or more.
            targets: what saliency is of; those that the method cannot explain are left out, other methods ignore them.

        Returns:
            Maps by names that are unique over all methods and fit for files (`file_name`).
        """


class UntargetedMethod(Method):
    """Base of methods that explain no target: attention, feature maps."""

    @abc.abstractmethod
    def look(self, agent: Agent, states: States) -> dict[str, Map]:
        """`maps` without targets."""

    def maps(self, agent: Agent, states: States, targets: Sequence[Target] = ()) -> dict[str, Map]:
        """`look` at the states."""
        del targets
        return self.look(agent, states)


METHODS: Registry[Method] = Registry("explanation method")


def file_name(*parts: str) -> str:
    """Joins words to a name that is fit for files: ``gradcam``, ``reward: rnd`` -> ``gradcam-reward-rnd``."""
    return "-".join(re.sub(r"[^A-Za-z0-9_.]+", "-", part).strip("-.") for part in parts)


def in_words(name: str | None) -> str:
    """A name of a target, or a title with one in it, for people; "" of none."""
    return re.sub(r"(?<=trinsic)_(?=value|reward)", " ", name or "")
