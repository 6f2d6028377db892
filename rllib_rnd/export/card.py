"""The model card: README.md of an exported policy, with the front matter that the Hugging Face Hub reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from rllib_rnd.errors import in_words
from rllib_rnd.export.engines import ONNX, PT2

_TAGS = ("reinforcement-learning", "deep-reinforcement-learning", "intrinsic-motivation", "ppo", "ray-rllib")
# Of the longest training: shorter ones are said to be. Runs of one budget end within an iteration of each other.
_SAME_LENGTH = 0.9
_NO_LICENCE = "None was given for these weights."


@dataclass(frozen=True)
class SeedResult:
    """What one seed reached.

    Attributes:
        seed: None: not set.
        return_mean: raw mean return of its newest episodes; None: none had ended.
        agent_steps: that it was trained for.
        state: how its run stands, "" where that says nothing.
        exported: whether this is the policy that is exported, at its checkpoint; else a run's end.
    """

    seed: int | None
    return_mean: float | None
    agent_steps: int | None
    state: str = ""
    exported: bool = False


@dataclass(frozen=True)
class Training:
    """Where a policy comes from; what is not known is left out of the card.

    Attributes:
        algorithm: its name.
        run: name of the run.
        settings: that were set, by their dotted names.
        results: of all runs that differ in their seeds alone, this one among them.
        interval: 95 % of the mean return over seeds; None below three seeds.
        numbers: of the checkpoint, by their short names: iteration, agent_steps, time_total_s, ...
        provenance: commit, versions, hardware, command, date.
        action_names: of a Discrete space.
        frames_per_step: None: the task has no frames.
        changed: whether settings changed on the way, as population based training does.
    """

    algorithm: str
    run: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    results: tuple[SeedResult, ...] = ()
    interval: tuple[float, float] | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    action_names: tuple[str, ...] = ()
    frames_per_step: int | None = None
    changed: bool = False

    @property
    def own(self) -> SeedResult | None:
        """What the exported policy itself reached."""
        return next((result for result in self.results if result.exported), None)

    @property
    def returns(self) -> list[float]:
        """Of all seeds that have one."""
        return [result.return_mean for result in self.results if result.return_mean is not None]


def model_card(description: Mapping[str, Any], training: Training, name: str, license_: str | None) -> str:
    """The text of README.md.

    Args:
        description: the content of ``config.json``.
        training: where the policy comes from.
        name: of the policy.
        license_: of the weights, by its identifier on the Hub; None: whose they are has given none.
    """
    env = description["environment"]["id"]
    parts = [
        f"# {training.algorithm} on {env}",
        f"A policy that rllib_rnd {description['rllib_rnd']} exported. It needs neither Ray nor rllib_rnd to act.",
        _results(training),
        _use(description),
        _interface(description, training),
        _environment(description["environment"]),
        _training(description, training),
        f"## Licence\n\n{license_ or _NO_LICENCE}",
    ]
    return (
        f"---\n{front_matter(description, training, name, license_)}---\n\n" + "\n\n".join(filter(None, parts)) + "\n"
    )


def front_matter(description: Mapping[str, Any], training: Training, name: str, license_: str | None) -> str:
    """The YAML that the Hub indexes: library, tags, and the result in its ``model-index``."""
    env = description["environment"]["id"]
    backbone = description["network"]["backbone"]["type"]
    rewards = description["network"]["value_streams"][1:]
    tags = [*_TAGS, env, *(re.sub(r".*[.:]", "", tag) for tag in (training.algorithm, backbone, *rewards))]
    data: dict[str, Any] = {
        "library_name": "rllib_rnd",
        **({"license": license_} if license_ else {}),
        "pipeline_tag": "reinforcement-learning",
        "tags": list(dict.fromkeys(tags)),
    }
    own = training.own
    if own is not None and own.return_mean is not None:
        result = {
            "task": {"type": "reinforcement-learning", "name": "reinforcement-learning"},
            "dataset": {"name": env, "type": env},
            "metrics": [
                {"type": "mean_reward", "value": round(own.return_mean, 4), "name": "mean_reward", "verified": False}
            ],
        }
        data["model-index"] = [{"name": name, "results": [result]}]
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _results(training: Training) -> str:
    """The table of seeds and what can be said of them together."""
    if not training.results:
        return "## Results\n\nNo result of its training is at hand."
    lines = ["## Results", "", "| seed | mean return | agent steps | |", "|---|---|---|---|"]
    for result in training.results:
        seed = "not set" if result.seed is None else str(result.seed)
        reached = "no episode ended" if result.return_mean is None else f"{result.return_mean:.4g}"
        steps = "" if result.agent_steps is None else f"{result.agent_steps:,}"
        lines.append(f"| {seed} | {reached} | {steps} | {'this policy' if result.exported else result.state} |")
    returns = training.returns
    said = "Raw returns of the newest training episodes, actions sampled."
    if len(returns) > 1:
        said += f" Mean over {len(returns)} seeds: {sum(returns) / len(returns):.4g}"
        if training.interval is not None:
            low, high = training.interval
            said += f", 95 % bootstrap interval [{low:.4g}, {high:.4g}]"
        said += "."
        lengths = [result.agent_steps or 0 for result in training.results if result.return_mean is not None]
        if min(lengths) < _SAME_LENGTH * max(lengths):
            said += f" They were not trained equally long: {min(lengths):,} to {max(lengths):,} agent steps."
    if training.interval is None:
        said += " Too few seeds for an interval."
    return "\n".join([*lines, "", said])


def _use(description: Mapping[str, Any]) -> str:
    """Code that runs it without ray and without this package."""
    memory, files = description["memory"]["size"], description["files"]
    shape = description["inputs"]["obs"]["shape"][1:]
    dtype = description["inputs"]["obs"]["dtype"]
    start = f"obs = torch.zeros((1, {', '.join(map(str, shape))}), dtype=torch.{dtype})  # raw, from the environment"
    blocks = ["## How to use it"]
    if PT2 in files:
        code = ["import torch", "", f'policy = torch.export.load("{PT2}").module()', start]
        if memory:
            code += [
                f"memory, is_first = torch.zeros((1, {memory})), torch.tensor([True])  # of an episode's first step",
                "out = policy(obs, memory, is_first)",
                'action = out["action"][0].numpy()  # the most likely one; dist_inputs to draw instead',
                'memory, is_first = out["next_memory"], torch.tensor([False])  # for the next step',
            ]
        else:
            code += ['action = policy(obs)["action"][0].numpy()  # the most likely one; dist_inputs to draw instead']
        blocks.append("With torch alone (any number of environments on the first axis):\n\n" + _code(code))
    if ONNX in files:
        code = ["import numpy as np", "import onnxruntime", "", f'session = onnxruntime.InferenceSession("{ONNX}")']
        feed = f'{{"obs": np.zeros((1, {", ".join(map(str, shape))}), np.{dtype})'
        if memory:
            feed += f', "memory": np.zeros((1, {memory}), np.float32), "is_first": np.array([True])'
        names = ", ".join(description["outputs"])
        code += [f"inputs = {feed}}}", f"{names} = session.run(None, inputs)"]
        blocks.append("With onnxruntime:\n\n" + _code(code))
    blocks.append(
        "With rllib_rnd, which also draws actions and flattens observations:\n\n"
        + _code(["import rllib_rnd", "", 'policy = rllib_rnd.load_policy(".")', "action, memory = policy.act(obs)"])
    )
    return "\n\n".join(blocks)


def _code(lines: list[str]) -> str:
    return "\n".join(["```python", *lines, "```"])


def _interface(description: Mapping[str, Any], training: Training) -> str:
    lines = ["## Inputs and outputs", "", "| name | type | shape | meaning |", "|---|---|---|---|"]
    for name, entry in {**description["inputs"], **description["outputs"]}.items():
        shape = ", ".join(map(str, entry["shape"]))
        lines.append(f"| `{name}` | {entry['dtype']} | [{shape}] | {entry['meaning']} |")
    lines += ["", *(f"- {line}" for line in description["observation"]["in_words"])]
    lines.append(f"- `dist_inputs`: {description['action']['distribution']}.")
    if training.action_names:
        start = description["action"]["space"].get("start", 0)
        named = ", ".join(f"{start + i} {name}" for i, name in enumerate(training.action_names))
        lines.append(f"- Actions: {named}.")
    verified = description["verified"]
    lines.append(
        f"- `samples.npz` holds {verified['samples']} observations of play with the outputs of the network that was "
        f"trained; the files here reproduce them (largest difference {max(verified['largest_difference'].values()):.1g}"
        ")."
    )
    return "\n".join(lines)


def _environment(environment: Mapping[str, Any]) -> str:
    lines = [f"## Environment\n\n`{environment['id']}`"]
    meanings = environment["meanings"]
    if environment["settings"]:
        lines += ["", "| setting | value | |", "|---|---|---|"]
        for key, value in environment["settings"].items():
            meaning = meanings.get(key, "").replace("|", "\\|")
            lines.append(f"| `{key}` | {in_words(value)} | {meaning} |")
    return "\n".join(lines)


def _training(description: Mapping[str, Any], training: Training) -> str:
    lines = ["## Training", "", "| | |", "|---|---|"]
    network, numbers = description["network"], dict(training.numbers)
    rows: dict[str, object] = {"algorithm": training.algorithm}
    if training.run:
        rows["run"] = training.run
    rows["backbone"] = f"{network['backbone']['type']}, {network['parameters']:,} parameters with the heads"
    rows["value streams"] = ", ".join(network["value_streams"])
    steps = numbers.get("agent_steps")
    if steps is not None:
        frames = training.frames_per_step
        rows["agent steps"] = f"{steps:,.0f}" + (f" ({steps * frames:,.0f} frames)" if frames else "")
    if "time_total_s" in numbers:
        rows["hours"] = f"{numbers['time_total_s'] / 3600.0:.2f}"
    rows |= training.provenance
    if "commit" not in training.provenance:
        rows["commit"] = "not recorded"
    lines += [f"| {key} | {value} |" for key, value in rows.items()]
    if training.settings:
        changed = (
            " Population based training changed some on the way: these are the last ones." if training.changed else ""
        )
        lines += ["", f"What was set (everything else at its default).{changed}", "", "```yaml"]
        lines += [f"{key}: {value}" for key, value in sorted(training.settings.items())]
        lines.append("```")
    return "\n".join(lines)
