"""Draw the pictures.

python -m tests.project.pictures             name those that are out of date
python -m tests.project.pictures --write     draw them anew
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from tests.project.pictures import compilation, house, layer, relu, widths
from tests.project.pictures.svg import Picture

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "pictures"
PICTURES: dict[str, Callable[[], Picture]] = {
    "house": house.draw,
    "compilation": compilation.draw,
    "relu": relu.draw,
    "layer": layer.draw,
    "widths": widths.draw,
}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--write", action="store_true", help="change the files")
    write = parser.parse_args().write
    for name, draw in PICTURES.items():
        path, text = FOLDER / f"{name}.svg", draw().svg()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            print(path.name)
            if write:
                path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
