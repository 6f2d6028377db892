"""Writes the parts of the docs that are made of the code: ``python -m docs_tools.generate`` (``--check``: only looks).

A page asks for them by a pair of comments; what is between is replaced::

    <!-- made: options reward rnd -->
    <!-- /made -->
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from docs_tools.blocks import make
from docs_tools.sources import DOCS, FOLDERS, names_of

BLOCK = re.compile(r"<!-- made: (.*?) -->\n.*?<!-- /made -->", re.DOTALL)


def generated(text: str) -> str:
    """The text of a page with every made part as the code has it now."""
    return BLOCK.sub(lambda found: _block(found[1]), text)


def _block(words: str) -> str:
    body = "\n".join(make(words.split()))
    return f"<!-- made: {words} -->\n\n{body}\n\n<!-- /made -->"


def pages() -> list[Path]:
    """All pages of the docs."""
    return sorted(DOCS.rglob("*.md"))


def missing_pages() -> list[str]:
    """Pages that a plug-in or a family of environments lacks, and parts that such a page lacks."""
    lacking = []
    for kind, folder in FOLDERS.items():
        for name in names_of(kind):
            path = DOCS / folder / f"{name}.md"
            text = path.read_text(encoding="utf-8") if path.is_file() else ""
            for part in ("facts", "options", "results"):
                if f"made: {part} {kind} {name} -->" not in text:
                    lacking.append(f"{path.relative_to(DOCS)}: {part}")
    return lacking


def main() -> None:
    """Writes, or says what would be written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a page is not up to date")
    only_looks = parser.parse_args().check
    old = 0
    for page in pages():
        text = page.read_text(encoding="utf-8")
        new = generated(text)
        if new != text:
            old += 1
            print(f"{'old' if only_looks else 'written'}: {page.relative_to(DOCS.parent)}")
            if not only_looks:
                page.write_text(new, encoding="utf-8")
    for lack in missing_pages():
        print(f"missing: docs/{lack}")
        old += 1
    sys.exit(1 if old and only_looks else 0)


if __name__ == "__main__":
    main()
