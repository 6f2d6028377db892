"""NovelD: the gain in novelty by loops and by hand, once per state and episode, RND underneath."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rllib_rnd.errors import ConfigError
from rllib_rnd.intrinsic import INTRINSIC_REWARDS, NovelDOptions
from tests.intrinsic.episodic_checks import in_pieces, make, same_buffers, short_episodes, visits_by_hand
from tests.intrinsic.rollouts import image_space, random_rollout, small_chunks, vector_space
from tests.intrinsic.transition_checks import all_losses, scripted, total_loss, train


class Novelty(torch.nn.Module):
    """A predictor whose error is the observation itself: novelty is its size."""

    def __init__(self, target: torch.nn.Module) -> None:
        super().__init__()
        self.target = (target,)  # in a tuple, so as to stay no submodule

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.target[0](x) + torch.nn.functional.pad(x, (0, 14))


def by_hand(**options: Any) -> Any:
    """Novelty of an observation (two numbers) is its length."""
    reward = make("noveld", vector_space(2), normalize_input="none", **options)
    reward.predictor = Novelty(reward.target)
    return reward


A, B, C, D = [3.0, 4.0], [0.0, 1.0], [0.0, -2.0], [0.0, 4.0]  # 5, 1, 2, 4


def test_defaults_are_those_of_the_paper() -> None:
    options = NovelDOptions()
    assert (options.alpha, options.update_proportion, options.episodic) == (0.5, 1.0, True)


@pytest.mark.parametrize(
    ("alpha", "wanted"), [(0.5, [0.0, 1.5, 3.0, 3.0]), (1.0, [0.0, 1.0, 2.0, 1.0]), (0.0, [1.0, 2.0, 4.0, 5.0])]
)
def test_reward_is_the_gain_in_novelty(alpha: float, wanted: list[float]) -> None:
    r_t = by_hand(alpha=alpha).compute(scripted([[D], [B], [C], [D[::-1]], [A]], first=[(0, 0)]))[0]
    torch.testing.assert_close(r_t[:, 0], torch.tensor(wanted))


def test_only_the_first_visit_of_an_episode_is_rewarded() -> None:
    # D at the start, and again after B: no reward; in the next episode (from step 5 on) D is new.
    data = scripted([[D], [B], [D], [A], [A], [B], [D]], first=[(0, 0), (5, 0)])
    r_t = by_hand().compute(data)[0]
    torch.testing.assert_close(r_t[:, 0], torch.tensor([0.0, 0.0, 3.0, 0.0, 0.0, 3.5]))


def test_the_first_observation_of_an_episode_is_what_its_first_step_gains_upon() -> None:
    # The episode ends with A at step 1; step 2 resets to B, so step 3 gains 4 - 1 / 2 and not 4 - 5 / 2.
    r_t = by_hand().compute(scripted([[B], [C], [A], [B], [D]], first=[(0, 0), (3, 0)]))[0]
    torch.testing.assert_close(r_t[:, 0], torch.tensor([1.5, 4.0, 0.0, 3.5]))


@pytest.mark.parametrize(("frame_stack", "shape"), [(1, (5,)), (2, (36, 36)), (1, (36, 40, 3))])
def test_rewards_agree_with_plain_loops(frame_stack: int, shape: tuple[int, ...]) -> None:
    data = random_rollout(shape, frame_stack=frame_stack)
    data.frames[3 + frame_stack - 1, 0] = data.frames[1 + frame_stack - 1, 0]
    stack = (frame_stack, *shape) if frame_stack > 1 else shape
    reward = make("noveld", image_space(*stack) if len(shape) > 1 else vector_space(5), frame_stack=frame_stack)
    reward.update_statistics(data)
    r_t, features = reward.compute(data)
    newest = data.frames[frame_stack - 1 :]
    seen: list[list[torch.Tensor]] = [[newest[0, n]] for n in range(3)]
    for t in range(6):
        for n in range(3):
            x = reward.normalize_frames(newest[t : t + 2, n])
            before, after = (reward.target(x) - reward.predictor(x)).square().sum(1).sqrt().tolist()
            torch.testing.assert_close(features["target"][t * 3 + n], reward.target(x)[1])
            is_new = not any(torch.equal(newest[t + 1, n], old) for old in seen[n]) and bool(data.valid[t, n])
            assert float(r_t[t, n]) == pytest.approx(max(after - 0.5 * before, 0.0) * is_new, rel=1e-4, abs=1e-6)
            seen[n] = [*seen[n], newest[t + 1, n]] if data.valid[t, n] else [newest[t + 1, n]]
    assert r_t[2, 0] == 0.0 and r_t[3, 1] == 0.0 and int((r_t > 0).sum()) > 5


def test_rewards_do_not_depend_on_the_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    data = random_rollout()
    whole, features = make("noveld").compute(data)
    small_chunks(monkeypatch)
    parts, part_features = make("noveld").compute(data)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(part_features["target"], features["target"])


@pytest.mark.parametrize("stop", [1, 7, 39])
def test_two_rollouts_are_rewarded_like_one_long_one(stop: int) -> None:
    data, state = short_episodes()
    wanted = make("noveld").compute(data)[0]
    torch.testing.assert_close(in_pieces(make("noveld"), data, stop), wanted)
    visits = visits_by_hand(state, data.is_first)
    assert not wanted[visits != 1].any() and wanted[visits == 1].any()


def test_a_full_memory_forgets_the_frame_it_saw_first() -> None:
    data = scripted([[D], [B], [C], [D]], first=[(0, 0)])
    assert [float(by_hand(capacity=size).compute(data)[0][2, 0]) for size in (3, 2)] == [0.0, 3.0]


def test_the_bonus_of_a_familiar_rollout_fades_and_a_second_visit_pays_nothing() -> None:
    data = scripted([[A], [B], [C], [B]], first=[(0, 0)])
    reward = make("noveld", vector_space(2))
    before = reward.compute(data)[0]
    train(reward, data, 60)
    after = reward.compute(data)[0]
    assert before[2, 0] == after[2, 0] == 0.0
    assert after.sum() < 0.3 * before.sum()


def test_only_the_predictor_learns_and_loss_reuses_the_target() -> None:
    reward, data = make("noveld"), random_rollout()
    features = reward.compute(data)[1]
    reward.target.register_forward_hook(lambda *args: pytest.fail("the target ran again"))
    terms = all_losses(reward, data, features=features)
    assert list(terms) == ["rnd_predictor_loss"] and terms["rnd_predictor_loss"][1] == 17 + 1  # the reset observation
    total_loss(terms).backward()
    assert all(bool(p.grad.any()) for p in reward.predictor.parameters())
    assert all(p.grad is None and not p.requires_grad for p in reward.target.parameters())


def test_memory_of_the_episode_is_saved() -> None:
    data, _ = short_episodes()
    reward, restored = make("noveld", seed=0), make("noveld", seed=1)
    reward.compute(data)
    restored.load_state_dict(reward.state_dict())
    assert same_buffers(reward, restored)
    assert torch.equal(reward.compute(data)[0], restored.compute(data)[0])


@pytest.mark.parametrize(
    ("name", "field", "value", "nearest"),
    [
        ("noveld", "reward_on", "current", "next"),
        ("noveld", "error_reduction", "half_sum", "mean"),
        ("ngu", "reward_on", "current", "next"),
        ("e3b", "reward_on", "current", "next"),
    ],
)
def test_what_has_no_meaning_is_refused(name: str, field: str, value: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"{field}.*{value}.*{nearest}"):
        INTRINSIC_REWARDS.parse({"type": name, field: value}, "intrinsic_reward")
