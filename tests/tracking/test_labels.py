"""Names of trials: short, different where trials are, and the same again from a folder's name."""

from typing import Any

import pytest

from rllib_rnd.tracking.labels import folder_label, label_of_folder, short_value, trial_label, without_seed


@pytest.mark.parametrize(
    ("values", "label"),
    [
        ({"seed": 2, "lr": 0.001}, "lr=0.001, seed=2"),
        ({"lr": 1e-5}, "lr=1e-05"),
        ({"lr": 0.000123456789}, "lr=0.0001235"),
        ({"intrinsic_reward/0/coeff": 0.5, "intrinsic_reward/1/gamma": 0.99}, "coeff=0.5, gamma=0.99"),
        (
            {"intrinsic_reward/0/coeff": 0.5, "auxiliary_loss/coeff": 1.0},
            "intrinsic_reward.0.coeff=0.5, auxiliary_loss.coeff=1",
        ),
        ({"gamma": 0.9, "intrinsic_reward/gamma": 0.99}, "gamma=0.9, intrinsic_reward.gamma=0.99"),
        ({"env_config/seed": 3}, "env_config.seed=3"),
        ({"env_config/seed": 3, "seed": 2}, "env_config.seed=3, seed=2"),
        ({"env_config/0/map/seed": 3}, "map.seed=3"),
        ({"backbone": {"type": "mlp", "hidden_sizes": [64, 64]}}, "backbone=mlp(hidden_sizes=[64, 6…"),
        ({"backbone": "my_package.my_nets:MyNet"}, "backbone=MyNet"),
        ({}, ""),
    ],
)
def test_a_trial_is_named_by_what_it_draws(values: dict[str, Any], label: str) -> None:
    assert trial_label(values) == label


@pytest.mark.parametrize("values", [[1e-5, 2e-5], [1e-9, 1.1e-9], [0.99, 0.999, 0.9999], [1, 1.5], [0.00012, 0.000121]])
def test_different_numbers_look_different(values: list[float]) -> None:
    assert len({short_value(value) for value in values}) == len(values)


@pytest.mark.parametrize("trial_id", ["83cf0_00003", "a1f5bba5"])
@pytest.mark.parametrize("label", ["lr=0.0013", "coeff=0.5, lr=1e-05, seed=2"])
def test_the_label_is_read_back_from_the_folder(trial_id: str, label: str) -> None:
    folder = f"/r/sweep/RND_rllib_rnd_DeepSea-v0_{trial_id}_{folder_label(label)}_2026-11-21_17-03-46"
    assert label_of_folder(folder) == label


def test_a_trial_without_draws_is_called_by_its_folder() -> None:
    alone = "RND_CartPole-v1_83cf0_00000_0_2026-11-21_17-03-46"
    assert label_of_folder(f"/r/{alone}") == alone


def test_seeds_are_taken_out() -> None:
    assert without_seed("lr=0.001, seed=2") == "lr=0.001"
    assert without_seed("seed=2") == ""
    assert without_seed(trial_label({"env_config/seed": 2, "seed": 3})) == "env_config.seed=2"
    assert without_seed("mapping_seed=2") == "mapping_seed=2"


def test_folders_need_no_quotes() -> None:
    assert folder_label("sizes=[64, 64], name=a b/c") == "sizes=_64,64_,name=a_b_c"
    assert len(folder_label("x=" + "y" * 500)) <= 120
