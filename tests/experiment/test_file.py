"""Experiment files: a mistake is one line with place, key, value, what is allowed and the nearest name."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import yaml

from rllib_rnd import RNDConfig
from rllib_rnd.cli.examples import example_files
from rllib_rnd.errors import ConfigError
from rllib_rnd.experiment.checks import check_environment
from rllib_rnd.experiment.file import Overrides, load_experiments
from rllib_rnd.experiment.metric_names import MetricNames, read_stop
from rllib_rnd.experiment.yaml_file import ExperimentError, Places

GOOD = """\
first:
  run: PPO
  env: CartPole-v1
  stop: {agent_steps: 1000}
  config:
    lr: 1e-3
    lambda: 0.9
    num_env_runners: 0
"""


def write(folder: Path, text: str, name: str = "x.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, text: str, **overrides: Any) -> Any:
    return load_experiments(write(folder, text), Overrides(**overrides))


def test_classic_schema(tmp_path: Path) -> None:
    text = GOOD + "second:\n  run: PPO\n  config: {env: CartPole-v1}\n  num_samples: 3\n"
    first, second = load(tmp_path, text)
    assert (first.name, first.algorithm_name, first.single) == ("first", "PPO", True)
    assert first.stop == {"env_runners/num_env_steps_sampled_lifetime": 1000.0}
    config = first.sample_config()
    assert (config.env, config.lr, config.lambda_) == ("CartPole-v1", 1e-3, 0.9)
    assert not second.single


def test_run_takes_names_and_import_paths(tmp_path: Path) -> None:
    (own,) = load(tmp_path, GOOD.replace("run: PPO", "run: RND").replace("lr: 1e-3", "num_minibatches: 2"))
    assert own.algorithm_name == "RND"
    (imported,) = load(tmp_path, GOOD.replace("run: PPO", "run: ray.rllib.algorithms.appo:APPO"))
    assert imported.algorithm_name == "APPO"


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("lr: 1e-3", "lrr: 1e-3", 6, "first.config.lrr: unknown key 'lrr'. Did you mean 'lr'?"),
        ("lr: 1e-3", "lr: fast", 6, "first.config.lr: 'fast' has the wrong type; allowed is float"),
        ("lr: 1e-3", "lr: 0", 6, "first.config.lr: 0 is out of range; allowed is more than 0"),
        ("lr: 1e-3", "lr: [[5, 1e-3], [9, 0]]", 6, "is no schedule; allowed is a number, or [[0, value], "),
        ("lr: 1e-3", "lr: [[0, 1e-3]]", 6, "[[0, 0.001]] is no schedule"),
        ("lr: 1e-3", "lr: [[0, 1e-3], 5]", 6, "5 is no point of a schedule"),
        ("lr: 1e-3", "gamma: 1.5", 6, "first.config.gamma: 1.5 is out of range; allowed is 0.0 to 1.0"),
        ("lr: 1e-3", "num_epochs: 0", 6, "first.config.num_epochs: 0 is out of range; allowed is 1 or more"),
        ("lr: 1e-3", "clip_param: -0.1", 6, "first.config.clip_param: -0.1 is out of range"),
        ("lr: 1e-3", "shuffle_batch_per_epoch: 3", 6, "allowed is true or false"),
        ("lr: 1e-3", "metrics_num_episodes_for_smoothing: 2.5", 6, "2.5 has the wrong type; allowed is int"),
        ("lr: 1e-3", "evaluation_config: {gamma: 5}", 6, "first.config.evaluation_config.gamma: 5 is out of range"),
        ("lr: 1e-3", "evaluation_config: {lambda: 5}", 6, "first.config.evaluation_config.lambda: 5 is out of range"),
        (
            "lr: 1e-3",
            "evaluation_config: {grid_search: [{explore: false}, {exploree: true}]}",
            6,
            "first.config.evaluation_config.exploree: unknown key 'exploree'. Did you mean 'explore'?",
        ),
        (
            "lr: 1e-3",
            "minibatch_size: {grid_search: [32, 0]}",
            6,
            "first.config.minibatch_size: 0 is out of range",
        ),
        ("lambda: 0.9", "lambda: 2", 7, "first.config.lambda: 2 is out of range; allowed is 0.0 to 1.0"),
        (
            "lambda: 0.9",
            "evaluation_config: {explor: false}",
            7,
            "unknown key 'explor'. Did you mean 'explore'?",
        ),
        ("lambda: 0.9", "minibatch_size: 8000", 7, "first.config.minibatch_size: "),
        ("run: PPO", "run: PPOO", 2, "first.run: unknown algorithm 'PPOO'. Did you mean 'PPO'?"),
        ("run: PPO", "run: os:getcwd", 2, "first.run: 'os:getcwd' is not an RLlib Algorithm class"),
        ("run: PPO", "run: no_such.module:X", 2, "first.run: cannot import 'no_such.module:X'"),
        ("run: PPO", "runn: PPO", 2, "first.runn: unknown key 'runn'. Did you mean 'run'?"),
        (
            "{agent_steps: 1000}",
            "{agent_step: 1000}",
            4,
            "metrics: [agent_step]). Did you mean 'agent_steps'?",
        ),
        (
            "{agent_steps: 1000}",
            "{agent_steps: many}",
            4,
            "first.stop.agent_steps: 'many' has the wrong type",
        ),
        ("{agent_steps: 1000}", "1000", 4, "first.stop: 1000 is not a mapping of metric to value"),
        (
            "  config:",
            "  num_samples: 0\n  config:",
            5,
            "first.num_samples: 0 is out of range; allowed is 1 or more",
        ),
        (
            "  config:",
            "  checkpoint_config: {frequency: 1}\n  config:",
            5,
            "Did you mean 'checkpoint_frequency'?",
        ),
        (
            "  config:",
            "  scheduler: {type: asha, metric: retrun_mean}\n  config:",
            5,
            "Did you mean 'return_mean'?",
        ),
    ],
)
def test_a_mistake_is_refused_with_its_place(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, GOOD.replace(old, new))
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'x.yaml'}:{line}: ")
    assert message in text
    assert "\n" not in text


def test_a_mistake_inside_a_plug_in_names_its_line(tmp_path: Path) -> None:
    text = """\
a:
  run: RND
  env: CartPole-v1
  config:
    intrinsic_reward:
      type: rnd
      update_propotion: 0.5
"""
    with pytest.raises(ConfigError, match=r"x\.yaml:7: a\.config\.intrinsic_reward\.update_propotion: unknown key"):
        load(tmp_path, text)
    with pytest.raises(ConfigError, match=r"x\.yaml:7: a\.config\.intrinsic_reward\.gamma: 1\.5 is out of range"):
        load(tmp_path, text.replace("update_propotion: 0.5", "gamma: {grid_search: [0.9, 1.5]}"))


def test_unknown_environment_options_and_names_are_refused(tmp_path: Path) -> None:
    text = "a:\n  run: RND\n  env: rllib_rnd/DeepSea-v0\n  config:\n    env_config: {size: 5}\n"
    load(tmp_path, text)
    with pytest.raises(ConfigError, match=r"x\.yaml:5: .*sise"):
        load(tmp_path, text.replace("size", "sise"))
    with pytest.raises(ConfigError, match=r"x\.yaml:3: .*DeepSee"):
        load(tmp_path, text.replace("DeepSea-v0", "DeepSee-v0"))


def test_env_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="env is missing"):
        load(tmp_path, GOOD.replace("  env: CartPole-v1\n", ""))


@pytest.mark.parametrize(("name", "text"), [("x.yaml", ""), ("x.yaml", "[1]"), ("x.txt", "a"), ("x.yaml", "a: 3")])
def test_files_without_experiments_are_refused(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=name):
        load_experiments(write(tmp_path, text, name))


def test_set_goes_into_nested_settings(tmp_path: Path) -> None:
    text = GOOD.replace("run: PPO", "run: RND")
    settings = [
        "intrinsic_reward.type=rnd",
        "intrinsic_reward.gamma=0.95",
        "config.lr=[[0, 1e-3], [10, 0]]",
        "lambda=0.5",
    ]
    (experiment,) = load(tmp_path, text, settings=settings, stop=["return_mean=5"], seed=7)
    config = experiment.sample_config()
    assert config.intrinsic_reward == {"type": "rnd", "gamma": 0.95}
    assert config.lr == [[0, 1e-3], [10, 0]]
    assert (config.lambda_, config.seed) == (0.5, 7)
    assert experiment.stop["env_runners/episode_return_mean"] == 5.0
    assert len(experiment.stop) == 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"settings": ["gama=0.9"]},
            r"--set gama=0\.9: first\.config\.gama: unknown key 'gama'. Did you mean 'gamma'",
        ),
        ({"settings": ["gamma=9"]}, r"--set gamma=9: first\.config\.gamma: 9 is out of range"),
        ({"settings": ["gamma"]}, "expected key.path=value"),
        ({"settings": ["lr.x=1"]}, "there is no such place in 0.001"),
        ({"stop": ["agent_stepz=1"]}, "--stop agent_stepz=1: .* Did you mean 'agent_steps'"),
    ],
)
def test_mistakes_in_overrides_name_the_option(tmp_path: Path, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, GOOD, **overrides)


@pytest.mark.parametrize(
    ("where", "key", "home"),
    [
        ("config", "checkpoint_every_s", "under checkpoint_config (--set changes config alone)"),
        ("config", "max_concurrent_trials", "under tune_config"),
        ("config", "max_failures", "beside config"),
        ("", "num_to_keep", "under checkpoint_config"),
        ("", "lr", "under config"),
        ("checkpoint_config", "max_failures", "beside config"),
        ("checkpoint_config", "lambda", "under config"),
        ("tune_config", "checkpoint_frequency", "under checkpoint_config"),
    ],
)
def test_an_option_in_another_section_is_told_its_own(tmp_path: Path, where: str, key: str, home: str) -> None:
    block: dict[str, Any] = {"run": "RND", "env": "CartPole-v1"}
    (block.setdefault(where, {}) if where else block)[key] = 3
    place = re.escape(".".join(filter(None, ("x", where, key))))
    with pytest.raises(ExperimentError, match=rf"{place}: is nothing that .* {re.escape(home)}"):
        load(tmp_path, yaml.safe_dump({"x": block}))


@pytest.mark.parametrize("key", ["checkpoint_frequency", "max_failures", "checkpoint_config.num_to_keep"])
def test_what_set_does_not_reach_is_told_by_the_option(tmp_path: Path, key: str) -> None:
    with pytest.raises(ExperimentError, match=rf"^--set {re.escape(key)}=3: .* write it into the file"):
        load(tmp_path, "x: {run: RND, env: CartPole-v1}", settings=[f"{key}=3"])


def test_stop_override_replaces_the_same_metric(tmp_path: Path) -> None:
    (experiment,) = load(tmp_path, GOOD, stop=["env_runners/num_env_steps_sampled_lifetime=5"])
    assert experiment.stop == {"env_runners/num_env_steps_sampled_lifetime": 5.0}


def test_counts_may_be_written_as_1e3(tmp_path: Path) -> None:
    (experiment,) = load(tmp_path, GOOD.replace("lr: 1e-3", "minibatch_size: 1e3"))
    assert experiment.sample_config().minibatch_size == 1000


def test_what_stands_beside_config_is_named_there(tmp_path: Path) -> None:
    text = "a:\n  run: RND\n  env: rllib_rnd/DeepSea-v0\n  env_config:\n    size: 5\n"
    with pytest.raises(ConfigError, match=r"x\.yaml:5: a\.env_config\.sise: unknown key"):
        load(tmp_path, text.replace("size", "sise"))
    with pytest.raises(ConfigError, match=r"--set env_config\.size=x: a\.env_config\.size: 'x' has the wrong type"):
        load(tmp_path, text, settings=["env_config.size=x"])


def test_an_override_starts_from_the_presets_own_value(tmp_path: Path) -> None:
    text = "a:\n  run: RND\n  env: rllib_rnd/DeepSea-v0\n"
    (experiment,) = load(tmp_path, text, settings=["intrinsic_reward.coeff=0.5"])
    assert experiment.sample_config().intrinsic_reward == {"type": "rnd", "coeff": 0.5}


def test_options_of_an_environment_may_be_arrays() -> None:
    """Evaluation's and training's are compared, whatever they hold."""
    made: list[np.ndarray] = []

    def make(options: Mapping[str, Any]) -> gym.Env:
        made.append(options["goals"])
        return gym.make("CartPole-v1")

    config = RNDConfig().environment(make, env_config={"goals": np.zeros((2, 2))})
    for goals, times in ((np.zeros((2, 2)), 1), (np.ones((2, 2)), 2)):
        made.clear()
        config.evaluation(evaluation_config={"env_config": {"goals": goals}})
        config.validate()
        check_environment(config)
        assert len({array.tobytes() for array in made}) == times


def test_a_mistake_in_evaluation_has_its_place(tmp_path: Path) -> None:
    text = GOOD.replace("run: PPO", "run: RND").replace("lr: 1e-3", "evaluation_config: {env_config: {sizes: 5}}")
    text = text.replace("CartPole-v1", "rllib_rnd/DeepSea-v0")
    text = text.replace("lambda: 0.9", "evaluation_interval: 1")
    with pytest.raises(
        ConfigError, match=r"x\.yaml:6: first\.config\.evaluation_config\.env_config\.sizes: unknown key"
    ):
        load(tmp_path, text)


RND_FILE = """\
first:
  run: RND
  env: rllib_rnd/DeepSea-v0
  env_config: {size: 5}
  stop: {agent_steps: 1000}
  config:
    lr: 1e-3
"""


@pytest.mark.parametrize(
    ("stop", "words"),
    [
        (
            "timesteps_total: 200",
            r"unknown metric 'timesteps_total' \(.* metrics: \[timesteps_total\]\). Did you mean 'agent_steps'\?",
        ),
        ("timers/learner_update_timer: 1", "unknown metric 'timers/learner_update_timer'"),
        ("agent_steps: -1", "-1 is out of range; allowed is more than 0"),
        ("time_total_s: 0", "0 is out of range; allowed is more than 0"),
        ("nonfinite_updates: 0", "0 is out of range; allowed is more than 0"),
        ("evaluation_return_mean: 1", "'evaluation_return_mean' is not reported: evaluation_interval is null"),
        ("pretraining_loss: 1", "'pretraining_loss' is not reported: there is no pretraining"),
    ],
)
def test_a_condition_that_can_never_be_met_is_refused(tmp_path: Path, stop: str, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"x\.yaml:5: first\.stop\.{stop.split(':')[0]}: .*{words}"):
        load(tmp_path, RND_FILE.replace("agent_steps: 1000", stop))
    with pytest.raises(ConfigError, match=words):
        load(tmp_path, RND_FILE, stop=[stop.replace(": ", "=")])


def test_returns_may_be_below_zero() -> None:
    path = "env_runners/episode_return_mean"
    assert read_stop({"return_mean": -110}, ("x",), Places("x"), [], MetricNames(True, False, (), {})) == {path: -110.0}


def test_metrics_without_their_setting_are_refused_unless_a_sweep_varies_it(tmp_path: Path) -> None:
    text = RND_FILE.replace("agent_steps: 1000", "intrinsic_reward_mean: 1")
    load(tmp_path, text)
    with pytest.raises(ConfigError, match="is not reported: there is no intrinsic_reward"):
        load(tmp_path, text.replace("lr: 1e-3", "intrinsic_reward: null"))
    load(tmp_path, text.replace("lr: 1e-3", "intrinsic_reward: {grid_search: [null, {type: rnd}]}"))


@pytest.mark.parametrize("written", ["grid_serch", "gird_search", "Grid_search"])
def test_an_expression_that_is_misspelt_is_told(tmp_path: Path, written: str) -> None:
    (tmp_path / "x.yaml").write_text(f"x: {{run: RND, env: CartPole-v1, config: {{lr: {{{written}: [1, 2]}}}}}}")
    with pytest.raises(ConfigError, match=r"config\.lr: .*Nearest: 'grid_search'\."):
        load_experiments(tmp_path / "x.yaml")


@pytest.mark.parametrize("algorithm", ["IntrinsicPPO", "RND", "SND", "PPO"])
@pytest.mark.parametrize("option", [True, False])
def test_a_metric_that_nothing_reports_is_refused_of_every_algorithm(
    tmp_path: Path, algorithm: str, option: bool
) -> None:
    stop = "agent_steps: 10" if option else "iteratoin: 4"
    text = f"x: {{run: {algorithm}, env: CartPole-v1, stop: {{{stop}}}}}"
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"stop\.iteratoin: unknown metric 'iteratoin'.* Did you mean '\w*iteration'"):
        load_experiments(tmp_path / "x.yaml", Overrides(stop=["iteratoin=4"] if option else []))


def test_what_a_users_code_reports_may_stop_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With callbacks it is a promise that the first results must keep; declared under metrics it is taken as it is."""
    text = RND_FILE.replace("agent_steps: 1000", "mine: 1, return_mean: 1")
    source = "from ray.rllib.callbacks.callbacks import RLlibCallback\nclass Mine(RLlibCallback): pass\n"
    (tmp_path / "reporting_callbacks.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    (experiment,) = load(tmp_path, text.replace("lr: 1e-3", "callbacks: reporting_callbacks:Mine"))
    assert experiment.promised == ("mine",)
    (experiment,) = load(tmp_path, text + "  metrics: [mine]\n")
    assert experiment.promised == () and experiment.stop["mine"] == 1.0
    with pytest.raises(ConfigError, match=r"unknown metric 'mine' \(.* declared under metrics: \[mine\]\)"):
        load(tmp_path, text)
    with pytest.raises(ConfigError, match=r"first\.metrics: 'mine' has the wrong type; allowed is a list of str"):
        load(tmp_path, text + "  metrics: mine\n")


def test_a_scheduler_that_stops_no_trial_is_refused(tmp_path: Path) -> None:
    text = RND_FILE + "  scheduler: {type: asha, max_t: 5, grace_period: 10}\n"
    with pytest.raises(ConfigError, match=r"x\.yaml:8: first\.scheduler\.grace_period: 10 is above max_t"):
        load(tmp_path, text)


def test_evaluation_may_be_written_with_the_same_names(tmp_path: Path) -> None:
    (experiment,) = load(tmp_path, GOOD.replace("lr: 1e-3", "evaluation_config: {lambda: 0.5, explore: false}"))
    assert experiment.sample_config().evaluation_config == {"lambda_": 0.5, "explore": False}


def test_a_refusal_of_what_has_two_names_has_its_line(tmp_path: Path) -> None:
    text = GOOD.replace("run: PPO", "run: RND").replace("lr: 1e-3", "input: some/folder")
    with pytest.raises(ConfigError, match=r"x\.yaml:6: first\.config\.input: 'some/folder' .* offline data"):
        load(tmp_path, text)


def test_python_file_with_config_and_stop(tmp_path: Path) -> None:
    text = """\
from ray.rllib.algorithms.ppo import PPOConfig
config = PPOConfig().environment("CartPole-v1").training(lr=0.002)
stop = {"training_iteration": 2}
"""
    (experiment,) = load_experiments(write(tmp_path, text, "mine.py"), Overrides(settings=["gamma=0.5"], seed=3))
    assert (experiment.name, experiment.algorithm_name) == ("mine", "PPO")
    assert experiment.stop == {"training_iteration": 2.0}
    config = experiment.sample_config()
    assert (config.lr, config.gamma, config.seed) == (0.002, 0.5, 3)
    assert experiment.param_space()["lr"] == 0.002


def test_python_file_with_experiments(tmp_path: Path) -> None:
    text = """\
from ray import tune
experiments = {"a": {"run": "PPO", "env": "CartPole-v1", "config": {"lr": tune.choice([0.1, 0.2])}}}
"""
    (experiment,) = load_experiments(write(tmp_path, text, "many.py"))
    assert experiment.sample_config().lr == 0.1
    assert not experiment.single


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "defines neither"),
        ("x = 1\nraise ValueError('no luck')\n", r"bad\.py:2: ValueError: no luck"),
        ("def f(:\n", r"bad\.py:1: SyntaxError"),
        ("import rllib_rnd\nrllib_rnd.RNDConfig().training(gama=1)\n", r"bad\.py:2: gama: unknown training setting"),
    ],
)
def test_python_mistakes_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_experiments(write(tmp_path, text, "bad.py"))


@pytest.mark.parametrize("reward", ["null", "rnd", "{type: rnd}", "[{type: rnd}, {type: count, coeff: 0.5}]"])
def test_a_preset_takes_no_reward_one_or_several(tmp_path: Path, reward: str) -> None:
    (experiment,) = load(
        tmp_path, GOOD.replace("run: PPO", "run: RND").replace("lr: 1e-3", f"intrinsic_reward: {reward}")
    )
    assert experiment.algorithm_name == "RND"
    specs = experiment.sample_config().intrinsic_reward_specs()
    assert [spec["type"] for spec in specs] == re.findall(r"rnd|count", reward)


@pytest.mark.parametrize("path", example_files(), ids=lambda p: p.stem)
def test_every_example_is_valid_and_says_what_it_shows(path: Path) -> None:
    assert load_experiments(path)
    header = "".join(line for line in path.read_text(encoding="utf-8").splitlines(True) if line.startswith("#"))
    assert all(f"# {word}" in header for word in ("Shows", "Source", "Cost"))
