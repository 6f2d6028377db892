"""Learners of several nodes meet on the network that Ray uses."""

from __future__ import annotations

import os

import pytest
import ray

from rllib_rnd.training.network import interface_of, meet_where_ray_does


def test_the_interface_of_an_address_is_found() -> None:
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("203.0.113.7") is None  # of documentation: no machine has it


@pytest.mark.parametrize(
    ("before", "address", "after"),
    [
        (None, "127.0.0.1", "lo"),
        (None, "203.0.113.7", None),
        ("eth7", "127.0.0.1", "eth7"),
    ],
)
def test_gloo_is_told_unless_the_user_has_chosen(
    monkeypatch: pytest.MonkeyPatch, before: str | None, address: str, after: str | None
) -> None:
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    if before is not None:
        monkeypatch.setenv("GLOO_SOCKET_IFNAME", before)
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: address)
    meet_where_ray_does()
    assert os.environ.get("GLOO_SOCKET_IFNAME") == after
