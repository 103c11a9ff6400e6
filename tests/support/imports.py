"""Who imports whom in a checkout, read from the source without running it.

Works on any checkout whose rooms are top-level folders, installed as `moiety.<room>` (`benchmarks`
and `tests` keep their own names), so that two commits can be compared.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

import networkx

INSTALLED = ("compiler", "models", "protocols", "runtime")
ROOMS = (*INSTALLED, "benchmarks")

NEEDS_RAY = ("benchmarks.pairs",)
"""The modules beside runtime.cluster that need Ray, an extra."""

NEEDS_TORCH = (
    "benchmarks.export_networks",
    "models.densenet",
    "models.export",
    "models.train",
    "models.zoo",
)
"""The modules that need torch, an extra."""

Place = Literal["module", "function", "type checking"]


@dataclass(frozen=True)
class Import:
    """One imported name. `name`: `from a import b` is `a.b`, a module or a name in one. `place`:
    where the statement stands; a class body counts as the module.
    """

    importer: str
    name: str
    line: int
    place: Place


class Checkout:
    """The modules of a checkout and what each of them imports.

    paths: module name -> file; a package is named after its folder, without `__init__`.
    """

    def __init__(self, root: Path, rooms: Iterable[str] = ROOMS) -> None:
        self.root = root
        self.paths: dict[str, Path] = {}
        for room in rooms:
            for path in sorted((root / room).rglob("*.py")):
                self.paths[_module_name(path.relative_to(root), room in INSTALLED)] = path

    @cached_property
    def imports(self) -> dict[str, list[Import]]:
        """Of each module. ValueError where one is relative."""
        return {name: list(_imports(name, path)) for name, path in self.paths.items()}

    def every_import(self) -> Iterator[Import]:
        """All imports of all modules."""
        for each in self.imports.values():
            yield from each

    def module_of(self, name: str) -> str | None:
        """The module of this checkout that an imported name is or is in; None for a foreign one."""
        while name and name not in self.paths:
            name = name.rpartition(".")[0]
        return name or None

    def loaded_by(self, name: str) -> list[str]:
        """What importing `name` runs: its module, and the packages around it."""
        module = self.module_of(name)
        if module is None:
            return []
        return [each for each in (*_packages(module), module) if each in self.paths]

    def graph(self, *places: Place) -> dict[str, set[str]]:
        """Module -> modules that it imports at these places. The packages around the importer began
        to load before it did; they count only where it takes a name from one.
        """
        return {
            module: {
                loaded
                for each in imports
                if each.place in places
                for loaded in self.loaded_by(each.name)
                if loaded == self.module_of(each.name) or loaded not in (module, *_packages(module))
            }
            for module, imports in self.imports.items()
        }

    def closure(self, roots: Iterable[str]) -> set[str]:
        """Every module that is loaded with these, the packages around them included."""
        edges = self.graph("module")
        waiting = [loaded for root in roots for loaded in self.loaded_by(root)]
        loaded: set[str] = set()
        while waiting:
            module = waiting.pop()
            if module not in loaded:
                loaded.add(module)
                waiting += edges[module]
        return loaded

    def foreign(self, module: str) -> set[str]:
        """The packages from outside the checkout that a module imports when it is loaded."""
        return {
            each.name.split(".")[0]
            for each in self.imports[module]
            if each.place == "module" and self.module_of(each.name) is None
        }


@cache
def this_checkout() -> Checkout:
    """The one that these tests are of, read once for all of them."""
    return Checkout(Path(__file__).resolve().parents[2])


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The sets of modules that import each other, directly or around a corner, each sorted."""
    directed = networkx.DiGraph(
        (importer, module) for importer, modules in graph.items() for module in modules
    )
    return sorted(
        sorted(together)
        for together in networkx.strongly_connected_components(directed)
        if len(together) > 1
    )


def within(name: str, package: str) -> bool:
    """Is `name` this package or module, or in it?"""
    return name == package or name.startswith(package + ".")


def _module_name(path: Path, installed: bool) -> str:
    parts = list(path.with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(["moiety", *parts] if installed else parts)


def _packages(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _imports(module: str, path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    yield from _imports_in(module, tree, "module")


def _imports_in(module: str, tree: ast.AST, place: Place) -> Iterator[Import]:
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno, place)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{module}, line {node.lineno}: absolute imports only")
            for alias in node.names:
                yield Import(module, f"{node.module}.{alias.name}", node.lineno, place)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _imports_in(module, node, "type checking")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _imports_in(module, node, "function")
        else:
            yield from _imports_in(module, node, place)


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Those right inside it; an expression, most of a tree, has none."""
    for part in ("body", "orelse", "handlers", "finalbody", "cases"):
        yield from getattr(tree, part, ())
