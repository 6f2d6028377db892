"""PointMaze: steps by hand, walls that hold, reference policies, exact resume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from rllib_rnd.envs.point_maze import (
    ACCELERATION,
    DT,
    LAYOUTS,
    PIXELS,
    RADIUS,
    START_NOISE,
    TOP_SPEED,
    PointMazeEnv,
    PointMazeVectorEnv,
    in_wall,
    parse_layout,
    point_maze_step,
    walking_distances,
)
from rllib_rnd.errors import ConfigError

ROOM = ["#####", "#S..#", "#...#", "#..G#", "#####"]
Policy = Callable[[np.ndarray], np.ndarray]  # from observations to actions


def one_step(position: Any, velocity: Any, action: Any) -> tuple[list[float], list[float]]:
    """One body in a room whose free cells cover 1 to 4 along both axes."""
    walls = parse_layout(ROOM).walls
    new = point_maze_step(np.array([position]), np.array([velocity]), np.array([action]), walls)
    return new[0][0].tolist(), new[1][0].tolist()


def test_acceleration_and_damping_by_hand() -> None:
    position, velocity = one_step([2.0, 2.0], [0.0, 0.0], [1.0, -0.5])
    assert velocity == pytest.approx([0.3, -0.15])  # 0.1 * 3 * action
    assert position == pytest.approx([2.03, 1.985])  # with the new velocity: semi-implicit
    position, velocity = one_step([2.0, 2.0], [1.0, -0.4], [0.0, 0.0])
    assert velocity == pytest.approx([0.9, -0.36])  # 0.1 of it is lost
    assert position == pytest.approx([2.09, 1.964])


def test_the_top_speed_holds_along_each_axis_and_actions_are_clipped() -> None:
    position, velocity = one_step([2.5, 2.5], [1.95, -2.0], [1.0, -1.0])
    assert velocity == pytest.approx([2.0, -2.0])
    assert position == pytest.approx([2.7, 2.3])
    assert one_step([2.0, 2.0], [0.0, 0.0], [7.0, -9.0]) == one_step([2.0, 2.0], [0.0, 0.0], [1.0, -1.0])


@pytest.mark.parametrize(("axis", "sign"), [(0, 1), (0, -1), (1, 1), (1, -1)])
def test_a_wall_stops_the_velocity_into_it_and_no_other(axis: int, sign: int) -> None:
    position, velocity = np.full(2, 2.5), np.zeros(2)
    position[axis] = 2.5 + sign * 1.2  # its edge is 0.05 from the wall
    velocity[axis], velocity[1 - axis] = sign * 1.0, 0.5
    new_position, new_velocity = one_step(position, velocity, [0.0, 0.0])
    assert new_velocity[axis] == 0.0 and new_velocity[1 - axis] == pytest.approx(0.45)
    assert new_position[axis] == pytest.approx(2.5 + sign * 1.25, abs=1e-5)
    assert new_position[1 - axis] == pytest.approx(2.545)
    pushed = np.zeros(2)
    pushed[axis] = sign
    assert one_step(new_position, new_velocity, pushed)[0][axis] == pytest.approx(new_position[axis], abs=1e-12)


def test_no_wall_is_entered_or_jumped_over_in_random_play() -> None:
    """Full thrust in directions held for some steps, so that walls are hit at top speed."""
    assert TOP_SPEED * DT < RADIUS < 0.5
    num_envs, rng = 4, np.random.default_rng(0)
    env = PointMazeVectorEnv(num_envs, layout="spiral", max_steps=10**9)
    env.reset(seed=0)
    walls = env.maze.walls
    distances = walking_distances(walls, env.maze.goal).ravel()
    before, cell = env.clone_state(), env.step(np.zeros((num_envs, 2)))[4]["position"]
    actions, hits = np.zeros((num_envs, 2)), 0
    for _ in range(20_000):
        turn = rng.random(num_envs) < 0.2
        actions[turn] = rng.choice([-1.0, 1.0], (turn.sum(), 2))
        info = env.step(actions)[4]
        after = env.clone_state()
        going = ~before["needs_reset"]
        assert not in_wall(after["place"], walls).any()
        assert np.abs(after["place"] - before["place"])[going].max(initial=0.0) <= TOP_SPEED * DT + 1e-5
        assert np.abs(after["velocity"]).max() <= TOP_SPEED
        # A wall jumped over would show as a cell many walking steps nearer to the goal, or farther from it.
        assert np.abs(distances[info["position"]] - distances[cell])[going].max(initial=0) <= 1
        hits += int((after["velocity"] == 0).sum())
        before, cell = after, info["position"]
    assert hits > 10_000


def follower(env: PointMazeVectorEnv) -> Policy:
    """Steers to the middle of the next cell of a shortest walk: proportional to the distance, less the velocity."""
    distances = walking_distances(env.maze.walls, env.maze.goal)
    waypoint = np.zeros((*distances.shape, 2))
    for row, column in np.argwhere(distances >= 0):
        near = [(row, column), (row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        best = min((cell for cell in near if distances[cell] >= 0), key=lambda cell: distances[cell])
        waypoint[row, column] = best[1] + 0.5, best[0] + 0.5
    scale = np.array(env.position_shape[::-1]) / 2

    def act(obs: np.ndarray) -> np.ndarray:
        place, velocity = (obs[:, :2] + 1) * scale, obs[:, 2:] * TOP_SPEED
        column, row = place.astype(int).T
        return np.clip(2.0 * (waypoint[row, column] - place) - 0.5 * velocity, -1.0, 1.0)

    return act


def first_episodes(env: PointMazeVectorEnv, policy: Policy) -> tuple[np.ndarray, np.ndarray]:
    """Whether the first episode of each environment reached the goal, and its steps; each ``[N]``."""
    obs, _ = env.reset(seed=0)
    success, steps = np.zeros(env.num_envs, dtype=bool), np.zeros(env.num_envs, dtype=int)
    for t in range(1, env.options.max_steps + 1):
        obs, _, terminated, truncated, _ = env.step(policy(obs))
        ended = (steps == 0) & (terminated | truncated)
        success[ended], steps[ended] = terminated[ended], t
    assert (steps > 0).all()
    return success, steps


@pytest.mark.parametrize(("layout", "slowest"), [("u_maze", 60), ("medium", 135), ("corridor", 85), ("spiral", 170)])
def test_a_follower_of_waypoints_reaches_the_goal(layout: str, slowest: int) -> None:
    env = PointMazeVectorEnv(200, layout=layout)
    success, steps = first_episodes(env, follower(env))
    walk = walking_distances(env.maze.walls, env.maze.goal)[env.maze.start]
    assert success.all()
    # At least the goal's radius and the noise less than the walk, corners cut (each by less than a cell), at top speed.
    assert walk * 0.6 / (TOP_SPEED * DT) < steps.min() and steps.max() < slowest


@pytest.mark.parametrize("layout", ["medium", "spiral", "corridor"])
def test_random_actions_do_not(layout: str) -> None:
    env, rng = PointMazeVectorEnv(1000, layout=layout), np.random.default_rng(0)
    success, _ = first_episodes(env, lambda obs: rng.uniform(-1, 1, (len(obs), 2)))
    assert success.mean() < 0.002


def test_the_goal_pays_once_and_the_next_step_resets_without_its_action() -> None:
    """Two runs that differ in the action of the resetting step only."""
    ends = []
    for action in (1.0, -1.0):
        env = PointMazeVectorEnv(3, layout="u_maze")
        policy, (obs, _) = follower(env), env.reset(seed=1)
        rewards: list[np.ndarray] = []
        while not rewards or not rewards[-1][0]:
            obs, reward, terminated, truncated, info = env.step(policy(obs))
            np.testing.assert_array_equal(reward, terminated)
            assert not truncated.any()
            rewards.append(reward)
        assert sum(r[0] for r in rewards) == 1.0 and info["position"][0] == 3 * 7 + 1
        first = env.step(np.full((3, 2), action))
        assert first[1][0] == 0.0 and not first[2][0] and not first[3][0]
        assert first[4]["position"][0] == 1 * 7 + 1
        assert first[0][0, 2:].tolist() == [0.0, 0.0]
        start_x, start_y = (first[0][0, :2] + 1) * [3.5, 2.5]
        assert abs(start_x - 1.5) <= START_NOISE + 1e-6 and abs(start_y - 1.5) <= START_NOISE + 1e-6
        ends.append(first[0][0])
    np.testing.assert_array_equal(ends[0], ends[1])


def test_an_episode_is_truncated_after_max_steps_and_not_before() -> None:
    env = PointMazeVectorEnv(2, max_steps=5)
    env.reset(seed=0)
    results = [env.step(np.zeros((2, 2))) for _ in range(11)]  # 5 steps, a reset, 5 steps
    assert [r[3].tolist() for r in results] == [[t in (4, 10)] * 2 for t in range(11)]
    assert not any(r[2].any() for r in results)


def test_the_dense_reward_is_minus_the_distance() -> None:
    env = PointMazeEnv(layout="corridor", reward="dense")
    obs, _ = env.reset(seed=0)
    obs, reward, *_ = env.step(np.array([1.0, 0.0]))
    x, y = (obs[:2] + 1) * [9.0, 1.5]
    assert reward == pytest.approx(-np.hypot(16.5 - x, 1.5 - y), abs=1e-5)
    assert env.step(np.array([1.0, 0.0]))[1] > reward


def test_observation_and_position_by_hand() -> None:
    env = PointMazeVectorEnv(1, layout=ROOM)
    env.reset(seed=0)
    state = env.clone_state()
    state["place"], state["velocity"] = np.array([[3.5, 1.5]]), np.array([[1.0, -2.0]])
    env.restore_state(state)
    obs, _, _, _, info = env.step(np.array([[1 / ACCELERATION, -2 / ACCELERATION]]))  # damping made good
    np.testing.assert_allclose(obs, [[3.6 / 2.5 - 1, 1.3 / 2.5 - 1, 0.5, -1.0]], atol=1e-6)
    assert info["position"].tolist() == [1 * 5 + 3] and info["_position"].all()
    assert obs.dtype == np.float32 and info["position"].dtype == np.int64
    assert env.position_shape == PointMazeEnv(layout=ROOM).position_shape == (5, 5)


def test_walking_distances_by_hand() -> None:
    maze = parse_layout(["#####", "#S#.#", "#..G#", "#####"])
    expected = [[-1] * 5, [-1, 3, -1, 1, -1], [-1, 2, 1, 0, -1], [-1] * 5]
    assert walking_distances(maze.walls, maze.goal).tolist() == expected
    mazes = {name: parse_layout(name) for name in LAYOUTS}
    lengths = {name: int(walking_distances(m.walls, m.goal)[m.start]) for name, m in mazes.items()}
    assert lengths == {"u_maze": 10, "medium": 22, "corridor": 15, "spiral": 30}


def test_same_seed_same_play_and_other_seed_other_play() -> None:
    def play(seed: Any) -> np.ndarray:
        env, rng = PointMazeVectorEnv(3, max_steps=7), np.random.default_rng(0)
        obs = [env.reset(seed=seed)[0], *(env.step(rng.uniform(-1, 1, (3, 2)))[0] for _ in range(20))]
        return np.stack([*obs, env.reset()[0]])

    np.testing.assert_array_equal(play(5), play(5))
    np.testing.assert_array_equal(play([5, 6, 7]), play([5, 6, 7]))
    other = play(6)
    assert not np.array_equal(play(5), other)
    assert not np.array_equal(other[0, 0], other[0, 1])  # the environments of one vector differ
    assert not np.array_equal(other[0], other[-1])  # a reset without a seed goes on with the stream


def test_the_start_of_one_environment_does_not_depend_on_another_one() -> None:
    """Environment 1 goes to the goal in one run and stays in the other; environment 0 is truncated in both."""
    seen = []
    for moves in (True, False):
        env = PointMazeVectorEnv(2, layout="u_maze", max_steps=90)
        policy, (obs, _) = follower(env), env.reset(seed=2)
        first = []
        for _ in range(200):
            obs, *_ = env.step(policy(obs) * [[0.0], [float(moves)]])
            first.append(obs[0])
        seen.append(np.stack(first))
    np.testing.assert_array_equal(seen[0], seen[1])


@pytest.mark.filterwarnings("ignore")
def test_gymnasium_checker_and_spaces() -> None:
    check_env(PointMazeEnv(render_mode="rgb_array"))
    env = PointMazeVectorEnv(3)
    assert env.single_action_space == gym.spaces.Box(-1, 1, (2,), np.float32)
    assert env.observation_space.shape == (3, 4)
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP


def test_bad_options_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^layuot: unknown key 'layuot'.*'layout'"):
        PointMazeVectorEnv(2, layuot="medium")
    with pytest.raises(ConfigError, match=r"^layout: unknown layout 'medum'.*'medium'"):
        PointMazeEnv(layout="medum")
    with pytest.raises(ConfigError, match=r"^goal_radius: 0.7 .* 0.1 to 0.5"):
        PointMazeEnv(goal_radius=0.7)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ([], "rows of length"),
        (["###", "#SG#", "###"], "rows of length"),
        (["####", "#sG#", "####"], r"unknown characters \['s'\]"),
        (["####", "#SG.", "####"], "border"),
        (["####", "#GG#", "####"], "0 cells are 'S'"),
        (["#####", "#SGG#", "#####"], "2 cells are 'G'"),
        (["#####", "#S#G#", "#####"], "no way leads"),
    ],
)
def test_bad_layouts_are_refused(layout: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^layout: .*{message}"):
        PointMazeVectorEnv(1, layout=layout)


def test_rendering_shows_walls_goal_and_body() -> None:
    env = PointMazeVectorEnv(2, "rgb_array", layout=ROOM)
    env.reset(seed=0)
    state = env.clone_state()
    state["place"] = np.array([[1.5, 1.5], [3.5, 1.5]])
    env.restore_state(state)
    images = env.render()
    assert images is not None and len(images) == 2
    assert images[0].shape == (5 * PIXELS, 5 * PIXELS, 3) and images[0].dtype == np.uint8

    def colour(image: np.ndarray, row: int, column: int) -> tuple[int, ...]:
        return tuple(image[row * PIXELS + PIXELS // 2, column * PIXELS + PIXELS // 2].tolist())

    wall, free, goal, body = (colour(images[0], *cell) for cell in ((0, 2), (2, 2), (3, 3), (1, 1)))
    assert len({wall, free, goal, body}) == 4
    assert colour(images[1], 1, 3) == body and colour(images[1], 1, 1) == free
    assert (images[0] == body).all(axis=2).sum() == pytest.approx(np.pi * (RADIUS * PIXELS) ** 2, rel=0.05)
    assert PointMazeVectorEnv(1).render() is None and PointMazeEnv().render() is None
    single = PointMazeEnv("rgb_array", layout=ROOM)
    single.reset(seed=0)
    image = single.render()
    assert image is not None and image.shape == images[0].shape
