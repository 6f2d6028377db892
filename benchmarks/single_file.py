"""Contender: RND as the best-known single-file PyTorch programs do it, for comparison.

The same networks and environment as `bare_loop.py`, with the habits of those programs: stacked frames stored as
float32, channels-first convolutions, one more pass of the policy for values after sampling (two evaluations per
step), target and predictor on every sample of every minibatch with the mask applied afterwards, and the default
allocator.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from benchmarks.bare_loop import (
    EPOCHS,
    GAMMA_EXT,
    GAMMA_INT,
    MINIBATCHES,
    K,
    Moments,
    Policy,
    T,
    gae,
    predictor_network,
    target_network,
)
from benchmarks.harness import arguments, serve
from rllib_rnd.envs import make_vector_env


class SingleFile:
    """The loop of a single-file program."""

    def __init__(self, env: str, num_envs: int, proportion: float) -> None:
        self.n, self.proportion = num_envs, proportion
        self.env = make_vector_env(env, num_envs)
        self.obs = torch.from_numpy(self.env.reset(seed=0)[0]).float()
        self.done = torch.zeros(num_envs)
        self.policy = Policy(int(self.env.single_action_space.n))  # type: ignore[attr-defined]
        self.target, self.predictor = target_network(), predictor_network()
        self.target.requires_grad_(False)
        self.optimizer = torch.optim.Adam([*self.policy.parameters(), *self.predictor.parameters()], 1e-4)
        self.pixels, self.returns = Moments((1, 84, 84)), Moments(())
        self.carry = torch.zeros(num_envs)

    def normal(self, frame: Tensor) -> Tensor:
        """``[B, 1, 84, 84]`` float frames, normalised and clipped."""
        return ((frame - self.pixels.mean) / torch.sqrt(self.pixels.var)).clip(-5, 5).float()

    def iterate(self) -> dict[str, float]:
        """One iteration: sampling with the bonus of each step, advantages, training."""
        started = time.perf_counter()
        n, shape = self.n, (T, self.n)
        obs = torch.zeros((*shape, K, 84, 84))
        actions, logps = torch.zeros(shape, dtype=torch.long), torch.zeros(shape)
        rewards, bonuses, dones = torch.zeros(shape), torch.zeros(shape), torch.zeros(shape)
        values = torch.zeros((T + 1, n, 2))
        for t in range(T):
            obs[t] = self.obs
            with torch.no_grad():
                values[t] = self.policy(obs[t] / 255.0)[1]
                logits, _ = self.policy(obs[t] / 255.0)
                distribution = torch.distributions.Categorical(logits=logits)
                actions[t] = distribution.sample()
                logps[t] = distribution.log_prob(actions[t])
            new, reward, terminated, truncated, _ = self.env.step(actions[t].numpy())
            rewards[t] = torch.from_numpy(np.sign(reward)).float()
            dones[t] = torch.from_numpy((terminated | truncated).astype(np.float32))
            self.obs = torch.from_numpy(new).float()
            with torch.no_grad():
                x = self.normal(self.obs[:, 3:4])
                bonuses[t] = (self.target(x) - self.predictor(x)).pow(2).sum(1) / 2
        with torch.no_grad():
            values[T] = self.policy(self.obs / 255.0)[1]
        sampled = time.perf_counter()
        self.learn(obs, actions, logps, rewards, bonuses, dones, values)
        now = time.perf_counter()
        return {"agent_steps": float(T * n), "sample_s": sampled - started, "learn_s": now - sampled}

    def learn(
        self,
        obs: Tensor,
        actions: Tensor,
        logps: Tensor,
        rewards: Tensor,
        bonuses: Tensor,
        dones: Tensor,
        values: Tensor,
    ) -> None:
        """Scaling, advantages, epochs of minibatches."""
        discounted = torch.empty_like(bonuses)
        for t in range(T):
            self.carry = self.carry * GAMMA_INT + bonuses[t]
            discounted[t] = self.carry
        self.returns.update(discounted.mean(), discounted.var(), discounted.numel())
        bonuses = bonuses / torch.sqrt(self.returns.var)
        extrinsic = gae(rewards, values[..., 0], dones, GAMMA_EXT, True)
        intrinsic = gae(bonuses, values[..., 1], dones, GAMMA_INT, False)
        targets = (torch.stack([extrinsic, intrinsic], -1) + values[:-1]).flatten(0, 1)
        advantages = (2.0 * extrinsic + intrinsic).flatten()
        flat_obs, flat_actions, flat_logps = obs.flatten(0, 1), actions.flatten(), logps.flatten()
        newest = flat_obs[:, 3:4]
        self.pixels.update(newest.mean(0), newest.var(0), len(newest))
        frames = self.normal(newest)
        for _ in range(EPOCHS):
            for index in torch.randperm(len(flat_obs)).chunk(MINIBATCHES):
                predicted, wanted = self.predictor(frames[index]), self.target(frames[index]).detach()
                error = (predicted - wanted).square().mean(-1)
                mask = (torch.rand(len(error)) < self.proportion).float()
                forward_loss = (error * mask).sum() / mask.sum().clamp(min=1.0)
                logits, value = self.policy(flat_obs[index] / 255.0)
                distribution = torch.distributions.Categorical(logits=logits)
                ratio = (distribution.log_prob(flat_actions[index]) - flat_logps[index]).exp()
                advantage = advantages[index]
                policy_loss = torch.max(-advantage * ratio, -advantage * ratio.clamp(0.9, 1.1)).mean()
                value_loss = 0.5 * (value - targets[index]).square().sum(1).mean()
                loss = policy_loss - 0.001 * distribution.entropy().mean() + value_loss + forward_loss
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()


if __name__ == "__main__":
    args = arguments(__doc__, env="ALE/MontezumaRevenge-v5", envs=32, proportion=0.25, threads=0)
    if args.threads:
        torch.set_num_threads(args.threads)
    serve(SingleFile(args.env, args.envs, args.proportion).iterate)
