"""``rllib export``: its files alone reproduce the policy; ``rllib publish``: nothing is uploaded unasked."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from typer.main import get_command
from typer.testing import CliRunner

from rllib_rnd.checkpoints import load_module
from rllib_rnd.cli import app
from rllib_rnd.cli.export_facts import training_of
from rllib_rnd.export import folder as folder_module
from rllib_rnd.export.card import _training
from tests.cli.hub import Hub, hub
from tests.export.checkpoints import make_checkpoint
from tests.test_spaces import Shown

ROOT = Path(__file__).resolve().parents[2]
ENV = "tests.cli.test_export:Seen"
FILES = ["README.md", "config.json", "model.safetensors", "policy.onnx", "policy.pt2", "samples.npz"]
TOKEN = "hf_a_planted_key"
runner = CliRunner()


class Seen(Shown):
    """Shows pixels that its own seed decides, and checks its actions."""

    def _obs(self) -> np.ndarray:
        return self.np_random.integers(0, 256, self.observation_space.shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up run of three seeds, one with a checkpoint: convolutions, attention, a memory, bounds, a shape."""
    folder = tmp_path_factory.mktemp("storage") / "deep"
    first = folder / "IntrinsicPPO_Shown_ab12c_00000_seed=0_2026-01-01_00-00-00"
    backbone = {"type": "iam", "memory_size": 8, "hidden_sizes": [8]}
    make_checkpoint(first / "checkpoint_000000", ENV, {"observation": "bytes", "action": "matrix"}, backbone, seed=0)
    for seed, reached in enumerate((0.5, 0.75, 1.0)):
        trial = folder / f"IntrinsicPPO_Shown_ab12c_0000{seed}_seed={seed}_2026-01-01_00-00-00"
        write_trial(trial, {"seed": seed, "lr": 0.001, "backbone": {"type": "iam"}}, reached)
    write_trial(folder / "IntrinsicPPO_Shown_ab12c_00003_lr=0.1_2026-01-01_00-00-00", {"seed": 3, "lr": 0.1}, 9.0)
    record = {"experiment": "deep", "command": "rllib train", "start": "x", "created": "2026-01-01T10:00:00+00:00"}
    provenance = {"commit": "abc123", "dirty": "true", "hardware": "a small computer", "cores": "2", "torch": "2.x"}
    (folder / "run.json").write_text(json.dumps({**record, "provenance": provenance}))
    return folder


def write_trial(trial: Path, settings: dict[str, Any], reached: float) -> None:
    trial.mkdir(parents=True, exist_ok=True)
    (trial / "params.json").write_text(json.dumps(settings))
    rows = [(0, reached), (1, reached + 0.01)]
    lines = [
        {
            "training_iteration": 7 + i,
            "time_total_s": 1800.0 * (i + 1),
            "env_runners": {"episode_return_mean": value, "num_env_steps_sampled_lifetime": 64 * (i + 1)},
        }
        for i, value in rows
    ]
    (trial / "result.json").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "new" / "deep_rnd"
    result = invoke("export", run, "--out", out, "--format", "both", "--samples", 30, "--license", "cc-by-4.0")
    assert result.exit_code == 0, result.output
    assert "30 observations reproduced" in result.output and "policy.onnx" in result.output
    return out


def invoke(*arguments: object, answer: str | None = None) -> Any:
    return runner.invoke(app, [*map(str, arguments)], input=answer)


def test_the_files_alone_reproduce_the_policy_without_ray_and_without_this_package(exported: Path) -> None:
    """In a process that can import neither, nor gymnasium; and the code of the card runs there."""
    code = """
        import sys
        class Blocker:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in ("ray", "rllib_rnd", "gymnasium"):
                    raise ImportError(name)
        sys.meta_path.insert(0, Blocker())
        import numpy as np
        import onnxruntime
        import torch
        data = np.load("samples.npz")
        inputs = {name[3:]: data[name] for name in data if name.startswith("in_")}
        wanted = {name[4:]: data[name] for name in data if name.startswith("out_")}
        assert sorted(inputs) == ["is_first", "memory", "obs"] and len(inputs["obs"]) == 30
        assert inputs["is_first"].any() and not inputs["is_first"].all() and len(np.unique(wanted["value"])) > 5
        policy = torch.export.load("policy.pt2").module()
        found = policy(*(torch.from_numpy(inputs[name]) for name in ("obs", "memory", "is_first")))
        session = onnxruntime.InferenceSession("policy.onnx")
        names = [output.name for output in session.get_outputs()]
        other = dict(zip(names, session.run(None, inputs)))
        assert set(found) == set(other) == set(wanted) == {"action", "dist_inputs", "value", "next_memory"}
        for name, array in wanted.items():
            np.testing.assert_allclose(found[name].detach().numpy(), array, atol=1e-5)
            np.testing.assert_allclose(other[name], array, atol=1e-5)
        assert [axis for axis in session.get_inputs()[0].shape if isinstance(axis, str)] == ["batch"]
    """
    card = (exported / "README.md").read_text()
    blocks = [part.split("```")[0] for part in card.split("```python\n")[1:]]
    usable = [block for block in blocks if "rllib_rnd" not in block]
    assert len(usable) == 2
    done = subprocess.run(
        [sys.executable, "-I", "-c", textwrap.dedent(code) + "\n".join(usable)],
        cwd=exported,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_samples_are_the_trained_modules(run: Path, exported: Path) -> None:
    (checkpoint,) = run.glob("*/checkpoint_000000")
    module, data = load_module(checkpoint), np.load(exported / "samples.npz")
    with torch.no_grad():
        outputs = module.policy_and_values(
            torch.from_numpy(data["in_obs"]),
            torch.from_numpy(data["in_memory"]),
            torch.from_numpy(data["in_is_first"])[None],
        )
    for name, tensor in zip(("dist_inputs", "value", "next_memory"), outputs, strict=True):
        np.testing.assert_allclose(data[f"out_{name}"], tensor.numpy(), atol=1e-6)
    assert len(np.unique(data["in_obs"], axis=0)) > 3


def test_the_card_is_read_by_the_hub_and_says_where_the_policy_comes_from(exported: Path) -> None:
    text = (exported / "README.md").read_text()
    data: Any = ModelCard(text).data
    assert (
        data.library_name == "rllib_rnd" and data.license == "cc-by-4.0" and text.endswith("## Licence\n\ncc-by-4.0\n")
    )
    assert {"reinforcement-learning", ENV, "IntrinsicPPO", "iam", "rnd"} <= set(data.tags)
    (result,) = data.eval_results
    assert (result.dataset_type, result.metric_type, result.metric_value) == (ENV, "mean_reward", 0.5)
    assert "| 0 | 0.5 | 64 | this policy |" in text and "| 2 | 1.01 | 128 | unknown |" in text and "9.01" not in text
    assert "Mean over 3 seeds: 0.7567, 95 % bootstrap interval [0.5, 1.01]. They were " in text
    assert "They were not trained equally long: 64 to 128 agent steps." in text
    assert "abc123 with changes that were not committed" in text and "a small computer" in text
    assert "lr: 0.001" in text and "| `action` | 'matrix' |" in text and "hours | 0.50" in text


def test_config_json_says_how_an_observation_must_look(exported: Path) -> None:
    config = json.loads((exported / "config.json").read_text())
    assert sorted(path.name for path in exported.iterdir()) == FILES == config["files"]
    assert config["inputs"]["memory"] == {
        "shape": ["batch", 8],
        "dtype": "float32",
        "meaning": "what came out as next_memory at the step before; anything where is_first",
    }
    assert config["memory"]["size"] == 8 and config["environment"]["settings"] == {
        "observation": "bytes",
        "action": "matrix",
    }
    assert config["network"]["value_streams"] == ["extrinsic", "rnd"]
    assert config["verified"]["samples"] == 30
    assert set(config["verified"]["largest_difference"]) == {"policy.pt2", "policy.onnx"}
    for path in exported.iterdir():  # neither of this machine nor of its user
        content = path.read_bytes()
        assert str(ROOT).encode() not in content and str(exported.parent).encode() not in content, path


def test_the_same_checkpoint_gives_the_same_files_in_place_of_an_earlier_export(
    run: Path, exported: Path, tmp_path: Path
) -> None:
    out = tmp_path / exported.name
    out.mkdir()
    files = {"files": ["policy.onnx", "config.json", "../x"], "made_by": "rllib export"}
    (out / "config.json").write_text(json.dumps(files))
    for path in (out / "policy.onnx", out / "notes.txt", tmp_path / "x"):
        path.write_text("from before")
    assert invoke("export", run, "--out", out, "--samples", 30).exit_code == 0
    card = (out / "README.md").read_text()  # the weights are somebody's: no licence is claimed unless it is given
    assert "license" not in card.lower() and card.endswith("## Licence\n\nNone was given for these weights.\n")
    for name in ("policy.pt2", "model.safetensors", "samples.npz"):
        assert (out / name).read_bytes() == (exported / name).read_bytes(), name
    assert sorted(path.name for path in out.iterdir()) == sorted({*FILES, "notes.txt"} - {"policy.onnx"})
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, "x"]  # which is no file of an export


def test_an_export_that_says_something_else_fails_and_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(path: Path) -> Any:
        engine = pt2_engine(path)
        return lambda inputs: {**(said := engine(inputs)), "dist_inputs": said["dist_inputs"] + np.float32(1e-3)}

    pt2_engine = folder_module.pt2_engine
    monkeypatch.setattr(folder_module, "pt2_engine", other)
    result = invoke("export", run, "--out", tmp_path / "out", "--samples", 3)
    assert result.exit_code == 2
    assert "policy.pt2: dist_inputs differs by 0.001 from the module's; allowed is 1e-05 or less." in result.output
    assert not list(tmp_path.iterdir())


def test_bad_input_is_one_line_and_exit_code_2(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for arguments, problem in {
        ("--out", str(tmp_path / "full")): "holds 'mine.txt' and no exported policy; allowed is a new or empty folder",
        ("--out", str(tmp_path / "file")): "is a file",
        ("--out", str(tmp_path / "file" / "x")): "cannot be written",
        ("--out", str(tmp_path / "a"), "--format", "onxx"): "--format: unknown format 'onxx'. Did you mean 'onnx'?",
        ("--out", str(tmp_path / "a"), "--samples", "0"): "Invalid value for '--samples'",
    }.items():
        result = invoke("export", run, *arguments)
        assert result.exit_code == 2 and problem in " ".join(result.output.split()), result.output
    result = invoke("export", tmp_path / "nowhere", "--out", tmp_path / "a")
    assert result.exit_code == 2 and "there is no such folder" in result.output
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    result = invoke("export", run, "--out", tmp_path / "a", "--format", "onnx")
    assert result.exit_code == 2 and 'pip install "rllib_rnd[onnx]"' in result.output.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]


def test_the_options_of_the_docs_are_those_of_the_commands() -> None:
    commands: Any = get_command(app)
    page = (ROOT / "docs" / "export.md").read_text()
    known = {
        name: [option.opts[0] for option in commands.commands[name].params if option.opts[0].startswith("--")]
        for name in ("export", "publish")
    }
    assert re.findall(r"^\| `(--[\w-]+)`", page, re.MULTILINE) == known["export"]
    publish = page[page.index("## `rllib publish") :]
    assert set(re.findall(r"(--[\w-]+)", publish)) == set(known["publish"])


def test_settings_that_population_based_training_changed_are_the_last_ones(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "deep"
    shutil.copytree(run, folder)
    (checkpoint,) = folder.glob("*/checkpoint_000000")
    assert not training_of(checkpoint).changed
    (folder / "pbt_policy_ab12c_00001.txt").write_text("[]")  # of another trial
    assert not training_of(checkpoint).changed
    (folder / "pbt_policy_ab12c_00000.txt").write_text("[]")
    training = training_of(checkpoint)
    assert training.changed
    description = {"network": {"backbone": {"type": "iam"}, "parameters": 1, "value_streams": []}}
    assert "Population based training changed some on the way: these are the last ones." in _training(
        description, training
    )


def test_facts_that_are_not_there_are_left_out(run: Path, tmp_path: Path) -> None:
    (checkpoint,) = run.glob("*/checkpoint_000000")
    alone = tmp_path / "checkpoint_000000"
    alone.symlink_to(checkpoint)
    training = training_of(alone)
    assert training.algorithm == "IntrinsicPPO" and training.results == () and training.interval is None
    assert training.provenance == {} and training.settings == {}


# --- rllib publish ------------------------------------------------------------------------------------------------


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield running


def test_what_was_agreed_to_is_uploaded_and_nothing_else(exported: Path, there: Hub) -> None:
    secret = exported / "secret.txt"
    secret.write_text("not of the export")
    try:
        result = invoke("publish", exported, "--repo", "me/it", answer="y\n")
    finally:
        secret.unlink()
    assert result.exit_code == 0, result.output
    assert "6 files" in result.output and f"to {there.endpoint}/me/it (public if it is made now)" in result.output
    assert all(name in result.output for name in FILES)
    assert there.files == {path.name: path.read_bytes() for path in exported.iterdir()}
    assert there.made == [{"name": "it", "organization": "me", "visibility": "public"}]
    assert there.tokens == {f"Bearer {TOKEN}"} and TOKEN not in result.output


@pytest.mark.parametrize("answer", ["n\n", "\n"])
def test_no_means_no(answer: str, exported: Path, there: Hub) -> None:
    result = invoke("publish", exported, "--repo", "me/it", answer=answer)
    assert result.exit_code == 0 and result.output.endswith("nothing was uploaded\n")
    assert not there.requests


def test_where_nobody_answers_nothing_happens(exported: Path, there: Hub) -> None:
    result = invoke("publish", exported, "--repo", "me/it", answer="")
    assert result.exit_code == 2 and "nobody answered, so nothing was uploaded; allowed is --yes" in result.output
    assert not there.requests


def test_private_stays_private(exported: Path, there: Hub) -> None:
    result = invoke("publish", exported, "--repo", "me/it", "--private", "--yes")
    assert result.exit_code == 2 and "me/it is there already and public; nothing was uploaded" in result.output
    assert not there.files
    there.public = False
    assert invoke("publish", exported, "--repo", "me/it", "--private", "--yes").exit_code == 0
    assert sorted(there.files) == FILES and there.made[-1]["visibility"] == "private"


def test_what_cannot_be_published_is_one_line(
    exported: Path, tmp_path: Path, there: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text((exported / "config.json").read_text())
    for folder, repo, problem in [
        (tmp_path, "me/it", "holds no exported policy; allowed is a folder that `rllib export` wrote"),
        (broken, "me/it", "lacks README.md, model.safetensors"),
        (exported, "it", "--repo it: is no name of a repository; allowed is USER/NAME."),
        (exported, "../..", "--repo ../..: is no name of a repository"),
        (exported, "me/it--2", "--repo me/it--2: is no name of a repository"),
        (exported, "https://huggingface.co/me/it", "Nearest: 'me/it'"),
    ]:
        result = invoke("publish", folder, "--repo", repo, "--yes")
        assert result.exit_code == 2 and problem in result.output, result.output
        assert len(result.output.splitlines()) == 1
    assert not there.requests
    there.refuses = True
    result = invoke("publish", exported, "--repo", "me/it", "--yes")
    assert result.exit_code == 2 and "--repo me/it: the upload failed (" in result.output
    assert "403" in result.output and TOKEN not in result.output and not there.files
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    result = invoke("publish", exported, "--repo", "me/it", "--yes")
    assert result.exit_code == 2 and "no token of the Hugging Face Hub is known: log in" in result.output
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    result = invoke("publish", exported, "--repo", "me/it", "--yes")
    assert result.exit_code == 2 and 'pip install "rllib_rnd[hub]"' in result.output
