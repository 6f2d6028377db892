"""Heads over a backbone's three features: one policy, and one value per return stream.

The lines of work differ in what stands between features and outputs. Each backbone names its own arrangement
(`HeadStyle`), and ``heads: {...}`` in the configuration changes single parts of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from rllib_rnd.modules.layers import orthogonal_init
from rllib_rnd.options import option, parse_options

#: What stands before the output layer, x being the features and h = FC(x): x itself; h; relu(h); tanh(h);
#: x + relu(h); h + relu(h).
Hidden = Literal["none", "linear", "relu", "tanh", "residual", "relu_sum"]
HIDDEN: tuple[str, ...] = get_args(Hidden)


@dataclass(frozen=True)
class HeadStyle:
    """How policy and critics read the features. Defaults: the PyTorch lineage of RND.

    Attributes:
        policy_hidden: hidden layer of the policy.
        policy_hidden_size: its width, None for the width of the features; not with "none" and "residual".
        policy_hidden_gain: gain of its orthogonal initialisation.
        policy_gain: gain of the output layer (logits or means).
        critic_hidden: hidden layer shared by all value streams.
        critic_hidden_size: its width, likewise.
        critic_hidden_gain: its gain.
        critic_gain: gain of the value outputs.
    """

    policy_hidden: str = "relu"
    policy_hidden_size: int | None = None
    policy_hidden_gain: float = 0.01
    policy_gain: float = 0.01
    critic_hidden: str = "residual"
    critic_hidden_size: int | None = None
    critic_hidden_gain: float = 0.1
    critic_gain: float = 0.01


@dataclass(frozen=True)
class HeadOptions:
    """Options of ``heads``; what is null stays as the backbone has it."""

    policy_hidden: str | None = option(
        None, "layer before the policy's output: h = FC(x) as relu(h), x + relu(h), ...", choices=(None, *HIDDEN)
    )
    policy_hidden_size: int | None = option(None, "its width", low=1)
    policy_hidden_gain: float | None = option(None, "gain of its orthogonal initialisation", low=0.0)
    policy_gain: float | None = option(None, "gain of the policy's output layer", low=0.0)
    critic_hidden: str | None = option(
        None, "layer shared by all value streams, before their outputs", choices=(None, *HIDDEN)
    )
    critic_hidden_size: int | None = option(None, "its width", low=1)
    critic_hidden_gain: float | None = option(None, "gain of its orthogonal initialisation", low=0.0)
    critic_gain: float | None = option(None, "gain of the value outputs", low=0.0)


def head_style(own: HeadStyle, changes: Mapping[str, Any]) -> HeadStyle:
    """A backbone's own style with the changes of the configuration.

    Raises:
        ConfigError: an unknown key, or a value out of range.
    """
    options = parse_options(HeadOptions, changes)
    given = {name: value for name, value in vars(options).items() if value is not None}
    return dataclasses.replace(own, **given)


class HiddenLayer(nn.Module):
    """One of the arrangements of `Hidden`.

    Args:
        kind: which.
        in_features: D, width of the features.
        size: width of the layer, None for D; ignored by "none" and "residual", whose output is as wide as x.
        gain: of the orthogonal initialisation.

    Attributes:
        out_features: width of the output.
    """

    def __init__(self, kind: str, in_features: int, size: int | None, gain: float) -> None:
        super().__init__()
        self.kind = kind
        self.out_features = in_features if size is None or kind in ("none", "residual") else size
        if kind != "none":
            self.fc = orthogonal_init(nn.Linear(in_features, self.out_features), gain)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, D]`` -> ``[B, out_features]``."""
        if self.kind == "none":
            return x
        h = self.fc(x)
        if self.kind == "linear":
            return h
        if self.kind == "tanh":
            return torch.tanh(h)
        relu = torch.relu(h)
        if self.kind == "relu":
            return relu
        return relu + (x if self.kind == "residual" else h)


class PolicyHead(nn.Sequential):
    """Features ``[B, D]`` -> logits, or means of continuous actions, ``[B, num_outputs]``."""

    def __init__(self, feature_dim: int, num_outputs: int, style: HeadStyle) -> None:
        hidden = HiddenLayer(style.policy_hidden, feature_dim, style.policy_hidden_size, style.policy_hidden_gain)
        super().__init__(hidden, orthogonal_init(nn.Linear(hidden.out_features, num_outputs), style.policy_gain))


class Critics(nn.Module):
    """Value heads of S return streams over one shared hidden layer.

    The layer is applied to the extrinsic and to the intrinsic features separately, so that a backbone with two
    different read-outs (explorative attention) keeps them apart; when both are one tensor it is applied once.
    """

    def __init__(self, feature_dim: int, num_streams: int, style: HeadStyle) -> None:
        super().__init__()
        self.hidden = HiddenLayer(style.critic_hidden, feature_dim, style.critic_hidden_size, style.critic_hidden_gain)
        width, gain = self.hidden.out_features, style.critic_gain
        self.extrinsic = orthogonal_init(nn.Linear(width, 1), gain)
        self.intrinsic = nn.ModuleList(orthogonal_init(nn.Linear(width, 1), gain) for _ in range(num_streams - 1))

    def forward(self, extrinsic: Tensor, intrinsic: Tensor) -> Tensor:
        """Maps two ``[B, D]`` features to ``[B, S]`` values, stream 0 extrinsic."""
        hidden_extrinsic = self.hidden(extrinsic)
        values = [self.extrinsic(hidden_extrinsic)]
        if len(self.intrinsic):
            hidden = hidden_extrinsic if intrinsic is extrinsic else self.hidden(intrinsic)
            values += [head(hidden) for head in self.intrinsic]
        return torch.cat(values, dim=1)
