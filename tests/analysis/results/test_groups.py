"""Variants: what is one, what it is called, what may stand beside what; and who is ahead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from rllib_rnd.analysis.results.comparison import lead, sides
from rllib_rnd.analysis.results.groups import (
    Variant,
    check_comparable,
    check_metric,
    grouped,
    remarks,
    truncated_to_shortest,
)
from rllib_rnd.analysis.results.runs import Run
from rllib_rnd.analysis.results.scores import scores_of
from rllib_rnd.analysis.results.settings import compared, flat_settings, labels_of, telling_settings
from rllib_rnd.errors import ConfigError


def run(
    experiment: str = "a",
    seed: int | None = 0,
    task: str = "T",
    scores: tuple[float, ...] = (1.0, 2.0),
    config: Mapping[str, object] | None = None,
    **more: Any,
) -> Run:
    count = len(scores)
    metrics = {"agent_steps": 100.0 * np.arange(1, count + 1), "return_mean": np.array(scores, dtype=float)}
    fields: dict[str, Any] = {
        "algorithm": "IntrinsicPPO",
        "frames_per_step": None,
        "state": "finished",
        "metrics": metrics,
    }
    settings = flat_settings({**(config or {}), "seed": seed})
    name = f"{experiment}, {task}, {settings}"
    return Run(name, name, experiment, seed=seed, task=task, config=settings, **{**fields, **more})


def names(runs: list[Run], by: tuple[str, ...] = ()) -> dict[str, dict[str, int]]:
    """Names of variants and how many runs they have, by task."""
    return {task: {v.name: len(v.runs) for v in variants} for task, variants in grouped(runs, by).items()}


def test_runs_that_differ_in_their_seeds_are_one_variant() -> None:
    runs = [run(seed=seed, config={"env_config": {"mapping_seed": seed}}) for seed in (2, 0, 1)]
    ((variant,),) = grouped(runs).values()
    assert [one.seed for one in variant.runs] == [0, 1, 2]
    assert variant.settings == {}
    assert variant.name == "a"


def test_variants_are_named_by_what_differs() -> None:
    runs = [run(seed=s, config={"lr": lr, "gamma": 0.9}) for s in (0, 1) for lr in (0.1, 0.2)]
    assert names(runs) == {"T": {"lr=0.1": 2, "lr=0.2": 2}}
    assert [v.settings for v in grouped(runs)["T"]] == [{"lr": 0.1}, {"lr": 0.2}]


def test_no_more_settings_are_named_than_it_takes() -> None:
    """gamma goes with lr: it is a setting that differs, but not needed to tell them apart."""
    runs = [run(config={"lr": lr, "gamma": 1 - lr}) for lr in (0.1, 0.2, 0.3)]
    assert list(names(runs)["T"]) == ["gamma=0.9", "gamma=0.8", "gamma=0.7"]
    assert set(grouped(runs)["T"][0].settings) == {"gamma", "lr"}
    grid = [run(config={"lr": lr, "gamma": gamma}) for lr in (0.1, 0.2) for gamma in (0.8, 0.9)]
    assert telling_settings([one.config for one in grid]) == ["gamma", "lr"]


def test_several_experiments_are_named_by_their_names_and_what_differs_within() -> None:
    runs = [run("rnd", config={"lr": lr, "intrinsic_reward": "rnd"}) for lr in (0.1, 0.2)] + [run("ppo")]
    assert names(runs) == {"T": {"rnd, lr=0.1": 1, "rnd, lr=0.2": 1, "ppo": 1}}


def test_a_task_in_several_experiments_is_one_task() -> None:
    assert names([run("rnd", config={"lr": 0.1}), run("ppo")]) == {"T": {"rnd": 1, "ppo": 1}}


def test_the_same_settings_have_the_same_name_in_all_tasks() -> None:
    runs = [
        run(f"{task}_{name}", task=task, config={"env": task, **settings})
        for task in ("T", "U")
        for name, settings in (("rnd", {"intrinsic_reward": "rnd"}), ("ppo", {}))
    ]
    assert names(runs) == {task: {"type=rnd": 1, "type=none": 1} for task in ("T", "U")}


def test_a_default_that_is_written_is_as_one_that_is_not() -> None:
    written = {"lr": 0.0001, "backbone": {"type": "auto"}, "intrinsic_reward": None, "gamma": 0.999, "torch_threads": 3}
    assert names([run(seed=0), run(seed=1, config=written)]) == {"T": {"a": 2}}


def test_what_says_only_where_a_run_was_made_tells_nothing_apart() -> None:
    own = {"torch_threads": 1, "env_config.backend": "ale", "seed": 1}
    assert labels_of([own, {"torch_threads": 2, "env_config.backend": "envpool", "seed": 2}]) == ["seed=1", "seed=2"]
    assert labels_of([own]) == [""]
    assert flat_settings({"callbacks_on_algorithm_init": "StartFrom(...)"}) == {}  # which a resume adds


def test_presets_are_the_algorithm_with_other_defaults() -> None:
    assert compared({}, "RND") == compared(
        flat_settings({"intrinsic_reward": "rnd", "warmup_steps": 6400}), "IntrinsicPPO"
    )
    assert compared({"intrinsic_reward": None}, "RND") == {"algorithm": "IntrinsicPPO", "warmup_steps": 6400}
    assert compared({}, "PPO") == {"algorithm": "PPO"}


def test_settings_that_read_alike_are_variants_of_their_own() -> None:
    runs = [run(config={"lr": 0.1234561 + i * 1e-7}) for i in range(4)]
    assert names(runs) == {"T": {"lr=0.1235": 1, **{f"lr=0.1235 #{i}": 1 for i in (2, 3, 4)}}}


def test_a_seed_that_was_trained_twice_counts_once() -> None:
    """By its longest run: else three runs of one seed would have an interval of nothing."""
    runs = [run("a", 0), run("b", 0, scores=(1.0, 2.0, 3.0)), run("c", 0, scores=(9.0,)), run("d", 1)]
    (variant,) = grouped(runs)["T"]
    assert [one.experiment for one in variant.runs] == ["b", "d"]
    assert [one.experiment for one in variant.again] == ["a", "c"]
    assert sum("seed 0 again, which counts once, by its longest run" in line for line in remarks([variant])) == 2
    assert scores_of({"T": [variant]}, "return_mean").scores["T"][variant.name].tolist() == [3.0, 2.0]
    assert names([run("a", 0), run("b", 0, config={"lr": 0.1})]) == {"T": {"a": 1, "b": 1}}  # other settings
    assert names([run("a", None), run("b", None)]) == {"T": {"a": 2}}  # drawn seeds: nobody knows


def test_by_pools_what_else_differs_and_says_so() -> None:
    runs = [run(seed=s, config={"lr": lr, "gamma": 0.9 + 0.01 * s}) for s in (0, 1) for lr in (0.1, 0.2)]
    assert names(runs, ("lr",)) == {"T": {"lr=0.1": 2, "lr=0.2": 2}}
    assert "lr=0.1 holds runs of different gamma: 0.9, 0.91" in remarks(grouped(runs, ("lr",))["T"])
    with pytest.raises(ConfigError, match="Did you mean 'lr'"):
        grouped(runs, ("lrr",))


def refusal(runs: list[Run], metric: str = "return_mean", **options: bool) -> str:
    variants = [variant for group in grouped(runs).values() for variant in group]
    with pytest.raises(ConfigError) as caught:
        check_comparable(variants, metric, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_tasks_are_not_mixed() -> None:
    assert "T and U" in refusal([run(task="T"), run(task="U")])


def test_frame_skips_are_not_mixed() -> None:
    assert "2 and 4 frames" in refusal([run(frames_per_step=4), run("b", 1, frames_per_step=2)])
    check_comparable(grouped([run(frames_per_step=4), run("b", 1)])["T"], "return_mean")  # one does not tell


def test_a_metric_that_nobody_logged() -> None:
    assert "Did you mean 'return_mean'" in refusal([run()], "retrn_mean")
    empty = run(metrics={"agent_steps": np.ones(2), "entropy": np.full(2, np.nan)})
    with pytest.raises(ConfigError, match="no run here has logged 'entropy'"):
        check_metric([empty], "entropy")


def test_unequal_budgets_are_not_ranked() -> None:
    runs = [run(budget=1000), run("b", 1, budget=2000)]
    assert "1,000 agent steps" in refusal(runs, ranked=True)
    variants = grouped(runs)["T"]
    check_comparable(variants, "return_mean")  # curves
    check_comparable(variants, "return_mean", ranked=True, truncated=True)
    check_comparable(grouped([run(budget=1000), run("b", 1, budget=1010)])["T"], "return_mean", ranked=True)
    check_comparable(grouped([run(budget=1000), run("b", 1)])["T"], "return_mean", ranked=True)  # one is not known


def test_runs_are_cut_to_the_shortest() -> None:
    scores: tuple[tuple[float, ...], ...] = ((1.0, 2.0, 3.0), (5.0, 6.0), ())
    runs = [run(scores=own, config={"lr": 1.0 + number}) for number, own in enumerate(scores)]
    variants, steps = truncated_to_shortest(grouped(runs)["T"])
    assert steps == 200
    assert [variant.runs[0].final("return_mean") for variant in variants][:2] == [2.0, 6.0]


def test_runs_that_did_not_end_are_marked() -> None:
    runs = [
        run("a", state="crashed", budget=1000),
        run("b", 1, state="finished", budget=150, resumed=2),
        run("c", 2, state="unknown", scores=()),
        run("d", 3, state="running"),
        run("e", 4),
    ]
    lines = remarks([variant for group in grouped(runs).values() for variant in group])
    assert [line.partition("}: ")[2] for line in lines] == [
        "crashed at 200 of 1,000 agent steps",
        "resumed 2 times",
        "no result yet",
        "running at 200 agent steps",
    ]


def variant(name: str, *scores: float) -> Variant:
    return Variant(name, tuple(run(seed=seed, scores=(0.0, score)) for seed, score in enumerate(scores)), {})


def test_who_is_ahead_and_by_how_much() -> None:
    low, high = sides([variant("low", 1.0, 2.0, 3.0), variant("high", 11.0, 12.0, 13.0)], "return_mean")[::-1]
    assert (high.name, high.result.value) == ("high", 12.0)
    found = lead(low, high)
    assert (found.ahead, found.behind, found.by.value, found.shown) == ("high", "low", 10.0, True)
    assert found.by.low is not None
    assert 8.0 <= found.by.low < 10.0
    assert found.probability.value == 1.0
    assert found == lead(low, high)  # seeded


def test_a_difference_that_the_seeds_do_not_show() -> None:
    first, second = sides([variant("a", 0.0, 5.0, 10.0), variant("b", 1.0, 6.0, 11.0)], "return_mean")
    found = lead(first, second)
    assert (found.ahead, found.by.value, found.shown) == ("b", 1.0, False)


def test_below_three_seeds_there_is_no_interval() -> None:
    first, second = sides([variant("a", 0.0, 0.0), variant("b", 9.0, 9.0, 9.0)], "return_mean")
    found = lead(first, second)
    assert (found.by.value, found.by.low, found.shown, found.probability.low) == (9.0, None, None, None)


def test_runs_without_a_value_are_counted_as_missing() -> None:
    (side,) = sides([variant("a", 1.0, float("nan"))], "progress_mean")
    assert (len(side.scores), side.missing) == (0, 2)
    (side,) = sides([Variant("a", (run(scores=()), run(scores=(3.0,))), {})], "return_mean")
    assert (side.scores.tolist(), side.missing) == ([3.0], 1)


def test_scores_of_runs() -> None:
    table = scores_of(grouped([run("a", s, t, (0.0, float(s))) for t in ("T", "U") for s in (0, 1)]), "return_mean")
    assert (table.tasks, table.variants) == (["T", "U"], ["a"])
    assert table.scores["U"]["a"].tolist() == [0.0, 1.0]
