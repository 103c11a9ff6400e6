"""The reader of imports, on a small tree of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.project.import_table import report
from tests.support.imports import Checkout, circles

FILES = {
    "compiler/__init__.py": "from moiety.compiler.door import compile_model",
    "compiler/door.py": "from moiety.compiler import names\nimport numpy as np",
    "compiler/names.py": "def late():\n    from moiety.compiler.door import compile_model",
    "runtime/__init__.py": "",
    "runtime/party.py": "from typing import TYPE_CHECKING\n"
    "from moiety.runtime import clock\n"
    "if TYPE_CHECKING:\n    from moiety.compiler.door import Plan",
    "runtime/clock.py": "import moiety.compiler.names",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return Checkout(tmp_path)


def test_places(checkout: Checkout) -> None:
    found = {(each.importer.split(".")[-1], each.place) for each in checkout.every_import()}
    assert ("names", "function") in found
    assert ("party", "type checking") in found
    assert ("door", "module") in found


def test_a_hidden_circle_is_one(checkout: Checkout) -> None:
    assert not circles(checkout.graph("module"))
    assert circles(checkout.graph("module", "function")) == [
        ["moiety.compiler.door", "moiety.compiler.names"]
    ]


def test_closure_includes_the_packages_around(checkout: Checkout) -> None:
    """`moiety.compiler` runs, and so `door`, though `clock` names `moiety.compiler.names` alone."""
    assert checkout.closure(["moiety.runtime.clock"]) == {
        "moiety.runtime",
        "moiety.runtime.clock",
        "moiety.compiler",
        "moiety.compiler.door",
        "moiety.compiler.names",
    }
    assert checkout.foreign("moiety.compiler.door") == {"numpy"}


def test_relative_imports_are_refused(tmp_path: Path) -> None:
    (tmp_path / "runtime").mkdir()
    (tmp_path / "runtime" / "party.py").write_text("from . import clock")
    with pytest.raises(ValueError, match="absolute imports only"):
        _ = Checkout(tmp_path).imports


def test_the_table_counts_names_and_modules(checkout: Checkout) -> None:
    assert "runtime -> compiler    2 (2)" in report(checkout, 1)
