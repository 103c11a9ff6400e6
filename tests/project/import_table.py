"""The import table of a checkout: which room imports which, what is imported inside functions, and
where modules go round in circles.

    python -m tests.project.import_table                       this checkout, house by house
    python -m tests.project.import_table --rooms               room by room: compiler.planning, ...
    python -m tests.project.import_table /path/to/checkout     another one, for a comparison
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from tests.support.imports import Checkout, circles

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("checkout", nargs="?", type=Path, default=ROOT)
    parser.add_argument("--rooms", action="store_true", help="the folders in each house apart")
    arguments = parser.parse_args()
    print(report(Checkout(arguments.checkout), 2 if arguments.rooms else 1))


def report(checkout: Checkout, depth: int) -> str:
    """The whole text. `depth`: how many names deep a room is."""
    counts = _counts(checkout, depth)
    width = max((len(importer) for importer, _ in counts), default=0)
    lines = ["names imported from one room to another (modules that import):"]
    for (importer, imported), (names, modules) in sorted(counts.items()):
        lines.append(f"  {importer:{width}} -> {imported:{width}} {names:4} ({modules})")
    lines += ["", "of these both ways, by room:"]
    lines += [
        f"  {a} <-> {b}: {counts[a, b][0]} and {counts[b, a][0]}"
        for a, b in sorted(counts)
        if a < b and (b, a) in counts
    ] or ["  none"]
    inside = [each for each in checkout.every_import() if each.place == "function"]
    places = Counter(each.importer for each in inside)
    lines += ["", f"imports inside functions: {len(inside)} names in {len(places)} modules"]
    lines += [f"  {module}: {count}" for module, count in sorted(places.items())]
    lines += ["", "modules in a circle, when they load:"]
    lines += _shown(circles(checkout.graph("module")))
    lines += ["", "modules in a circle, with imports inside functions and for types:"]
    lines += _shown(circles(checkout.graph("module", "function", "type checking")))
    return "\n".join(lines)


def _counts(checkout: Checkout, depth: int) -> dict[tuple[str, str], tuple[int, int]]:
    """(importing room, imported room) -> names imported, modules that import one."""
    names: Counter[tuple[str, str]] = Counter()
    modules: dict[tuple[str, str], set[str]] = {}
    for each in checkout.every_import():
        imported = checkout.module_of(each.name)
        if imported is None:
            continue
        arrow = _room(checkout, each.importer, depth), _room(checkout, imported, depth)
        if arrow[0] != arrow[1]:
            names[arrow] += 1
            modules.setdefault(arrow, set()).add(each.importer)
    return {arrow: (count, len(modules[arrow])) for arrow, count in names.items()}


def _room(checkout: Checkout, module: str, depth: int) -> str:
    """The folder that a module is in, at most so many names deep."""
    package = module
    if checkout.paths[module].name != "__init__.py":
        package = module.rpartition(".")[0]
    return ".".join(package.removeprefix("moiety.").split(".")[:depth])


def _shown(found: list[list[str]]) -> list[str]:
    return ["  " + ", ".join(circle) for circle in found] or ["  none"]


if __name__ == "__main__":
    main()
