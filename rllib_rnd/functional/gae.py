"""Generalized advantage estimation for several value streams at once, some of them blind to episode ends."""

from __future__ import annotations

import torch

from rllib_rnd.functional.shapes import check_shape


def generalized_advantage_estimation(
    r_t: torch.Tensor,
    v_t: torch.Tensor,
    terminated_t: torch.Tensor,
    truncated_t: torch.Tensor,
    reset_step_t: torch.Tensor,
    gamma: torch.Tensor,
    lambda_: float,
    episodic: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Computes GAE(lambda) advantages and value targets for S streams of T steps in N environments.

    ``A_t = delta_t + gamma lambda A_{t+1}`` with ``delta_t = r_t + gamma v_{t+1} - v_t``: equations 11-16 of
    Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation"
    (arXiv:1506.02438). Streams that ignore episode ends: Burda et al. 2018, "Exploration by Random Network
    Distillation" (arXiv:1810.12894), section 2.3.

    Environments reset in the NEXT_STEP manner. After an episode ends at step t, ``v_{t+1}`` belongs to the
    true last observation, step t + 1 is a reset step (no sample) and ``v_{t+2}`` belongs to the reset
    observation.

    - Episodic stream: nothing is carried over an episode's end; after termination the next value is 0, after
      truncation it is ``v_{t+1}``.
    - Non-episodic stream: an episode's end is an ordinary transition into the next episode, so the step after
      it is t + 2: its advantage and its value are carried through the reset step undiscounted. If the rollout
      ends at t, ``v_T`` (the last observation of the episode) is the bootstrap.

    Args:
        r_t: ``[T, N, S]`` rewards.
        v_t: ``[T + 1, N, S]`` values of ``obs_0 .. obs_T``.
        terminated_t: ``[T, N]`` bool, the episode ended by the task.
        truncated_t: ``[T, N]`` bool, the episode was cut by a limit.
        reset_step_t: ``[T, N]`` bool, the step's action was ignored by a resetting environment.
        gamma: ``[S]`` discount of each stream.
        lambda_: the GAE parameter, 0 (one-step error) to 1 (Monte Carlo).
        episodic: ``[S]`` bool, the stream respects episode ends.

    Returns:
        advantage_t ``[T, N, S]`` and value_target_t ``[T, N, S]`` (advantage + value). Reset steps hold
        advantage 0 and their own value as the target; they are to be masked.

    Raises:
        ValueError: shapes that do not fit.
    """
    check_shape("r_t", r_t, (None, None, None))
    num_steps, num_envs, num_streams = r_t.shape
    check_shape("v_t", v_t, (num_steps + 1, num_envs, num_streams))
    for name, flag in (
        ("terminated_t", terminated_t),
        ("truncated_t", truncated_t),
        ("reset_step_t", reset_step_t),
    ):
        check_shape(name, flag, (num_steps, num_envs))
    check_shape("gamma", gamma, (num_streams,))
    check_shape("episodic", episodic, (num_streams,))

    terminated = terminated_t.bool().unsqueeze(-1)
    done = terminated | truncated_t.bool().unsqueeze(-1)
    reset = reset_step_t.bool().unsqueeze(-1)
    discount = gamma * (~(terminated & episodic)).to(r_t.dtype)
    decay = lambda_ * gamma * (~(done & episodic)).to(r_t.dtype)
    pass_through = reset & ~episodic

    advantage_t = torch.zeros_like(r_t)
    carry = torch.zeros_like(r_t[0])
    next_value = v_t[num_steps]
    for t in reversed(range(num_steps)):
        advantage = r_t[t] + discount[t] * next_value - v_t[t] + decay[t] * carry
        advantage = torch.where(reset[t], torch.zeros_like(advantage), advantage)
        advantage_t[t] = advantage
        carry = torch.where(pass_through[t], carry, advantage)
        next_value = torch.where(pass_through[t], next_value, v_t[t])
    return advantage_t, advantage_t + v_t[:-1]
