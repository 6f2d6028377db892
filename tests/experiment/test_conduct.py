"""Schedulers and searches over results as runs here give them, and what a plan does to trials."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune
from ray.tune import Checkpoint
from ray.tune.experiment import Trial
from ray.tune.schedulers import PopulationBasedTraining, TrialScheduler
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.sample import Float
from ray.tune.search.variant_generator import generate_variants

from rllib_rnd.experiment.conduct import Optuna, Pbt, Plan, build_scheduler, build_search, ends_early
from rllib_rnd.experiment.file import Experiment, Overrides, load_experiments
from rllib_rnd.experiment.search import SCHEDULERS, SEARCHES, read_section
from rllib_rnd.experiment.yaml_file import ExperimentError
from rllib_rnd.tracking.stopping import Conditions

RETURN, STEPS = "env_runners/episode_return_mean", "env_runners/num_env_steps_sampled_lifetime"


class FakeTrial(Trial):
    """A trial of nothing: no trainable, no folder."""

    def __init__(self, config: dict[str, Any], drawn: dict[str, Any]) -> None:
        super().__init__("RND", config=config, evaluated_params=drawn, stub=True, _setup_default_resource=False)


class Controller:
    """What the median rule and populations ask of Tune."""

    search_alg = None

    def get_live_trials(self) -> list[Trial]:
        return []


@pytest.mark.parametrize("kind", sorted(set(SCHEDULERS) - {"pbt"}))
@pytest.mark.parametrize("returns", list(itertools.product([None, float("nan"), 1.0], repeat=3)))
def test_every_scheduler_bears_results_without_its_metric(kind: str, returns: tuple[float | None, ...]) -> None:
    scheduler = build_scheduler(read_section(kind, SCHEDULERS), Plan(Conditions({"training_iteration": 30.0})))
    controller: Any = Controller()
    trials = [FakeTrial({}, {"lr": number}) for number in range(5)]
    for trial in trials:
        scheduler.on_trial_add(controller, trial)
    for iteration in range(1, 31):
        for trial in trials:
            value = returns[iteration % 3]
            result = {"training_iteration": iteration, **({} if value is None else {RETURN: value})}
            decision = scheduler.on_trial_result(controller, trial, result)
            assert decision == (TrialScheduler.STOP if iteration == 30 else TrialScheduler.CONTINUE)
    for trial, value in zip(trials, [*returns, None, 1.0], strict=True):
        scheduler.on_trial_complete(controller, trial, {"training_iteration": 30, **({RETURN: value} if value else {})})
    late = FakeTrial({}, {"lr": 9})
    scheduler.on_trial_add(controller, late)
    scheduler.on_trial_result(controller, late, {"training_iteration": 11, RETURN: 1.0})


def test_asha_ends_a_trial_that_never_has_a_return() -> None:
    scheduler = build_scheduler(read_section({"type": "asha", "max_t": 5}, SCHEDULERS), Plan())
    trial, controller = FakeTrial({}, {}), Controller()
    scheduler.on_trial_add(controller, trial)  # type: ignore[arg-type]
    decisions = [scheduler.on_trial_result(controller, trial, {"training_iteration": i}) for i in (4, 5)]  # type: ignore[arg-type]
    assert decisions == [TrialScheduler.CONTINUE, TrialScheduler.STOP]


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_a_promised_metric_that_never_comes_ends_every_trial(kind: str) -> None:
    conditions = Conditions({"mine": 2.0}, promised=["mine"])
    scheduler = build_scheduler(read_section(kind, SCHEDULERS), Plan(conditions), {"lr": tune.uniform(0.0, 1.0)})
    controller: Any = Controller()
    for trial in [FakeTrial({}, {"lr": number}) for number in range(3)]:
        scheduler.on_trial_add(controller, trial)
        results = [{"training_iteration": i, STEPS: i * 10, RETURN: 1.0} for i in (1, 2, 3)]
        decisions = [scheduler.on_trial_result(controller, trial, result) for result in results]
        assert decisions == [TrialScheduler.CONTINUE] * 2 + [TrialScheduler.STOP]
    assert conditions.problem.startswith("stop.mine: the first 3 results do not hold it")


@pytest.mark.parametrize("place", ["mine", "env_runners/mine"])
@pytest.mark.parametrize("mode", ["max", "min"])
def test_a_metric_has_one_name_for_stop_scheduler_search_and_score(place: str, mode: str) -> None:
    """A callback's metric is found by its own name wherever results hold it; the better trial is better for all."""
    good, bad = (1.0, -1.0) if mode == "max" else (-1.0, 1.0)
    results = {value: {"training_iteration": 20, place: value} for value in (good, bad)}
    for kind in ("asha", "median"):
        section = {"type": kind, "metric": "mine", "mode": mode, "grace_period": 1}
        scheduler = build_scheduler(read_section(section, SCHEDULERS), Plan())
        controller: Any = Controller()
        for value in [good] * 8:
            trial = FakeTrial({}, {})
            scheduler.on_trial_add(controller, trial)
            assert scheduler.on_trial_result(controller, trial, results[value]) == TrialScheduler.CONTINUE
            scheduler.on_trial_complete(controller, trial, results[value])
        late = FakeTrial({}, {})
        scheduler.on_trial_add(controller, late)
        assert scheduler.on_trial_result(controller, late, results[bad]) == TrialScheduler.STOP, kind
    search = build_search(read_section({"type": "optuna", "metric": "mine", "mode": mode}, SEARCHES))
    assert isinstance(search, Optuna)
    search.set_search_properties(None, None, {"lr": Float(1e-5, 1e-3).loguniform()})
    for name, value in (("a", bad), ("b", good)):
        search.suggest(name)
        search.on_trial_result(name, results[value])
        search.on_trial_complete(name, results[value])
    assert search._ot_study.best_value == good
    assert Conditions({"mine": max(good, bad)}).end("a", results[max(good, bad)])


@pytest.mark.parametrize("kind", SEARCHES)
@pytest.mark.parametrize("max_concurrent", [None, 3])
def test_every_search_bears_results_without_its_metric(kind: str, max_concurrent: int | None) -> None:
    search = build_search(read_section({"type": kind, "seed": 0}, SEARCHES), max_concurrent)
    assert getattr(search, "max_concurrent", None) in (max_concurrent, *([0] if max_concurrent is None else []))
    if kind == "random":
        search.on_trial_complete("a", {"training_iteration": 1})
        return
    assert isinstance(search, ConcurrencyLimiter) == (max_concurrent is not None)
    search.set_search_properties(None, None, {"lr": Float(1e-5, 1e-3).loguniform()})
    draws = []
    reported: dict[str, list[float | None]] = {"a": [None, 1.0], "b": [None, None], "c": [float("nan"), 2.0]}
    for trial, values in reported.items():
        draws.append(search.suggest(trial)["lr"])  # type: ignore[union-attr]
        results = [
            {"training_iteration": i, **({} if value is None else {RETURN: value})} for i, value in enumerate(values)
        ]
        for result in results:
            search.on_trial_result(trial, result)
        search.on_trial_complete(trial, results[-1])
        search.on_trial_complete(trial, results[-1])  # a trial that went on after a resume ends twice
    assert len(set(draws)) == 3


def experiment(folder: Path, extra: str = "", config: str = "", **overrides: Any) -> Experiment:
    text = f"x:\n  run: RND\n  env: CartPole-v1\n  {extra}\n  config: {{num_minibatches: 1, {config}}}\n"
    (folder / "x.yaml").write_text(text, encoding="utf-8")
    return load_experiments(folder / "x.yaml", Overrides(**overrides))[0]


def trials_of(wanted: Experiment) -> list[Trial]:
    """The trials that Tune would make, each added to the sweep's scheduler."""
    scheduler = build_scheduler(wanted.scheduler, Plan(first_seed=wanted.first_seed, grids=wanted.space.grids))
    trials: list[Trial] = []
    for _ in range(wanted.num_samples):
        for drawn, config in generate_variants(wanted.space.space):
            trial = FakeTrial(config, {"/".join(map(str, path)): value for path, value in drawn.items()})
            scheduler.on_trial_add(Controller(), trial)  # type: ignore[arg-type]
            trials.append(trial)
    return trials


@pytest.mark.parametrize("draws", ["", "lr: {grid_search: [1.0e-4, 1.0e-3]}", "lr: {tune: choice, args: [1.0e-4]}"])
@pytest.mark.parametrize("samples", [1, 2, 3])
@pytest.mark.parametrize("seed", [None, 0, 7])
@pytest.mark.parametrize("seeds", [(), (5,), (0, 1, 5)])
def test_no_trial_runs_twice(
    tmp_path: Path, draws: str, samples: int, seed: int | None, seeds: tuple[int, ...]
) -> None:
    """Over every way to ask for seeds: two trials with one seed differ in something else, or it is refused."""
    config = ", ".join(filter(None, [draws, "" if seed is None else f"seed: {seed}"]))
    if seeds and samples > 1 and "tune" not in draws:
        with pytest.raises(ExperimentError, match=r"num_samples.*alike"):
            experiment(tmp_path, f"num_samples: {samples}", config, seeds=seeds)
        return
    wanted = experiment(tmp_path, f"num_samples: {samples}", config, seeds=seeds)
    trials = trials_of(wanted)
    settings = [(trial.config.get("lr"), trial.config.get("seed")) for trial in trials]
    if seed is not None and not seeds:  # one seed per repeat, the same for all of a grid, the same again next time
        assert len(set(settings)) == len(trials)
        assert {found for _, found in settings} == {seed + sample for sample in range(samples)}
    if seeds:
        assert {found for _, found in settings} == set(seeds)
    if len(trials) > 1 and (len(seeds) > 1 or seed is not None):
        labels = [trial.custom_trial_name for trial in trials]
        assert None not in labels
        assert len(set(labels)) == len(set(settings))
        assert all(f"_{trial.trial_id}_" in str(trial.custom_dirname) for trial in trials)


def test_what_cannot_be_searched_is_refused(tmp_path: Path) -> None:
    draw = "lr: {tune: loguniform, args: [1.0e-5, 1.0e-3]}"
    with pytest.raises(ExperimentError, match="does not take grid_search, nor --seeds"):
        experiment(tmp_path, "search: optuna", draw, seeds=(0, 1))
    with pytest.raises(ExperimentError, match="optuna has nothing to search"):
        experiment(tmp_path, "search: optuna\n  num_samples: 3", "seed: 0")
    assert experiment(tmp_path, "search: optuna\n  num_samples: 3", draw + ", seed: 4").first_seed == 4


@pytest.mark.parametrize("name", ["return_mean", RETURN])
def test_the_score_of_checkpoints_is_a_metric(tmp_path: Path, name: str) -> None:
    section = "checkpoint_config: {checkpoint_score_attribute: %s}"
    assert experiment(tmp_path, section % name).checkpoint.checkpoint_score_attribute == RETURN
    with pytest.raises(ExperimentError, match=r"checkpoint_score_attribute: unknown metric .* Did you mean"):
        experiment(tmp_path, section % (name + "s"))


def test_a_plan_ends_what_is_done_and_changes_what_goes_on() -> None:
    plan = Plan(Conditions({RETURN: 1.0}), changes=[(("intrinsic_reward", "coeff"), 2.0), (("gamma",), 0.9)])
    done, going = (FakeTrial({"gamma": 0.5, "intrinsic_reward": {"coeff": 1.0}}, {"lr": lr}) for lr in (1, 2))
    done.run_metadata.last_result = {"env_runners": {"episode_return_mean": 1.5}}
    going.run_metadata.last_result = {"env_runners": {"episode_return_mean": 0.5}}
    for trial in (done, going):
        plan.prepare(trial)
    assert (done.status, going.status) == (Trial.TERMINATED, Trial.PENDING)
    assert done.config["gamma"] == 0.5
    assert going.config == {"gamma": 0.9, "intrinsic_reward": {"coeff": 2.0}}


def test_which_schedulers_end_trials_early() -> None:
    found = {kind: ends_early(read_section(kind, SCHEDULERS)) for kind in SCHEDULERS}
    assert found == {"asha": True, "median": True, "pbt": False, "fifo": False}


DRAWN = """
  search: SEARCH
  scheduler: {type: pbt, metric: return_mean, perturbation_interval: 2}
  num_samples: 4
  config:
    seed: {tune: randint, args: [0, 99]}
    lr: {tune: loguniform, args: [1.0e-4, 1.0e-2]}
    intrinsic_reward: {type: rnd, gamma: {tune: uniform, args: [0.9, 0.999]}}
    num_epochs: {tune: choice, args: [1, 2, 4]}
    num_minibatches: {tune: randint, args: [2, 5]}
"""


def population(folder: Path, old: str = "", new: str = "") -> Experiment:
    text = "x:\n  run: RND\n  env: rllib_rnd/DeepSea-v0" + DRAWN.replace(old, new).replace("SEARCH", "random")
    (folder / "x.yaml").write_text(text, encoding="utf-8")
    return load_experiments(folder / "x.yaml")[0]


def test_a_population_changes_what_is_drawn_in_its_ranges_and_keeps_its_seeds(tmp_path: Path) -> None:
    space = population(tmp_path).space
    assert set(space.mutations) == {"lr", "intrinsic_reward", "num_epochs", "num_minibatches"}
    scheduler = build_scheduler(read_section("pbt", SCHEDULERS), Plan(), space.mutations)
    assert isinstance(scheduler, Pbt)
    donor: dict[str, Any] = {"seed": 1, "lr": 9.9e-3, "num_epochs": 4, "num_minibatches": 4}
    donor["intrinsic_reward"] = {"type": "rnd", "gamma": 0.999}
    seen: dict[str, set[Any]] = {}
    for _ in range(200):
        config, _operations = scheduler._get_new_config(FakeTrial({"seed": 7}, {}), FakeTrial(donor, {}))
        values = {**config, "gamma": config["intrinsic_reward"].pop("gamma")}
        for name, value in values.items():
            seen.setdefault(name, set()).add(str(value) if isinstance(value, dict) else value)
    assert seen["seed"] == {7} and seen["intrinsic_reward"] == {"{'type': 'rnd'}"}
    assert min(seen["lr"]) >= 1e-4 and max(seen["lr"]) == 1e-2 and len(seen["lr"]) > 20
    assert min(seen["gamma"]) >= 0.9 and max(seen["gamma"]) == 0.999
    assert seen["num_epochs"] == {1, 2, 4} and seen["num_minibatches"] == {2, 3, 4}
    assert donor["intrinsic_reward"] == {"type": "rnd", "gamma": 0.999}


def test_a_population_copies_what_is_left_where_the_ranked_checkpoint_has_been_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []
    scheduler: Any = build_scheduler(read_section("pbt", SCHEDULERS), Plan(), {"lr": tune.uniform(0.0, 1.0)})
    monkeypatch.setattr(
        PopulationBasedTraining,
        "_exploit",
        lambda self, _, trial, donor: copied.append(self._trial_state[donor].last_checkpoint.path),
    )
    ranked, newest = (Checkpoint.from_directory(str(tmp_path / name)) for name in ("ranked", "newest"))
    donor: Any = FakeTrial({}, {})
    monkeypatch.setattr(FakeTrial, "checkpoint", newest)
    scheduler._trial_state = {donor: SimpleNamespace(last_checkpoint=ranked)}
    (tmp_path / "ranked").mkdir()
    scheduler._exploit(None, None, donor)
    (tmp_path / "ranked").rmdir()
    scheduler._exploit(None, None, donor)
    assert copied == [ranked.path, newest.path]


def test_a_population_goes_on_while_no_episode_has_ended() -> None:
    plan = Plan(Conditions({"training_iteration": 30.0}))
    scheduler = build_scheduler(read_section("pbt", SCHEDULERS), plan, {"lr": tune.uniform(0.0, 1.0)})
    controller: Any = Controller()
    trial = FakeTrial({"lr": 0.5}, {"lr": 0.5})
    scheduler.on_trial_add(controller, trial)
    for value in ({}, {RETURN: float("nan")}):
        result = {"training_iteration": 20, **value}
        assert scheduler.on_trial_result(controller, trial, result) == TrialScheduler.CONTINUE
    assert scheduler.on_trial_result(controller, trial, {"training_iteration": 30}) == TrialScheduler.STOP


def test_a_population_does_not_wait_for_a_trial_that_has_ended() -> None:
    """Two trials wait to be ranked with a third, which reaches its stop condition: they go on."""
    plan = Plan(Conditions({"training_iteration": 30.0}))
    options = read_section({"type": "pbt", "perturbation_interval": 5}, SCHEDULERS)
    scheduler: Any = build_scheduler(options, plan, {"lr": tune.uniform(0.0, 1.0)})
    trials = [FakeTrial({"lr": 0.5}, {"lr": 0.5}) for _ in range(3)]
    controller: Any = Controller()
    controller.get_trials = lambda: trials
    controller.get_live_trials = lambda: [trial for trial in trials if not trial.is_finished()]
    for trial in trials:
        scheduler.on_trial_add(controller, trial)
    for trial in trials[:2]:
        result = {"training_iteration": 5, RETURN: 1.0}
        assert scheduler.on_trial_result(controller, trial, result) == TrialScheduler.PAUSE
        trial.status = Trial.PAUSED
    trials[2].status = Trial.RUNNING
    assert scheduler.choose_trial_to_run(controller) is None  # it may still arrive
    assert scheduler.on_trial_result(controller, trials[2], {"training_iteration": 30}) == TrialScheduler.STOP
    trials[2].status = Trial.TERMINATED
    assert scheduler.choose_trial_to_run(controller) in trials[:2]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("SEARCH", "optuna", "pbt changes the draws itself"),
        ("num_samples: 4", "tune_config: {max_concurrent_trials: 1}\n  num_samples: 4", "leave max_concurrent_trials"),
        ("num_samples: 4", "num_samples: 1", "pbt needs several trials"),
        (DRAWN[DRAWN.index("    lr") :], "    gamma: 0.9", "pbt has nothing to change"),
        (
            "{type: rnd, gamma: {tune: uniform, args: [0.9, 0.999]}}",
            "[{type: rnd, gamma: {tune: uniform, args: [0.9, 0.999]}}]",
            "pbt changes no value inside a list",
        ),
    ],
)
def test_what_a_population_cannot_be_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        population(tmp_path, old, new)
