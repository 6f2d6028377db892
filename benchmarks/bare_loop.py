"""Contender: the fastest loop without any framework that we can write, as the yardstick of the package.

The same networks, environment and arithmetic as the package with the paper's settings, in one process, one thread
pool, one file: channels-last convolutions, single uint8 frames, target features once per rollout, predictor on kept
samples only, micro-batches, an allocator that keeps freed memory. No other learners, plug-ins, metrics, checks,
checkpoints: what the package adds to this is its overhead.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness import arguments, serve
from rllib_rnd.envs import make_vector_env
from rllib_rnd.training.allocator import keep_freed_memory

T, K, EPOCHS, MINIBATCHES = 128, 4, 4, 4
MICRO_BATCH = 1024
GAMMA_EXT, GAMMA_INT, LAMBDA = 0.999, 0.99, 0.95


def convolutions(channels: int, activation: type[nn.Module]) -> list[nn.Module]:
    """The three convolutions of the Nature network."""
    return [
        nn.Conv2d(channels, 32, 8, 4),
        activation(),
        nn.Conv2d(32, 64, 4, 2),
        activation(),
        nn.Conv2d(64, 64, 3, 1),
        activation(),
        nn.Flatten(),
    ]


class Policy(nn.Module):
    """Trunk, policy head and two critics with the package's sizes."""

    def __init__(self, num_actions: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            *convolutions(K, nn.ReLU), nn.Linear(3136, 256), nn.ReLU(), nn.Linear(256, 448), nn.ReLU()
        )
        self.actor = nn.Sequential(nn.Linear(448, 448), nn.ReLU(), nn.Linear(448, num_actions))
        self.extra, self.values = nn.Linear(448, 448), nn.Linear(448, 2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, K, 84, 84]`` in 0..1 -> logits ``[B, A]``, values ``[B, 2]``."""
        x = self.trunk(image)
        return self.actor(x), self.values(x + torch.relu(self.extra(x)))


def target_network() -> nn.Sequential:
    """RND's frozen network: one normalised frame -> 512 features."""
    return nn.Sequential(*convolutions(1, nn.LeakyReLU), nn.Linear(3136, 512))


def predictor_network() -> nn.Sequential:
    """RND's trained network."""
    return nn.Sequential(
        *convolutions(1, nn.LeakyReLU),
        nn.Linear(3136, 512),
        nn.ReLU(),
        nn.Linear(512, 512),
        nn.ReLU(),
        nn.Linear(512, 512),
    )


def gae(reward: Tensor, value: Tensor, done: Tensor, gamma: float, episodic: bool) -> Tensor:
    """Advantages ``[T, N]``; ``done [T, N]`` cuts only the episodic stream."""
    advantage, running = torch.empty_like(reward), torch.zeros_like(reward[0])
    for t in reversed(range(len(reward))):
        goes_on = 1.0 - done[t] if episodic else torch.ones_like(done[t])
        delta = reward[t] + gamma * value[t + 1] * goes_on - value[t]
        running = delta + gamma * LAMBDA * goes_on * running
        advantage[t] = running
    return advantage


class Moments:
    """Running mean and variance."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.mean, self.var, self.count = torch.zeros(shape), torch.ones(shape), 1e-4

    def update(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Merges the moments of a batch (Chan et al.)."""
        delta, total = mean - self.mean, self.count + count
        self.mean = self.mean + delta * (count / total)
        self.var = (self.var * self.count + var * count + delta**2 * (self.count * count / total)) / total
        self.count = total


class BareLoop:
    """Sampling and learning with nothing between them."""

    def __init__(self, env: str, num_envs: int, proportion: float) -> None:
        self.n, self.proportion = num_envs, proportion
        self.env = make_vector_env(env, num_envs)
        self.obs = self.env.reset(seed=0)[0]
        self.reset_step = np.ones(num_envs, dtype=bool)
        memory: Any = {"memory_format": torch.channels_last}
        self.policy = Policy(int(self.env.single_action_space.n)).to(**memory)  # type: ignore[attr-defined]
        self.target, self.predictor = target_network().to(**memory), predictor_network().to(**memory)
        self.target.requires_grad_(False)
        self.optimizer = torch.optim.Adam([*self.policy.parameters(), *self.predictor.parameters()], 1e-4, fused=True)
        self.pixels, self.returns = Moments((84, 84)), Moments(())
        self.carry = torch.zeros(num_envs)

    def image(self, stack: Tensor) -> Tensor:
        """uint8 stacks -> floats in the layout that convolutions want."""
        return stack.to(torch.float32, memory_format=torch.channels_last).div_(255.0)

    def normal(self, frame: Tensor) -> Tensor:
        """uint8 frames ``[B, 84, 84]`` -> ``[B, 1, 84, 84]`` normalised and clipped."""
        x = (frame.float() - self.pixels.mean) * (1.0 / (self.pixels.var.sqrt() + 1e-8))
        return x.clamp_(-5.0, 5.0).unsqueeze(1)

    @torch.inference_mode()
    def sample(self) -> dict[str, Tensor]:
        """T steps of every environment."""
        n = self.n
        frames = np.empty((T + K, n, 84, 84), np.uint8)
        first, done = np.empty((T + 1, n), bool), np.empty((T, n), np.float32)
        reward = np.empty((T, n), np.float32)
        action, logp, value = torch.empty(T, n, dtype=torch.long), torch.empty(T, n), torch.empty(T + 1, n, 2)
        frames[:K] = np.swapaxes(self.obs, 0, 1)
        for t in range(T):
            first[t] = self.reset_step
            logits, value[t] = self.policy(self.image(torch.from_numpy(self.obs)))
            log_probs = torch.log_softmax(logits, 1)
            chosen = torch.multinomial(log_probs.exp(), 1)
            action[t], logp[t] = chosen[:, 0], log_probs.gather(1, chosen)[:, 0]
            self.obs, reward[t], terminated, truncated, _ = self.env.step(action[t].numpy())
            self.reset_step = done[t - 1].astype(bool) if t else self.reset_step & False
            done[t] = terminated | truncated
            frames[t + K] = self.obs[:, -1]
        first[T] = self.reset_step
        value[T] = self.policy(self.image(torch.from_numpy(self.obs)))[1]
        arrays = {"frames": frames, "first": first, "done": done, "reward": np.sign(reward)}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return {**tensors, "action": action, "logp": logp, "value": value}

    @torch.no_grad()
    def prepare(self, data: dict[str, Tensor]) -> None:
        """Intrinsic rewards, statistics, both advantages."""
        newest = data["frames"][K:].flatten(0, 1)
        features, error = torch.empty(T * self.n, 512), torch.empty(T * self.n)
        for i in range(0, T * self.n, 1024):
            x = self.normal(newest[i : i + 1024])
            features[i : i + 1024] = self.target(x)
            error[i : i + 1024] = (self.predictor(x) - features[i : i + 1024]).square().mean(1)
        bonus = error.reshape(T, self.n)
        discounted = torch.empty_like(bonus)
        for t in range(T):
            self.carry = self.carry * GAMMA_INT + bonus[t]
            discounted[t] = self.carry
        self.returns.update(discounted.mean(), discounted.var(), discounted.numel())
        bonus = bonus / self.returns.var.sqrt()
        value = data["value"]
        extrinsic = gae(data["reward"], value[..., 0], data["done"], GAMMA_EXT, True)
        intrinsic = gae(bonus, value[..., 1], data["done"], GAMMA_INT, False)
        data["target"] = (torch.stack([extrinsic, intrinsic], -1) + value[:-1]).flatten(0, 1)
        data["advantage"], data["features"] = (2.0 * extrinsic + intrinsic).flatten(), features

    def learn(self, data: dict[str, Tensor]) -> None:
        """All epochs and minibatches, then the statistics of the pixels."""
        n, frames = self.n, data["frames"]
        begun = torch.where(data["first"], torch.arange(T + 1)[:, None] + K - 1, 0).cummax(0).values
        for _ in range(EPOCHS):
            for index in torch.randperm(T * n).chunk(MINIBATCHES):
                self.optimizer.zero_grad(set_to_none=True)
                for micro in index.split(MICRO_BATCH):
                    self.policy_loss(data, begun, micro, len(index)).backward()
                kept = index[torch.rand(len(index)) < self.proportion]
                newest = frames[kept // n + K, kept % n]
                (self.predictor(self.normal(newest)) - data["features"][kept]).square().mean().backward()
                self.optimizer.step()
        with torch.no_grad():
            newest = frames[K:].flatten(0, 1)
            for part in newest.split(1024):
                x = part.float()
                self.pixels.update(x.mean(0), x.var(0, correction=0), len(x))

    def policy_loss(self, data: dict[str, Tensor], begun: Tensor, index: Tensor, count: int) -> Tensor:
        """The share of ``index`` in the PPO loss of a minibatch of ``count`` samples."""
        n = self.n
        t, env = index // n, index % n
        wanted = torch.maximum(t[:, None] + torch.arange(K), begun[t, env][:, None])
        stack = torch.empty((len(index), 84, 84, K), dtype=torch.uint8)
        for k in range(K):
            stack[..., k] = data["frames"][wanted[:, k], env]
        logits, values = self.policy(self.image(stack.movedim(-1, 1)))
        log_probs = torch.log_softmax(logits, 1)
        logp = log_probs.gather(1, data["action"].flatten()[index][:, None])[:, 0]
        ratio = (logp - data["logp"].flatten()[index]).exp()
        advantage = data["advantage"][index]
        surrogate = -torch.min(ratio * advantage, ratio.clamp(0.9, 1.1) * advantage).sum()
        value_loss = 0.5 * (values - data["target"][index]).square().sum()
        entropy = -(log_probs.exp() * log_probs).sum()
        return (surrogate + value_loss - 0.001 * entropy) / count

    def iterate(self) -> dict[str, float]:
        """One iteration."""
        started = time.perf_counter()
        data = self.sample()
        sampled = time.perf_counter()
        self.prepare(data)
        self.learn(data)
        now = time.perf_counter()
        return {"agent_steps": float(T * self.n), "sample_s": sampled - started, "learn_s": now - sampled}


if __name__ == "__main__":
    args = arguments(__doc__, env="ALE/MontezumaRevenge-v5", envs=32, proportion=0.25, threads=0, plain_allocator=False)
    if not args.plain_allocator:
        keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    serve(BareLoop(args.env, args.envs, args.proportion).iterate)
