"""``rllib init`` and ``rllib new``: files to begin with, for an experiment and for a plug-in."""

from __future__ import annotations

import importlib.util
import keyword
import re
import shlex
import sys
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from rllib_rnd.cli import sources
from rllib_rnd.cli.runtime import say
from rllib_rnd.cli.surroundings import cannot_write
from rllib_rnd.errors import ConfigError, at, unknown_name_error
from rllib_rnd.experiment.folder_name import check_folder_name
from rllib_rnd.options import options_table
from rllib_rnd.own_code import is_import_path

#: What `rllib new` makes, and what it is called in an experiment file.
KINDS: dict[str, tuple[str, str]] = {
    "reward": ("MyReward", "intrinsic_reward: {{type: '{name}:{cls}'}}"),
    "backbone": ("MyBackbone", "backbone: {{type: '{name}:{cls}'}}"),
    "env": ("MyEnv", "env: {name}:{cls}"),
}
_STARTERS = Path(__file__).with_name("starters")
_WIDTH = 116


# --- an experiment ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """What ``rllib init`` is asked for.

    Attributes:
        env: the environment.
        reward: the intrinsic reward, or none.
        backbone: the network.
    """

    env: str
    reward: str
    backbone: str


def starter(name: str, wanted: Wanted) -> str:
    """Returns an experiment file with comments: every option of what was chosen stands in it with its default.

    Raises:
        ConfigError: a name that is not known.
    """
    with at("NAME"):
        check_folder_name(name, "")
    env_lines = _commented(_environment_options(wanted.env), 4)
    reward_lines = ["    intrinsic_reward: null  # plain PPO; `rllib list rewards` shows what there is"]
    if wanted.reward != "none":
        reward = _plugin("--reward", wanted.reward, "intrinsic reward", ("intrinsic", "INTRINSIC_REWARDS"))
        reward_lines = ["    intrinsic_reward:  # `rllib list rewards`", f"      type: {_quoted(wanted.reward)}"]
        reward_lines += _commented(reward, 6)
    backbone = None
    if wanted.backbone != "auto":
        backbone = _plugin("--backbone", wanted.backbone, "backbone", ("modules", "BACKBONES"))
    file = shlex.quote(f"{name}.yaml")
    lines = [
        f"# {name}: {wanted.reward} on {wanted.env}. Lines behind # are defaults: take the # away to change them.",
        f"# Look:  rllib check {file}    Train:  rllib train {file}    Other settings:  rllib list settings",
        f"{_quoted(name)}:",
        "  run: IntrinsicPPO  # PPO with a critic for the environment's reward and one for each intrinsic reward",
        f"  env: {_quoted(wanted.env)}  # `rllib list environments`",
        *(["  env_config:", *env_lines] if env_lines else []),
        "  stop:",
        "    agent_steps: 1.0e6  # or return_mean, time_total_s, ...; the first that is reached ends the run",
        "  config:",
        *reward_lines,
        "    backbone:  # `rllib list backbones`",
        f"      type: {_quoted(wanted.backbone)}",
        *_commented(backbone, 6),
        *_settings(["num_envs_per_env_runner", "rollout_fragment_length"], {"num_envs_per_env_runner": "32"}),
        *_settings(["lr", "gamma", "lambda_", "entropy_coeff", "num_epochs", "num_minibatches"], {}),
        *_settings(["warmup_steps"], {"warmup_steps": "64"}),
        *_settings(["seed"], {"seed": "0"}),
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z_][\w./-]*", text) and text not in ("null", "true", "false") else repr(text)


def _plugin(option: str, name: str, kind: str, where: tuple[str, str]) -> type | None:
    """The options of a plug-in; None of a user's own, which is named by its import path.

    Raises:
        ConfigError: there is none of that name.
    """
    if is_import_path(name):
        return None
    known = {each.name: each for each in sources.registered(*where)}
    if name not in known:
        raise unknown_name_error(kind, name, known, option)
    return known[name].options


def _environment_options(env: str) -> type | None:
    """The options of an environment's family; None where it has none of its own.

    Raises:
        ConfigError: there is no environment of that name.
    """
    from rllib_rnd.envs import list_environments

    family = next(family for family in list_environments() if family.owns(env))
    if family.require is not None:
        with at("--env"):
            family.require(env)
    return family.options_class


def _commented(options: type | None, indent: int) -> list[str]:
    """Options with their defaults as comments, what each means behind or above it."""
    lines = []
    for name, default, allowed, meaning in options_table(options) if options is not None else ():
        lines += _line(f"# {name}: {default}", f"{meaning} ({allowed})", indent)
    return lines


def _settings(names: Iterable[str], chosen: Mapping[str, str]) -> list[str]:
    """Settings of the algorithm: those that are chosen, and as comments those that have their defaults."""
    lines = []
    for cls in ("RLlibSettings", "Settings"):
        found = sources.value("rllib_rnd.settings", cls)
        table = {field.name: row for field, row in zip(fields(found), options_table(found), strict=True)}  # type: ignore[arg-type]
        for name in names:
            if name in table:
                key = name.rstrip("_")
                _, default, allowed, meaning = table[name]
                text = f"{key}: {chosen[name]}" if name in chosen else f"# {key}: {default}"
                lines += _line(text, f"{meaning} ({allowed})", 4)
    return lines


def _line(setting: str, comment: str, indent: int) -> list[str]:
    """One setting with its comment behind it, or above it where the line gets too long."""
    margin = " " * indent
    if len(margin + setting + comment) + 4 <= _WIDTH:
        return [f"{margin}{setting}  # {comment}"]
    above = textwrap.wrap(comment, _WIDTH - indent, initial_indent="## ", subsequent_indent="## ")
    return [*(margin + line for line in above), margin + setting]


def write_starter(name: str, wanted: Wanted) -> Path:
    """Writes an experiment file.

    Returns:
        The file.

    Raises:
        ConfigError: there is one of that name, it cannot be written, or a name in it is not known.
    """
    name = name.removesuffix(".yaml")
    path = Path(f"{name}.yaml")
    text = starter(name, wanted)
    _write({path: text})
    return path


def _write(files: Mapping[Path, str]) -> None:
    """Writes new files.

    Raises:
        ConfigError: one of them is there already, or cannot be written.
    """
    for path in files:
        if path.exists():
            raise ConfigError(str(path), "is there already", "a name that is free here")
    for path, text in files.items():
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise cannot_write(str(path), error) from error


# --- a plug-in -------------------------------------------------------------------------------------------------------


def _is_installed(name: str) -> bool:
    """Whether a module of that name is found elsewhere than in the working folder."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        return False
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    here = Path.cwd()
    return any(here not in list(Path(place).resolve().parents)[:2] for place in places)


def write_plugin(kind: str, name: str) -> None:
    """Writes a plug-in into a file of its own, with a test, and says how it is used.

    Raises:
        ConfigError: there is no such kind, the name is no module's, or a file of that name is there already.
    """
    if kind not in KINDS:
        raise unknown_name_error("kind of plug-in", kind, KINDS, "new")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name) or name in sys.stdlib_module_names:
        allowed = "the name of a module of your own: lower-case letters, digits and underscores"
        raise ConfigError("NAME", f"{name!r} cannot be imported", allowed)
    if _is_installed(name):
        raise ConfigError(
            "NAME", f"{name!r} is an installed module, which a file of that name would hide", "another name"
        )
    template, usage = KINDS[kind]
    cls = "".join(part.capitalize() for part in name.split("_"))
    texts = {
        Path(f"{name}.py"): _STARTERS / f"{kind}.py",
        Path(f"test_{name}.py"): _STARTERS / f"{kind}_test.py",
    }
    replaced = {f"rllib_rnd.cli.starters.{kind}": name, template: cls, f"my_{kind}": name}
    files = {}
    for path, source in texts.items():
        text = source.read_text(encoding="utf-8")
        for old, new in replaced.items():
            text = text.replace(old, new)
        files[path] = text
    _write(files)
    say(f"{name}.py        {kind} {cls}")
    say(f"test_{name}.py   its test: python -m pytest test_{name}.py")
    say(f"In an experiment file: {usage.format(name=name, cls=cls)}")
