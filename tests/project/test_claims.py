"""What the documents on security name as their proof is there: tests, files, decisions."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("SECURITY.md", "docs/security.md", "docs/trust.md")
NAMED = re.compile(r"`(tests/[\w/-]+\.py)(?:::([\w:]+))?`")


def text_of(document: str) -> str:
    """With names that a line's end divides made whole."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.sub(r"(`tests/[^`\n]*)\n\s*([^`\n]*`)", r"\1\2", text)


def functions(path: Path) -> set[str]:
    """Tests of a file by name; those of a class as `Class::test`."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            inner = (each for each in node.body if isinstance(each, ast.FunctionDef))
            found |= {f"{node.name}::{each.name}" for each in inner}
    return found


def false(text: str) -> list[str]:
    """The tests that a text names and that are not there."""
    wrong = []
    for file, name in NAMED.findall(text):
        path = ROOT / file
        if not path.exists() or (name and name not in functions(path)):
            wrong.append(f"{file}::{name}" if name else file)
        elif name and not name.split("::")[-1].startswith("test_"):
            wrong.append(f"{file}::{name} is no test")
    return wrong


def names() -> list[str]:
    """Every name of a test that a document gives, as it is written there."""
    found = (NAMED.findall(text_of(document)) for document in DOCUMENTS)
    return sorted({"::".join(filter(None, each)) for document in found for each in document})


@pytest.mark.parametrize("name", names())
def test_every_test_that_is_named_exists(name: str) -> None:
    assert false(f"`{name}`") == []


@pytest.mark.parametrize("document", ["SECURITY.md", "docs/security.md"])
def test_the_documents_name_tests(document: str) -> None:
    assert NAMED.search(text_of(document))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_name_of_a_test_is_written_so_that_nobody_checks_it(document: str) -> None:
    """Every mention of a Python file of the tests has the form that is checked."""
    text = text_of(document)
    mentions = re.findall(r"tests/[\w/-]+\.py", re.sub(r"```.*?```", "", text, flags=re.S))
    assert mentions == [file for file, _ in NAMED.findall(text)]
    assert not re.findall(r"(?<![:\w])test_\w+(?=`)", NAMED.sub("", text))


@pytest.mark.parametrize(
    "text",
    [
        "`tests/protocols/test_nothing.py`",
        "`tests/project/test_claims.py::test_that_nobody_wrote`",
        "`tests/project/test_claims.py::false`",
    ],
)
def test_a_false_name_is_found(text: str) -> None:
    assert len(false(text)) == 1


def test_a_true_name_is_not() -> None:
    assert false("`tests/project/test_claims.py::test_a_true_name_is_not`") == []
