"""What environments in one set of arrays share: seeds, saved states, refusals, and the single environment of each."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from rllib_rnd.envs.array_env import ArrayVectorEnv, VectorOfOne
from rllib_rnd.envs.catch import CatchEnv, CatchVectorEnv
from rllib_rnd.envs.deep_sea import DeepSeaEnv, DeepSeaVectorEnv
from rllib_rnd.envs.minigrid_arrays import MultiRoomEnv, MultiRoomVectorEnv
from rllib_rnd.envs.point_maze import PointMazeEnv, PointMazeVectorEnv
from rllib_rnd.envs.warehouse import WarehouseEnv, WarehouseVectorEnv
from rllib_rnd.envs.warehouse_rules import VARIANTS
from rllib_rnd.errors import ConfigError

WAREHOUSE_OPTIONS: dict[str, Any] = {"num_stacked": 2, "episode_length": 15, "spawn_prob": 0.2}
CASES: dict[str, tuple[Callable[..., ArrayVectorEnv], Callable[..., VectorOfOne[Any]], dict[str, Any]]] = {
    "catch": (CatchVectorEnv, CatchEnv, {"size": 16, "cell_size": 1}),
    "deep sea": (DeepSeaVectorEnv, DeepSeaEnv, {"size": 15, "noisy_tv": True}),
    "multi room": (MultiRoomVectorEnv, MultiRoomEnv, {"max_steps": 15, "noisy_tv": True}),
    "point maze": (PointMazeVectorEnv, PointMazeEnv, {"max_steps": 15}),
    **{name: (WarehouseVectorEnv, WarehouseEnv, {"variant": name, **WAREHOUSE_OPTIONS}) for name in VARIANTS},
}
STEPS = 15  # of an episode of each

every = pytest.mark.parametrize("name", CASES)


def make(name: str, num_envs: int = 4) -> ArrayVectorEnv:
    vector_class, _, options = CASES[name]
    return vector_class(num_envs, **options)


def actions_of(env: ArrayVectorEnv, steps: int, seed: int = 0) -> list[np.ndarray]:
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(steps)]


def play(env: ArrayVectorEnv, actions: list[np.ndarray]) -> list[np.ndarray]:
    """All arrays that come out of these steps."""
    return [array for a in actions for array in flat(env.step(a))]


def flat(result: tuple[Any, ...]) -> list[np.ndarray]:
    return [*result[:-1], *result[-1].values()]


def assert_same(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


def test_every_environment_in_arrays_is_tested_here() -> None:
    assert set(ArrayVectorEnv.__subclasses__()) == {vector_class for vector_class, _, _ in CASES.values()}
    assert set(VectorOfOne.__subclasses__()) == {single_class for _, single_class, _ in CASES.values()}


@every
@pytest.mark.parametrize("moment", [6, STEPS], ids=["within an episode", "before the step that resets"])
def test_a_restored_vector_goes_on_bit_for_bit(name: str, moment: int) -> None:
    env, fresh, begun = (make(name) for _ in range(3))
    env.reset(seed=0)
    begun.reset(seed=99)
    play(env, actions_of(env, moment))
    assert env.can_clone_state and env.needs_reset.any() == (moment == STEPS)
    state, after = env.clone_state(), actions_of(env, 3 * STEPS, seed=1)
    frozen = pickle.dumps(state)
    expected = play(env, after)
    assert pickle.dumps(state) == frozen, "playing on wrote into the saved state"
    for other in (fresh, begun, env):
        other.restore_state(pickle.loads(frozen))
        assert_same(play(other, after), expected)
    other.restore_state(state)
    play(other, after)
    assert pickle.dumps(state) == frozen, "playing on after a restore wrote into the saved state"


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        *((name, {"num_envs": 3}, "saved from 4 environments, this vector has 3") for name in CASES),
        ("point maze", {"layout": "spiral"}, "saved with layout = .*, this environment's is"),
        ("deep sea", {"mapping_seed": 3}, "saved with mapping_seed = 42, this environment's is 3"),
        ("catch", {"size": 17}, "saved with size = 16, this environment's is 17"),
        ("rllib_rnd/Warehouse-v0", {"num_stacked": 1}, "saved with num_stacked = 2, this environment's is 1"),
        (
            "rllib_rnd/Warehouse-v0",
            {"variant": "rllib_rnd/Warehouse2-v0"},
            "saved with variant = 'rllib_rnd/W",
        ),
    ],
)
def test_a_state_of_other_environments_is_refused_and_changes_nothing(
    name: str, other: dict[str, Any], message: str
) -> None:
    vector_class, _, options = CASES[name]
    env, unlike = make(name), vector_class(**{"num_envs": 4, **options, **other})
    env.reset(seed=0), unlike.reset(seed=1)
    before = pickle.dumps(unlike.clone_state())
    with pytest.raises(ConfigError, match=message) as error:
        unlike.restore_state(env.clone_state())
    assert error.value.path == "state" and pickle.dumps(unlike.clone_state()) == before


@every
def test_a_state_records_every_option(name: str) -> None:
    env = make(name)
    env.reset(seed=0)
    for option in vars(env.options):
        state = env.clone_state()
        state["made_with"][option] = "another"
        with pytest.raises(ConfigError, match=f"saved with {option} = 'another', this environment's is"):
            env.restore_state(state)


@every
def test_positions_lie_in_the_grid_that_is_named(name: str) -> None:
    env, single = make(name), CASES[name][1](**CASES[name][2])
    rows, columns = env.position_shape
    assert single.position_shape == (rows, columns)
    _, info = env.reset(seed=0)
    for action in actions_of(env, STEPS):
        assert (info["position"] < rows * columns).all()
        info = env.step(action)[-1]


@every
@pytest.mark.parametrize(
    ("arguments", "path", "message"),
    [
        ({"num_envs": 0}, "num_envs", "0 is out of range; allowed is a whole number, 1 or more"),
        ({"render_mode": "human"}, "render_mode", "'human' is not one of"),
        ({"no_such_option": 1}, "no_such_option", "unknown key 'no_such_option'"),
    ],
)
def test_wrong_arguments_are_refused(name: str, arguments: dict[str, Any], path: str, message: str) -> None:
    vector_class, single_class, options = CASES[name]
    for cls in (vector_class,) if "num_envs" in arguments else (vector_class, single_class):
        with pytest.raises(ConfigError, match=message) as error:
            cls(**options, **arguments)
        assert error.value.path == path


@every
def test_the_seed_decides_all_and_without_one_the_stream_goes_on(name: str) -> None:
    def run(env: ArrayVectorEnv, seed: Any) -> list[np.ndarray]:
        return [*flat(env.reset(seed=seed)), *play(env, actions_of(env, 2 * STEPS))]

    def differ(ours: list[np.ndarray], theirs: list[np.ndarray]) -> bool:
        return any(not np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))

    env = make(name)
    first = run(env, 1)
    going_on = run(env, None)
    assert differ(first, going_on) and differ(first, run(make(name), 2))
    assert_same(run(env, 1), first)
    assert_same(run(env, [None] * 4), going_on)
    assert_same(run(env, [1, 2, 3, 4]), run(make(name), [1, 2, 3, 4]))
    for wrong, message in (([1, 2, 3], "3 seeds for 4"), ([1, None, 3, 4], "mixes numbers and None")):
        if None in wrong and name == "multi room":
            continue  # each of its environments has a generator of its own
        with pytest.raises(ConfigError, match=message) as error:
            env.reset(seed=wrong)
        assert error.value.path == "seed"


@every
def test_what_was_returned_is_never_written_again_and_may_be_written(name: str) -> None:
    clean, dirty = make(name), make(name)
    kept = [(array, array.copy()) for array in flat(clean.reset(seed=0))]
    dirty.reset(seed=0)
    for action in actions_of(clean, 2 * STEPS + 3):
        ours, theirs = flat(clean.step(action)), flat(dirty.step(action))
        assert_same(ours, theirs)
        kept += [(array, array.copy()) for array in ours]
        for array in theirs:
            array[:] = 1
        dirty.needs_reset[:] = True
    for array, as_returned in kept:
        np.testing.assert_array_equal(array, as_returned)


@every
def test_spaces_places_and_the_step_that_resets(name: str) -> None:
    env = make(name)
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    assert env.needs_reset.all()
    obs, info = env.reset(seed=0)
    ended = np.zeros(4, dtype=bool)
    for action in actions_of(env, 2 * STEPS + 3):
        assert obs in env.observation_space and info["_position"].all() and info["position"].dtype == np.int64
        obs, reward, terminated, truncated, info = env.step(action)
        assert not (ended & (terminated | truncated)).any() and not reward[ended].any()
        ended = terminated | truncated
        np.testing.assert_array_equal(env.needs_reset, ended)


@every
def test_a_single_environment_is_a_vector_of_one_without_the_steps_that_reset(name: str) -> None:
    _, single_class, options = CASES[name]
    vector, single = make(name, 1), single_class(**options)
    action = actions_of(vector, 1)[0]
    assert "autoreset_mode" not in single.metadata
    with pytest.raises(RuntimeError, match="reset"):
        single.step(action[0])
    for seed in (3, None):  # the second episode goes on with the random stream
        (theirs, their_info), (ours, info) = vector.reset(seed=seed), single.reset(seed=seed)
        np.testing.assert_array_equal(theirs[0], ours)
        assert info == {key: value[0] for key, value in their_info.items() if not key.startswith("_")}
        for action in actions_of(vector, STEPS):
            a, b = vector.step(action), single.step(action[0])
            np.testing.assert_array_equal(a[0][0], b[0])
            assert (a[1][0], a[2][0], a[3][0], a[4]["position"][0]) == (*b[1:4], b[4]["position"])
        assert b[2] or b[3]
        with pytest.raises(RuntimeError, match="reset"):
            single.step(action[0])
    single.reset()
    saved, expected = single.clone_state(), single.step(action[0])[0]
    single.restore_state(saved)
    np.testing.assert_array_equal(single.step(action[0])[0], expected)
    single.restore_state(vector.clone_state())
    with pytest.raises(RuntimeError, match="reset"):
        single.step(action[0])
    assert single.render() is None and vector.render() is None


DRAWN = [name for name, (vector_class, _, _) in CASES.items() if vector_class.metadata["render_modes"]]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", DRAWN)
def test_pictures_where_there_is_something_to_see(name: str) -> None:
    vector_class, single_class, options = CASES[name]
    options = {**options, "render_mode": "rgb_array"}
    vector, single = vector_class(3, **options), single_class(**options)
    vector.reset(seed=0), single.reset(seed=0)
    images, image = vector.render(), single.render()
    assert images is not None and len(images) == 3 and image is not None
    for each in (*images, image):
        assert each.dtype == np.uint8 and each.shape == image.shape and each.ndim == 3 and each.shape[2] == 3
