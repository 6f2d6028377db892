"""Builds the site: ``python -m docs_tools.site`` (``make docs``). A link or page that is missing is an error.

Pages stay where they are in the repository, so that the same relative links lead somewhere on the site, in a checkout
and on a code host. What they link to is laid beside them.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE, SITE = ROOT / "build" / "site_source", ROOT / "build" / "site"
#: What is on the site, by patterns of the repository.
PAGES = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/**/*.md",
    "experiments/*/*.md",
    "benchmarks/*.md",
    "benchmarks/results/*.md",
    "deploy/*.md",
)
LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)\s#]+)")
_WHOLE_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?://|mailto:|#)([^)\s#]+)\)")


def pages() -> list[Path]:
    """All pages of the site."""
    return sorted({path for pattern in PAGES for path in ROOT.glob(pattern)})


def linked(page: Path) -> Iterator[Path]:
    """Files of the repository that a page links to or shows, other pages left out."""
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        path = (page.parent / target).resolve()
        if path.is_file() and path.suffix != ".md" and path.is_relative_to(ROOT):
            yield path


def for_the_site(page: Path) -> str:
    """The text of a page as the site has it: what is folded is Markdown too, and a folder has no page to link to."""
    text = page.read_text(encoding="utf-8").replace("<details>", '<details markdown="1">')
    return _WHOLE_LINK.sub(lambda link: link[1] if (page.parent / link[2]).is_dir() else link[0], text)


def lay_out(folder: Path) -> None:
    """Writes the sources of the site into a folder, which is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    for page in pages():
        target = folder / page.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(for_the_site(page), encoding="utf-8")
        for path in linked(page):
            beside = folder / path.relative_to(ROOT)
            beside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, beside)
    shutil.copyfile(ROOT / "docs" / "site.css", folder / "docs" / "site.css")


def main() -> None:
    """Builds the site, or shows it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--serve", action="store_true", help="show it on this machine (pages as they are now)")
    command = ["serve"] if parser.parse_args().serve else ["build", "--clean"]
    lay_out(SOURCE)
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run([sys.executable, "-m", "mkdocs", *command, "--strict"], cwd=ROOT, env=environment)
    if done.returncode == 0:
        print(f"{SITE.relative_to(ROOT)}/index.html: {len(pages())} pages")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
