"""Where secrets come from, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import moiety.protocols

SOURCES = sorted(Path(moiety.protocols.__file__).parent.rglob("*.py"))
BANNED = (
    "random",
    "np.random",
    "numpy.random",
    "multiprocessing",
    "os.fork",
    "ProcessPoolExecutor",
)


def names_in(tree: ast.AST) -> Iterator[str]:
    """Of everything that is imported, and of every attribute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute):
            yield ast.unparse(node)


def test_secrets_come_from_the_operating_system_alone() -> None:
    """No other generator is as much as imported by the protocols, and no process is forked under a
    live one.
    """
    assert len(SOURCES) > 20
    seeds = []
    for path in SOURCES:
        for name in names_in(ast.parse(path.read_text())):
            assert not any(name == each or name.startswith(f"{each}.") for each in BANNED), path
            if name == "os.urandom":
                seeds.append(path.name)
    assert seeds == ["prg.py"]
