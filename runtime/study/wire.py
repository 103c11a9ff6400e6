"""What the process of a study and those of its sessions say to each other: JSON, a line each.

The first line down is the plan, each further one a task; the end of the lines is a goodbye. Paths
travel as bytes, for a file's name need not be text.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from moiety.protocols.errors import (
    BadArtifact,
    BadInput,
    BadModel,
    BadPlan,
    ContractViolation,
    DeviatingPeer,
    MoietyError,
    NetworkFailure,
    PeerMismatch,
    UntrustedPeer,
)
from moiety.runtime.party.framing import PeerRefused
from moiety.runtime.party.stock import ItemLost
from moiety.runtime.results.record import ImageResult

_ERRORS: dict[str, type[MoietyError]] = {
    kind.__name__: kind
    for kind in (
        BadArtifact,
        BadInput,
        BadModel,
        BadPlan,
        ContractViolation,
        DeviatingPeer,
        ItemLost,
        NetworkFailure,
        PeerMismatch,
        UntrustedPeer,
    )
}
T = TypeVar("T")


class Answer(msgspec.Struct, frozen=True, tag_field="answer", tag=str.lower):
    """All that follow."""


class Waits(Answer, frozen=True):
    """The server has `ahead` clients before this one (0: it is not ready)."""

    ahead: int


class Opened(Answer, frozen=True):
    """The session is open."""


class Done(Answer, frozen=True):
    """Of a task."""

    results: list[ImageResult]


class Failed(Answer, frozen=True, kw_only=True):
    """An error, as `error_of` makes it again. `refused`, `seconds`: of a PeerRefused."""

    kind: str
    message: str
    refused: str | None = None
    seconds: float | None = None


AnyAnswer = Waits | Opened | Done | Failed


_answers = msgspec.json.Decoder(AnyAnswer)


def failed(error: MoietyError) -> Failed:
    """How an error travels."""
    names: Iterable[str] = (kind.__name__ for kind in type(error).__mro__)
    kind = next(name for name in names if name in _ERRORS)
    if isinstance(error, PeerRefused):
        return Failed(kind=kind, message=str(error), refused=error.reason, seconds=error.seconds)
    return Failed(kind=kind, message=str(error))


def error_of(failure: Failed) -> MoietyError:
    """The inverse of `failed`."""
    if failure.refused is not None:
        return PeerRefused(failure.message, failure.refused, failure.seconds)
    return _ERRORS[failure.kind](failure.message)


def line_of(word: object) -> bytes:
    """One line."""
    return msgspec.json.encode(word, enc_hook=_down) + b"\n"


def word_of(line: bytes, kind: type[T]) -> T:
    """The inverse, of a line that `line_of` made."""
    return msgspec.json.decode(line, type=kind, dec_hook=_up)


def answer_of(line: bytes) -> AnyAnswer:
    """The inverse, of an answer."""
    return _answers.decode(line)


def _down(value: object) -> str:
    if isinstance(value, Path):
        return base64.b64encode(os.fsencode(value)).decode()
    raise TypeError(f"{type(value)} does not travel")


def _up(kind: type[Any], value: str) -> Any:
    if kind is Path:
        return Path(os.fsdecode(base64.b64decode(value)))
    raise TypeError(f"{kind} does not travel")
