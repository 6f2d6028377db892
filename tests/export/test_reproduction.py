"""Whatever can be trained can be exported, and says the same: every backbone, every kind of action."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.export import ExportedProgram

from rllib_rnd.errors import ConfigError
from rllib_rnd.export import writers
from rllib_rnd.export.engines import ONNX, PT2, pt2_engine, torch_engine
from rllib_rnd.export.graph import ActionRange, PolicyGraph, plain_space
from rllib_rnd.export.samples import Samples, module_outputs
from rllib_rnd.export.verification import verify
from rllib_rnd.export.writers import trace, write_onnx, write_pt2, write_weights
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.modules import BACKBONES
from rllib_rnd.modules.backbone import BackboneOutput, ImageBackbone
from tests.envs.test_plain import ACTIONS, box
from tests.export.checkpoints import make_module

IMAGE, VECTOR = box(0, 255, "uint8", (2, 44, 44)), box(-9, 9, "int16", (5,))
VIT = {"patch_size": 11, "dim": 8, "depth": 1, "num_heads": 2, "head_dim": 4, "mlp_dim": 8}
CNN = {"hidden_sizes": [8]}
MEMORY = {"memory_size": 4, "hidden_sizes": [8]}
#: Of every backbone its options and what it looks at; those of vectors are cheap.
CASES: dict[str, tuple[dict[str, Any], spaces.Box]] = {
    **{name: (CNN, IMAGE) for name in ("openai_cnn", "michalnand_a", "michalnand_b", "michalnand_c", "michalnand_d")},
    "nature_cnn": ({**CNN, "noisy": True}, IMAGE),
    "self_attention": ({"variant": "CWRCA", "feature_dim": 8, "ada_attn": "alpha_beta"}, IMAGE),
    "vit": (VIT, IMAGE),
    "vit_explorative": ({**VIT, "depth": 2}, IMAGE),
    "mlp": (CNN, VECTOR),
    "fnn": (CNN, box(0, 1, "float32", (2, 3))),
    "gru": (MEMORY, VECTOR),
    "lstm": (MEMORY, VECTOR),
    "iam": (MEMORY, IMAGE),
}
#: Further networks that the defaults do not reach.
MORE: dict[str, tuple[dict[str, Any], spaces.Box]] = {
    "iam over variables": ({"type": "iam", **MEMORY, "num_heads": 2, "cell": "lstm"}, VECTOR),
    "vit_explorative in one pass": ({"type": "vit_explorative", **VIT, "passes": "one", "aggregate": "mean"}, IMAGE),
}
TAKEN: dict[str, gym.Space] = {
    **{name: space for name, (space, _) in ACTIONS.items()},
    "choices from elsewhere": spaces.MultiDiscrete([2, 3], start=[-4, 7]),
    "half bounded": spaces.Box(np.array([-1, -np.inf], np.float32), np.array([np.inf, 2], np.float32)),
    "unequal bounds": spaces.Box(np.array([-1, 0], np.float32), np.array([3, 0.5], np.float32)),
}


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def samples_of(module: IntrinsicPPOModule, action: gym.Space, count: int = 9) -> Samples:
    """Drawn observations, memories in use, and episodes that begin."""
    rng, space = np.random.default_rng(1), module.observation_space
    space.seed(1)
    inputs = {"obs": np.stack([space.sample() for _ in range(count)])}
    size = module.backbone.state_size
    if size:
        inputs |= {"memory": rng.normal(size=(count, size)).astype(np.float32), "is_first": rng.random(count) < 0.3}
    return Samples(inputs, module_outputs(module, action, inputs))


def traced(module: IntrinsicPPOModule, action: gym.Space) -> tuple[ExportedProgram, Samples, PolicyGraph]:
    """What is to be held against what; it is not constant."""
    samples, graph = samples_of(module, action), PolicyGraph(module, action)
    assert len(np.unique(samples.outputs["dist_inputs"].round(6), axis=0)) > 1
    return trace(graph, samples.inputs), samples, graph


def test_every_backbone_is_tried() -> None:
    assert sorted(CASES) == BACKBONES.names()


@pytest.mark.parametrize("name", [*CASES, *MORE])
def test_every_backbone_is_reproduced(name: str, tmp_path: Path) -> None:
    options, space = {**CASES, **MORE}[name]
    action: gym.Space = spaces.Discrete(3)
    program, samples, graph = traced(make_module(space, action, {"type": name, **options}), action)
    write_pt2(program, tmp_path / PT2)
    verify(PT2, pt2_engine(tmp_path / PT2), samples, graph)


@pytest.mark.parametrize("name", TAKEN)
def test_every_kind_of_action_is_reproduced(name: str) -> None:
    space = TAKEN[name]
    module = make_module(VECTOR, plain_space(space), {"type": "mlp", "hidden_sizes": [4]})
    program, samples, graph = traced(module, space)
    verify(name, torch_engine(program.module()), samples, graph)
    assert all(space.contains(np.asarray(action)) for action in samples.outputs["action"])


@pytest.mark.parametrize(("normalize", "clip"), [(True, False), (False, True), (False, False)])
@pytest.mark.parametrize("name", TAKEN)
def test_the_range_is_that_of_play_for_any_action_that_is_drawn(name: str, normalize: bool, clip: bool) -> None:
    from rllib_rnd.envs.plain import plain_actions
    from rllib_rnd.modules.actions import to_environment

    space = TAKEN[name]
    plain, conversion, rng = plain_space(space), plain_actions(space), np.random.default_rng(0)
    if isinstance(plain, spaces.Box):
        own = rng.normal(scale=2.0, size=(20, *plain.shape)).astype(np.float32)
    else:
        start: Any = plain.start  # type: ignore[attr-defined]
        own = np.stack([plain.sample() for _ in range(20)]) - start
    ranged = ActionRange(space, normalize, clip)
    found = ranged(torch.from_numpy(own))
    wanted = to_environment(plain, normalize, clip)(own)
    if conversion is not None:
        wanted = np.stack([conversion.convert(one) for one in wanted])
    assert found.numpy().dtype == space.dtype
    np.testing.assert_array_equal(found.numpy(), wanted.astype(space.dtype))
    if not isinstance(plain, spaces.Box):
        np.testing.assert_array_equal(ranged.own(found).numpy(), own)


def test_only_what_acts_is_written_under_the_names_of_the_checkpoint(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    module = make_module(IMAGE, spaces.Discrete(3), {"type": "nature_cnn", **CNN})
    write_weights(PolicyGraph(module, spaces.Discrete(3)), tmp_path / "w.safetensors")
    found, own = load_file(tmp_path / "w.safetensors"), module.state_dict()
    assert not [name for name in found if name.startswith("intrinsic")]
    assert found.keys() == {name for name in own if not name.startswith("intrinsic_rewards.")}
    for name, array in found.items():
        np.testing.assert_array_equal(array, own[name].numpy())


def test_a_file_that_says_something_else_is_refused(tmp_path: Path) -> None:
    action: gym.Space = spaces.Discrete(3)
    module, other = (make_module(VECTOR, action, {"type": "mlp", "hidden_sizes": [4]}, seed=s) for s in (0, 1))
    graph = PolicyGraph(module, action)
    write_pt2(trace(PolicyGraph(other, action), samples_of(module, action).inputs), tmp_path / PT2)
    with pytest.raises(ConfigError, match=r"policy\.pt2: .*(not the module's|differs by)"):
        verify(PT2, pt2_engine(tmp_path / PT2), samples_of(module, action), graph)
    engine = pt2_engine(tmp_path / PT2)
    with pytest.raises(ConfigError, match=r"value is float32 \[9, 1\], not float32 \[9, 2\]"):
        verify(PT2, lambda x: {**engine(x), "value": engine(x)["value"][:, :1]}, *_from(other, action))
    with pytest.raises(ConfigError, match="has outputs"):
        verify(PT2, lambda x: {"action": engine(x)["action"]}, *_from(other, action))
    with pytest.raises(ConfigError, match="value differs by nan"):
        verify(PT2, lambda x: {**engine(x), "value": engine(x)["value"] * np.float32(np.nan)}, *_from(other, action))


def _from(module: IntrinsicPPOModule, action: gym.Space) -> tuple[Samples, PolicyGraph]:
    return samples_of(module, action), PolicyGraph(module, action)


def test_of_actions_that_are_as_likely_any_will_do() -> None:
    """Rounding decides there, and one backend rounds otherwise than another."""
    action: gym.Space = spaces.Discrete(3, start=5)
    module = make_module(VECTOR, action, {"type": "mlp", "hidden_sizes": [4]})
    samples, graph = samples_of(module, action), PolicyGraph(module, action)
    samples.outputs["dist_inputs"][:] = [1.0, 1.0, 0.0]
    samples.outputs["action"][:] = 5
    said = {name: array.copy() for name, array in samples.outputs.items()}

    def engine(inputs: Any) -> dict[str, np.ndarray]:
        return {name: array[: len(inputs["obs"])] for name, array in said.items()}

    said["action"][0] = 6
    samples.outputs["value"][:] = said["value"][:] = 0.0
    assert verify("x", engine, samples, graph) == 0.0
    said["action"][1] = 7
    with pytest.raises(ConfigError, match="1 of 9 actions are not the module's"):
        verify("x", engine, samples, graph)


class Asks(ImageBackbone):
    """A user's own, whose path depends on its numbers."""

    def __init__(self, observation_space: gym.Space, options: Any) -> None:
        super().__init__(observation_space, options)
        self.feature_dim = 2

    def features(self, obs: torch.Tensor) -> BackboneOutput:
        x = self.image(obs).flatten(1)[:, :2]
        return BackboneOutput.shared(x if float(x.sum()) > 0.0 else -x)


def test_what_cannot_be_traced_is_refused_with_the_reason() -> None:
    action: gym.Space = spaces.Discrete(2)
    module = make_module(IMAGE, action, {"type": "tests.export.test_reproduction:Asks"}, rewards=0)
    with pytest.raises(ConfigError) as caught:
        trace(PolicyGraph(module, action), samples_of(module, action).inputs)
    assert re.match(r"backbone: Asks cannot be exported by torch.export \(.*data-dependent", str(caught.value))
    assert "\n" not in str(caught.value)


def test_what_onnx_lacks_is_refused_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("no translation\nof aten.x")

    monkeypatch.setattr(writers.torch.onnx, "export", fails)
    action: gym.Space = spaces.Discrete(2)
    module = make_module(VECTOR, action, {"type": "mlp", "hidden_sizes": [4]})
    program = trace(PolicyGraph(module, action), samples_of(module, action).inputs)
    with pytest.raises(ConfigError, match=r"--format onnx: .*\(no translation of aten.x\); allowed is pt2"):
        write_onnx(program, tmp_path / ONNX)
    assert not list(tmp_path.iterdir())
