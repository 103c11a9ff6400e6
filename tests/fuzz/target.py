"""A kind of input that a stranger hands in, the code that reads it, and what is a finding."""

from __future__ import annotations

import os
import random
import resource
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from moiety.protocols.errors import ContractViolation, MoietyError
from moiety.runtime.program.bounds import VARIABLE

CORPUS = Path(__file__).parent / "corpus"

Mutate = Callable[[bytes, random.Random], bytes]
"""Another input made of one, knowing its structure; the engine's own changes of bytes come on top.
"""

SECONDS = 5.0
"""Processor time that one input may take."""
MEMORY = 1 << 30
"""Bytes of address space that one input may take beyond what the process has; the limit of which
what it would take is predicted, too.
"""
WITHOUT_THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""Environment of a process whose libraries shall not take memory for threads of their own."""
LONGEST = 4000
"""Characters of an error message that a person still reads."""


@dataclass(frozen=True)
class Target:
    """`run` hands `data` to the code as a stranger would; it may raise what is in protocols/errors,
    but ContractViolation. `seeds` are sound inputs, made here or kept; `longest`: bytes of an input
    that is tried.
    """

    name: str
    run: Callable[[bytes], object]
    seeds: Callable[[], Iterable[bytes]]
    mutate: Mutate | None = None
    longest: int = 1 << 14
    memory: int = MEMORY

    @property
    def corpus(self) -> Path:
        """Inputs that are kept: those that once were findings, and others of interest."""
        return CORPUS / self.name

    def kept(self) -> list[Path]:
        return sorted(self.corpus.iterdir()) if self.corpus.is_dir() else []


class Finding(NamedTuple):
    """What is wrong with how an input was taken. `place`: the same for findings of one cause."""

    place: str
    told: str


def judged(target: Target, data: bytes) -> Finding | None:
    """Hands `data` to the target's code. None where it is taken, or refused in plain words."""
    begun = time.process_time()
    try:
        with room(target.memory), patch.dict(os.environ, {VARIABLE: str(target.memory)}):
            target.run(data)
    except ContractViolation as error:
        return _finding(error)
    except MoietyError as error:
        if fault := unreadable(str(error)):
            return Finding(f"message {_where(error)}", f"{fault}: {str(error)[:300]!r}")
    except (Exception, SystemExit) as error:
        return _finding(error)
    took = time.process_time() - begun
    if took > SECONDS:
        return Finding("slow", f"it took {took:.1f} s of a processor")
    return None


def unreadable(message: str) -> str:
    """Why a person could not use an error message; empty if they can."""
    if not message.strip():
        return "an error without a word"
    if len(message) > LONGEST:
        return f"a message of {len(message)} characters"
    if not all(c.isprintable() or c == "\n" for c in message):
        return "a message with what cannot be printed"
    return ""


@contextmanager
def room(memory: int) -> Iterator[None]:
    """Within it the process gets no more than so many bytes of address space beyond what it has:
    what would take more raises MemoryError, however much this machine has.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = _address_space() + memory
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()


def _finding(error: BaseException) -> Finding:
    told = "".join(traceback.format_exception(error))
    return Finding(f"{type(error).__name__} {_where(error)}", told)


def _where(error: BaseException) -> str:
    """The innermost line of the project's own in the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/tests/fuzz/" not in frame.filename]
    ours = [frame for frame in own if _is_ours(frame.filename)] or own or list(frames)
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "nowhere"


def _is_ours(file: str) -> bool:
    return any(f"/{room}/" in file for room in ("runtime", "compiler", "protocols", "models"))


@cache
def scratch() -> Path:
    """A folder of this process's own, for the files that targets hand in."""
    holder = tempfile.TemporaryDirectory(prefix="fuzz-")
    _holders.append(holder)
    return Path(holder.name)


_holders: list[tempfile.TemporaryDirectory[str]] = []


def laid(name: str, data: bytes, mode: int = 0o600) -> Path:
    """A file of these bytes in the scratch folder."""
    path = scratch()
    for part in name.split("/")[:-1]:
        path /= part
        path.mkdir(mode=0o700, exist_ok=True)
    path /= name.rpartition("/")[2]
    path.write_bytes(data)
    path.chmod(mode)
    return path
