"""A command answers at once: what it does not need is not imported."""

import subprocess
import sys
from pathlib import Path

import pytest
import ray
import torch
from typer.testing import CliRunner

from rllib_rnd.cli import app
from rllib_rnd.cli.completion import complete_experiments, complete_kinds, complete_plugins

ROOT = Path(__file__).parents[2]
runner = CliRunner()

# In one new process, command after command: what has been imported after each.
LIGHT = """
import contextlib, io, sys
sys.argv = ["rllib"]
from rllib_rnd.cli import app

HEAVY = ("torch", "ray", "pandas", "mlflow", "pyarrow", "scipy")
names = [command.name or command.callback.__name__ for command in app.registered_commands]
assert len(names) > 15, names
helps = [[], ["--help"], ["--version"], *([name.rstrip("_"), "--help"] for name in names)]
kinds = ["algorithms", "settings", "backbones", "rewards", "losses", "environments", "examples"]
lists = [["list"], *(["list", kind] for kind in kinds), ["list", "rewards", "rnd"], ["list", "backbones", "vit"],
         ["list", "environments", "rllib_rnd/DeepSea-v0"], ["list", "examples", "deep_sea_rnd"]]
for arguments in [*helps, *lists]:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = None
        try:
            app(arguments, prog_name="rllib")
        except SystemExit as end:
            code = end.code
    assert code in (0, None) or (arguments == [] and code == 2), (arguments, code)
    assert said.getvalue() or arguments == [], arguments
    heavy = [name for name in HEAVY if name in sys.modules]
    assert not heavy, (arguments, heavy)
    if arguments in helps:
        assert "numpy" not in sys.modules, arguments
# What `train`, `check` and `init` import before they say what they are doing.
import rllib_rnd.cli.examples, rllib_rnd.cli.starting_points, rllib_rnd.cli.train_options
assert not [name for name in HEAVY if name in sys.modules]
"""


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(cwd)}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def test_no_help_and_no_list_imports_ray_or_torch() -> None:
    done = run("-c", LIGHT)
    assert done.returncode == 0, done.stderr


def test_the_module_is_the_command_too() -> None:
    done = run("-m", "rllib_rnd", "--version")
    assert done.returncode == 0, done.stderr
    assert f"ray {ray.__version__}, torch {torch.__version__}" in done.stdout
    assert done.stdout.startswith("rllib_rnd 0.") and "commit" in done.stdout
    done = run("-m", "rllib_rnd", "trian")
    assert done.returncode == 2 and "train" in done.stderr


# What a program finds after the import, in the order in which linters sort imports and in the other.
NAMED = """
{imports}
assert "rllib_rnd/DeepSea-v0" in gymnasium.registry
assert ray.tune.registry._global_registry.contains("trainable_class", "SND")
assert rllib_rnd.RND.__name__ == "RND" and set(rllib_rnd.__all__) <= set(dir(rllib_rnd))
try:
    rllib_rnd.nothing
except AttributeError as error:
    assert "nothing" in str(error)
else:
    raise SystemExit("a name that is not there")
"""


def test_a_program_finds_algorithms_and_environments_by_name_after_the_import() -> None:
    done = run("-c", NAMED.format(imports="import rllib_rnd, gymnasium, ray.tune"))
    assert done.returncode == 0, done.stderr


# `check` in a process of its own: neither Ray is started nor torch's compiler imported.
CHECKED = """
import sys
sys.argv = ["rllib", "check", "tiny.yaml"]
from rllib_rnd.cli import app
try:
    app(prog_name="rllib")
except SystemExit as end:
    assert not end.code, end.code
import ray
assert not ray.is_initialized()
assert "torch._dynamo" not in sys.modules
import torch
assert torch.are_deterministic_algorithms_enabled()
compiled = torch.compile(lambda x: x + 1, backend="eager")
assert compiled(torch.zeros(())) == 1 and "torch._dynamo" in sys.modules
from rllib_rnd.modules.compiler import Adam
weight = torch.nn.Parameter(torch.ones(()))
optimizer = Adam([weight], lr=0.5)
optimizer.zero_grad()
weight.backward()
optimizer.step()
assert torch.isclose(weight.detach(), torch.tensor(0.5))
import torch._inductor.config
assert torch._inductor.config.deterministic
"""


def test_a_check_starts_no_ray_and_imports_no_compiler(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(
        "tiny:\n  run: RND\n  env: rllib_rnd/DeepSea-v0\n  env_config: {size: 5}\n  stop: {agent_steps: 1.0e+6}\n"
        "  config: {num_envs_per_env_runner: 4, rollout_fragment_length: 16, seed: 0}\n"
    )
    done = run("-c", CHECKED, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "Checking tiny.yaml: loading torch and Ray ..."
    assert any(line.startswith("about ") and "to 1,000,000 agent steps" in line for line in lines), done.stdout


def test_completion_offers_what_may_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.yaml").write_text("")
    (tmp_path / "mine.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    assert complete_experiments("mi")[0] == "mine/" and "mine.txt" not in complete_experiments("mi")
    assert complete_experiments("mine/") == ["mine/a.yaml"]
    assert "deep_sea_rnd" in complete_experiments("deep_")
    assert complete_kinds("re") == ["rewards"] and complete_plugins("b") == ["backbone"]
    script = runner.invoke(app, ["list", "rewards", "sn"], env={"_RLLIB_COMPLETE": "complete_bash"})
    assert script.exit_code in (0, 2)


def test_the_shell_asks_for_completions() -> None:
    asked = {"_RLLIB_COMPLETE": "complete_bash", "COMP_WORDS": "rllib list rewards sn", "COMP_CWORD": "3"}
    result = runner.invoke(app, [], env=asked, prog_name="rllib")
    assert set(result.output.split()) == {"snd_v", "snd_std", "snd_vic", "snd_infonce", "snd_barlow"}
