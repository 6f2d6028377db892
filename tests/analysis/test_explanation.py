"""What is found of states: every map with its controls, what fails, and what there is no curve of."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import pytest

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.explanation import AGENT, UNTRAINED, Explanation, onlooker_of_observations
from rllib_rnd.analysis.figures.gallery_content import StatesOnPage
from rllib_rnd.analysis.maps import METHODS, Map, Method
from rllib_rnd.analysis.methods.making import make_method
from rllib_rnd.analysis.states import States
from rllib_rnd.analysis.targets import Target, targets_of, trouble_with
from rllib_rnd.errors import ConfigError
from rllib_rnd.intrinsic import Traced
from tests.analysis.agents import one_thread
from tests.analysis.planted import Brightness, planted_agent, planted_states

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


# --- a user's own code ----------------------------------------------------------------------------------------------


class Own(Flat):
    """One that works; those below each break in another place."""

    name: ClassVar[str] = "own"


class BreaksInMaps(Own):
    """See `Own`."""

    def maps(self, agent: Agent, states: States, targets: Sequence[Target]) -> dict[str, Map]:
        """Divides by zero."""
        return {"own": Map(np.full((1 // 0, 2, 2), 0.0), "own")}


class BreaksInMissing(Own):
    """See `Own`."""

    def missing(self, agent: Agent) -> str | None:
        """Looks for what is not there."""
        return {"a": "b"}["c"]


class BreaksWhenMade(Own):
    """See `Own`."""

    def __init__(self) -> None:
        raise OSError("no such file of weights")


class WantsMore(Own):
    """See `Own`."""

    def __init__(self, weights: str) -> None:
        self.weights = weights


class Returns(Own):
    """Whatever it is told to."""

    answer: object = None

    def maps(self, agent: Agent, states: States, targets: Sequence[Target]) -> dict[str, Map]:
        """See `Method`."""
        return cast("dict[str, Map]", self.answer)


class NoMethod:
    """Another class."""


class Wordless(Method):
    """It says nothing of itself."""

    name: ClassVar[str] = "wordless"


HERE = "tests.analysis.test_explanation"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("NoMethod", ["'tests.analysis.test_explanation:NoMethod' is no explanation method", "maps:Method"]),
        ("HERE", ["is no explanation method"]),
        ("Wordless", ["lacks title, source, shows, cannot, maps"]),
        (
            "BreaksWhenMade",
            ["BreaksWhenMade.__init__() failed: OSError: no such file of weights (", "in __init__)"],
        ),
        ("WantsMore", ["WantsMore.__init__() failed: TypeError", "'weights'"]),
        ("Onw", ["cannot import", "Own"]),
    ],
)
def test_a_method_that_cannot_be_made_is_one_line(name: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        make_method(f"{HERE}:{name}", "--methods")
    text = str(error.value)
    assert text.startswith("--methods: ") and "\n" not in text and all(word in text for word in words), text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("BreaksInMaps", ["BreaksInMaps.maps() failed: ZeroDivisionError", "test_explanation.py:", "in maps"]),
        ("BreaksInMissing", ["BreaksInMissing.missing() failed: KeyError: 'c'", "test_explanation.py:", "in missing"]),
    ],
)
def test_a_method_that_breaks_is_named_with_its_line(explanation: Explanation, name: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        explanation.look(make_method(f"{HERE}:{name}", "--methods"))
    assert all(word in str(error.value) for word in words), error.value
    assert not explanation.found
    assert len(explanation.look(make_method(f"{HERE}:Own", "--methods"))) == 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, ["returned type NoneType", "maps by name"]),
        ([], ["returned type list"]),
        ({"x": np.zeros((6, 2, 2))}, ["returned type ndarray"]),
        ({"x": Map(np.zeros((5, 2, 2)), "x")}, ["map 'x' of 5 states", "6"]),
        ({"../x": Map(np.zeros((6, 2, 2)), "x")}, ["map named '../x'", "fit for files"]),
        ({"x": Map(np.zeros((6, 2, 2)), "x", target="actoin")}, ["target 'actoin'", "action, extrinsic_value"]),
    ],
)
def test_what_a_method_returns_is_checked(explanation: Explanation, answer: object, words: list[str]) -> None:
    method = Returns()
    method.answer = answer
    with pytest.raises(ConfigError) as error:
        explanation.look(method)
    text = str(error.value)
    assert f"{HERE}:Returns.maps() (" in text and all(word in text for word in words), text


class Scribbles(Own):
    """It writes into the states that it is given."""

    def maps(self, agent: Agent, states: States, targets: Sequence[Target]) -> dict[str, Map]:
        """See `Method`."""
        states.obs[...] = 0
        return {}


def test_what_a_method_writes_into_states_no_other_one_sees(explanation: Explanation) -> None:
    before = {who: onlooker.states.obs.copy() for who, onlooker in explanation.onlookers.items()}
    assert all(obs.any() for obs in before.values())
    explanation.look(Scribbles())
    for who, onlooker in explanation.onlookers.items():
        assert np.array_equal(onlooker.states.obs, before[who])


def test_without_captum_its_methods_are_left_out_with_the_command(
    explanation: Explanation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    reasons = {name: explanation.missing(make_method(name, "--methods")) for name in METHODS.names()}
    lacking = [name for name, reason in reasons.items() if 'pip install "rllib_rnd[insight]"' in (reason or "")]
    assert lacking == ["gradcam", "integrated_gradients"]
    assert reasons["gradcam_plus_plus"] is None and reasons["occlusion"] is None


def test_two_methods_cannot_write_one_file(explanation: Explanation) -> None:
    explanation.look(Flat())
    with pytest.raises(ConfigError, match=r"Own and .*Flat both make a map 'flat'"):
        explanation.look(Own())


@pytest.mark.parametrize(
    ("traced", "words"),
    [
        (lambda reward: 1 / 0, "failed: ZeroDivisionError"),
        (lambda reward: reward.network, "returned type Sequential"),
        (lambda reward: Traced(lambda x: x[:, 3:1].sum(9), reward._paid, ()), "failed: IndexError"),
        (lambda reward: Traced(lambda x: x, lambda x: x / (1 // 0), ()), "failed: ZeroDivisionError"),
        (lambda reward: Traced(lambda x: x, lambda x: x, ()), "rewards of shape [1, 44, 44]"),
        (lambda reward: Traced(lambda x: x, lambda x: x.detach().sum(dim=(1, 2)), ()), "does not require grad"),
        (lambda reward: Traced(lambda x: x[:, :7, :9].flatten(1), lambda x: x.sum(dim=1), ()), "failed: RuntimeError"),
    ],
)
def test_a_reward_whose_gradients_break_is_named(
    monkeypatch: pytest.MonkeyPatch, traced: Callable[[Any], object], words: str
) -> None:
    agent = planted_agent()
    assert [trouble_with(agent, target) for target in targets_of(agent)] == 6 * [None]
    monkeypatch.setattr(Brightness, "traced", traced)
    targets = targets_of(agent)
    trouble = [trouble_with(agent, target) for target in targets]
    assert trouble[:4] == 4 * [None]
    for error in trouble[4:]:
        assert "tests.analysis.planted:Brightness.traced()" in str(error) and words in str(error), error
    for target in targets:  # without gradients everything can be had all the same
        assert target.measure(agent, planted_states(agent, 2), planted_states(agent, 2).obs).shape == (2,)
