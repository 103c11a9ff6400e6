"""The code blocks of documents, and how they are run.

    python -m tests.support.blocks docs/start.md     run a page's blocks in the working folder

Blocks of Python and of shell commands run in the page's order: Python in one namespace, commands
in the same folder. `moiety serve` stays up to the page's end, as in a terminal of its own. Port
7700, of whichever host (`ADDRESS`), stands for a free one of this machine. A block of text right
after Python is what it prints. What is not run says why, in a comment on the line above:

    <!-- not run: it needs root -->
    <!-- run by: tests/runtime/test_two_machines.py -->       a test of its own walks the page
    <!-- slow: a large network -->                            run by `make test-extras`

Right below the page's title it holds for all of its blocks.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("python", "sh")
MARKS = ("not run", "run by", "slow")
ADDRESS = re.compile(r"\b(?:127\.0\.0\.1|0\.0\.0\.0|vendor\.example):7700\b")
PORT = "port=7700"
"""The same in Python."""
NOT_HERE = re.compile(r"^(pip install|python3? -m venv) .*$", re.M)
"""Lines that are left out: Moiety is installed where its documents are tested."""
COMMAND = (sys.executable, "-m", "moiety.runtime.cli")
FUNCTIONS = f"""set -eu
moiety() {{ {shlex.join(COMMAND)} "$@"; }}
python() {{ {shlex.quote(sys.executable)} "$@"; }}
"""

_MARK = r"<!-- (?P<mark>[a-z ]+): (?P<why>[^\n]*) -->\n"
_PAGE = re.compile(rf"\A# [^\n]*\n\n{_MARK}\n")
_BLOCK = re.compile(
    rf"(?:^{_MARK})?"
    r"^```(?P<language>\w+)\n(?P<code>.*?)^```$"
    r"(?:\n+^```text\n(?P<prints>.*?)^```$)?",
    re.M | re.S,
)


@dataclass(frozen=True)
class Block:
    """A block of code. line: of its first line in the page; mark, why: as above, or empty; prints:
    what stands behind it, if that is a block of text.
    """

    page: str
    line: int
    language: str
    code: str
    mark: str
    why: str
    prints: str | None

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: str) -> list[Block]:
    """The blocks of a document, a path in the tree, in the languages that can be run."""
    text = (ROOT / page).read_text(encoding="utf-8")
    whole = _PAGE.match(text)
    mark, why = (whole["mark"], whole["why"]) if whole else ("", "")
    return [
        Block(
            page,
            text.count("\n", 0, match.start("code")) + 1,
            match["language"],
            match["code"],
            match["mark"] or mark,
            match["why"] or why,
            match["prints"],
        )
        for match in _BLOCK.finditer(text)
        if match["language"] in LANGUAGES
    ]


def main(arguments: list[str]) -> None:
    """Run a page's blocks that no mark takes out, those marked slow, too."""
    (page,) = arguments
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.ExitStack() as servers:
        port = _free_port()
        for block in blocks_of(page):
            if block.mark in ("", "slow"):
                print(f"--- {block.place}", flush=True)
                if block.language == "python":
                    code = block.code.replace(PORT, f"port={port}")
                    run_python(replace(block, code=code), namespace)
                else:
                    run_commands(ADDRESS.sub(f"127.0.0.1:{port}", block.code), servers)


def run_python(block: Block, namespace: dict[str, Any]) -> None:
    """A traceback shows the page's lines. Raises AssertionError where something else is printed."""
    source = "\n" * (block.line - 1) + block.code
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, str(ROOT / block.page), "exec"), namespace)
    text = printed.getvalue()
    print(text, end="")
    if block.prints is not None and trimmed(text) != trimmed(block.prints):
        raise AssertionError(f"{block.place} prints something else:\n{text}")


def trimmed(text: str) -> str:
    """Without what cannot be seen."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def run_commands(code: str, servers: contextlib.ExitStack) -> None:
    """What lies between two servers is one script."""
    script: list[str] = []
    for line in NOT_HERE.sub("", code).replace("\\\n", " ").splitlines():
        if line.startswith("moiety serve "):
            _run_script(script)
            script = []
            servers.enter_context(_serving(shlex.split(line, comments=True)[1:]))
        else:
            script.append(line)
    _run_script(script)


def _run_script(lines: list[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": _path(), "NO_COLOR": "1"}
    subprocess.run(
        ["bash", "-c", FUNCTIONS + "\n".join(lines)], env=environment, check=True, timeout=200
    )


@contextlib.contextmanager
def _serving(arguments: list[str]) -> Iterator[None]:
    """Until the page ends; it must have started, and end in order."""
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline().startswith("listening ")
        yield
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0


def _path() -> str:
    """Where `python -m benchmarks...` finds the tree."""
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main(sys.argv[1:])
