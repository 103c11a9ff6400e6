"""Print the table of all kernels as Markdown, or put it into a document between its markers.

python -m moiety.protocols.kernels
python -m moiety.protocols.kernels --write docs/architecture.md
"""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path

from moiety.protocols.kernels import FAMILIES

BEGIN, END = "<!-- kernels: begin -->\n", "<!-- kernels: end -->"


def table() -> str:
    """A row per kernel: its name, arguments and result, and its docstring's first line."""
    rows = ["| kernel | arguments and result | meaning |", "|---|---|---|"]
    for family in FAMILIES:
        for name in family.__all__:
            kernel = getattr(family, name)
            parameters = inspect.signature(kernel)
            arguments = ", ".join(
                f"{p.name}: {p.annotation}" for p in parameters.parameters.values()
            )
            meaning = (inspect.getdoc(kernel) or "").partition("\n")[0]
            cells = (f"`{name}`", f"`({arguments}) -> {parameters.return_annotation}`", meaning)
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def written(document: str) -> str:
    """The document with the table between its markers. Raises ValueError where it has none."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no lines {BEGIN.strip()} and {END} in the document")
    return before + begin + table() + end + after


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m moiety.protocols.kernels", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="a document with the markers")
    path = parser.parse_args().write
    if path is None:
        print(table(), end="")
    else:
        path.write_text(written(path.read_text()))


if __name__ == "__main__":
    main()
