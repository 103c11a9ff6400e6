"""What is decided about each file: accepted, accepted with named warnings, or refused with one
reason; files of a folder that are no images are skipped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from moiety.protocols.arrays import F32
from moiety.runtime.intake.picture import Identity, Warned
from moiety.runtime.intake.text import printable
from moiety.runtime.program import Case

Verdict = Literal["accepted", "accepted with warnings", "refused"]


def verdict_of(warnings: Iterable[Warned]) -> Verdict:
    """Of an image that is used; notes are no reason to doubt it."""
    doubted = any(not warning.note for warning in warnings)
    return "accepted with warnings" if doubted else "accepted"


@dataclass(frozen=True)
class Accepted:
    """An image that will be used, and what the user should know of it."""

    path: Path
    identity: Identity
    warnings: tuple[Warned, ...] = ()

    @property
    def verdict(self) -> Verdict:
        return verdict_of(self.warnings)


@dataclass(frozen=True, eq=False, kw_only=True)
class Taken(Accepted):
    """An accepted image with the model's input made of it, float32 of the Reader's shape, and the
    case that it makes with what is given beside it.
    """

    case: Case
    tensor: F32


@dataclass(frozen=True)
class Refused:
    """An image that must not be used. reason: without the file's name."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Skipped:
    """Something in a folder that is no image, or an image that is there already, by its
    `identity`. why: without its name.
    """

    path: Path
    why: str
    identity: Identity | None = None


def without_name(path: Path, message: str) -> str:
    """A message about a file without the file's name, which it may begin with."""
    return message.removeprefix(f"{path}: ").removeprefix(f"{printable(path)}: ")
