"""What the documents on security name as their proof is there, and each of their sections names
some, or rests on what is said here.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("SECURITY.md", "docs/security.md", "docs/claims.md", "docs/trust.md", "docs/ahead.md")
HELD = ("SECURITY.md", "docs/security.md", "docs/ahead.md")
CLAIMS = "docs/claims.md"
"""Names what shows the sections of docs/security.md, under their headings."""

UNTESTED = {
    "SECURITY.md#Security": "a title",
    "SECURITY.md#Reporting a vulnerability": "a request to people",
    "docs/security.md#Security model": "says what the page is",
    "docs/ahead.md#Runs that are prepared ahead": "says what the page is",
}
"""Sections that name no test -> what they are instead."""

NAMED = re.compile(r"`(tests/[\w/-]+\.py)?(?:::([\w:]+))?`")
"""A file, a test of it, or another test of the file that was named last."""


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


def named(text: str) -> list[tuple[str, str]]:
    """(file, test or nothing) of all that a text names; a bare `::test` is of the file before."""
    found, last = [], ""
    for file, name in NAMED.findall(text):
        last = file or last
        if file or name:
            found.append((last, name))
    return found


def false(text: str) -> list[str]:
    """The tests that a text names and that are not there."""
    wrong = []
    for file, name in named(text):
        path = ROOT / file
        if not file or not path.exists() or (name and name not in functions(path)):
            wrong.append(f"{file}::{name}" if name else file)
        elif name and not name.split("::")[-1].startswith("test_"):
            wrong.append(f"{file}::{name} is no test")
    return wrong


def names() -> list[str]:
    """Every name of a test that a document gives, with the file that it is of."""
    found = (named(text_of(document)) for document in DOCUMENTS)
    return sorted({"::".join(filter(None, each)) for document in found for each in document})


def sections(document: str) -> dict[str, str]:
    """What stands under each heading, up to the next one of any level."""
    parts = re.split(r"^#+ (.+)$", text_of(document), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def bare(document: str) -> set[str]:
    """`document#heading` of what names no single test, here or among the claims: a file alone says
    too little.
    """
    claims = sections(CLAIMS) if document == "docs/security.md" else {}
    return {
        f"{document}#{head}"
        for head, body in sections(document).items()
        if not any(name for _, name in named(body + claims.get(head, "")))
    }


@pytest.mark.parametrize("name", names())
def test_every_test_that_is_named_exists(name: str) -> None:
    assert false(f"`{name}`") == []


def test_every_section_names_a_test_or_says_what_it_is() -> None:
    """Nor does the list outlive what it excuses, nor a claim the section that makes it."""
    assert {head for document in HELD for head in bare(document)} == set(UNTESTED)
    title, *claims = sections(CLAIMS)
    assert title == "Claims and their tests"
    assert [head for head in sections("docs/security.md") if head in claims] == claims


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_name_of_a_test_is_written_so_that_nobody_checks_it(document: str) -> None:
    """Every mention of a Python file of the tests has the form that is checked."""
    text = text_of(document)
    mentions = re.findall(r"tests/[\w/-]+\.py", re.sub(r"```.*?```", "", text, flags=re.S))
    assert mentions == [file for file, _ in NAMED.findall(text) if file]
    assert not re.findall(r"(?<![:\w])test_\w+(?=`)", NAMED.sub("", text))


@pytest.mark.parametrize(
    "text",
    [
        "`tests/protocols/test_nothing.py`",
        "`tests/project/test_claims.py::test_that_nobody_wrote`",
        "`tests/project/test_claims.py::false`",
        "`tests/project/test_claims.py::test_a_true_name_is_not`, `::test_that_nobody_wrote`",
        "`::test_of_no_file`",
    ],
)
def test_a_false_name_is_found(text: str) -> None:
    assert len(false(text)) == 1


def test_a_true_name_is_not() -> None:
    text = "`tests/project/test_claims.py::test_a_true_name_is_not`, `::test_a_false_name_is_found`"
    assert false(text) == []
    assert len(named(text)) == 2
