"""What pyproject.toml asks for, and what the lock files in `requirements/` say."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BUILD = FOLDER / "build.in"
WITH_BUILD = ("test", "extras", "trust")
LOCKS = {
    "party": (),
    "test": ("test",),
    "extras": ("extras",),
    "trust": ("trust",),
}
"""Name of a lock file -> the extras that it has beside the base."""


@dataclass(frozen=True)
class Pin:
    """One distribution of a lock file."""

    name: str
    version: str
    hashes: frozenset[str]


def lines(path: Path) -> list[str]:
    """Of a list of requirements, comments aside."""
    texts = (line.partition("#")[0].strip() for line in path.read_text("utf-8").splitlines())
    return [text for text in texts if text]


def expanded(extras: Iterable[str]) -> list[str]:
    """The requirements of these extras, with those of the extras that they name."""
    found: dict[str, None] = {}
    for extra in extras:
        for text in PROJECT["optional-dependencies"][extra]:
            requirement = Requirement(text)
            inner = expanded(sorted(requirement.extras)) if requirement.name == "moiety" else [text]
            found.update(dict.fromkeys(inner))
    return list(found)


def wanted(lock: str) -> list[str]:
    """All that is asked for directly where this lock is installed."""
    built = lines(BUILD) if lock in WITH_BUILD else []
    return [*PROJECT["dependencies"], *expanded(LOCKS[lock]), *built]


def file_of(lock: str) -> Path:
    return FOLDER / f"{lock}.lock"


def pins(lock: str) -> dict[str, Pin]:
    """The distributions of a lock file by name. Raises ValueError where a line is not one."""
    found: dict[str, Pin] = {}
    text = file_of(lock).read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        pinned = re.fullmatch(r"([\w.-]+)==(\S+)((?: +--hash=sha256:[0-9a-f]{64})+)", line.rstrip())
        if pinned is None:
            raise ValueError(f"{file_of(lock).name}: not a pinned distribution: {line[:80]}")
        name = canonicalize_name(pinned[1])
        hashes = re.findall(r"[0-9a-f]{64}", pinned[3])
        found[name] = Pin(name, pinned[2], frozenset(hashes))
    return found
