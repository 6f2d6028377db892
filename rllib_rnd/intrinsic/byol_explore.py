"""BYOL-Explore: the error of a latent world model that predicts several steps ahead."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rllib_rnd.intrinsic.base import INTRINSIC_REWARDS
from rllib_rnd.intrinsic.transitions import TransitionOptions, TransitionReward, encode, encode_rollout
from rllib_rnd.modules.backbone import Backbone
from rllib_rnd.modules.distributed import all_reduce_sum
from rllib_rnd.modules.layers import linear_stack, orthogonal_init
from rllib_rnd.modules.moving_average import move_average
from rllib_rnd.modules.recurrent import Memory
from rllib_rnd.options import option
from rllib_rnd.plugin import LossTerms, Spaces, count_samples
from rllib_rnd.rollout import Rollout

# Added to the variance of rewards; keeps constant rewards finite.
_EPSILON = 1e-8


@dataclass(frozen=True)
class BYOLExploreOptions(TransitionOptions):
    """Options of ``byol_explore``."""

    episodic: bool = option(True, "stop returns at episode ends; BYOL-Explore: True, all rewards are one stream")
    normalize_reward: bool = option(True, "divide by a moving std of the rewards themselves; BYOL-Explore: True")
    feature_dim: int = option(512, "D, size of the features; BYOL-Explore on Atari: 512", low=1)
    memory_size: int = option(256, "H, width of both recurrent networks; BYOL-Explore: 256", low=1)
    horizon: int = option(8, "K, steps that are predicted ahead; BYOL-Explore on Atari: 8", low=1)
    bptt_steps: int = option(
        1, "steps that gradients flow back through the closed loop, from its state stored with the reward", low=1
    )
    tau: float = option(0.99, "the target keeps this share of itself per optimizer step", low=0.0, high=1.0)
    prioritize: bool = option(
        True, "subtract a moving mean of the scaled rewards and keep what is above it; BYOL-Explore: True"
    )
    reward_decay: float = option(0.99, "of the moving mean and std, per rollout", low=0.0, high=0.9999)
    reward_scale: float = option(1.0, "weight of the reward after all that, lambda of BYOL-Explore", low=0.0)


@INTRINSIC_REWARDS.register
class BYOLExplore(TransitionReward[BYOLExploreOptions]):
    """BYOL-Explore: the error of a world model that predicts its own features, up to horizon steps ahead.

    Guo et al. 2022, "BYOL-Explore: Exploration by Bootstrapped Prediction" (arXiv:2206.08332), section 3. An encoder
    makes features of ``obs_t``; a closed loop reads them with the action before, ``b_t = GRU([phi_t, a_{t-1}],
    b_{t-1})``; an open loop goes on from ``b_t`` by actions alone, ``o_{t,k} = GRU(a_{t+k-1}, o_{t,k-1})``,
    ``o_{t,0} = b_t``; a predictor maps ``o_{t,k}`` to the features of ``obs_{t+k}`` by a target encoder, a moving
    average of the encoder. Both are scaled to length 1, and the loss is their squared distance,
    ``l_{t,k} = 2 - 2 cos``. Nothing else trains the networks.

    ``r_t`` is the sum of all ``l_{s,k}`` whose target is ``obs_{t+1}``: ``s + k = t + 1``, ``1 <= k <= min(K, T)``, s
    in the same episode. It is divided by a moving standard deviation; then a moving mean is subtracted, and only what
    is above it counts.

    Attributes:
        target: the moving average of ``encoder``; both use the same input statistics.
        closed_state: ``[N, H]``, ``b`` after the last step of every environment.
        open_states: ``[N, K, H]``, the open loops that began 1, 2, .. K steps ago.
        previous_action: ``[N, A]``, zeros before an episode's first action.
        age: ``[N]`` int64, steps of the episode so far, K at most: that many open loops are its own.
        moving: ``[3]`` float64, moving means of r, r^2 and the scaled r, before bias correction.
        num_moves: ``[]`` int64, rollouts in them.

    Raises:
        ConfigError: an action space that there is no policy for.
    """

    name = "byol_explore"
    Options = BYOLExploreOptions
    source = "Guo et al. 2022 (arXiv:2206.08332)"
    cost = "per step two encodings and horizon open-loop steps, one after the other in time"

    closed_state: Tensor
    open_states: Tensor
    previous_action: Tensor
    age: Tensor
    moving: Tensor
    num_moves: Tensor

    def __init__(self, spaces: Spaces, options: BYOLExploreOptions) -> None:
        super().__init__(spaces, options)
        self.target = copy.deepcopy(self.encoder).requires_grad_(False)
        self.target.moments = self.encoder.moments
        num_actions, size = spaces.action_features.size, options.memory_size
        self.closed_loop = Memory("gru", options.feature_dim + num_actions, size)
        self.open_loop = Memory("gru", num_actions, size)
        self.predictor = nn.Sequential(
            linear_stack(size, [options.model_size], nn.ReLU),
            orthogonal_init(nn.Linear(options.model_size, options.feature_dim), 1.0),
        )
        self.register_rows("closed_state", torch.zeros(size))
        self.register_rows("open_states", torch.zeros(options.horizon, size))
        self.register_rows("previous_action", torch.zeros(num_actions))
        self.register_rows("age", torch.zeros((), dtype=torch.int64))
        self.register_buffer("moving", torch.zeros(3, dtype=torch.float64))
        self.register_buffer("num_moves", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def compute(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """The sums ``[T, N]``, 0 on reset steps, and what `terms` starts from and aims at.

        Features, all ``[T * N, ...]``: ``closed`` b_{t-1} and ``previous_action`` a_{t-1} (zeros where an episode
        begins), ``target`` the normalised target features of ``obs_{t+1}``.
        """
        num_envs, device = rollout.num_envs, rollout.frames.device
        self.fit_rows(num_envs, device)
        phi = self.encode(rollout).unflatten(0, (-1, num_envs))
        target = F.normalize(encode_rollout(self.target, rollout)[num_envs:], dim=1)
        actions = self._actions(rollout).unflatten(0, (-1, num_envs))
        starts = rollout.is_first.any(dim=1).tolist()
        closed, previous, r_t = [], [], []
        for t, target_tp1 in enumerate(target.unflatten(0, (-1, num_envs))):
            if starts[t]:
                self.renew_rows(rollout.is_first[t])
            closed.append(self.closed_state)
            previous.append(self.previous_action)
            r_t.append(self._advance(phi[t], actions[t], target_tp1, min(self.options.horizon, rollout.num_steps)))
        features = {"closed": torch.cat(closed), "previous_action": torch.cat(previous), "target": target}
        return rollout.per_step(torch.stack(r_t)), features

    def _advance(self, phi_t: Tensor, action_t: Tensor, target_tp1: Tensor, reach: int) -> Tensor:
        """Moves all rows one step on; the summed errors ``[N]`` of the predictions of ``obs_{t+1}``.

        ``reach``: steps ahead that are paid for, since no loss of a rollout reaches farther than the rollout.
        """
        horizon = self.options.horizon
        self.closed_state = self.closed_loop.step(torch.cat([phi_t, self.previous_action], dim=1), self.closed_state)
        begun = torch.cat([self.closed_state[:, None], self.open_states[:, :-1]], dim=1)
        inputs = action_t[:, None].expand(-1, horizon, -1)
        self.open_states = self.open_loop.step(inputs.flatten(0, 1), begun.flatten(0, 1)).view_as(begun)
        self.previous_action = action_t.clone()  # rows are renewed in place
        self.age = (self.age + 1).clamp(max=horizon)
        predicted = F.normalize(self.predictor(self.open_states), dim=2)
        error = 2.0 - 2.0 * (predicted * target_tp1[:, None]).sum(dim=2)
        own = torch.arange(horizon, device=error.device) < self.age.clamp(max=reach)[:, None]
        return (error * own).sum(dim=1)

    def terms(
        self, rollout: Rollout, features: dict[str, Tensor], index: Tensor, generator: torch.Generator
    ) -> LossTerms:
        """``byol_explore_loss``: for every start t the mean of ``l_{t,k}`` over the k that its episode and the rollout
        reach. The targets are those of `compute`.
        """
        num_envs, device = rollout.num_envs, rollout.frames.device
        actions, valid_steps = self._actions(rollout), rollout.valid.flatten()
        state = self._closed_states(rollout, features, index)
        reached = torch.ones_like(index, dtype=torch.bool)
        errors, counts = torch.zeros(len(index), device=device), torch.zeros(len(index), device=device)
        for k in range(self.options.horizon):
            step = index + k * num_envs
            inside = step < len(actions)
            step = torch.where(inside, step, index)
            reached = reached & inside & valid_steps[step]
            state = self.open_loop.step(actions[step], state)
            predicted = F.normalize(self.predictor(state), dim=1)
            error = 2.0 - 2.0 * (predicted * features["target"][step]).sum(dim=1)
            errors, counts = errors + error * reached, counts + reached
        return {"byol_explore_loss": ((errors / counts.clamp(min=1.0)).sum(), count_samples(index))}

    def _closed_states(self, rollout: Rollout, features: dict[str, Tensor], index: Tensor) -> Tensor:
        """``b_t [B, H]``, with a gradient through the last ``bptt_steps`` steps or as many as the rollout has."""
        num_envs, is_first = rollout.num_envs, rollout.is_first.flatten()
        back = self.options.bptt_steps - 1
        begin = torch.where(index >= back * num_envs, index - back * num_envs, index % num_envs)
        state = features["closed"][begin]
        for j in range(back, -1, -1):
            step = index - j * num_envs
            exists = step >= 0
            step = torch.where(exists, step, index)
            phi = encode(self.encoder, rollout, step)
            before = state.masked_fill(is_first[step][:, None], 0.0)
            after = self.closed_loop.step(torch.cat([phi, features["previous_action"][step]], dim=1), before)
            state = torch.where(exists[:, None], after, state)
        return state

    def _actions(self, rollout: Rollout) -> Tensor:
        return self.spaces.action_features(rollout.action.flatten(0, 1))

    @torch.no_grad()
    def after_update(self, backbone: Backbone) -> None:
        """Moves the target towards the encoder: ``target <- tau target + (1 - tau) encoder``."""
        move_average(self.target.parameters(), self.encoder.parameters(), self.options.tau)

    @torch.no_grad()
    def normalize(self, r_t: Tensor, valid: Tensor, update: bool = True) -> Tensor:
        """``lambda max(r / sigma - mu, 0)`` in place of RND's scale (which is still tracked), sigma the moving standard
        deviation of rewards and mu the moving mean of ``r / sigma``; then the clip of the options.

        As the options say: sigma is 1 without ``normalize_reward``, nothing is subtracted without ``prioritize``.
        """
        r_t = torch.where(valid, r_t, torch.zeros_like(r_t))
        if update:
            self.reward_filter.update(r_t, valid)
            self._update_moving(r_t, valid)
        sigma, mu = self._scale_and_mean()
        scaled = r_t.double() / sigma  # where rewards hardly differ, r / sigma is far larger than what is above mu
        if self.options.prioritize:
            scaled = (scaled - mu).clamp(min=0.0)
        scaled = self.options.reward_scale * scaled
        if self.options.clip_reward is not None:
            scaled = scaled.clamp(max=self.options.clip_reward)
        return torch.where(valid, scaled, 0.0).to(r_t.dtype)

    def _update_moving(self, r_t: Tensor, valid: Tensor) -> None:
        r = r_t.double()
        total, square, count = all_reduce_sum(torch.stack([r.sum(), r.square().sum(), valid.sum().double()]))
        if count == 0:
            return
        decay, mean = self.options.reward_decay, total / count
        self.num_moves += 1
        self.moving[:2] = decay * self.moving[:2] + (1 - decay) * torch.stack([mean, square / count])
        self.moving[2] = decay * self.moving[2] + (1 - decay) * mean / self._scale_and_mean()[0]

    def _scale_and_mean(self) -> tuple[Tensor, Tensor]:
        """sigma and mu, corrected for the zeros that moving means begin with; 1 and 0 before the first rollout."""
        if self.num_moves == 0:
            return torch.ones_like(self.moving[0]), torch.zeros_like(self.moving[0])
        # As a Python number: a tensor of integers would make the power a float32.
        mean, square, mu = self.moving / (1.0 - self.options.reward_decay ** int(self.num_moves))
        sigma = ((square - mean.square()).clamp(min=0.0) + _EPSILON).sqrt()
        return (sigma if self.options.normalize_reward else torch.ones_like(sigma)), mu
