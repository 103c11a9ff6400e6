"""docs/two-machines.md walked by its own text: what it tells vendor and hospital to type is run, in
its order, in two folders that stand for two machines. Substituted are what the page leaves to its
readers: fingerprints, and the addresses.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.command import COMMAND, ENVIRONMENT, Compiled

PAGE = Path(__file__).resolve().parents[2] / "docs" / "two-machines.md"

NOT_RUN = ("python3 -m venv", "pip install", "moiety demo")
"""Moiety is installed where tests run; the demo has tests of its own."""


@dataclass
class Machine:
    """A folder, a key store, and nothing of the other side's."""

    folder: Path
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.environment = {**ENVIRONMENT, "MOIETY_KEYS": str(self.folder / "keys")}

    def run(self, *arguments: str) -> str:
        """What a command prints; it must succeed."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.stderr)
        return done.stdout

    @contextmanager
    def serving(self, *arguments: str) -> Iterator[str]:
        """The address of a command that goes on."""
        with (self.folder / "serve.log").open("w") as log:
            process = subprocess.Popen(
                [*COMMAND, *arguments],
                cwd=self.folder,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert process.stdout is not None
        try:
            yield process.stdout.readline().removeprefix("listening ").strip()
        finally:
            process.terminate()
            assert process.wait(timeout=30) == 0


def commands() -> list[tuple[str, list[str]]]:
    """(number of the section, words of a `moiety` command), in the page's order."""
    found = []
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.M)[1:]:
        for block in re.findall(r"^```sh\n(.*?)^```", section, re.M | re.S):
            for line in block.splitlines():
                if not line.startswith(NOT_RUN):
                    assert line.startswith("moiety "), line
                    found.append((section[0], shlex.split(line)[1:]))
    return found


def test_the_tutorial_does_what_it_says(compiled: Compiled, tmp_path: Path) -> None:
    a, b = Machine(tmp_path / "A"), Machine(tmp_path / "B")
    pictures = sorted(compiled.pictures.iterdir())
    shutil.copy(compiled.model, b.folder / "model.onnx")
    for folder in (b.folder / "training-images", b.folder / "held-out-images", a.folder / "cohort"):
        shutil.copytree(compiled.pictures, folder)
    for number in (1, 2):
        shutil.copy(pictures[number], a.folder / f"x-ray-{number}.png")
    steps = commands()
    trusting = [words for _, words in steps if words[:2] == ["keys", "trust"]]
    assert [words[2] for words in trusting] == ["hospital", "vendor"]

    def said(section: str, *verbs: str) -> list[list[str]]:
        return [words for at, words in steps if at == section and words[0] in verbs]

    for words in said("1", "compile", "inspect", "simulate"):
        b.run(*words)
    shutil.copy(b.folder / "compiled" / "model.moiety", a.folder)  # the mail of section 2
    for words in said("2", "inspect"):
        assert "Disclosed about the weights" in a.run(*words)
    (new,) = (words for _, words in steps if words[:2] == ["keys", "new"])
    for machine in (a, b):
        machine.run(*new)
    heard = {"FINGERPRINT-OF-A": fingerprint(a), "FINGERPRINT-OF-B": fingerprint(b)}
    for machine, words in zip((b, a), trusting, strict=True):
        machine.run(*(heard.get(word, word) for word in words))
    (serve,) = said("4", "serve")
    assert "0.0.0.0:7700" in serve
    with b.serving(*("127.0.0.1:0" if word == "0.0.0.0:7700" else word for word in serve)) as at:
        for words in said("5", "infer"):
            a.run(*(at if word == "vendor.example:7700" else word for word in words))
    log = (b.folder / "serve.log").read_text()
    assert f"over TLS, key {heard['FINGERPRINT-OF-A']} of 'hospital'" in log
    for name, count in (("results.json", 2), ("cohort.json", len(pictures))):
        results = json.loads((a.folder / name).read_text())
        assert results["complete"]
        assert len(results["images"]) == count
        assert results["fingerprints"]["server"] == heard["FINGERPRINT-OF-B"]
    assert {verb for _, (verb, *_) in steps} == {
        "compile",
        "infer",
        "inspect",
        "keys",
        "serve",
        "simulate",
    }


def fingerprint(machine: Machine) -> str:
    """As its owner reads it out."""
    found = re.search(r"([A-Z2-7]{7}-){7}[A-Z2-7]{7}", machine.run("keys", "show"))
    assert found is not None
    return found.group()
