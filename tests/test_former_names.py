"""Names from elsewhere lead to a name that exists here, in files, options of the command line, Python and ``stop``."""

from __future__ import annotations

from pathlib import Path

import pytest

from rllib_rnd import IntrinsicPPOConfig, RNDConfig
from rllib_rnd.errors import ConfigError, nearest_name
from rllib_rnd.experiment.checks import known_keys
from rllib_rnd.experiment.file import Overrides, load_experiments
from rllib_rnd.former_names import SUCCESSORS, successor
from rllib_rnd.tracking.metrics import BY_NAME, known_stop_keys

KEYS, STOP = set(known_keys(IntrinsicPPOConfig())), set(known_stop_keys())


@pytest.mark.parametrize("name", [name for name, here in SUCCESSORS.items() if not here])
def test_no_name_is_better_than_a_wrong_one(name: str) -> None:
    for allowed in (KEYS - {name}, STOP):
        assert nearest_name(name, allowed) is None and nearest_name(name.upper(), allowed) is None


@pytest.mark.parametrize("name", [name for name, here in SUCCESSORS.items() if here])
def test_every_one_leads_to_a_name_that_exists(name: str) -> None:
    for here in SUCCESSORS[name]:
        assert here in KEYS | STOP, f"{here} is neither a setting nor a metric"
    allowed = KEYS if set(SUCCESSORS[name]) & KEYS else STOP
    meant = [here for here in SUCCESSORS[name] if here in allowed]
    assert nearest_name(name, allowed) == meant[0]


def test_metrics_lead_to_short_names() -> None:
    metrics = {here for names in SUCCESSORS.values() for here in names if here not in KEYS}
    assert metrics <= set(BY_NAME)


def test_case_hyphens_and_paths_do_not_matter() -> None:
    known = {"num_env_runners", "return_mean", "lambda_"}
    assert successor("Num-Workers", known) == "num_env_runners"
    assert successor("env_runners/episode_reward_mean", known) == "return_mean"
    assert successor("gae_lambda", known) == "lambda_" and successor("n_steps", known) is None


def write(folder: Path, config: str = "{}", stop: str = "{}") -> Path:
    path = folder / "x.yaml"
    path.write_text(f"x:\n  run: RND\n  env: CartPole-v1\n  stop: {stop}\n  config: {config}\n")
    return path


@pytest.mark.parametrize(
    ("config", "stop", "option", "message"),
    [
        (
            "{num_workers: 2}",
            "{}",
            (),
            "unknown key 'num_workers'. Did you mean 'num_env_runners'?",
        ),
        ("{use_lstm: true}", "{}", (), "Did you mean 'backbone'?"),
        ("{soft_horizon: true}", "{}", (), "unknown key 'soft_horizon'; allowed is one of "),
        ("{}", "{info/learner: 3}", (), "under metrics: [info/learner]); allowed is one of "),
        ("{ent_coef: 0.1}", "{}", (), "Did you mean 'entropy_coeff'?"),
        ("{evaluation_config: {gae_lambda: 1}}", "{}", (), "Did you mean 'lambda'?"),
        ("{}", "{episode_reward_mean: 3}", (), "stop.episode_reward_mean: unknown metric"),
        ("{}", "{episode_reward_mean: 3}", (), "Did you mean 'return_mean'?"),
        ("{}", "{}", ("sgd_minibatch_size=3",), "Did you mean 'minibatch_size'?"),
    ],
)
def test_in_files_and_on_the_command_line(
    tmp_path: Path, config: str, stop: str, option: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        load_experiments(write(tmp_path, config, stop), Overrides(settings=option))
    assert message in str(refused.value)


@pytest.mark.parametrize(("name", "here"), [("gae_lambda", "lambda_"), ("learning_rate", "lr"), ("ent_coef", "entr")])
def test_in_python(name: str, here: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown training setting '{name}'. Did you mean '{here}"):
        RNDConfig().training(**{name: 0.5})
