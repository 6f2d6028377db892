"""The unrolled GRU against torch's cell, step by step: outputs, the last state, and every gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rllib_rnd.functional.gru import gru_sequence


def inputs(steps: int, num: int, size: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """What the input gives, the first state, weight and bias, all with gradient."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((steps, num, 3 * size), (num, size), (3 * size, size), (3 * size,))
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def by_cell(from_input: Tensor, state: Tensor, is_first: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The same by torch's own cell, whose input weights are the identity."""
    outputs = []
    identity, nothing = torch.eye(weight.shape[0], dtype=weight.dtype), torch.zeros_like(bias)
    for x, first in zip(from_input, is_first, strict=True):
        state = torch.gru_cell(x, state.masked_fill(first[:, None], 0.0), identity, weight, nothing, bias)
        outputs.append(state)
    return torch.stack(outputs), state


@pytest.mark.parametrize("first", ["nowhere", "somewhere", "at the beginning", "at the end", "everywhere"])
@pytest.mark.parametrize(("steps", "num", "size"), [(1, 1, 1), (5, 3, 4), (2, 7, 2)])
def test_outputs_and_gradients_are_those_of_the_cell(first: str, steps: int, num: int, size: int) -> None:
    given = inputs(steps, num, size)
    is_first = torch.zeros((steps, num), dtype=torch.bool)
    if first == "somewhere":
        is_first[steps // 2, num // 2] = is_first[-1, 0] = True
    elif first != "nowhere":
        is_first[{"at the beginning": 0, "at the end": -1}.get(first, slice(None))] = True
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn((steps, num, size), generator=generator, dtype=torch.float64)
    last = torch.randn((num, size), generator=generator, dtype=torch.float64)
    results = []
    for run in (gru_sequence, by_cell):
        outputs, state = run(given[0], given[1], is_first, given[2], given[3])
        gradients = torch.autograd.grad((outputs * weights).sum() + (state * last).sum(), given)
        results.append((outputs, state, *gradients))
    torch.testing.assert_close(*results)


def test_gradients_are_those_of_differences() -> None:
    is_first = torch.tensor([[False, True], [False, False], [True, False]])
    given = inputs(3, 2, 2)
    function = lambda x, h, w, b: gru_sequence(x, h, is_first, w, b)  # noqa: E731
    assert torch.autograd.gradcheck(function, given)


def test_weights_of_a_cell_fit_and_single_precision_is_close() -> None:
    torch.manual_seed(0)
    cell, x, state = nn.GRUCell(5, 4), torch.randn(6, 3, 5), torch.randn(3, 4)
    is_first = torch.zeros((6, 3), dtype=torch.bool)
    outputs, last = gru_sequence(
        nn.functional.linear(x, cell.weight_ih, cell.bias_ih), state, is_first, cell.weight_hh, cell.bias_hh
    )
    for t in range(6):
        state = cell(x[t], state)
        torch.testing.assert_close(outputs[t], state)
    assert torch.equal(last, outputs[-1])


def test_what_was_remembered_before_an_episode_does_not_matter_even_if_it_is_no_number() -> None:
    x, state, weight, bias = inputs(3, 2, 2)
    is_first = torch.tensor([[True, False], [False, False], [False, False]])
    broken = state.detach().clone()
    broken[0] = torch.nan
    outputs, _ = gru_sequence(x, broken, is_first, weight, bias)
    assert torch.equal(outputs, gru_sequence(x, state, is_first, weight, bias)[0])


@pytest.mark.parametrize("which", range(4))
def test_shapes_are_checked(which: int) -> None:
    given = inputs(2, 3, 4)
    given[which] = given[which][..., :-1]
    names = ("from_input", "state", "weight|from_input", "bias")
    with pytest.raises(ValueError, match=names[which]):
        gru_sequence(given[0], given[1], torch.zeros((2, 3), dtype=torch.bool), given[2], given[3])
