"""The parts of pages that are made of the code and of measured tables; everything else on a page is written by hand."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import gymnasium as gym

from docs_tools.sources import (
    FOLDERS,
    REGISTRIES,
    examples_with,
    families,
    names_of,
    row_of,
    rows_of,
    table,
    tables_of,
)
from rllib_rnd.envs import make_env
from rllib_rnd.errors import ConfigError
from rllib_rnd.former_names import SUCCESSORS
from rllib_rnd.modules.heads import HeadOptions, HeadStyle
from rllib_rnd.options import options_table
from rllib_rnd.presets import ALGORITHMS, settings_table
from rllib_rnd.training.pretraining import PretrainingOptions

BONUSES = "benchmarks/results/bonuses.md"
BACKBONES = "benchmarks/results/backbones.md"
BONUS_CHECK = "experiments/bonus_check/results.md"
PIXELS = "experiments/pixels/results.md"

#: What a reward's row of the benchmark is beside in its table of results.
COMPARED = ("none", "rnd")
#: How rows of measured tables are called where a backbone has several, or another name there.
VARIANTS = {
    "self_attention": ("NA", "SWA", "CWRA", "CWCA", "CWRCA"),
    "vit_explorative": ("vit_explorative, two passes", "vit_explorative, one pass"),
}
COSTS = {
    "self_attention": tuple(f"self_attention {name}" for name in VARIANTS["self_attention"]),
    "vit_explorative": VARIANTS["vit_explorative"],
    "iam": ("iam static", "iam linear", "iam attention"),
}


#: Of more examples the first are listed.
MOST_EXAMPLES = 10


def first_line(thing: object) -> str:
    """The first line of a docstring as Markdown."""
    return (inspect.getdoc(thing) or "").split("\n")[0].replace("``", "`")


def count_parameters(backbone: str) -> int:
    """Parameters of policy and one value stream over a backbone with its defaults, for Atari with all 18 actions."""
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


def options(kind: str, name: str) -> list[str]:
    """The options of a plug-in or a family of environments: a table, from its dataclass."""
    cls = families()[name].options_class if kind == "environment" else dict(REGISTRIES[kind].items())[name].Options
    if cls is None:
        return ["No options of its own: `env_config` holds the arguments of the environment."]
    return options_of(cls)


def options_of(cls: type) -> list[str]:
    """The options of a dataclass."""
    rows = [(f"`{name}`", default, allowed, in_yaml(help_)) for name, default, allowed, help_ in options_table(cls)]
    return table(("option", "default", "allowed", "meaning"), rows)


def in_yaml(text: str) -> str:
    """A help text with the words that users write."""
    return text.replace("True", "true").replace("False", "false").replace("None", "null")


def facts(kind: str, name: str) -> list[str]:
    """Source, cost and sizes of a plug-in."""
    if kind == "environment":
        return _environment_facts(name)
    cls = dict(REGISTRIES[kind].items())[name]
    rows: list[tuple[str, object]] = [("in one line", first_line(cls)), ("source", cls.source)]
    if cls.cost:
        rows.append(("cost", cls.cost))
    if kind == "reward":
        row = row_of(BONUSES, "times none", name, "intrinsic reward")
        if row is not None:
            rows += [
                ("parameters at 4 x 84 x 84", f"{row['parameters, trained']} trained, {row['fixed']} fixed"),
                ("an update takes", f"{row['times none']} times that without a reward ([all]({_up(BONUSES)}))"),
            ]
    if kind == "backbone":
        if name != "mlp":
            rows.append(("parameters, policy and one value stream, 4 x 84 x 84", f"{count_parameters(name):,}"))
        rows += [(f"time beside nature_cnn{_of(name, cost)}", _times(cost)) for cost in COSTS.get(name, (name,))]
        rows.append(("heads", _heads(cls.heads)))
    return table(("", ""), [(label, value) for label, value in rows if value])


def _of(name: str, cost: str) -> str:
    return "" if cost == name else f", {cost.removeprefix(name).strip(' ,')}"


def _times(name: str) -> str:
    row = row_of(BACKBONES, "times nature_cnn", name, "backbone")
    if row is None:
        return ""
    # The table has two columns of that name: acting, then training, whose name alone is kept in a row.
    head = ("acting, samples/s", "training, samples/s")
    base = row_of(BACKBONES, "times nature_cnn", "nature_cnn", "backbone")
    assert base is not None
    acting, training = (_number(base[column]) / _number(row[column]) for column in head)
    return f"acting {acting:.2f}, training {training:.2f} ([all]({_up(BACKBONES)}))"


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def _heads(style: HeadStyle) -> str:
    said = (
        f"policy `{style.policy_hidden}`, critics `{style.critic_hidden}`, "
        f"gains of the outputs {style.policy_gain:g} and {style.critic_gain:g}"
    )
    return f"{said} (as `nature_cnn`)" if style == HeadStyle() else said


def _environment_facts(name: str) -> list[str]:
    family = families()[name]
    rows: list[tuple[str, object]] = [("`env`", _code(family.pattern)), ("in one line", family.description)]
    if len(family.own_ids) == 1 or name == "warehouse":
        for env_id in family.own_ids:
            try:
                env = make_env(env_id)
            except ConfigError:  # some need an option without a default
                continue
            beside = f" of `{env_id}`" if len(family.own_ids) > 1 else ""
            rows += [
                (f"observation{beside}", _space(env.observation_space)),
                (f"actions{beside}", _space(env.action_space)),
            ]
            env.close()
    return table(("", ""), rows)


def _code(pattern: str) -> str:
    return " or ".join(f"`{part}`" for part in pattern.split(" or ")) if ":" in pattern or "/" in pattern else pattern


def _space(space: gym.Space) -> str:
    if isinstance(space, gym.spaces.Box):
        return f"{space.dtype} {list(space.shape)}, {space.low.min():g} to {space.high.max():g}"
    return f"{space}"


def results(kind: str, name: str) -> list[str]:
    """What was measured of a plug-in, beside what it is compared with, and the commands."""
    made = {"reward": _reward_results, "backbone": _backbone_results}.get(kind)
    measured = made(name) if made else []
    known = examples_with(kind, name)
    if not known:
        return measured or ["No tuned example names it."]
    shown = known[:MOST_EXAMPLES]
    lines = table(("ready to run", "what it is"), [(f"`rllib train {example}`", line) for example, line in shown])
    if len(known) > len(shown):
        lines += ["", f"{len(known) - len(shown)} more: `rllib list examples`."]
    return [*measured, *([""] if measured else []), *lines]


def _reward_results(name: str) -> list[str]:
    wanted = ("reached", "median agent steps", "mean return", "positions seen", "cost of an iteration, times none")
    rows = []
    for which, task in enumerate(("MiniGrid-MultiRoom-N4-S5, fixed layout", "DeepSea in pixels, 12 x 12")):
        found = _benchmark(which)
        for one in dict.fromkeys((*COMPARED, name)):
            if one in found:
                rows.append((task, f"`{one}`", *(found[one][column] for column in wanted)))
    head = ("task", "reward", "solved", "median agent steps", "return", "positions", "iteration, times none")
    told = f"The same PPO for all, three seeds ([study]({_up('experiments/bonus_check/README.md')})):"
    noise = {row["variant"]: row["bonus of noise"] for row in rows_of(BONUS_CHECK, ("bonus of noise",), "variant")}
    beside = "" if name == "rnd" else f" (`rnd`: {noise['rnd']})"
    watched = f"On the noisy TV it pays noise {noise[name]} times what it pays for the rest{beside}; below 1 is good."
    command = f"    python -m experiments.bonus_check.run --bonuses {name}"
    return [told, "", *table(head, rows), "", watched, "", command]


def _benchmark(which: int) -> dict[str, dict[str, str]]:
    """Rows by name of one of the two tasks of the study of rewards."""
    found = [(head, rows) for head, rows in tables_of(BONUS_CHECK) if "cost of an iteration, times none" in head]
    head, rows = found[which]
    return {row[0]: dict(zip(head, row, strict=True)) for row in rows}


def _backbone_results(name: str) -> list[str]:
    wanted = ("reached", "median agent steps", "mean return", "steps/s")
    rows = []
    for variant in VARIANTS.get(name, (name,)):
        row = row_of(PIXELS, "reached", variant, "variant")
        if row is not None:
            rows.append((f"`{variant}`" if variant == name else variant, *(row[column] for column in wanted)))
    if not rows:
        return []
    head = ("on Catch, 40 x 40 pixels", "solved", "median agent steps", "return", "steps/s")
    told = f"Small, with the settings of `catch_ppo` ([study]({_up('experiments/pixels/README.md')})):"
    command = f"    python -m experiments.pixels.run --variants {VARIANTS.get(name, (name,))[0].split(',')[0]}"
    return [told, "", *table(head, rows), "", command]


def overview(kind: str) -> list[str]:
    """All of a kind, a line each, with a link to its page."""
    if kind == "environment":
        families_of = [(f"[{_code(f.pattern)}]({name}.md)", f.description) for name, f in families().items()]
        return table(("`env`", "what it is"), families_of)
    known = dict(REGISTRIES[kind].items())
    rows = []
    for name in names_of(kind):
        cost = ""
        if kind == "reward":
            row = row_of(BONUSES, "times none", name, "intrinsic reward")
            cost = row["times none"] if row else ""
        rows.append((f"[`{name}`]({name}.md)", first_line(known[name]), known[name].source, cost))
    if kind == "reward":
        return table(("`type`", "what it pays for", "source", "update, times none"), rows)
    return table(("`type`", "what it is", "source"), [row[:3] for row in rows])


def choices() -> list[str]:
    """The benchmark of rewards as one table: both tasks, noise, cost."""
    grid, sea = _benchmark(0), _benchmark(1)
    noise = {row["variant"]: row["bonus of noise"] for row in rows_of(BONUS_CHECK, ("bonus of noise",), "variant")}
    rows = []
    for name in ["none", *names_of("reward")]:
        solved = [
            found.get(name, {}).get(column, "-")
            for found in (grid, sea)
            for column in ("reached", "median agent steps")
        ]
        cost = sea.get(name, {}).get("cost of an iteration, times none", "-")
        link = f"[`{name}`](rewards/{name}.md)" if name != "none" else "none"
        rows.append((link, *solved, noise.get(name, "-"), cost))
    head = (
        "reward",
        "MiniGrid: solved",
        "median steps",
        "DeepSea, pixels: solved",
        "median steps",
        "noise pays",
        "cost",
    )
    return table(head, rows)


def algorithms() -> list[str]:
    """The algorithms of this package."""
    pages = {"IntrinsicPPO": "ppo.md", "RND": "rnd.md", "SND": "snd.md"}
    rows = [(f"[`{name}`]({pages[name]})", first_line(cls)) for name, cls in ALGORITHMS.items()]
    return table(("`run`", "what it is"), rows)


def settings() -> list[str]:
    """Every setting of the algorithm."""
    return table(("key", "default", "allowed", "meaning"), [(f"`{row[0]}`", *row[1:]) for row in settings_table()])


def former_names() -> list[str]:
    """What settings and metrics are called elsewhere, and here."""
    rows = [(f"`{name}`", ", ".join(f"`{one}`" for one in here) or "nothing") for name, here in SUCCESSORS.items()]
    return table(("elsewhere", "here"), [row for row in rows if row[0] != row[1]])


def _up(path: str) -> str:
    """A link from a page in a folder of the docs to a page of the repository."""
    return f"../../{path}"


#: What a marker may ask for: ``<!-- made: options reward rnd -->``.
MAKERS: dict[str, Callable[..., list[str]]] = {
    "options": options,
    "facts": facts,
    "results": results,
    "overview": overview,
    "choices": choices,
    "settings": settings,
    "algorithms": algorithms,
    "heads": lambda: options_of(HeadOptions),
    "pretraining": lambda: options_of(PretrainingOptions),
    "former_names": former_names,
}


def make(words: list[str]) -> list[str]:
    """The lines that a marker's words ask for.

    Raises:
        LookupError: there is nothing of that name.
    """
    if words[0] not in MAKERS:
        raise LookupError(f"{words[0]!r} is none of {', '.join(MAKERS)}")
    if len(words) > 1 and words[1] not in FOLDERS:
        raise LookupError(f"{words[1]!r} is none of {', '.join(FOLDERS)}")
    return MAKERS[words[0]](*words[1:])
