"""``rllib list``: what can be named in an experiment file."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

from rllib_rnd.cli.examples import description, example_files, examples_path
from rllib_rnd.cli.runtime import be_quiet, console, say
from rllib_rnd.errors import unknown_name_error
from rllib_rnd.options import Registry, options_table

_NAMES = 20  # columns
_MAX_WIDTH = 100


def first_line(thing: object) -> str:
    """Returns the first line of a docstring."""
    return (inspect.getdoc(thing) or "").split("\n")[0].replace("``", "")


def list_algorithms() -> None:
    """Prints this package's algorithms and the names of RLlib's."""
    from rllib_rnd.experiment.file import algorithm_names, own_algorithms

    own = own_algorithms()
    for name, algorithm in own.items():
        _print_entry(name, first_line(algorithm))
    _print_entry("", f"RLlib's own run too: {', '.join(n for n in algorithm_names() if n not in own)}")


def list_settings() -> None:
    """Prints the settings of ``config``, with defaults and what is allowed."""
    from rllib_rnd.presets import settings_table

    _print_options(settings_table(), indent=0)


def list_backbones() -> None:
    """Prints the backbones, their sizes and their options."""
    from rllib_rnd.modules.backbone import BACKBONES

    be_quiet(verbose=False)  # RLlib warns of a constructor of its own
    _print_wrapped("parameters of policy and critic: stacks of 4 x 84 x 84 bytes, 18 actions, options as listed", "")
    say("")
    _print_entry("auto", "nature_cnn for images, mlp for the rest")
    _print_registry(BACKBONES, lambda name: f"{count_parameters(name):,} parameters")


def count_parameters(backbone: str) -> int:
    """Parameters of policy and one critic over a backbone with its default options, for Atari with all 18 actions."""
    import gymnasium as gym
    import numpy as np
    import torch

    from rllib_rnd.module import IntrinsicPPOModule

    with torch.device("meta"):  # sizes only: nothing is drawn
        module = IntrinsicPPOModule(
            observation_space=gym.spaces.Box(0, 255, (4, 84, 84), np.uint8),
            action_space=gym.spaces.Discrete(18),
            inference_only=True,
            model_config={"backbone": {"type": backbone}, "intrinsic_rewards": [], "frame_stack": 4},
        )
    return sum(parameter.numel() for parameter in module.parameters())


def list_rewards() -> None:
    """Prints the intrinsic rewards and their options."""
    from rllib_rnd.intrinsic.base import INTRINSIC_REWARDS

    _print_registry(INTRINSIC_REWARDS)


def list_losses() -> None:
    """Prints the auxiliary losses and their options."""
    from rllib_rnd.auxiliary.base import AUXILIARY_LOSSES

    _print_registry(AUXILIARY_LOSSES)


def _print_registry(registry: Registry[Any], size: Callable[[str], str] | None = None) -> None:
    if not registry.names():
        say("none yet; your own is named by its import path, package.module:Class")
    for name, cls in registry.items():
        source = f"  [{cls.source}]" if getattr(cls, "source", "") else ""
        _print_entry(name, f"{first_line(cls)}{source}")
        if size:
            _print_entry("", size(name))
        if getattr(cls, "cost", ""):
            _print_entry("", f"cost: {cls.cost}")
        _print_options(options_table(cls.Options))


def _print_entry(name: str, text: str) -> None:
    """Prints a name and, beside it or (behind a long one) below it, what it is."""
    margin = " " * (_NAMES + 1)
    if len(name) > _NAMES:
        _print_wrapped(name, "  ")
        name = ""
    _print_wrapped(f"{name:{_NAMES}} {text}", margin)


def _print_options(rows: Iterable[tuple[str, str, str, str]], indent: int = 2) -> None:
    """Prints for each option its name, default and what is allowed, and below that its meaning."""
    lines, margin = list(rows), " " * indent
    names = max((len(name) for name, *_ in lines), default=0)
    for name, default, allowed, meaning in lines:
        _print_wrapped(f"{margin}{name:{names}}  {default}  ({allowed})", " " * (indent + names + 2))
        _print_wrapped(f"{margin}    {meaning}", f"{margin}    ")


def _print_wrapped(line: str, margin: str) -> None:
    width = max(40, min(console().width, _MAX_WIDTH))
    say(textwrap.fill(line, width, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False))


def list_environments() -> None:
    """Prints the environments and their options."""
    from rllib_rnd.envs import list_environments as families

    for family in families():
        _print_entry(family.pattern, family.description)
        if family.options_class is not None:
            _print_options(options_table(family.options_class))


def list_examples() -> None:
    """Prints the tuned examples, which `rllib train file NAME` finds from any folder."""
    for path in example_files():
        _print_entry(str(path.relative_to(examples_path())), description(path))


KINDS: dict[str, Callable[[], None]] = {
    "algorithms": list_algorithms,
    "settings": list_settings,
    "backbones": list_backbones,
    "rewards": list_rewards,
    "losses": list_losses,
    "environments": list_environments,
    "examples": list_examples,
}


def print_list(kind: str | None) -> None:
    """Prints one kind, or all.

    Raises:
        ConfigError: there is no such kind.
    """
    if kind is not None and kind not in KINDS:
        raise unknown_name_error("list", kind, KINDS)
    for name in KINDS if kind is None else [kind]:
        if kind is None:
            say(f"\n{name}\n{'-' * len(name)}")
        KINDS[name]()
