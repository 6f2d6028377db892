"""Ray of the command line: a start that fails is one line, whatever Ray raises."""

from __future__ import annotations

import pytest
import ray

from rllib_rnd.cli.runtime import ray_session
from rllib_rnd.errors import ConfigError


@pytest.mark.parametrize(
    "error",
    [
        Exception("The current node timed out during startup. This could happen because ...\nmore"),  # Ray's own class
        ConnectionError("The current node timed out during startup. This could happen because ..."),
        KeyError("The current node timed out during startup."),
    ],
)
@pytest.mark.parametrize(("address", "begins"), [(None, "Ray does not start on this machine"), ("auto", "--address")])
def test_a_start_that_fails_is_one_line(
    error: Exception, address: str | None, begins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(**_: object) -> None:
        raise error

    monkeypatch.setattr(ray, "init", fails)
    with pytest.raises(ConfigError) as caught, ray_session(1.0, address):
        pytest.fail("it has not started")
    assert str(caught.value).startswith(begins)
    assert "timed out during startup" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_command_ends_it(error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(**_: object) -> None:
        raise error

    monkeypatch.setattr(ray, "init", ends)
    with pytest.raises(error), ray_session(1.0):
        pytest.fail("it has not started")
