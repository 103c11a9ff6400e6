"""The tree itself: what must not be in it, what must agree, and documents that say what is so."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import msgspec
import pytest
import typer.main

from moiety.runtime import program
from tests.support.imports import NEEDS_RAY, NEEDS_TORCH

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 600
COLUMNS = 100
TEXT = {
    ".py",
    ".pyi",
    ".cpp",
    ".hpp",
    ".h",
    ".md",
    ".toml",
    ".yaml",
    ".yml",
    ".txt",
    ".json",
    ".csv",
    ".cmake",
    "",
}
# Written in pieces, or this file would find itself.
FOREIGN = re.compile(
    "|".join(
        (
            "/wor" + "k/",
            "/roo" + "t/",
            "/hom" + "e/",
            "/opt/py" + "pi",
            r"\bpypi\." + "org",
            "pythonhos" + "ted",
            "registry\\." + "npmjs",
        )
    )
)


def tracked() -> list[Path]:
    """The files of the project: what git has or would add; without git, everything that is not
    hidden or built.
    """
    if shutil.which("git") and (ROOT / ".git").exists():
        listing = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        paths = [ROOT / name for name in listing.split("\0") if name]
    else:
        hidden = re.compile(r"(^|/)(\.[^/]+|build|dist|out|__pycache__)/")
        paths = [
            path for path in ROOT.rglob("*") if not hidden.search(f"{path.relative_to(ROOT)}/")
        ]
    return [path for path in paths if path.is_file()]


def texts() -> dict[str, str]:
    return {
        str(p.relative_to(ROOT)): p.read_text(encoding="utf-8")
        for p in tracked()
        if p.suffix in TEXT and p.stat().st_size < 1 << 20 and "corpus" not in p.parts
    }


def documents() -> dict[str, str]:
    return {name: text for name, text in texts().items() if name.endswith(".md")}


def test_no_machine_path_and_no_registry_in_the_tree() -> None:
    found = [
        f"{name}: {match[0]}" for name, text in texts().items() for match in FOREIGN.finditer(text)
    ]
    assert not found


def test_files_can_be_read_at_once() -> None:
    code = {
        name: text.count("\n")
        for name, text in texts().items()
        if Path(name).suffix in {".py", ".pyi", ".cpp", ".hpp", ".h", ".md"}
    }
    assert len(code) > 50
    assert not {name: lines for name, lines in code.items() if lines > LONGEST}


@pytest.mark.parametrize("name", sorted(documents()))
def test_documents_have_100_columns(name: str) -> None:
    """Sections and documents that a script writes are as wide as their tables."""
    made = re.compile(r"<!-- \w+: begin -->.*?<!-- \w+: end -->", re.S)
    text = made.sub("", (ROOT / name).read_text(encoding="utf-8"))
    if not text.startswith("# ONNX operators\n\nWritten by"):
        assert not [line for line in text.splitlines() if len(line) > COLUMNS]


def test_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert metadata.version("moiety") == project["version"]


def test_nothing_shadows_the_package() -> None:
    """Tests run in the checkout, against the installed package: a `moiety/` folder here would be
    imported instead.
    """
    assert not (ROOT / "moiety").exists()


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    declared = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.M)[0].split())
    defined = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.M))
    shown = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    listed = set(re.findall(r"^  make ([a-z-]+) ", shown, re.M))
    assert declared == defined == listed


def test_continuous_integration_runs_the_tests() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert "make test" in script.read_text()


@pytest.mark.parametrize("name", sorted(documents()))
def test_documents_name_files_that_exist(name: str) -> None:
    """Relative links, and paths in backticks that begin with one of the tree's folders."""
    text = (ROOT / name).read_text()
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    links = [
        link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in link
    ]
    missing = [link for link in links if link and not ((ROOT / name).parent / link).exists()]
    folders = "|".join(
        ("benchmarks", "compiler", "docs", "models", "native", "protocols", "runtime", "tests")
    )
    paths = re.findall(rf"`((?:{folders})/[\w./-]+)`", prose)
    missing += [
        path
        for path in paths
        if not any((ROOT / (path + suffix)).exists() for suffix in ("", ".py"))
    ]
    assert not missing


def test_every_word_of_the_glossary_says_where_it_is_defined() -> None:
    """A file or a page; that they exist is tested above."""
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    entries = re.findall(r"^- (.*?)(?=^- |^#|\Z)", text, re.M | re.S)
    assert len(entries) > 50
    assert not [each for each in entries if not re.search(r"`\w+/[\w./-]+`|\.md\)", each)]


def test_every_public_field_is_documented() -> None:
    """docs/security.md lists what a Program tells: a field that is added must be judged there."""
    page = (ROOT / "docs" / "security.md").read_text()
    section = page.split("## What is public")[1].split("## ")[0]
    named = set(re.findall(r"\w+", section))
    structs: list[type[msgspec.Struct]] = [
        program.Program,
        program.Preprocessing,
        program.RlwePlan,
        *program.KINDS,
    ]
    assert len(structs) > 15
    assert not {
        f"{each.__name__}.{name}"
        for each in structs
        for name in each.__struct_fields__
        if name not in named
    }


def command_lines() -> list[tuple[str, str]]:
    """(document, command): each `moiety ...` and `python -m ...` in the documents' code blocks."""
    found = []
    for name, text in documents().items():
        for block in re.findall(r"^```(?:sh|console|bash)\n(.*?)^```", text, re.M | re.S):
            for line in block.replace("\\\n", " ").splitlines():
                command = line.split("#")[0].strip().removeprefix("$ ")
                if re.match(r"moiety |python3? -m (moiety|benchmarks)\.", command):
                    found.append((name, command))
    return found


def test_documents_teach_commands() -> None:
    commands = {
        re.split(r"\s+", command)[1]
        for _, command in command_lines()
        if command.startswith("moiety ")
    }
    assert commands >= {"compile", "inspect", "simulate", "serve", "infer", "demo"}


@pytest.mark.parametrize(
    ("name", "command"), [pytest.param(n, c, id=f"{n}: {c[:60]}") for n, c in command_lines()]
)
def test_documented_commands_exist(name: str, command: str) -> None:
    """The subcommand and each long option of a documented command are the program's own."""
    from moiety.runtime.cli.app import app, load

    options = set(re.findall(r"(?<!\S)(--[a-z-]+)", command))
    if command.startswith("moiety "):
        word, *more = command.split()[1:]
        known = typer.main.get_command(app) if word.startswith("-") else load(word)
        known = getattr(known, "commands", {}).get(" ".join(more[:1]), known)
        taken = {
            option
            for parameter in known.params
            for option in (*parameter.opts, *parameter.secondary_opts)
        }
        assert options <= taken | {"--help"}
    else:
        module = command.split()[2]
        if module.startswith("benchmarks.") and module not in (*NEEDS_RAY, *NEEDS_TORCH):
            known_options = importlib.import_module(module).parser().format_help()
        else:  # needs an extra: read, not imported
            path = ROOT / (module.removeprefix("moiety.").replace(".", "/") + ".py")
            known_options = path.read_text()
        assert all(option in known_options for option in options)
