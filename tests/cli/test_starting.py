"""What a run tells as it starts."""

from __future__ import annotations

import pytest

from rllib_rnd.cli.starting import first_of_all
from tests.conftest import small_config


@pytest.mark.parametrize(
    ("algorithm", "runners", "said"),
    [
        ("RND", 0, "First: 4 environments to make, 80 agent steps of random play (warmup_steps)."),
        ("RND", 2, "First: 8 environments to make, 160 agent steps of random play (warmup_steps)."),
        ("IntrinsicPPO", 0, "First: 4 environments to make."),
    ],
)
def test_what_comes_before_the_first_iteration(algorithm: str, runners: int, said: str) -> None:
    assert first_of_all(small_config(algorithm).env_runners(num_env_runners=runners)) == said
