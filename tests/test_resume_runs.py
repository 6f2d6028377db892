"""Whole runs that go on: remote runners, several learners, overlap, evaluation, pre-training, and other numbers of all.

As `test_resume`, where a local runner and one learner are taken for all plug-ins.
"""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rllib_rnd.modules.generators import process_state, restore_process
from rllib_rnd.sampling.dealing import deal
from rllib_rnd.training.learners import foreach_learner
from tests.resuming import assert_goes_on, assert_same_trees, building, differences, resumed, straight
from tests.test_combinations import MEMORY
from tests.test_resume import CATCH, config

pytestmark = pytest.mark.usefixtures("ray_session")

RND = {"type": "rnd", "feature_dim": 8, "hidden_sizes": [8], "update_proportion": 0.5}
GRU = {"type": "gru", **MEMORY}


def spread(runners: int, envs: int, learners: int = 0, env: str = CATCH, **training: Any) -> Any:
    """So many runners with so many environments each, and learners in processes of their own."""
    made = config(env, **{"intrinsic_reward": [RND, {"type": "e3b", "feature_dim": 8, "model_size": 8}], **training})
    made.learners(num_learners=learners)
    return made.env_runners(num_env_runners=runners, num_envs_per_env_runner=envs)


@pytest.mark.parametrize(
    ("runners", "learners", "training"),
    [
        (2, 0, {"overlap_sampling": True, "lr": 1e-2}),
        (0, 2, {"backbone": GRU, "warmup_steps": 8}),
        (2, 2, {}),
    ],
    ids=["overlap", "2 learners with a memory", "2 runners, 2 learners"],
)
def test_remote_runs_go_on(runners: int, learners: int, training: dict[str, Any], tmp_path: Path) -> None:
    assert_goes_on(spread(runners, 2, learners, **training), tmp_path, before=1)


def test_evaluation_draws_on(tmp_path: Path) -> None:
    made = spread(0, 2).evaluation(
        evaluation_interval=1, evaluation_duration=4, evaluation_config={"explore": True}, evaluation_num_env_runners=0
    )
    result = assert_goes_on(made, tmp_path, before=1)
    assert "evaluation" in result


@pytest.mark.parametrize("before", [2, 3])
def test_pretraining_goes_on_in_its_midst_and_at_its_end(before: int, tmp_path: Path) -> None:
    pretraining = {"max_rollouts": 3, "num_epochs": 1, "patience": 9}
    made = spread(0, 2, auxiliary_loss="byol", pretraining=pretraining, warmup_steps=8)
    result = assert_goes_on(made, tmp_path, before=before)
    assert np.isfinite(result["learners"]["default_policy"]["total_loss"])  # and then it trained


GO_ON = """
import json, sys, pickle
import ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
from tests.resuming import resumed
from tests.test_resume_runs import spread
found = resumed(spread(0, 2), 2, sys.argv[1])
with open(sys.argv[2], "wb") as file:
    pickle.dump(found, file)
ray.shutdown()
"""


def test_a_new_process_and_a_second_resume_give_the_same(quick_python: Path, tmp_path: Path) -> None:
    import pickle

    folder = tmp_path / "checkpoint"
    expected = straight(spread(0, 2), 1, 2, folder)
    assert_same_trees(resumed(spread(0, 2), 2, folder), expected)
    done = subprocess.run(
        [str(quick_python), "-c", GO_ON, str(folder), str(tmp_path / "found")],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert_same_trees(pickle.loads((tmp_path / "found").read_bytes()), expected)


# --- other numbers of runners, environments and learners ----------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run with 4 runners of an environment each and 2 learners: its checkpoint and its state."""
    folder = tmp_path_factory.mktemp("checkpoint")
    with building(spread(4, 1, 2)) as algorithm:
        algorithm.train()
        algorithm.save_to_path(folder)
        return folder, algorithm.get_state()


def of_play(state: dict[str, Any], name: str) -> np.ndarray:
    """What all environments have under a name of a position, in their order."""
    return np.concatenate([play["position"][name] for play in state["intrinsic_ppo"]["play"]["states"]])


@pytest.mark.parametrize(
    ("runners", "envs", "learners", "note"),
    [
        (1, 4, 1, "Episodes go on: the environments of 4 runners of 1 environment are dealt over 1 runner of 4"),
        (4, 1, 1, None),
        (2, 2, 2, "Episodes go on: the environments of 4 runners of 1 environment are dealt over 2 runners of 2"),
        (0, 4, 0, "Episodes go on: the environments of 4 runners of 1 environment are dealt over 1 runner of 4"),
        (0, 2, 0, "New episodes begin: the checkpoint is of 4 runners of 1 environment, this run has 1 runner of 2"),
    ],
)
def test_a_run_goes_on_with_other_numbers(
    runners: int,
    envs: int,
    learners: int,
    note: str | None,
    saved: tuple[Path, dict[str, Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder, before = saved
    made = spread(runners, envs, learners)
    with caplog.at_level(logging.WARNING, logger="rllib_rnd"), building(made) as algorithm:
        algorithm.restore_from_path(folder)
        lines = [r.getMessage() for r in caplog.records if "pisodes" in r.getMessage()]
        assert [line.startswith(note or "") for line in lines] == ([True] if note else []), lines
        now = algorithm.get_state()
        assert now["training_iteration"] == 1 and algorithm._agent_steps() > 0
        learned, learned_before = now["learner_group"]["learner"], before["learner_group"]["learner"]
        rows = learned_before["intrinsic_ppo"]["environment_rows"]
        assert rows and all(len(values) in (0, 4) for values in rows.values())
        for part in ("rl_module", "optimizer"):
            found = differences(learned[part], learned_before[part])
            # A learner's module holds the rows of its own environments.
            assert [where for where in found if not any(name in where for name in rows)] == []
        goes_on = runners * envs == 4 or envs == 4
        if goes_on:
            assert_same_trees(learned["intrinsic_ppo"]["environment_rows"], rows)
            for name in ("obs", "is_first", "done", "memory"):
                np.testing.assert_array_equal(of_play(now, name), of_play(before, name))
        generators = foreach_learner(algorithm.learner_group, "generator_states")
        saved_generators = learned_before["intrinsic_ppo"]["generators"]
        assert len(saved_generators) == 2
        assert_same_trees([g["own"] for g in generators], [g["own"] for g in saved_generators[: max(1, learners)]])
        result = algorithm.train()
        assert np.isfinite(result["learners"]["default_policy"]["total_loss"])
        # A drawn number is nobody else's: no two environments play the same from here on.
        draws = [play["generators"]["own"].tobytes() for play in algorithm.runners.play_states()["states"]]
        assert len(set(draws)) == len(draws) == max(1, runners)


def test_one_learner_becomes_two_that_draw_apart_and_always_the_same() -> None:
    first = torch.Generator().manual_seed(3)
    states = [process_state(first)]
    drawn = []
    for which in (0, 1, 2, 1):
        generator = torch.Generator()
        restore_process(states, which, generator)
        drawn.append((generator.initial_seed(), torch.rand(3, generator=generator).tolist(), torch.rand(2).tolist()))
    assert drawn[0][1] == torch.rand(3, generator=first).tolist()
    assert drawn[1][1:] == drawn[3][1:] and len({str(d[1]) for d in drawn}) == 3 == len({str(d[2]) for d in drawn})


def test_runners_that_did_not_answer_begin_anew_and_others_go_on() -> None:
    generators = process_state(torch.Generator().manual_seed(1))
    state = {"runner": 2, "num_envs": 1, "resets": 5, "env": {"x": [1]}, "generators": generators}
    dealt = deal([state], 2, [1, 2], 1)
    assert dealt.states[2] is state and dealt.states[1]["env"] is None and dealt.states[1]["resets"] == 5
    assert "runners [1]" in str(dealt.note) and dealt.states[1]["seed"] is not None


def test_vectors_that_are_saved_as_a_whole_are_not_divided() -> None:
    generators = process_state(torch.Generator().manual_seed(1))
    whole = {"num_envs": 2, "resets": 1, "env": {"x": 1}, "env_rows": [], "generators": generators}
    dealt = deal([{**whole, "runner": 1}, {**whole, "runner": 2}], 2, [0], 4)
    assert dealt.states[0]["env"] is None and "saved as a whole" in str(dealt.note)
