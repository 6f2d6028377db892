"""Gated recurrent units over whole sequences, with the way back written out."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from rllib_rnd.functional.shapes import check_shape


def gru_sequence(
    from_input: Tensor, state: Tensor, is_first: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Runs a gated recurrent unit over L steps of N sequences, in which episodes may begin.

    Cho et al. 2014 (arXiv:1406.1078), eq. 5 to 8, in the form of ``torch.nn.GRUCell``:

    ``r = sigmoid(i_r + W_r h + b_r)``, ``z = sigmoid(i_z + W_z h + b_z)``, ``n = tanh(i_n + r (W_n h + b_n))``,
    ``h' = (1 - z) n + z h``, where h is 0 before a step that begins an episode.

    It equals that cell step by step but for rounding, with fewer calls: what comes from the
    input is one product for all steps, what is not part of the recursion is done once for all steps on the way back,
    and there is one node in the graph instead of a dozen per step.

    Args:
        from_input: ``[L, N, 3 H]``, the input's part of the gates r, z and n, its bias included.
        state: ``[N, H]`` before the first step.
        is_first: ``[L, N]`` bool: forget everything before this step.
        weight: ``[3 H, H]`` W_r, W_z and W_n.
        bias: ``[3 H]`` b_r, b_z and b_n.

    Returns:
        ``[L, N, H]``, h after each step, and the last of them ``[N, H]``. Gradients of a gradient are not supported.

    Raises:
        ValueError: shapes that do not fit.
    """
    size = weight.shape[1]
    check_shape("from_input", from_input, (None, None, 3 * size))
    check_shape("state", state, (from_input.shape[1], size))
    check_shape("is_first", is_first, from_input.shape[:2])
    check_shape("weight", weight, (3 * size, size))
    check_shape("bias", bias, (3 * size,))
    outputs: Tensor = _GRUSequence.apply(from_input, state, is_first, weight, bias)  # type: ignore[no-untyped-call]
    return outputs, outputs[-1]


class _GRUSequence(torch.autograd.Function):
    """`gru_sequence`; every step takes few calls, since at these sizes a call costs as much as its arithmetic."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, from_input: Tensor, state: Tensor, is_first: Tensor, weight: Tensor, bias: Tensor
    ) -> Tensor:
        steps, num, size = len(from_input), len(state), weight.shape[1]
        forgets = is_first.any(dim=1).tolist()
        before = state.new_empty(steps, num, size)  # h as each step reads it
        from_state = state.new_empty(steps, num, 3 * size)
        gates = state.new_empty(steps, num, 2 * size)  # r and z
        new = state.new_empty(steps, num, size)  # n
        outputs = state.new_empty(steps, num, size)
        transposed = weight.T
        for t in range(steps):
            if forgets[t]:
                state = state.masked_fill(is_first[t, :, None], 0.0)
            before[t] = state
            torch.addmm(bias, state, transposed, out=from_state[t])
            torch.add(from_input[t, :, : 2 * size], from_state[t, :, : 2 * size], out=gates[t]).sigmoid_()
            r, z = gates[t, :, :size], gates[t, :, size:]
            torch.addcmul(from_input[t, :, 2 * size :], r, from_state[t, :, 2 * size :], out=new[t]).tanh_()
            state = torch.lerp(new[t], state, z, out=outputs[t])
        ctx.save_for_backward(before, from_state[:, :, 2 * size :], gates, new, is_first, weight)
        ctx.forgets = forgets  # type: ignore[attr-defined]
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, None, Tensor, Tensor]:
        before, linear_n, gates, new, is_first, weight = ctx.saved_tensors  # type: ignore[attr-defined]
        steps, num, size = before.shape
        r, z = gates[:, :, :size], gates[:, :, size:]
        # What the gradient of h' is multiplied by on its way to what stands inside of tanh and both sigmoids.
        to_n = (1.0 - z) * (1.0 - new.square())
        to_r = to_n * linear_n * r * (1.0 - r)
        to_z = (before - new) * z * (1.0 - z)
        factors = torch.stack([to_r, to_z, to_n * r], dim=2)  # [L, N, 3, H], as they reach W h + b
        from_state = torch.empty_like(factors)
        of_outputs = torch.empty_like(before)
        following = torch.zeros_like(before[0])
        for t in range(steps - 1, -1, -1):
            of_output = torch.add(grad[t], following, out=of_outputs[t])
            torch.mul(of_output[:, None], factors[t], out=from_state[t])
            following = torch.addmm(of_output * z[t], from_state[t].view(num, 3 * size), weight)
            if ctx.forgets[t]:  # type: ignore[attr-defined]
                following.masked_fill_(is_first[t, :, None], 0.0)
        flat = from_state.view(steps * num, 3 * size)
        from_input = torch.cat([from_state[:, :, :2].flatten(2), of_outputs * to_n], dim=2)
        return from_input, following, None, flat.T @ before.view(steps * num, size), flat.sum(dim=0)
