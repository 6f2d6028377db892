"""The backbone contract: observations in, three feature tensors out, so heads need not know what is below."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from rllib_rnd.errors import ConfigError
from rllib_rnd.modules.heads import HeadStyle
from rllib_rnd.modules.image import ImageInput, image_layout, is_image
from rllib_rnd.modules.observations import box_space
from rllib_rnd.options import Registry
from rllib_rnd.own_code import check_arguments, failures_of, import_path, is_import_path, method_of, name_of


@dataclass(frozen=True)
class BackboneOptions:
    """Options that every backbone has: none so far."""


OptionsT = TypeVar("OptionsT")


class BackboneOutput(NamedTuple):
    """Features for the three heads.

    Attributes:
        policy: ``[B, D]``.
        extrinsic: ``[B, D]`` for the critic of the environment's reward.
        intrinsic: ``[B, D]`` for the critics of intrinsic rewards; often the very same tensor.
        state: ``[N, state_size]``, the next recurrent state; None for stateless backbones.
    """

    policy: Tensor
    extrinsic: Tensor
    intrinsic: Tensor
    state: Tensor | None = None

    @classmethod
    def shared(cls, features: Tensor, state: Tensor | None = None) -> BackboneOutput:
        """One tensor for all three heads."""
        return cls(features, features, features, state)


class Backbone(nn.Module, abc.ABC, Generic[OptionsT]):
    """Base of all backbones: ``class Mine(Backbone[MyOptions])``.

    Subclasses set ``Options`` (their dataclass, the same one), ``feature_dim`` and the two documentation strings, those
    of `BACKBONES` also ``name``, and scale raw observations themselves (by `ImageInput` or `VectorInput`). Without a
    memory they derive from `StatelessBackbone`, or from `ImageBackbone` if they read nothing but images.

    A recurrent backbone also sets ``state_size`` (F) and ``max_seq_len`` (L). It reads sequences: ``obs`` holds L
    steps of N environments in time-major order, ``[L * N, ...]``, ``state [N, F]`` is the memory before the first of
    them, and where ``is_first [L, N]`` the memory is set to zero before that step. Acting is the case L = 1.

    Args:
        observation_space: space of one observation as the policy sees it, frame stack included.
        options: an instance of ``Options``.

    Attributes:
        feature_dim: D, width of the features.
        state_size: F, numbers that the memory of one environment holds; 0 for stateless backbones.
        max_seq_len: L, steps that gradients flow back through; 1 for stateless backbones.
        heads: what stands on the features unless the configuration says otherwise.
        reads_each_once: observations that come again may be handed to it once. What is before a memory depends on the
            observation alone: there is no statistic of a batch, and no draw for each sample. A recurrent one then takes
            ``places [L * N]`` as a fourth argument, the row of ``obs`` that each step sees.
    """

    Options: ClassVar[type[BackboneOptions]] = BackboneOptions
    name: ClassVar[str] = ""
    source: ClassVar[str] = ""
    cost: ClassVar[str] = ""
    heads: HeadStyle = HeadStyle()
    feature_dim: int
    state_size: int = 0
    max_seq_len: int = 1
    reads_each_once: bool = False

    def __init__(self, observation_space: gym.Space, options: OptionsT) -> None:
        super().__init__()
        self.observation_space = box_space(observation_space)
        self.options = options

    @abc.abstractmethod
    def forward(self, obs: Tensor, state: Tensor | None = None, is_first: Tensor | None = None) -> BackboneOutput:
        """Computes features of raw observations.

        Args:
            obs: ``[B, *observation_space.shape]``; recurrent: B = L * N, time-major.
            state: ``[N, state_size]``; None begins with an empty memory. Stateless backbones ignore it.
            is_first: ``[L, N]`` bool; None is a single step, L = 1, that begins no episode.
        """

    def representation(self, obs: Tensor) -> Tensor:
        """What representation losses and feature-based rewards look at: ``[B, ...]``, by default the policy's features.

        Args:
            obs: ``[B, *observation_space.shape]`` raw.
        """
        return self(obs).policy

    def feature_maps(self) -> list[str]:
        """Names of submodules (``get_submodule``) whose outputs analysis may look at."""
        return []

    def attention_weights(
        self, obs: Tensor, state: Tensor | None = None, is_first: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Attention weights by name, for analysis: ``[B, ..., keys]``, sums over keys are 1; empty without attention.

        Args:
            obs, state, is_first: as in ``forward``.
        """
        return {}


class StatelessBackbone(Backbone[OptionsT]):
    """Base of backbones without a memory, which read the observation alone."""

    @abc.abstractmethod
    def features(self, obs: Tensor) -> BackboneOutput:
        """Computes features of raw observations ``[B, *observation_space.shape]``."""

    def forward(self, obs: Tensor, state: Tensor | None = None, is_first: Tensor | None = None) -> BackboneOutput:
        """`features` of the observations; there is no memory that the rest could change."""
        return self.features(obs)

    def attention_of(self, obs: Tensor) -> dict[str, Tensor]:
        """`attention_weights` of raw observations ``[B, *observation_space.shape]``."""
        return {}

    def attention_weights(
        self, obs: Tensor, state: Tensor | None = None, is_first: Tensor | None = None
    ) -> dict[str, Tensor]:
        """`attention_of` the observations."""
        return self.attention_of(obs)


class ImageBackbone(StatelessBackbone[OptionsT]):
    """Base of backbones that read nothing but images: gray stacks ``[K, H, W]``, ``[H, W, C]`` and ``[K, H, W, C]``.

    Attributes:
        image: raw observations -> ``[B, C, H, W]``, and the layout of them.

    Raises:
        ConfigError: the observation is no image.
    """

    def __init__(self, observation_space: gym.Space, options: OptionsT) -> None:
        super().__init__(observation_space, options)
        layout = image_layout(self.observation_space.shape)
        if layout is None:
            raise ConfigError(
                "type",
                f"{self.name or type(self).__name__!r} reads images, the observation has shape "
                f"{self.observation_space.shape}",
                "H x W with channels or a stack",
                "mlp",
            )
        self.image = ImageInput(layout, self.observation_space)


class TorchBackbone(StatelessBackbone[dict[str, Any]]):
    """Any torch module as a stateless backbone: ``cls(observation_space, **options)``, raw ``[B, ...]`` -> ``[B, D]``.

    Args:
        observation_space: space of one observation.
        options: keyword arguments of the class.
        module_class: the class.

    Raises:
        ConfigError: the class raises an error, or does not return ``[B, D]``.
    """

    def __init__(self, observation_space: gym.Space, options: dict[str, Any], module_class: type[nn.Module]) -> None:
        super().__init__(observation_space, options)
        space = self.observation_space
        with failures_of(module_class, "__init__"):
            self.net = module_class(space, **options)
        with failures_of(module_class, "forward"), _evaluating(self.net):
            features = self.net(_zeros(space, 2))
        if not isinstance(features, Tensor) or features.dim() != 2 or len(features) != 2:
            found = f"shape {tuple(features.shape)}" if isinstance(features, Tensor) else type(features).__name__
            raise ConfigError(
                "",
                f"{method_of(module_class, 'forward', with_line=True)} returned {found} for 2 observations "
                f"{space.shape}",
                "one tensor [2, features]: end it with nn.Flatten(), for example",
            )
        self.feature_dim = int(features.shape[1])

    def features(self, obs: Tensor) -> BackboneOutput:
        """``[B, *observation_space.shape]`` raw -> ``[B, feature_dim]``, one tensor for all three heads."""
        return BackboneOutput.shared(self.net(obs))


def representation_shape(backbone: Backbone) -> tuple[int, ...]:
    """Shape of ``backbone.representation`` without the batch axis, found by asking it about zeros."""
    with _evaluating(backbone):
        return tuple(backbone.representation(_zeros(backbone.observation_space, 1)).shape[1:])


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """The module in evaluation mode and without gradients; its mode comes back at the end."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(training)


def _zeros(space: gym.spaces.Box, batch: int) -> Tensor:
    return torch.from_numpy(np.zeros((batch, *space.shape), dtype=space.dtype))


BACKBONES: Registry[Backbone] = Registry("backbone")


def backbone_for_space(observation_space: gym.Space) -> str:
    """Name of the backbone that ``{type: auto}`` stands for: ``nature_cnn`` for images, ``mlp`` for the rest.

    Images with a side under 36 pixels (symbolic grids) are flattened into the ``mlp``.

    Raises:
        ConfigError: the space is not a Box.
    """
    return "nature_cnn" if is_image(box_space(observation_space).shape) else "mlp"


def parse_backbone(spec: Mapping[str, Any] | str) -> tuple[type[nn.Module], Any]:
    """Splits ``{type: name, ...options}`` into a class and its checked options (of a plain torch module: a dict).

    Raises:
        ConfigError: unknown type or option, or a class that is no torch module.
    """
    spec = {"type": spec} if isinstance(spec, str) else spec
    if isinstance(spec, Mapping) and is_import_path(spec.get("type")):
        cls = import_path(spec["type"], "type")
        if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
            raise ConfigError("type", f"{spec['type']!r} is no class of torch.nn.Module", "one")
        options = {str(name): value for name, value in spec.items() if name != "type"}
        if not issubclass(cls, Backbone):
            check_arguments(cls, options, name_of(cls), positional=["the observation space"])
            return cls, options
        _check_class(cls)
    return BACKBONES.parse(spec)


def _check_class(cls: type[Backbone]) -> None:
    """Refuses a user's own subclass of `Backbone` that is not finished.

    Raises:
        ConfigError: it lacks a method, or its ``Options`` are no dataclass.
    """
    missing, options = sorted(getattr(cls, "__abstractmethods__", ())), cls.Options
    if missing:
        allowed = f"a class with all that {name_of(Backbone)} asks for"
        raise ConfigError("type", f"{name_of(cls)} lacks {', '.join(missing)}", allowed)
    if not (isinstance(options, type) and issubclass(options, BackboneOptions) and is_dataclass(options)):
        allowed = f"a subclass of {name_of(BackboneOptions)} under @dataclass(frozen=True)"
        raise ConfigError("type", f"{name_of(cls)} has Options = {getattr(options, '__name__', options)}", allowed)


def _check_output(backbone: Backbone) -> None:
    """Asks a user's own backbone about two observations.

    Raises:
        ConfigError: it has no ``feature_dim``, raises an error, or does not return what the heads need.
    """
    cls, dim = type(backbone), getattr(backbone, "feature_dim", None)
    if not isinstance(dim, int):
        raise ConfigError("", f"{name_of(cls)} has feature_dim = {dim!r}", "the width of its features, an int")
    with failures_of(cls, "forward"), _evaluating(backbone):
        output = backbone(_zeros(backbone.observation_space, 2))
    wanted = {"policy": (2, dim), "extrinsic": (2, dim), "intrinsic": (2, dim)}
    if backbone.state_size:
        wanted["state"] = (2, backbone.state_size)
    for part, shape in wanted.items():
        tensor = getattr(output, part, None)
        if not isinstance(tensor, Tensor) or tuple(tensor.shape) != shape:
            found = f"shape {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ConfigError(
                "",
                f"{method_of(cls, 'forward', with_line=True)} returned {part} = {found} for 2 observations",
                f"a BackboneOutput with {part} {list(shape)}",
            )


def build_backbone(spec: Mapping[str, Any] | str, observation_space: gym.Space) -> Backbone:
    """Builds the backbone that ``{type: name, ...options}`` describes; ``auto`` picks one by the space.

    Raises:
        ConfigError: unknown type or option, or a space the backbone cannot read.
    """
    spec = {"type": spec} if isinstance(spec, str) else dict(spec)
    if spec.get("type") == "auto":
        spec["type"] = backbone_for_space(observation_space)
    cls, options = parse_backbone(spec)
    if not issubclass(cls, Backbone):
        return TorchBackbone(observation_space, options, cls)
    with failures_of(cls, "__init__"):
        backbone = cls(observation_space, options)
    if is_import_path(spec.get("type")):
        _check_output(backbone)
    return backbone
