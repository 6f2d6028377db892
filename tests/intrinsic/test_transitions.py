"""What all rewards on transitions have in common: spaces, masks, episode borders, gradients, state."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
import torch

from rllib_rnd.errors import ConfigError
from rllib_rnd.intrinsic import INTRINSIC_REWARDS
from rllib_rnd.plugin import Spaces
from tests.intrinsic.rollouts import image_space, random_rollout, small_chunks, vector_space
from tests.intrinsic.transition_checks import BOX, DISCRETE, all_losses, cut, make, total_loss, train, with_actions

NAMES = ["icm", "disagreement", "ride", "byol_explore"]
T, N = 6, 3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("action_space", [DISCRETE, BOX], ids=["discrete", "box"])
@pytest.mark.parametrize(
    ("space", "frame_stack", "frame_shape"),
    [
        (image_space(4, 36, 40), 4, (36, 40)),
        (image_space(36, 40, 3), 1, (36, 40, 3)),
        (image_space(7, 7, 3), 1, (7, 7, 3)),
        (vector_space(5), 1, (5,)),
        (gym.spaces.Box(-9, 9, (3, 5)), 3, (5,)),
    ],
    ids=["stack", "colour", "grid", "vector", "stacked vector"],
)
def test_every_observation_and_action_is_rewarded_and_learned(name, action_space, space, frame_stack, frame_shape):
    reward = make(name, space, action_space, frame_stack)
    data = with_actions(random_rollout(frame_shape, T, N, frame_stack), action_space)
    actions = data.action.clone()
    reward.update_statistics(data)
    r_t, features = reward.compute(data)
    assert r_t.shape == (T, N) and r_t.dtype == torch.float32 and not r_t.requires_grad
    assert bool((r_t[data.valid] > 0).all()) and r_t[3, 1] == 0.0 and torch.isfinite(r_t).all()
    assert all(len(f) == T * N and not f.requires_grad for f in features.values())
    total_loss(all_losses(reward, data, features=features)).backward()
    for parameter_name, parameter in reward.named_parameters():
        learned = parameter.grad is not None and parameter.grad.abs().sum() > 0
        assert learned == parameter.requires_grad, parameter_name
    assert torch.equal(data.action, actions)


@pytest.mark.parametrize("name", NAMES)
def test_an_episode_s_last_step_is_rewarded_for_its_true_last_observation(name: str) -> None:
    # Environment 1 ends at step 2: obs_3 is its last observation, obs_4 the first of the next episode.
    data = random_rollout(steps=T, envs=N)
    before = make(name).compute(data)[0]
    data.frames[3, 1] += 0.5
    last_changed = (make(name).compute(data)[0] != before).nonzero().tolist()
    # How far models disagree depends on obs_t and a_t alone, and nothing is predicted from the last observation.
    assert last_changed == ([] if name == "disagreement" else [[2, 1]])
    data.frames[3, 1] -= 0.5
    data.frames[4, 1] += 0.5
    first_changed = (make(name).compute(data)[0] - before).abs() > 1e-6
    assert first_changed[4, 1] and not first_changed[:4, 1].any()
    assert not first_changed[:, [0, 2]].any()


@pytest.mark.parametrize("name", NAMES)
def test_losses_leave_out_reset_steps_and_what_follows_an_episode_s_end(name: str) -> None:
    reward, data = make(name), random_rollout(steps=T, envs=N)
    features = reward.compute(data)[1]
    # Step 0 to 2 of environment 1: their last target is obs_3. Networks must not have read obs_4.
    index = torch.tensor([1, 4, 7, 10])
    before = total_loss(all_losses(reward, data, index, features=features))
    changed = random_rollout(steps=T, envs=N)
    changed.frames[4:, 1] = 7.0
    features = make(name).compute(changed)[1]
    torch.testing.assert_close(total_loss(all_losses(reward, changed, index, features=features)), before)
    assert all(float(count) <= 3.0 for _, count in all_losses(reward, data, index, features=features).values())


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_selection_gives_zero_loss_and_zero_gradients(name: str) -> None:
    reward, data = make(name), random_rollout(steps=T, envs=N)
    terms = all_losses(reward, data, torch.tensor([10]))  # the reset step
    for total, count in terms.values():
        assert total.item() == 0.0 and count.item() == 0.0 and not count.requires_grad
    total_loss(terms).backward()
    for parameter in reward.parameters():
        assert not parameter.requires_grad or (parameter.grad is not None and not parameter.grad.any())


@pytest.mark.parametrize("name", NAMES)
def test_losses_of_two_halves_add_up_to_the_whole(name: str) -> None:
    options: dict[str, Any] = {"update_proportion": 1.0} if name == "disagreement" else {}
    reward, data = make(name, **options), random_rollout(steps=T, envs=N)
    features = reward.compute(data)[1]
    whole = all_losses(reward, data, features=features)
    halves = [all_losses(reward, data, i, features=features) for i in torch.arange(T * N).chunk(2)]
    for key, (total, count) in whole.items():
        torch.testing.assert_close(halves[0][key][0] + halves[1][key][0], total)
        torch.testing.assert_close(halves[0][key][1] + halves[1][key][1], count)


@pytest.mark.parametrize("name", NAMES)
def test_rewards_do_not_depend_on_the_chunk_size(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = random_rollout(steps=T, envs=N)
    whole, features = make(name).compute(data)
    small_chunks(monkeypatch)
    parts, part_features = make(name).compute(data)
    torch.testing.assert_close(parts, whole)
    assert part_features.keys() == features.keys()
    for key, feature in features.items():
        torch.testing.assert_close(part_features[key], feature)


@pytest.mark.parametrize("name", [*NAMES, "ngu", "e3b"])
def test_metrics_show_how_far_features_spread_and_move(name: str) -> None:
    cls, options = INTRINSIC_REWARDS.parse({"type": name, "feature_dim": 8}, "intrinsic_reward")
    reward, data = cls(Spaces(vector_space(5), DISCRETE), options), random_rollout(steps=T, envs=N)
    reward.update_statistics(data)
    assert reward.metrics == {}  # nothing was rewarded yet
    before = reward.encode(data)[: T * N][data.valid.flatten()]
    reward.update_statistics(data)  # after the metrics it moves the normalisation of inputs
    assert float(reward.metrics[f"{name}_feature_drift"]) == 0.0
    spread = before.std(dim=0, unbiased=False).mean()
    torch.testing.assert_close(reward.metrics[f"{name}_feature_std"], spread)
    reward.compute(data)
    with torch.no_grad():
        for weight in reward.encoder.parameters():
            weight.zero_()
    reward.update_statistics(data)
    assert float(reward.metrics[f"{name}_feature_drift"]) >= 1.0 and float(reward.metrics[f"{name}_feature_std"]) > 0.0
    reward.compute(data)
    reward.update_statistics(data)
    assert float(reward.metrics[f"{name}_feature_std"]) == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_statistics_are_those_of_all_observations_and_move_only_when_told(name: str) -> None:
    reward, data = make(name, gym.spaces.Box(-9, 9, (3, 5)), frame_stack=3), random_rollout((5,), T, N, 3)
    data.is_first[0, 0] = data.is_first[-1, 2] = True  # counted here, and in the next rollout
    reward.update_statistics(data)
    once = torch.cat([torch.tensor([0]), torch.arange(N, (T + 1) * N - 1)])
    observed = data.obs(once).double()
    torch.testing.assert_close(reward.encoder.moments.mean, observed.mean(0))
    torch.testing.assert_close(reward.encoder.moments.var, observed.var(0, unbiased=False))
    before = {key: b.clone() for key, b in reward.encoder.named_buffers()}
    all_losses(reward, random_rollout((5,), T, N, 3, seed=9))
    assert all(torch.equal(before[key], b) for key, b in reward.encoder.named_buffers())


@pytest.mark.parametrize("name", NAMES)
def test_two_rollouts_are_rewarded_as_one_long_one(name: str) -> None:
    long = random_rollout(steps=12, envs=N)
    long.is_first[9, 2] = long.terminated[7, 2] = True
    wanted = make(name).compute(long)[0]
    for border in (3, 4, 5, 8, 9):  # before, at and behind an episode's border
        reward = make(name)
        parts = [reward.compute(cut(long, 0, border))[0], reward.compute(cut(long, border, 12))[0]]
        torch.testing.assert_close(torch.cat(parts), wanted)


@pytest.mark.parametrize("name", NAMES)
def test_everything_is_in_the_state_dict(name: str) -> None:
    reward, restored = make(name), make(name, seed=1)
    data, following = random_rollout(steps=T, envs=N), random_rollout(steps=T, envs=N, seed=1)
    reward.update_statistics(data)
    reward.normalize(reward.compute(data)[0], data.valid)
    restored.load_state_dict(reward.state_dict())
    for one in (reward, restored):
        one.eval()
    rewards = [one.compute(following)[0] for one in (reward, restored)]
    assert torch.equal(*rewards)
    assert torch.equal(*(one.normalize(rewards[0], following.valid) for one in (reward, restored)))


@pytest.mark.parametrize("name", ["icm", "disagreement", "byol_explore"])
def test_repeated_transitions_are_rewarded_less_than_new_ones(name: str) -> None:
    reward, familiar, novel = make(name), random_rollout(seed=1), random_rollout(seed=2)
    reward.update_statistics(familiar)

    def ratio() -> float:
        return float(reward.compute(familiar)[0].sum() / reward.compute(novel)[0].sum())

    before = ratio()
    history = train(reward, familiar, 200)
    assert history[-1] < 0.5 * history[0]
    assert ratio() < 0.5 * before


@pytest.mark.parametrize("name", NAMES)
def test_only_transitions_can_be_rewarded(name: str) -> None:
    with pytest.raises(ConfigError, match=r"reward_on: unknown value 'current'|reward_on"):
        INTRINSIC_REWARDS.parse({"type": name, "reward_on": "current"}, "intrinsic_reward")


@pytest.mark.parametrize("name", NAMES)
def test_other_action_spaces_are_config_errors(name: str) -> None:
    with pytest.raises(ConfigError, match=r"action space MultiBinary.*TransformAction"):
        make(name, action_space=gym.spaces.MultiBinary(2))
