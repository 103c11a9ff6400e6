"""Draw the pictures.

python -m tests.project.pictures             name those that are out of date
python -m tests.project.pictures --write     draw them anew
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.project.made import bring_up_to_date
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
    files = ((FOLDER / f"{name}.svg", draw().svg()) for name, draw in PICTURES.items())
    bring_up_to_date(__doc__ or "", files)


if __name__ == "__main__":
    main()
