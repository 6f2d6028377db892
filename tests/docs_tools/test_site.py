"""The site: every page is reached, every link leads somewhere, there as on a code host; what is missing is an error."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs_tools.site import ROOT, lay_out, pages

CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
FENCED = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)


def entries(nav: Any) -> Iterator[str]:
    for entry in nav:
        if isinstance(entry, dict):
            for value in entry.values():
                yield from entries(value if isinstance(value, list) else [value])
        else:
            yield str(entry)


def prose(page: Path) -> str:
    """A page without its code."""
    return FENCED.sub("", page.read_text())


def anchors(page: Path) -> tuple[set[str], set[str]]:
    """The anchors of a page's headings as a code host and as MkDocs make them."""
    hosts: set[str] = set()
    sites: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        host = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        site = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", words.replace("`", "")).strip())
        hosts.add(host if host not in hosts else f"{host}-1")
        sites.add(site)
    return hosts, sites


def test_it_has_no_plugins_and_stops_at_what_is_missing() -> None:
    assert "plugins" not in CONFIG and "hooks" not in CONFIG
    assert CONFIG["strict"] is True
    told = CONFIG["validation"]
    assert {told["nav"][k] for k in ("omitted_files", "not_found", "absolute_links")} == {"warn"}
    assert {told["links"][k] for k in ("not_found", "anchors", "absolute_links", "unrecognized_links")} == {"warn"}


def test_every_page_is_in_the_navigation_once() -> None:
    listed = list(entries(CONFIG["nav"]))
    assert len(listed) == len(set(listed))
    left_out = [pattern.strip("/") for pattern in CONFIG["not_in_nav"].split()]
    there = {str(page.relative_to(ROOT)) for page in pages()}
    assert set(listed) == {page for page in there if not any(fnmatch.fnmatch(page, one) for one in left_out)}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page.name} links to {target}"
        if anchor:
            for there in anchors(path):
                assert anchor in there, f"{page.name} links to {target}; there is {sorted(there)}"


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_lists_and_tables_are_such_on_the_site_too(page: Path) -> None:
    """MkDocs needs an empty line before them where a code host does not."""
    before = ""
    for line in prose(page).splitlines():
        starts = re.match(r"(- |\d+\. |\|)", line)
        inside = re.match(r"(- |\d+\. |\||  |<)", before) or not before.strip()
        assert not starts or inside, f"{page.name}: an empty line is wanted before {line[:60]!r}"
        before = line


def test_what_is_linked_to_is_laid_beside(tmp_path: Path) -> None:
    lay_out(tmp_path / "source")
    for name in ("README.md", "docs/images/time.svg", "experiments/memory/warehouse.png", "cluster.yaml"):
        assert (tmp_path / "source" / name).is_file(), name
    assert '<details markdown="1">' in (tmp_path / "source/experiments/pixels/results.md").read_text()


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("[x](nothing.md)", "nothing.md"),
        ("[x](other.md#nothing)", "#nothing"),
        ("![x](nothing.png)", "nothing.png"),
        (None, "not included in the"),
    ],
    ids=["page", "anchor", "image", "not listed"],
)
def test_what_is_missing_is_an_error(tmp_path: Path, page: str | None, told: str) -> None:
    pytest.importorskip("mkdocs")
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "README.md").write_text(f"# Home\n\n{page or ''}\n")
    (tmp_path / "pages" / "other.md").write_text("# Other\n")
    nav = ["README.md"] if page is None else ["README.md", "other.md"]
    config = {**CONFIG, "docs_dir": "pages", "site_dir": "site", "nav": nav, "extra_css": []}
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "mkdocs", "build"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and told in done.stderr, done.stderr
    shutil.rmtree(tmp_path / "site", ignore_errors=True)
