"""Action distributions: densities and entropies by hand and against torch's own, and what is drawn."""

from __future__ import annotations

import math

import pytest
import torch

from rllib_rnd.functional.distributions import Categorical, DiagonalGaussian, MultiCategorical


def test_categorical_by_hand() -> None:
    inputs = torch.tensor([[0.0, math.log(3.0)]])  # probabilities 1/4 and 3/4
    logp, entropy = Categorical(2).logp_and_entropy(inputs, torch.tensor([1]))
    assert float(logp) == pytest.approx(math.log(0.75))
    assert float(entropy) == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75))
    assert Categorical(2).mode(inputs).tolist() == [1]


def test_categorical_draws_in_proportion_and_reports_its_own_log_probability() -> None:
    inputs = torch.log(torch.tensor([[0.1, 0.6, 0.3]])).expand(20_000, 3)
    action, logp = Categorical(3).sample(inputs, torch.Generator().manual_seed(0))
    shares = torch.bincount(action, minlength=3) / len(action)
    torch.testing.assert_close(shares, torch.tensor([0.1, 0.6, 0.3]), atol=0.015, rtol=0.0)
    torch.testing.assert_close(logp, Categorical(3).logp_and_entropy(inputs, action)[0])


def test_several_choices_agree_with_torch_and_are_a_product_of_their_own() -> None:
    sizes, generator = [2, 5, 1, 3], torch.Generator().manual_seed(3)
    inputs = torch.randn(7, 11, generator=generator, requires_grad=True)
    choices = MultiCategorical(sizes)
    action, logp = choices.sample(inputs, generator)
    parts = [torch.distributions.Categorical(logits=part) for part in inputs.split(sizes, dim=1)]
    torch.testing.assert_close(logp, torch.stack([p.log_prob(action[:, i]) for i, p in enumerate(parts)]).sum(0))
    again, entropy = choices.logp_and_entropy(inputs, action)
    torch.testing.assert_close(again, logp)
    torch.testing.assert_close(entropy, torch.stack([part.entropy() for part in parts]).sum(0))
    modes = torch.stack([part.logits.argmax(dim=1) for part in parts], dim=1)
    assert torch.equal(choices.mode(inputs), modes)
    # Choices that do not exist leave no trace in the gradient.
    (ours,) = torch.autograd.grad((again + entropy).sum(), inputs)
    theirs = sum(p.log_prob(action[:, i]).sum() + p.entropy().sum() for i, p in enumerate(parts))
    torch.testing.assert_close(ours, torch.autograd.grad(theirs, inputs)[0])


def test_choices_that_do_not_exist_are_never_taken_whatever_the_logits() -> None:
    inputs = torch.full((500, 5), -1e12)
    choices = MultiCategorical([3, 2])
    action, _ = choices.sample(inputs, torch.Generator().manual_seed(0))
    assert action.max(dim=0).values.tolist() == [2, 1] and int(choices.mode(inputs)[:, 1].max()) <= 1
    logp, entropy = choices.logp_and_entropy(inputs, action)
    torch.testing.assert_close(logp, torch.full((500,), -math.log(6.0)))
    torch.testing.assert_close(entropy, torch.full((500,), math.log(6.0)))


def test_several_choices_are_drawn_in_proportion() -> None:
    inputs = torch.log(torch.tensor([[0.1, 0.6, 0.3, 0.8, 0.2]])).expand(20_000, 5)
    action, _ = MultiCategorical([3, 2]).sample(inputs, torch.Generator().manual_seed(0))
    shares = torch.stack([torch.bincount(column, minlength=3) for column in action.T]) / len(action)
    torch.testing.assert_close(shares, torch.tensor([[0.1, 0.6, 0.3], [0.8, 0.2, 0.0]]), atol=0.015, rtol=0.0)


def test_gaussian_by_hand() -> None:
    """Mean 1, standard deviation 2, action 3: one deviation away."""
    inputs = torch.tensor([[1.0, math.log(2.0)]])
    logp, entropy = DiagonalGaussian(1).logp_and_entropy(inputs, torch.tensor([[3.0]]))
    assert float(logp) == pytest.approx(-0.5 - math.log(2.0) - 0.5 * math.log(2 * math.pi))
    assert float(entropy) == pytest.approx(math.log(2.0) + 0.5 * math.log(2 * math.pi * math.e))
    assert float(DiagonalGaussian(1).mode(inputs)) == 1.0


def test_gaussian_agrees_with_torch_in_several_dimensions() -> None:
    generator = torch.Generator().manual_seed(1)
    inputs, action = torch.randn(6, 8, generator=generator), torch.randn(6, 4, generator=generator)
    mean, log_std = inputs.chunk(2, dim=1)
    reference = torch.distributions.Independent(torch.distributions.Normal(mean, log_std.exp()), 1)
    logp, entropy = DiagonalGaussian(4).logp_and_entropy(inputs, action)
    torch.testing.assert_close(logp, reference.log_prob(action))
    torch.testing.assert_close(entropy, reference.entropy())


def test_gaussian_draws_have_its_mean_and_deviation() -> None:
    inputs = torch.tensor([[0.5, -2.0, 0.0, math.log(3.0)]]).expand(40_000, 4)
    action, logp = DiagonalGaussian(2).sample(inputs, torch.Generator().manual_seed(2))
    torch.testing.assert_close(action.mean(0), torch.tensor([0.5, -2.0]), atol=0.05, rtol=0.0)
    torch.testing.assert_close(action.std(0), torch.tensor([1.0, 3.0]), atol=0.05, rtol=0.0)
    torch.testing.assert_close(logp, DiagonalGaussian(2).logp_and_entropy(inputs, action)[0])


def test_actions_of_a_wrong_shape_are_errors() -> None:
    with pytest.raises(ValueError, match="action"):
        Categorical(2).logp_and_entropy(torch.zeros(3, 2), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="action"):
        MultiCategorical([2, 2]).logp_and_entropy(torch.zeros(3, 4), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="action"):
        DiagonalGaussian(2).logp_and_entropy(torch.zeros(3, 4), torch.zeros(3, 1))
