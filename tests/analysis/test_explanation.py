"""What is found of states: every map with its controls, what fails, and what there is no curve of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.explanation import AGENT, UNTRAINED, Explanation, onlooker_of_observations
from rllib_rnd.analysis.figures.gallery_content import StatesOnPage
from rllib_rnd.analysis.maps import Map, Method
from rllib_rnd.analysis.states import States
from rllib_rnd.analysis.targets import Target, targets_of
from tests.analysis.agents import one_thread
from tests.analysis.planted import planted_agent, planted_states

__all__ = ["one_thread"]  # a fixture
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def explanation() -> Explanation:
    """Of the planted agent and its untrained twin."""
    agent = planted_agent()
    states = planted_states(agent, 6)
    agents = {AGENT: agent, UNTRAINED: agent.untrained(0)}
    return Explanation(
        {who: onlooker_of_observations(a, states, targets_of(a)[:2]) for who, a in agents.items()}, seed=0
    )


class Flat(Method):
    """Two maps: one that is the same everywhere, and one that is so at the first state."""

    name: ClassVar[str] = "flat"
    title = source = shows = cannot = "flat"

    def maps(self, agent: Agent, states: States, targets: Sequence[Target]) -> dict[str, Map]:
        """See `Method`."""
        values = np.random.default_rng(0).random((len(states), 44, 44))
        values[0] = 0.3
        return {"flat": Map(np.full_like(values, 0.3), "Even"), "flat-first": Map(values, "Even at first")}


def test_a_constant_map_has_no_curve_and_says_so(explanation: Explanation) -> None:
    even, other = explanation.look(Flat())
    assert even.curve is None and explanation.notes == ["Even: the same everywhere at every state, no deletion curve"]
    assert other.curve is not None and other.curve.reasons == ("the map is the same everywhere", *5 * [""])
    page = StatesOnPage(explanation, [], [], False)
    assert [row.title for row in page.verdicts()] == ["Even at first"]
    rows = page.report()
    assert "better" not in rows[0] and rows[1]["better"] is False
