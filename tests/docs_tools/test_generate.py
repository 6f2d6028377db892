"""Tables of the docs are those of the code, every plug-in has its page, and what a page says to write is accepted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from docs_tools.blocks import make
from docs_tools.generate import BLOCK, generated, missing_pages, pages
from docs_tools.sources import DOCS, FOLDERS, names_of
from rllib_rnd.experiment.file import load_experiments

MADE = [page for page in pages() if BLOCK.search(page.read_text())]
#: An environment that suits what a page is about: pictures, of which an inverse model can tell actions.
ENV = {"reward": "ALE/MontezumaRevenge-v5", "backbone": "ALE/MontezumaRevenge-v5", "loss": "ALE/MontezumaRevenge-v5"}


@pytest.mark.parametrize("page", MADE, ids=lambda page: str(page.relative_to(DOCS)))
def test_made_parts_are_those_of_the_code(page: Path) -> None:
    text = page.read_text()
    assert generated(text) == text, "python -m docs_tools.generate writes it anew"


def test_every_plugin_and_environment_has_its_page_with_facts_options_and_results() -> None:
    assert missing_pages() == []


@pytest.mark.parametrize("words", ["option reward rnd", "options rewards rnd"])
def test_a_marker_of_something_else_is_told(words: str) -> None:
    with pytest.raises(LookupError):
        make(words.split())


def test_a_page_that_lags_behind_is_seen() -> None:
    text = (DOCS / "rewards" / "count.md").read_text()
    assert generated(text.replace("| `beta` | 0.01 |", "| `beta` | 0.02 |")) == text


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in FOLDERS for name in names_of(kind)])
def test_a_page_says_why_when_not_and_what_to_write(tmp_path: Path, kind: str, name: str) -> None:
    text = (DOCS / FOLDERS[kind] / f"{name}.md").read_text()
    for heading in ("## Why", "## Use it", "## Metrics", "## Expected result", "## When not to use it"):
        assert f"\n{heading}\n" in text
    (use,) = re.findall(r"## Use it\n\n```yaml\n(.*?)```", text, re.DOTALL)
    if kind == "environment" and name == "own":
        return  # of a package that is not there; the guide and `extending` have such that are
    config = yaml.safe_load(use)
    assert name in str(config) or kind == "environment"
    content = {"page": {"run": "IntrinsicPPO", "env": config.pop("env", ENV.get(kind)), "config": config}}
    if kind == "backbone" and name == "mlp":
        content["page"]["env"] = "CartPole-v1"
    (tmp_path / "page.yaml").write_text(yaml.safe_dump(content))
    (experiment,) = load_experiments(tmp_path / "page.yaml")
    assert experiment.name == "page"


@pytest.mark.parametrize("page", ["ppo.md", "snd.md"])
def test_the_experiments_of_algorithm_pages_are_accepted(tmp_path: Path, page: str) -> None:
    text = (DOCS / page).read_text()
    (tmp_path / "page.yaml").write_text(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0])
    assert len(load_experiments(tmp_path / "page.yaml")) == 1
