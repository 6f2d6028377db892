"""What the algorithm does with its runners, remote and local alike."""

from __future__ import annotations

import numpy as np
import pytest
import ray

from tests.conftest import small_config

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.mark.parametrize("remote", [0, 2])
def test_play_stands_where_it_was_after_a_restore_and_random_play_is_apart(remote: int) -> None:
    config = small_config(warmup_steps=0).env_runners(num_env_runners=remote, num_envs_per_env_runner=2)
    algorithm = config.build_algo()
    runners = algorithm.runners
    assert runners.remote == (remote > 0)
    first = runners.collect()
    states = runners.play_states()
    assert [state["runner"] for state in states["states"]] == ([1, 2] if remote else [0])
    assert states["num_runners"] == max(1, remote)

    def frames() -> list[np.ndarray]:
        samples = [sample.rollout for sample in runners.collect()]
        return [(ray.get(r) if isinstance(r, ray.ObjectRef) else r).frames for r in samples]

    expected = frames()
    played = runners.random_play(4)
    runners.end_random_play()
    assert len(first) == len(played) == max(1, remote)
    assert [rollout.num_steps for rollout in played] == [4] * max(1, remote)
    assert runners.restore_play(states) is None
    for got, wanted in zip(frames(), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    states["states"] = [{**state, "num_envs": 1, "env": None} for state in states["states"]]
    assert "New episodes begin" in str(runners.restore_play(states))
    assert any((got != wanted).any() for got, wanted in zip(frames(), expected, strict=True))
    assert runners.crew.hanging == runners.crew.restarts == 0
    algorithm.stop()
