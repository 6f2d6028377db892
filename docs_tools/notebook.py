"""Executes the notebook as it stands: ``python -m docs_tools.notebook`` (``--write``: and keeps what it shows)."""

from __future__ import annotations

import argparse
import tempfile

import nbformat
from nbclient import NotebookClient

from docs_tools.site import ROOT

NOTEBOOK = ROOT / "docs" / "guide" / "deep_sea.ipynb"


def main() -> None:
    """Ends with an error where a cell does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep the outputs in the file")
    write = parser.parse_args().write
    book = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory(prefix="notebook_") as folder:
        NotebookClient(book, timeout=600, resources={"metadata": {"path": folder}}).execute()
    if write:
        for cell in book.cells:
            cell.metadata.pop("execution", None)
        nbformat.write(book, NOTEBOOK)
    print(f"{NOTEBOOK.relative_to(ROOT)}: {len(book.cells)} cells, all run")


if __name__ == "__main__":
    main()
